"""Choices that the user leaves to the data: time scale, number of regimes, sampling rate."""
