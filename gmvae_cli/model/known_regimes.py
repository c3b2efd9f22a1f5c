"""Regimes of rows that are known beforehand: one mask on scores, which every pass over the rows goes through.

With all regimes but the known one of a row made impossible, filter, smoother, best path, M-step and gradient need not
know of it: responsibilities are one there, and log Z is log p(x, known regimes).
"""

import torch
from torch import Tensor

UNKNOWN = -1  # of a row whose regime is not known
_IMPOSSIBLE = 1e4  # nats below the known regime, and as much again as its score is large: beyond any lattice's floor


def clamped(scores: Tensor, known: Tensor | None) -> Tensor:
    """Lower the scores of all regimes but the known one, as far as the sweeps along a chain see.

    Args:
        scores: (..., n, K) log-likelihoods or potentials, nats, as they enter the chain.
        known: (..., n) int64, -1 where the regime is not known; None: nowhere.
    Returns:
        (..., n, K); the score of the known regime stays, so others are impossible in comparison.
    """
    if known is None:
        return scores
    regime = known.clamp_min(0)[..., None]  # (..., n, 1)
    own = scores.gather(-1, regime.expand(*scores.shape[:-1], 1))
    others = torch.arange(scores.shape[-1], device=scores.device) != regime  # (..., n, K)
    return torch.where(others & (known >= 0)[..., None], own - (own.abs() + _IMPOSSIBLE), scores)
