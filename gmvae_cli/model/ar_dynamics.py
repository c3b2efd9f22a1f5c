"""Dynamics of the autoregression of each regime: stability, memory, oscillation, stationary moments, divergence."""

import math

import torch
from torch import Tensor

from gmvae_cli.model.moments import with_ridge

# Relative imaginary part below which an eigenvalue counts as real: rounding splits a double real one by about the root
# of the precision, 1.5e-8 in float64.
_REAL = 1e-6
# Spectral radius r from which the stationary covariance, which grows as 1 / (1 - r^2), is not resolved.
_STATIONARY = 1 - 1e-9


def companion(ar_weights: Tensor) -> Tensor:
    """Write the autoregression as one of order 1: (K, P, D, D) -> (K, P D, P D), lag 1 first.

    [x_t, .., x_t-P+1] = F [x_t-1, .., x_t-P] + noise                                      [Lütkepohl 2005, sec. 2.1.1]

    Without lags F is that of one lag of weight 0.
    """
    K, P, D, _ = ar_weights.shape
    if P == 0:
        return ar_weights.new_zeros(K, D, D)
    top = ar_weights.transpose(1, 2).reshape(K, D, P * D)
    shift = torch.eye((P - 1) * D, P * D, dtype=ar_weights.dtype).expand(K, -1, -1)
    return torch.cat([top, shift], dim=1)


def spectral_radius(ar_weights: Tensor) -> Tensor:
    """Compute the largest modulus of the eigenvalues of each regime's companion matrix: (K, P, D, D) -> (K,).

    Below 1 the regime is stable: its rows have a stationary law.
    """
    moduli: Tensor = torch.linalg.eigvals(companion(ar_weights)).abs()
    return moduli.amax(-1)


def divergence(weights: Tensor, scale_tril: Tensor) -> Tensor:
    """Compute the symmetric Kullback-Leibler divergence of the predictions of each pair of regimes, nats per row.

    KL(i || j) + KL(j || i) of Normal(Pi_i h, L_i L_i^T), in the mean over contexts h that are white with unit variance,
    which standardised columns nearly have.

    Args:
        weights: (K, D, C) Pi. scale_tril: (K or 1, D, D) L.
    Returns:
        (K, K), 0 on the diagonal.
    """
    K, D, _ = weights.shape
    tril = scale_tril.expand(K, D, D)
    inverse = torch.linalg.inv(tril)
    ratio = torch.einsum("jde,ief->ijdf", inverse, tril).square().sum((-1, -2))  # (K, K) tr Sigma_j^-1 Sigma_i
    shift = torch.einsum("jde,ijec->ijdc", inverse, weights[:, None] - weights[None]).square().sum((-1, -2))  # (K, K)
    return 0.5 * (ratio + ratio.mT + shift + shift.mT) - D


def half_life(radius: Tensor) -> Tensor:
    """Compute the lags in which a disturbance halves, log 0.5 / log radius: (K,) -> (K,); NaN at 0 and from 1 on."""
    return torch.where((radius > 0) & (radius < 1), math.log(0.5) / radius.log(), torch.nan)


def dominant_period(ar_weights: Tensor) -> Tensor:
    """Compute the lags in a cycle of each regime's slowest mode, 2 pi / angle of the eigenvalue of largest modulus.

    (K, P, D, D) -> (K,); NaN where that eigenvalue is real, and there is no cycle.
    """
    values = torch.linalg.eigvals(companion(ar_weights))
    leading = values.gather(-1, values.abs().argmax(-1, keepdim=True))[..., 0]
    turns = leading.imag.abs() > _REAL * leading.abs()
    return torch.where(turns, 2 * math.pi / leading.angle().abs(), torch.nan)


def stationary_moments(ar_weights: Tensor, ar_bias: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the stationary mean and covariance of each regime, as if it were never left; NaN where there is none.

    mean = (I - sum_p W_p)^-1 b;  the covariance S of [x_t, .., x_t-P+1] solves S = F S F^T + Q, with F the companion
    matrix, and Q = L L^T for x_t and 0 for its lags.                                     [Lütkepohl 2005, sec. 2.1.4]

    Args:
        ar_weights: (K, P, D, D) W. ar_bias: (K, D) b. scale_tril: (K or 1, D, D) L.
    Returns:
        (K, D) and (K, D, D).
    """
    from scipy.linalg import solve_discrete_lyapunov

    K, _, D, _ = ar_weights.shape
    radius, transition = spectral_radius(ar_weights), companion(ar_weights)
    noise = scale_tril.expand(K, D, D)
    mean, covariance = torch.full_like(ar_bias, torch.nan), torch.full_like(noise, torch.nan)
    for k in (radius < _STATIONARY).nonzero()[:, 0].tolist():
        mean[k] = torch.linalg.solve(torch.eye(D, dtype=mean.dtype) - ar_weights[k].sum(0), ar_bias[k])
        disturbance = torch.zeros_like(transition[k])
        disturbance[:D, :D] = noise[k] @ noise[k].mT
        solution = solve_discrete_lyapunov(transition[k].numpy(), disturbance.numpy())
        covariance[k] = torch.as_tensor(solution[:D, :D])
    return mean, covariance


def covariance_factor(degrees: Tensor | None) -> Tensor | float:
    """Compute the covariance of noise over its scale matrix: 1 if Normal (None), nu / (nu - 2) if Student t.

    NaN up to nu = 2, where no covariance exists: (..., 1) -> (..., 1).
    """
    return 1.0 if degrees is None else torch.where(degrees > 2, degrees / (degrees - 2), torch.nan)


def standard_errors(gram: Tensor, scale_tril: Tensor) -> Tensor:
    """Compute the standard errors of the regression weights, as if the regime of every row were known.

    The weights have the covariance Sigma_k (x) gram_k^-1.                                    [Lütkepohl 2005, sec. 3.2]

    Args:
        gram: (K, C, C) sums of h_t h_t^T over the rows of each regime. scale_tril: (K or 1, D, D).
    Returns:
        (K, D, C).
    """
    inverse = torch.linalg.inv(with_ridge(gram)).diagonal(dim1=-2, dim2=-1)  # (K, C)
    variance = scale_tril.square().sum(-1)  # (K or 1, D)
    errors: Tensor = (variance[..., :, None] * inverse[..., None, :]).clamp_min(0).sqrt()
    return errors
