"""The content of a column's first rows: numbers, dates or text, and whether it counts, ascends or identifies."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.files.cells import NumberFormat, as_numpy, is_numeric, missing_cells, numbers, plain
from gmvae_cli.files.time_column import TimeReader, Times
from gmvae_cli.recognition import names
from gmvae_cli.recognition.number_forms import NUMBER, different_units, number_form
from gmvae_cli.recognition.time_forms import CLOCK, ELAPSED, parse

Kind = Literal["numbers", "dates", "text", "empty", "other"]

HEAD_ROWS = 2000  # that decide what a column is
_NUMBER = rf"^\s*{NUMBER}\s*$|^\s*[+-]?(?i:nan|inf|infinity)\s*$"
_NUMERIC_SHARE = 0.5  # a column of text with more numbers than that among its cells is one of numbers
_SAMPLED_CELLS = 500  # in which units and groups of digits are looked for
# worth the time of trying to read a date
_DATE = re.compile(r".*\d.*[-/.: TWQMh年년]\w.*|\w{3,9}[ .-]+\w.*\d", re.DOTALL)
RAMP_ROWS = 20  # that ascend in equal steps, or go around, before a column measures nothing whatever its name
_EVEN = 1e-3  # steps of equal length differ by less than this share, the rounding of their text
_ROUNDING = 0.05  # of a step at most is the last digit: what rises slowly by its nature is no line
_MOST_DIGITS = 12  # behind the point
_HABIT = 0.9  # of the steps of a counter have one length, though rows are lost
_OFTEN = 0.2  # of the steps are falls, and as many rises, in what is measured
_MOST_WORDS = 5  # beside numbers, that may mean missing
_EXACT = 2.0**53  # up to here every whole number is a double
_FEW = 3  # values that are so many times fewer than rows tell things apart


class ColumnFacts:
    """Facts about a column, from its first rows.

    Args:
        column: (n,) cells as they were read. form: of numbers, as the options say.
    Attributes:
        cells: (n,) as one array. kind: of them. form: of its numbers, if they are text. rows: n.
        units: different ones, of text that holds numbers with them. words: different ones, of text that stand beside
            numbers.
    """

    def __init__(self, column: Any, form: NumberFormat) -> None:
        self.cells = plain(column)
        self.form, self.rows = form, len(self.cells)
        self._reader = TimeReader(form)
        self._times: Times | None = None
        self.units: list[str] = []
        self.words: list[str] = []
        self.kind: Kind = self._kind()

    def _kind(self) -> Kind:
        kind = self.cells.type
        if pa.types.is_string(kind):
            return self._text_kind()
        if is_numeric(kind):
            return "numbers"
        if pa.types.is_null(kind):
            return "empty"
        return "dates" if pa.types.is_temporal(kind) and not pa.types.is_interval(kind) else "other"

    def _text_kind(self) -> Kind:
        cells = self.cells.drop_null()
        cells = cells.filter(pc.invert(missing_cells(cells, self.form)))
        if not len(cells):
            return "empty"
        share = pc.mean(pc.match_substring_regex(cells, _NUMBER)).as_py()
        if share == 1:
            return "numbers"
        texts = cells.to_pylist()
        sample = [
            texts[row] for row in np.linspace(0, len(texts) - 1, min(len(texts), _SAMPLED_CELLS)).astype(np.int64)
        ]
        found = number_form(sample, self.form)
        if found is not None:
            self.form = found
            return "numbers"
        if share > _NUMERIC_SHARE:
            return "numbers"
        if _DATE.fullmatch(texts[0]) and self._ticks(cells) is not None:
            return "dates"
        self.units = different_units(sample)
        self.words = _words_beside_numbers(cells) if share > 0 and not self.units else []
        return "text"

    def _ticks(self, cells: Any) -> NDArray[Any] | None:
        """Return the times of cells as numbers (n,); None where a cell is no time."""
        self._reader = TimeReader(self.form)
        self._times = self._reader.read(cells)
        if self._reader.ambiguous_forms:  # as to which is the day and which the month: a date all the same
            return np.arange(len(cells))
        return None if self._times is None else self._times.ticks

    @cached_property
    def order(self) -> NDArray[Any] | None:
        """(n,) numbers that ascend as the times or numbers of the column do; None where a cell is none."""
        if self.kind == "numbers":
            values = numbers(self.cells, self.form)
            return None if values is None or not np.isfinite(values).all() else values
        if self.kind == "dates" and not self.cells.null_count:
            return self._ticks(self.cells)
        return None

    @property
    def is_whole(self) -> bool:
        """Whether all its numbers are whole; missing ones do not count."""
        values = numbers(self.cells, self.form) if self.kind == "numbers" else None
        if values is None:
            return False
        values = values[np.isfinite(values)]
        return bool(values.size and (values % 1 == 0).all())

    @property
    def ascends(self) -> bool:
        """Whether every row is later than the one before, of two rows or more."""
        return self.order is not None and len(self.order) > 1 and bool((np.diff(self.order) > 0).all())

    @property
    def descends_nowhere(self) -> bool:
        """Whether no row is earlier than the one before, and the last is later than the first."""
        order = self.order
        return order is not None and len(order) > 1 and bool((np.diff(order) >= 0).all() and order[-1] > order[0])

    @property
    def time_form(self) -> str | None:
        """Form of its times, where they are neither plain numbers nor in ISO 8601."""
        return self._reader.time_form

    @property
    def ticks_per_unit(self) -> float:
        """Ticks of its times in a second, or 1 where it holds numbers."""
        return 1 if self._times is None else self._times.per_unit

    @property
    def holds_days(self) -> bool:
        """Whether it holds dates without a time of day."""
        if self.kind == "dates" and self._reader.ambiguous_forms:
            return not any("%H" in form or "%I" in form for form in self._reader.ambiguous_forms)
        if self.kind != "dates" or self._times is None or self._times.unit != "seconds":
            return self.is_whole and self.order is not None and _are_days(self.order)
        return bool((self._times.ticks % (86400 * self._times.per_unit) == 0).all())

    @property
    def holds_clocks(self) -> bool:
        """Whether it holds times of day without a date."""
        kind = self.cells.type
        return pa.types.is_time(kind) or (pa.types.is_string(kind) and self._reader.time_form == CLOCK)

    @property
    def holds_durations(self) -> bool:
        """Whether it holds durations."""
        kind = self.cells.type
        return pa.types.is_duration(kind) or (pa.types.is_string(kind) and self._reader.time_form == ELAPSED)

    def ascends_within(self, groups: NDArray[np.int64]) -> bool:
        """Return whether every row is later than the one before of its group (n,), and some group has three rows."""
        if self.order is None or not len(self.order) or np.bincount(groups).max() < 3:
            return False
        rows = np.argsort(groups, kind="stable")
        same = np.diff(groups[rows]) == 0
        return bool((np.diff(self.order[rows])[same] > 0).all())

    def is_within(self, low: float, high: float) -> bool:
        """Return whether all its numbers are whole, and none lies outside of a range."""
        values = numbers(self.cells, self.form)
        return self.is_whole and values is not None and bool(np.nanmin(values) >= low and np.nanmax(values) <= high)

    @property
    def is_beyond_doubles(self) -> bool:
        """Whether its whole numbers are too large for a double to tell neighbours apart."""
        values = numbers(self.cells, self.form) if self.is_whole else None
        return values is not None and bool(np.nanmin(np.abs(values)) > _EXACT)

    @cached_property
    def groups(self) -> NDArray[np.int64] | None:
        """(n,) number of each row's value, where the values are few beside the rows; else None."""
        if self.kind not in ("text", "numbers") or (self.kind == "numbers" and not self.is_whole):
            return None
        codes = as_numpy(self.cells.dictionary_encode().indices.fill_null(-1), pa.int64()) + 1
        distinct = len(np.unique(codes))
        return codes if 2 <= distinct <= len(codes) / _FEW else None


def _words_beside_numbers(cells: Any) -> list[str]:
    """Return the different cells of text that are no numbers, if they are few."""
    words: list[str] = pc.unique(cells.filter(pc.invert(pc.match_substring_regex(cells, _NUMBER)))).to_pylist()
    return words if len(words) <= _MOST_WORDS else []


def is_flag(column: ColumnFacts) -> bool:
    """Return whether the cells are true or false."""
    return bool(pa.types.is_boolean(column.cells.type))


def holds_short_days(column: ColumnFacts) -> bool:
    """Return whether text holds days of six digits, such as 040324; few other numbers are days of one year."""
    text = column.cells
    if not pa.types.is_string(text.type) or not pc.all(pc.match_substring_regex(text, r"^\d{6}$")).as_py():
        return False
    return parse(text, "%d%m%y") is not None or parse(text, "%y%m%d") is not None


def ascends_mostly(column: ColumnFacts) -> bool:
    """Return whether numbers or times ascend, but for few steps back or none at all, as a clock that starts again."""
    return _share_of_steps(column, 1) >= _HABIT


def goes_one_way(column: ColumnFacts) -> bool:
    """Return whether nearly all numbers or times ascend, or nearly all descend."""
    return max(_share_of_steps(column, 1), _share_of_steps(column, -1)) >= _HABIT


def wavers(column: ColumnFacts) -> bool:
    """Return whether numbers or times rise often and fall often, as those of no clock do."""
    return min(_share_of_steps(column, 1), _share_of_steps(column, -1)) > _OFTEN


def _share_of_steps(column: ColumnFacts, sign: int) -> float:
    """Return the share of steps from row to row that are above 0 (sign 1), or below."""
    order = column.order
    if order is None and column.kind == "numbers":
        values = numbers(column.cells, column.form)
        order = None if values is None else values[np.isfinite(values)]
    return 0 if order is None or len(order) < 2 else float((sign * np.diff(order) > 0).mean())


def comes_in_turn(name: str, column: ColumnFacts) -> bool:
    """Return whether a column names things that have a series each, whose rows come in turn."""
    codes = column.groups if names.is_group(name) else None
    return codes is not None and int((np.diff(codes) != 0).sum()) + 1 > len(np.unique(codes))


def _are_days(values: NDArray[Any]) -> bool:
    if values.min() < 1e7 or values.max() >= 1e8:  # other than eight digits; parsing loads pandas, 0.3 s of CPU
        return False
    return parse(pa.array(values.astype(np.int64)), "%Y%m%d") is not None


def facts_of(table: Any, form: NumberFormat, columns: Sequence[str]) -> dict[str, ColumnFacts]:
    """Return the facts about the columns of a table's first rows; of columns of one name, those of the first."""
    head = table.slice(0, HEAD_ROWS)
    return {name: ColumnFacts(head.column(position), form) for position, name in reversed(list(enumerate(columns)))}


def is_even(order: NDArray[Any] | None) -> bool:
    """Return whether numbers (n,) ascend in steps of one length."""
    if order is None or len(order) < 2:
        return False
    steps = np.diff(order)
    if steps.min() <= 0:
        return False
    return bool(np.ptp(steps) <= _EVEN * steps.max()) or _is_rounded_line(order)


def _is_rounded_line(order: NDArray[Any]) -> bool:
    """Return whether numbers (n,), n >= RAMP_ROWS, lie on a line but for the last digit in which they are written."""
    if len(order) < RAMP_ROWS:
        return False
    digits = next((n for n in range(_MOST_DIGITS) if np.allclose(order, np.round(order, n), 1e-15, 0)), _MOST_DIGITS)
    line = np.linspace(order[0], order[-1], len(order))
    unit, distance = 10.0**-digits, np.abs(order - line).max()
    return bool(distance <= 1.001 * unit and unit <= _ROUNDING * np.median(np.diff(order)))


def is_ramp(order: NDArray[Any] | None) -> bool:
    """Return whether numbers (n,) ascend in steps of one length, or of several such where rows are lost."""
    if order is None or len(order) < RAMP_ROWS:
        return False
    steps = np.diff(order)
    if steps.min() <= 0 or is_even(order):
        return is_even(order)
    times = steps / np.median(steps)
    is_usual, is_multiple = np.abs(times - 1) <= _EVEN, np.abs(times - np.rint(times)) <= _EVEN
    return bool(is_usual.mean() >= _HABIT and is_multiple.all())


def counts_rows(order: NDArray[Any] | None) -> bool:
    """Return whether whole numbers (n,) ascend by one from row to row, but for rows that are lost."""
    return order is not None and is_ramp(order) and bool(order[0] % 1 == 0 and np.median(np.diff(order)) == 1)


def cycle(order: NDArray[Any] | None) -> float:
    """Return the rows in which whole numbers (n,) go around: 256 where 0 to 255 comes again and again; else 0."""
    if order is None or len(order) < RAMP_ROWS or (order % 1).any():
        return 0
    steps, counts = np.unique(np.diff(order), return_counts=True)
    if len(steps) != 2 or not steps[0] < 0 < steps[1] or counts[0] < 2:  # an age may start again once
        return 0
    modulus = steps[1] - steps[0]
    return float(modulus / steps[1]) if np.ptp(order) < modulus else 0


def counts(order: NDArray[Any] | None) -> bool:
    """Return whether whole numbers (n,) ascend or go around, perhaps but for rows that are lost, or ascend by one."""
    if order is None or len(order) < 2 or (order % 1).any():
        return False
    steps, times = np.unique(np.diff(order), return_counts=True)
    is_habit = steps[times.argmax()] > 0 and times.max() >= _HABIT * times.sum() and len(order) >= RAMP_ROWS
    is_staying = steps.tolist() == [0, 1]
    return bool(steps[0] > 0 or is_staying or is_habit or cycle(order) > 2)
