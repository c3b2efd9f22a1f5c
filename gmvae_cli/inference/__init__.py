"""A trained model and a file: the posterior of every row."""
