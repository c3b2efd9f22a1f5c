"""Regimes of a time series: `cli` is the command line, `commands` does the work, `core` holds the model."""
