"""Table files as blocks of their own cells: CSV (every cell as its text) and Parquet, from disk or stdin."""

import csv
import glob
import gzip
import io
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NoReturn, cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import ConfigError, SeriesError

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".parquet")
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


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One file to read.

    `relative` is its path below the folder that all inputs share: where its result goes in an output folder.
    `folder_columns` are the `key=value` folders on its way, as columns.
    """

    path: str
    relative: str
    folder_columns: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return "stdin" if self.path == "-" else self.path


def suffix_of(path: str) -> str | None:
    """The one of SUFFIXES that `path` ends in, in any case; '-' counts as .csv; None for any other."""
    if path == "-":
        return ".csv"
    return next((suffix for suffix in SUFFIXES if path.lower().endswith(suffix)), None)


def expand(inputs: Sequence[str]) -> list[InputFile]:
    """The files that paths, globs and folders name, each once, in name order. '-' (stdin) stands alone."""
    if not inputs:
        raise ConfigError("no input is named; give files, folders, globs, or - for stdin")
    if "-" in inputs:
        if len(inputs) > 1:
            raise ConfigError("- (stdin) cannot be read beside other inputs; give it alone")
        return [InputFile(path="-", relative="stdin.csv")]
    found: dict[str, str] = {}  # absolute path -> path as the user would write it
    roots: list[str] = []
    for text in inputs:
        root, paths = _expand_one(text)
        roots.append(os.path.abspath(root))
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    base = os.path.commonpath(roots)
    return [
        InputFile(path=path, relative=os.path.relpath(absolute, base), folder_columns=_folder_columns(path))
        for absolute, path in sorted(found.items(), key=lambda item: item[1])
    ]


def _expand_one(text: str) -> tuple[str, list[str]]:
    """(folder that relative paths start from, files) of one input."""
    if os.path.isdir(text):
        paths = [str(path) for path in Path(text).rglob("*") if _is_table(path.relative_to(text))]
        paths = [path for path in paths if os.path.isfile(path)]
        if not paths:
            raise SeriesError(f"{text}: the folder holds no {', '.join(SUFFIXES)} file")
        return text, paths
    if glob.has_magic(text) and not os.path.exists(text):
        paths = [path for path in glob.glob(text, recursive=True) if suffix_of(path) and os.path.isfile(path)]
        if not paths:
            raise SeriesError(f"{text}: no {', '.join(SUFFIXES)} file matches")
        fixed = text[: next(position for position, letter in enumerate(text) if letter in "*?[")]
        return os.path.dirname(fixed) or ".", paths
    return os.path.dirname(text) or ".", [text]


def _is_table(path: Path) -> bool:
    """Whether a file found in a folder is meant as data: hidden and `_` names are left to their owners."""
    return suffix_of(path.name) is not None and not any(part.startswith((".", "_")) for part in path.parts)


def _folder_columns(path: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.partition("=") for part in Path(path).parent.parts)
    return tuple({unquote(key): unquote(value) for key, equals, value in pairs if equals and key}.items())


def open_table(file: InputFile, config: SeriesConfig) -> "CsvTable | ParquetTable":
    """The table in a file, its header read and refused if need be; its rows are read by `blocks`."""
    suffix = suffix_of(file.path)
    if file.path != "-" and not os.path.exists(file.path):
        raise SeriesError(f"{file.path}: there is no such file")
    if file.path != "-" and os.path.isdir(file.path):
        raise SeriesError(f"{file.path}: is a folder, not a file")
    if suffix is None:
        raise SeriesError(f"{file.path}: the name ends in none of {', '.join(SUFFIXES)}; rename or convert the file")
    return ParquetTable(file) if suffix == ".parquet" else CsvTable(file, config)


class CsvTable:
    """A CSV file. Every column is text and comes back as its own text; an empty cell is a null."""

    format = "csv"
    rows: int | None = None  # known after reading only

    def __init__(self, file: InputFile, config: SeriesConfig) -> None:
        self.file, self.name = file, file.name
        self.delimiter = csv_delimiter(file.path, config)
        self._delimiter_is_given = config.delimiter is not None
        self._spool = _spooled_stdin() if file.path == "-" else None
        if self._spool is not None:
            weakref.finalize(self, self._spool.close)
        with self._refusals():
            header, self._header_lines = self._read_header()
        self.columns = (*header, *(key for key, _ in _missing_folder_columns(header, file)))
        self._own = header

    @property
    def is_small(self) -> bool:
        """Whether reading takes less time than starting a thread for it."""
        return self._spool is None and os.path.getsize(self.file.path) <= CSV_BLOCK_BYTES // 16

    @cached_property
    def schema(self) -> Any:
        """Every column as text."""
        return pa.schema([pa.field(name, pa.string()) for name in self.columns])

    @property
    def likely_rows(self) -> int:
        """Rows, by the length of those in the first block; of a compressed file too few."""
        first = self.first_block
        cells = sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in first.columns)
        size = os.path.getsize(self.file.path) if self._spool is None else os.fstat(self._spool.fileno()).st_size
        return int(size * first.num_rows / (cells + first.num_rows * len(self._own)))

    @cached_property
    def first_block(self) -> Any:
        """The first megabyte of the table, to see what its columns hold; refused if there is no row."""
        first = next(self.blocks(), None)
        if first is None:
            raise SeriesError(f"{self.name}: holds a header but no row")
        return first

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """The rows as tables of about a megabyte, these columns (None: all, in the file's order).

        All cells are read even so: a fault in any column is found in the first pass, before long work.
        """
        keys = [str(index) for index in range(len(self._own))]  # names may repeat, keys do not
        bad: list[Any] = []

        def refuse(row: Any) -> str:
            bad.append(row)
            return "error"

        with self._refusals(bad), self._open() as stream:
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
                    invalid_row_handler=refuse,
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
            return io.BufferedReader(_View(self._spool.fileno()))
        if self.file.path.lower().endswith(".gz"):
            return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(self.file.path)))
        return open(self.file.path, "rb")

    def _read_header(self) -> tuple[tuple[str, ...], int]:
        """Column names, and the lines of text that they and empty lines before them take."""
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
        self._check_header(header)
        return header, lines.line_num

    def _check_header(self, header: tuple[str, ...]) -> None:
        if any("\0" in name for name in header):
            raise SeriesError(f"{self.name}: the header holds null bytes; is it text?")
        for other, flag in ((";", "';'"), ("\t", "$'\\t'"), (",", "','"), ("|", "'|'")):
            if len(header) == 1 and other in header[0] and not self._delimiter_is_given:
                raise SeriesError(
                    f"{self.name}: the header is one column '{_shorten(header[0])}'; "
                    f"if its columns are separated by {flag}, give --delimiter {flag}"
                )
        if all(map(_is_number, header)) and not all(name.isdigit() for name in header):
            raise SeriesError(
                f"{self.name}: the first line holds numbers ('{_shorten(self.delimiter.join(header))}'), "
                "not column names; add a header line"
            )

    def _refusals(self, bad: Sequence[Any] = ()) -> "_Refusals":
        return _Refusals(self.name, bad, getattr(self, "_header_lines", 0))


class ParquetTable:
    """A Parquet file. Every column keeps its type."""

    format = "parquet"
    delimiter = ","

    def __init__(self, file: InputFile) -> None:
        self.file, self.name = file, file.name
        with _Refusals(self.name), self._open() as parquet:
            own, self.rows = parquet.schema_arrow, parquet.metadata.num_rows
        folders = _missing_folder_columns(own.names, file)
        self.schema = pa.schema([*own, *(pa.field(key, pa.string()) for key, _ in folders)], metadata=own.metadata)
        self._own = tuple(own.names)
        self.columns = tuple(self.schema.names)

    @property
    def likely_rows(self) -> int:
        """Rows, which Parquet knows."""
        return int(self.rows)

    @property
    def is_small(self) -> bool:
        """Whether reading takes less time than starting a thread for it."""
        return bool(self.rows <= PARQUET_BATCH_ROWS // 16)

    @cached_property
    def first_block(self) -> Any:
        """The first batch of the table; refused if there is no row."""
        first = next(self.blocks(), None)
        if first is None:
            raise SeriesError(f"{self.name}: holds columns but no row")
        return first

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """The rows as tables, these columns (None: all, in the file's order)."""
        own = None if columns is None else [name for name in columns if name in self._own]
        with _Refusals(self.name), self._open() as parquet:
            for batch in parquet.iter_batches(PARQUET_BATCH_ROWS, columns=own):
                if batch.num_rows:
                    table = pa.Table.from_batches([batch])
                    yield _with_folder_columns(table, columns, self.file, self._own)

    def _open(self) -> Any:
        # pre_buffer would hold every row group that was read until the file is closed
        return pq.ParquetFile(self.file.path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)


def csv_delimiter(path: str, config: SeriesConfig) -> str:
    """What separates cells: --delimiter, else tab in .tsv, ';' beside a decimal comma, ',' in all others."""
    if config.delimiter is not None:
        return config.delimiter
    if path.lower().endswith(".tsv"):
        return "\t"
    return ";" if config.decimal == "," else ","


def in_blocks(tables: Iterable[Any], block_rows: int) -> Iterator[Any]:
    """The same rows in tables of exactly `block_rows` rows, save the last."""
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


def as_text(column: Any) -> Any:
    """A column's cells as text, nulls as they are; dictionaries are spelled out."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column if pa.types.is_string(column.type) else pc.cast(column, pa.string())


class _Refusals:
    """Turns what goes wrong while a file is read into one line."""

    def __init__(self, name: str, bad: Sequence[Any] = (), header_lines: int = 0) -> None:
        self.name, self.bad, self.header_lines = name, bad, header_lines

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeDecodeError):
            raise SeriesError(f"{self.name}: {_NOT_UTF8}") from error
        if isinstance(error, csv.Error):
            raise SeriesError(f"{self.name}: is not a CSV file ({error})") from error
        if isinstance(error, pa.ArrowInvalid):
            self._refuse_content(error)
        if isinstance(error, pa.ArrowMemoryError):  # a damaged length, more likely than a cell that large
            raise SeriesError(f"{self.name}: cannot be read, is it damaged? ({_shorten(str(error), 120)})") from error
        if isinstance(error, (OSError, EOFError)) and not isinstance(error, BrokenPipeError):
            raise SeriesError(f"{self.name}: cannot be read ({_shorten(_reason(error), 120)})") from error

    def _refuse_content(self, error: pa.ArrowInvalid) -> NoReturn:
        message = str(error)
        if self.bad:
            row = self.bad[0]
            raise SeriesError(
                f"{self.name}: row {row.number - self.header_lines}: {row.actual_columns} cells, but the header names "
                f"{row.expected_columns} columns; is there a stray or an unquoted separator?"
            ) from error
        if "UTF8" in message:
            raise SeriesError(f"{self.name}: {_NOT_UTF8}") from error
        if "straddl" in message or "block size" in message:
            raise SeriesError(f"{self.name}: a row is longer than a megabyte; is a quote left open?") from error
        raise SeriesError(f"{self.name}: cannot be read ({_shorten(message, 120)})") from error


class _View(io.RawIOBase):
    """A file read from its start, at a position of its own, so that several views do not disturb one another."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._position = descriptor, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count


def _spooled_stdin() -> IO[bytes]:
    try:
        spool = tempfile.TemporaryFile()  # noqa: SIM115
        shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
        spool.flush()
    except OSError as error:
        raise SeriesError(f"stdin: cannot be kept in {tempfile.gettempdir()} ({_reason(error)}); set TMPDIR") from error
    return spool


def _missing_folder_columns(own: Sequence[str], file: InputFile) -> list[tuple[str, str]]:
    return [(key, value) for key, value in file.folder_columns if key not in own]


def _with_folder_columns(table: Any, columns: Sequence[str] | None, file: InputFile, own: Sequence[str]) -> Any:
    for key, value in _missing_folder_columns(own, file):
        if columns is None or key in columns:
            table = table.append_column(key, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
    return table if columns is None else table.select(list(columns))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def _shorten(text: str, length: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
