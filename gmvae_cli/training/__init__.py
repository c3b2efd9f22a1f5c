"""Learning: initialization, gradient annealing, EM, what a run may resume from."""
