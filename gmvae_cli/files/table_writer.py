"""Files written whole or not at all: any file by `atomic`, tables as CSV or Parquet by `writer`."""

import errno
import fcntl
import gzip
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files.inputs import SUFFIXES, as_text, suffix_of

_STRUCTURAL = r'["\r\n{}]'


class TableWriter(Protocol):
    """Takes tables of one schema, block by block; the first one decides the columns."""

    def write(self, table: Any) -> None:
        """Put the rows of `table` behind those written before."""


@contextmanager
def writer(path: str, *, schema: Any = None, delimiter: str | None = None, decimal: str = ".") -> Iterator[TableWriter]:
    """Write a table to .csv, .csv.gz, .tsv or .parquet; '-' is stdout, as CSV.

    The target is tried at once, so that an impossible one is refused before long work, and it appears only when
    the block ends without an error. Text cells of a CSV file are written as they are, numbers as the shortest text that
    reads back as the same number, nulls and NaN as empty cells.

    Args:
        schema: of (some of) the columns to come, where it is known, so that CSV refuses at once what it cannot hold.
        delimiter: of CSV; None takes a tab for .tsv, ';' beside a decimal comma, ',' for all others.
        decimal: of the numbers in CSV.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise ConfigError(f"{path}: the name ends in none of {', '.join(SUFFIXES)}, so the format is unknown")
    if delimiter is None:
        delimiter = "\t" if suffix == ".tsv" else ";" if decimal == "," else ","
    if schema is not None and suffix != ".parquet":
        for field in schema:
            _as_text(field.name, pa.nulls(0, field.type))
    if path == "-":
        yield _CsvWriter(sys.stdout.buffer, delimiter, decimal)
        sys.stdout.buffer.flush()
        return
    with atomic(path) as temporary:
        if suffix == ".parquet":
            with _ParquetWriter(temporary) as parquet, _Behind(parquet) as behind:
                yield behind
        else:
            with (
                open(temporary, "wb") as plain,
                _compressed(plain, suffix) as stream,
                _Behind(_CsvWriter(stream, delimiter, decimal)) as behind,
            ):
                yield behind


def require_apart(outputs: Mapping[str, str | None], inputs: Sequence[str] = ()) -> None:
    """Refuse outputs that would overwrite one another, or an input; and '-' where only a file will do.

    Args:
        outputs: option -> path, None where it is not asked for. inputs: paths that must not be written over.
    Raises:
        ConfigError: names the two.
    """
    seen = {os.path.realpath(path): f"the input '{path}'" for path in inputs if path != "-"}
    for option, path in outputs.items():
        if path is None:
            continue
        if path == "-":
            raise ConfigError(f"{option} is '-', but needs the name of a file")
        other = seen.setdefault(os.path.realpath(path), option)
        if other != option:
            raise ConfigError(f"{option} is '{path}', the same file as {other}; name another one")


def require_writable(path: str) -> None:
    """Refuse an output that cannot be made where it is to be, before long work; '-' always can.

    Raises:
        SeriesError: no such folder, or nothing may be written there.
    """
    target = Path(os.path.realpath(path))
    if path != "-" and target.is_dir():
        raise SeriesError(f"{path}: is a folder, not a file that can be written")
    if path != "-" and not target.parent.is_dir():
        raise SeriesError(f"{path}: cannot be written (there is no folder '{os.path.dirname(path)}')")
    if path != "-" and not os.access(target.parent, os.W_OK):
        raise SeriesError(f"{path}: cannot be written ({os.strerror(errno.EACCES)})")


@contextmanager
def atomic(path: str) -> Iterator[str]:
    """A temporary name beside `path` that takes its place when the block ends, and is removed if it fails.

    The temporary file is made at once, empty, and locked, so that of two runs with the same target the second is
    refused; what a killed run left under its name is removed. Failing to make, fill or rename it is a SeriesError that
    names `path`. A device or pipe is written directly; of a symbolic link the target is replaced.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise SeriesError(f"{path}: is a folder, not a file that can be written")
    if target.exists() and not target.is_file():
        yield str(target)
        return
    temporary = target.with_name(f".{target.name}.part")
    claim = None
    try:
        claim = _claimed(temporary, path)
        yield str(temporary)
        os.replace(temporary, target)
    except BrokenPipeError:
        raise
    except OSError as error:
        no_folder = isinstance(error, FileNotFoundError) and not target.parent.is_dir()
        reason = f"there is no folder '{os.path.dirname(path)}'" if no_folder else _reason(error)
        raise SeriesError(f"{path}: cannot be written ({reason})") from error
    finally:
        if claim is not None:
            if _is_at(claim, temporary):  # never the one that another run has made since ours was renamed
                with suppress(OSError):
                    temporary.unlink()
            os.close(claim)


def _claimed(temporary: Path, path: str) -> int:
    """A new file under this name, locked by this process until its descriptor is closed: by us, or by our death."""
    while True:
        try:
            claim = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            ours = True
        except FileExistsError:
            claim, ours = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), False
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            raise SeriesError(f"{path}: another run is writing it; wait until it ends, or name another file") from None
        except OSError:  # a file system without locks
            if not ours:
                os.close(claim)
                raise SeriesError(
                    f"{path}: another run is writing it, or was killed; if none is, remove '{temporary}'"
                ) from None
        if _is_at(claim, temporary):
            if ours:
                return claim
            temporary.unlink()
        os.close(claim)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one that has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


class _Behind:
    """Writes in a thread of its own while the caller makes the next table; a single table needs no thread."""

    def __init__(self, target: TableWriter) -> None:
        self._target = target
        self._worker = ThreadPoolExecutor(1)
        self._latest: Any = None
        self._pending: Future[None] | None = None

    def write(self, table: Any) -> None:
        """Take a table; what went wrong with an earlier one comes up here."""
        self._settle()
        if self._latest is not None:
            self._pending = self._worker.submit(self._target.write, self._latest)
        self._latest = table

    def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown()
        if kind is None:
            self._settle()
            if self._latest is not None:
                self._target.write(self._latest)


class _CsvWriter:
    def __init__(self, stream: BinaryIO | gzip.GzipFile, delimiter: str, decimal: str) -> None:
        self._stream, self._delimiter, self._decimal = stream, delimiter, decimal
        self._structural = _STRUCTURAL.format(f"\\{delimiter}")
        self._started = False

    def write(self, table: Any) -> None:
        names = table.column_names
        cells = [self._text(name, column) for name, column in zip(names, table.columns, strict=True)]
        if not self._started:
            self._started = True
            self._write_quoted([pa.array([name]) for name in names])
        keys = [str(index) for index in range(len(cells))]
        sink = pa.BufferOutputStream()
        options = pyarrow.csv.WriteOptions(include_header=False, delimiter=self._delimiter, quoting_style="none")
        try:
            if len(cells) == 1 and cells[0].null_count:
                raise pa.ArrowInvalid("an empty cell alone in its row needs quotes")
            pyarrow.csv.write_csv(pa.table(cells, keys), sink, options)
        except pa.ArrowInvalid:
            self._write_quoted(cells)
        else:
            self._stream.write(sink.getvalue())

    def _text(self, name: str, column: Any) -> Any:
        is_float = pa.types.is_floating(column.type)
        if is_float and pc.any(pc.is_nan(column)).as_py():
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        text = _as_text(name, column)
        if self._decimal != "." and (is_float or pa.types.is_decimal(column.type)):
            text = pc.replace_substring(text, ".", self._decimal)
        return text

    def _write_quoted(self, cells: list[Any]) -> None:
        """Write rows some of whose cells hold a separator, a quote or a line break, or that are one empty cell."""
        quoted = [pc.fill_null(self._quoted(column), '""' if len(cells) == 1 else "") for column in cells]
        rows = pc.binary_join_element_wise(*quoted, self._delimiter)
        self._stream.write("\n".join([*rows.to_pylist(), ""]).encode())

    def _quoted(self, column: Any) -> Any:
        escaped = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring_regex(column, self._structural), escaped, column)


class _ParquetWriter:
    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: Any = None

    def write(self, table: Any) -> None:
        if self._writer is None:
            repeating = [
                name for name, column in zip(table.column_names, table.columns, strict=True) if _repeats(column)
            ]
            self._writer = pq.ParquetWriter(self._path, table.schema, use_dictionary=repeating)
        self._writer.write_table(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()


def _repeats(column: Any) -> bool:
    """Whether a dictionary pays. Floats and times seldom repeat, and then it only costs time."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return 2 * int(pc.count_distinct(column).as_py()) < len(column)
    return not (pa.types.is_floating(kind) or kind.num_fields)


def _as_text(name: str, column: Any) -> Any:
    try:
        return as_text(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SeriesError(f"column '{name}' holds {column.type}, which CSV cannot; write .parquet") from error


@contextmanager
def _compressed(plain: BinaryIO, suffix: str) -> Iterator[BinaryIO | gzip.GzipFile]:
    """The stream that compresses into `plain`, without name and time inside, so that equal rows are equal bytes."""
    if suffix != ".csv.gz":
        yield plain
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as stream:
        yield stream


def _reason(error: OSError) -> str:
    """Without the detail that a library wraps around the system's own words."""
    return os.strerror(error.errno) if error.errno else error.strerror or str(error)
