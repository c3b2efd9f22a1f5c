"""Time columns: cells as numbers that subtract exactly, of the same type in every block of a file."""

import copy
import shlex
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
    unquoted,
)
from gmvae_cli.recognition.time_forms import CLOCK, chosen_form, forms_of, parse
from gmvae_cli.recognition.time_spellings import with_beginnings, with_offsets, with_usual_marks

_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_TEXT_TYPES = (
    pa.int64(),
    pa.float64(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
)
_END_OF_DAY = r"([ T])24:00"


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

    Text holds numbers, ISO 8601 dates (a date, or a date and a clock time, with or without a zone), or times of another
    form that all cells follow, for example 31.01.2024 12:30. The first block decides which; a later block of another
    kind is not parsed. Numbers count as whole until the first fraction, so a second pass over the same cells gives all
    blocks one type.

    Args:
        form: of numbers that are text. time_form: as in `time_forms`; None: the first block decides.
        timezone: of stamps without an offset; None takes them as they stand.
        usual: the form to take where several fit; None: an ambiguous column is not parsed.

    Attributes:
        type: Arrow type of the cells last parsed; None before the first block.
        time_form: where times are neither plain numbers nor in ISO 8601; else None.
        ambiguous_forms: those that the cells last read could have, with day and month exchanged, so that they were not
            parsed; else empty.
    """

    def __init__(
        self,
        form: NumberFormat = NumberFormat(),
        time_form: str | None = None,
        timezone: str | None = None,
        usual: str | None = None,
    ) -> None:
        self.form, self.time_form, self._usual = form, time_form, usual
        self._zone = None if timezone is None else LocalClock(timezone)
        self._text_types: tuple[Any, ...] = _TEXT_TYPES
        self._last_clock, self._days = 0, 0
        self.type: Any = None
        self.ambiguous_forms: tuple[str, ...] = ()

    def cells(self, column: Any) -> Any | None:
        """Parse a column to whole numbers, floats, timestamps or durations; None where a cell is not of its kind."""
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = self._parse(column)
        elif not _is_time(column.type):
            return None
        elif self.time_form is not None and is_numeric(column.type):
            column = parse(column, self.time_form)
        if column is not None and self._zone is not None and pa.types.is_timestamp(column.type):
            column = self._zone.stamps(column)
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
            try:
                return Times(ticks=as_numpy(cells, pa.int64(), safe=True), per_unit=1, unit="units")
            except pa.ArrowInvalid:  # beyond 2^63
                return None
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            ticks = as_numpy(cells, pa.float64())
            return Times(ticks=ticks, per_unit=1, unit="units") if np.isfinite(ticks).all() else None
        if pa.types.is_date(kind):
            cells, kind = pc.cast(cells, pa.timestamp("s")), pa.timestamp("s")
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        return Times(ticks=as_numpy(cells, width).astype(np.int64), per_unit=_TICKS[kind.unit], unit="seconds")

    def _parse(self, column: Any) -> Any | None:
        """Parse text; blanks, zones and hours of 24 are looked for only where the text fails without that."""
        if self.form.decimal != ".":
            column = pc.replace_substring(column, self.form.decimal, ".")
        parsed = None if self.time_form is not None else self._parse_as_type(column)
        if parsed is not None:
            return parsed
        text = pc.utf8_trim_whitespace(column)
        parsed = self._parse_trimmed(text)
        for rewrite in (with_beginnings, _with_offsets, with_usual_marks):
            before = text
            if parsed is None and not text.null_count and not (text := rewrite(before)).equals(before):
                parsed = self._parse_trimmed(text)
        if parsed is None and not text.null_count:  # 24:00 is the end of the day
            ends = pc.match_substring_regex(text, _END_OF_DAY)
            if pc.any(ends).as_py():
                parsed = self._parse_trimmed(pc.replace_substring_regex(text, _END_OF_DAY, r"\100:00"))
                if parsed is not None:
                    days = pc.cast(pc.cast(ends, pa.int64()), pa.duration("s"))
                    return pc.cast(pc.add(parsed, pc.multiply(days, 86400)), parsed.type)
        return parsed

    def _parse_trimmed(self, text: Any) -> Any | None:
        parsed = None if self.time_form is not None else self._parse_as_type(text)
        if parsed is None and (self.type is None or self.time_form is not None):
            return self._parse_form(text)
        return parsed

    def _parse_form(self, text: Any) -> Any | None:
        """Parse text as times of the one form that fits all cells, and keep to that form from then on."""
        if not len(text) or text.null_count:
            return None
        forms = forms_of(text[0].as_py()) if self.time_form is None else [self.time_form]
        fitting: dict[str, Any] = {}
        for form in forms:
            for name in dict.fromkeys([form, form.replace("%B", "%b")]):  # May may be cut, as only the next month shows
                if form not in fitting and (cells := parse(text, name)) is not None:
                    fitting[name] = cells
        chosen = self._usual if len(fitting) > 1 and self._usual in fitting else chosen_form(fitting)
        self.ambiguous_forms = tuple(fitting) if chosen is None and len(fitting) > 1 else ()
        if chosen is None:
            return None
        self.time_form, parsed = chosen, fitting[chosen]
        if chosen == CLOCK:
            parsed = self._past_midnight(parsed)
        if not pa.types.is_timestamp(parsed.type):
            return parsed
        kinds = [pa.timestamp("us", parsed.type.tz), parsed.type]
        for kind in kinds if self.type is None or self._zone is not None else [self.type]:
            try:
                return pc.cast(parsed, kind)
            except pa.ArrowInvalid:  # it would lose nanoseconds
                continue
        return None

    def _past_midnight(self, clocks: Any) -> Any:
        """Add a day to clock times (n,) wherever they fall back by more than half a day."""
        ticks = np.asarray(pc.cast(clocks, pa.int64()))
        day = 86400 * _TICKS[clocks.type.unit]
        falls = np.diff(ticks, prepend=self._last_clock) < -day / 2
        days = self._days + np.cumsum(falls)
        self._last_clock, self._days = int(ticks[-1]), int(days[-1])
        return pc.cast(pa.array(ticks + days * day), clocks.type)

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


class LocalClock:
    """Local time of a zone: the hour that comes twice in autumn is read in the order of the rows.

    Args:
        zone: a name of the time zone database, such as Europe/Berlin.
    """

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._last: int | None = None
        self._is_second = False

    def stamps(self, local: Any) -> Any:
        """Turn timestamps (n,) without a zone, in order, into moments; those with a zone stay as they are."""
        if local.type.tz is not None:
            return local
        first = pc.assume_timezone(local, self.zone, ambiguous="earliest", nonexistent="latest")
        second = pc.assume_timezone(local, self.zone, ambiguous="latest", nonexistent="latest")
        ticks, rows = np.asarray(pc.cast(local, pa.int64())), np.arange(len(local))
        is_double = np.asarray(pc.not_equal(first, second))
        falls = np.diff(ticks, prepend=ticks[0] - 1 if self._last is None else self._last) <= 0
        count = np.cumsum(falls & is_double)  # of times that the clock was set back, up to each row
        before = np.maximum.accumulate(np.where(is_double, -1, rows))  # last row that is in no repeated hour
        earlier = np.where(before >= 0, count[before], -int(self._is_second))
        is_second = is_double & (count > earlier)
        self._last, self._is_second = int(ticks[-1]), bool(is_second[-1])
        return pc.if_else(pa.array(is_second), second, first)


def _with_offsets(text: Any) -> Any:
    return with_offsets(unquoted(text))


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
    if reader.ambiguous_forms:
        example = max(reader.ambiguous_forms, key=lambda form: form.startswith("%d"))
        hint = f"say which with --time-format, for example {shlex.quote(example) if ' ' in example else example}"
        row, reason = 0, f"in which day and month may be exchanged; {hint}"
    else:
        row, reason = _find_failure(column, reader)
    sentence = f"column '{name}' holds '{spell(column[row].as_py())}', {reason}"
    return Problem(row, f"{sentence}; --no-time takes the rows as they come")


def _find_failure(column: Any, reader: TimeReader) -> tuple[int, str]:
    """Return the first row of a column that is no time, and the reason."""

    def succeeds(stop: int) -> bool:
        trial = copy.copy(reader)
        return trial.read(column[:stop]) is not None or bool(trial.ambiguous_forms)

    row = first_failure(len(column), succeeds)
    trial = copy.copy(reader)
    if row:
        trial.read(column[:row])
    if trial.time_form is not None:
        before = ", which the cells before it have" if reader.time_form is None or row else ""
        hint = "; --time-format FORMAT reads another form" if reader.time_form is None else ""
        return row, f"not a date of the form {trial.time_form}{before}{hint}"
    if pa.types.is_unsigned_integer(column.type):
        return row, "beyond 2^63, as no time is"
    return row, "neither a number nor a date like 2024-01-31 12:30:00; --time-format FORMAT reads dates of another form"
