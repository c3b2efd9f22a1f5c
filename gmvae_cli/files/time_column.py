"""Time columns: cells as numbers that subtract exactly, of the same type in every block of a file."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.data.steps import TimeUnit
from gmvae_cli.files.cells import Problem, as_numpy, first_failure, first_true, is_numeric, spell

_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_TEXT_TYPES = (
    pa.int64(),
    pa.float64(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
)


@dataclass(frozen=True, kw_only=True)
class Times:
    """A block of times.

    Args:
        ticks: (n,) int64, or float64 where the cells are floats or decimals.
        per_unit: ticks in one unit. unit: seconds, or the column's own units where it holds numbers.
    """

    ticks: NDArray[Any]
    per_unit: float
    unit: TimeUnit


class TimeReader:
    """Parser of one time column, block by block.

    Text holds numbers or ISO 8601 dates (a date, or a date and a clock time, with or without a zone). The first block
    decides which of the two; a later block of the other kind is not parsed. Numbers count as whole until the first
    fraction, so a second pass over the same cells gives all blocks one type.

    Attributes:
        type: Arrow type of the cells last parsed; None before the first block.
    """

    def __init__(self, decimal: str = ".") -> None:
        self._decimal = decimal
        self._text_types: tuple[Any, ...] = _TEXT_TYPES
        self.type: Any = None

    def cells(self, column: Any) -> Any | None:
        """Parse a column to whole numbers, floats or timestamps; None where a cell is not of the column's kind."""
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = self._parse(column)
        elif not _is_time(column.type):
            return None
        if column is not None:
            self.type = column.type
        return column

    def read(self, column: Any) -> Times | None:
        """Parse a column without nulls to ticks; None where a cell is not a time."""
        cells = self.cells(column)
        if cells is None:
            return None
        kind = cells.type
        if pa.types.is_integer(kind):
            return Times(ticks=as_numpy(cells, pa.int64(), safe=True), per_unit=1, unit="units")
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            ticks = as_numpy(cells, pa.float64())
            return Times(ticks=ticks, per_unit=1, unit="units") if np.isfinite(ticks).all() else None
        if pa.types.is_date(kind):
            cells, kind = pc.cast(cells, pa.timestamp("s")), pa.timestamp("s")
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        return Times(ticks=as_numpy(cells, width).astype(np.int64), per_unit=_TICKS[kind.unit], unit="seconds")

    def _parse(self, column: Any) -> Any | None:
        """Parse text; blanks around a cell are removed only where the text fails without that."""
        if self._decimal != ".":
            column = pc.replace_substring(column, self._decimal, ".")
        parsed = self._parse_bare(column)
        return self._parse_bare(pc.utf8_trim_whitespace(column)) if parsed is None else parsed

    def _parse_bare(self, column: Any) -> Any | None:
        """Parse text as the first type that fits all cells, and keep to that type from then on."""
        for position, kind in enumerate(self._text_types):
            try:
                parsed = pc.cast(column, kind)
            except pa.ArrowInvalid:
                continue
            # a later block may hold fractions where this one holds whole numbers; every other type stays
            self._text_types = (
                _TEXT_TYPES[:2] if pa.types.is_integer(kind) else self._text_types[position : position + 1]
            )
            return parsed
        return None


def _is_time(kind: Any) -> bool:
    """Return whether an Arrow type holds points in time: numbers, dates, clock times or durations."""
    return bool(is_numeric(kind) or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind)))


def find_times(column: Any, name: str, reader: TimeReader, problems: list[Problem]) -> Times | None:
    """Parse a time column of one block.

    Args:
        column: cells as `plain` returns them. name: of the column, for messages.
        problems: the first cell that is no time is added to them.
    Returns:
        the times, or None where a cell is no time.
    """
    empty = pc.is_null(column, nan_is_null=True)
    if pc.any(empty).as_py():
        sentence = f"column '{name}' is empty; every row needs a time (--no-time takes the rows as they come)"
        problems.append(Problem(first_true(empty), sentence))
        return None
    times = reader.read(column)
    if times is None:
        row = first_failure(len(column), lambda stop: copy.copy(reader).read(column[:stop]) is not None)
        sentence = (
            f"column '{name}' holds '{spell(column[row].as_py())}', neither a number nor a date like "
            "2024-01-31 12:30:00; --no-time takes the rows as they come"
        )
        problems.append(Problem(row, sentence))
    return times
