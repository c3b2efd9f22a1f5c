"""The segments of a labelled table as a table of their own, computed block by block."""

from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.data.series_data import SeriesData, row_time
from gmvae_cli.files.cells import as_text
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.metrics.segments import segments
from gmvae_cli.outputs.change_intervals import ChangeIntervals
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.recognition.time_forms import NUMERIC_FORMS, parse

_FILE, _NOVELTIES = "file", "novelties"
_MOST_NOVELTIES = 1 << 17  # of an open segment, of which the median is known to some 0.2 % of the rows


class RegimeColumns(Protocol):
    """Columns that say more of a regime than its number, such as `NameColumn`."""

    def add_to(self, table: pa.Table, regimes: NDArray[np.int64]) -> pa.Table:
        """Append them to a table whose rows have these regimes (n,)."""


class SegmentTable:
    """Rows of the segments file of one table; the last segment stays open until a block shows that it ended.

    Columns: file where it is named, series, segment (number), start and stop (rows of the series, half-open),
    start_time, end_time, regime, regime_name if there are names, rows, duration (in seconds or units of the time
    column, else rows), mean_prob, start_low and start_high (the 95 % interval of start; null if the probabilities know
    no later row), and the median novelty if rows have one.

    Args:
        layout: the columns of the labelled table. data: its numbers, with the usual step.
        names: of the regimes. with_intervals: whether the probabilities of a row are those given all rows.
    """

    def __init__(self, layout: Layout, data: SeriesData, names: RegimeColumns, with_intervals: bool = True) -> None:
        self._intervals = ChangeIntervals() if with_intervals else None
        self.layout, self.series, self.names = layout, layout.series, names
        self.step = row_time(data)
        self.count = self.series_start = 0
        self.carried: pa.Table | None = None
        self.last_id: str | None = None

    def add(self, table: pa.Table, block: LabelledRows, row: int, name: str, file: str | None = None) -> pa.Table:
        """Add a block of rows that begins at row `row` of the table; return the segments that have ended.

        Args:
            table: cells of the rows. block: their labels. name: of their file, that of its series where no column is.
            file: in which the segments that begin here lie; None: no column says so.
        """
        if self._intervals is not None:
            self._intervals.add(block)
        visits = segments(block.regimes, block.starts, block.probs)
        count = len(visits)
        spans = pa.table(
            {
                "series": pa.repeat(name, count) if self.series is None else table[self.series].take(visits.start),
                "first": row + visits.start,
                "last": row + visits.stop - 1,
                "start_time": times_at(self.layout, table, visits.start),
                "end_time": times_at(self.layout, table, visits.stop - 1),
                "regime": visits.regime,
                "begins": visits.starts_series,
                "prob_sum": visits.prob_sum,
            }
        )
        if file is not None:
            spans = spans.append_column(_FILE, pa.repeat(file, count))
        if block.novelty is not None:
            offsets = pa.array([*visits.start, len(block)], pa.int32())
            spans = spans.append_column(_NOVELTIES, pa.ListArray.from_arrays(offsets, pa.array(block.novelty)))
        if self.carried is not None:
            if not visits.starts_series[0] and self.carried["regime"][0].as_py() == visits.regime[0]:
                spans = pa.concat_tables([_merged(self.carried, spans), spans.slice(1)])
            else:
                spans = pa.concat_tables([self.carried, spans])
        self.carried = _thinned(spans.slice(len(spans) - 1))
        return self._finished(spans.slice(0, len(spans) - 1))

    def finish(self) -> pa.Table:
        """Return the last segment, when all rows have been added."""
        assert self.carried is not None
        if self._intervals is not None:
            self._intervals.finish()
        return self._finished(self.carried)

    def _finished(self, spans: pa.Table) -> pa.Table:
        """Number ended segments and count their rows from the first row of their series."""
        first, last = spans["first"].to_numpy(), spans["last"].to_numpy()
        rows = last - first + 1
        origin = np.where(self._new_series(spans), first, 0)
        if len(origin):
            origin = np.maximum.accumulate(np.maximum(origin, self.series_start))
            self.series_start = int(origin[-1])
        numbers = np.arange(self.count, self.count + len(spans))
        self.count += len(spans)
        file = {_FILE: spans[_FILE]} if _FILE in spans.column_names else {}
        table = pa.table(
            file
            | {
                "series": spans["series"],
                "segment": numbers,
                "start": first - origin,
                "stop": last + 1 - origin,
                "start_time": spans["start_time"],
                "end_time": spans["end_time"],
                "regime": spans["regime"],
            }
        )
        figures = {"rows": rows, "duration": rows * self.step, "mean_prob": spans["prob_sum"].to_numpy() / rows}
        if _NOVELTIES in spans.column_names:
            figures["novelty"] = _medians(spans[_NOVELTIES].combine_chunks())
        table = self.names.add_to(table, spans["regime"].to_numpy())
        for name, values in figures.items():
            table = table.append_column(name, pa.array(values, from_pandas=True))
        for side, name in enumerate(("start_low", "start_high")):
            table = table.append_column(name, self._bounds(side, first - origin))
        if self._intervals is not None:
            self._intervals.ended.clear()
        return table

    def _bounds(self, side: int, start: NDArray[np.int64]) -> pa.Array:
        """Return the first rows (side 0), or last rows (1), of the intervals of segments that start at (S,) rows."""
        if self._intervals is None:
            return pa.nulls(len(start), pa.int64())
        return pa.array(
            [int(row) + ended[side] for row, ended in zip(start, self._intervals.ended, strict=True)], pa.int64()
        )

    def _new_series(self, spans: pa.Table) -> NDArray[np.bool_]:
        """Return (S,) bool, segments that are the first of their series, not only the first behind a long gap."""
        begins: NDArray[np.bool_] = spans["begins"].to_numpy().copy()
        ids = as_text(spans["series"]).to_pylist()
        before = [self.last_id, *ids][: len(ids)]
        self.last_id = ids[-1] if ids else self.last_id
        changed = np.array([now != then for now, then in zip(ids, before, strict=True)], dtype=np.bool_)
        new: NDArray[np.bool_] = begins & changed
        return new


def times_at(layout: Layout, table: pa.Table, rows: NDArray[np.int64]) -> pa.Array:
    """Return the times of some rows (S,) as they stand in their cells; numbers that stand for dates as dates."""
    if layout.time is None:
        return pa.nulls(len(rows))
    cells = layout.time_cells(table).take(rows)
    dates = None if layout.time_form not in NUMERIC_FORMS else parse(trimmed(cells), layout.time_form)
    return cells if dates is None else pc.strftime(dates, "%Y-%m-%d %H:%M:%S")


def trimmed(cells: pa.Array) -> pa.Array:
    """Return cells as text without blanks around it."""
    return pc.utf8_trim_whitespace(as_text(cells))


def _merged(earlier: pa.Table, spans: pa.Table) -> pa.Table:
    """Join the open segment and the first of a block, which continues it."""
    merged = {name: spans[name].slice(0, 1) for name in spans.column_names}
    for name in ("first", "start_time", "begins", _FILE):
        if name in merged:
            merged[name] = earlier[name]
    if _NOVELTIES in merged:
        parts = [part[_NOVELTIES].combine_chunks().flatten() for part in (earlier, spans.slice(0, 1))]
        values = pa.concat_arrays(parts)
        merged[_NOVELTIES] = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    merged["prob_sum"] = pa.array([earlier["prob_sum"][0].as_py() + spans["prob_sum"][0].as_py()])
    return pa.table(merged)


def _thinned(span: pa.Table) -> pa.Table:
    """Keep every other novelty of an open segment that has many, so that a long one takes no more memory."""
    if _NOVELTIES not in span.column_names:
        return span
    values = span[_NOVELTIES].combine_chunks().flatten().to_numpy()
    while len(values) > _MOST_NOVELTIES:
        values = values[::2]
    column = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), pa.array(values))
    return span.set_column(span.column_names.index(_NOVELTIES), _NOVELTIES, column)


def _medians(lists: pa.ListArray) -> NDArray[np.float64]:
    """Compute the median (S,) of each list of numbers; NaN is left out, and the median of nothing."""
    lengths = lists.value_lengths().to_numpy()
    values, owner = lists.flatten().to_numpy(), np.repeat(np.arange(len(lists)), lengths)
    known = ~np.isnan(values)
    values, owner = values[known], owner[known]
    ordered = values[np.lexsort((values, owner))]
    counts = np.bincount(owner, minlength=len(lists))
    first = np.cumsum(counts) - counts
    medians = np.full(len(lists), np.nan)
    some = counts > 0
    low, high = (first + (counts - 1) // 2)[some], (first + counts // 2)[some]
    medians[some] = (ordered[low] + ordered[high]) / 2
    return medians
