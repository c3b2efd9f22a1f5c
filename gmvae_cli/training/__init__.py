"""Learning: initialization, gradient annealing, EM, resume log, warnings about a model."""
