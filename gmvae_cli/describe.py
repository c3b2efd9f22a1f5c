"""What the parameters of a model say about its regimes."""

import torch
from torch import Tensor


def companion(ar_weights: Tensor) -> Tensor:
    """The autoregression as a first-order one: (K, P, D, D) -> (K, P D, P D), lag 1 first."""
    K, P, D, _ = ar_weights.shape
    top = ar_weights.transpose(1, 2).reshape(K, D, P * D)
    shift = torch.eye((P - 1) * D, P * D, dtype=ar_weights.dtype).expand(K, -1, -1)
    return torch.cat([top, shift], dim=1)


def spectral_radius(ar_weights: Tensor) -> Tensor:
    """The largest modulus of the eigenvalues of each regime's companion matrix, (K,); at 1 and more it never rests."""
    moduli: Tensor = torch.linalg.eigvals(companion(ar_weights)).abs()
    return moduli.amax(-1)


def divergence(weights: Tensor, scale_tril: Tensor) -> Tensor:
    """Symmetric Kullback-Leibler divergence of the predictions of each pair of regimes, nats a row, (K, K).

    The context is taken as white with unit variance, which standardised columns nearly have.

    Args:
        weights: (K, D, C). scale_tril: (K or 1, D, D).
    """
    K, D, _ = weights.shape
    tril = scale_tril.expand(K, D, D)
    inverse = torch.linalg.inv(tril)
    spread = torch.einsum("jde,ief->ijdf", inverse, tril).square().sum((-1, -2))
    shift = torch.einsum("jde,ijec->ijdc", inverse, weights[:, None] - weights[None]).square().sum((-1, -2))
    return 0.5 * (spread + spread.mT + shift + shift.mT) - D
