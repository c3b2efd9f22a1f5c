"""`infer` on many workers: whole files are dealt out, and series that are too long for one worker in stretches.

Of a table that is cut each stretch is read three times: for its times and ids (`survey`), for its transfer matrices
(`messages`), and to label its rows, which go into a part of the output. No row passes this process.
"""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.cluster.messages import StretchTransfers, ends_of, transfers_of
from gmvae_cli.cluster.parts import PartFile, PartFolder, PartRecord
from gmvae_cli.cluster.stored_table import StoredSeries, Stretch, SurveyedTable
from gmvae_cli.cluster.survey import count_rows, rows_beyond, stored, survey
from gmvae_cli.cluster.whole_files import FileLabelling
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import READ_ROWS, SeriesData
from gmvae_cli.errors import ConfigError, GmvaeError, Note
from gmvae_cli.files.atomic import make_folder
from gmvae_cli.files.inputs import InputFile, suffix_of
from gmvae_cli.inference.block_messages import Ends
from gmvae_cli.inference.posterior import Inference
from gmvae_cli.inference.scored_rows import RowScorer
from gmvae_cli.outputs.label_table import TableLabels
from gmvae_cli.outputs.label_totals import LabelCounts, LabelTotals, note_on_step
from gmvae_cli.outputs.name_column import NameColumn
from gmvae_cli.outputs.segment_list import HeldSegments, SegmentList, release
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.engine import Engine, in_order
from gmvae_cli.system.progress import silent
from gmvae_cli.system.storage import parent

CUT_OUTPUT = ".parquet"


class _FileJob(NamedTuple):
    """Job of labelling whole files, the same for all workers; a file of more than `limit` rows is only counted.

    Args:
        segments_path: of the list of segments of a single file. holds_segments: whether the result has those of each.
    """

    checkpoint: Checkpoint
    model_path: str
    config: InferConfig
    series: SeriesConfig
    limit: int | None
    segments_path: str | None = None
    holds_segments: bool = False


class _LabelledFile(NamedTuple):
    """Result of a whole file.

    Args:
        too_long: its rows, where it is to be cut. failure: why it could not be labelled.
        segments: as `HeldSegments` writes them.
    """

    counts: LabelCounts | None = None
    notes: tuple[Note, ...] = ()
    columns: tuple[dict[str, Any], ...] = ()
    time_unit: str | None = None
    too_long: int | None = None
    failure: str | None = None
    segments: bytes = b""


class _StretchJob(NamedTuple):
    """Job of labelling the stretches of a table, the same for all workers."""

    surveyed: SurveyedTable
    checkpoint: Checkpoint
    model_path: str
    config: InferConfig
    series: SeriesConfig


class _StretchTask(NamedTuple):
    stretch: Stretch
    ends: Ends
    part: PartFile


class DealtLabelling:
    """The work of labelling files with one model on many workers.

    Args:
        labelling: gets the totals. limit: rows of a stretch at most.
        segments_path: where the list of segments is wanted, so that no file is cut.
    """

    def __init__(self, engine: Engine, labelling: FileLabelling, limit: int, segments_path: str | None = None) -> None:
        self.engine, self.labelling, self.limit, self._segments_path = engine, labelling, limit, segments_path
        model = labelling.checkpoint.model
        # blocks of rows, and rows that pass between regimes, are labelled by rows around them; sorting needs all rows,
        # and so does a path without short visits, whose message is no matrix
        lasting = labelling.config.min_dwell or str(model.shortest_visit)
        by_rows = model.summarize == 1 and not model.join_passages and lasting == "1"
        self._can_cut = by_rows and not labelling.series.sort
        self._can_cut &= labelling.config.unknown is None  # stretches that no regime explains may pass a cut
        self._can_cut &= segments_path is None  # so may segments

    def label_file(self, file: InputFile, output: str) -> None:
        """Label one file: into a file, or if it is cut, or the output has no suffix, into a folder of parts."""
        suffix = suffix_of(output)
        if suffix is None and not self._can_cut:
            raise ConfigError(
                f"{output}: the model or an option labels whole files, so --output needs a name like out.parquet"
            )
        result = _LabelledFile()
        if suffix is not None:
            [(_, result)] = self.engine.run(_label_file, [(file, output)], self._file_job(self._segments_path))
        if result.failure is not None:
            raise GmvaeError(result.failure)
        if result.counts is not None:
            self._add(file, output, result)
            return
        if suffix not in (None, CUT_OUTPUT):
            raise ConfigError(
                f"--output is '{output}', but the input is cut into parts, which are Parquet files in a folder; name "
                "a folder, or give a larger --stretch-rows"
            )
        self._label_table([(file, output)], None if result.too_long is None else [result.too_long])

    def label_folder(
        self, files: Sequence[InputFile], folder: str, skip_existing: bool, segments: SegmentList | None = None
    ) -> None:
        """Label files into a folder, as `FileLabelling.label_folder` does."""
        labelling = self.labelling
        targets = labelling.outcomes.begin_folder(files, folder, skip_existing)
        series = labelling.open([targets[0][0]]).layout.series if targets else None
        if segments is not None:
            segments.keep(labelling.outcomes.skipped_in(segments.path))
            if series is not None:
                sentence = f"with column '{series}' all files are one table, whose segments are labels of one process"
                raise ConfigError(f"--segments: {sentence}; leave out --engine and --workers")
        if series is not None and self._can_cut:
            self._label_cut(targets, None)
        else:
            self._label_each(targets, skip_existing, segments)
        labelling.outcomes.finish_folder(folder)

    def _label_each(
        self, targets: Sequence[tuple[InputFile, str]], skip_existing: bool, segments: SegmentList | None
    ) -> None:
        """Label files of which each is a table of its own."""
        labelling, cut = self.labelling, list[tuple[InputFile, str, int]]()
        job = self._file_job()._replace(holds_segments=segments is not None)
        results = in_order(self.engine.run(_label_file, targets, job))
        for done, ((file, target), result) in enumerate(zip(targets, results, strict=True)):
            if result.too_long is not None:
                cut.append((file, target, result.too_long))
            elif result.failure is not None:
                labelling.outcomes.fail([(file, target)], result.failure, keep=skip_existing)
            else:
                self._add(file, target, result)
                if segments is not None:
                    release(result.segments, segments)
                labelling.outcomes.earlier.forget_failure(target)
            labelling.progress("infer", done + 1, len(targets), labelling.outcomes.failed)
        for file, target, rows in cut:
            self._label_cut([(file, target)], [rows])

    def _label_cut(self, targets: Sequence[tuple[InputFile, str]], counts: Sequence[int] | None) -> None:
        """Label the files of one table among others, or report why it cannot be labelled."""
        try:
            self._label_table(targets, counts)
        except GmvaeError as error:
            self.labelling.outcomes.fail(targets, str(error))

    def _file_job(self, segments_path: str | None = None) -> _FileJob:
        work = self.labelling
        limit = self.limit if self._can_cut else None
        return _FileJob(work.checkpoint, work.model_path, work.config, work.series, limit, segments_path)

    def _add(self, file: InputFile, output: str, result: _LabelledFile) -> None:
        """Add a file that was labelled by a worker."""
        assert result.counts is not None
        outcomes = self.labelling.outcomes
        totals = outcomes.file_totals()
        totals.add_part(result.counts)
        totals.notes += result.notes
        totals.time_units.add(result.time_unit)
        outcomes.add_table([(file, output)], [totals], list(result.columns))

    def _label_table(self, targets: Sequence[tuple[InputFile, str]], counts: Sequence[int] | None) -> None:
        """Label the files of one table in stretches; counts: rows of each file, None: they are not known."""
        labelling, engine = self.labelling, self.engine
        files = [file for file, _ in targets]
        reader = labelling.open(files[:1])
        if counts is None:
            counts = count_rows(engine, files, reader.config, labelling.progress)
        table = stored(files, reader.config, reader.layout, counts)
        stretches = table.stretches(self.limit)
        surveyed, data = survey(
            engine, table, stretches, labelling.progress, with_channels=reader.format == "csv", keep_constant=True
        )
        data.notes[:0] = reader.notes
        folder = PartFolder(table, stretches, [output for _, output in targets], labelling)
        job = _StretchJob(surveyed, labelling.checkpoint, labelling.model_path, labelling.config, labelling.series)
        waiting = [index for index, record in enumerate(folder.records) if record is None]
        if waiting:
            ends = self._ends(job, stretches)
            tasks = [_StretchTask(stretches[index], ends[index], folder.parts[index]) for index in waiting]
            for done, (index, record) in enumerate(engine.run(_label_stretch, tasks, job)):
                folder.records[waiting[index]] = record
                labelling.progress("infer", len(stretches) - len(waiting) + done + 1, len(stretches))
        records = folder.finish()
        totals, whole = [labelling.outcomes.file_totals() for _ in files], labelling.outcomes.file_totals()
        for part, record in zip(folder.parts, records, strict=True):
            totals[part.file].add_part(record.counts)
        whole.time_units.add(data.time_unit)
        whole.notes = [*data.notes, *records[0].notes, *note_on_step(data, labelling.checkpoint)]
        missing = np.sum([record.missing for record in records], axis=0).tolist()
        layout = surveyed.table.layout
        columns = layout.described(dict(zip(layout.channels, missing, strict=True)))
        written = [(files[part.file].path, part.path) for part in folder.parts]
        labelling.outcomes.add_table(targets, totals, columns, whole, written)

    def _ends(self, job: _StretchJob, stretches: Sequence[Stretch]) -> list[Ends]:
        """Find what the rows around each stretch say about it; rows that are independent say nothing."""
        if job.checkpoint.model.prior == "iid":
            return [Ends(beta=np.ones((1, job.checkpoint.model.regimes))) for _ in stretches]
        found: list[StretchTransfers] = []
        for transfers in in_order(self.engine.run(_transfers, stretches, job)):
            found.append(transfers)
            self.labelling.progress("forward", len(found), len(stretches))
        return ends_of(found, job.checkpoint.parameters.chain.initial_probs)


# --- in a worker -----------------------------------------------------------------------------------------------------


def _label_file(job: _FileJob, task: tuple[InputFile, str]) -> _LabelledFile:
    """Label a file, as `FileLabelling` does."""
    configure_process()
    file, output = task
    labelling = FileLabelling(job.checkpoint, job.model_path, job.config, job.series, silent)
    try:
        if job.limit is not None:
            rows = rows_beyond(labelling.open([file]), job.limit)
            if rows is not None:
                return _LabelledFile(too_long=rows)
        make_folder(parent(output))
        held = io.BytesIO()
        segments = HeldSegments(held) if job.holds_segments else None
        labelling.label_file(file, output, job.segments_path, segments)
        if segments is not None:
            segments.close()
    except GmvaeError as error:
        return _LabelledFile(failure=str(error))
    totals = labelling.outcomes.totals
    unit = next(iter(totals.time_units))
    return _LabelledFile(
        totals.of_part(), tuple(totals.notes), tuple(labelling.outcomes.columns), unit, segments=held.getvalue()
    )


def _lagged(job: _StretchJob, stretch: Stretch) -> LaggedRows:
    """Read the rows of a stretch; the caller closes their data."""
    configure_process()
    checkpoint = job.checkpoint
    # twice: with Student t noise the lags of a row are weighted by how well they were predicted themselves
    data = StoredSeries(job.surveyed, stretch.start, stretch.stop, 2 * checkpoint.model.context_rows)
    return LaggedRows(
        data,
        checkpoint.model,
        checkpoint.mean.numpy(),
        checkpoint.scale.numpy(),
        torch.float64,
        device_of(job.config.device),
        ranges=[(stretch.start, stretch.stop)],
        restarts=False,
    )


def _transfers(job: _StretchJob, stretch: Stretch) -> StretchTransfers:
    """Compute the transfer matrices of a stretch."""
    checkpoint, posterior = job.checkpoint, job.config.posterior
    encoder = checkpoint.build_encoder(job.model_path) if posterior == "encoder" else None
    rows = _lagged(job, stretch)
    scale = float(checkpoint.parameters.evidence_scale)
    with rows.data, RowScorer(rows, checkpoint, encoder, scale) as scorer:
        return transfers_of(scorer, checkpoint, posterior, is_first=stretch.start == 0)


def _label_stretch(job: _StretchJob, task: _StretchTask) -> PartRecord:
    """Label the rows of a stretch and write its part of the output."""
    checkpoint, posterior, stretch = job.checkpoint, job.config.posterior, task.stretch
    encoder = checkpoint.build_encoder(job.model_path) if posterior == "encoder" else None
    rows = _lagged(job, stretch)
    totals = LabelTotals(checkpoint.model.regimes, checkpoint.channels)
    reader = job.surveyed.table.reader(stretch.start, stretch.stop)
    with (
        rows.data as data,
        Inference.over(
            rows, checkpoint, posterior, encoder, ends=task.ends, novelty=job.config.judges_rows
        ) as inferred,
        task.part.opened(reader, job.series) as part,
    ):
        names = NameColumn(checkpoint)
        labels = TableLabels(data, inferred.blocks(), job.config, names, totals, silent, first_row=stretch.start)
        labels.write(reader, part.outputs)
        record = PartRecord(totals.of_part(), tuple(totals.notes), _missing(data, stretch))
        part.describe(record)
    return record


def _missing(data: SeriesData, stretch: Stretch) -> list[int]:
    """Count the missing values of each channel in a stretch, (D,)."""
    counts = np.zeros(len(data.channels), np.int64)
    for start in range(stretch.start, stretch.stop, READ_ROWS):
        counts += np.isnan(data.read(start, min(start + READ_ROWS, stretch.stop))[0]).sum(0)
    return [int(count) for count in counts]
