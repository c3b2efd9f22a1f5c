"""Tables written block by block, as CSV or Parquet, whole or not at all."""

import gzip
import json
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files.atomic import atomic
from gmvae_cli.files.cells import as_text
from gmvae_cli.files.inputs import SUFFIXES, TEXT_SUFFIXES, suffix_of
from gmvae_cli.series_config import MOST_DIGITS

_ROUNDED = re.compile(r"prob_\d+|log_likelihood|mean_prob|novelty")  # columns of results, which `digits` are for
_EXACT_POWER = 22  # of ten, the largest that a double holds exactly
_STRUCTURAL = r'["\r\n{}]'  # cells that hold one of these, or the delimiter in place of {}, need quotes


class TableWriter(Protocol):
    """Writer of tables of one schema, block by block; the first decides the columns."""

    def write(self, table: Any) -> None:
        """Append the rows of `table`."""


@contextmanager
def writer(
    path: str,
    *,
    schema: Any = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    digits: int = MOST_DIGITS,
) -> Iterator[TableWriter]:
    """Write a table to a file whose name ends in one of `SUFFIXES`; '-' is stdout, as CSV.

    The target is tried at once, so that an impossible one is an error before long work, and it appears only when the
    block ends without an error. Text cells of a CSV file are written as they are, numbers as the shortest text that
    reads back as the same number, nulls and NaN as empty cells.

    Args:
        schema: of (some of) the columns to come, where it is known, to reject at once what CSV cannot hold.
        delimiter: of CSV; None takes a tab for .tsv, ';' beside a decimal comma, ',' for all others.
        decimal: of the numbers in CSV; None is a point.
        digits: significant ones of probabilities and log-likelihoods in CSV.
    Raises:
        ConfigError: an unknown suffix. SeriesError: a column that CSV cannot hold, or what `atomic` raises.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise ConfigError(f"{path}: the name ends in none of {', '.join(SUFFIXES)}, so the format is unknown")
    if delimiter is None:
        delimiter = "\t" if suffix == ".tsv" else ";" if decimal == "," else ","
    if schema is not None and suffix in TEXT_SUFFIXES:
        for field in schema:
            _csv_text(field.name, pa.nulls(0, field.type))
    if path == "-":
        yield _CsvWriter(sys.stdout.buffer, delimiter, decimal or ".", digits)
        sys.stdout.buffer.flush()
        return
    with atomic(path) as temporary:
        if suffix not in TEXT_SUFFIXES:
            with _TYPED_WRITERS[suffix](temporary) as typed, _ThreadedWriter(typed) as threaded:
                yield threaded
        else:
            with (
                open(temporary, "wb") as plain,
                _compressed(plain, suffix) as stream,
                _ThreadedWriter(_CsvWriter(stream, delimiter, decimal or ".", digits)) as threaded,
            ):
                yield threaded


class _ThreadedWriter:
    """Writer that works in a thread while the caller makes the next table; a single table needs no thread."""

    def __init__(self, target: TableWriter) -> None:
        self._target = target
        self._worker = ThreadPoolExecutor(1)
        self._latest: Any = None
        self._pending: Future[None] | None = None

    def write(self, table: Any) -> None:
        """Take a table; raises the error of an earlier one."""
        self._wait()
        if self._latest is not None:
            self._pending = self._worker.submit(self._target.write, self._latest)
        self._latest = table

    def _wait(self) -> None:
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
            self._wait()
            if self._latest is not None:
                self._target.write(self._latest)


class _CsvWriter:
    """Writer of CSV: Arrow writes a block whose cells need no quotes, `_write_quoted` the others."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, delimiter: str, decimal: str, digits: int) -> None:
        self._stream, self._delimiter, self._decimal, self._digits = stream, delimiter, decimal, digits
        self._structural = _STRUCTURAL.format(f"\\{delimiter}")
        self._started = False

    def write(self, table: Any) -> None:
        names = table.column_names
        cells = [self._text(name, column) for name, column in zip(names, table.columns, strict=True)]
        if not self._started:
            self._started = True
            self._write_quoted([pa.array([name]) for name in names])
        keys = [str(index) for index in range(len(cells))]  # names may repeat, keys do not
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
        if is_float and self._digits < MOST_DIGITS and _ROUNDED.fullmatch(name):
            column = pa.array(rounded(np.asarray(column, np.float64), self._digits), from_pandas=True)
        text = _csv_text(name, column)
        if self._decimal != "." and (is_float or pa.types.is_decimal(column.type)):
            text = pc.replace_substring(text, ".", self._decimal)
        return text

    def _write_quoted(self, cells: list[Any]) -> None:
        """Write rows some of whose cells hold a separator, a quote or a line break, or that are a single empty cell."""
        quoted = [pc.fill_null(self._quoted(column), '""' if len(cells) == 1 else "") for column in cells]
        rows = pc.binary_join_element_wise(*quoted, self._delimiter)
        self._stream.write("\n".join([*rows.to_pylist(), ""]).encode())

    def _quoted(self, column: Any) -> Any:
        escaped = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring_regex(column, self._structural), escaped, column)


def rounded(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Round numbers (n,) to so many significant digits, and to 22 decimals at most; NaN stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        places = digits - 1 - np.floor(np.log10(np.abs(values)))
        places = np.clip(np.nan_to_num(places, posinf=0.0, neginf=0.0), -_EXACT_POWER, _EXACT_POWER)
        scale = 10.0 ** np.abs(places)  # an exact number, so that the quotient is the nearest to the decimal
        larger, smaller = np.rint(values * scale) / scale, np.rint(values / scale) * scale
    result: NDArray[np.float64] = np.where(places >= 0, larger, smaller)
    return result


class ParquetWriter:
    """Writer of Parquet, a row group for each table."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: Any = None

    def write(self, table: Any) -> None:
        """Append the rows of `table`."""
        if self._writer is None:
            columns = zip(table.column_names, table.columns, strict=True)
            repeating = [name for name, column in columns if _repeats(column)]
            self._writer = pq.ParquetWriter(self._path, table.schema, use_dictionary=repeating)
        self._writer.write_table(table)

    def add_metadata(self, metadata: Mapping[bytes, str]) -> None:
        """Add keys and texts to those of the file, of which at least one table has been written."""
        self._writer.add_key_value_metadata(metadata)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()


class _ArrowWriter(ParquetWriter):
    """Writer of Arrow's own format, a record batch for each table."""

    def write(self, table: Any) -> None:
        if self._writer is None:
            self._writer = pa.ipc.new_file(self._path, table.schema)
        self._writer.write_table(table)


class _JsonLinesWriter(ParquetWriter):
    """Writer of one JSON object for each row; times as ISO 8601, a null or NaN as null."""

    def write(self, table: Any) -> None:
        if self._writer is None:
            self._writer = open(self._path, "w", encoding="utf-8")  # noqa: SIM115
        columns = [_json_cells(name, table[name]) for name in table.column_names]
        for cells in zip(*columns, strict=True):
            row = dict(zip(table.column_names, cells, strict=True))
            self._writer.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


_TYPED_WRITERS = {
    ".parquet": ParquetWriter,
    **dict.fromkeys((".arrow", ".feather"), _ArrowWriter),
    **dict.fromkeys((".jsonl", ".ndjson"), _JsonLinesWriter),
}


def _json_cells(name: str, column: Any) -> list[Any]:
    """Return cells (n,) as JSON knows them."""
    kind = column.type
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind) or pa.types.is_binary(kind):
        column = _csv_text(name, column)
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind))
    cells: list[Any] = column.to_pylist()
    return cells


def _repeats(column: Any) -> bool:
    """Return whether a dictionary pays. Floats and times seldom repeat, and then it only costs time."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return 2 * int(pc.count_distinct(column).as_py()) < len(column)
    return not (pa.types.is_floating(kind) or kind.num_fields)


def _csv_text(name: str, column: Any) -> Any:
    """Return a column as text; a SeriesError if CSV cannot hold it."""
    try:
        return as_text(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SeriesError(f"column '{name}' holds {column.type}, which CSV cannot; write .parquet") from error


@contextmanager
def _compressed(plain: BinaryIO, suffix: str) -> Iterator[BinaryIO | gzip.GzipFile]:
    """Yield a stream that compresses into `plain`, without name and time inside: equal rows give equal bytes."""
    if suffix != ".csv.gz":
        yield plain
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as stream:
        yield stream
