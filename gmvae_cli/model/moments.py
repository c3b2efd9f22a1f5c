"""Weighted second moments of [x, h], and the decoder and the prior that are optimal for them in closed form.

With responsibilities q held fixed, the optimum of the ELBO in the decoder is weighted least squares and in the prior
normalised counts, so a pass over the rows needs only sums: any number of rows in constant memory.
"""

import torch
from torch import Tensor

from gmvae_cli.model.ar_density import Emission, Pattern, observed_part

_CHUNK = 4096  # rows whose products fit in a core's cache
_TRANSITION_COUNT = 0.1  # Dirichlet pseudo-visits of each transition: none is ever impossible
_COVARIANCE_FLOOR = 1e-6  # of the pooled residual variance
_ROBUST_PASSES = 10
_ROBUST_DEGREES = 3.0
_OUTLIER_WEIGHT = 0.1  # below it a row is an outlier; 1 is the mean
_PREDICTABLE_FLOOR = 1e-8  # of the pooled variance, for channels that the others predict exactly


def products(y: Tensor) -> Tensor:
    """y_a y_b for all a <= b: (M, n) -> (M (M + 1) / 2, n), the upper triangle row by row."""
    return torch.cat([y[a:] * y[a] for a in range(y.shape[0])])


def symmetric(flat: Tensor, size: int) -> Tensor:
    """The triangle of `products` as full matrices: (..., M (M + 1) / 2) -> (..., M, M), float64."""
    rows, columns = torch.triu_indices(size, size, device=flat.device)
    full = flat.new_zeros(*flat.shape[:-1], size, size, dtype=torch.float64)
    full[..., rows, columns] = flat.double()
    full[..., columns, rows] = flat.double()
    return full


def weighted_moments(y: Tensor, weights: Tensor) -> Tensor:
    """sum_t w_t(k) y_t y_t^T.

    Args:
        y: (M, n). weights: (..., K, n).
    Returns:
        (..., K, M, M) float64; the products are taken in float64 too, since residuals may be far smaller than values.
    """
    flat = weights.reshape(-1, weights.shape[-1])
    total = y.new_zeros(flat.shape[0], y.shape[0] * (y.shape[0] + 1) // 2, dtype=torch.float64)
    for start in range(0, y.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        total.addmm_(flat[:, chunk].double(), products(y[:, chunk].double()).mT)
    return symmetric(total, y.shape[0]).view(*weights.shape[:-1], y.shape[0], y.shape[0])


def completed_moments(
    y: Tensor, probs: Tensor, emission: Emission, pattern: Pattern, weighted: Tensor | None = None
) -> Tensor:
    """sum_t q_t(k) E[w_t y_t y_t^T | x_o, h_t, z_t = k] over the rows of a pattern: nothing is filled in.

    With x_m | x_o, h Normal, E[y | x_o, h, k] = T_k [x_o, h] and the moments are T_k S_k T_k^T with S_k those of the
    observed part, and beside them the covariance that the missing channels keep, once for every row. Where a row has a
    weight w its covariance is Sigma_k / w, so that there w cancels.

    Args:
        probs: (..., K, n) q_t(k). weighted: (..., K, n) q_t(k) E[w_t | x_o, h_t, k] under Student t noise; else w = 1.
    """
    D, M = emission.weights.shape[-2], y.shape[0]
    o = pattern.channels
    m = torch.as_tensor([channel for channel in range(D) if channel not in o.tolist()], device=o.device)
    some = probs[..., pattern.rows]
    inner = weighted_moments(observed_part(y, pattern, D), some if weighted is None else weighted[..., pattern.rows])
    covariance = emission.scale_tril @ emission.scale_tril.mT
    gain = torch.linalg.solve(covariance[..., o[:, None], o], covariance[..., o[:, None], m]).mT
    kept = covariance[..., m[:, None], m] - gain @ covariance[..., o[:, None], m]
    transform = inner.new_zeros(*inner.shape[:-2], M, inner.shape[-1])
    transform[..., o, torch.arange(len(o))] = 1
    transform[..., torch.arange(D, M), torch.arange(len(o), inner.shape[-1])] = 1
    transform[..., m[:, None], torch.arange(len(o))] = gain
    rest = emission.weights[..., m, :] - gain @ emission.weights[..., o, :]
    transform[..., m[:, None], torch.arange(len(o), inner.shape[-1])] = rest
    moments = transform @ inner @ transform.mT
    moments[..., m[:, None], m] += some.sum(-1, dtype=torch.float64)[..., None, None] * kept
    return moments


def _joint_weights(y: Tensor, moments: Tensor, intercept: bool) -> Tensor:
    """E[w] of rows if [x, h] as a whole is Student t about its mean, without an intercept about 0: (n,) float64."""
    ridge = torch.diag(1e-10 * moments.diagonal().clamp_min(1e-12))
    factor = torch.linalg.cholesky(moments + ridge)
    squares = torch.linalg.solve_triangular(factor, y.double(), upper=False).square().sum(0)
    ones = int(intercept)  # the 1 of the intercept adds 1 to the distance
    freedom = _ROBUST_DEGREES + y.shape[0] - ones
    weights: Tensor = freedom / (_ROBUST_DEGREES + squares - ones)
    return weights


def robust_moments(y: Tensor, usable: Tensor, intercept: bool) -> Tensor:
    """Second moments of [x, h] that a few outliers hardly move, those of a Student t, (M, M) float64, a row.

    Outliers among the lags count as well: no residual need show them, and yet they would outweigh all other rows.

    Args:
        y: (M, n), columns of about unit spread. mask: (n,) the rows that count.
                                                             [Kent, Tyler and Vardi 1994, Comm. Statist. Simulation 23]
    """
    moments = torch.eye(y.shape[0], dtype=torch.float64, device=y.device)
    for _ in range(_ROBUST_PASSES):
        weights = torch.where(usable, _joint_weights(y, moments, intercept), 0)
        moments = weighted_moments(y, weights[None])[0] / weights.sum()
    return moments


def inliers(y: Tensor, robust: Tensor, intercept: bool) -> Tensor:
    """(n,) bool, rows [x, h] that are no outliers among all rows; `robust` from `robust_moments`."""
    return _joint_weights(y, robust, intercept) > _OUTLIER_WEIGHT


def window_moments(y: Tensor, usable: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Second moments of consecutive windows.

    Args:
        y: (M, n). mask: (n,) rows with evidence. rows: window length; a last shorter window is left out.
    Returns:
        (W, M (M + 1) / 2) float64 flat triangles, and (W,) rows counted in each.
    """
    count = y.shape[1] // rows
    used = count * rows
    flat = products(torch.where(usable[:used], y[:, :used], 0).double()).view(-1, count, rows).sum(-1)
    return flat.mT.contiguous(), usable[:used].view(count, rows).sum(-1).double()


def _residual(moments: Tensor, rows: Tensor, num_channels: int) -> tuple[Tensor, Tensor]:
    """Least squares from moments: weights (..., D, C) and the residual covariance (..., D, D)."""
    D = num_channels
    cross, gram = moments[..., :D, D:], moments[..., D:, D:]
    ridge = 1e-10 * gram.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12)
    weights = torch.linalg.solve(gram + torch.diag_embed(ridge), cross.mT).mT
    identity = torch.eye(D, dtype=moments.dtype, device=moments.device).expand(*weights.shape[:-1], D)
    residual = torch.cat([identity, -weights], dim=-1)  # [I, -W] M [I, -W]^T is positive whatever rounding does to W
    covariance = residual @ moments @ residual.mT / rows[..., None, None]
    return weights, 0.5 * (covariance + covariance.mT)


def update_emission(
    moments: Tensor, occupancy: Tensor, pooled: Tensor, num_channels: int, shared: bool, pseudo_rows: float = 1.0
) -> Emission:
    """The decoder that maximises the expected log-likelihood.

    Each regime sees `pseudo_rows` rows of the pooled data beside its own, so that one with few rows stays near the
    pooled regression, and its covariance has a floor relative to the pooled residual: labels do not depend on units.

    Args:
        moments: (..., K, M, M). occupancy: (..., K). pooled: (M, M) moments of all rows, a row.
        shared: one covariance for all regimes.
    Returns:
        an Emission in float64.
    """
    rows = occupancy + pseudo_rows
    weights, covariance = _residual(moments + pseudo_rows * pooled, rows, num_channels)
    if shared:
        covariance = (covariance * rows[..., None, None]).sum(-3, keepdim=True) / rows.sum(-1)[..., None, None, None]
    _, pooled_covariance = _residual(pooled, pooled.new_ones(()), num_channels)
    spread = pooled.diagonal()[:num_channels]
    floor = _COVARIANCE_FLOOR * pooled_covariance.diagonal().clamp_min(0) + _PREDICTABLE_FLOOR * spread + 1e-12
    return Emission(weights, torch.linalg.cholesky(covariance + torch.diag(floor)))


def update_transition(pair_sums: Tensor, prior_counts: Tensor | None = None) -> Tensor:
    """Transition matrix (..., K, K) from expected transitions and Dirichlet counts, float64."""
    counts = pair_sums + (_TRANSITION_COUNT if prior_counts is None else prior_counts + _TRANSITION_COUNT)
    return counts / counts.sum(-1, keepdim=True)


def update_iid(occupancy: Tensor, fixed: bool) -> Tensor:
    """Law of the regimes (..., K) from expected rows; uniform where it is fixed. float64."""
    counts = torch.ones_like(occupancy) if fixed else occupancy + _TRANSITION_COUNT
    return counts / counts.sum(-1, keepdim=True)
