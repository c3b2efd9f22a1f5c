"""The times of rows ahead: the last one, continued by the usual step, as the file writes its times.

Steps of about a month, a quarter or a year keep the day of the month, or the end of the month; rows that are taken as
equally spaced (`--regular`) and lie on weekdays skip the weekend; days keep the hour of a local clock.
"""

from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gmvae_cli.errors import SeriesError
from gmvae_cli.files.cells import is_numeric
from gmvae_cli.forecasting.time_text import duration_text, offset_of, stamp_text, unix_or_excel
from gmvae_cli.outputs.segment_table import trimmed
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.recognition.time_forms import NUMERIC_FORMS

_DAY = 86400.0  # seconds
_MONTH = 365.2425 / 12  # days
_MONTH_SLACK = 2.0  # days by which so many months may differ from their mean length
_FEWEST_WEEKDAYS = 6  # in a row, from which weekends are known to be left out
_STEP_DIGITS = 12  # that a usual step has; those behind are rounding


class FutureTimes(NamedTuple):
    """Times of H rows ahead.

    Args:
        cells: as the file writes them: text, or the type of its column. typed: numbers, dates or durations.
    """

    cells: Any
    typed: Any


def future_times(layout: Layout, cells: Any, step: float, horizon: int, *, regular: bool) -> FutureTimes:
    """Continue times by the usual step; a SeriesError if they leave the calendar.

    Args:
        cells: of the last rows of a series (n,). step: in seconds, or in units of the column. regular: whether rows
            are taken as equally spaced.
    """
    times = layout.time_reader().cells(cells)
    assert times is not None, "the table was read before"
    is_text = pa.types.is_string(cells.type)
    if is_numeric(times.type):
        return _numbers(cells, times, step, horizon, layout.form.decimal)
    if not (pa.types.is_timestamp(times.type) or pa.types.is_date(times.type)):
        return _durations(cells, times, step, horizon)
    zone = (offset_of(cells[-1].as_py()) if is_text else None) or layout.config.timezone
    stamps = _stamps(times, zone)
    try:
        ahead = _continued(stamps, step, horizon, regular=regular)
        typed = pa.array(ahead).cast(times.type, safe=False)
    except (ValueError, OverflowError) as error:  # pandas has no later dates
        last = trimmed(cells)[-1].as_py()
        raise SeriesError(
            f"{horizon:,} steps from '{last}' are beyond the dates that can be; shorten --horizon"
        ) from error
    if layout.time_form in NUMERIC_FORMS:
        return FutureTimes(unix_or_excel(ahead, str(layout.time_form), cells), typed)
    if is_text or layout.time_form is not None:
        text = pa.array(stamp_text(ahead, stamps, trimmed(cells).to_pylist(), layout.time_form))
        return FutureTimes(text if is_text else text.cast(cells.type), typed)
    if cells.type != times.type:  # local stamps of a zone
        return FutureTimes(pa.array(ahead.tz_localize(None)).cast(cells.type, safe=False), typed)
    return FutureTimes(typed, typed)


def _stamps(times: Any, zone: str | None) -> Any:
    """Return dates as a pandas index, in the zone in which the file shows them."""
    import pandas

    kind = times.type
    if pa.types.is_date(kind):
        times, kind = times.cast(pa.timestamp("s")), pa.timestamp("s")
    unit = "ns" if kind.unit == "ns" else "us"
    ticks = np.asarray(times.cast(pa.timestamp(unit, kind.tz)).cast(pa.int64()))
    stamps = pandas.DatetimeIndex(ticks.view(f"M8[{unit}]"))
    return stamps if kind.tz is None else stamps.tz_localize("UTC").tz_convert(zone or kind.tz)


def _continued(stamps: Any, step: float, horizon: int, *, regular: bool) -> Any:
    """Return the next H stamps."""
    import pandas

    last, count = stamps[-1:], np.arange(1, horizon + 1)
    months = _whole_months(stamps, step)
    if months:
        at_end = bool(stamps.is_month_end.all())
        ahead = [last[0] + pandas.DateOffset(months=months * int(h)) for h in count]
        return pandas.DatetimeIndex([stamp + pandas.offsets.MonthEnd(0) if at_end else stamp for stamp in ahead])
    if regular and step == _DAY and len(stamps) >= _FEWEST_WEEKDAYS and (stamps.day_of_week < 5).all():
        return pandas.DatetimeIndex([last[0] + pandas.offsets.BDay(int(h)) for h in count])
    if stamps.tz is not None and step % _DAY == 0:
        return pandas.DatetimeIndex([last[0] + pandas.DateOffset(days=int(h * step / _DAY)) for h in count])
    per_second = pandas.Timedelta("1s") / pandas.Timedelta(1, stamps.unit)
    ticks = np.rint(np.array([float(int(h) * _decimal(step)) for h in count]) * per_second)
    return last.repeat(horizon) + pandas.to_timedelta(ticks.astype(np.int64), unit=stamps.unit)


def _whole_months(stamps: Any, step: float) -> int:
    """Return the months of a step if stamps keep their day of the month and their clock; 0 if they do not."""
    days = step / _DAY
    months = round(days / _MONTH)
    is_even = months > 0 and abs(days - months * _MONTH) <= _MONTH_SLACK
    same_day = len(set(stamps.day)) == 1 or bool(stamps.is_month_end.all())
    return months if is_even and same_day and len(set(stamps.time)) == 1 else 0


def _numbers(cells: Any, times: Any, step: float, horizon: int, decimal: str) -> FutureTimes:
    """Continue numbers, with as many decimals as they and the step have."""
    last, length = Decimal(str(times[-1].as_py())), _decimal(step)
    ahead = [last + h * length for h in range(1, horizon + 1)]
    kind = times.type
    if pa.types.is_floating(kind) or any(value % 1 for value in ahead):
        kind = pa.float64()
    typed = pa.array(list(map(float, ahead)) if kind == pa.float64() else list(map(int, ahead))).cast(kind)
    if not pa.types.is_string(cells.type):
        return FutureTimes(typed, typed)
    decimals = len(cells[-1].as_py().strip().partition(decimal)[2])
    texts = [f"{value:.{max(decimals, _places(value))}f}".replace(".", decimal) for value in ahead]
    return FutureTimes(pa.array(texts), typed)


def _durations(cells: Any, times: Any, step: float, horizon: int) -> FutureTimes:
    """Continue durations and clock times; a clock begins again after midnight."""
    kind = times.type
    ticks_per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    last = int(times[-1:].cast(width)[0].as_py())
    ahead = [last + round(h * step * ticks_per_second) for h in range(1, horizon + 1)]
    if pa.types.is_time(kind):
        ahead = [ticks % (86400 * ticks_per_second) for ticks in ahead]
    typed = pa.array(ahead, width).cast(kind)
    if not pa.types.is_string(cells.type):
        return FutureTimes(typed.cast(cells.type, safe=False) if typed.type != cells.type else typed, typed)
    seconds = [ticks / ticks_per_second for ticks in ahead]
    return FutureTimes(pa.array(duration_text(seconds, trimmed(cells)[-1].as_py())), typed)


def _decimal(step: float) -> Decimal:
    return Decimal(f"{step:.{_STEP_DIGITS}g}")


def _places(value: Decimal) -> int:
    """Return the decimals that a number needs."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -int(exponent))
