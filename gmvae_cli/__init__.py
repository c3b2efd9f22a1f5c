"""Finds the regimes of a time series; `cli` is the command line, `jobs` what each command does."""
