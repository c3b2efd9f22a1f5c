"""Runs of one label, and scores of labels against the truth."""
