"""What the parameters of a model say about its regimes."""

import math

import torch
from torch import Tensor

_REAL = 1e-6  # an eigenvalue's imaginary part, relative, that rounding may make out of a double real one
_SETTLES = 1 - 1e-9  # spectral radius from which a stationary law is not worth a number


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


def half_life(radius: Tensor) -> Tensor:
    """Lags until half of a disturbance is gone, log 0.5 / log radius; NaN from radius 1 on, where it stays for ever."""
    return torch.where(radius < 1, math.log(0.5) / radius.log(), torch.nan)


def dominant_period(ar_weights: Tensor) -> Tensor:
    """Lags of one turn of each regime's slowest mode, 2 pi / angle of its leading eigenvalue; NaN where that is real.

    (K, P, D, D) -> (K,).
    """
    values = torch.linalg.eigvals(companion(ar_weights))
    leading = values.gather(-1, values.abs().argmax(-1, keepdim=True))[..., 0]
    turns = leading.imag.abs() > _REAL * leading.abs()
    return torch.where(turns, 2 * math.pi / leading.angle().abs(), torch.nan)


def stationary_moments(ar_weights: Tensor, ar_bias: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (K, D) and covariance (K, D, D) that each regime settles to if it holds for ever; NaN where it would not.

    mean = (I - sum_p W_p)^-1 b;  the covariance S of [x_t, .., x_t-P+1] solves S = F S F^T + Q, F the companion matrix.

    Args:
        ar_weights: (K, P, D, D). ar_bias: (K, D). scale_tril: (K or 1, D, D).
    """
    from scipy.linalg import solve_discrete_lyapunov

    K, _, D, _ = ar_weights.shape
    radius, transition = spectral_radius(ar_weights), companion(ar_weights)
    noise = scale_tril.expand(K, D, D)
    mean, covariance = torch.full_like(ar_bias, torch.nan), torch.full_like(ar_weights[:, 0], torch.nan)
    for k in (radius < _SETTLES).nonzero()[:, 0].tolist():
        mean[k] = torch.linalg.solve(torch.eye(D, dtype=mean.dtype) - ar_weights[k].sum(0), ar_bias[k])
        disturbance = torch.zeros_like(transition[k])
        disturbance[:D, :D] = noise[k] @ noise[k].mT
        solution = solve_discrete_lyapunov(transition[k].numpy(), disturbance.numpy())
        covariance[k] = torch.as_tensor(solution[:D, :D])
    return mean, covariance


def covariance_factor(degrees: Tensor | None) -> Tensor | float:
    """The covariance of noise over its scale matrix, nu / (nu - 2); NaN up to nu = 2, where none exists. Normal: 1."""
    return 1.0 if degrees is None else torch.where(degrees > 2, degrees / (degrees - 2), torch.nan)


def standard_errors(gram: Tensor, scale_tril: Tensor) -> Tensor:
    """Standard errors of regression weights, as if it were known which regime held when, (K, D, C).

    The rows of the weights have the covariance Sigma_k (x) gram_k^-1.                        [Lütkepohl 2005, sec. 3.2]

    Args:
        gram: (K, C, C) sums of h_t h_t^T over the rows of each regime. scale_tril: (K or 1, D, D).
    """
    ridge = 1e-10 * gram.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12)  # as in least squares
    inverse = torch.linalg.inv(gram + torch.diag_embed(ridge)).diagonal(dim1=-2, dim2=-1)
    variance = scale_tril.square().sum(-1)
    errors: Tensor = (variance[..., :, None] * inverse[..., None, :]).clamp_min(0).sqrt()
    return errors
