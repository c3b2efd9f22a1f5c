"""Series files: which columns play which part, the rows as they stand, and the recording made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files.inputs import CsvTable, InputFile, ParquetTable, as_text, expand, in_blocks, open_table
from gmvae_cli.files.time_column import TimeReader
from gmvae_cli.files.validation import Problem, Recorder, Where, find_times, is_numeric, numbers, plain
from gmvae_cli.system.concurrency import prefetch
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.scratch import MEMORY_BYTES, Scratch, require_free

TIME_NAMES = ("time", "timestamp", "date", "t")
RESERVED = ("series", "regime", "true_regime", "segment", "log_likelihood")
BLOCK_ROWS = 1 << 16
_SURE = 0.8  # of the rows that a CSV file seems to have
_UNNAMED = ("", "__index_level_0__")  # a data frame's row numbers, saved by habit


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The parts that columns play; `columns` are all of the file's, in order."""

    time: str | None
    series: str | None
    channels: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that a recording is made of."""
        return (*(name for name in (self.time, self.series) if name is not None), *self.channels)


def is_reserved(name: str) -> bool:
    """Whether a column of this name is a channel only if the user says so."""
    return name.lower() in TIME_NAMES or name in RESERVED or name.startswith("prob_")


def open_series(inputs: Sequence[str] | Sequence[InputFile], config: SeriesConfig) -> "SeriesReader":
    """One table: the files that `inputs` name, in name order, or stdin ('-').

    With a series column an id may go on in the next file; without one each file is a series of its own. The headers of
    all files are read and refused here, their rows by `data`.
    """
    files = [entry for entry in inputs if isinstance(entry, InputFile)]
    files = files or expand([entry for entry in inputs if isinstance(entry, str)])
    return SeriesReader([open_table(file, config) for file in files], config)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Some rows, where they come from, and whether they begin a file."""

    table: Any
    where: Where
    name: str
    new_file: bool


class SeriesReader:
    """A table of one or several files; it may be read any number of times.

    Attributes:
        name: for messages. paths: of the files. layout: the columns' parts.
        format: "csv" or "parquet", `delimiter` and Arrow `schema`: those of the first file.
        rows: T, or None until a CSV file has been read.
        notes: (code, sentence) pairs about columns that are no channels.
    """

    def __init__(self, tables: "Sequence[CsvTable | ParquetTable]", config: SeriesConfig) -> None:
        first = tables[0]
        self.config = config
        self.name = first.name if len(tables) == 1 else f"{first.name} and {len(tables) - 1} more"
        self.paths = tuple(table.file.path for table in tables)
        self.format, self.delimiter = first.format, first.delimiter
        self.layout, self.notes = find_layout(first, config)
        rows = [table.rows for table in tables if table.rows is not None]
        self.rows = sum(rows) if len(rows) == len(tables) else None
        self.schema = first.schema
        self._tables = tables
        self._times = TimeReader(config.decimal)
        for table in tables[1:]:
            for name in self.layout.used:
                _require_column(table.name, table.columns, name)

    def using(self, config: SeriesConfig) -> "SeriesReader":
        """The same files with their columns in other parts; stdin is not read again."""
        return SeriesReader(self._tables, config)

    def read_data(
        self, directory: str | None = None, progress: Progress = silent, *, keep_constant: bool = False
    ) -> SeriesData:
        """Read the whole table once, refuse what cannot be used, and keep the numbers.

        Args:
            directory: of the scratch file; None takes TMPDIR.
            keep_constant: keep channels that never change or have no value, which are otherwise left out with a note.
        """
        layout = self.layout
        if not layout.channels:
            raise SeriesError(
                f"{self.name}: no numeric column can be a channel; columns are: {_listed(layout.columns)}; "
                "name channels with --channels"
            )
        # CSV says how many rows it has when they are read; only what is sure to be too much is refused before
        rows = self.rows or int(_SURE * sum(table.likely_rows for table in self._tables))
        nbytes = rows * 8 * (len(layout.channels) + 1)
        if nbytes > MEMORY_BYTES:
            require_free(directory, nbytes)
        scratch = Scratch(len(layout.channels) + 1, np.float64, directory)
        try:
            return self._record(scratch, progress, keep_constant)
        except BaseException:
            scratch.close()
            raise

    def _record(self, scratch: Scratch, progress: Progress, keep_constant: bool) -> SeriesData:
        layout, config = self.layout, self.config
        recorder = Recorder(layout.time, layout.series, layout.channels, config.decimal, scratch)
        for block in self._blocks(layout.used):
            recorder.add(block.table, block.where, new_file=block.new_file)
            progress("read", scratch.rows, self.rows)
        self.rows, self._times = scratch.rows, recorder.times
        data = recorder.finish(self.name, max_gap=config.max_gap, regular=config.regular, keep_constant=keep_constant)
        data.notes[:0] = self.notes
        return data

    def tables(self, block_rows: int = BLOCK_ROWS, *, typed: bool = False) -> Iterator[Any]:
        """All columns and rows in order, in blocks of exactly `block_rows` rows, save the last.

        Every cell is as it was: in CSV its own text, in Parquet its own type. `typed` turns the text of channels and
        the time column into numbers and dates, for results that go from CSV to Parquet.
        """
        first = self._tables[0]
        tables = (_aligned(block.table, first.schema, block.name, first.name) for block in self._blocks(None))
        for table in in_blocks(tables, block_rows):
            yield self._typed(table) if typed else table

    def labels(self, names: Sequence[str], block_rows: int = BLOCK_ROWS) -> Iterator[Any]:
        """Label columns as text, null where there is none, in blocks as `tables` gives them.

        A last column `series` holds the row's series id, or the name of its file where there is no series column.
        """
        for table in self._tables:
            for name in names:
                _require_column(table.name, table.columns, name)
        series = self.layout.series
        wanted = tuple(dict.fromkeys((*names, *([series] if series else []))))

        def spell(block: _Block) -> Any:
            ids = as_text(block.table[series]) if series else pa.repeat(block.name, block.table.num_rows)
            return pa.table([*(_label_text(block.table[name]) for name in names), ids], [*names, "series"])

        yield from in_blocks(map(spell, self._blocks(wanted)), block_rows)

    def _typed(self, table: Any) -> Any:
        """CSV text of the time column and the channels as numbers and dates."""
        for name in self.layout.used:
            position = table.column_names.index(name)
            column = table[name]
            if name == self.layout.series or not pa.types.is_string(column.type):
                continue
            if name == self.layout.time:
                cells = self._times.cells(column.combine_chunks())
            else:
                values = numbers(column, self.config.decimal)
                cells = None if values is None else pa.array(values, from_pandas=True)
            if cells is not None:
                table = table.set_column(position, name, cells)
        return table

    def _blocks(self, columns: Sequence[str] | None) -> Iterator[_Block]:
        if self.config.sort:
            yield from self._sorted_blocks(columns)
            return
        for table in self._tables:
            row = 0
            blocks = table.blocks(columns)
            for rows in blocks if table.is_small else prefetch(blocks):
                yield _Block(table=rows, where=_where(table.name, row), name=table.name, new_file=row == 0)
                row += rows.num_rows
            if not row:
                raise SeriesError(f"{table.name}: holds columns but no row")

    def _sorted_blocks(self, columns: Sequence[str] | None) -> Iterator[_Block]:
        """Blocks in order of series (as they first appear) and time; needs the whole table in memory."""
        together = [self._tables] if self.layout.series is not None else [[table] for table in self._tables]
        for tables in together:
            whole, where = self._whole(tables, columns)
            order = self._order(whole, where)
            for start in range(0, len(order), BLOCK_ROWS):
                rows = order[start : start + BLOCK_ROWS]
                block = whole.take(pa.array(rows))
                yield _Block(
                    table=block if columns is None else block.select(list(columns)),
                    where=_where_ordered(where, rows),
                    name=tables[0].name,
                    new_file=start == 0,
                )

    def _whole(self, tables: "Sequence[CsvTable | ParquetTable]", columns: Sequence[str] | None) -> tuple[Any, Where]:
        """These columns, and those that sorting needs, of some files as one table, and where its rows come from."""
        if columns is not None:
            keys = [name for name in (self.layout.time, self.layout.series) if name is not None]
            columns = list(dict.fromkeys([*columns, *keys]))
        first = tables[0]
        schema = first.schema if columns is None else pa.schema([first.schema.field(name) for name in columns])
        parts, counts = [], []
        for table in tables:
            blocks = [_aligned(block, schema, table.name, first.name) for block in table.blocks(columns)]
            if not blocks:
                raise SeriesError(f"{table.name}: holds columns but no row")
            parts += blocks
            counts.append((table.name, sum(block.num_rows for block in blocks)))
        return pa.concat_tables(parts).unify_dictionaries(), _where_among(counts)

    def _order(self, table: Any, where: Where) -> NDArray[np.int64]:
        keys: list[NDArray[Any]] = []
        if self.layout.time is not None:
            problems: list[Problem] = []
            column = plain(table[self.layout.time])
            times = find_times(column, self.layout.time, TimeReader(self.config.decimal), problems)
            if times is None:
                row, sentence = problems[0]
                raise SeriesError(f"{where(row)}: {sentence}")
            keys.append(times.ticks)
        if self.layout.series is not None:
            ids = plain(table[self.layout.series]).dictionary_encode().indices
            keys.append(ids.fill_null(-1).to_numpy())
        return np.lexsort(keys) if keys else np.arange(table.num_rows)


def find_layout(table: "CsvTable | ParquetTable", config: SeriesConfig) -> tuple[Layout, list[tuple[str, str]]]:
    """Which columns are time, series and channels, with notes about those left aside."""
    columns, named = table.columns, config.channels
    for name in (config.time, config.series, *(named or ())):
        if name is not None:
            _require_column(table.name, columns, name)
    time = config.time or (None if config.no_time else _default_time(columns, named or ()))
    series = config.series or ("series" if "series" in columns and "series" not in (named or ()) else None)
    for name in (time, series):
        if name is not None:
            _require_column(table.name, columns, name)
    if time is not None and time == series:
        raise ConfigError(f"'{time}' is named as --time and as --series; a column plays one part")
    for name in named or ():
        if name in (time, series):
            raise ConfigError(f"--channels names '{name}', which is the time or series column; a column plays one part")
    notes: list[tuple[str, str]] = []
    channels = named or _default_channels(table, {time, series}, notes)
    return Layout(time=time, series=series, channels=channels, columns=columns), notes


def _default_time(columns: Sequence[str], taken: Sequence[str]) -> str | None:
    free = [name for name in columns if name not in taken]
    return next((name for wanted in TIME_NAMES for name in free if name.lower() == wanted), None)


def _default_channels(
    table: "CsvTable | ParquetTable", taken: set[str | None], notes: list[tuple[str, str]]
) -> tuple[str, ...]:
    first = table.first_block
    folders = {key for key, _ in table.file.folder_columns}
    channels: list[str] = []
    for position, name in enumerate(table.columns):
        if name in taken or is_reserved(name) or name in folders:
            continue
        column = first.column(position)
        if table.columns.count(name) > 1:
            if name in table.columns[:position]:
                continue
            notes.append(("duplicate_column", f"the name '{name}' occurs more than once, so it is no channel"))
        elif pa.types.is_string(column.type) and column.null_count == len(column) and table.format == "csv":
            sentence = f"column '{name}' is empty at the start, so it is no channel unless --channels names it"
            notes.append(("empty_column", sentence))
        elif _holds_numbers(column, table.format):
            if name in _UNNAMED:
                notes.append(("unnamed_column", "a column without a name, perhaps row numbers, is no channel"))
            else:
                channels.append(name)
    return tuple(channels)


def _holds_numbers(column: Any, file_format: str) -> bool:
    """By type in Parquet; in CSV by more than half of the non-empty cells."""
    if file_format == "parquet":
        return is_numeric(column.type)
    number = r"^\s*[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:nan|inf|infinity)\s*$"
    share = pc.mean(pc.match_substring_regex(column.drop_null(), number)).as_py()
    return share is not None and share > 0.5


def _require_column(file: str, columns: Sequence[str], name: str) -> None:
    if name not in columns:
        raise SeriesError(f"{file}: no column '{name}'; columns are: {_listed(columns)}")
    if columns.count(name) > 1:
        raise SeriesError(f"{file}: {columns.count(name)} columns are named '{name}'; rename all but one")


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns[:20]) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")


def _aligned(table: Any, schema: Any, name: str, first_name: str) -> Any:
    """A block of a later file in the columns and types of the first one."""
    if table.schema.equals(schema):
        return table
    if sorted(table.column_names) != sorted(schema.names):
        differing = sorted(set(table.column_names) ^ set(schema.names)) or sorted(schema.names)
        raise SeriesError(f"{name}: its columns differ from those of {first_name} in: {_listed(differing)}")
    try:
        return (table if table.column_names == schema.names else table.select(schema.names)).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise SeriesError(f"{name}: its columns are of other types than those of {first_name}") from error


def _label_text(column: Any) -> Any:
    text = as_text(column)
    blank = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(text)), pa.array(["", "nan"]))
    return pc.if_else(blank, pa.scalar(None, pa.string()), text)


def _where(name: str, first_row: int) -> Where:
    """Rows are counted from 1, the header not among them."""
    return lambda row: f"{name}: row {first_row + row + 1}"


def _where_ordered(where: Where, rows: NDArray[np.int64]) -> Where:
    return lambda row: where(int(rows[row]))


def _where_among(files: Sequence[tuple[str, int]]) -> Where:
    """The same for files (name, rows) one behind the other."""
    stops = np.cumsum([rows for _, rows in files])

    def where(row: int) -> str:
        index = int(np.searchsorted(stops, row, side="right"))
        name, rows = files[index]
        return _where(name, int(row - (stops[index] - rows)))(0)

    return where
