"""Forecasts: the law of the regime and of the channels in the rows that are to come."""
