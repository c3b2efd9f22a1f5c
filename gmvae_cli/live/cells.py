"""Cells of a single row: numbers, and times as numbers that subtract exactly."""

import datetime
import math
import re
import zoneinfo
from collections.abc import Sequence
from typing import Any

from gmvae_cli.data.steps import HOLE, TimeUnit
from gmvae_cli.errors import GmvaeError, Note
from gmvae_cli.series_config import MISSING, SeriesConfig

LARGEST = 1e150  # whose square is still a number
Time = int | float

_AGES = 50 * 365.25 * 86400.0  # seconds between two rows, of which one holds a date like 9999-12-31 or 1970-01-01
_DAY = 86_400_000_000  # microseconds
_EPOCH = datetime.datetime(1970, 1, 1)
_UTC_EPOCH = _EPOCH.replace(tzinfo=datetime.UTC)
_UNIX = {"unix-s": 1, "unix-ms": 10**3, "unix-us": 10**6, "unix-ns": 10**9}  # in a second
_FEWEST_HOLES = 30  # of most rows, before a note says so
_LONGEST = 40  # characters of a cell in messages


class LineError(GmvaeError):
    """Line of a feed that cannot be used."""


def spell(cell: object) -> str:
    """Return a cell as messages show it."""
    line = " ".join(str(cell).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


class NumberCells:
    """Parser of numbers, written as the options say; NaN stands for a missing one."""

    def __init__(self, config: SeriesConfig) -> None:
        self.decimal = config.decimal or config.usual_decimal or "."
        self._missing = {*MISSING, *(text.strip().lower() for text in config.na_values)}
        self._missing_numbers = {float(text) for text in config.na_values if _is_finite(text)}
        thousands = config.thousands
        mark, point = re.escape(thousands or ""), re.escape(self.decimal)
        self._thousands = thousands
        self._grouped = re.compile(rf"[+-]?\d{{1,3}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}(?:{point}\d*)?")
        self.is_plain = self.decimal == "." and not self._missing_numbers

    def number(self, cell: str, name: str) -> float:
        """Parse the cell of a column.

        Raises:
            LineError: it is no finite number, and does not mean missing.
        """
        text = cell.strip()
        if text.lower() in self._missing:
            return math.nan
        if self._thousands is not None and self._grouped.fullmatch(text):
            text = text.replace(self._thousands, "")
        if self.decimal != ".":
            text = text.replace(".", "x").replace(self.decimal, ".")
        try:
            value = float(text) if text.isascii() and "_" not in text else None
        except ValueError:
            value = None
        if value is None or value != value:
            raise LineError(f"column '{name}' holds '{spell(cell)}', not a number; an empty cell means missing")
        if not -LARGEST <= value <= LARGEST:
            raise LineError(f"column '{name}' holds '{spell(cell)}'; expected a finite number or an empty cell")
        return math.nan if value in self._missing_numbers else value


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


class Clock:
    """Parser of times: numbers, dates in ISO 8601, or those of one form.

    Dates become whole microseconds, numbers stay what they are. The first time decides which of them a feed has.

    Args:
        columns: names of one column, or of several such as date and clock. unit: of the times that `step` counts in.
        step: usual time between rows. max_gap: rows; a longer step starts the series anew.
    Attributes:
        per_unit: of a time, in one second or unit.
    """

    def __init__(
        self, columns: Sequence[str], config: SeriesConfig, unit: TimeUnit, step: float, max_gap: float
    ) -> None:
        self.name, self.unit, self._columns = ",".join(columns), unit, columns
        self._form = config.time_format or config.usual_time_format
        self._timezone = config.timezone
        self._zone = None if config.timezone is None else zoneinfo.ZoneInfo(config.timezone)
        self._step, self._max_gap, self._regular = step, max_gap, config.regular
        self._longest = _AGES if unit == "seconds" else math.inf
        self.per_unit = 1_000_000 if unit == "seconds" else 1
        self._holes, self._is_noted = 0, False

    def read(self, parts: Sequence[Any], last: Time | None) -> Time:
        """Parse the cells of the columns; `last` is the time of the row before in its series.

        Raises:
            LineError: it is no time of the feed's kind.
        """
        cell = parts[0] if len(parts) == 1 else " ".join(map(str, parts))
        if isinstance(cell, str):
            cell = cell.strip()
        if cell is None or cell == "":
            raise LineError(
                f"column '{self.name}' is empty; every row needs a time (--no-time takes rows as they come)"
            )
        try:
            return self._read(cell, parts, last)
        except (ValueError, OverflowError, TypeError):
            raise LineError(f"column '{self.name}' holds '{spell(cell)}', {self._expected()}") from None

    def steps(self, time: Time, last: Time | None) -> int:
        """Return how a row follows the one before, as in `model.lattice`; `last` is the time of that one.

        Raises:
            LineError: the time is not later, or later by ages.
        """
        if last is None:
            return 0
        elapsed = (time - last) / self.per_unit
        if elapsed <= 0:
            word = "repeats that of the row before" if elapsed == 0 else "is earlier than that of the row before"
            raise LineError(f"the time in column '{self.name}' {word} of its series; --on-error skip leaves it out")
        if elapsed > self._longest:
            raise LineError(f"the time in column '{self.name}' is more than 50 years behind the row before")
        if self._regular or elapsed <= HOLE * self._step:
            return 1
        self._holes += 1
        rows = round(min(elapsed / self._step, 2.0**62))
        return 0 if rows > self._max_gap else rows

    def note_on_step(self, rows: int) -> Note | None:
        """Return a note, once, if most of so many rows come behind a hole, and so say nothing of regimes."""
        if self._is_noted or self._holes < _FEWEST_HOLES or 2 * self._holes < rows:
            return None
        self._is_noted = True
        name = "s" if self.unit == "seconds" else "units of time"
        sentence = (
            f"most rows are farther apart than those of the training, {self._step:g} {name}, so that they have no"
        )
        return Note("other_step", f"{sentence} lags; train on such rows, or give --regular if they are equally spaced")

    def _read(self, cell: Any, parts: Sequence[Any], last: Time | None) -> Time:
        if self.unit == "units":
            return _whole_or_float(cell)
        if self._form in _UNIX:
            return round(_whole_or_float(cell) * 1_000_000 / _UNIX[self._form])
        if not isinstance(cell, str):
            raise TypeError
        try:
            stamp = self._stamp(cell)
        except ValueError:
            return self._spelled(cell, parts, last)
        if stamp.tzinfo is not None:
            return _microseconds(stamp - _UTC_EPOCH)
        if self._zone is None:
            return _microseconds(stamp - _EPOCH)
        first = _microseconds(stamp.replace(tzinfo=self._zone) - _UTC_EPOCH)
        if last is not None and first <= last:  # the hour that comes twice in autumn
            return _microseconds(stamp.replace(tzinfo=self._zone, fold=1) - _UTC_EPOCH)
        return first

    def _stamp(self, cell: str) -> datetime.datetime:
        """Parse a date of the known form, else in ISO 8601, in a microsecond or five."""
        if self._form is not None and "%" in self._form:
            return datetime.datetime.strptime(cell, self._form)
        if self._form is not None or "-" not in cell:  # 20240131 is a number
            raise ValueError
        return datetime.datetime.fromisoformat(cell)

    def _spelled(self, cell: str, parts: Sequence[Any], last: Time | None) -> Time:
        """Parse a time in any spelling that files may have, in some hundred microseconds."""
        import pyarrow as pa  # not above: these take a quarter of a second, and few feeds need them

        from gmvae_cli.files.time_column import TimeReader
        from gmvae_cli.recognition.column_roles import joined_cells
        from gmvae_cli.recognition.time_forms import CLOCK

        text = pa.array([cell])
        if len(parts) > 1:
            text = joined_cells([pa.array([str(part)]) for part in parts], self._columns)
        times = TimeReader(time_form=self._form, timezone=self._timezone).read(text)
        if times is None or times.unit != "seconds":
            raise ValueError
        time: Time = int(times.ticks[0]) * 1_000_000 // int(times.per_unit)
        if self._form == CLOCK and last is not None:  # past midnight, where it falls back by more than half a day
            time += max(0, -((time - last + _DAY // 2) // _DAY)) * _DAY
        return time

    def _expected(self) -> str:
        if self.unit == "units":
            return "not a number, as the times in training are"
        if self._form is not None:
            return f"not a time of the form {self._form}"
        return (
            "not a date like 2024-01-31 12:30:00, as the times in training are; --time-format FORMAT reads others, for "
            "example unix-s or unix-ms"
        )


def _whole_or_float(cell: Any) -> Time:
    """Return a number, whole ones with every digit."""
    if isinstance(cell, bool):
        raise TypeError
    if isinstance(cell, int):
        return cell
    try:
        return int(cell) if isinstance(cell, str) else _finite(cell)
    except ValueError:
        return _finite(cell)


def _finite(cell: Any) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError
    return value


def _microseconds(span: datetime.timedelta) -> int:
    return (span.days * 86400 + span.seconds) * 1_000_000 + span.microseconds
