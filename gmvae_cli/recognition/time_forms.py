"""Forms in which times are written, beside plain numbers and ISO 8601: which ones a cell may have, and their parsers.

A form is a format with strftime codes, or one of the words below. Dates themselves are parsed by pandas.
"""

import datetime
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UNIX = {"unix-s": 1, "unix-ms": 10**3, "unix-us": 10**6, "unix-ns": 10**9}  # ticks in a second
EXCEL = "excel"  # days since 1899-12-30, the fraction is the time of day
NUMERIC_FORMS = (*UNIX, EXCEL)  # whose cells nobody can read as dates
WEEK, QUARTER = "week", "quarter"  # 2024-W01 of ISO 8601, or 202401; 2024-Q1
HALF_YEAR = "half-year"  # 2024-H1, S2 2024
MONTH = "year.month"  # 1920.01 to 1920.12; a data frame writes 1920.1 for October
CLOCK = "clock"  # 08:00:00, or 080000.00 of a satellite receiver, and on past midnight
ELAPSED = "elapsed"  # 0 days 00:01:00, 27:15:00

_EXCEL_EPOCH_DAYS = 25569  # from 1899-12-30 to 1970-01-01
_HALF_DAY = re.compile(r"(.*\d)(\s*)[ap]m", re.IGNORECASE | re.DOTALL)  # 1:05 PM
_SPANISH_HALF_DAY = re.compile(r"\d\s*[ap]\.\s?m\.?$", re.IGNORECASE)
_CLOCKS = tuple(f"{gap}%H:%M{end}" for gap in (" ", "T", "_") for end in ("", ":%S", ":%S.%f"))
_DAYS = ("%d-%b-%y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "%y-%m-%d", "%Y-%m-%d", "%Y/%j", "%Y-%j")
# formats that pandas does not guess
_FORMATS = (
    *("%YM%m", "%Y/%m", "%m/%Y", "%m.%Y", "%b %Y", "%B %Y", "%Y %b", "%b-%Y", "%b-%y"),
    *(day + clock for day in _DAYS for clock in ("", *_CLOCKS)),
    *("%Y%m%d_%H%M%S", "%Y-%m-%d_%H-%M-%S", "%Y-%m-%dT%H-%M-%S", "%Y:%m:%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z"),
    *("%Y%m%d-%H%M%S", "%Y%m%d %H%M%S", "%Y%m%d %H%M%S.%f", "%Y%m%d %H%M", "%Y-%m-%d %H%M"),
)
_WORDS = {
    WEEK: re.compile(r"\d{4}[-/ ]?(W|KW ?)\d{1,2}(-?[1-7])?|(W|KW ?)\d{1,2}[-/ ]\d{4}", re.IGNORECASE),
    HALF_YEAR: re.compile(r"\d{4}[-/ .]?[HS][12]|[HS][12][-/ .]?\d{4}|[12]\. ?Halbjahr \d{4}", re.IGNORECASE),
    QUARTER: re.compile(r"\d{4}[-/ .]?[QT][1-4]|([QT][1-4]|[1-4][QT]|[1-4]\. ?Quartal)[-/ .]?\d{4}", re.IGNORECASE),
    CLOCK: re.compile(r"([01]?\d|2[0-4]):[0-5]\d(:[0-5]\d([.,]\d+)?)?(\s*[ap]m)?", re.IGNORECASE),
    ELAPSED: re.compile(
        r"-?\d+ days?,? .*|\d+:[0-5]\d:[0-5]\d([.,]\d+)?|\d+:[0-5]\d[.,]\d+|P\d*D?T.*"
        r"|(\d+(\.\d+)?\s*(ns|us|ms|s|sec|m|min|h|d)\s*)+",
        re.IGNORECASE,
    ),
}
_DIGITS = {  # digits of whole numbers that are dates -> the format
    6: ("%Y%m", WEEK, "%y%m%d"),
    7: ("%Y%j",),
    8: ("%Y%m%d",),
    10: ("%Y%m%d%H", "%y%m%d%H%M"),
    12: ("%Y%m%d%H%M", "%y%m%d%H%M%S"),
    14: ("%Y%m%d%H%M%S",),
}
_EPOCH_YEARS = 1990, 2100  # of stamps that are taken for seconds, ms, us or ns since 1970
_NANOSECONDS_SINCE = 1995  # a year before which nobody has counted them
_DATE_YEARS = 1700, 2200  # of whole numbers that are taken for dates


def forms_of(cell: str) -> list[str]:
    """Return the forms that a cell of text may have; several where day, month and year can be exchanged."""
    words = [word for word, pattern in _WORDS.items() if pattern.fullmatch(cell)]
    stem, end = _without_half_day(cell)
    known = [with_half_day for name in _FORMATS if _fits(stem, name) and (with_half_day := _half_day(name, end))]
    return guess_date_formats(cell) or known or words[:1]


def chosen_form(parsed: Mapping[str, Any]) -> str | None:
    """Return the form that a column certainly has, of those that fit all its cells; None where several are possible.

    Args:
        parsed: form -> its times (n,). Dots stand between day and month in that order; else the only form that puts
            the times in order is taken, then the only one that spaces them evenly.
    """
    if len(parsed) < 2:
        return next(iter(parsed), None)
    steps = {form: np.diff(np.asarray(pc.cast(cells, pa.int64(), safe=False))) for form, cells in parsed.items()}
    for holds in (
        lambda form: form.startswith("%d.%m."),
        lambda form: len(steps[form]) > 1 and (steps[form] >= 0).all(),
        lambda form: len(steps[form]) > 1 and np.ptp(steps[form]) == 0,
    ):
        fitting = [form for form in parsed if holds(form)]
        if len(fitting) == 1:
            return fitting[0]
    return None


def guess_date_formats(cell: str) -> list[str]:
    """Return the formats, with strftime codes, in which a cell is a date.

    Returns:
        two formats where day and month can be exchanged, none where pandas knows no format.
    """
    from pandas.tseries.api import guess_datetime_format  # not above: loading it takes 0.2 s of CPU

    if _SPANISH_HALF_DAY.search(cell):  # which the guess would take for mere letters
        return []
    stem, end = _without_half_day(cell)
    formats: list[str] = []
    for day_first in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a cell that is only possible the other way round
            date_format = guess_datetime_format(stem, dayfirst=day_first)
        if date_format is None or (day_first and date_format.startswith("%Y")):  # the month follows a year in front
            continue
        formats.append(_half_day(date_format, end))
    return [date_format for date_format in dict.fromkeys(formats) if date_format]


def _without_half_day(cell: str) -> tuple[str, str]:
    """Split the AM or PM off a cell; its code, with the blanks in front, is empty where there is none."""
    half_day = _HALF_DAY.fullmatch(cell)
    return (half_day[1], f"{half_day[2]}%p") if half_day else (cell, "")


def _half_day(date_format: str, end: str) -> str:
    """Return a format whose hours count to 12 before the code of the half day; empty where it has no hours."""
    if not end:
        return date_format
    return date_format.replace("%H", "%I") + end if "%H" in date_format else ""


def date_form(
    values: NDArray[np.float64], is_whole: bool, *, is_date_name: bool, is_week_name: bool = False
) -> str | None:
    """Return the form of a column of numbers that stand for dates; None where they are plain numbers.

    Args:
        values: (n,) ascending, finite. is_whole: whether all are whole. is_date_name: whether the column is named like
            a date, without which days of a spreadsheet are only numbers. is_week_name: whether it is named like weeks,
            without which 202401 is a month unless others are beyond 12.
    """
    low, high = values[0], values[-1]
    if len(values) < 2:
        return None
    if is_whole and low > 0 and high < 2.0**53:
        forms = _DIGITS.get(len(f"{low:.0f}"), ()) if len(f"{low:.0f}") == len(f"{high:.0f}") else ()
        whole = pa.array(values.astype(np.int64))
        for form in reversed(forms) if is_week_name else forms:
            is_certain = is_date_name if form.startswith("%y") else _in_years(low, high, len(f"{low:.0f}"))
            if is_certain and parse(whole, form) is not None:
                return form
    for form, ticks in UNIX.items():
        first, last = (_seconds(year) * ticks for year in _EPOCH_YEARS)
        if form == "unix-ns":  # smaller ones are ticks of 100 ns since the year 1
            first = _seconds(_NANOSECONDS_SINCE) * ticks
        if first <= low and high <= last:
            return form
    fractional = bool((values % 1).any())
    days = [_seconds(year) / 86400 + _EXCEL_EPOCH_DAYS for year in _EPOCH_YEARS]
    if is_date_name and days[0] <= low and high <= days[1] and (fractional or is_whole):
        return EXCEL
    return None


def _in_years(low: float, high: float, digits: int) -> bool:
    first, last = (int(f"{value:.0f}"[:4]) for value in (low, high))
    return _DATE_YEARS[0] <= first and last <= _DATE_YEARS[1] and digits >= 4


def _seconds(year: int) -> float:
    return datetime.datetime(year, 1, 1, tzinfo=datetime.UTC).timestamp()


def _fits(cell: str, date_format: str) -> bool:
    try:
        datetime.datetime.strptime(re.sub(r"(\.\d{6})\d+", r"\1", cell), date_format)
    except ValueError:
        return False
    return "%j" not in date_format or re.match(r"\d{4}.\d{3}(\D|$)", cell) is not None  # 2024-064, but not 2024-06


def parse(column: Any, form: str) -> Any | None:
    """Parse a column of text or numbers as times of one form.

    Args:
        column: no nulls; text without blanks around it.
    Returns:
        timestamps, in UTC if the form holds a zone, or durations; None where a cell does not follow the form.
    """
    try:
        if form in UNIX:
            return _unix(column, form)
        if form == EXCEL:
            days = np.asarray(pc.cast(column, pa.float64())) - _EXCEL_EPOCH_DAYS
            return _stamps(np.rint(days * 86_400_000), 1, "ms")
    except pa.ArrowInvalid:
        return None
    text = _digits(column)
    return None if text is None else _parse_text(text, form)


def _parse_text(text: Any, form: str) -> Any | None:
    if form == WEEK:
        text = pc.replace_substring_regex(text, r"(?i)^(?:K?W)? ?(\d{1,2})[-/ ](\d{4})$", r"\2-W\1")
        text = pc.replace_substring_regex(text, r"(?i)^(\d{4})[-/ ]?(?:K?W)? ?(\d{1,2})$", r"\1-W\2-1")
        return parse_dates(pc.replace_substring_regex(text, r"^(\d{4})W(\d{2})-?(\d)$", r"\1-W\2-\3"), "%G-W%V-%u")
    if form == QUARTER:  # by its first month
        text = pc.replace_substring_regex(text, r"(?i)^[QT]?(\d)(?:[QT]|\. ?Quartal)?[-/ .]?(\d{4})$", r"\2-Q\1")
        for quarter in range(1, 5):
            text = pc.replace_substring_regex(
                text, rf"(?i)^(\d{{4}})[-/ .]?[QT]{quarter}$", rf"\1-{3 * quarter - 2:02d}"
            )
        return parse_dates(text, "%Y-%m")
    if form == HALF_YEAR:
        text = pc.replace_substring_regex(text, r"(?i)^[HS]?(\d)(?:\. ?Halbjahr)?[-/ .]?(\d{4})$", r"\2-H\1")
        for half in (1, 2):
            text = pc.replace_substring_regex(text, rf"(?i)^(\d{{4}})[-/ .]?[HS]{half}$", rf"\1-{6 * half - 5:02d}")
        return parse_dates(text, "%Y-%m")
    if form == MONTH:
        text = pc.replace_substring_regex(text, r"^(\d{4})\.1$", r"\1.10")
        return parse_dates(text, "%Y.%m")
    if form == CLOCK and pc.all(pc.match_substring_regex(text, r"^\d{1,6}(\.\d*)?$")).as_py():
        return _compact_clocks(text)
    if form in (CLOCK, ELAPSED):
        return _durations(text)
    return parse_dates(text, form)


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


def _compact_clocks(text: Any) -> Any | None:
    """Parse clock times of the form hhmmss, with or without a fraction; zeros in front may be lost."""
    padded = pc.binary_join_element_wise("000000", text, "")
    padded = pc.replace_substring_regex(padded, r"^\d*(\d\d)([0-5]\d)([0-5]\d(?:\.\d*)?)$", r"\1:\2:\3")
    return _durations(padded) if pc.all(pc.match_substring_regex(padded, r"^([01]\d|2[0-3]):")).as_py() else None


def _durations(text: Any) -> Any | None:
    """Parse clock times and durations."""
    import pandas

    if pc.any(pc.match_substring_regex(text, r"(?i)[ap]m$")).as_py():
        text = pc.utf8_upper(text)
        for date_format in ("%I:%M:%S %p", "%I:%M %p", "%I:%M:%S%p", "%I:%M%p"):
            stamps = parse_dates(text, date_format)
            if stamps is not None:
                stamps = pc.cast(stamps, pa.timestamp("us"))
                return pc.subtract(stamps, pa.scalar(datetime.datetime(1900, 1, 1), stamps.type))
        return None
    text = pc.replace_substring_regex(pc.replace_substring(text, ",", "."), r"(\d\s*)d\b", r"\1D")
    text = pc.replace_substring_regex(text, r"^(\d+:\d\d)$", r"\1:00")  # hours and minutes
    text = pc.replace_substring_regex(text, r"^(\d+:\d\d\.\d+)$", r"00:\1")  # minutes and seconds
    try:
        spans = pandas.to_timedelta(text.to_pylist())
    except ValueError:
        return None
    return pc.cast(pa.array(spans), pa.duration("us"), safe=False)


def _unix(column: Any, form: str) -> Any | None:
    """Turn numbers since 1970 into timestamps; whole ones keep every digit."""
    unit = form.removeprefix("unix-")
    try:
        return pc.cast(pc.cast(column, pa.int64()), pa.timestamp(unit, "UTC"))
    except pa.ArrowInvalid:
        values = np.asarray(pc.cast(column, pa.float64()))
    finer = {"s": "us", "ms": "ns"}.get(unit, "ns")
    return _stamps(np.rint(values * (UNIX[f"unix-{finer}"] / UNIX[form])), 1, finer, "UTC")


def _stamps(ticks: NDArray[np.float64], factor: int, unit: str, zone: str | None = None) -> Any | None:
    if not np.isfinite(ticks).all() or (np.abs(ticks) > 2.0**62).any():
        return None
    return pc.cast(pa.array((ticks * factor).astype(np.int64)), pa.timestamp(unit, zone))


def _digits(column: Any) -> Any | None:
    """Return text as it is, and numbers as text, whole ones without a point."""
    if pa.types.is_string(column.type):
        return column
    try:
        return pc.cast(pc.cast(column, pa.int64()), pa.string())
    except pa.ArrowInvalid:
        return pc.cast(column, pa.string())
