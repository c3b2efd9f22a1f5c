"""Weighted second moments of [x, h], and the decoder and the prior that are optimal for them in closed form.

With responsibilities q held fixed, the optimum of the ELBO in the decoder is weighted least squares and in the prior
normalised counts, so a pass over the rows needs only sums: any number of rows in constant memory.
"""

import torch
from torch import Tensor

from gmvae_cli.model.ar_density import Emission, Pattern, observed_part

_CHUNK, _CACHED = 4096, 1 << 19  # rows at once, fewer where their products would not fit into a core's cache (4 MiB)
_DIRECTLY = 1 / 8  # weights for each entry of a row up to which shared products do not pay: with 121 entries up to 15
_TRANSITION_COUNT = 0.1  # Dirichlet counts of each transition: none is impossible, and ten rows outweigh them
_RIDGE, _SMALLEST_SQUARE = 1e-10, 1e-12  # of a diagonal: far below the standard errors, above the rounding of float64
# Each channel's variance is at least this share of the pooled residual variance, and for channels that others predict
# exactly of the pooled variance: below it a regime of repeated rows would outweigh all others.
_COVARIANCE_FLOOR, _PREDICTABLE_FLOOR, _SMALLEST_VARIANCE = 1e-6, 1e-8, 1e-12
# Measured with 5 % of the rows 40 standard deviations off in a channel: moments move by less than 0.15 of a variance,
# and inliers are all but 1 % of the other rows and none of these.
_ROBUST_PASSES, _ROBUST_DEGREES = 10, 3.0
# A channel that keeps its value exactly in this share of the rows stands still and jumps (chosen, not measured). Its
# values are rounded to its usual jump q, and rounding to q has the variance q^2 / 12. With so small a share of that in
# the lags, switches of the regimes and switches that have nothing to do with them do no harm: with 1 an unrelated one
# hides loads (ARI 0.0 in place of 0.98), with 0 a regime does not know its own position of a switch; docs/design.md.
_STANDING_SHARE, _USUAL_JUMP, _ROUNDING, _LAG_SHARE = 0.5, 0.75, 1 / 12, 0.3
_OUTLIER_WEIGHT = 0.1  # below it a row is an outlier; 1 is the mean weight


def products(y: Tensor) -> Tensor:
    """Multiply y_a y_b for all a <= b: (M, n) -> (M (M + 1) / 2, n), the upper triangle row by row."""
    M = y.shape[0]
    flat = y.new_empty(M * (M + 1) // 2, y.shape[1])
    start = 0
    for a in range(M):
        torch.mul(y[a:], y[a], out=flat[start : start + M - a])
        start += M - a
    return flat


def _rows_at_once(size: int) -> int:
    """Return how many rows of `size` entries to multiply at once."""
    return min(_CHUNK, max(1, 2 * _CACHED // (size * (size + 1))))


def symmetric(flat: Tensor, size: int) -> Tensor:
    """Unfold the triangle of `products` to full matrices: (..., M (M + 1) / 2) -> (..., M, M), float64."""
    rows, columns = torch.triu_indices(size, size, device=flat.device)
    full = flat.new_zeros(*flat.shape[:-1], size, size, dtype=torch.float64)
    full[..., rows, columns] = flat.double()
    full[..., columns, rows] = flat.double()
    return full


def weighted_moments(y: Tensor, weights: Tensor) -> Tensor:
    """Sum w_t(k) y_t y_t^T over rows t.

    Args:
        y: (M, n) rows as columns. weights: (..., K, n) w_t(k).
    Returns:
        (..., K, M, M) float64; the products are taken in float64 too, since residuals may be far smaller than values.
    """
    M = y.shape[0]
    flat = weights.reshape(-1, weights.shape[-1])  # (all K, n)
    if flat.shape[0] <= M * _DIRECTLY:
        return _directly(y, flat).view(*weights.shape[:-1], M, M)
    total = y.new_zeros(flat.shape[0], M * (M + 1) // 2, dtype=torch.float64)
    length = _rows_at_once(M)
    for start in range(0, y.shape[1], length):
        chunk = slice(start, start + length)
        total.addmm_(flat[:, chunk].double(), products(y[:, chunk].double()).mT)
    return symmetric(total, M).view(*weights.shape[:-1], M, M)


def _directly(y: Tensor, weights: Tensor) -> Tensor:
    """Sum as `weighted_moments` does, without products that all weights share: (M, n), (K, n) -> (K, M, M)."""
    total = y.new_zeros(weights.shape[0], y.shape[0], y.shape[0], dtype=torch.float64)
    for start in range(0, y.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        part = y[:, chunk].double()
        for moments, weight in zip(total, weights[:, chunk].double(), strict=True):
            moments.addmm_(part * weight, part.mT)
    return total


def completed_moments(
    y: Tensor, probs: Tensor, emission: Emission, pattern: Pattern, weighted: Tensor | None = None
) -> Tensor:
    """Sum q_t(k) E[w_t y_t y_t^T | x_o, h_t, z_t = k] over the partly observed rows of a pattern.

    With o the observed and m the missing channels, x_m | x_o, h, k is Normal with a mean that is linear in [x_o, h], so
    E[y | x_o, h, k] = T_k [x_o, h]. The moments are T_k S_k T_k^T, with S_k those of [x_o, h], and for every row the
    covariance Sigma_mm - Sigma_mo Sigma_oo^-1 Sigma_om of x_m beside them: nothing is filled in. A row of weight w_t
    has the covariance Sigma_k / w_t, so that w_t cancels in the last term.       [Little and Rubin 2002, ch. 11 and 12]

    Args:
        y: (M, n) rows as columns. emission: (..., K). pattern: its r rows and o channels.
        probs: (..., K, n) q_t(k). weighted: (..., K, n) q_t(k) E[w_t | x_o, h_t, k] under Student t noise; else w = 1.
    Returns:
        (..., K, M, M) float64.
    """
    D, M = emission.weights.shape[-2], y.shape[0]
    o = pattern.channels
    m = torch.as_tensor([channel for channel in range(D) if channel not in o.tolist()], device=o.device)
    row_probs = probs[..., pattern.rows]  # (..., K, r)
    weights = row_probs if weighted is None else weighted[..., pattern.rows]
    inner = weighted_moments(observed_part(y, pattern, D), weights)  # (..., K, o + C, o + C)
    covariance = emission.scale_tril @ emission.scale_tril.mT  # (..., K, D, D)
    gain = torch.linalg.solve(covariance[..., o[:, None], o], covariance[..., o[:, None], m]).mT  # (..., K, m, o)
    kept = covariance[..., m[:, None], m] - gain @ covariance[..., o[:, None], m]  # (..., K, m, m)
    transform = inner.new_zeros(*inner.shape[:-2], M, inner.shape[-1])  # (..., K, M, o + C)
    transform[..., o, torch.arange(len(o))] = 1
    transform[..., torch.arange(D, M), torch.arange(len(o), inner.shape[-1])] = 1
    transform[..., m[:, None], torch.arange(len(o))] = gain
    rest = emission.weights[..., m, :] - gain @ emission.weights[..., o, :]  # (..., K, m, C)
    transform[..., m[:, None], torch.arange(len(o), inner.shape[-1])] = rest
    moments = transform @ inner @ transform.mT  # (..., K, M, M)
    moments[..., m[:, None], m] += row_probs.sum(-1, dtype=torch.float64)[..., None, None] * kept
    return moments


def window_moments(y: Tensor, usable: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Sum y_t y_t^T over consecutive windows of so many rows; a shorter last one is left out.

    Args:
        y: (M, n) rows as columns. usable: (n,) rows that count.
    Returns:
        (W, M (M + 1) / 2) float64 flat triangles, as of `products`, and (W,) rows counted in each.
    """
    M, count = y.shape[0], y.shape[1] // rows
    used = count * rows
    flat = y.new_empty(count, M * (M + 1) // 2, dtype=torch.float64)
    upper = torch.triu_indices(M, M, device=y.device)
    windows = max(1, _CHUNK // rows)  # at once
    for start in range(0, count, windows):
        part = slice(start * rows, min(start + windows, count) * rows)
        values = torch.where(usable[part], y[:, part], 0).double().view(M, -1, rows).transpose(0, 1)  # (W, M, rows)
        flat[start : start + windows] = (values @ values.mT)[:, upper[0], upper[1]]
    return flat, usable[:used].view(count, rows).sum(-1).double()


# --- moments that outliers do not move -------------------------------------------------------------------------------


def rounding_variance(y: Tensor, usable: Tensor, num_channels: int, num_lags: int) -> Tensor:
    """Find the variance of the rounding error of each entry of y: 0 but for channels that stand still and jump.

    A switch or a set-point has no noise of its own: without this a single jump would outweigh all other channels, and a
    regression on its own lag would explain the level that tells the regime. The jumps of several such channels, as of
    the columns of a category, count as much as those of one.

    Args:
        y: (M, n) rows as columns; without lags jumps are from the row before. usable: (n,) rows that count.
    Returns:
        (M,) float64; a lag has 0.3 of that of a single channel that jumps alike, the intercept 0.
    """
    D = num_channels
    variance = y.new_zeros(y.shape[0], dtype=torch.float64)
    now, before = (y[:D, usable], y[D : 2 * D, usable]) if num_lags else (y[:D, usable][:, 1:], y[:D, usable][:, :-1])
    jumps = (now - before).abs().double()  # (D, usable rows)
    moves = (jumps > 0).sum(1)
    standing = ((moves > 0) & (moves <= (1 - _STANDING_SHARE) * jumps.shape[1])).nonzero()[:, 0]
    for channel in standing.tolist():
        usual = jumps[channel][jumps[channel] > 0].quantile(_USUAL_JUMP)
        lags = torch.arange(1, num_lags + 1, device=y.device) * D + channel
        variance[lags] = _LAG_SHARE * _ROUNDING * usual.square()
        variance[channel] = len(standing) * _ROUNDING * usual.square()
    return variance


def robust_moments(y: Tensor, usable: Tensor, intercept: bool) -> Tensor:
    """Find the second moments of [x, h] as a whole under a Student t law, which a few outliers hardly move.

    Outliers among the lags count as well: residuals need not show them, and yet they would dominate the regression.
                                                             [Kent, Tyler and Vardi 1994, Comm. Statist. Simulation 23]

    Args:
        y: (M, n) rows as columns, of about unit variance. usable: (n,) rows that count.
    Returns:
        (M, M) float64, the mean over rows.
    """
    moments = torch.eye(y.shape[0], dtype=torch.float64, device=y.device)
    for _ in range(_ROBUST_PASSES):
        weights = torch.where(usable, _joint_weights(y, moments, intercept), 0)  # (n,)
        moments = weighted_moments(y, weights[None])[0] / weights.sum()
    return moments


def inliers(y: Tensor, robust: Tensor, intercept: bool) -> Tensor:
    """Mark the rows (M, n) that are no outliers among all rows: (n,) bool, with `robust` from `robust_moments`."""
    return _joint_weights(y, robust, intercept) > _OUTLIER_WEIGHT


def _joint_weights(y: Tensor, moments: Tensor, intercept: bool) -> Tensor:
    """Compute E[w_t] if [x, h] as a whole is Student t about its mean, or 0 without an intercept: (M, n) -> (n,)."""
    factor = torch.linalg.cholesky(with_ridge(moments))
    squares = torch.linalg.solve_triangular(factor, y.double(), upper=False).square().sum(0)  # (n,)
    ones = int(intercept)  # the 1 of the intercept adds 1 to the distance
    freedom = _ROBUST_DEGREES + y.shape[0] - ones
    weights: Tensor = freedom / (_ROBUST_DEGREES + squares - ones)
    return weights


# --- closed-form updates ---------------------------------------------------------------------------------------------


def with_ridge(gram: Tensor) -> Tensor:
    """Add 1e-10 of each diagonal entry to a Gram matrix (..., C, C), so that it can be inverted."""
    ridge = _RIDGE * gram.diagonal(dim1=-2, dim2=-1).clamp_min(_SMALLEST_SQUARE)  # (..., C)
    return gram + torch.diag_embed(ridge)


def _least_squares(moments: Tensor, rows: Tensor, num_channels: int) -> tuple[Tensor, Tensor]:
    """Solve least squares from moments: weights (..., D, C) and the residual covariance (..., D, D).

    Args:
        moments: (..., M, M) sums of y y^T over rows, or weighted ones. rows: (...) sums of the weights of rows.
    """
    D = num_channels
    cross, gram = moments[..., :D, D:], moments[..., D:, D:]  # (..., D, C), (..., C, C)
    weights = torch.linalg.solve(with_ridge(gram), cross.mT).mT  # (..., D, C)
    identity = torch.eye(D, dtype=moments.dtype, device=moments.device).expand(*weights.shape[:-1], D)
    residual = torch.cat([identity, -weights], dim=-1)  # (..., D, M) [I, -W]
    # [I, -W] M [I, -W]^T is positive whatever rounding does to W
    covariance = residual @ moments @ residual.mT / rows[..., None, None]  # (..., D, D)
    return weights, 0.5 * (covariance + covariance.mT)


def with_unrelated_channels(moments: Tensor, rows: Tensor, count: float, num_channels: int, intercept: bool) -> Tensor:
    """Add to the moments of each regime those of `count` rows like its own, but with channels that do not correlate.

    A channel keeps its mean, its variance and its regression on its own lags. What others tell about it must then stand
    out from what `count` rows would show by chance.

    Args:
        moments: (..., M, M) sums of y y^T. rows: (...) sums of the weights of rows.
        intercept: whether the last entry of y is 1.
    Returns:
        (..., M, M).
    """
    channel = torch.arange(moments.shape[-1], device=moments.device) % num_channels  # (M,), of x and of its lags
    related = channel[:, None] == channel  # (M, M)
    if not intercept:
        return moments + count * related * moments / rows[..., None, None]
    mean = moments / moments[..., -1:, -1:]
    centre = mean[..., -1:] @ mean[..., -1:, :]  # (..., M, M)
    return moments + count * (centre + related * (mean - centre))


def _shrinking_row(moments: Tensor, rows: Tensor, pooled: Tensor, num_channels: int) -> Tensor:
    """Compute the moments (..., M, M) of a row that follows the pooled regression, with lags between own and all ones.

    Lags that vary as those of all rows do would weigh as much as thousands of rows of a regime whose own hardly vary;
    lags that vary as its own do would leave a regime of few rows to chance. So as many rows as there are coefficients
    are of all lags: two thirds of a nat a row on machine logs, at no loss on short recordings of 12 channels.
    """
    weights, covariance = _least_squares(pooled, pooled.new_ones(()), num_channels)  # (D, C), (D, D)
    own, of_all = (part[..., num_channels:, num_channels:] for part in (moments, pooled))  # (..., C, C), (C, C)
    share = (len(of_all) / (rows + 1)).clamp_max(1)[..., None, None]
    gram = share * of_all + (1 - share) * own / rows.clamp_min(1)[..., None, None]
    cross = weights @ gram  # (..., D, C)
    of_channels = torch.cat([cross @ weights.mT + covariance, cross], dim=-1)
    return torch.cat([of_channels, torch.cat([cross.mT, gram], dim=-1)], dim=-2)


def _levels(moments: Tensor, rows: Tensor, num_channels: int) -> tuple[Tensor, Tensor]:
    """Solve least squares of regimes that differ in level alone: as `_least_squares`, the covariance (..., 1, D, D)."""
    D = num_channels
    mean = moments[..., -1:] / moments[..., -1:, -1:]  # (..., K, M, 1), of regimes
    within = (moments - mean @ moments[..., -1:, :]).sum(-3, keepdim=True)  # (..., 1, M, M)
    slopes, covariance = _least_squares(within[..., :-1, :-1], rows.sum(-1, keepdim=True), D)
    level = mean[..., :D, :] - slopes @ mean[..., D:-1, :]  # (..., K, D, 1)
    return torch.cat([slopes.expand(*level.shape[:-1], -1), level], dim=-1), covariance


def update_emission(
    moments: Tensor,
    occupancy: Tensor,
    pooled: Tensor,
    num_channels: int,
    shared: bool,
    pooled_rows: float | None = None,
    unrelated_rows: float = 0.0,
    intercept: bool = True,
    levels: bool = False,
) -> Emission:
    """Find the decoder that maximises the expected log-likelihood: the M-step.

    Pi_k = (sum q x h^T) (sum q h h^T)^-1,   Sigma_k = sum q (x - Pi_k h) (x - Pi_k h)^T / sum q

    with q = q_t(k) summed over rows t; under Student t noise products are weighted by q_t(k) E[w_t v_t], and the last
    sum is that of q_t(k) E[w_t].                                                   [Hamilton 1990, J. Econometrics 45]

    Each regime sees one row more that follows the pooled regression, so that one with few rows stays near it, and its
    covariance has a floor relative to the pooled residual: labels do not depend on units. While starts are compared it
    sees `unrelated_rows` rows more, as in `with_unrelated_channels`.

    Args:
        moments: (..., K, M, M) weighted sums of y y^T. occupancy: (..., K) sums of q, or of q E[w].
        pooled: (M, M) mean of y y^T over all rows. shared: one covariance for all regimes.
        pooled_rows: of the pooled data themselves, instead of that one row.
        intercept: whether the last entry of y is 1.
        levels: regimes differ in level alone, with one regression on the lags and one covariance.
    Returns:
        an Emission in float64, (..., K, D, C) and (..., K or 1, D, D).
    """
    if pooled_rows is None:
        moments, rows = moments + _shrinking_row(moments, occupancy, pooled, num_channels), occupancy + 1  # (..., K)
    else:
        moments, rows = moments + pooled_rows * pooled, occupancy + pooled_rows
    if unrelated_rows:
        moments = with_unrelated_channels(moments, rows, unrelated_rows, num_channels, intercept)
        rows = rows + unrelated_rows
    weights, covariance = (_levels if levels else _least_squares)(moments, rows, num_channels)
    if levels and not shared:
        covariance = covariance.expand(*weights.shape[:-1], num_channels)
    elif shared and not levels:
        covariance = (covariance * rows[..., None, None]).sum(-3, keepdim=True) / rows.sum(-1)[..., None, None, None]
    _, pooled_covariance = _least_squares(pooled, pooled.new_ones(()), num_channels)  # (D, D)
    variance = pooled.diagonal()[:num_channels]  # (D,)
    residual_variance = pooled_covariance.diagonal().clamp_min(0)  # (D,)
    floor = _COVARIANCE_FLOOR * residual_variance + _PREDICTABLE_FLOOR * variance + _SMALLEST_VARIANCE
    return Emission(weights, torch.linalg.cholesky(covariance + torch.diag(floor)))


def update_transition(pair_sums: Tensor, prior_counts: Tensor | None = None) -> Tensor:
    """Find the transition matrix A_ij = n_ij / sum_j n_ij, n the expected transitions and Dirichlet counts: the M-step.

    Args:
        pair_sums: (..., K, K) expected transitions. prior_counts: (..., K, K) or (K, K), beside 0.1 of each transition.
    Returns:
        (..., K, K) float64.
    """
    counts = pair_sums + (_TRANSITION_COUNT if prior_counts is None else prior_counts + _TRANSITION_COUNT)
    return counts / counts.sum(-1, keepdim=True)


def update_iid(occupancy: Tensor, fixed: bool) -> Tensor:
    """Find the law of independent regimes from the expected rows of each; uniform where it is fixed: the M-step.

    Args:
        occupancy: (..., K) expected rows.
    Returns:
        (..., K) float64.
    """
    counts = torch.ones_like(occupancy) if fixed else occupancy + _TRANSITION_COUNT
    return counts / counts.sum(-1, keepdim=True)
