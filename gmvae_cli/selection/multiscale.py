"""Choice of the time scale and the number of regimes, by the agreement of labellings at several time scales.

Where the model is wrong, and on recordings it always is, likelihood does not say how long a regime should last: it
prefers many short visits. But a regime shows at every scale at which one looks. So the recording is seen as rows and
as blocks of several lengths (`views`), windows of several lengths are clustered in each view, and training starts from
the consensus of all these labellings (`consensus`). Where a model of the rows explains them (`row_model`), likelihood
decides.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.metrics.partition import agreements
from gmvae_cli.metrics.segments import runs
from gmvae_cli.model.chain import Chain, stationary
from gmvae_cli.selection.consensus import Consensus, consensus
from gmvae_cli.selection.row_model import PASSES, REGIME_COUNTS, RESTARTS, FitTask, RowModel, best_row_model, fit_task
from gmvae_cli.selection.sampling_rate import stride
from gmvae_cli.selection.views import View, views
from gmvae_cli.selection.waveform_search import choose_waveforms
from gmvae_cli.system.concurrency import in_processes
from gmvae_cli.system.device import configure_process
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import smoothed_labels
from gmvae_cli.training.initialization import start_from_labels, start_from_levels, start_from_windows, with_noise
from gmvae_cli.training.sampling import subsample
from gmvae_cli.training.trained_model import Start

# Windows of n / (this * K) rows of a view: no single length serves all recordings (docs/design.md, "Real recordings");
# these three and the limits below are chosen, not measured.
_WINDOW_FACTORS = (4.0, 2.7, 1.8)
_SHORT_WINDOWS = (10, 30, 100)  # rows, beside these, in the view of rows
_SHORTEST_WINDOW, _LONGEST_WINDOW = 4, 2_000  # rows of a view
_BLOCKS_PER_VISIT = 4  # an expected visit is seen in no fewer blocks
_SHORT_RECORDING = 2_000  # rows; a shorter recording has fewer views,
_SHORT_SEEDS = 3  # so each is fitted from more seeds; both chosen, not measured
_FIT_ROWS = 8_000  # rows of a view that a fit sees; all are labelled. Keeps the search below 20 s; docs/benchmarks.md
_COMPARED_ROWS = 2_000  # rows, evenly spaced, by which labellings are compared
_WAVEFORM_CHANNELS = 2  # up to which regimes are kinds of waveform; with 4 and 12 channels the consensus is as good
_SHARES_OF_A_VISIT = (0.125, 0.25, 0.5, 1.0)  # windows from which a model of the rows must be found again
_SAME_LABELS = 0.8  # ARI of labellings that differ in odd rows only; chosen, not measured


class Candidate(NamedTuple):
    """A labelling of a view: labels (n,) of its rows, with so many regimes."""

    view: View
    regimes: int
    labels: NDArray[np.int16]

    def at(self, rows: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the labels of rows of the recording, (m,)."""
        return self.labels[np.searchsorted(self.view.edges, rows, side="right") - 1]


def choose(
    data: SeriesData, regimes: int | None, dwell: float | None, config: TrainConfig, progress: Progress
) -> tuple[ModelConfig, Start]:
    """Choose the time scale, and the number of regimes where None is given.

    Args:
        dwell: rows that a visit is expected to last, if known: it leads the choice of the time scale.
    Returns:
        the model, and where its training starts.
    """
    spacing = stride(data)
    task = fit_task(data, config)
    row_model = best_row_model(task, regimes, progress)
    if row_model.credible and _is_stable(row_model, task):
        reason = _because_of_rows(row_model, regimes)
        return replace(row_model.model, join_passages=True), Start(row_model.parameters, dwell, reason=reason)
    counts = sorted({*REGIME_COUNTS, regimes or 2})
    if regimes != 1 and dwell is None and len(data.channels) <= _WAVEFORM_CHANNELS:
        waveforms = choose_waveforms(data, regimes, counts, config)
        if waveforms is not None:
            model, start = waveforms
            return model, replace(start, reason=_because_of_waveforms(row_model, model.regimes))
    tasks = [] if regimes == 1 else _tasks(data, spacing, counts, dwell, config)
    candidates = _candidates(tasks, progress)
    if not candidates:
        reason = "one regime, as asked" if regimes == 1 else "the file is too short to compare time scales"
        return replace(config.model, regimes=regimes or 1, stride=spacing), Start(dwell=dwell, reason=reason)
    rows = np.linspace(0, data.rows - 1, min(data.rows, _COMPARED_ROWS)).astype(int)
    labels = np.stack([candidate.at(rows) for candidate in candidates])
    counts = sorted({candidate.regimes for candidate in candidates})
    agreed = consensus(labels, [regimes] if regimes else counts, counts[-1], config.seed)
    chosen, start = _start_from(agreed, candidates, dwell, config.model)
    return chosen, replace(start, reason=_because_of_scales(row_model))


def _because_of_rows(row_model: RowModel, regimes: int | None) -> str:
    if row_model.model.regimes == 1:
        return "one autoregression explains all rows, and more regimes explain them no better"
    count = "as asked" if regimes else "of the number that explains them best"
    return f"regimes are levels and dynamics of the rows, {count}: these regimes explain the rows from one to the next"


def _because_of_waveforms(row_model: RowModel, regimes: int) -> str:
    if regimes == 1:
        return "one regime: different divisions of the recording into kinds of waveform do not agree"
    return f"regimes are kinds of waveform, compared in blocks of whole periods: {_unexplained(row_model)}"


def _because_of_scales(row_model: RowModel) -> str:
    return f"regimes are what several time scales agree on: {_unexplained(row_model)}"


def _unexplained(row_model: RowModel) -> str:
    """Say why the model of the rows was not believed."""
    if not row_model.white:
        return "no model of single rows explains them, since its errors go on from row to row"
    if not row_model.credible:
        return "a model of single rows finds only visits of a few rows"
    return "a model of single rows gives other regimes from other starts"


def _is_stable(row_model: RowModel, task: FitTask) -> bool:
    """Return whether a third of the starts from windows about as long as the visits leads to the same labels."""
    if row_model.model.regimes == 1:
        return True
    view = View("rows", 1, task.values, task.steps, np.arange(len(task.values) + 1))
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
    """List the views fine enough for the expected dwell, each with all numbers of regimes that it is long enough for.

    The longest tasks come first.
    """
    eligible = views(data, spacing)
    if dwell is not None:
        coarsest = max(dwell / _BLOCKS_PER_VISIT, min(view.block_rows for view in eligible))
        eligible = [view for view in eligible if view.kind == "rows" or view.block_rows <= coarsest]
    models = [replace(config.model, regimes=count) for count in reversed(counts)]
    return [
        _Task(view, model, config.seed, data.rows, dwell)
        for model in models
        for view in eligible
        if view.supports(model.regimes)
    ]


def _candidates(tasks: Sequence[_Task], progress: Progress) -> list[Candidate]:
    """Compute the labellings of all tasks, in the order of the tasks."""
    by_task: list[list[Candidate]] = [[] for _ in tasks]
    for done, (index, labellings) in enumerate(in_processes(_labellings, tasks)):
        task = tasks[index]
        by_task[index] = [Candidate(task.view, task.model.regimes, labels) for labels in labellings]
        progress("views", done + 1, len(tasks))
    return [candidate for candidates in by_task for candidate in candidates]


def _labellings(task: _Task) -> list[NDArray[np.int16]]:
    """Label a view, (n,) for each window length and seed."""
    configure_process()
    view, model = task.view, task.model
    with SeriesData.from_arrays(view.values, view.steps) as data:
        lagged_rows = training_rows(data, model)
        rows = lagged_rows.rows(0, len(lagged_rows))
        sample = subsample(rows, _FIT_ROWS)
        em = EM.over(sample, model, len(lagged_rows.mean), None)
        kinds = (start_from_windows, start_from_levels) if task.windows and model.intercept else (start_from_windows,)
        starts, dwells = [], []
        for window in _window_lengths(len(rows), task):
            for seed in range(task.num_seeds):
                generator = torch.Generator().manual_seed(1_000 * task.seed + seed)
                for started_from in kinds:
                    start = started_from(replace(em, dwell=window), sample, window, RESTARTS, generator)
                    if start is not None:
                        starts.append(start)
                        dwells.append(float(window))
        if not starts:
            return []
        em = replace(em, dwells=tuple(dwells))
        fitted = em.run_em(sample, with_noise(em, Parameters.stacked(starts)), PASSES, calibrate=True)[0]
        return [smoothed_labels(rows, fitted[index], em.iid_prior).astype(np.int16) for index in range(len(starts))]


def _window_lengths(rows: int, task: _Task) -> Sequence[int]:
    """Choose the rows of a window: half the expected dwell if it is known, but windows enough for all regimes."""
    if task.windows:
        return task.windows
    long = [min(round(rows / (factor * task.model.regimes)), _LONGEST_WINDOW) for factor in _WINDOW_FACTORS]
    if task.dwell is not None:
        return [max(2, min(round(task.dwell / (2 * task.view.block_rows)), long[-1]))]
    short = [length for length in _SHORT_WINDOWS if task.view.kind == "rows" and length < 0.35 * long[0]]
    return sorted({length for length in short + long if length >= _SHORTEST_WINDOW})


# --- from the consensus to a start -----------------------------------------------------------------------------------


def _start_from(
    agreed: Consensus, candidates: Sequence[Candidate], expected_dwell: float | None, model: ModelConfig
) -> tuple[ModelConfig, Start]:
    """Fit a start for training to the consensus, in the view whose own labelling agrees best with it.

    Training expects the user's dwell, in rows of that view, or else that of the consensus.
    """
    model = replace(model, regimes=agreed.regimes)
    eligible = [index for index, candidate in enumerate(candidates) if candidate.view.kind != "rough"]
    eligible = [index for index in eligible if candidates[index].view.supports(model.regimes)] or eligible
    view = candidates[max(eligible, key=agreed.agreed.__getitem__)].view
    middles = (view.edges[:-1] + view.edges[1:]) // 2
    labels = agreed.labels(candidate.at(middles) for candidate in candidates)
    dwell = len(labels) / len(runs(labels))
    with SeriesData.from_arrays(view.values, view.steps) as data:
        lagged_rows = training_rows(data, replace(model, stride=1, summarize=1))
        rows = lagged_rows.rows(0, len(lagged_rows))
        start = start_from_labels(EM.over(rows, lagged_rows.model, len(lagged_rows.mean), dwell), rows, labels)
    if expected_dwell is not None:
        dwell = max(1.0, expected_dwell / view.block_rows)
    if view.kind == "blocks":
        return replace(model, summarize=view.block_rows), Start(start, dwell, agreed.agreement)
    start = _at_every_row(start, view.block_rows)
    return replace(model, stride=view.block_rows), Start(start, dwell * view.block_rows, agreed.agreement)


def _at_every_row(parameters: Parameters, spacing: int) -> Parameters:
    """Convert parameters for every `spacing`-th row to all rows with that stride: visits last as long in time."""
    matrix = parameters.chain.transition_matrix
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    matrix = identity + (matrix - identity) / spacing
    chain = Chain(stationary(matrix), matrix)
    return Parameters(parameters.emission, chain, parameters.evidence_scale * spacing)
