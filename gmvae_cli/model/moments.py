"""Weighted second moments of [x, h], and the decoder and the prior that are optimal for them in closed form.

With responsibilities q held fixed, the optimum of the ELBO in the decoder is weighted least squares and in the prior
normalised counts, so a pass over the rows needs only sums: any number of rows in constant memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.ar_density import Emission, Pattern, observed_part, weighted_log_likelihoods
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.forward_backward import backward, forward
from gmvae_cli.model.student_t import LagIndex

_CHUNK = 4096  # rows whose products fit in a core's cache
_TRANSITION_COUNT = 0.1  # Dirichlet pseudo-visits of each transition: none is ever impossible
_COVARIANCE_FLOOR = 1e-6  # of the pooled residual variance
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


@dataclass(frozen=True)
class Statistics:
    """What a pass over rows leaves behind; the statistics of two blocks of rows add. Leading dimensions are restarts.

    Args:
        moments: (..., K, M, M) over rows with evidence, weighted by responsibility (Student t: and row weight).
        occupancy: (..., K) responsibilities summed over rows with evidence. shares: (..., K) over all rows.
        weight: (..., K) sums of q E[w], w as in `student`; under Normal noise w = 1, and the next two are 0.
        slope, curvature: (..., 1) of the expected log-likelihood in the degrees of freedom.
        pair_sums: (..., K, K) expected transitions. first_probs: (..., K) responsibilities of first rows of series.
        log_marginal: (...) nats, log Z of the scaled evidence: the bound that training raises.
        predictive: (...) nats, each row's log-likelihood given its past, unscaled: what starts are compared by.
        rows, evidence_rows, num_series: counts.
    """

    moments: Tensor
    occupancy: Tensor
    weight: Tensor
    slope: Tensor
    curvature: Tensor
    shares: Tensor
    pair_sums: Tensor
    first_probs: Tensor
    log_marginal: Tensor
    predictive: Tensor
    rows: int
    usable_rows: int
    num_series: int

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(**{name: value + getattr(other, name) for name, value in vars(self).items()})


def collect(
    y: Tensor,
    usable: Tensor,
    steps: np.ndarray,
    emission: Emission,
    chain: Chain,
    iid_prior: bool,
    message: Tensor | None = None,
    partial: Sequence[Pattern] = (),
    lag_index: LagIndex | None = None,
    evidence_scale: Tensor | None = None,
) -> tuple[Statistics, Tensor | None, Tensor]:
    """The expectation step over a block of rows.

    Args:
        y: (M, n) rows [x, h]; mask: (n,) rows with evidence; steps: (n,) as in `markov`.
        emission, chain: with leading restarts (R, ...). independent: prior "iid".
        message: filtered law of the row before the block; None: the chain starts here.
        partial: the rows that are partly observed. past: as in `density`.
        evidence_scale: (R,) what evidence is divided by, None is 1.
    Returns:
        the statistics, with leading restarts, the message for the next block, and the responsibilities (R, K, n). The
        last rows of a block are smoothed without the rows after it: blocks are far longer than the chain's memory.
    """
    log_likelihoods, weights = weighted_log_likelihoods(y, emission, partial, lag_index)
    unscaled = torch.where(usable, log_likelihoods, 0)  # (R, K, n)
    scale = None if evidence_scale is None or bool((evidence_scale == 1).all()) else evidence_scale[:, None, None].to(y)
    scores = unscaled if scale is None else unscaled / scale
    if iid_prior:
        joint = scores + chain.initial_probs.log().to(y)[..., None]
        marginal = joint.logsumexp(-2)
        probs, message = (joint - marginal[..., None, :]).exp_(), None
        predictive = marginal
        pair_sums = chain.transition_matrix.new_zeros(chain.transition_matrix.shape)
    else:
        cast = Chain(chain.initial_probs.to(y), chain.transition_matrix.to(y))
        sweep = forward(scores.mT, cast, steps, message)
        message = sweep.message
        marginal = predictive = sweep.row_log_likelihoods
        if scale is not None:
            predictive = unscaled_marginal(marginal, sweep.filtered_probs.mT, unscaled - scores)
        smoothed, _ = backward(sweep)
        probs, pair_sums = smoothed.smoothed_probs.mT, smoothed.pair_sums
    observed = probs * usable
    starts = torch.as_tensor(steps == 0, device=y.device)
    occupancy = observed.sum(-1, dtype=torch.float64)
    weighted, weight = observed, occupancy
    slope = curvature = torch.zeros_like(occupancy[..., :1])
    if weights is not None:
        weighted = observed * weights.total
        weight, *bends = ((observed * part).sum(-1, dtype=torch.float64) for part in weights[1:])
        slope, curvature = (part.sum(-1, keepdim=True) for part in bends)
    moments = sum((completed_moments(y, observed, emission, pattern, weighted) for pattern in partial), start=0)
    whole = weighted
    if partial:
        whole = weighted.clone()
        whole[..., torch.cat([pattern.rows for pattern in partial])] = 0
    return (
        Statistics(
            moments=weighted_moments(y, whole) + moments,
            occupancy=occupancy,
            weight=weight,
            slope=slope,
            curvature=curvature,
            shares=probs.sum(-1, dtype=torch.float64),
            pair_sums=pair_sums.double(),
            first_probs=probs[..., starts].sum(-1, dtype=torch.float64),
            log_marginal=torch.where(usable, marginal, 0).sum(-1, dtype=torch.float64),
            predictive=torch.where(usable, predictive, 0).sum(-1, dtype=torch.float64),
            rows=y.shape[1],
            usable_rows=int(usable.sum()),
            num_series=int(starts.sum()),
        ),
        message,
        probs,
    )


def unscaled_marginal(marginal: Tensor, filtered_probs: Tensor, withheld: Tensor) -> Tensor:
    """log sum_k p(z_t = k | past) p(x_t | h_t, k), from a filter whose evidence was scaled.

    The filter's law is p(z_t = k | past) exp(l_t(k) / c) / exp(m_t), so what was withheld, l_t (1 - 1/c), is all that
    lacks.

    Args:
        marginal: (..., n) the filter's m_t. filtered_probs, withheld: (..., K, n).
    """
    return marginal + (filtered_probs.clamp_min(torch.finfo(filtered_probs.dtype).tiny).log() + withheld).logsumexp(-2)


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
