"""Tables read as blocks of rows, from disk or standard input: CSV in a module of its own, and Parquet, with types."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.files.csv_table import CsvTable, new_folder_columns, reading, with_folder_columns
from gmvae_cli.files.inputs import InputFile, require_file, suffix_of

PARQUET_BATCH_ROWS = 1 << 16
PARQUET_BUFFER_BYTES = 1 << 20  # pages are read through a buffer of this size, so a large row group costs no memory


def open_table(file: InputFile, config: SeriesConfig) -> "CsvTable | ParquetTable":
    """Open a file as a table: its header is read and checked now, its rows by `blocks`.

    Raises:
        SeriesError: no such file, a folder, an unknown suffix, or a header that cannot be used.
    """
    require_file(file)
    return ParquetTable(file) if suffix_of(file.path) == ".parquet" else CsvTable(file, config)


class ParquetTable:
    """A Parquet file. Every column keeps its type.

    Attributes:
        file: to read. name: in messages. rows: T. schema: of Arrow. delimiter: for results in CSV.
        columns: names, in the file's order, those of `key=value` folders behind them.
    """

    format = "parquet"
    delimiter = ","
    notes: tuple[Note, ...] = ()

    def __init__(self, file: InputFile) -> None:
        self.file, self.name = file, file.name
        with reading(self.name), self._open() as parquet:
            own, self.rows = parquet.schema_arrow, parquet.metadata.num_rows
        folders = new_folder_columns(own.names, file)
        self.schema = pa.schema([*own, *(pa.field(key, pa.string()) for key, _ in folders)], metadata=own.metadata)
        self._own = tuple(own.names)
        self.columns = tuple(self.schema.names)

    @property
    def likely_rows(self) -> int:
        """Number of rows, exact."""
        return int(self.rows)

    @property
    def is_small(self) -> bool:
        """Whether reading takes less time than starting a thread for it."""
        return bool(self.rows <= PARQUET_BATCH_ROWS // 16)

    @cached_property
    def first_block(self) -> Any:
        """The first batch of the table; a SeriesError if there is no row."""
        first = next(self.blocks(), None)
        if first is None:
            raise SeriesError(f"{self.name}: holds columns but no row")
        return first

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Read the rows as tables.

        Args:
            columns: names, in the order wanted; None takes all.
        Raises:
            SeriesError: a page that cannot be read.
        """
        own = None if columns is None else [name for name in columns if name in self._own]
        with reading(self.name), self._open() as parquet:
            for batch in parquet.iter_batches(PARQUET_BATCH_ROWS, columns=own):
                if batch.num_rows:
                    table = pa.Table.from_batches([batch])
                    yield with_folder_columns(table, columns, self.file, self._own)

    def _open(self) -> Any:
        # pre_buffer would hold every row group that was read until the file is closed
        return pq.ParquetFile(self.file.path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)


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
