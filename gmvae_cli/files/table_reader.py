"""Tables read as blocks of rows: Parquet, Arrow and JSON lines, with types; CSV has a module of its own."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet as pq

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.files.cells import shorten, spell
from gmvae_cli.files.csv_table import CsvTable, behind, new_folder_columns, reading, with_folder_columns
from gmvae_cli.files.inputs import InputFile, require_file, suffix_of
from gmvae_cli.system.storage import LocalCopy, is_url, open_native

BATCH_ROWS = 1 << 16
_SMALL_BYTES = 1 << 16
_DATE = pa.timestamp("us")
_JSON_BYTES = 1 << 20  # parsed at once; no line is longer
_JSON_KINDS: dict[type, str] = {
    **{int: "a number", float: "a number", bool: "true or false"},
    **{str: "text", list: "a list", dict: "an object"},
}
PARQUET_BUFFER_BYTES = 1 << 20  # pages are read through a buffer of this size, so a large row group costs no memory


def open_table(file: InputFile, config: SeriesConfig) -> "CsvTable | TypedTable":
    """Open a file as a table: its header is read and checked now, its rows by `blocks`.

    Raises:
        SeriesError: no such file, a folder, an unknown suffix, or a header that cannot be used.
    """
    require_file(file)
    suffix = suffix_of(file.path)
    table = _TYPED.get(suffix or "")
    return CsvTable(file, config) if table is None else table(file)


class TypedTable:
    """A file whose columns have types, which they keep.

    Attributes:
        file: to read. name: in messages. rows: T, or None until it is read. schema: of Arrow. delimiter: for results
            in CSV. notes: about types. columns: names, in the file's order, those of `key=value` folders behind them.
    """

    format = "typed"
    delimiter = ","
    rows: int | None = None

    def __init__(self, file: InputFile) -> None:
        self.file, self.name = file, file.name
        with reading(self.name):
            own = self._describe()
        self._periods = {field.name: freq for field in own if (freq := _period_of(field)) is not None}
        own = pa.schema([_as_dates(field) if field.name in self._periods else field for field in own], own.metadata)
        self.notes = [_note_on_periods(name, self.name) for name in self._periods]
        folders = new_folder_columns(own.names, file)
        self.schema = pa.schema([*own, *(pa.field(key, pa.string()) for key, _ in folders)], metadata=own.metadata)
        self._own = tuple(own.names)
        self.columns = tuple(self.schema.names)

    def _describe(self) -> Any:
        """Return the Arrow schema, and set `rows` where the file says it."""
        raise NotImplementedError

    def _batches(self, columns: Sequence[str] | None, first: int) -> Iterator[Any]:
        """Yield record batches of some of the columns, or of all, from the row `first` on."""
        raise NotImplementedError

    @property
    def likely_rows(self) -> int:
        """Number of rows, exact, or that of the first block where the file does not say."""
        return int(self.first_block.num_rows if self.rows is None else self.rows)

    @property
    def is_small(self) -> bool:
        """Whether reading takes less time than starting a thread for it."""
        if self.rows is None:
            return not is_url(self.file.path) and os.path.getsize(self.file.path) <= _SMALL_BYTES
        return self.rows <= BATCH_ROWS // 16

    @cached_property
    def first_block(self) -> Any:
        """The first batch of the table; a SeriesError if there is no row."""
        first = next(self.blocks(), None)
        if first is None:
            raise SeriesError(f"{self.name}: holds columns but no row")
        return first

    def blocks(self, columns: Sequence[str] | None = None, first: int = 0) -> Iterator[Any]:
        """Read the rows as tables.

        Args:
            columns: names, in the order wanted; None takes all. first: row to begin with, from 0.
        Raises:
            SeriesError: rows that cannot be read.
        """
        own = None if columns is None else [name for name in columns if name in self._own]
        with reading(self.name):
            for batch in self._batches(own, first):
                if batch.num_rows:
                    table = self._with_dates(pa.Table.from_batches([batch]))
                    yield with_folder_columns(table, columns, self.file, self._own)

    def _with_dates(self, table: Any) -> Any:
        """Return a table with the periods of pandas, such as days or months, as the dates on which they begin."""
        for position, name in enumerate(table.column_names):
            if name in self._periods:
                import pandas  # not above: loading it takes 0.2 s of CPU

                cells = table.column(position).combine_chunks()
                ordinals = cells.storage if isinstance(cells, pa.ExtensionArray) else cells
                numbers = pc.fill_null(ordinals, pandas.NaT.value).to_numpy()
                starts = pandas.PeriodIndex.from_ordinals(numbers, freq=self._periods[name]).to_timestamp()
                dates = pa.array(starts, from_pandas=True).cast(_DATE, safe=False)
                table = table.set_column(position, pa.field(name, _DATE), dates)
        return table


class ParquetTable(TypedTable):
    """A Parquet file."""

    def _describe(self) -> Any:
        with self._open() as parquet:
            self.rows = parquet.metadata.num_rows
            return parquet.schema_arrow

    def _batches(self, columns: Sequence[str] | None, first: int) -> Iterator[Any]:
        with self._open() as parquet:
            starts = np.cumsum([0, *(parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups))])
            group = min(int(np.searchsorted(starts, first, side="right")) - 1, parquet.num_row_groups)
            groups = list(range(group, parquet.num_row_groups))  # those before are not read
            batches = parquet.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns)
            yield from behind(batches, first - int(starts[group]))

    def _open(self) -> Any:
        # pre_buffer would hold every row group that was read until the file is closed
        source = open_native(self.file.path) if is_url(self.file.path) else self.file.path
        return pq.ParquetFile(source, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)


class ArrowTable(TypedTable):
    """A file of Arrow's own format (IPC, also called Feather), or a stream of it."""

    def _describe(self) -> Any:
        with self._open() as (schema, _):
            return schema

    def _batches(self, columns: Sequence[str] | None, first: int) -> Iterator[Any]:
        with self._open(columns) as (_, batches):
            for batch in behind(batches, first):
                yield batch if columns is None else batch.select(columns)

    @contextmanager
    def _open(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Any, Iterator[Any]]]:
        read = [index for index, name in enumerate(self._own) if name in columns] if columns is not None else []
        options = pa.ipc.IpcReadOptions(included_fields=read)  # none: all
        with open_native(self.file.path) as source:
            try:
                reader = pa.ipc.open_file(source, options=options)
            except pa.ArrowInvalid:
                source.seek(0)
                stream = pa.ipc.open_stream(source, options=options)
                yield stream.schema, stream
            else:
                yield reader.schema, (reader.get_batch(index) for index in range(reader.num_record_batches))


class JsonLinesTable(TypedTable):
    """A file of one JSON object in each line; a key that a line lacks is a null."""

    def _describe(self) -> Any:
        if is_url(self.file.path):
            self._download = LocalCopy(self.file.path)
        try:
            with pa.json.open_json(self._path) as reader:
                return reader.schema
        except pa.ArrowInvalid:
            self._require_lines()
            raise

    @property
    def _path(self) -> str:
        return self._download.path if is_url(self.file.path) else self.file.path

    def _batches(self, columns: Sequence[str] | None, first: int) -> Iterator[Any]:
        options = pa.json.ReadOptions(use_threads=False, block_size=_JSON_BYTES)
        try:
            with pa.json.open_json(self._path, options) as reader:
                for batch in behind(reader, first):
                    yield batch if columns is None else batch.select(columns)
        except pa.ArrowInvalid:
            self._require_lines()
            raise

    def _require_lines(self) -> None:
        """Reject the first line that is no JSON object, or whose values are of other kinds than those before."""
        kinds: dict[str, tuple[str, int]] = {}
        with open(self._path, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    cells = json.loads(line)
                except ValueError:
                    cells = None
                if not isinstance(cells, dict):
                    sentence = f"line {number} ('{shorten(line)}') is not one JSON object"
                    raise SeriesError(
                        f'{self.name}: {sentence}; expected one such as {{"t": 1, "x": 2.5}} in each line'
                    )
                for name, cell in cells.items():
                    kind = _JSON_KINDS.get(type(cell))
                    known, first = kinds.setdefault(name, (kind, number)) if kind is not None else ("", 0)
                    if kind is not None and kind != known:
                        sentence = (
                            f"line {number}: '{name}' holds {kind} ('{spell(cell)}'), but {known} in line {first}"
                        )
                        raise SeriesError(f"{self.name}: {sentence}; write null where a value is missing")


_TYPED = {
    ".parquet": ParquetTable,
    **dict.fromkeys((".arrow", ".feather"), ArrowTable),
    **dict.fromkeys((".jsonl", ".ndjson"), JsonLinesTable),
}


def _period_of(field: Any) -> str | None:
    """Return the frequency of a column of pandas periods, such as D; None of other columns.

    Arrow knows the type of such a column only once pandas is loaded; until then it has numbers, with a remark.
    """
    metadata = field.metadata or {}
    if isinstance(field.type, pa.BaseExtensionType):
        name, parameters = field.type.extension_name.encode(), field.type.__arrow_ext_serialize__()
    else:
        name, parameters = (metadata.get(f"ARROW:extension:{key}".encode(), b"") for key in ("name", "metadata"))
    return str(json.loads(parameters)["freq"]) if name == b"pandas.period" else None


def _as_dates(field: Any) -> Any:
    return pa.field(field.name, _DATE)


def _note_on_periods(column: str, file: str) -> Note:
    sentence = f"column '{column}' of {file} holds periods of pandas, of which the beginnings are taken"
    return Note("time_format", f"{sentence}; --no-time takes the rows as they come")


def in_blocks(tables: Iterable[Any], block_rows: int) -> Iterator[Any]:
    """Yield the same rows in tables of exactly `block_rows` rows; the last may be shorter."""
    waiting: list[Any] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        while rows >= block_rows:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, block_rows)
            waiting, rows = [whole.slice(block_rows)], rows - block_rows
    if rows:
        yield pa.concat_tables(waiting)
