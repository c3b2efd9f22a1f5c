"""First parameters, from a subsample: window clustering where regimes persist, short runs where they do not.

All restarts run side by side in one batched tensor. Both return decoders; which start wins is not decided here.
"""

import torch
from torch import Tensor

from gmvae_cli.model.ar_density import Emission, log_likelihoods, whitener
from gmvae_cli.model.moments import products, symmetric, update_emission, update_iid, weighted_moments

_CLUSTER_PASSES = 15
_SHORT_PASSES = 15
_ROBUST_PASSES = 10
_ROBUST_DEGREES = 3.0
_OUTLIER_WEIGHT = 0.1  # below it a row is an outlier; 1 is the mean


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


def _scores(flat: Tensor, counts: Tensor, emission: Emission, size: int) -> Tensor:
    """Log-likelihood of each window under each regime: linear in its moments. (..., K, W)."""
    matrix, log_det = whitener(emission)
    precision = torch.einsum("d...m,d...n->...mn", matrix, matrix)
    rows, columns = torch.triu_indices(size, size, device=flat.device)
    factor = torch.where(rows == columns, 1.0, 2.0).double()
    return -0.5 * (precision[..., rows, columns] * factor) @ flat.mT - log_det[..., None] * counts


def _draw(gains: Tensor, generator: torch.Generator) -> Tensor:
    """One index a row, with probability proportional to its gain. (..., W) -> (...)."""
    weights = gains.clamp_min(0) + 1e-9 * gains.clamp_min(0).mean(-1, keepdim=True) + 1e-12
    return torch.multinomial(weights, 1, generator=generator)[..., 0]


def cluster_windows(
    flat: Tensor,
    counts: Tensor,
    pooled: Tensor,
    num_regimes: int,
    num_channels: int,
    shared: bool,
    restarts: int,
    generator: torch.Generator,
) -> tuple[Emission, Tensor, Tensor]:
    """Windows clustered by how well an autoregression predicts them, not by their level.

    Seeds are drawn as in k-means++ with probability proportional to the gain in log-likelihood; then windows go to the
    regime that predicts them best and regimes are refitted from summed moments. A regime left without windows restarts
    from the window that is explained worst.

    Args:
        flat, counts: from `window_moments`. pooled: (M, M) moments of all rows, a row.
    Returns:
        Emission with leading restarts R, labels (R, W), total log-likelihood (R,).
    """
    size = pooled.shape[0]
    pseudo = float(size)

    def fit(sums: Tensor, rows: Tensor) -> Emission:
        return update_emission(symmetric(sums, size), rows, pooled, num_channels, shared, pseudo)

    alone = update_emission(symmetric(flat, size)[:, None], counts[:, None], pooled, num_channels, False, pseudo)
    own = _own_scores(flat, counts, alone, size)
    chosen = torch.randint(len(flat), (restarts, 1), generator=generator)
    for _ in range(num_regimes - 1):
        best = _scores(flat, counts, fit(flat[chosen], counts[chosen]), size).amax(-2)
        chosen = torch.cat([chosen, _draw(own - best, generator)[:, None]], dim=1)
    emission = fit(flat[chosen], counts[chosen])
    labels, total = chosen, own
    for _ in range(_CLUSTER_PASSES):
        scores = _scores(flat, counts, emission, size)
        best, labels = scores.max(-2)
        total = best.sum(-1)
        member = torch.nn.functional.one_hot(labels, num_regimes).double().mT  # (R, K, W)
        empty = member.sum(-1) == 0
        if bool(empty.any()):
            worst = (own - best).topk(min(num_regimes, len(flat)), dim=-1).indices
            worst = worst[:, torch.arange(num_regimes) % worst.shape[1]]
            member = torch.where(empty[..., None], torch.nn.functional.one_hot(worst, len(flat)).double(), member)
        emission = fit(member @ flat, member @ counts)
    return emission, labels, total


def _own_scores(flat: Tensor, counts: Tensor, alone: Emission, size: int) -> Tensor:
    """Log-likelihood of each window under the regime fitted to it alone: (W,)."""
    matrix, log_det = whitener(alone)
    moments = symmetric(flat, size)
    squares = torch.einsum("dwm,wmn,dwn->w", matrix[:, :, 0], moments, matrix[:, :, 0])
    return -0.5 * squares - log_det[:, 0] * counts


def short_runs(
    y: Tensor,
    pooled: Tensor,
    num_regimes: int,
    num_channels: int,
    shared: bool,
    restarts: int,
    generator: torch.Generator,
    fixed_prior: bool = False,
) -> tuple[Emission, Tensor, Tensor]:
    """A few closed-form updates of the iid mixture from random responsibilities, all restarts at once.

    Args:
        y: (M, n) a subsample of rows with evidence. restarts: R.
    Returns:
        Emission (R, ...), the law of the regimes (R, K), log-likelihood (R,).
    """
    flat = products(y.double())
    logits = torch.empty(restarts, num_regimes, y.shape[1], dtype=y.dtype).exponential_(generator=generator)
    probs = logits / logits.sum(-2, keepdim=True)
    log_marginal = probs.new_zeros(restarts)
    for _ in range(_SHORT_PASSES + 1):
        occupancy = probs.sum(-1, dtype=torch.float64)
        moments = symmetric(probs.double() @ flat.mT, y.shape[0])
        emission = update_emission(moments, occupancy, pooled, num_channels, shared)
        law = update_iid(occupancy, fixed_prior)
        joint = log_likelihoods(y, emission) + law.log().to(y)[..., None]
        marginal = joint.logsumexp(-2)
        log_marginal = marginal.sum(-1, dtype=torch.float64)
        probs = (joint - marginal[..., None, :]).exp_()
    return emission, law, log_marginal
