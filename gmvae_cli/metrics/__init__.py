"""Scores of labels against the truth, and segments."""
