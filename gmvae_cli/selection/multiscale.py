"""A recording seen at several time scales, and the labelling that these views agree on.

Where the model is wrong, and on recordings it always is, likelihood does not say how long a regime should last: it
prefers many short visits. What a regime is shows in another way: it is there whatever the scale at which one looks. So
the recording is seen as rows, and as blocks of several lengths; windows of several lengths are clustered in each view;
and the consensus of all these labellings is what goes on.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.block_features import STD_EPSILON, block_edges, block_features, roughness
from gmvae_cli.data.lagged_rows import LaggedRows, training_rows
from gmvae_cli.data.series_data import READ_ROWS, SeriesData
from gmvae_cli.metrics.partition import agreements
from gmvae_cli.metrics.segments import runs
from gmvae_cli.model.chain import Chain, stationary
from gmvae_cli.selection.consensus import Consensus, consensus
from gmvae_cli.selection.sampling_rate import stride
from gmvae_cli.system.concurrency import in_processes
from gmvae_cli.system.device import configure_process
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import smoothed_labels
from gmvae_cli.training.fit import fit_em_only
from gmvae_cli.training.initialization import start_from_labels, start_from_windows, with_noise
from gmvae_cli.training.sampling import SAMPLE_ROWS, subsample
from gmvae_cli.training.trained_model import Start

_BLOCK_COUNTS = (300, 600, 1200)  # blocks that a recording is cut into
_SHORTEST_BLOCK = 4  # rows
_WINDOWS = (4.0, 2.7, 1.8)  # windows of n / (this * K) rows of a view
_SHORT_WINDOWS = (10, 30, 100)  # rows, beside these, where rows themselves are seen
_LONGEST_WINDOW = 2_000
_ROUGH_CHANNELS = 6  # channels up to which blocks are also seen with their roughness
_NUMBERS = 3  # a regime of D channels needs D + 3 rows
_BLOCKS_A_VISIT = 4
_FIT_ROWS = 8_000  # rows of a view that a fit sees; all are labelled
_PASSES, _RESTARTS = 12, 8
_SHORT, _SHORT_SEEDS = 2_000, 3  # a recording of fewer rows has fewer views, so each is fitted from more seeds
_COMPARED_ROWS = 2_000
_COUNTS = range(2, 10)  # numbers of regimes that are tried
_GATE_REGIMES = 5  # with so many a correct model of fewer regimes is still white
_FLICKER = 12  # rows; regimes whose visits are shorter on average describe noise
_PASSING = 4  # rows; a regime of heavy tails whose visits are shorter on average is made of outliers
_SAME_LABELS = 0.8  # ARI of labels that are the same but for the odd row


class View(NamedTuple):
    """Rows or blocks of a recording.

    Args:
        kind: "rows", "blocks", or "rough": blocks with the log spread of their differences as well, which only vote.
        block_rows: rows that each stands for.
        values: (n, D). steps: (n,) as a recording has them.
        edges: (n + 1,) first rows.
    """

    kind: str
    block_rows: int
    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    edges: NDArray[np.int64]

    def supports(self, regimes: int) -> bool:
        """Whether it has the complete rows that training asks for, of blocks twice as many."""
        gaps = np.isnan(self.values).sum(axis=1)
        usable = int(np.count_nonzero((gaps[1:] + gaps[:-1] == 0) & (self.steps[1:] == 1)))
        spare = 1 if self.kind == "rows" else 2
        return usable >= spare * regimes * (len(self.values.T) + _NUMBERS)


class Candidate(NamedTuple):
    """A labelling of a view: labels (n,) of its rows, of so many regimes."""

    view: View
    regimes: int
    labels: NDArray[np.int16]

    def at(self, rows: NDArray[np.int64]) -> NDArray[np.int16]:
        """The labels of rows of the recording, (m,)."""
        return self.labels[np.searchsorted(self.view.edges, rows, side="right") - 1]


def choose(
    data: SeriesData, regimes: int | None, dwell: float | None, config: TrainConfig, progress: Progress
) -> tuple[ModelConfig, Start]:
    """Choose the time scale, or that of the expected `dwell` in rows, and the number of regimes where None is given.

    Where a model of the rows is right, only the number of regimes needs to be chosen, by BIC. Else every view is
    clustered into every number of regimes, and the consensus of all labellings goes on: with the number of regimes
    given, or that whose consensus agrees best with all of them.
    """
    spacing = stride(data)
    if spacing == 1:
        plain = _right_model(data, regimes, config, progress)
        if plain is not None:
            return plain.model, Start(plain.fitted, dwell)
    tasks = [] if regimes == 1 else _tasks(data, spacing, sorted({*_COUNTS, regimes or 2}), dwell, config)
    found = _all_fitted(tasks, progress)
    if not found:
        return replace(config.model, regimes=regimes or 1, stride=spacing), Start(dwell=dwell)
    at = np.linspace(0, data.rows - 1, min(data.rows, _COMPARED_ROWS)).astype(int)
    labels = np.stack([candidate.at(at) for candidate in found])
    tried = sorted({candidate.regimes for candidate in found})
    return _choice(
        found, consensus(labels, [regimes] if regimes else tried, tried[-1], config.seed), dwell, config.model
    )


def _tasks(
    data: SeriesData, spacing: int, counts: Sequence[int], dwell: float | None, config: TrainConfig
) -> "list[_Task]":
    """Every view that is fine enough for the expected dwell, with every number of regimes that it is long enough for.

    What takes longest comes first.
    """
    seen = views(data, spacing)
    if dwell is not None:
        fine = max(dwell / _BLOCKS_A_VISIT, min(one.block_rows for one in seen))
        seen = [one for one in seen if one.kind == "rows" or one.block_rows <= fine]
    models = [replace(config.model, regimes=K) for K in reversed(counts)]
    return [
        _Task(one, model, config.seed, data, dwell) for model in models for one in seen if one.supports(model.regimes)
    ]


def views(data: SeriesData, spacing: int) -> list[View]:
    """Every `spacing`-th row, unless these are very many, and blocks of several lengths where there are rows enough."""
    found = [_view_of_rows(data, spacing)] if data.rows <= SAMPLE_ROWS * spacing else []
    for count in _BLOCK_COUNTS:
        block_rows = data.rows // count
        if block_rows < _SHORTEST_BLOCK:
            continue
        std_epsilon = STD_EPSILON * data.scale
        with block_features(data, block_rows, std_epsilon) as features:
            values, steps = features.read(0, features.rows)
            edges = features.edges
        assert edges is not None
        found.append(View("blocks", block_rows, values, steps, edges))
        if len(data.channels) <= _ROUGH_CHANNELS:
            rough = np.concatenate([values, roughness(data, block_rows, edges, std_epsilon)], axis=1)
            found.append(View("rough", block_rows, rough, steps, edges))
    return found


def _view_of_rows(data: SeriesData, spacing: int) -> View:
    edges, steps = block_edges(data, spacing)
    parts = []
    for start in range(0, data.rows, READ_ROWS):
        stop = min(start + READ_ROWS, data.rows)
        first = edges[:-1][(edges[:-1] >= start) & (edges[:-1] < stop)]
        parts.append(data.read(start, stop)[0][first - start])
    return View("rows", spacing, np.concatenate(parts), steps, edges)


class _Task:
    """A view to be fitted, with so many regimes."""

    def __init__(self, one: View, model: ModelConfig, seed: int, data: SeriesData, dwell: float | None) -> None:
        self.view, self.seed, self.dwell = one, seed, dwell
        self.model = replace(model, stride=1, summarize=1)
        self.seeds = _SHORT_SEEDS if data.rows < _SHORT else 1
        self.name = data.name


def _all_fitted(tasks: Sequence[_Task], progress: Progress) -> list[Candidate]:
    """The candidates of all tasks, in their order."""
    found: list[list[Candidate]] = [[] for _ in tasks]
    for done, (index, labellings) in enumerate(in_processes(_fitted, tasks)):
        task = tasks[index]
        found[index] = [Candidate(task.view, task.model.regimes, labels) for labels in labellings]
        progress("views", done + 1, len(tasks))
    return [candidate for group in found for candidate in group]


def _fitted(task: _Task) -> list[NDArray[np.int16]]:
    """The labellings of one view, one for each window length and seed."""
    configure_process()
    one, model = task.view, task.model
    with SeriesData.from_arrays(one.values, one.steps, name=task.name) as data:
        lagged_rows = training_rows(data, model)
        rows = lagged_rows.rows(0, len(lagged_rows))
        few = subsample(rows, _FIT_ROWS)
        em = EM.over(few, model, len(lagged_rows.mean), None)
        started, dwells = [], []
        for window in _window_lengths(len(rows), task):
            for seed in range(task.seeds):
                generator = torch.Generator().manual_seed(1_000 * task.seed + seed)
                start = start_from_windows(replace(em, dwell=window), few, window, _RESTARTS, generator)
                if start is not None:
                    started.append(start)
                    dwells.append(float(window))
        if not started:
            return []
        em = replace(em, dwells=tuple(dwells))
        fitted = em.run_em(few, with_noise(em, Parameters.stacked(started)), _PASSES, calibrate=True)[0]
        return [smoothed_labels(rows, fitted[index], em.iid_prior).astype(np.int16) for index in range(len(started))]


def _window_lengths(rows: int, task: _Task) -> list[int]:
    """Half the expected dwell where it is known, in rows of the view; but never so long that there are too few."""
    long = [min(round(rows / (factor * task.model.regimes)), _LONGEST_WINDOW) for factor in _WINDOWS]
    if task.dwell is not None:
        return [max(2, min(round(task.dwell / (2 * task.view.block_rows)), long[-1]))]
    short = [length for length in _SHORT_WINDOWS if task.view.kind == "rows" and length < 0.35 * long[0]]
    return sorted({length for length in short + long if length >= 4})


def _choice(
    found: Sequence[Candidate], agreed: Consensus, expected: float | None, model: ModelConfig
) -> tuple[ModelConfig, Start]:
    """The consensus as a start for training, in the view whose own labelling came closest to it.

    Training is told the expected dwell, in rows of that view, or else the one of the consensus.
    """
    model = replace(model, regimes=agreed.regimes)
    eligible = [index for index, candidate in enumerate(found) if candidate.view.kind != "rough"]
    eligible = [index for index in eligible if found[index].view.supports(model.regimes)] or eligible
    one = found[max(eligible, key=agreed.agreed.__getitem__)].view
    middles = (one.edges[:-1] + one.edges[1:]) // 2
    labels = agreed.labels(candidate.at(middles) for candidate in found)
    dwell = len(labels) / len(runs(labels))
    with SeriesData.from_arrays(one.values, one.steps) as data:
        lagged_rows = training_rows(data, replace(model, stride=1, summarize=1))
        rows = lagged_rows.rows(0, len(lagged_rows))
        start = start_from_labels(EM.over(rows, lagged_rows.model, len(lagged_rows.mean), dwell), rows, labels)
    if expected is not None:
        dwell = max(1.0, expected / one.block_rows)
    if one.kind == "blocks":
        return replace(model, summarize=one.block_rows), Start(start, dwell, agreed.agreement)
    start = _at_every_row(start, one.block_rows)
    return replace(model, stride=one.block_rows), Start(start, dwell * one.block_rows, agreed.agreement)


def _at_every_row(model: Parameters, spacing: int) -> Parameters:
    """A model of every `spacing`-th row as one of all rows with that stride: visits last as long in time."""
    matrix = model.chain.transition_matrix
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    matrix = identity + (matrix - identity) / spacing
    return Parameters(model.emission, Chain(stationary(matrix), matrix), model.evidence_scale * spacing)


# --- a model that is right -------------------------------------------------------------------------------------------


class _Plain(NamedTuple):
    """The likeliest model of the rows with so many regimes: its labels, BIC, and whether it may be right.

    shortest: rows that visits to the regime of the shortest ones last on average.
    """

    model: ModelConfig
    fitted: Parameters
    labels: NDArray[np.int64]
    bic: float
    credible: bool
    shortest: float


def _right_model(data: SeriesData, regimes: int | None, config: TrainConfig, progress: Progress) -> "_Plain | None":
    """A model of the rows that is right, if there is one.

    It leaves white errors, its regimes do not flicker, and windows of several lengths lead to the same labels, a third
    of them at least: some lengths fit no recording.
    """
    if data.rows > SAMPLE_ROWS:
        return None
    values, steps = data.read(0, data.rows)
    attempt = _Attempt(values, steps, replace(config.model, regimes=regimes or _GATE_REGIMES), config.seed)
    plain = _plain(attempt)
    if plain.credible and regimes is None:
        plain = _by_bic(attempt, progress)
    if plain.credible and plain.model.regimes > 1:
        rows = _view_of_rows(data, 1)
        found = _fitted(_Task(rows, plain.model, config.seed, data, None))
        if not found:
            return None
        alike = agreements(np.stack([plain.labels, *found]))[0, 1:]
        if np.quantile(alike, 2 / 3) < _SAME_LABELS:
            return None
    return plain if plain.credible else None


class _Attempt(NamedTuple):
    """Rows, as a recording gives them, and a model to be fitted to them."""

    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    model: ModelConfig
    seed: int


def _by_bic(attempt: _Attempt, progress: Progress) -> _Plain:
    """The number of regimes of smallest BIC; heavy tails need no regimes for outliers, which last a row or two."""
    counts = [*reversed(_COUNTS), 1]
    attempts = [attempt._replace(model=replace(attempt.model, regimes=count)) for count in counts]
    tried: dict[int, _Plain] = {}
    for done, (index, plain) in enumerate(in_processes(_plain, attempts)):
        tried[counts[index]] = plain
        progress("regimes", done + 1, len(counts))
    lasting = [count for count, plain in tried.items() if plain.shortest >= _PASSING]
    eligible = lasting if attempt.model.noise == "student" and lasting else tried
    return tried[min(sorted(eligible), key=lambda count: tried[count].bic)]


def _plain(attempt: _Attempt) -> _Plain:
    """Fitted to pieces of a long recording, or to all of a short one."""
    configure_process()
    model = attempt.model
    with SeriesData.from_arrays(attempt.values, attempt.steps) as data:
        lagged_rows: LaggedRows = training_rows(data, model)
        rows = lagged_rows.rows(0, len(lagged_rows))
    few = subsample(rows, _FIT_ROWS)
    config = TrainConfig(model=model, polish=_PASSES, restarts=_RESTARTS // 2)
    fitted = fit_em_only(few, config, len(lagged_rows.mean), attempt.seed, silent)
    em = EM.over(few, model, len(lagged_rows.mean), None)
    labels = smoothed_labels(rows, fitted, em.iid_prior)
    visits = runs(labels)
    rows_of, visits_of = np.bincount(labels), np.bincount(labels[visits.start])
    shortest = float((rows_of / np.maximum(visits_of, 1))[visits_of > 0].min())
    count = int(few.usable.sum())
    likelihood = float(em.score(few, fitted[None])[0]) * count
    bic = model.num_free_parameters(len(lagged_rows.mean)) * np.log(count) - 2 * likelihood
    credible = float(fitted.evidence_scale) == 1 and len(rows) >= _FLICKER * len(visits)
    return _Plain(model, fitted, labels, bic, credible, shortest)
