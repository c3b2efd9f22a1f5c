"""Tables read as blocks of rows, from disk or standard input: CSV (every cell as its text) and Parquet (with types)."""

import csv
import gzip
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.cells import shorten
from gmvae_cli.files.inputs import InputFile, StdinSpool, require_file, suffix_of

CSV_BLOCK_BYTES = 1 << 20
PARQUET_BATCH_ROWS = 1 << 16
PARQUET_BUFFER_BYTES = 1 << 20  # pages are read through a buffer of this size, so a large row group costs no memory

_MAGIC = {
    b"PAR1": "is Parquet; name it .parquet",
    b"\x1f\x8b": "is gzip; name it .csv.gz",
    b"\xff\xfe": "is UTF-16, not UTF-8; convert it, for example with: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "is UTF-16, not UTF-8; convert it, for example with: iconv -f UTF-16 -t UTF-8",
    b"PK\x03\x04": "is a zip archive or a spreadsheet, not text; save the sheet as CSV",
}
_NOT_UTF8 = "is not UTF-8 text; convert it, for example with: iconv -f LATIN1 -t UTF-8"


def open_table(file: InputFile, config: SeriesConfig) -> "CsvTable | ParquetTable":
    """Open a file as a table: its header is read and checked now, its rows by `blocks`.

    Raises:
        SeriesError: no such file, a folder, an unknown suffix, or a header that cannot be used.
    """
    require_file(file)
    return ParquetTable(file) if suffix_of(file.path) == ".parquet" else CsvTable(file, config)


class CsvTable:
    """A CSV file. Every column is text and comes back as its own text; an empty cell is a null.

    Attributes:
        file: to read. name: in messages. delimiter: between cells.
        columns: names, in the file's order, those of `key=value` folders behind them. rows: None, known after reading.
    """

    format = "csv"
    rows: int | None = None

    def __init__(self, file: InputFile, config: SeriesConfig) -> None:
        self.file, self.name = file, file.name
        self.delimiter = csv_delimiter(file.path, config)
        self._spool = StdinSpool() if file.path == "-" else None
        with _reading(self.name):
            self._own, self._header_lines = self._read_header()
        _check_header(self.name, self._own, self.delimiter, may_be_wrong=config.delimiter is None)
        self.columns = (*self._own, *(key for key, _ in _new_folder_columns(self._own, file)))

    @property
    def is_small(self) -> bool:
        """Whether reading takes less time than starting a thread for it."""
        return self._spool is None and os.path.getsize(self.file.path) <= CSV_BLOCK_BYTES // 16

    @cached_property
    def schema(self) -> Any:
        """Arrow schema: every column as text."""
        return pa.schema([pa.field(name, pa.string()) for name in self.columns])

    @property
    def likely_rows(self) -> int:
        """Number of rows, estimated from their length in the first block; too small for a compressed file."""
        first = self.first_block
        cells = sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in first.columns)
        nbytes = os.path.getsize(self.file.path) if self._spool is None else self._spool.nbytes
        return int(nbytes * first.num_rows / (cells + first.num_rows * len(self._own)))

    @cached_property
    def first_block(self) -> Any:
        """The first megabyte of the table, which shows what its columns hold; a SeriesError if there is no row."""
        first = next(self.blocks(), None)
        if first is None:
            raise SeriesError(f"{self.name}: holds a header but no row")
        return first

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Read the rows as tables of about a megabyte.

        Args:
            columns: names, in the order wanted; None takes all. The cells of all columns are parsed in any case, so a
                row of the wrong length or a cell that is not UTF-8 is found in the first pass, before long work.
        Raises:
            SeriesError: a row or a byte that cannot be read.
        """
        keys = [str(index) for index in range(len(self._own))]  # names may repeat, keys do not
        with _reading(self.name, self._header_lines), self._open_native() as stream:
            reader = pyarrow.csv.open_csv(
                stream,
                # one thread is as fast on text, and only then are rows counted for messages
                pyarrow.csv.ReadOptions(
                    use_threads=False, block_size=CSV_BLOCK_BYTES, skip_rows=self._header_lines, column_names=keys
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=self.delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=len(keys) > 1,  # in a single column an empty line is a missing value
                ),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(keys, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            for batch in reader:
                if batch.num_rows:
                    table = pa.Table.from_batches([batch]).rename_columns(list(self._own))
                    yield _with_folder_columns(table, columns, self.file, self._own)

    def _open(self) -> io.BufferedReader:
        if self._spool is not None:
            return self._spool.open()
        if self.file.path.lower().endswith(".gz"):
            return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(self.file.path)))
        return open(self.file.path, "rb")

    def _open_native(self) -> Any:
        """Open the file for Arrow, whose threads read ahead.

        Arrow gets no Python file and no Python function: a thread of its own that waits for Python's lock when the
        reading is abandoned would hang or abort the process.
        """
        path = self.file.path if self._spool is None else self._spool.own_path
        if path is None:  # on macOS, where only a Python file reads standard input again
            return self._open()
        return pa.CompressedInputStream(pa.OSFile(path), "gzip") if path.lower().endswith(".gz") else pa.OSFile(path)

    def _read_header(self) -> tuple[tuple[str, ...], int]:
        """Return column names, and the number of lines of text that they and empty lines before them take."""
        with self._open() as stream:
            start = stream.read(8)
        for magic, cause in _MAGIC.items():
            if start.startswith(magic):
                raise SeriesError(f"{self.name}: {cause}")
        with self._open() as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
            lines = csv.reader(text, delimiter=self.delimiter)
            header = next((tuple(cells) for cells in lines if cells), ())
            if not header:
                raise SeriesError(f"{self.name}: is empty; expected a header line and rows")
        return header, lines.line_num


class ParquetTable:
    """A Parquet file. Every column keeps its type.

    Attributes:
        file: to read. name: in messages. rows: T. schema: of Arrow. delimiter: for results in CSV.
        columns: names, in the file's order, those of `key=value` folders behind them.
    """

    format = "parquet"
    delimiter = ","

    def __init__(self, file: InputFile) -> None:
        self.file, self.name = file, file.name
        with _reading(self.name), self._open() as parquet:
            own, self.rows = parquet.schema_arrow, parquet.metadata.num_rows
        folders = _new_folder_columns(own.names, file)
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
        with _reading(self.name), self._open() as parquet:
            for batch in parquet.iter_batches(PARQUET_BATCH_ROWS, columns=own):
                if batch.num_rows:
                    table = pa.Table.from_batches([batch])
                    yield _with_folder_columns(table, columns, self.file, self._own)

    def _open(self) -> Any:
        # pre_buffer would hold every row group that was read until the file is closed
        return pq.ParquetFile(self.file.path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)


def csv_delimiter(path: str, config: SeriesConfig) -> str:
    """Return the separator of cells: --delimiter, else tab in .tsv, ';' beside a decimal comma, ',' in all others."""
    if config.delimiter is not None:
        return config.delimiter
    if path.lower().endswith(".tsv"):
        return "\t"
    return ";" if config.decimal == "," else ","


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


def _check_header(name: str, header: Sequence[str], delimiter: str, *, may_be_wrong: bool) -> None:
    """Reject a first line that is no header, or one that another delimiter separates, if ours may be wrong."""
    if any("\0" in column for column in header):
        raise SeriesError(f"{name}: the header holds null bytes; is it text?")
    for other, flag in ((";", "';'"), ("\t", "$'\\t'"), (",", "','"), ("|", "'|'")):
        if len(header) == 1 and other in header[0] and may_be_wrong:
            raise SeriesError(
                f"{name}: the header is one column '{shorten(header[0])}'; "
                f"if its columns are separated by {flag}, give --delimiter {flag}"
            )
    if all(map(_is_number, header)) and not all(column.isdigit() for column in header):
        raise SeriesError(
            f"{name}: the first line holds numbers ('{shorten(delimiter.join(header))}'), "
            "not column names; add a header line"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _new_folder_columns(own: Sequence[str], file: InputFile) -> list[tuple[str, str]]:
    """Return the `key=value` folders on a file's path whose keys are no columns of the file."""
    return [(key, value) for key, value in file.folder_columns if key not in own]


def _with_folder_columns(table: Any, columns: Sequence[str] | None, file: InputFile, own: Sequence[str]) -> Any:
    for key, value in _new_folder_columns(own, file):
        if columns is None or key in columns:
            table = table.append_column(key, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
    return table if columns is None else table.select(list(columns))


@contextmanager
def _reading(name: str, header_lines: int = 0) -> Iterator[None]:
    """Turn whatever the system and the libraries raise while a file is read into one line; a closed pipe passes.

    Args:
        name: of the file. header_lines: lines above the first row.
    Raises:
        SeriesError: says what is wrong with the file.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except UnicodeDecodeError as error:
        raise SeriesError(f"{name}: {_NOT_UTF8}") from error
    except csv.Error as error:
        raise SeriesError(f"{name}: is not a CSV file ({error})") from error
    except pa.ArrowInvalid as error:
        raise SeriesError(f"{name}: {_invalid_content(str(error), header_lines)}") from error
    except pa.ArrowMemoryError as error:  # a damaged length, more likely than a cell that large
        raise SeriesError(f"{name}: cannot be read, is it damaged? ({shorten(str(error), 120)})") from error
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise SeriesError(f"{name}: cannot be read ({shorten(reason, 120)})") from error


def _invalid_content(message: str, header_lines: int) -> str:
    wrong_length = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", message)
    if wrong_length:
        row, expected, actual = map(int, wrong_length.groups())
        return (
            f"row {row - header_lines}: {actual} cells, but the header names {expected} columns; "
            "is there a stray or an unquoted separator?"
        )
    if "UTF8" in message:
        return _NOT_UTF8
    if "straddl" in message or "block size" in message:
        return "a row is longer than a megabyte; is a quote left open?"
    return f"cannot be read ({shorten(message, 120)})"
