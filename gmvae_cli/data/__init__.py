"""Series as arrays: rows with their lags, block features, steps in time."""
