"""The mathematics: densities, the chain, moments; tensors in, tensors out."""
