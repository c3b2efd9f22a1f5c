"""Series files: their numbers for the mathematics, and their rows as they stand for the output."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.cells import as_text, label_text, numbers
from gmvae_cli.files.inputs import InputFile, expand
from gmvae_cli.files.row_blocks import BLOCK_ROWS, RowBlock, Tables, aligned, read_in_order, read_sorted
from gmvae_cli.files.table_reader import in_blocks, open_table
from gmvae_cli.files.time_column import TimeReader
from gmvae_cli.files.validation import SeriesBuilder
from gmvae_cli.recognition.column_facts import ColumnFacts, facts_of
from gmvae_cli.recognition.column_roles import Layout, find_layout, require_column
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.scratch import MEMORY_BYTES, Scratch, require_free

_CERTAIN_SHARE = 0.8  # of the rows that a CSV file is estimated to have: less scratch space than that is never enough


def open_series(inputs: Sequence[str] | Sequence[InputFile], config: SeriesConfig) -> "SeriesReader":
    """Open one table: the files that `inputs` name, in the order of their names, or stdin ('-').

    With a series column an id may go on in the next file; without one each file is a series of its own. The headers of
    all files are read and checked here, their rows by `read_data`.

    Raises:
        SeriesError: a file or column that is absent or cannot be used. ConfigError: options that contradict each other.
    """
    files = [entry for entry in inputs if isinstance(entry, InputFile)]
    files = files or expand([entry for entry in inputs if isinstance(entry, str)])
    return SeriesReader([open_table(file, config) for file in files], config)


class SeriesReader:
    """A table of one or several files; it may be read any number of times.

    Attributes:
        name: in messages. files, paths: of the table. layout: the columns' roles, found where they are not given.
        config: the options it is read with, and the decimal mark of its numbers.
        format: "csv" or "parquet", `delimiter` and Arrow `schema`: those of the first file.
        rows: T, or None until a CSV file has been read.
        notes: about columns that are no channels.
    """

    def __init__(self, tables: Tables, config: SeriesConfig, layout: Layout | None = None) -> None:
        first = tables[0]
        self.name = first.name if len(tables) == 1 else f"{first.name} and {len(tables) - 1} more"
        self.files = tuple(table.file for table in tables)
        self.paths = tuple(file.path for file in self.files)
        self.format, self.delimiter = first.format, first.delimiter
        self.layout, notes = find_layout(first, config) if layout is None else (layout, [])
        self.config = replace(config, decimal=self.layout.form.decimal)
        self.notes = [*(note for table in tables for note in table.notes), *notes]
        self.span: tuple[int, int | None] = (0, None)  # first row, and number of rows
        rows = [table.rows for table in tables if table.rows is not None]
        self.rows = sum(rows) if len(rows) == len(tables) else None
        self.schema = first.schema
        self._tables = tables
        self._times = self.layout.time_reader()
        for table in tables[1:]:
            for name in self.layout.used:
                require_column(table.name, table.columns, name)

    def using(self, config: SeriesConfig) -> "SeriesReader":
        """Return a reader of the same files with other roles of their columns; stdin is not read again."""
        return SeriesReader(self._tables, config)

    @property
    def likely_rows(self) -> int:
        """Number of rows, of CSV files an estimate."""
        return self.rows or sum(table.likely_rows for table in self._tables)

    def between(self, first: int, count: int) -> "SeriesReader":
        """Return a reader of some rows, in the order of the files: row `first` of the first file, and those behind."""
        reader = SeriesReader(self._tables, self.config, self.layout)
        reader.span = (first, count)
        return reader

    def blocks_of(self, columns: Sequence[str] | None) -> Iterator[RowBlock]:
        """Yield the rows with some of their columns, None for all, in blocks as they come from the files."""
        if self.config.sort:
            return read_sorted(self._tables, columns, self.layout)
        return read_in_order(self._tables, columns, *self.span)

    def parts(self) -> list["SeriesReader"]:
        """Return a reader of each file, with the same roles of its columns."""
        layout = self.layout
        roles = replace(
            self.config,
            channels=layout.channels,
            time=layout.time,
            no_time=layout.time is None,
            series=layout.series,
        )
        return [SeriesReader([table], roles) for table in self._tables]

    def read_data(
        self, directory: str | None = None, progress: Progress = silent, *, keep_constant: bool = False
    ) -> SeriesData:
        """Read the whole table once, check every cell, and keep the numbers.

        Args:
            directory: of the scratch file; None takes TMPDIR.
            keep_constant: keep channels without two values, which are left out else; then no channel is no error.
        Raises:
            SeriesError: no channel, a cell that cannot be used, or no channel that varies.
            GmvaeError: too little scratch space.
        """
        layout = self.layout
        if not layout.channels and not keep_constant:
            raise SeriesError(
                f"{self.name}: no numeric column can be a channel; columns are: {layout.listed}; "
                "name channels with --channels"
            )
        # the rows of a CSV file are only estimated, so only a sure lack of space is an error before they are read
        rows = self.rows or int(_CERTAIN_SHARE * self.likely_rows)
        nbytes = rows * 8 * (len(layout.channels) + 1)
        if nbytes > MEMORY_BYTES:
            require_free(directory, nbytes)
        scratch = Scratch(len(layout.channels) + 1, np.float64, directory)
        try:
            return self._build(scratch, progress, keep_constant)
        except BaseException:
            scratch.close()
            raise

    def _build(self, scratch: Scratch, progress: Progress, keep_constant: bool) -> SeriesData:
        config = self.config
        builder = SeriesBuilder(self.layout, scratch, self.facts)
        for block in self.blocks_of(self.layout.used):
            builder.add(block.table, block.where, new_file=block.new_file)
            progress("read", scratch.rows, self.rows)
        self.rows, self._times = scratch.rows, builder.order.times
        self.layout = replace(self.layout, time_form=builder.order.times.time_form)
        data = builder.finish(self.name, max_gap=config.max_gap, regular=config.regular, keep_constant=keep_constant)
        data.notes[:0] = self.notes
        return data

    def columns(self, data: SeriesData) -> list[dict[str, Any]]:
        """Return the roles of all columns in `data`, which this reader has read, as `Layout.described` gives them."""
        return self.layout.described(dict(zip(data.channels, data.missing.tolist(), strict=True)))

    def facts(self) -> dict[str, ColumnFacts]:
        """Return the facts about the columns of the first rows, for advice."""
        return facts_of(self._tables[0].first_block, self.layout.form, self.layout.columns)

    def tables(self, block_rows: int = BLOCK_ROWS, *, typed: bool = False) -> Iterator[Any]:
        """Yield all columns and rows in order, in blocks of exactly `block_rows` rows; the last may be shorter.

        Every cell is as it was: in CSV its own text, in Parquet its own type.

        Args:
            typed: turn the text of channels and of the time column into numbers and dates, for results that go from
                CSV to Parquet.
        Raises:
            SeriesError: a file whose columns differ from those of the first.
        """
        first = self._tables[0]
        tables = (aligned(block.table, first.schema, block.name, first.name) for block in self.blocks_of(None))
        for table in in_blocks(tables, block_rows):
            yield _typed(table, self.layout, self._times) if typed else table

    def labels(self, names: Sequence[str], block_rows: int = BLOCK_ROWS) -> Iterator[Any]:
        """Yield label columns as text, null where a row has no label, in blocks as `tables` gives them.

        A last column `series` holds the row's series id, or the name of its file where there is no series column.

        Raises:
            SeriesError: no such column.
        """
        for table in self._tables:
            for name in names:
                require_column(table.name, table.columns, name)
        series = self.layout.series
        wanted = tuple(dict.fromkeys((*names, *([series] if series else []))))

        def spell_out(block: RowBlock) -> Any:
            ids = as_text(block.table[series]) if series else pa.repeat(block.name, block.table.num_rows)
            return pa.table(
                [*(label_text(block.table[name], self.layout.form) for name in names), ids], [*names, "series"]
            )

        yield from in_blocks(map(spell_out, self.blocks_of(wanted)), block_rows)


def _typed(table: Any, layout: Layout, times: TimeReader) -> Any:
    """Return a table of CSV text with the time column and the channels as numbers and dates."""
    for name in layout.used:
        column = table[name]
        is_half = len(layout.time_columns) > 1 and name in layout.time_columns  # a date or a clock alone
        if name in (layout.series, layout.known) or is_half or not pa.types.is_string(column.type):
            continue
        if name == layout.time:
            cells = times.cells(column.combine_chunks())
        else:
            values = numbers(column, layout.form_of(name))
            cells = None if values is None else pa.array(values, from_pandas=True)
        if cells is not None:
            table = table.set_column(table.column_names.index(name), name, cells)
    return table
