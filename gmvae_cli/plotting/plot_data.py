"""A labelled file, reduced to what a picture can show: once read for what can be refused, once for what is drawn."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.types
from numpy.typing import NDArray

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.inputs import as_text
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.files.time_column import TimeReader
from gmvae_cli.files.validation import plain
from gmvae_cli.metrics import partition
from gmvae_cli.plotting.downsampling import Array, Columns, Reduction, SpanList, Spans
from gmvae_cli.system.progress import Progress

MOST_PANELS = 12
MOST_CHANNELS = 12
MOST_LABELS = 100  # of the truth
MOST_REGIMES = 100
TRUTH = "true_regime"
_BLOCK_ROWS = 1 << 16
_SECONDS_A_DAY = 86_400


@dataclass
class Panel:
    """One series, reduced. `regime_counts` and `truth_counts` are (C, K) and (C, L) rows of each label."""

    name: str
    reduction: Reduction = field(default_factory=Reduction)
    regimes: SpanList = field(default_factory=SpanList)
    truth: SpanList = field(default_factory=SpanList)
    first_segment: int = 0

    @property
    def columns(self) -> Columns:
        """What there is to draw."""
        assert self.reduction.columns is not None
        return self.reduction.columns


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What a labelled file shows.

    Args:
        channels: D names. num_regimes: K. panels: the first series of the file, 12 at most, of `num_series`.
        has_probs: whether the file says how sure each regime is; else the lower part shows the labels.
        truth: the regime whose colour each true label takes, (L,); none where the file has no truth.
        time: name of the time column, or None; is_date: it holds dates, positions are days since 1970.
        step: usual distance of two rows. warnings: (code, sentence) pairs.
    """

    name: str
    channels: tuple[str, ...]
    num_regimes: int
    panels: list[Panel]
    num_series: int
    rows: int
    segments: int
    has_probs: bool
    truth: NDArray[np.int64]
    time: str | None
    is_date: bool
    step: float
    warnings: list[tuple[str, str]]

    def probs(self, columns: Columns) -> Array:
        """(C, K) mean probabilities of each column."""
        sums = columns.sums[:, : self.num_regimes]
        return np.asarray(sums / np.maximum(sums.sum(1, keepdims=True), 1e-300))

    def spans(self, panel: Panel) -> Spans:
        """The regimes: every segment, or where they are too many the most frequent regime of each column."""
        K = self.num_regimes
        return panel.regimes.spans or _majority(panel.columns, panel.columns.sums[:, K : 2 * K])

    def truth_spans(self, panel: Panel) -> Spans:
        """The truth, by the regimes that the labels stand for; -1 where there is none."""
        spans = panel.truth.spans or _majority(panel.columns, panel.columns.sums[:, 2 * self.num_regimes :])
        return replace(spans, label=np.append(self.truth, -1)[spans.label])


def _majority(columns: Columns, counts: Array) -> Spans:
    label = np.where(counts.any(1), counts.argmax(1), -1)
    return Spans.of(columns.first, columns.last, label, columns.gap)


def read(path: str, config: SeriesConfig, progress: Progress) -> Labelled:
    """Read a labelled file.

    Raises:
        SeriesError: no column `regime`, or one that is not what `infer` writes; and all that other commands refuse.
    """
    notes: list[tuple[str, str]] = []
    reader, channels, num_probs = _opened(path, config, notes)
    with reader.read_data(None, progress, keep_constant=True) as data:
        num_regimes = max(num_probs, 1 + _largest_regime(data))
        reading = _Reading(reader, data, len(channels), num_regimes, num_probs)
        for stop in reading.blocks():
            progress("plot", stop, data.rows)
        notes += data.notes
        if data.num_series > MOST_PANELS:
            sentence = f"{reader.name} holds {data.num_series:,} series; the first {MOST_PANELS} are drawn"
            notes.append(("many_series", sentence))
        if len(reading.labels) > MOST_LABELS:
            notes.append(("many_labels", f"column '{TRUTH}' has more than {MOST_LABELS} labels and is not drawn"))
        return Labelled(
            name=reader.name,
            channels=channels,
            num_regimes=num_regimes,
            panels=reading.panels,
            num_series=data.num_series,
            rows=data.rows,
            segments=reading.segments,
            has_probs=num_probs > 0,
            truth=reading.matched_truth(),
            time=reader.layout.time,
            is_date=reading.is_date,
            step=reading.step,
            warnings=notes,
        )


def _opened(path: str, config: SeriesConfig, notes: list[tuple[str, str]]) -> tuple[SeriesReader, tuple[str, ...], int]:
    """A reader whose channels are those to draw, then `regime`, then the probabilities; and how many of each."""
    reader = open_series([path], config)
    layout = reader.layout
    if "regime" not in layout.columns:
        raise SeriesError(
            f"{reader.name}: no column 'regime'; give a file that infer wrote; columns are: "
            f"{', '.join(layout.columns[:20])}"
        )
    channels = layout.channels or ("regime",)
    if len(channels) > MOST_CHANNELS:
        sentence = f"of {len(channels)} channels the first {MOST_CHANNELS} are drawn; --channels names others"
        notes.append(("many_channels", sentence))
        channels = channels[:MOST_CHANNELS]
    probs: list[str] = []
    while f"prob_{len(probs)}" in layout.columns:
        probs.append(f"prob_{len(probs)}")
    drawn = [name for name in channels if name != "regime" and name not in probs]
    wanted = (*drawn, "regime", *probs)
    parts = replace(config, channels=wanted, time=layout.time, series=layout.series, no_time=layout.time is None)
    return reader.using(parts), tuple(drawn) or ("regime",), len(probs)


def _largest_regime(data: SeriesData) -> int:
    largest, place = 0, data.channels.index("regime")
    for start in range(0, data.rows, _BLOCK_ROWS):
        regimes = data.read(start, min(start + _BLOCK_ROWS, data.rows))[0][:, place]
        good = (regimes >= 0) & (regimes < MOST_REGIMES) & (regimes == np.floor(regimes))
        if not good.all():
            row = int(good.argmin())
            found = "is empty" if np.isnan(regimes[row]) else f"holds '{regimes[row]:g}'"
            raise SeriesError(
                f"{data.name}: row {start + row + 1}: column 'regime' {found}; expected a whole number from 0 to "
                f"{MOST_REGIMES - 1}, as infer writes"
            )
        largest = max(largest, int(regimes.max()))
    return largest


class _Reading:
    """The second pass over a labelled file: blocks of rows into the panels of their series."""

    def __init__(
        self, reader: SeriesReader, data: SeriesData, num_channels: int, num_regimes: int, num_probs: int
    ) -> None:
        self.reader, self.data = reader, data
        self.num_channels, self.num_regimes, self.num_probs = num_channels, num_regimes, num_probs
        self.panels: list[Panel] = []
        self.labels: dict[str, int] = {}  # true ones, in order of appearance
        self.joint = np.zeros((0, num_regimes), np.int64)  # rows by true label and regime
        self.segments = 0
        self.is_date, self.step = False, 1.0
        self._times = TimeReader(reader.config.decimal)
        self._series, self._regime_before, self._next_row = -1, -1, 0

    def blocks(self) -> Iterator[int]:
        """Take in all rows; says after each block how many."""
        layout, start = self.reader.layout, 0
        for table in self.reader.tables(_BLOCK_ROWS):
            stop = start + table.num_rows
            values, steps = self.data.read(start, stop)
            starts = np.flatnonzero(steps == 0)
            names = [self.reader.name] * len(starts)
            if layout.series is not None:
                ids = as_text(table[layout.series].take(starts)).to_pylist()
                names = [f"{layout.series} {text}" for text in ids]
            position = self._position(table, steps, start)
            has_truth = TRUTH in layout.columns and len(self.labels) <= MOST_LABELS
            truth = self._encode(table[TRUTH]) if has_truth else None
            self._take(values, steps, position, truth, names)
            start = stop
            yield stop

    def _position(self, table: Any, steps: NDArray[np.int64], start: int) -> Array:
        """(n,) where rows stand on the axis: days, units of the time column, or rows of the series."""
        name, rows = self.reader.layout.time, np.arange(start, start + len(steps))
        if name is None:
            begins = np.where(steps == 0, rows, -1)
            begins[0] = max(int(begins[0]), self._next_row)
            begins = np.maximum.accumulate(begins)
            self._next_row = int(begins[-1])
            return (rows - begins).astype(np.float64)
        times = self._times.read(plain(table[name]))
        assert times is not None, "the first pass has read it"
        kind = self._times.type
        self.is_date = pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind)
        unit = _SECONDS_A_DAY if self.is_date else 1
        self.step = (self.data.step or unit) / unit
        return np.asarray(times.ticks / times.per_unit / unit, np.float64)

    def _encode(self, column: Any) -> NDArray[np.int64]:
        """True labels as numbers, -1 where a cell is empty."""
        encoded = plain(as_text(column)).dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        known = [-1 if _is_blank(text) else self.labels.setdefault(text, len(self.labels)) for text in texts]
        codes: NDArray[np.int64] = np.array([*known, -1])[encoded.indices.fill_null(-1).to_numpy()]
        return codes

    def _take(
        self,
        values: Array,
        steps: NDArray[np.int64],
        position: Array,
        truth: NDArray[np.int64] | None,
        names: list[str],
    ) -> None:
        D, K = self.num_channels, self.num_regimes
        at = self.data.channels.index("regime")
        regimes = values[:, at].astype(np.int64)
        changed = (regimes != np.append(self._regime_before, regimes[:-1])) | (steps == 0)
        self._regime_before = int(regimes[-1])
        gap = steps > 1
        counts = np.eye(K)[regimes]
        probs = counts if not self.num_probs else np.nan_to_num(values[:, at + 1 : at + 1 + self.num_probs])
        probs = np.pad(probs, ((0, 0), (0, K - probs.shape[1])))
        sums = [probs, counts]
        if truth is not None:
            sums.append(np.eye(len(self.labels) + 1)[truth][:, :-1])
            self._count(truth, regimes)
        rows = Columns.of_rows(position, gap, values[:, :D], np.concatenate(sums, axis=1))
        edges = [0, *(int(row) for row in np.flatnonzero(steps == 0) if row), len(steps)]
        for start, stop in pairwise(edges):
            if steps[start] == 0:
                self._series += 1
                if self._series < MOST_PANELS:
                    self.panels.append(Panel(names.pop(0), first_segment=self.segments + int(changed[:start].sum())))
            if self._series >= MOST_PANELS:
                break
            part, panel = slice(start, stop), self.panels[-1]
            panel.reduction.add(rows[part])
            panel.regimes.add(position[part], regimes[part], gap[part])
            if truth is not None:
                panel.truth.add(position[part], truth[part], gap[part])
        self.segments += int(changed.sum())

    def _count(self, truth: NDArray[np.int64], regimes: NDArray[np.int64]) -> None:
        L, K = len(self.labels), self.num_regimes
        self.joint = np.pad(self.joint, ((0, L - len(self.joint)), (0, 0)))
        known = truth >= 0
        self.joint += np.bincount(truth[known] * K + regimes[known], minlength=L * K).reshape(L, K)

    def matched_truth(self) -> NDArray[np.int64]:
        """(L,) the regime that each true label stands for; labels that stand for none get numbers of their own."""
        if not 0 < len(self.labels) <= MOST_LABELS:
            return np.zeros(0, np.int64)
        matched = partition.match_labels(self.joint).astype(np.int64)
        others = matched < 0
        matched[others] = self.num_regimes + np.arange(others.sum())
        return matched


def _is_blank(text: str) -> bool:
    return text.strip().lower() in ("", "nan")
