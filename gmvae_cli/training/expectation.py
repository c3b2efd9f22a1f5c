"""The E-step: exact responsibilities under given parameters, and the sums over rows that the M-step needs.

The sums of two blocks of rows add, so a pass over any number of rows takes constant memory.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.model import ar_density
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.evidence_scale import unscaled_marginal
from gmvae_cli.model.forward_backward import backward, forward, smooth
from gmvae_cli.model.known_regimes import clamped
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.model.moments import completed_moments, weighted_moments
from gmvae_cli.model.student_t import Weights
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.resume import NOTHING, ResumeLog, State


@dataclass(frozen=True)
class Statistics:
    """Sums over rows, all that the M-step needs. Leading dimensions are restarts.

    Args:
        moments: (..., K, M, M) over usable rows, weighted by responsibility (Student t: and row weight).
        occupancy: (..., K) responsibilities summed over usable rows. shares: (..., K) over all rows.
        weight: (..., K) sums of q E[w], w as in `student_t`; under Normal noise w = 1, and the next two are 0.
        slope, curvature: (..., 1) of the expected log-likelihood in the degrees of freedom.
        pair_sums: (..., K, K) expected transitions. first_probs: (..., K) responsibilities of first rows of series.
        log_marginal: (...) nats, log Z of the scaled log-likelihoods: the objective that training increases.
        predictive: (...) nats, log-likelihood of each row given its past, unscaled: the score that compares starts.
        rows, usable_rows, num_series: counts.
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


class Expectation(NamedTuple):
    """The result of the E-step over a block of rows.

    Args:
        message: (R, K) filtered law of the last row, for the next block; None under prior "iid".
        probs: (R, K, n) responsibilities q(z_t = k | x).
    """

    statistics: Statistics
    message: Tensor | None
    probs: Tensor


class RegimeCounts(NamedTuple):
    """Counts of the rows in which each regime is the most likely.

    Args:
        rows: (K,) int64. first: (K,) int64, the first of them; the largest int64 for a regime without rows.
        sums: (K, D) float64 of the standardised values in usable rows, and values: (K, D) int64, how many those are.
    """

    rows: Tensor
    first: Tensor
    sums: Tensor
    values: Tensor

    def joined(self, later: "RegimeCounts") -> "RegimeCounts":
        """Add the counts of later rows."""
        first = self.first.minimum(later.first)
        return RegimeCounts(self.rows + later.rows, first, self.sums + later.sums, self.values + later.values)

    def reordered(self, order: NDArray[np.int64]) -> "RegimeCounts":
        """Number regime order[k] k; order (K,)."""
        return RegimeCounts(*(part[torch.as_tensor(order)] for part in self))


class _Posterior(NamedTuple):
    """Posterior of the regimes: probs (R, K, n), pair_sums (R, K, K), message (R, K) or None.

    marginal, predictive: (R, n) log p of each row given its past, divided by the evidence scale and not.
    """

    probs: Tensor
    pair_sums: Tensor
    marginal: Tensor
    predictive: Tensor
    message: Tensor | None


def collect(
    rows: Rows, parameters: Parameters, iid_prior: bool, message: Tensor | None = None, beta: Tensor | None = None
) -> Expectation:
    """Run the E-step over a block of rows.

    Without a message from the rows behind a block its last rows are smoothed without these: blocks are far longer than
    the chain's memory.

    Args:
        parameters: with one leading dimension, the restarts (R, ...).
        message: (R, K) filtered law of the row before the block; None: the chain starts here.
        beta: (R, K) message from the rows behind the block, up to a factor; None: there are none.
    """
    y, usable = rows.y, rows.usable
    unscaled, scores, weights = _scores(rows, parameters)
    if iid_prior:
        posterior = _iid_posterior(scores, parameters.chain)
    else:
        posterior = _chain_posterior(scores, unscaled, parameters.chain, rows.steps, message, beta)
    probs = posterior.probs
    starts = torch.as_tensor(rows.steps == 0, device=y.device)
    statistics = Statistics(
        **_weighted_sums(rows, parameters, probs * usable, weights),
        shares=probs.sum(-1, dtype=torch.float64),
        pair_sums=posterior.pair_sums.double(),
        first_probs=probs[..., starts].sum(-1, dtype=torch.float64),
        log_marginal=torch.where(rows.counted, posterior.marginal, 0).sum(-1, dtype=torch.float64),
        predictive=torch.where(rows.counted, posterior.predictive, 0).sum(-1, dtype=torch.float64),
        rows=y.shape[1],
        usable_rows=int(usable.sum()),
        num_series=int(starts.sum()),
    )
    return Expectation(statistics, posterior.message, probs)


def _scores(rows: Rows, parameters: Parameters) -> tuple[Tensor, Tensor, Weights | None]:
    """Compute log-likelihoods (R, K, n), 0 where a row is not usable, and the same divided by the evidence scale.

    Both are clamped to the regimes that are known.
    """
    log_likelihoods, weights = ar_density.weighted_log_likelihoods(
        rows.y, parameters.emission, rows.partial, rows.lag_index
    )
    unscaled = torch.where(rows.usable, log_likelihoods, 0)
    scale = parameters.evidence_scale
    scores = unscaled if bool((scale == 1).all()) else unscaled / scale[:, None, None].to(rows.y)
    if rows.known is None:
        return unscaled, scores, weights
    clamped_scores = clamped(scores.mT, rows.known).mT
    return clamped_scores if scores is unscaled else clamped(unscaled.mT, rows.known).mT, clamped_scores, weights


def lattice_of(rows: Rows, parameters: Parameters, *, start: bool) -> Lattice:
    """Lay out a block of rows as `collect` does; parameters have one restart. start: whether the chain starts here."""
    scores = _scores(rows, parameters)[1]
    chain = Chain(*(part.to(scores) for part in parameters.chain))
    return Lattice(scores.mT, rows.steps, chain, None, start=start)


def _iid_posterior(scores: Tensor, chain: Chain) -> _Posterior:
    """Compute q_t(k) = p_k exp(score_t(k)) / sum under prior "iid", each row by itself; scores (R, K, n)."""
    joint = scores + chain.initial_probs.log().to(scores)[..., None]  # (R, K, n)
    marginal = joint.logsumexp(-2)  # (R, n)
    pair_sums = chain.transition_matrix.new_zeros(chain.transition_matrix.shape)
    return _Posterior((joint - marginal[..., None, :]).exp_(), pair_sums, marginal, marginal, None)


def _chain_posterior(
    scores: Tensor,
    unscaled: Tensor,
    chain: Chain,
    steps: NDArray[np.int64],
    message: Tensor | None,
    beta: Tensor | None,
) -> _Posterior:
    """Run forward-backward under prior "markov"; scores (R, K, n) are `unscaled` divided by the evidence scale."""
    sweep = forward(scores.mT, Chain(*(part.to(scores) for part in chain)), steps, message)
    marginal = predictive = sweep.row_log_likelihoods  # (R, n)
    if scores is not unscaled:
        predictive = unscaled_marginal(marginal, sweep.filtered_probs.mT, unscaled - scores)
    smoothed, _ = backward(sweep, beta)
    return _Posterior(smoothed.smoothed_probs.mT, smoothed.pair_sums, marginal, predictive, sweep.message)


def _weighted_sums(rows: Rows, parameters: Parameters, probs: Tensor, weights: Weights | None) -> dict[str, Tensor]:
    """Sum what `Statistics` weights by responsibility, from probs (R, K, n), 0 for rows that are not usable."""
    y = rows.y
    occupancy = probs.sum(-1, dtype=torch.float64)  # (R, K)
    weighted, weight = probs, occupancy
    slope = curvature = torch.zeros_like(occupancy[..., :1])
    if weights is not None:
        weighted = probs * weights.total  # (R, K, n)
        weight, *bends = ((probs * part).sum(-1, dtype=torch.float64) for part in weights[1:])
        slope, curvature = (part.sum(-1, keepdim=True) for part in bends)
    partial = (completed_moments(y, probs, parameters.emission, pattern, weighted) for pattern in rows.partial)
    completed = sum(partial, start=0)  # (R, K, M, M)
    if rows.partial:
        weighted = weighted.clone()
        weighted[..., torch.cat([pattern.rows for pattern in rows.partial])] = 0
    moments = weighted_moments(y, weighted) + completed
    return {
        "moments": moments, "occupancy": occupancy, "weight": weight, "slope": slope, "curvature": curvature,
    }  # fmt: skip


def expect_all(
    lagged_rows: LaggedRows,
    parameters: Parameters,
    iid_prior: bool,
    progress: Progress,
    resume_log: ResumeLog = NOTHING,
    number: int = 0,
) -> tuple[Statistics, RegimeCounts]:
    """Run the E-step over all rows of a recording, a block at a time, and count the labels that it gives.

    Args:
        parameters: without restarts; the statistics have one leading dimension of 1.
        number: of the pass, for the resume log, which keeps the sums so far.
    """
    restarts = parameters[None]
    sums = _recalled(lagged_rows, restarts, iid_prior, resume_log, number)
    for rows in lagged_rows.blocks(first=0 if sums is None else sums.statistics.rows):
        start = 0 if sums is None else sums.statistics.rows
        statistics, message, probs = collect(rows, restarts, iid_prior, None if sums is None else sums.message)
        labels = count_labels(probs[0], rows, start, lagged_rows.file_rows(start, start + len(rows)))
        if sums is not None:
            statistics = sums.statistics + statistics
            labels = sums.labels.joined(labels)
        finished = statistics.rows == len(lagged_rows)
        state = _state_of(_Sums(statistics, message, labels), number)
        sums = _sums_of(resume_log.record("pass", state, finished=finished))
        progress("polish", statistics.rows, len(lagged_rows))
    assert sums is not None
    return sums.statistics, sums.labels


def count_labels(probs: Tensor, rows: Rows, start: int, file_rows: NDArray[np.int64] | None) -> RegimeCounts:
    """Count the most likely regimes of consecutive rows.

    Args:
        probs: (K, n) of n rows. start: number of the first.
        file_rows: (n,) rows of the file in each block; None: rows are not blocks.
    """
    K, n = probs.shape
    labels = probs.argmax(0).cpu()  # (n,)
    weights = None if file_rows is None else torch.as_tensor(file_rows)
    label_rows = torch.bincount(labels, weights, minlength=K).long()
    first = torch.full((K,), torch.iinfo(torch.int64).max)
    weight = torch.ones(n, dtype=torch.float64) if weights is None else weights.double()
    member = torch.nn.functional.one_hot(labels, K).double().mT * weight  # (K, n)
    observed = (rows.observed & rows.usable).cpu().double()  # other rows are 0
    sums = member @ (rows.y[: len(observed)].cpu().double() * observed).mT
    first = first.scatter_reduce(0, labels, torch.arange(start, start + n), "amin")
    return RegimeCounts(label_rows, first, sums, (member @ observed.mT).long())


class _Sums(NamedTuple):
    """Result of a pass over the first rows: message (1, K) as in `Expectation`."""

    statistics: Statistics
    message: Tensor | None
    labels: RegimeCounts


def _recalled(
    lagged_rows: LaggedRows, restarts: Parameters, iid_prior: bool, resume_log: ResumeLog, number: int
) -> _Sums | None:
    """Recall the sums over the first rows, if the resume log has them of this pass."""
    rows = lagged_rows.rows(0, min(2, len(lagged_rows)))
    statistics, message, probs = collect(rows, restarts, iid_prior)
    example = _state_of(_Sums(statistics, message, count_labels(probs[0], rows, 0, None)), number)
    state = resume_log.recall("pass", example)
    return None if state is None or int(state["number"]) != number else _sums_of(state)


def _state_of(sums: _Sums, number: int) -> State:
    state = {name: torch.as_tensor(value) for name, value in vars(sums.statistics).items()}
    state |= {"number": torch.tensor(number)} | {f"label_{name}": part for name, part in sums.labels._asdict().items()}
    return state if sums.message is None else state | {"message": sums.message}


def _sums_of(state: State) -> _Sums:
    kinds = {field.name: field.type for field in fields(Statistics)}
    values = {name: int(state[name]) if kind is int else state[name] for name, kind in kinds.items()}
    labels = RegimeCounts(*(state[f"label_{name}"] for name in RegimeCounts._fields))
    return _Sums(Statistics(**values), state.get("message"), labels)  # type: ignore[arg-type]


def smoothed_labels(rows: Rows, parameters: Parameters, iid_prior: bool) -> NDArray[np.int64]:
    """Label every row with its most likely regime given all rows; of parameters without restarts. (n,)."""
    emission, chain = parameters.emission, Chain(*(part.to(rows.y) for part in parameters.chain))
    scores = torch.where(
        rows.usable, ar_density.log_likelihoods(rows.y, emission, rows.partial, rows.lag_index), 0
    ).mT  # (n, K)
    if iid_prior:
        return (clamped(scores, rows.known) + chain.initial_probs.log()).argmax(-1).cpu().numpy()
    scores = clamped(scores / parameters.evidence_scale.to(scores), rows.known)
    return smooth(scores, chain, rows.steps).smoothed_probs.argmax(-1).cpu().numpy()
