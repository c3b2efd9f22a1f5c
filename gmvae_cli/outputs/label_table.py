"""Labels written beside the cells of their rows, for all commands that label a table.

    totals = LabelTotals(checkpoint.model.regimes, checkpoint.channels)
    with (
        open_outputs(reader, "out.csv", "segments.csv", files) as outputs,
        reader.read_data(keep_constant=True) as data,
        table_labels(data, checkpoint, config, totals, directory=scratch_folder("out.csv")) as labels,
    ):
        labels.write(reader, outputs)

The model may be one that was just trained, and the data those that it was trained on.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import pyarrow as pa

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.data.series_data import SeriesData, row_time
from gmvae_cli.errors import ConfigError, Note
from gmvae_cli.files.cells import as_text
from gmvae_cli.files.inputs import TEXT_SUFFIXES, suffix_of
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.files.table_writer import TableWriter, writer
from gmvae_cli.inference import apply
from gmvae_cli.inference.labelled_rows import LabelledRows, held_to_known, in_portions
from gmvae_cli.inference.scored_rows import BLOCK_ROWS
from gmvae_cli.outputs.label_totals import NOVEL, LabelTotals, note_on_step
from gmvae_cli.outputs.name_column import NameColumn
from gmvae_cli.outputs.segment_table import SegmentTable
from gmvae_cli.regime_names import is_label
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.storage import is_url

OnRows = Callable[[str, pa.Table, LabelledRows], None]


@dataclass(frozen=True)
class Outputs:
    """The open files that a table's labels go to.

    Args:
        segments: None where no list of segments is wanted. typed: whether text of CSV cells becomes numbers and dates.
        file: of the rows, for a column of that name in a list of the segments of several files; None: no such column.
    """

    rows: TableWriter
    segments: TableWriter | None
    typed: bool
    file: str | None = None


@contextmanager
def open_outputs(
    reader: SeriesReader, output: str, segments_path: str | None, files: SeriesConfig
) -> Iterator[Outputs]:
    """Open the output and the segments file of a table, with its delimiter and decimal mark.

    Both are tried at once, so that a path that cannot be written raises an error before long work. They appear when
    the block ends without an error.
    """
    suffix, how = suffix_of(output), replace(reader.config, digits=files.digits)  # as a model remembers it
    delimiter = how.delimiter or (reader.delimiter if suffix == ".csv" else None)
    with (
        writer(output, schema=reader.schema, delimiter=delimiter, decimal=how.decimal, digits=how.digits) as rows,
        open_segments(segments_path, how) as segments,
    ):
        yield Outputs(rows, segments, typed=reader.format == "csv" and suffix not in TEXT_SUFFIXES)


def open_segments(path: str | None, files: SeriesConfig) -> AbstractContextManager[TableWriter | None]:
    """Open the list of segments of a table, which appears when the block ends without an error; None without a path."""
    if path is None:
        return nullcontext()
    return writer(path, delimiter=files.delimiter, decimal=files.decimal, digits=files.digits)


def require_rows_stay(reader: SeriesReader) -> None:
    """Check that every row of a table stays in its file, so that each file can have an output of its own.

    Raises:
        ConfigError: sorting would move rows from file to file.
    """
    if len(reader.files) > 1 and reader.config.sort and reader.layout.series is not None:
        raise ConfigError("--sort would move rows from file to file; sort the files into one first")


def scratch_folder(output: str) -> str | None:
    """Return the folder of scratch files: that of the output; None, which means TMPDIR, for stdout and URLs."""
    return None if output == "-" or is_url(output) else os.path.dirname(os.path.abspath(output))


@contextmanager
def table_labels(
    data: SeriesData,
    checkpoint: Checkpoint,
    config: InferConfig,
    totals: LabelTotals,
    *,
    model_path: str = "model",
    directory: str | None = None,
    progress: Progress = silent,
    clamp_known: bool = False,
    labelled: AbstractContextManager[Iterator[LabelledRows]] | None = None,
) -> Iterator["TableLabels"]:
    """Infer the labels of a table, to be written within the block.

    Args:
        data: the model's channels, constant ones as well (`keep_constant`). totals: gets counts and warnings.
        model_path: for messages. directory: of scratch files; None takes TMPDIR.
        clamp_known: rows with a known label keep it, and tell those beside them.
        labelled: yields the labels of all rows, where they come from elsewhere; None: they are inferred here.
    """
    totals.start_table()
    checkpoint, notes = apply.with_shortest_visit(checkpoint, config, data)
    totals.notes += notes
    totals.time_units.add(data.time_unit)
    if labelled is None:
        labelled = _inferred(data, checkpoint, config, model_path, directory, progress, clamp_known)
    with labelled as blocks:
        if clamp_known and data.known is not None:
            blocks = held_to_known(blocks, data.known, data.known.positions_in(checkpoint.names))
        names = NameColumn(checkpoint, config.unknown is not None)
        yield TableLabels(data, blocks, config, names, totals, progress)
    totals.notes += [*data.notes, *note_on_step(data, checkpoint)]


@contextmanager
def _inferred(
    data: SeriesData,
    checkpoint: Checkpoint,
    config: InferConfig,
    model_path: str,
    directory: str | None,
    progress: Progress,
    clamp_known: bool,
) -> Iterator[Iterator[LabelledRows]]:
    """Infer the labels of all rows, to be taken within the block; arguments of `table_labels`."""
    with apply.infer(
        data,
        checkpoint,
        config.posterior,
        config.device,
        model_path=model_path,
        directory=directory,
        progress=progress,
        clamp_known=clamp_known,
        novelty=config.judges_rows,
        unknown=config.unknown,
    ) as posterior:
        yield posterior.blocks()


class TableLabels:
    """The labels of one table, to be written once, from its first row to its last."""

    def __init__(
        self,
        data: SeriesData,
        blocks: Iterator[LabelledRows],
        config: InferConfig,
        names: NameColumn,
        totals: LabelTotals,
        progress: Progress,
        first_row: int = 0,
    ) -> None:
        self._data, self._config, self._names, self._totals, self._progress = data, config, names, totals, progress
        self._take = in_portions(blocks)
        self._row, self._first_row = 0, first_row
        self._segments: SegmentTable | None = None

    def write(
        self,
        reader: SeriesReader,
        outputs: Outputs,
        on_rows: OnRows | None = None,
        totals: LabelTotals | None = None,
    ) -> None:
        """Write the next rows with their labels: all of the table, or those of one of its files.

        Args:
            reader: of the cells. on_rows: is called with each block: the name of its file, the cells, their labels.
            totals: count these rows; None: those of the table do.
        """
        totals = totals or self._totals
        kept, begin = self._columns_kept(reader, totals), self._row
        if self._segments is None:
            self._segments = SegmentTable(reader.layout, self._data, self._names, self._config.posterior != "filter")
        for table in reader.tables(BLOCK_ROWS, typed=outputs.typed):
            block = self._take(table.num_rows)
            outputs.rows.write(self._labelled(table.select(kept), block))
            row = self._first_row + self._row
            totals.add(block, self._data.read(row, row + len(block))[0], row_time(self._data))
            if totals.novel_since is None:
                totals.novel_since = _first_novel(reader, table, block, self._row - begin)
            if outputs.segments is not None:
                finished = self._segments.add(table, block, self._row, reader.name, outputs.file)
                if len(finished):
                    outputs.segments.write(finished)
            if on_rows is not None:
                on_rows(reader.name, table, block)
            self._row += len(block)
            self._progress("write", self._row, self._data.rows)
        if outputs.segments is not None and self._row == self._data.rows:
            outputs.segments.write(self._segments.finish())

    def write_files(
        self,
        reader: SeriesReader,
        targets: Sequence[str],
        files: SeriesConfig,
        segments: TableWriter | None = None,
        on_rows: OnRows | None = None,
        totals: Sequence[LabelTotals] | None = None,
    ) -> None:
        """Write the rows of each file of the table into an output of its own, and one list of all segments.

        Args:
            totals: of each file; None: those of the table count all rows.
        """
        counted = [self._totals] * len(targets) if totals is None else totals
        for part, output, of_part in zip(reader.parts(), targets, counted, strict=True):
            with open_outputs(part, output, None, files) as outputs:
                outputs = replace(outputs, segments=segments, file=part.files[0].relative)
                self.write(part, outputs, on_rows, of_part)

    def _columns_kept(self, reader: SeriesReader, totals: LabelTotals) -> list[int]:
        """List the positions of columns that are written again; labels of an earlier run are replaced, with a note."""
        layout = reader.layout
        replaced = [name for name in layout.columns if is_label(name)]
        if replaced:
            sentence = f"the columns {', '.join(replaced)} of {reader.name} are replaced"
            totals.notes.append(Note("replaced_columns", sentence))
        if self._config.only_regimes:
            return [
                index
                for index, name in enumerate(layout.columns)
                if name in (*layout.time_columns, layout.series) and name not in replaced
            ]
        return [index for index, name in enumerate(layout.columns) if name not in replaced]

    def _labelled(self, cells: pa.Table, block: LabelledRows) -> pa.Table:
        """Append regime, regime_name if there are names, prob_0 .., log_likelihood, and novelty if wanted."""
        labelled = self._names.add_to(cells.append_column("regime", pa.array(block.regimes)), block.regimes)
        if self._config.only_regimes:
            return labelled
        for regime in self._names.used:
            labelled = labelled.append_column(f"prob_{regime}", pa.array(block.probs[:, regime]))
        labelled = labelled.append_column("log_likelihood", pa.array(block.log_likelihood, from_pandas=True))
        if not self._config.novelty:
            return labelled
        return labelled.append_column("novelty", pa.array(block.novelty, from_pandas=True))


def _first_novel(reader: SeriesReader, cells: pa.Table, block: LabelledRows, row: int) -> str | None:
    """Say where the first novel row of a block is, which begins at a row of its file; None where there is none."""
    if block.novelty is None or not (block.novelty > NOVEL).any():
        return None
    first = int((block.novelty > NOVEL).argmax())
    time = reader.layout.time
    at = "" if time is None else f", {time} {as_text(cells[time].slice(first, 1))[0].as_py()}"
    return f"{reader.name}, row {reader.span[0] + row + first + 1}{at}"
