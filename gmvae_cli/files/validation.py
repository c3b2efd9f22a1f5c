"""The first pass over a table: every refusal of a cell, and the recording that is left when there is none."""

import bisect
import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.data.series_data import ChannelSummary, SeriesData
from gmvae_cli.data.steps import StepCounter, TimeUnit, duration_rows
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.time_column import TimeReader, Times, as_numpy
from gmvae_cli.system.scratch import Scratch

Where = Callable[[int], str]  # row of a block -> how a message names it, "sensors.csv: row 1042"
Problem = tuple[int, str]  # row of a block, what is wrong with it

LARGEST = 1e150  # whose square is still a number
_EXACT = 2.0**53  # up to here every whole number is a double
_FAR = 20.0  # standard deviations; or one value with half of the variance
_ENOUGH_ROWS = 100


class Recorder:
    """Takes the blocks of a table in order, refuses what cannot be used, and ends as a Recording.

    Args:
        time, series: names of these columns, or None. channels: names. decimal: of numbers that are text.
    """

    def __init__(
        self, time: str | None, series: str | None, channels: tuple[str, ...], decimal: str, scratch: Scratch
    ) -> None:
        self.time, self.series, self.channels, self.decimal = time, series, channels, decimal
        self.times = TimeReader(decimal)
        self._scratch = scratch
        self._summary = ChannelSummary(channels)
        self._counter = StepCounter()
        self._last_times: Times | None = None
        self._last_cell: object = None
        self._last_id: object = None
        self._ids: set[object] = set()
        self._rounded: set[str] = set()
        self._num_series = 0
        self._unit: TimeUnit = "units"

    def add(self, table: Any, where: Where, *, new_file: bool) -> None:
        """Take in a block; a SeriesError names the first row in it that cannot be used."""
        problems: list[Problem] = []
        starts = self._find_starts(table, new_file, problems)
        elapsed = self._find_elapsed(table, starts, problems)
        columns = [self._find_values(table[name], name, problems) for name in self.channels]
        if problems:
            row, sentence = min(problems)
            raise SeriesError(f"{where(row)}: {sentence}")
        self._summary.add(columns)
        self._num_series += int(starts.sum())
        self._scratch.append(np.column_stack([*columns, elapsed]))

    def finish(self, name: str, *, max_gap: str | None, regular: bool, keep_constant: bool) -> SeriesData:
        """The recording of all blocks. Constant channels are left out with a note, unless they are to be kept."""
        data = SeriesData(name, self._scratch, self._summary, self._num_series)
        if self.time is not None:
            data.settle_steps(self._counter, self._unit, max_gap, regular)
        elif max_gap is not None:
            duration_rows(max_gap, None, None)
        if not keep_constant:
            self._note_numbers(data)
            self._leave_out_constant(data)
        return data

    def _note_numbers(self, data: SeriesData) -> None:
        """What training has to live with: numbers that lost digits, and values far from all others."""
        for name in self.channels:
            if name in self._rounded:
                sentence = f"channel '{name}' holds whole numbers beyond 2^53, which are rounded to 53 binary digits"
                data.notes.append(("rounded_numbers", sentence))
        for name, farthest, rows in zip(self.channels, self._summary.farthest, self._summary.observed, strict=True):
            if rows >= _ENOUGH_ROWS and (farthest > _FAR or farthest**2 > rows / 2):
                sentence = f"channel '{name}' holds a value {farthest:.0f} standard deviations from its mean"
                data.notes.append(("far_value", f"{sentence}; if that is no measurement, empty the cell"))

    def _leave_out_constant(self, data: SeriesData) -> None:
        constant = self._summary.constant
        if constant.all():
            raise SeriesError(
                f"{data.name}: no channel varies ({', '.join(self.channels)}); a model needs one that does"
            )
        for index in np.flatnonzero(constant):
            found = "is constant" if self._summary.observed[index] else "has no value"
            data.notes.append(("constant_channel", f"channel '{self.channels[index]}' {found} and is left out"))
        if constant.any():
            data.keep_only(np.flatnonzero(~constant))

    def _find_starts(self, table: Any, new_file: bool, problems: list[Problem]) -> NDArray[np.bool_]:
        """(n,) whether a row is the first of its series."""
        starts = np.zeros(table.num_rows, np.bool_)
        if self.series is None:
            starts[0] = new_file
            return starts
        ids = plain(table[self.series])
        if ids.null_count:
            problems.append((_first(pc.is_null(ids)), f"column '{self.series}' is empty; every row needs a series id"))
            return starts
        starts[1:] = as_numpy(pc.not_equal(ids[1:], ids[:-1]), pa.uint8())
        starts[0] = ids[0].as_py() != self._last_id or not self._ids
        rows = np.flatnonzero(starts)
        names = ids.take(rows).to_pylist()
        if len(set(names)) < len(names) or not self._ids.isdisjoint(names):
            again = next(index for index, name in enumerate(names) if name in self._ids or name in names[:index])
            sentence = f"series '{names[again]}' goes on after another one; --sort puts its rows together"
            problems.append((int(rows[again]), sentence))
        self._ids.update(names)
        self._last_id = ids[-1].as_py()
        return starts

    def _find_elapsed(self, table: Any, starts: NDArray[np.bool_], problems: list[Problem]) -> NDArray[np.float64]:
        """(n,) time since the row before, NaN where a series starts; 1 without a time column."""
        if self.time is None:
            return np.where(starts, np.nan, 1.0)
        cells = plain(table[self.time])
        times = find_times(cells, self.time, self.times, problems)
        if times is None:
            return np.ones(starts.shape)
        before = times if self._last_times is None else self._last_times
        if before.unit != times.unit:
            problems.append((0, f"column '{self.time}' changes between numbers and dates from file to file"))
        previous = before.ticks[-1:]
        if before.per_unit != times.per_unit:  # a later file counts in other ticks
            previous = previous * (times.per_unit / before.per_unit)
        elapsed = np.diff(times.ticks, prepend=previous if self._last_times else times.ticks[:1])
        bad = np.flatnonzero((elapsed <= 0) & ~starts)
        if bad.size:
            row = int(bad[0])
            earlier = cells[row - 1].as_py() if row else self._last_cell
            problems.append((row, self._disorder(cells[row].as_py(), earlier, float(elapsed[row]))))
        self._last_times, self._last_cell, self._unit = times, cells[-1].as_py(), times.unit
        elapsed = np.where(starts, np.nan, elapsed / times.per_unit)
        self._counter.add(elapsed[~starts])
        return elapsed

    def _disorder(self, cell: object, earlier: object, elapsed: float) -> str:
        if elapsed == 0:
            return f"column '{self.time}' repeats '{cell}'; times in a series must differ (--no-time ignores them)"
        return f"column '{self.time}' goes back from '{earlier}' to '{cell}'; --sort sorts, --no-time ignores times"

    def _find_values(self, column: Any, name: str, problems: list[Problem]) -> NDArray[np.float64]:
        """(n,) numbers of a channel, NaN = missing."""
        column = plain(column)
        values = numbers(column, self.decimal)
        if values is None:
            row = first_failure(len(column), lambda stop: numbers(column[:stop], self.decimal) is not None)
            cell = column[row].as_py()
            comma = self.decimal == "." and re.fullmatch(r"\s*[+-]?\d*,\d+\s*", str(cell))
            hint = "if that is a decimal comma, give --decimal ," if comma else "an empty cell means missing"
            problems.append((row, f"column '{name}' holds '{_spell(cell)}', not a number; {hint}"))
            return np.full(len(column), np.nan)
        magnitude = np.abs(values)
        if name not in self._rounded and (magnitude > _EXACT).any() and _whole(column, magnitude > _EXACT):
            self._rounded.add(name)
        infinite = magnitude > LARGEST
        if infinite.any():
            row = int(infinite.argmax())
            cell = _spell(column[row].as_py())
            problems.append((row, f"column '{name}' holds '{cell}'; expected a finite number or an empty cell"))
        return values


def _whole(column: Any, chosen: NDArray[np.bool_]) -> bool:
    """Whether one of the chosen cells was written as a whole number."""
    if not pa.types.is_string(column.type):
        return bool(pa.types.is_integer(column.type))
    return bool(pc.any(pc.match_substring_regex(column.filter(pa.array(chosen)), r"^\s*[+-]?\d+\s*$")).as_py())


def numbers(column: Any, decimal: str = ".") -> NDArray[np.float64] | None:
    """A column's cells as (n,) float64, NaN for nulls; None where a cell is no number."""
    column = plain(column)
    kind = column.type
    if pa.types.is_string(kind):
        return _text_numbers(column, decimal)
    if is_numeric(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return as_numpy(column, pa.float64())
    return None


def _text_numbers(column: Any, decimal: str) -> NDArray[np.float64] | None:
    if decimal != ".":
        if pc.any(pc.match_substring(column, ".")).as_py():  # it would group thousands: 1.234,5
            return None
        column = pc.replace_substring(column, decimal, ".")
    try:
        return as_numpy(column, pa.float64())
    except pa.ArrowInvalid:
        pass
    try:
        return as_numpy(_trimmed(column), pa.float64())
    except pa.ArrowInvalid:
        return None


def is_numeric(kind: Any) -> bool:
    """Whether an Arrow type is one of numbers; booleans are not."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def find_times(column: Any, name: str, reader: TimeReader, problems: list[Problem]) -> Times | None:
    """A time column's ticks; None, with the first row and its fault added to `problems`, where one is unusable."""
    empty = pc.is_null(column, nan_is_null=True)
    if pc.any(empty).as_py():
        sentence = f"column '{name}' is empty; every row needs a time (--no-time takes the rows as they come)"
        problems.append((_first(empty), sentence))
        return None
    times = reader.read(column)
    if times is None:
        row = first_failure(len(column), lambda stop: copy.copy(reader).read(column[:stop]) is not None)
        sentence = (
            f"column '{name}' holds '{_spell(column[row].as_py())}', neither a number nor a date like "
            "2024-01-31 12:30:00; --no-time takes the rows as they come"
        )
        problems.append((row, sentence))
    return times


def first_failure(rows: int, succeeds: Callable[[int], bool]) -> int:
    """The row at which `succeeds(stop)`, true of short beginnings of a column, turns false; by bisection."""
    return bisect.bisect_left(range(1, rows), True, key=lambda stop: not succeeds(stop))


def plain(column: Any) -> Any:
    """A column as one array, dictionaries spelled out, text in its usual type."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return pc.cast(column, pa.string()) if is_text else column


def _trimmed(text: Any) -> Any:
    """Text without blanks around it; blanks alone are a null."""
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _first(mask: Any) -> int:
    return int(pc.index(mask, True).as_py())


def _spell(cell: object) -> str:
    line = str(cell).replace("\0", "\\0")
    line = " ".join(line.split())
    return line if len(line) <= 40 else f"{line[:37]}..."
