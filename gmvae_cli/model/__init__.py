"""The mathematics: chain and its exact sweeps, autoregressive densities, moments and updates, simulation."""
