"""`train` on many workers: one fits the sample, all of them share the passes over all rows.

    survey      counts, means, steps of all rows                        survey.survey
    sample      start, annealing, EM and encoder on the sample          a worker, fit.fit_sample
    passes      transfer matrices, then moments and counts, of every stretch, added in the order of the rows
    finish      the encoder once more, numbering, scores                a worker, fit.finish

So a model does not depend on how many workers there were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.cluster.messages import StretchTransfers, Transfer, ends_of
from gmvae_cli.cluster.stored_table import StoredSeries, Stretch, SurveyedTable
from gmvae_cli.cluster.survey import count_rows, stored, survey
from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import ConfigError, Note
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.inference.block_messages import Ends
from gmvae_cli.selection.search import data_notes, make_choices
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.engine import Engine, in_order
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.training.expectation import RegimeCounts, Statistics, collect, count_labels, lattice_of
from gmvae_cli.training.fit import Passes, SampleFit, finish, fit_sample, run_passes
from gmvae_cli.training.sampling import draw
from gmvae_cli.training.trained_model import Start, TrainedModel, initial_of, summarise

_BLOCK_ROWS = 1 << 18  # of an E-step, as of a pass on one machine


class DealtModel(NamedTuple):
    """A trained model, with the facts about its data (without a row) and the configuration that was chosen."""

    data: SeriesData
    config: TrainConfig
    trained: TrainedModel


class _SampleJob(NamedTuple):
    """Job of fitting the sample, and of finishing the model."""

    surveyed: SurveyedTable
    config: TrainConfig
    older: Checkpoint | None
    reference: Checkpoint | None


class _Begun(NamedTuple):
    """Result of the sample: (D,) mean and scale that the rows are standardised by, and the notes about them."""

    config: TrainConfig
    start: Start
    notes: list[Note]
    fit: SampleFit
    mean: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class _PassJob:
    """Job of a pass over all rows with the same parameters."""

    surveyed: SurveyedTable
    model: ModelConfig
    mean: np.ndarray
    scale: np.ndarray
    device: str
    parameters: Parameters

    def rows(self, stretch: Stretch) -> LaggedRows:
        """Read the rows of a stretch; the caller closes their data."""
        configure_process()
        data = StoredSeries(self.surveyed, stretch.start, stretch.stop, 2 * self.model.context_rows)
        ranges = [(stretch.start, stretch.stop)]
        device = device_of(self.device)
        return LaggedRows(data, self.model, self.mean, self.scale, device=device, ranges=ranges, restarts=False)


def train_dealt(
    engine: Engine,
    reader: SeriesReader,
    config: TrainConfig,
    limit: int,
    pass_rows: int,
    progress: Progress,
    older: Checkpoint | None = None,
    reference: Checkpoint | None = None,
) -> DealtModel:
    """Train a model on the workers of an engine.

    Args:
        reader: of files that every worker can read. limit: rows of a stretch at most.
        pass_rows: rows up to which passes go over all of them; the sample alone decides on more.
        older, reference: as `--init` and `--align-to` name them.
    Raises:
        SeriesError: the table cannot be used. ConfigError: a model of blocks, or a table that must be sorted.
    """
    if config.model.summarize > 1 or config.model.waveforms or (config.search and config.search.block_rows is None):
        raise ConfigError("--summarize makes blocks of rows across stretches, so its training cannot be dealt out")
    if reader.config.sort:
        raise ConfigError("--sort needs all rows in one place; sort the file first")
    counts = count_rows(engine, reader.files, reader.config, progress)
    table = stored(reader.files, reader.config, reader.layout, counts)
    stretches = table.stretches(limit)
    surveyed, data = survey(engine, table, stretches, progress, with_channels=True, keep_constant=False)
    data.notes[:0] = reader.notes
    job = _SampleJob(surveyed, config, older, reference)
    [(_, begun)] = engine.run(_begin, [None], job)
    passes = None
    if table.rows <= pass_rows:
        all_rows = _AllRows(engine, surveyed, begun, stretches, progress)
        passes = run_passes(begun.fit, begun.config, all_rows.expect)
    notes = [*data.notes, *begun.notes]
    if passes is None:
        sentence = "the rows are so many that a sample of them decides; --train-rows all passes over all of them"
        notes.append(Note("sampled", sentence))
    [(_, trained)] = engine.run(_finish, [(begun, passes, notes)], job)
    return DealtModel(data, begun.config, trained)


class _AllRows:
    """Passes over all rows of a table, each by tasks of which one takes one stretch."""

    def __init__(
        self,
        engine: Engine,
        surveyed: SurveyedTable,
        begun: _Begun,
        stretches: Sequence[Stretch],
        progress: Progress,
    ) -> None:
        self._engine, self._surveyed, self._begun = engine, surveyed, begun
        self._stretches, self._progress = stretches, progress

    def expect(self, parameters: Parameters, number: int | None) -> tuple[Statistics, RegimeCounts]:
        """Run the E-step with messages that are exact at the edges of all blocks; as `expectation.expect_all`."""
        begun, iid_prior = self._begun, self._begun.fit.em.iid_prior
        model = begun.config.model
        job = _PassJob(self._surveyed, model, begun.mean, begun.scale, begun.config.device, parameters)
        ends: list[list[Ends]] = [[] for _ in self._stretches]
        if not iid_prior:
            found: list[list[Transfer]] = []
            for transfers in in_order(self._engine.run(_block_transfers, self._stretches, job)):
                found.append(transfers)
                self._progress("forward", len(found), len(self._stretches))
            blocks = [StretchTransfers(transfer, None, None) for transfers in found for transfer in transfers]
            remaining = iter(ends_of(blocks, parameters.chain.initial_probs))
            ends = [[next(remaining) for _ in transfers] for transfers in found]
        total: tuple[Statistics, RegimeCounts] | None = None
        tasks = list(zip(self._stretches, ends, strict=True))
        for done, (statistics, labels) in enumerate(in_order(self._engine.run(_statistics, tasks, job))):
            total = (statistics, labels) if total is None else _added(total, statistics, labels)
            self._progress("polish", done + 1, len(tasks))
        assert total is not None
        return total


# --- in a worker -----------------------------------------------------------------------------------------------------


def _begin(job: _SampleJob, _: None) -> _Begun:
    """Fit the sample, which this worker reads."""
    configure_process()
    with StoredSeries(job.surveyed) as data:
        config, start = make_choices(job.config, data, silent)
        notes = data_notes(data, config)
        if job.older is not None:
            start = replace(start, initial=initial_of(job.older, config, data), names=job.older.names)
        rows = training_rows(data, config.model, device_of(config.device))
        begun = fit_sample(rows, config, start.dwell, silent, start.initial)
        return _Begun(config, start, notes, replace(begun, rows=None), rows.mean, rows.scale)


def _finish(job: _SampleJob, task: tuple[_Begun, Passes | None, list[Note]]) -> TrainedModel:
    """Fit the encoder to the passes over all rows (None: there were none), number and score the model."""
    configure_process()
    begun, passes, notes = task
    with StoredSeries(job.surveyed) as data:
        config = begun.config
        rows = training_rows(data, config.model, device_of(config.device))
        sample = draw(rows, config).rows
        begun_fit = replace(begun.fit, rows=sample)
        if passes is None:
            statistics, _, probs = collect(sample, begun_fit.best[None], begun_fit.em.iid_prior)
            labels = count_labels(probs[0], sample, 0, None)
            passes = Passes(begun_fit.best, begun_fit.gain, statistics, labels, are_new=False)
        fit = finish(begun_fit, passes, config, silent)
        layout = job.surveyed.table.layout
        return summarise(fit, rows, data, layout, config, begun.start, silent, notes, job.reference)


def _blocks(stretch: Stretch) -> list[tuple[int, int]]:
    """Return the ranges of the blocks of a stretch, in rows of the stretch."""
    rows = stretch.stop - stretch.start
    return [(start, min(start + _BLOCK_ROWS, rows)) for start in range(0, rows, _BLOCK_ROWS)]


def _block_transfers(job: _PassJob, stretch: Stretch) -> list[Transfer]:
    """Compute the transfer matrix of every block of a stretch."""
    lagged_rows = job.rows(stretch)
    K = job.model.regimes
    transfers = []
    with lagged_rows.data:
        for start, stop in _blocks(stretch):
            is_first = stretch.start + start == 0
            lattice = lattice_of(lagged_rows.rows(start, stop), job.parameters[None], start=is_first)
            lattice.exponentiate()
            transfers.append(Transfer(np.eye(K), np.zeros(K)).behind(lattice))
    return transfers


def _statistics(job: _PassJob, task: tuple[Stretch, list[Ends]]) -> tuple[Statistics, RegimeCounts]:
    """Sum what the M-step needs over the rows of a stretch, and count their labels."""
    stretch, ends = task
    lagged_rows = job.rows(stretch)
    iid_prior = job.model.prior == "iid"
    total: tuple[Statistics, RegimeCounts] | None = None
    with lagged_rows.data:
        for (start, stop), end in zip(_blocks(stretch), ends or [Ends()] * len(_blocks(stretch)), strict=True):
            rows = lagged_rows.rows(start, stop)
            message, beta = (None if part is None else torch.as_tensor(part) for part in (end.message, end.beta))
            statistics, _, probs = collect(rows, job.parameters[None], iid_prior, message, beta)
            labels = count_labels(probs[0], rows, stretch.start + start, None)
            total = (statistics, labels) if total is None else _added(total, statistics, labels)
    assert total is not None
    return total


def _added(
    total: tuple[Statistics, RegimeCounts], statistics: Statistics, labels: RegimeCounts
) -> tuple[Statistics, RegimeCounts]:
    """Add the sums over later rows."""
    return total[0] + statistics, total[1].joined(labels)
