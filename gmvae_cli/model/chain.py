"""The prior over regime paths: a Markov chain with an initial law, and quantities that follow from its matrix alone."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Chain(NamedTuple):
    """The prior over regime paths, p(z_1) = pi and p(z_t = j | z_t-1 = i) = A_ij.

    Args:
        initial_probs: (..., K) pi. transition_matrix: (..., K, K) A, row = from.
    """

    initial_probs: Tensor
    transition_matrix: Tensor


def stationary(transition_matrix: Tensor) -> Tensor:
    """Solve pi A = pi by least squares; where several laws qualify, take the one of smallest norm.

    Args:
        transition_matrix: (..., K, K).
    Returns:
        (..., K) in the dtype given.
    """
    matrix = transition_matrix.double()
    num_regimes = matrix.shape[-1]
    identity = torch.eye(num_regimes, dtype=matrix.dtype, device=matrix.device)
    system = torch.cat([matrix.mT - identity, matrix.new_ones(*matrix.shape[:-2], 1, num_regimes)], dim=-2)
    target = torch.cat([matrix.new_zeros(num_regimes), matrix.new_ones(1)])  # (K + 1,), and sum pi = 1
    probs: Tensor = (torch.linalg.pinv(system) @ target[:, None])[..., 0].clamp_min(0)  # (..., K)
    return (probs / probs.sum(-1, keepdim=True)).to(transition_matrix.dtype)


def expected_dwell(transition_matrix: Tensor, merged: Tensor | None = None) -> Tensor:
    """Compute the mean rows of a visit, 1 / (1 - A_kk), inf where a regime is never left: (..., K, K) -> (..., K).

    Args:
        merged: (K,) the number that stands for each regime, its own or a smaller one; regimes of one number are one,
            whose visits last sum_i pi_i / sum_i pi_i sum_j A_ij over its i and all j outside, with the stationary pi.
            None: each stands for itself.
    Returns:
        NaN for a number that stands for no regime.
    """
    stay = transition_matrix.diagonal(dim1=-2, dim2=-1)
    if merged is None or bool((merged == torch.arange(len(merged))).all()):
        return 1 / (1 - stay)
    member = torch.nn.functional.one_hot(merged, len(merged)).to(transition_matrix)  # (K, K) regime, number
    probs = stationary(transition_matrix)
    leaving = ((transition_matrix @ member) * (1 - member)).sum(-1)  # (..., K) of each regime, out of its number
    return (probs @ member) / ((probs * leaving) @ member) * torch.where(member.any(0), 1.0, torch.nan)


def persistent(num_regimes: int, dwell: float) -> Tensor:
    """Return the transition matrix (K, K), float64, whose visits last `dwell` rows on average, then any other regime.

    A dwell shorter than that of independent rows, K / (K - 1), is taken as that.
    """
    if num_regimes == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    leave = min(1 / dwell, (num_regimes - 1) / num_regimes)
    matrix = torch.full((num_regimes, num_regimes), leave / (num_regimes - 1), dtype=torch.float64)
    return matrix.fill_diagonal_(1 - leave)


def matrix_powers(matrix: Tensor, exponents: np.ndarray) -> Tensor:
    """Raise matrices to several powers, by repeated squaring.

    Args:
        matrix: (R, K, K). exponents: (U,) whole numbers from 0.
    Returns:
        (R, U, K, K) float64.
    """
    base = matrix.double()[:, None]  # (R, 1, K, K)
    result = torch.eye(matrix.shape[-1], dtype=base.dtype, device=base.device).repeat(
        matrix.shape[0], len(exponents), 1, 1
    )
    left = torch.as_tensor(exponents, device=base.device)
    while bool((left > 0).any()):
        odd = (left & 1).bool()[:, None, None]
        result = torch.where(odd, result @ base, result)
        left, base = left >> 1, base @ base
    return result
