"""Labelled rows reduced to the size of a picture, block by block as they are made or read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.types
from numpy.typing import NDArray

from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import Note
from gmvae_cli.files.cells import as_text, plain
from gmvae_cli.metrics import partition
from gmvae_cli.metrics.segments import runs
from gmvae_cli.plotting.downsampling import Array, Columns, Reduction, SpanList, Spans
from gmvae_cli.recognition.column_roles import Layout

# Limits of legibility: panels and channels on a page of 12 inches, and labels that a legend could tell apart
MOST_PANELS = 12
MOST_CHANNELS = 12
MOST_LABELS = 100
MOST_REGIMES = 100
TRUTH = "true_regime"
_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One series, reduced.

    Args:
        columns: C columns of rows, whose sums are K probabilities, K rows of each regime, L rows of each true label.
        regimes, truth: spans of regimes and of true labels (as numbers); None where there are too many to draw.
        first_segment: number of the first segment in the file.
    """

    name: str
    columns: Columns
    regimes: Spans | None
    truth: Spans | None
    first_segment: int


@dataclass(frozen=True, kw_only=True)
class PlotData:
    """The content of a picture.

    Args:
        channels: D names. num_regimes: K. panels: the first series, `MOST_PANELS` at most, of `num_series`.
        has_probs: whether probabilities are known; otherwise the lowest axes show the share of each regime's rows.
        names: K texts, of the regimes. truth: (L,) regime whose colour each true label takes; empty without a column
            of true labels. truth_names: L texts, the true labels themselves.
        time: name of the time column, or None. is_date: positions are days since 1970, not units of that column.
        step: usual distance between two rows.
    """

    name: str
    channels: tuple[str, ...]
    num_regimes: int
    panels: Sequence[Panel]
    num_series: int
    rows: int
    segments: int
    has_probs: bool
    names: Sequence[str]
    truth: NDArray[np.int64]
    truth_names: Sequence[str]
    time: str | None
    is_date: bool
    step: float
    notes: Sequence[Note]

    def probs(self, columns: Columns) -> Array:
        """Return the mean probabilities (C, K) of each column."""
        sums = columns.sums[:, : self.num_regimes]
        return np.asarray(sums / np.maximum(sums.sum(1, keepdims=True), 1e-300))

    def regime_spans(self, panel: Panel) -> Spans:
        """Return every segment or, where those are too many, the most frequent regime of each column."""
        K = self.num_regimes
        return panel.regimes or _majority(panel.columns, panel.columns.sums[:, K : 2 * K])

    def true_spans(self, panel: Panel) -> Spans:
        """Return the true labels as numbers, in order of appearance, -1 where a row has none."""
        return panel.truth or _majority(panel.columns, panel.columns.sums[:, 2 * self.num_regimes :])

    def truth_spans(self, panel: Panel) -> Spans:
        """Return the true labels as the regimes that match them, -1 where a row has none."""
        spans = self.true_spans(panel)
        return replace(spans, label=np.append(self.truth, -1)[spans.label])


def _majority(columns: Columns, counts: Array) -> Spans:
    label = np.where(counts.any(1), counts.argmax(1), -1)
    return Spans.of(columns.first, columns.last, label, columns.gap)


@dataclass
class _OpenPanel:
    """A panel to which rows are still added."""

    name: str
    first_segment: int
    reduction: Reduction = field(default_factory=Reduction)
    regimes: SpanList = field(default_factory=SpanList)
    truth: SpanList = field(default_factory=SpanList)

    def closed(self) -> Panel:
        return Panel(
            name=self.name,
            columns=self.reduction.columns(),
            regimes=self.regimes.spans,
            truth=self.truth.spans,
            first_segment=self.first_segment,
        )


class PlotDataBuilder:
    """Builder of a picture's content from blocks of labelled rows, in constant memory; their size changes nothing.

    Args:
        name: title of the picture, the path of the file. layout: the columns of time and series. channels: D names.
        names: K texts, of the regimes.
    """

    def __init__(self, name: str, layout: Layout, channels: tuple[str, ...], names: Sequence[str]) -> None:
        self.name, self.layout, self.channels, self.names = name, layout, channels, list(names)
        self.num_regimes = num_regimes = len(names)
        self.rows = self.segments = 0
        self._panels: list[_OpenPanel] = []
        self._axis = _TimeAxis(layout)
        self._labels: dict[str, int] = {}  # true label -> number, in order of appearance
        self._joint = np.zeros((0, num_regimes), np.int64)  # rows by true label and regime
        self._series, self._last_regime = -1, -1
        self._has_probs = False

    def add(
        self,
        cells: Any,
        values: Array,
        steps: NDArray[np.int64],
        regimes: NDArray[np.int64],
        probs: Array | None,
        file: str | None = None,
    ) -> None:
        """Append the next rows.

        Args:
            cells: Arrow table with the columns of time, series and true labels, as far as there are.
            values: (n, D), NaN is missing. steps: (n,) as `SeriesData.read` gives them. regimes: (n,).
            probs: (n, up to K), NaN counts as 0; None: the labels are certain.
            file: names the series that begin, where no column does; None: the name of the picture.
        """
        position = self._axis.position(cells, steps)
        truth = self._encode_truth(cells)
        starts = np.flatnonzero(steps == 0)
        names = self._series_names(cells, starts, file or self.name)
        begun = runs(regimes, steps == 0, self._last_regime).begun
        gap = steps > 1
        rows = Columns.of_rows(position, gap, values, self._sums(regimes, probs, truth))
        edges = [0, *(row for row in starts.tolist() if row), len(steps)]
        for start, stop in pairwise(edges):
            if steps[start] == 0:
                self._series += 1
                if self._series < MOST_PANELS:
                    first_segment = self.segments + int(np.searchsorted(begun, start))
                    self._panels.append(_OpenPanel(names.pop(0), first_segment))
            if self._series >= MOST_PANELS:
                break
            part, panel = slice(start, stop), self._panels[-1]
            panel.reduction.add(rows[part])
            panel.regimes.add(position[part], regimes[part], gap[part])
            if truth is not None:
                panel.truth.add(position[part], truth[part], gap[part])
        self.segments += len(begun)
        self.rows += len(steps)
        self._last_regime = int(regimes[-1])

    def add_from(
        self, data: SeriesData, cells: Any, regimes: NDArray[np.int64], probs: Array, file: str | None = None
    ) -> None:
        """Append the next n rows of `data`, whose first channels are those to draw, with labels as in `add`."""
        values, steps = data.read_all(self.rows, self.rows + len(regimes))
        self.add(cells, values[:, : len(self.channels)], steps, regimes, probs, file)

    def build(self, data: SeriesData, notes: Sequence[Note] = ()) -> PlotData:
        """Build the content of the picture from all rows.

        Args:
            data: that the rows came from. notes: earlier ones, which come first.
        """
        notes = [*notes, *data.notes]
        if data.num_series > MOST_PANELS:
            sentence = f"{data.name} holds {data.num_series:,} series; the first {MOST_PANELS} are drawn"
            notes.append(Note("many_series", sentence))
        if len(self._labels) > MOST_LABELS:
            sentence = f"column '{TRUTH}' has more than {MOST_LABELS} labels and is not drawn"
            notes.append(Note("many_labels", sentence))
        return PlotData(
            name=self.name,
            channels=self.channels,
            num_regimes=self.num_regimes,
            panels=[panel.closed() for panel in self._panels],
            num_series=data.num_series,
            rows=self.rows,
            segments=self.segments,
            has_probs=self._has_probs,
            names=self.names,
            truth=self._matched_truth(),
            truth_names=list(self._labels),
            time=self.layout.time,
            is_date=self._axis.is_date,
            step=self._axis.step(data.step),
            notes=notes,
        )

    def _series_names(self, cells: Any, starts: NDArray[np.int64], name: str) -> list[str]:
        """List the names of the series that begin at the rows `starts` (S,); `name` is theirs where no column is."""
        if self.layout.series is None:
            return [name] * len(starts)
        ids = as_text(cells[self.layout.series].take(starts)).to_pylist()
        return [f"{self.layout.series} {text}" for text in ids]

    def _encode_truth(self, cells: Any) -> NDArray[np.int64] | None:
        """Number the true labels, -1 where a cell is empty; None where there are none, or too many."""
        if TRUTH not in cells.column_names or len(self._labels) > MOST_LABELS:
            return None
        encoded = plain(as_text(cells[TRUTH])).dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        known = [-1 if _is_blank(text) else self._labels.setdefault(text, len(self._labels)) for text in texts]
        codes: NDArray[np.int64] = np.array([*known, -1])[encoded.indices.fill_null(-1).to_numpy()]
        return codes

    def _sums(self, regimes: NDArray[np.int64], probs: Array | None, truth: NDArray[np.int64] | None) -> Array:
        """Join the numbers that columns sum: (n, K) probabilities, (n, K) regimes and (n, L) true labels, one-hot."""
        K, counts = self.num_regimes, np.eye(self.num_regimes + 1)[regimes][:, :-1]  # of no regime, -1: nothing
        if probs is None:
            sums = [counts, counts]
        else:
            self._has_probs = True
            sums = [np.pad(np.nan_to_num(probs), ((0, 0), (0, K - probs.shape[1]))), counts]
        if truth is not None:
            sums.append(np.eye(len(self._labels) + 1)[truth][:, :-1])
            self._count(truth, regimes)
        return np.concatenate(sums, axis=1)

    def _count(self, truth: NDArray[np.int64], regimes: NDArray[np.int64]) -> None:
        L, K = len(self._labels), self.num_regimes
        self._joint = np.pad(self._joint, ((0, L - len(self._joint)), (0, 0)))
        known = (truth >= 0) & (regimes >= 0)
        self._joint += np.bincount(truth[known] * K + regimes[known], minlength=L * K).reshape(L, K)

    def _matched_truth(self) -> NDArray[np.int64]:
        """Return the regime (L,) that matches each true label; labels that match none get numbers from K on."""
        if not 0 < len(self._labels) <= MOST_LABELS:
            return np.zeros(0, np.int64)
        matched = partition.match_labels(self._joint).astype(np.int64)
        unmatched = matched < 0
        matched[unmatched] = self.num_regimes + np.arange(unmatched.sum())
        return matched


def _is_blank(text: str) -> bool:
    return text.strip().lower() in ("", "nan")


class _TimeAxis:
    """Positions of rows: days, units of the time column or, without one, rows of their series."""

    def __init__(self, layout: Layout) -> None:
        self.time, self.is_date = layout.time, False
        self._layout, self._times = layout, layout.time_reader()
        self._row = self._series_start = 0

    def position(self, cells: Any, steps: NDArray[np.int64]) -> Array:
        """Compute the positions (n,) of the next rows, from their cells and steps (n,)."""
        if self.time is None:
            rows = self._row + np.arange(len(steps))
            begins = np.where(steps == 0, rows, -1)
            begins[0] = max(int(begins[0]), self._series_start)
            begins = np.maximum.accumulate(begins)
            self._row, self._series_start = self._row + len(steps), int(begins[-1])
            return (rows - begins).astype(np.float64)
        times = self._times.read(self._layout.time_cells(cells))
        assert times is not None, "the reader of the rows has parsed it"
        kind = self._times.type
        self.is_date = pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind)
        return np.asarray(times.ticks / times.per_unit / self._unit, np.float64)

    def step(self, data_step: float | None) -> float:
        """Return the usual distance of two rows on the axis; `data_step` is in seconds or the column's units."""
        return 1.0 if self.time is None else (data_step or self._unit) / self._unit

    @property
    def _unit(self) -> int:
        return _SECONDS_A_DAY if self.is_date else 1
