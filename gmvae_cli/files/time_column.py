"""Time columns: cells as numbers that subtract exactly, of the same type in every block of a file."""

import copy
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.data.steps import TimeUnit
from gmvae_cli.files.cells import (
    NumberFormat,
    Problem,
    as_numpy,
    first_failure,
    first_true,
    is_numeric,
    missing_cells,
    spell,
)

_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_TEXT_TYPES = (
    pa.int64(),
    pa.float64(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
)
_HALF_DAY = re.compile(r"(.*\d)(\s*)[ap]m", re.IGNORECASE | re.DOTALL)  # 1:05 PM
_AMBIGUOUS = "in which day and month may be exchanged; write dates like 2024-01-31, or name another column with --time"


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
    """Parser of a time column, block by block.

    Text holds numbers, ISO 8601 dates (a date, or a date and a clock time, with or without a zone), or dates of another
    format that all cells follow, for example 31.01.2024 12:30. The first block decides which; a later block of another
    kind is not parsed. Numbers count as whole until the first fraction, so a second pass over the same cells gives all
    blocks one type.

    Attributes:
        form: of numbers that are text. type: Arrow type of the cells last parsed; None before the first block.
        date_format: with strftime codes, where dates are not in ISO 8601; else None.
        is_ambiguous: whether the cells last read could be day/month and month/day, so that they were not parsed.
    """

    def __init__(self, form: NumberFormat = NumberFormat()) -> None:
        self.form = form
        self._text_types: tuple[Any, ...] = _TEXT_TYPES
        self.type: Any = None
        self.date_format: str | None = None
        self.is_ambiguous = False

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
        if self.form.decimal != ".":
            column = pc.replace_substring(column, self.form.decimal, ".")
        if self.date_format is not None:
            return self._parse_dates(pc.utf8_trim_whitespace(column))
        parsed = self._parse_as_type(column)
        if parsed is None:
            column = pc.utf8_trim_whitespace(column)
            parsed = self._parse_as_type(column)
        return self._parse_dates(column) if parsed is None and self.type is None else parsed

    def _parse_dates(self, column: Any) -> Any | None:
        """Parse text as dates of the one format that fits all cells, and keep to that format from then on."""
        if self.date_format is None and (not len(column) or column.null_count):
            return None
        formats = guess_date_formats(column[0].as_py()) if self.date_format is None else [self.date_format]
        fitting = {name: cells for name in formats if (cells := parse_dates(column, name)) is not None}
        self.is_ambiguous = len(fitting) > 1
        if len(fitting) != 1:
            return None
        ((self.date_format, parsed),) = fitting.items()
        for kind in [self.type] if self.type is not None else [pa.timestamp("us", parsed.type.tz), parsed.type]:
            try:
                return pc.cast(parsed, kind)
            except pa.ArrowInvalid:  # it would lose nanoseconds
                continue
        return None

    def _parse_as_type(self, column: Any) -> Any | None:
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
        problems.append(_failure(column, name, reader))
    return times


def _failure(column: Any, name: str, reader: TimeReader) -> Problem:
    """Describe the first cell of a column that is no time."""
    if pa.types.is_string(column.type) and pc.any(missing := missing_cells(column, reader.form)).as_py():
        row = first_true(missing)
        sentence = f"column '{name}' holds '{spell(column[row].as_py())}', which means missing; every row needs a time"
        return Problem(row, f"{sentence} (--no-time takes the rows as they come)")
    row, reason = (0, _AMBIGUOUS) if reader.is_ambiguous else _find_failure(column, reader)
    sentence = f"column '{name}' holds '{spell(column[row].as_py())}', {reason}"
    return Problem(row, f"{sentence}; --no-time takes the rows as they come")


def _find_failure(column: Any, reader: TimeReader) -> tuple[int, str]:
    """Return the first row of a column that is no time, and the reason."""

    def succeeds(stop: int) -> bool:
        trial = copy.copy(reader)
        return trial.read(column[:stop]) is not None or trial.is_ambiguous

    row = first_failure(len(column), succeeds)
    trial = copy.copy(reader)
    if row:
        trial.read(column[:row])
    if trial.date_format is not None:
        return row, f"not a date of the form {trial.date_format}, which the cells before it have"
    return row, "neither a number nor a date like 2024-01-31 12:30:00"


def guess_date_formats(cell: str) -> list[str]:
    """Return the formats, with strftime codes, in which a cell is a date.

    Returns:
        two formats where day and month can be exchanged, none where pandas knows no format.
    """
    from pandas.tseries.api import guess_datetime_format  # not above: loading it takes 0.2 s of CPU

    half_day = _HALF_DAY.fullmatch(cell)
    stem, end = (half_day[1], f"{half_day[2]}%p") if half_day else (cell, "")
    formats: list[str] = []
    for day_first in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a cell that is only possible the other way round
            date_format = guess_datetime_format(stem, dayfirst=day_first)
        # the month follows a year in front; and a half day needs hours up to 12
        if date_format is None or (day_first and date_format.startswith("%Y")) or (end and "%H" not in date_format):
            continue
        formats.append(date_format.replace("%H", "%I") + end if end else date_format)
    return list(dict.fromkeys(formats))


def parse_dates(column: Any, date_format: str) -> Any | None:
    """Parse text as timestamps, in UTC if the format holds a zone; None where a cell does not follow the format.

    Args:
        column: text, no nulls. date_format: with strftime codes; its fraction may have nine digits.
    """
    import pandas

    if not pc.all(pc.match_substring_regex(column, r"\d")).as_py():  # pandas takes "now", "nan" and the like for times
        return None
    try:
        parsed = pandas.to_datetime(column.to_pylist(), format=date_format, utc="%z" in date_format.lower())
    except ValueError:
        return None
    return pa.array(parsed)
