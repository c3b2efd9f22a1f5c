"""The choice of the time column and of the form of its cells, by name and content; advice where its order is wrong."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.steps import HOLE
from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.recognition import names
from gmvae_cli.recognition.column_facts import ColumnFacts, ascends_mostly, counts_rows, goes_one_way, is_ramp, wavers
from gmvae_cli.recognition.time_forms import CLOCK, MONTH, WEEK, date_form, parse
from gmvae_cli.recognition.time_spellings import with_beginnings

_COMPACT_CLOCK = r"^\s*\d{6}(\.\d*)?\s*$"  # 080000.00
# text that a message about times can quote
_LIKE_TIMES = r"\d[:h]\d|\d\D+\d+\D+\d|\d\W+\pL{3,}\W+\d\d|\d{9}|^(\d{4}\W\d{1,2}|\d{1,2}\W\d{4})$"
_HALF_DAY = 43200.0
_HOUR = 3600.0  # by which clocks are set back in autumn
_YEAR_AND_WEEK = r"^\s*(\d{4}[-/ ]\d{1,2}|\d{1,2}[-/ ]\d{4})\s*$"  # in a column of that name; months elsewhere
_DAY_OF_EIGHT_DIGITS = r"^\d{8}$"  # 04032024
_MONTHS = r"^\d{4}\.(0[1-9]|1[0-2]|1)$"
_DISTINCT = 0.9  # of the rows have cells of their own, where nearly all differ
_CLOCK_PARTS = ("hour", "minute", "second")
_CALENDARS = (
    ("year", "month", "day", *_CLOCK_PARTS),
    ("year", "day of the year", *_CLOCK_PARTS),
    ("year", "week"),
    ("year", "quarter"),
)
_UNSURE = (CLOCK, WEEK)  # forms of numbers that few rows may not show, so that an earlier file's holds
_SHOWN = {MONTH: "dates of the form YYYY.MM", WEEK: "weeks (YYYYWW)", CLOCK: "clock times (hhmmss)"}
_FEWEST_DATES = 10  # that ascend in a column of any name, before they are its times


def choose_time(
    file: str,
    free: Sequence[str],
    reserved: Sequence[str],
    columns: Sequence[str],
    facts: Mapping[str, ColumnFacts],
) -> str | None:
    """Return the column that is the time; "date,clock" where two are it together; None where none is.

    Args:
        free: names that may be it. reserved: those of them that are names of times, the first choice in front.
        columns: of the file, in order.
    Raises:
        SeriesError: two columns could be the time.
    """
    pair = _date_and_clock(free, reserved, facts)
    if pair is not None:
        return pair
    if reserved:
        return reserved[0]
    first = [name for name in free if name == columns[0]]
    ways: list[tuple[Callable[[str, Mapping[str, ColumnFacts]], bool], Sequence[str]]]
    ways = [
        (_is_clock, free),
        (_is_position, free),
        (partial(_is_ramp, is_first=True), first),
        (_is_ramp, free),
        (_is_unread_clock, free),
    ]
    for is_likely, columns_of_kind in ways:
        likely = [name for name in columns_of_kind if is_likely(name, facts)]
        if len(likely) > 1 and not _are_ranges(likely, facts):
            raise SeriesError(f"{file}: {_several_times(likely, facts)}")
        if likely:
            return likely[0]
    return _calendar(free, facts) or next((name for name in free if _is_clock_with_faults(name, facts)), None)


def _several_times(likely: Sequence[str], facts: Mapping[str, ColumnFacts]) -> str:
    """Describe columns each of which could be the time, or a part of it."""
    first, second = likely[:2]
    days = [name for name in reversed(list(facts)) if names.is_clock(name) and facts[name].holds_days]
    clocks = [name for name in likely if facts[name].holds_clocks]
    both = f"a date and its clock with --time {shlex.quote(f'{days[0]},{clocks[0]}')}, " if days and clocks else ""
    return f"columns '{first}' and '{second}' could both be the time; name one with --time, {both}or give --no-time"


def is_measured(name: str, facts: Mapping[str, ColumnFacts]) -> bool:
    """Return whether durations rise and fall as measured values do, such as lap times, so that they tell no row's time.

    Clock times that do so may be rows out of order, unless they come again and again. T may be a temperature.
    """
    column = facts[name]
    is_span = column.holds_durations or (column.holds_clocks and not _is_distinct(column))
    is_letter = name.strip() == "T" and column.kind == "numbers"
    return (is_span or is_letter) and wavers(column) and not _ascends_apart(name, facts)


def calendar_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns that make a date by their names, the largest part in front: year, month, day, hour, say."""
    found = (_columns_of(parts, columns) for parts in _CALENDARS)
    return next((parts for parts in found if len(parts) > 1), [])


def _columns_of(parts: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return the columns that have parts of the calendar, as far as none is missing between them."""
    named = {names.calendar_part(name): name for name in reversed(columns)}
    found = [named[part] for part in parts if part in named]
    return found if found == [named.get(part) for part in parts[: len(found)]] else []


def _calendar(free: Sequence[str], facts: Mapping[str, ColumnFacts]) -> str | None:
    """Return the columns of year, month, day, hour and so on, if they are the time together."""
    parts = calendar_columns([name for name in free if _is_calendar(name, facts[name])])
    return ",".join(parts) if parts and _ascend_together(parts, facts) else None


def _ascend_together(parts: Sequence[str], facts: Mapping[str, ColumnFacts]) -> bool:
    """Return whether every row is later than the one before by the first of some columns in which they differ."""
    orders = [facts[name].order for name in parts]
    if any(order is None for order in orders) or facts[parts[0]].rows < 2:
        return False
    steps = np.diff(np.column_stack([np.asarray(order, np.float64) for order in orders]), axis=0)
    first = (steps != 0).argmax(1)
    return bool((steps[np.arange(len(steps)), first] > 0).all())


def _is_calendar(name: str, column: ColumnFacts) -> bool:
    span = names.calendar_range(name)
    return span is not None and column.is_within(*span)


def _date_and_clock(free: Sequence[str], reserved: Sequence[str], facts: Mapping[str, ColumnFacts]) -> str | None:
    """Return the columns of which one holds days and the others clock times or hours, if no column holds both."""
    named = [name for name in free if name in reserved or names.is_clock(name) or names.calendar_part(name) == "day"]
    days = [name for name in named if facts[name].holds_days]
    clocks = [name for name in named if facts[name].holds_clocks or _is_compact(name, facts[name])]
    if len(days) != 1 or len(facts[days[0]].cells.unique()) == facts[days[0]].rows:
        return None
    if len(clocks) == 1 or _are_ranges(clocks, facts):
        return f"{days[0]},{clocks[0]}"
    hours = _columns_of(_CLOCK_PARTS, [name for name in free if _is_calendar(name, facts[name])])
    return ",".join([*days, *hours]) if hours and _ascend_together([*days, *hours], facts) else None


def _is_clock(name: str, facts: Mapping[str, ColumnFacts]) -> bool:
    column = facts[name]
    if not names.is_clock(name):
        is_weeks = names.is_week(name) and column.kind == "numbers" and _form_of_numbers(name, column) is not None
        is_dates = column.kind == "dates" and column.rows >= _FEWEST_DATES
        return (column.ascends and (is_weeks or is_dates)) or (is_dates and _ascends_apart(name, facts))
    is_ascending = column.ascends or (column.kind == "dates" and column.descends_nowhere) or _is_compact(name, column)
    return column.kind in ("dates", "numbers") and (is_ascending or _ascends_apart(name, facts))


def _is_compact(name: str, column: ColumnFacts) -> bool:
    """Return whether numbers are clock times of the form hhmmss that go on, past midnight too.

    Beside the name, a zero in front says so, or holes between the numbers that are none between the times.
    """
    order = column.order
    if not names.is_time_of_day(name) or column.kind != "numbers" or order is None or len(order) < 2:
        return False
    hours, minutes, seconds = order // 10000, order // 100 % 100, order % 100
    if order.min() < 0 or order.max() >= 240000 or max(minutes.max(), seconds.max()) >= 60:
        return False
    steps = np.diff(hours * 3600 + minutes * 60 + seconds)
    steps[steps < -_HALF_DAY] += 2 * _HALF_DAY
    if (steps <= 0).any():
        return False
    is_certain = names.is_universal_time(name) or order.min() < 100000
    return (is_certain and _follows(column, _COMPACT_CLOCK)) or _num_holes(np.diff(order)) > _num_holes(steps)


def _num_holes(steps: NDArray[np.float64]) -> int:
    return int((np.abs(steps) > HOLE * np.median(steps)).sum())


def _is_position(name: str, facts: Mapping[str, ColumnFacts]) -> bool:
    column = facts[name]
    is_named = names.is_position(name) and column.is_whole
    return is_named and (column.ascends or _ascends_apart(name, facts))


def _is_ramp(name: str, facts: Mapping[str, ColumnFacts], *, is_first: bool = False) -> bool:
    """Return whether numbers ascend in equal steps, or stand for dates.

    Steps of one may be row numbers, unless a name that is none of a counter stands above the first column.
    """
    column = facts[name]
    if column.kind != "numbers" or column.order is None or names.is_identity(name) or not column.ascends:
        return False
    if column.rows >= _FEWEST_DATES and date_form(column.order, column.is_whole, is_date_name=False) is not None:
        return True
    return is_ramp(column.order) and not names.is_counter(name) and (is_first or not counts_rows(column.order))


def _is_unread_clock(name: str, facts: Mapping[str, ColumnFacts]) -> bool:
    """Return whether text under the name of a clock may be times of an unknown form, which a message has to quote."""
    column = facts[name]
    is_named = (names.is_clock(name) or names.is_week(name)) and not (names.is_identity(name) or names.is_group(name))
    if not is_named or column.kind != "text" or not _is_distinct(column):
        return False
    return bool(pc.mean(pc.match_substring_regex(column.cells, _LIKE_TIMES)).as_py() >= _DISTINCT)


def _is_clock_with_faults(name: str, facts: Mapping[str, ColumnFacts]) -> bool:
    """Return whether a clock starts again or stands still, or lacks few rows of its dates; a message has to name it."""
    column = facts[name]
    if not names.is_clock(name):
        return column.kind == "dates" and column.rows >= _FEWEST_DATES and goes_one_way(column)
    if column.kind == "numbers":
        return column.descends_nowhere or ascends_mostly(column)
    if column.kind != "dates" or not column.cells.null_count:
        return False
    filled = ColumnFacts(column.cells.drop_null(), column.form)
    return filled.descends_nowhere and filled.rows >= _DISTINCT * column.rows


def _are_ranges(columns: Sequence[str], facts: Mapping[str, ColumnFacts]) -> bool:
    """Return whether two columns are where ranges begin and end: none ends behind the beginning of the next."""
    if len(columns) != 2 or len({(facts[name].kind, facts[name].ticks_per_unit) for name in columns}) > 1:
        return False
    begins, ends = (facts[name].order for name in columns)
    if begins is None or ends is None:
        return False
    return bool((begins < ends).all() and (ends[:-1] <= begins[1:]).all())


def _ascends_apart(name: str, facts: Mapping[str, ColumnFacts]) -> bool:
    return bool(columns_apart(name, facts))


def columns_apart(name: str, facts: Mapping[str, ColumnFacts]) -> list[str]:
    """Return the columns that tell series apart in each of which the times of a column ascend; nearest names first."""
    time = facts[name]
    found = [
        other
        for other, column in facts.items()
        if other != name and column.groups is not None and time.ascends_within(column.groups)
    ]
    return sorted(found, key=lambda other: not names.is_group(other))


def form_of_time(name: str, column: ColumnFacts, config: SeriesConfig, notes: list[Note]) -> str | None:
    """Return the form of a time column of numbers that stand for dates; adds a note that says so.

    The option decides where it is given; None leaves text to its reader, and numbers as they are.
    """
    if config.time_format is not None:
        return config.time_format
    if _holds_ranges(column):
        sentence = f"the cells of column '{name}' are ranges of times, of which the beginnings are taken"
        notes.append(Note("time_format", f"{sentence}; --no-time takes the rows as they come"))
    form = _form_of_numbers(name, column) if column.kind == "numbers" else None
    if names.is_week(name) and _follows(column, _YEAR_AND_WEEK):
        form = WEEK
    usual = config.usual_time_format
    if form != usual and usual in _UNSURE and column.kind == "numbers" and parse(column.cells, usual) is not None:
        form = usual
    if form is not None:
        shown = _SHOWN.get(form, f"dates ({form})")
        sentence = f"the cells of column '{name}' are read as {shown}; --time-format names another form"
        if column.kind == "numbers":
            sentence = f"the numbers of column '{name}' are read as {shown}; --time-format number takes them as numbers"
        notes.append(Note("time_format", sentence))
    return form


def _form_of_numbers(name: str, column: ColumnFacts) -> str | None:
    """Return the form of numbers that stand for dates, weeks or clock times; None where they are plain numbers."""
    if _is_compact(name, column):
        return CLOCK
    if names.is_date(name) and _follows(column, _DAY_OF_EIGHT_DIGITS):
        found = {form: parse(column.cells, form) for form in ("%d%m%Y", "%m%d%Y")}
        fitting = [form for form, days in found.items() if days is not None and _descends_nowhere(days)]
        if len(fitting) == 1:
            return fitting[0]
    if column.order is None or not column.descends_nowhere:
        return None
    is_date, is_week = names.is_date(name), names.is_week(name)
    form = date_form(column.order, column.is_whole, is_date_name=is_date, is_week_name=is_week)
    return MONTH if form is None and _holds_months(column) else form


def _descends_nowhere(stamps: Any) -> bool:
    return bool((np.diff(np.asarray(pc.cast(stamps, pa.int64()))) >= 0).all())


def _follows(column: ColumnFacts, pattern: str) -> bool:
    """Return whether a column is text and every cell matches a pattern."""
    cells = column.cells
    return pa.types.is_string(cells.type) and bool(pc.all(pc.match_substring_regex(cells, pattern)).as_py())


def _is_distinct(column: ColumnFacts) -> bool:
    return len(column.cells.unique()) >= _DISTINCT * column.rows


def _holds_ranges(column: ColumnFacts) -> bool:
    """Return whether a column holds ranges of times, of which the beginning is taken."""
    is_text = column.kind == "dates" and pa.types.is_string(column.cells.type)
    if not is_text or " - " in (column.time_form or ""):  # of a date and its clock
        return False
    return not with_beginnings(column.cells).equals(column.cells)


def _holds_months(column: ColumnFacts) -> bool:
    """Return whether a column holds years and months, as in 1920.01 to 1920.12."""
    cells = column.cells
    text = cells.drop_null() if pa.types.is_string(cells.type) else pc.cast(cells, pa.string())
    months = parse(text, MONTH) if pc.all(pc.match_substring_regex(text, _MONTHS)).as_py() else None
    if months is None or not 1 < len(months) == len(cells):
        return False
    steps = np.diff(np.asarray(pc.cast(months, pa.int64())))
    return bool((steps > 0).all() and np.median(steps) < 32 * 86400 * 10**9)


def options_for_repeats(time: str, facts: Mapping[str, ColumnFacts]) -> list[str]:
    """Return what each option would do that reads a time which comes twice."""
    hours = [name for name in facts if names.calendar_part(name) == "hour"] if time in facts else []
    joined = [f"--time {shlex.quote(f'{time},{name}')} joins it with '{name}'" for name in hours[:1]]
    return [*_apart(time, facts), *joined, "--no-time ignores times"]


def options_for_disorder(time: str, facts: Mapping[str, ColumnFacts], back: float | None) -> list[str]:
    """Return what each option would do that reads times which go back.

    Args:
        back: seconds from one row back to the next; None where the times are numbers.
    """
    options = _apart(time, facts)
    is_span = time in facts and (facts[time].holds_durations or facts[time].holds_clocks)
    if not options and back is not None and 0 < back <= _HOUR and not is_span:
        options = ["--timezone ZONE reads local times whose clock was set back"]
    if not options:
        order = facts[time].order if time in facts else None
        if order is None or len(np.unique(order)) == len(order):
            options = ["--sort sorts"]
    return [*options, "--no-time ignores times"]


def _apart(time: str, facts: Mapping[str, ColumnFacts]) -> list[str]:
    """Name the column that tells series apart, if the times of each ascend."""
    if time not in facts:
        return []
    for name in columns_apart(time, facts)[:1]:
        groups = facts[name].groups
        assert groups is not None, "it tells series apart"
        comes_back = int((np.diff(groups) != 0).sum()) + 1 > len(np.unique(groups))
        return [f"--series {shlex.quote(name)} {'with --sort ' if comes_back else ''}reads a series for each '{name}'"]
    return []
