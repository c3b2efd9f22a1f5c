"""Times as text, in the form in which the cells of a file have them.

Each form that may be the file's is tried on its last cells; the first that gives their text again writes the times
ahead. Where none does, they are written in ISO 8601.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gmvae_cli.recognition.time_forms import EXCEL, HALF_YEAR, QUARTER, UNIX, WEEK

Writer = Callable[[Any], list[str]]

_CELLS = 3  # last ones, whose text a form has to give again
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:([T ])\d{2}:\d{2}(:\d{2})?(?:([.,])(\d+))?(Z|[+-]\d{2}(?::?\d{2})?)?)?")
_PERIODS_A_YEAR = {QUARTER: 4, HALF_YEAR: 2}


def offset_of(cell: str) -> str | None:
    """Return the offset from UTC with which a cell ends, as pandas names zones; None where there is none."""
    if re.search(r"\d(Z|[+-]00:?00)$", cell.strip()):
        return "UTC"
    found = re.search(r":\d{2}(?:[.,]\d+)? ?([+-])(\d{2}):?(\d{2})?$", cell.strip())
    return None if found is None else f"UTC{found[1]}{found[2]}:{found[3] or '00'}"


def stamp_text(ahead: Any, stamps: Any, cells: Sequence[str], form: str | None) -> list[str]:
    """Write stamps (H,) in the form of cells (n,), which are the text of other stamps (n,).

    Args:
        form: as in `time_forms`; None: ISO 8601.
    """
    shown = list(cells[-_CELLS:])
    for write in _writers(shown[-1], form):
        if write(stamps[-_CELLS:]) == shown:
            return write(ahead)
    return _coded("%Y-%m-%d %H:%M:%S")(ahead)


def _writers(cell: str, form: str | None) -> Iterator[Writer]:
    """Yield the forms that a cell may have."""
    iso = _ISO.fullmatch(cell)
    if iso is not None:
        separator, seconds, mark, fraction, zone = iso.groups()
        clock = "" if separator is None else f"{separator}%H:%M{':%S' if seconds else ''}"
        yield _coded(f"%Y-%m-%d{clock}", digits=len(fraction or ""), mark=mark or ".", end=zone or "")
    if form is None:
        return
    if form in (WEEK, QUARTER, HALF_YEAR):
        yield _numbered(cell, form)
    fraction = re.search(r"[.,](\d+)\D*$", cell) if "%f" in form else None
    form = form.replace(".%f", "").replace(",%f", "") if fraction else form
    form = "%Y.%m" if form == "year.month" else form
    if "%" in form:
        zone = re.search(r"[+-]\d{2}:?\d{2}$|Z$", cell)
        end = zone[0] if zone and form.endswith("%z") else ""
        form = form.removesuffix("%z") if end else form
        coded = _coded(form, digits=len(fraction[1]) if fraction else 0, end=end)
        yield coded
        yield lambda stamps: [re.sub(r"\b0(\d)(?!\d)", r"\1", text) for text in coded(stamps)]
        yield lambda stamps: [text.lower() for text in coded(stamps)]
        yield lambda stamps: [text.upper() for text in coded(stamps)]


def _coded(form: str, *, digits: int = 0, mark: str = ".", end: str = "") -> Writer:
    """Return a writer of strftime codes, with so many digits of the second behind, and a text at the end."""

    def write(stamps: Any) -> list[str]:
        texts: list[str] = stamps.strftime(form).tolist()
        if digits:
            nanoseconds = 1000 * np.asarray(stamps.microsecond) + np.asarray(stamps.nanosecond)
            fractions = [f"{mark}{f'{ns:09d}'[:digits]}" for ns in nanoseconds.tolist()]
            texts = [text + fraction for text, fraction in zip(texts, fractions, strict=True)]
        return [text + end for text in texts]

    return write


def _numbered(cell: str, form: str) -> Writer:
    """Return a writer of years with the number of a week, quarter or half year, by the places of both in a cell."""
    year = re.search(r"\d{4}", cell)
    rest = None if year is None else re.search(r"\d+", cell[: year.start()]) or re.search(r"\d+", cell[year.end() :])
    if year is None or rest is None:
        return lambda stamps: []
    width, is_before = len(rest[0]), rest.string == cell[: year.start()]
    at = rest.start() if is_before else year.end() + rest.start()

    def write(stamps: Any) -> list[str]:
        if form == WEEK:
            years, numbers = stamps.isocalendar().year, stamps.isocalendar().week
        else:
            years, numbers = stamps.year, (stamps.month - 1) // (12 // _PERIODS_A_YEAR[form]) + 1
        texts = []
        for which, number in zip(years, numbers, strict=True):
            spots = sorted([(year.start(), 4, f"{which:04d}"), (at, width, f"{number:0{width}d}")], reverse=True)
            text = cell
            for start, length, digits in spots:
                text = text[:start] + digits + text[start + length :]
            texts.append(text)
        return texts

    return write


def unix_or_excel(ahead: Any, form: str, cells: Any) -> Any:
    """Return stamps (H,) as the numbers since 1970, or days of a spreadsheet, that cells (n,) are."""
    import pandas

    origin = pandas.Timestamp("1899-12-30" if form == EXCEL else "1970-01-01", tz=ahead.tz)
    unit = pandas.Timedelta("1D") if form == EXCEL else pandas.Timedelta(10**9 // UNIX[form], "ns")
    whole = np.asarray((ahead - origin) // unit)
    numbers = np.asarray((ahead - origin) / unit)
    column = pa.array(whole if (numbers == whole).all() else numbers)
    return column.cast(pa.string()) if pa.types.is_string(cells.type) else column.cast(cells.type, safe=False)


def duration_text(seconds: Sequence[float], cell: str) -> list[str]:
    """Write durations (H,) in seconds in the form of a cell: 08:00, 8:00:00.5, 080000, or 0 days 08:00:00."""
    import pandas

    clock = re.fullmatch(r"(\d+):(\d{2})(:\d{2})?(?:([.,])(\d+))?", cell)
    compact = re.fullmatch(r"\d{6}(?:\.(\d*))?", cell)
    if clock is None and compact is None:
        return [str(pandas.Timedelta(value, "s")) for value in seconds]
    digits = len((clock[5] if clock else compact[1] if compact else "") or "")
    texts = []
    for value in seconds:
        units = round(value * 10**digits)
        whole, fraction = divmod(units, 10**digits)
        hours, rest = divmod(whole, 3600)
        end = f"{(clock[4] if clock else '.')}{fraction:0{digits}d}" if digits else ""
        if clock is None:
            texts.append(f"{hours % 24:02d}{rest // 60:02d}{rest % 60:02d}{end}")
        else:
            text = f"{hours % 24 if len(clock[1]) == 2 else hours:0{len(clock[1])}d}:{rest // 60:02d}"
            texts.append(text + (f":{rest % 60:02d}" if clock[3] else "") + end)
    return texts
