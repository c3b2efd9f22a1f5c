"""Comparison of models of different sizes: held-out likelihood in blocks, BIC, agreement of the folds' labels.

The rows are cut into ten blocks. Each of five folds trains on all blocks but two and scores those two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import SeriesError
from gmvae_cli.metrics.partition import adjusted_rand, contingency
from gmvae_cli.model.chain import Chain
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.engine import Engine
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import collect, smoothed_labels
from gmvae_cli.training.fit import fit_em_only
from gmvae_cli.training.sampling import check_enough, subsample

BLOCKS = 10
_FOLDS = 5
_START_ROWS = 10_000  # rows that a start is searched on; EM sees all
_EM_PASSES = 15  # EM passes at most; what more would gain is far below the standard errors


@dataclass(frozen=True)
class Scored:
    """Scores of one candidate.

    Args:
        block_scores: (B,) log-likelihood per row, nats, of each held-out block with usable rows, by a model trained
            without it.
        bic: of a model trained on all rows. num_free_parameters: of that model.
        labels: (5, n) by the folds' models, of all rows. smallest_share: of rows in one regime, by the model trained on
            all rows.
    """

    model: ModelConfig
    block_scores: NDArray[np.float64]
    bic: float
    num_free_parameters: int
    labels: NDArray[np.int16]
    smallest_share: float

    @cached_property
    def agreement(self) -> float:
        """Mean ARI between the labels of the folds, each from a start of its own and from other rows."""
        K = self.model.regimes
        tables = [contingency(a, b, K, K) for a, b in combinations(self.labels.astype(np.int64), 2)]
        return float(adjusted_rand(np.stack(tables)).mean())


class ComparisonData(NamedTuple):
    """Rows in memory and how candidates are fitted to them.

    Args:
        name: of the file, for messages. values, steps, channels: as in `SeriesData.from_arrays`.
        restarts: random starts of each fit. device: as `--device` names it.
    """

    name: str
    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    channels: tuple[str, ...]
    restarts: int
    seed: int
    device: str = "cpu"


# --- one candidate ---------------------------------------------------------------------------------------------------


def score(lagged_rows: LaggedRows, gap: int, restarts: int, seed: int) -> Scored:
    """Fit a model in each fold, and from the best of these fits on all rows.

    Args:
        gap: rows between those trained on and those scored, the longest context of all candidates; a row that is not
            usable with so long a context is not scored, so that candidates are compared on the same rows.
    Raises:
        SeriesError: too few usable rows, for the model or in the blocks.
    """
    config = TrainConfig(model=lagged_rows.model, restarts=restarts, polish=_EM_PASSES)
    edges = np.linspace(0, len(lagged_rows), BLOCKS + 1).astype(int)
    block_scores, models = np.full(BLOCKS, np.nan), []
    for fold in range(_FOLDS):
        held = range(fold, BLOCKS, _FOLDS)
        sample = lagged_rows.pieces(_between(edges, held, gap))
        check_enough(lagged_rows, sample, " when a fifth is held out")
        em = EM.over(sample, lagged_rows.model, len(lagged_rows.mean), None)
        models.append(_fitted(em, sample, config, seed + fold))
        for block in held:
            rows = _scored_rows(lagged_rows, int(edges[block]) + gap, int(edges[block + 1]), gap)
            if bool(rows.usable.any()):
                block_scores[block] = float(em.score(rows, models[-1][None])[0])
    known = ~np.isnan(block_scores)
    if known.sum() < 2:
        raise SeriesError(
            f"{lagged_rows.data.name}: all values lie within one tenth of the rows; comparing models needs values "
            "throughout, so leave out the empty rows"
        )
    return Scored(lagged_rows.model, block_scores[known], *_fit_all_rows(lagged_rows, models, config))


def _fitted(em: EM, sample: Rows, config: TrainConfig, seed: int) -> Parameters:
    """Fit a start to a subsample of rows and run EM on all of them; one regime starts from the pooled moments."""
    if config.model.regimes == 1:
        ones = torch.ones(1, 1, dtype=torch.float64)
        moments = em.pooled[None]
        started = Parameters(em.regression(moments, ones[0]), Chain(ones[0], ones))
    else:
        started = fit_em_only(subsample(sample, _START_ROWS), replace(config, polish=0), em.num_channels, seed, silent)
    return em.run_em(sample, started[None], config.polish)[0][0]


def _scored_rows(lagged_rows: LaggedRows, start: int, stop: int, gap: int) -> Rows:
    """Return a held-out block in which rows that are not usable with the longest context are not usable either."""
    rows = Rows.joined([lagged_rows.rows(start, stop)])
    if gap == lagged_rows.model.context_rows:
        return rows
    widest = replace(lagged_rows, model=replace(lagged_rows.model, lags=gap, stride=1))
    return replace(rows, usable=rows.usable & widest.rows(start, stop).usable)


def _between(edges: NDArray[np.int64], held: Sequence[int], gap: int) -> list[tuple[int, int]]:
    """Return the ranges of rows between held-out blocks, without the gap behind each."""
    ranges, start = [], 0
    for block in held:
        if start < edges[block]:
            ranges.append((start, int(edges[block])))
        start = int(edges[block + 1]) + gap
    return ranges + ([(start, int(edges[-1]))] if start < edges[-1] else [])


def _fit_all_rows(
    lagged_rows: LaggedRows, models: list[Parameters], config: TrainConfig
) -> tuple[float, int, NDArray[np.int16], float]:
    """Return BIC, number of free parameters, labels (5, n) by the folds' models, and the smallest share.

    The first two and the last are of a model trained on all rows, from the best of the folds' models.
    """
    rows = lagged_rows.rows(0, len(lagged_rows))
    em = EM.over(rows, config.model, len(lagged_rows.mean), None)
    labels = np.stack([smoothed_labels(rows, model, em.iid_prior).astype(np.int16) for model in models])
    best = int(em.score(rows, Parameters.stacked(models)).argmax())
    model = em.run_em(rows, models[best][None], config.polish)[0]
    statistics = collect(rows, model, em.iid_prior).statistics
    num_free_parameters = config.model.num_free_parameters(em.num_channels)
    likeliest = smoothed_labels(rows, model[0], em.iid_prior)
    share = np.bincount(likeliest, minlength=config.model.regimes).min() / len(rows)
    bic = num_free_parameters * np.log(statistics.usable_rows) - 2 * float(statistics.predictive[0])
    return bic, num_free_parameters, labels, float(share)


# --- all of them, in parallel ----------------------------------------------------------------------------------------


class _Job(NamedTuple):
    """Rows that all candidates are compared on, and the gap as in `score`."""

    comparison: ComparisonData
    gap: int


def score_all(
    engine: Engine, comparison: ComparisonData, candidates: Sequence[ModelConfig], progress: Progress
) -> list[Scored]:
    """Score all candidates by the workers of an engine; return their scores in the given order.

    The largest, which take longest and need most rows, begin first. The scores do not depend on the number of
    processes.

    Raises:
        SeriesError: too few rows. GmvaeError: a worker process was killed.
    """
    gap = max(model.context_rows for model in candidates)
    if len(comparison.values) < BLOCKS * (gap + 2):
        raise SeriesError(
            f"{comparison.name}: {len(comparison.values)} rows, but comparing models in {BLOCKS} blocks needs at least "
            f"{BLOCKS * (gap + 2)}; give more rows, or use train"
        )
    largest_first = list(reversed(candidates))
    scores: dict[int, Scored] = {}
    for index, scored in engine.run(_score, largest_first, _Job(comparison, gap)):
        scores[index] = scored
        progress("select", len(scores), len(candidates))
    return [scores[index] for index in reversed(range(len(candidates)))]


def _score(job: _Job, model: ModelConfig) -> Scored:
    """Score one candidate, in a worker."""
    comparison, gap = job
    configure_process()
    device = device_of(comparison.device)
    with SeriesData.from_arrays(comparison.values, comparison.steps, comparison.channels, comparison.name) as data:
        mean = data.mean if model.intercept else np.zeros_like(data.mean)
        return score(
            LaggedRows(data, model, mean, data.scale, device=device), gap, comparison.restarts, comparison.seed
        )


# --- the choice ------------------------------------------------------------------------------------------------------


def choose(
    block_scores: NDArray[np.float64], num_free_parameters: Sequence[int]
) -> tuple[int, int, NDArray[np.float64], NDArray[np.float64]]:
    """Choose the smallest candidate within one standard error of the best.     [the rule of Breiman et al. 1984, 3.4.3]

    Args:
        block_scores: (N, B) log-likelihood per row, nats, of N candidates in B blocks.
        num_free_parameters: of each candidate.
    Returns:
        chosen, best: positions. mean difference to the best (N,), and its standard error (N,) over paired blocks.
    """
    best = int(block_scores.mean(1).argmax())
    differences = block_scores[best] - block_scores
    mean = differences.mean(1)
    error = differences.std(1, ddof=1) / np.sqrt(block_scores.shape[1])
    near = [index for index in range(len(num_free_parameters)) if mean[index] <= error[index]]
    return min(near, key=lambda index: (num_free_parameters[index], index)), best, mean, error
