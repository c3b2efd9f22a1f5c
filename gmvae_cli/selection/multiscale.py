"""Choice of the time scale and the number of regimes, by the agreement of labellings at several time scales.

Where the model is wrong, and on recordings it always is, likelihood does not say how long a regime should last: it
prefers many short visits. But a regime shows at every scale at which one looks. So the recording is seen as rows and
as blocks of several lengths (`views`), windows of several lengths are clustered in each view, and training starts from
the consensus of all these labellings (`consensus`). Where a model of the rows explains them (`row_model`), likelihood
decides.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, cycle
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.block_features import compared_rows
from gmvae_cli.data.lagged_rows import Rows, training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.metrics.partition import agreements
from gmvae_cli.metrics.segments import runs
from gmvae_cli.model.chain import Chain, stationary
from gmvae_cli.selection.consensus import Consensus, consensus
from gmvae_cli.selection.row_model import PASSES, REGIME_COUNTS, RESTARTS, FitTask, RowModel, fit_task, row_models
from gmvae_cli.selection.sampling_rate import stride
from gmvae_cli.selection.views import View, seen_rows, views
from gmvae_cli.selection.waveform_search import choose_waveforms
from gmvae_cli.system.concurrency import Processes
from gmvae_cli.system.device import configure_process
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.em import EM, SEARCH_ROWS
from gmvae_cli.training.expectation import smoothed_labels
from gmvae_cli.training.initialization import (
    start_from_labels,
    start_from_levels,
    start_from_windows,
    with_noise,
    with_unrelated_rows,
)
from gmvae_cli.training.sampling import subsample
from gmvae_cli.training.trained_model import Start

# Windows of n / (this * K) rows of a view: no single length serves all recordings (docs/design.md, "Real recordings");
# these three are chosen, not measured.
_WINDOW_FACTORS = (4.0, 2.7, 1.8)
_SHORT_WINDOWS = (10, 30, 100)  # rows of a view, beside these; chosen, not measured
_SHORT_BLOCK_WINDOWS = (30, 100)  # blocks, likewise; ten hold too few values for their many features
# Rows of a view. At 100 five generated regimes of 300,000 rows lose 0.02 ARI; longer windows are those of coarser views
_SHORTEST_WINDOW, _LONGEST_WINDOW = 4, 300
_BLOCKS_PER_VISIT = 4  # an expected visit is seen in no fewer blocks
_AS_GOOD = 0.04  # ARI; of views whose labellings agree as well with the consensus the finest goes on
_SHORT_RECORDING = 2_000  # rows; a shorter recording has fewer views,
_SHORT_SEEDS = 3  # so each is fitted from more seeds; both chosen, not measured
_FIT_ROWS = 8_000  # rows of a view that a fit sees; all are labelled. Keeps the search below 20 s; docs/benchmarks.md
_WAVEFORM_CHANNELS = 2  # up to which regimes are kinds of waveform; with 4 and 12 channels the consensus is as good
_SHARES_OF_A_VISIT = (0.125, 0.25, 0.5, 1.0)  # windows from which a model of the rows must be found again
_SAME_LABELS = 0.8  # ARI of labellings that differ in odd rows only; chosen, not measured


class Candidate(NamedTuple):
    """A labelling of a view: labels (n,) of its rows, with so many regimes."""

    view: View
    regimes: int
    labels: NDArray[np.int16]

    @property
    def scale(self) -> str:
        """The name of its view: what is seen at one time scale is no evidence for itself, in however many windows."""
        return f"{self.view.block_rows} {self.view.kind}"

    def at(self, rows: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the labels of rows of the recording, (m,); -1 where the view does not see them."""
        position = self.view.at(rows)
        return np.where(position < 0, np.int16(-1), self.labels[position])


def choose(
    data: SeriesData, regimes: int | None, dwell: float | None, config: TrainConfig, progress: Progress
) -> tuple[ModelConfig, Start]:
    """Choose the time scale, and the number of regimes where None is given.

    Args:
        dwell: rows that a visit is expected to last, if known: it leads the choice of the time scale.
    Returns:
        the model, and where its training starts.
    """
    with Processes() as processes:
        return _choose(data, regimes, dwell, config, progress, processes)


def _choose(
    data: SeriesData,
    regimes: int | None,
    dwell: float | None,
    config: TrainConfig,
    progress: Progress,
    processes: Processes,
) -> tuple[ModelConfig, Start]:
    """Choose as `choose` does, with the given worker processes."""
    known = 0 if data.known is None else len(data.known.names)
    if regimes is None and data.known is not None and data.known.is_complete:
        regimes = known
    task = fit_task(data, config)
    progress("regimes", 0, None)
    found = row_models(task, regimes, progress, processes)
    best = next(found)
    row_model = _stable(chain([best], found), task)
    if row_model is None and regimes is not None and best.credible:
        # as many as asked for may not be told apart well, although regimes of the rows explain them
        other = _stable(row_models(task, None, progress, processes), task)
        row_model = best if other is not None and other.model.regimes > 1 else None
    if row_model is not None:
        reason = _because_of_rows(row_model, regimes)
        return replace(row_model.model, join_passages=True), Start(row_model.parameters, dwell, reason=reason)
    why_not = _unexplained(best)
    counts = [count for count in sorted({*REGIME_COUNTS, regimes or max(2, known)}) if count >= known]
    if regimes != 1 and len(data.channels) <= _WAVEFORM_CHANNELS:
        progress("waveforms", 0, None)
        waveforms = choose_waveforms(data, regimes, counts, dwell, config)
        if waveforms is not None:
            model, start = waveforms
            return model, replace(start, reason=_because_of_waveforms(why_not, model.regimes))
    spacing = stride(data)
    tasks = [] if regimes == 1 else _tasks(data, spacing, counts, dwell, config)
    candidates = _candidates(tasks, progress, processes)
    if not candidates:
        reason = "one regime, as asked" if regimes == 1 else "the file is too short to compare time scales"
        chosen = replace(config.model, regimes=regimes or max(1, known), stride=spacing)
        return chosen, Start(dwell=dwell, reason=reason)
    rows = compared_rows(seen_rows(data.rows, min(task.view.block_rows for task in tasks)))
    labels = np.stack([candidate.at(rows) for candidate in candidates])
    scales = np.unique([candidate.scale for candidate in candidates], return_inverse=True)[1]
    counts = sorted({candidate.regimes for candidate in candidates})
    agreed = consensus(labels, [regimes] if regimes else counts, counts[-1], config.seed, scales)
    chosen, start = _start_from(agreed, candidates, dwell, config.model)
    return chosen, replace(start, reason=f"regimes are what several time scales agree on: {why_not}")


def _because_of_rows(row_model: RowModel, regimes: int | None) -> str:
    if row_model.model.regimes == 1:
        return "one autoregression explains all rows, and more regimes explain them no better"
    count = "as asked" if regimes else "of the number that explains them best"
    return f"regimes are levels and dynamics of the rows, {count}: these regimes explain the rows from one to the next"


def _because_of_waveforms(why_no_row_model: str, regimes: int) -> str:
    if regimes == 1:
        return "one regime: different divisions of the recording into kinds of waveform do not agree"
    return f"regimes are kinds of waveform, compared in blocks of whole periods: {why_no_row_model}"


def _unexplained(row_model: RowModel) -> str:
    """Say why the model of the rows was not believed."""
    if not row_model.white:
        return "no model of single rows explains them, since its errors go on from row to row"
    if not row_model.credible:
        return "a model of single rows finds only visits of a few rows"
    return "a model of single rows gives other regimes from other starts"


def _stable(found: Iterable[RowModel], task: FitTask) -> RowModel | None:
    """Return the first model of the rows that may be right and is found again from other starts, if there is one."""
    return next((row_model for row_model in found if row_model.credible and _is_stable(row_model, task)), None)


def _is_stable(row_model: RowModel, task: FitTask) -> bool:
    """Return whether a third of the starts from windows about as long as the visits leads to the same labels."""
    if row_model.model.regimes == 1:
        return True
    rows = np.arange(len(task.values))
    view = View("rows", 1, task.values, task.steps, rows, rows + 1, task.known)
    longest = len(task.values) // (3 * row_model.model.regimes)
    windows = sorted({max(2, min(round(share * row_model.visit), longest)) for share in _SHARES_OF_A_VISIT})
    labellings = _labellings(_Task(view, row_model.model, task.seed, len(task.values), None, windows))
    if not labellings:
        return False
    ari = agreements(np.stack([row_model.labels, *labellings]))[0, 1:]
    return bool(np.quantile(ari, 2 / 3) >= _SAME_LABELS)


# --- labellings of every view ----------------------------------------------------------------------------------------


class _Task:
    """A view to be labelled with so many regimes, in a worker process.

    Args:
        rows: of the recording. windows: lengths in rows of the view, from which levels are clustered as well.
    """

    def __init__(
        self,
        view: View,
        model: ModelConfig,
        seed: int,
        rows: int,
        dwell: float | None,
        windows: Sequence[int] = (),
    ) -> None:
        self.view, self.seed, self.dwell, self.windows = view, seed, dwell, windows
        self.model = replace(model, stride=1, summarize=1)
        self.num_seeds = _SHORT_SEEDS if rows < _SHORT_RECORDING else 1


def _tasks(
    data: SeriesData, spacing: int, counts: Sequence[int], dwell: float | None, config: TrainConfig
) -> list[_Task]:
    """List the views that suit the expected dwell, each with all numbers of regimes that it is long enough for.

    The longest tasks come first.
    """
    eligible = views(data, spacing)
    if dwell is not None:
        eligible = _suited(eligible, dwell)
    models = [replace(config.model, regimes=count) for count in reversed(counts)]
    return [
        _Task(view, model, config.seed, data.rows, dwell)
        for model in models
        for view in eligible
        if view.supports(model.regimes)
    ]


def _suited(every: Sequence[View], dwell: float) -> list[View]:
    """Return the views in which a visit has a few blocks at least and, unless that leaves none, two windows at most."""
    fine = [view for view in every if view.kind == "rows" or dwell >= _BLOCKS_PER_VISIT * view.block_rows]
    return [view for view in fine if dwell <= 2 * _LONGEST_WINDOW * view.block_rows] or fine


def _candidates(tasks: Sequence[_Task], progress: Progress, processes: Processes) -> list[Candidate]:
    """Compute the labellings of all tasks, in the order of the tasks."""
    progress("views", 0, len(tasks))
    by_task: list[list[Candidate]] = [[] for _ in tasks]
    for done, (index, labellings) in enumerate(processes.run(_labellings, tasks)):
        task = tasks[index]
        by_task[index] = [Candidate(task.view, task.model.regimes, labels) for labels in labellings]
        progress("views", done + 1, len(tasks))
    return [candidate for candidates in by_task for candidate in candidates]


def _labellings(task: _Task) -> list[NDArray[np.int16]]:
    """Label a view, (n,) for each window length and seed."""
    configure_process()
    view, model = task.view if task.windows else task.view.reduced(), task.model
    with SeriesData.from_arrays(view.values, view.steps, known=view.known) as data:
        lagged_rows = training_rows(data, model)
        rows = lagged_rows.rows(0, len(lagged_rows))
        sample = subsample(rows, _FIT_ROWS)
        em = EM.over(sample, model, len(lagged_rows.mean), None, pooled_rows=SEARCH_ROWS)
        if task.windows:
            em = with_unrelated_rows(em, sample)
        starts, dwells = [], []
        for window, started_from in _windows(em, len(rows), task):
            for seed in range(task.num_seeds):
                generator = torch.Generator().manual_seed(1_000 * task.seed + seed)
                start = started_from(replace(em, dwell=window), sample, window, RESTARTS, generator)
                if start is not None:
                    starts.append(start)
                    dwells.append(float(window))
        if not starts:
            return []
        em = replace(em, dwells=tuple(dwells))
        fitted = em.run_em(sample, with_noise(em, Parameters.stacked(starts)), PASSES, calibrate=True)[0]
        return [smoothed_labels(rows, fitted[index], em.iid_prior).astype(np.int16) for index in range(len(starts))]


def _windows(em: EM, rows: int, task: _Task) -> list[tuple[int, Callable[..., Parameters | None]]]:
    """List the lengths of windows and what clusters them: levels and a regression in turn, in a model of the rows both.

    A window of fewer rows than the regression of a model of the rows has columns shows only a level.
    """
    lengths = _window_lengths(rows, task)
    if not em.config.intercept:
        return [(length, start_from_windows) for length in lengths]
    if not task.windows:
        return list(zip(lengths, cycle((start_from_levels, start_from_windows)), strict=False))
    columns = em.pooled.shape[0] - em.num_channels
    regressions = [(length, start_from_windows) for length in lengths if length >= columns]
    return regressions + [(length, start_from_levels) for length in lengths]


def _window_lengths(rows: int, task: _Task) -> Sequence[int]:
    """Choose the rows of a window: half the expected dwell if it is known, but windows enough for all regimes."""
    if task.windows:
        return task.windows
    long = [min(round(rows / (factor * task.model.regimes)), _LONGEST_WINDOW) for factor in _WINDOW_FACTORS]
    if task.dwell is not None:
        return [max(2, min(round(task.dwell / (2 * task.view.block_rows)), long[-1]))]
    usual = _SHORT_WINDOWS if task.view.kind == "rows" else _SHORT_BLOCK_WINDOWS
    short = [length for length in usual if length < 0.35 * long[0]]
    return sorted({length for length in short + long if length >= _SHORTEST_WINDOW})


# --- from the consensus to a start -----------------------------------------------------------------------------------


class _Carried(NamedTuple):
    """A consensus in a view: labels (n,), and their ARI with those that EM makes of them."""

    view: View
    labels: NDArray[np.int64]
    kept: float


def _start_from(
    agreed: Consensus, candidates: Sequence[Candidate], expected_dwell: float | None, model: ModelConfig
) -> tuple[ModelConfig, Start]:
    """Fit a start for training to the consensus, in the finest view in which EM keeps it about as well as in any.

    Training expects the user's dwell, in rows of that view, or else that of the consensus.
    """
    model = replace(model, regimes=agreed.regimes)
    every = {candidate.scale: candidate.view for candidate in candidates}
    supporting = [view for view in every.values() if view.supports(model.regimes)] or list(every.values())
    carried = [_carried(view, agreed, candidates, model) for view in supporting]
    least = max(carrier.kept for carrier in carried) - _AS_GOOD
    carrying = [carrier for carrier in carried if carrier.kept >= least]
    view, labels, _ = min(carrying, key=lambda carrier: (carrier.view.block_rows, carrier.view.kind != "rows"))
    start = _fitted_to(labels, view, model)[2]
    dwell = len(labels) / len(runs(labels))
    if expected_dwell is not None:
        dwell = max(1.0, expected_dwell / view.block_rows)
    if view.kind == "blocks":
        return replace(model, summarize=view.block_rows, join_passages=True), Start(start, dwell, agreed.agreement)
    start = _at_every_row(start, view.block_rows)
    return replace(model, stride=view.block_rows), Start(start, dwell * view.block_rows, agreed.agreement)


def _carried(view: View, agreed: Consensus, candidates: Sequence[Candidate], model: ModelConfig) -> _Carried:
    """See what a few passes of EM leave of a consensus in a view."""
    labels = agreed.labels(candidate.at(view.middles) for candidate in candidates)
    rows, em, start = _fitted_to(labels, view.reduced(), model)
    fitted = em.run_em(subsample(rows, _FIT_ROWS), start[None], PASSES, calibrate=True)[0][0]
    left = smoothed_labels(rows, fitted, em.iid_prior)
    return _Carried(view, labels, float(agreements(np.stack([labels, left]))[0, 1]))


def _fitted_to(labels: NDArray[np.int64], view: View, model: ModelConfig) -> tuple[Rows, EM, Parameters]:
    """Fit the model to labels (n,) of the rows of a view."""
    with SeriesData.from_arrays(view.values, view.steps, known=view.known) as data:
        lagged_rows = training_rows(data, replace(model, stride=1, summarize=1))
        rows = lagged_rows.rows(0, len(lagged_rows))
    dwell = len(labels) / len(runs(labels))
    em = EM.over(rows, lagged_rows.model, len(lagged_rows.mean), dwell, pooled_rows=SEARCH_ROWS)
    return rows, em, start_from_labels(em, rows, labels)


def _at_every_row(parameters: Parameters, spacing: int) -> Parameters:
    """Convert parameters for every `spacing`-th row to all rows with that stride: visits last as long in time."""
    matrix = parameters.chain.transition_matrix
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    matrix = identity + (matrix - identity) / spacing
    return Parameters(parameters.emission, Chain(stationary(matrix), matrix), parameters.evidence_scale * spacing)
