"""The first pass over a table: every check of a cell, and the series data that are left when all of them pass."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.data.known_labels import KnownLabels
from gmvae_cli.data.series_data import ChannelSummary, SeriesData
from gmvae_cli.data.steps import StepCounter, TimeUnit, duration_rows
from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.files.cells import (
    NumberFormat,
    Problem,
    as_numpy,
    first_failure,
    first_true,
    grouped_digits,
    label_numbers,
    numbers,
    plain,
    shorten,
    spell,
)
from gmvae_cli.files.row_blocks import Where
from gmvae_cli.files.time_column import Times, find_times
from gmvae_cli.recognition import names
from gmvae_cli.recognition.column_facts import ColumnFacts
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.recognition.number_forms import is_quantity, kind_of
from gmvae_cli.recognition.time_choice import options_for_disorder, options_for_repeats
from gmvae_cli.system.scratch import Scratch

OnFailure = Callable[[], Mapping[str, ColumnFacts]]

LARGEST = 1e150  # whose square is still a number
_AGES = 50 * 365.25 * 86400.0  # seconds between two rows, of which one holds a date like 9999-12-31 or 1970-01-01
_EXACT = 2.0**53  # up to here every whole number is a double
_FAR = 20.0  # standard deviations; or one value with half of the variance
_LISTED_WORDS = 5  # for missing values, the most frequent ones
_ENOUGH_ROWS = 100  # of a channel, before a value is called far


class RowOrder:
    """The order of rows: where series start, and how much time passes from row to row.

    Args:
        layout, facts, first: as in `SeriesBuilder`.
    Attributes:
        times: reader of the time column. last_times: of it. unit: of times. counter: of the steps between rows.
    """

    def __init__(self, layout: Layout, facts: OnFailure | None, first: int) -> None:
        self.layout, self.time, self.series = layout, layout.time, layout.series
        self.times = layout.time_reader()
        self.unit: TimeUnit = "units"
        self.counter, self._first, self._facts = StepCounter(first), first, facts
        self.last_times: Times | None = None
        self._last_cell: object = None
        self._last_id: object = None
        self._ids: set[object] = set()
        self._before: set[object] = set()  # id of the row before the first

    def find(
        self, table: Any, new_file: bool, problems: list[Problem]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Find whether each of the next n rows is the first of its series, (n,), and the time since the row before.

        Returns:
            starts: (n,). elapsed: (n,) in seconds or units; NaN where a series starts; 1 without a time.
        """
        starts = self._find_starts(table, new_file, problems)
        return starts, self._find_elapsed(table, starts, problems)

    def follow(self, table: Any, where: Where) -> None:
        """Take a single row, which does not count, as the one before the rows that will be found."""
        problems: list[Problem] = []
        self.find(table, True, problems)
        if problems:
            raise SeriesError(f"{where(0)}: {problems[0].sentence}")
        self.counter, self._before = StepCounter(self._first), self._ids.copy()

    def merge(self, later: "RowOrder", name: str) -> None:
        """Add what was found in later rows; as in `SeriesBuilder.merge`."""
        again = (later._ids - later._before) & self._ids
        if again:
            sentence = f"series '{min(map(str, again))}' goes on after another one; --sort puts its rows together"
            raise SeriesError(f"{name}: {sentence}")
        kinds = self.times.time_form, later.times.time_form
        if self.unit != later.unit or (kinds[0] != kinds[1] and None not in kinds):
            sentence = f"column '{self.time}' changes between numbers and dates, or between forms of dates"
            raise SeriesError(f"{name}: {sentence}; --time-format FORMAT names one")
        self._ids |= later._ids
        self.counter.merge(later.counter)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_facts": None}

    def _find_starts(self, table: Any, new_file: bool, problems: list[Problem]) -> NDArray[np.bool_]:
        """Return (n,) whether a row is the first of its series."""
        starts = np.zeros(table.num_rows, np.bool_)
        if self.series is None:
            starts[0] = new_file
            return starts
        ids = plain(table[self.series])
        if ids.null_count:
            sentence = f"column '{self.series}' is empty; every row needs a series id"
            problems.append(Problem(first_true(pc.is_null(ids)), sentence))
            return starts
        starts[1:] = as_numpy(pc.not_equal(ids[1:], ids[:-1]), pa.uint8())
        starts[0] = ids[0].as_py() != self._last_id or not self._ids
        rows = np.flatnonzero(starts)
        names = ids.take(rows).to_pylist()
        if len(set(names)) < len(names) or not self._ids.isdisjoint(names):
            again = next(index for index, name in enumerate(names) if name in self._ids or name in names[:index])
            sentence = f"series '{names[again]}' goes on after another one; --sort puts its rows together"
            problems.append(Problem(int(rows[again]), sentence))
        self._ids.update(names)
        self._last_id = ids[-1].as_py()
        return starts

    def _find_elapsed(self, table: Any, starts: NDArray[np.bool_], problems: list[Problem]) -> NDArray[np.float64]:
        """Return (n,) time since the row before, in seconds or units; NaN where a series starts; 1 without a time."""
        if self.time is None:
            return np.where(starts, np.nan, 1.0)
        cells = self.layout.time_cells(table)
        times = find_times(cells, self.time, self.times, problems)
        if times is None:
            return np.ones(starts.shape)
        before = times if self.last_times is None else self.last_times
        if before.unit != times.unit:
            sentence = f"column '{self.time}' changes between numbers and dates from file to file"
            problems.append(Problem(0, sentence))
        previous = before.ticks[-1:]
        if before.per_unit != times.per_unit:  # a later file counts in other ticks
            previous = previous * (times.per_unit / before.per_unit)
        elapsed = np.diff(times.ticks, prepend=previous if self.last_times else times.ticks[:1])
        longest = _AGES * times.per_unit if times.unit == "seconds" else np.inf
        bad = np.flatnonzero(((elapsed <= 0) | (elapsed > longest)) & ~starts)
        if bad.size:
            row = int(bad[0])
            earlier = cells[row - 1].as_py() if row else self._last_cell
            facts = {} if self._facts is None else self._facts()
            step = float(elapsed[row]) / times.per_unit
            sentence = _disorder(self.time, cells[row].as_py(), earlier, step, unit=times.unit, facts=facts)
            problems.append(Problem(row, sentence))
        self.last_times, self._last_cell, self.unit = times, cells[-1].as_py(), times.unit
        elapsed = np.where(starts, np.nan, elapsed / times.per_unit)
        self.counter.add(elapsed)
        return elapsed


class SeriesBuilder:
    """Builder of series data: checks the blocks of a table in order and keeps their numbers.

    Args:
        layout: roles of the columns.
        scratch: D + 1 columns, the channels and the time since the row before; it becomes the series data's own. None:
            the numbers are checked and counted, but not kept.
        facts: computes the facts about the columns of the first rows, for advice on times out of order; None: none.
        first: number of the row that is added first.
    Attributes:
        rows: that were added. order: of the rows in their series and in time. summary: of the channels.
    """

    def __init__(self, layout: Layout, scratch: Scratch | None, facts: OnFailure | None = None, first: int = 0) -> None:
        self.layout, self.time, self.channels = layout, layout.time, layout.channels
        self.order, self._scratch = RowOrder(layout, facts, first), scratch
        self.summary = ChannelSummary(layout.channels)
        self.rows = 0
        self._rounded: set[str] = set()
        self._missing = _MissingWords()
        self._num_series = 0
        directory = None if scratch is None else scratch.directory
        self._known = None if layout.known is None else KnownLabels(layout.known, directory)

    def add(self, table: Any, where: Where, *, new_file: bool) -> None:
        """Add a block of n rows.

        Args:
            where: names its rows in messages. new_file: whether its first row starts a file.
        Raises:
            SeriesError: names the first row that cannot be used.
        """
        problems: list[Problem] = []
        starts, elapsed = self.order.find(table, new_file, problems)
        columns = [self._find_values(table[name], name, problems) for name in self.channels]
        if problems:
            row, sentence = min(problems)
            raise SeriesError(f"{where(row)}: {_if_header(table, row, sentence, is_first=new_file and row == 0)}")
        self.summary.add(columns)
        self._num_series += int(starts.sum())
        self.rows += table.num_rows
        if self._scratch is not None:
            self._scratch.append(np.column_stack([*columns, elapsed]))
        if self._known is not None:
            names = list(self._known.names)
            labels = label_numbers(table[self._known.column], self.layout.form, names)
            self._known.append(labels, names)
            self._known.require_names(where(0))

    def merge(self, later: "SeriesBuilder", name: str) -> None:
        """Add what another builder, which follows the last row of this one, has found in later rows.

        Args:
            name: of the table, for messages.
        Raises:
            SeriesError: a series goes on behind another one, or times are of two kinds.
        """
        self.order.merge(later.order, name)
        self._rounded |= later._rounded
        self._missing.merge(later._missing)
        self.summary.merge(later.summary)
        self.rows += later.rows
        self._num_series += later._num_series

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_scratch": None, "_known": None}

    def finish(self, name: str, *, max_gap: str | None, regular: bool, keep_constant: bool) -> SeriesData:
        """Return the series data of all blocks.

        Args:
            name: of the data, in messages. max_gap, regular: as of the options.
            keep_constant: keep constant channels, which are otherwise left out with a note.
        Raises:
            SeriesError: no channel varies. ConfigError: an impossible `max_gap`.
        """
        scratch = Scratch(len(self.channels) + 1) if self._scratch is None else self._scratch
        data = SeriesData(name, scratch, self.summary, self._num_series, rows=self.rows)
        if self.time is not None:
            data.unit_seconds = 1.0 if self.order.unit == "seconds" else names.unit_seconds(self.time)
            data.set_steps(self.order.counter, self.order.unit, max_gap, regular)
        elif max_gap is not None:
            duration_rows(max_gap, None, None)
        if self._known is not None:
            self._known.require_some(name)
            data.known = self._known
        data.notes += [*_notes_on_unit(self.time, max_gap, data), *self._missing.notes(data)]
        if not keep_constant:
            self._note_numbers(data)
            _leave_out_constant(data, self.summary.constant)
        return data

    def _note_numbers(self, data: SeriesData) -> None:
        """Add notes about numbers that lost digits, and about values far from all others."""
        for name in self.channels:
            if name in self._rounded:
                sentence = f"channel '{name}' holds whole numbers beyond 2^53, which are rounded; subtract an offset"
                data.notes.append(Note("rounded_numbers", sentence))
        for name, farthest, rows in zip(self.channels, self.summary.farthest, self.summary.observed, strict=True):
            if rows >= _ENOUGH_ROWS and (farthest > _FAR or farthest**2 > rows / 2):
                sentence = f"channel '{name}' holds a value {farthest:.0f} standard deviations from its mean"
                data.notes.append(Note("far_value", f"{sentence}; if it is no measurement, empty the cell"))

    def _find_values(self, column: Any, name: str, problems: list[Problem]) -> NDArray[np.float64]:
        """Return the (n,) numbers of a channel, NaN = missing."""
        column = plain(column)
        values = numbers(column, self.layout.form_of(name))
        if values is None:
            row = first_failure(len(column), lambda stop: numbers(column[:stop], self.layout.form_of(name)) is not None)
            cell = column[row].as_py()
            hint = _hint_on_number(str(cell), self.layout.form_of(name))
            problems.append(Problem(row, f"column '{name}' holds '{spell(cell)}', not a number; {hint}"))
            return np.full(len(column), np.nan)
        self._missing.add(name, column, values)
        magnitude = np.abs(values)
        if name not in self._rounded and (magnitude > _EXACT).any() and _any_whole(column, magnitude > _EXACT):
            self._rounded.add(name)
        infinite = magnitude > LARGEST
        if infinite.any():
            row = int(infinite.argmax())
            cell = spell(column[row].as_py())
            sentence = f"column '{name}' holds '{cell}'; expected a finite number or an empty cell"
            problems.append(Problem(row, sentence))
        return values


def _notes_on_unit(time: str | None, max_gap: str | None, data: SeriesData) -> list[Note]:
    """Return a note if the longest gap is a duration, and the times are numbers whose name tells their unit."""
    if max_gap is None or not max_gap.rstrip()[-1:].isalpha() or data.time_unit != "units":
        return []
    sentence = f"a unit of column '{time}' is taken as {data.unit_seconds:g} s, as its name says"
    return [Note("time_format", f"{sentence}; --max-gap ROWS goes without")]


def _disorder(
    time: str,
    cell: object,
    earlier: object,
    elapsed: float,
    *,
    unit: TimeUnit,
    facts: Mapping[str, ColumnFacts],
) -> str:
    """Describe a time that is not later than the one before, `elapsed` seconds or units ago, or ages later."""
    if elapsed > 0:
        sentence = f"column '{time}' leaps from '{earlier}' to '{cell}', over more than 50 years"
        return f"{sentence}; remove the row if one of them stands for no date, or give --no-time"
    if elapsed == 0:
        options = ", ".join(options_for_repeats(time, facts))
        hint = f"; {options}" if "," in options else " (--no-time ignores them)"
        return f"column '{time}' repeats '{cell}'; times in a series must differ{hint}"
    back = -elapsed if unit == "seconds" else None
    options = ", ".join(options_for_disorder(time, facts, back))
    return f"column '{time}' goes back from '{earlier}' to '{cell}'; {options}"


def _if_header(table: Any, row: int, sentence: str, *, is_first: bool) -> str:
    """Return the message about a row that cannot be used; another one where its cells are words, as in a header."""
    cells = [column[row].as_py() if pa.types.is_string(column.type) else None for column in table.columns]
    if cells == table.column_names:
        return "the header stands here again, remove this line"
    kinds = {"" if cell is None else kind_of(cell) for cell in cells}
    if is_first:
        return (
            f"{sentence}; if the header stands further below, give --skip-rows N" if kinds <= {"", "word"} else sentence
        )
    if len(cells) < 2 or kinds != {"word"} or len(set(cells)) < len(cells):
        return sentence
    header = shorten(",".join(map(str, cells)))
    return f"'{header}' looks like the header of another table; split the file, or read from there with --skip-rows N"


def _hint_on_number(cell: str, form: NumberFormat) -> str:
    """Say what reads a cell that is no number; a comma or a point may divide or group digits."""
    other, mark = (",", "decimal comma") if form.decimal == "." else (".", "decimal point")
    if form.thousands is None and re.fullmatch(rf"\D*(?!0){grouped_digits(other, form.decimal)}\D*", cell):
        return f"if '{other}' groups digits, give --thousands {other}; if it is a {mark}, give --decimal {other}"
    if re.fullmatch(rf"[^\d{other}]*\d*{re.escape(other)}\d+[^\d{other}]*", cell):
        return f"if that is a {mark}, give --decimal {other}"
    if re.fullmatch(r"\s*(\d+ days? )?\d+(:\d\d){1,2}([.,]\d+)?\s*", cell):
        return "write durations in seconds to model them"
    units = [form.suffix] if form.suffix else [unit for unit, _ in form.multiples]
    if units and is_quantity(cell) and not any(unit in cell for unit in units):
        return f"the first rows have {' and '.join(units)} behind their numbers; write all in these units"
    if other in cell and is_quantity(cell):
        return f"if '{other}' is a {mark}, give --decimal {other}"
    word = cell.strip()
    if re.fullmatch(r"""(?![+-]?\d)[^,"\n\0]+""", word):
        value = word if word.replace("_", "").isalnum() else f'"{word}"'
        return f"an empty cell means missing; if this text does, give --na-values {value}"
    return "an empty cell means missing"


class _MissingWords:
    """Counts of the cells of channels that mean missing, but are neither empty nor NaN."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, channel: str, cells: Any, values: NDArray[np.float64]) -> None:
        """Count the words among n cells whose values (n,) are NaN."""
        missing = np.isnan(values)
        if missing.sum() <= cells.null_count:
            return
        words = pc.utf8_trim_whitespace(pc.cast(cells.filter(pa.array(missing)).drop_null(), pa.string()))
        words = words.filter(pc.invert(pc.is_in(words, pa.array(["", "nan", "NaN"]))))
        for entry in pc.value_counts(words).to_pylist():
            self._counts.setdefault(channel, Counter())[entry["values"]] += entry["counts"]

    def merge(self, later: "_MissingWords") -> None:
        """Add the counts of later rows."""
        for channel, counts in later._counts.items():
            self._counts.setdefault(channel, Counter()).update(counts)

    def notes(self, data: SeriesData) -> list[Note]:
        """Return a note for each channel that has such cells."""
        notes = []
        for name, missing in zip(data.channels, data.missing.tolist(), strict=True):
            common = self._counts.get(name, Counter()).most_common(_LISTED_WORDS)
            if common:
                words = ", ".join(f"'{spell(word)}' ({count:,})" for word, count in common)
                sentence = f"channel '{name}' has {missing:,} missing values, among them cells that hold {words}"
                notes.append(Note("missing_values", sentence))
        return notes


def _leave_out_constant(data: SeriesData, constant: NDArray[np.bool_]) -> None:
    """Leave out the constant channels, (D,), with a note for each; raise a SeriesError if no channel varies."""
    if constant.all():
        raise SeriesError(f"{data.name}: no channel varies ({', '.join(data.channels)}); a model needs one that does")
    for index in np.flatnonzero(constant):
        reason = "is constant" if data.observed[index] else "has no value"
        data.notes.append(Note("constant_channel", f"channel '{data.channels[index]}' {reason} and is left out"))
    if constant.any():
        data.keep_only(np.flatnonzero(~constant))


def _any_whole(column: Any, chosen: NDArray[np.bool_]) -> bool:
    """Return whether a chosen cell was written as a whole number."""
    if not pa.types.is_string(column.type):
        return bool(pa.types.is_integer(column.type))
    return bool(pc.any(pc.match_substring_regex(column.filter(pa.array(chosen)), r"^\s*[+-]?\d+\s*$")).as_py())
