"""A series as numbers: channels row by row, steps in time, and summaries of each channel."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.jitter import grid_period, snap
from gmvae_cli.data.known_labels import KnownLabels
from gmvae_cli.data.steps import BUSINESS_DAY_SHARE, StepCounter, StepRule, TimeUnit, duration_rows
from gmvae_cli.errors import Note
from gmvae_cli.system.scratch import Closing, Scratch

READ_ROWS = 1 << 18  # at once; 2 MiB a channel
_WEEKEND = 3 * 86400.0  # seconds from Friday to Monday
SMALLEST_RANGE = 1e-140  # its square is still a float64 above 0
_STATE = ("observed", "_origin", "_mean", "_squares", "_low", "_high")  # of a summary of channels


class Waveforms(NamedTuple):
    """Description of blocks by the waveforms in them, as `waveform_features` learns it.

    Args:
        thresholds: (D, S, k, Q) for D channels, S dilations, k kernels. projection: (M, F), M = D S k Q + 2 D.
        std_epsilon: (D,) added to standard deviations, in the channels' units.
    """

    thresholds: NDArray[np.float64]
    projection: NDArray[np.float64]
    std_epsilon: NDArray[np.float64]


class SeriesData(Closing):
    """One series of rows as numbers, kept in a scratch file until it is closed: the rows of a table, or block features.

    Attributes:
        name: of the file, for messages. rows: T. num_series: unbroken ids (or files without a series column).
        channels: D names, without the channels that are left out. notes: warnings for the user.
        mean, scale: (D,) float64 mean and standard deviation (divisor n) of the observed values; scale is 1 for a
            constant channel, mean is 0 for one without a value.
        observed, missing: (D,) numbers of cells with a value, and without.
        step: median time step, in `time_unit`, of `unit_seconds` if that is known; None without two rows of one series.
        holes, breaks: numbers of steps above 1.5 medians, and of those that --max-gap turns into a new start.
        edges: (T + 1,) where a row stands for a block of rows: first row of each block, end of the last; else None.
        std_epsilon, blocks_of: (D / 2,) and the rows, where a row is a block, as in `block_features`; else None.
        waveforms: where a row stands for a block, as in `waveform_features`; else None.
        rule: of holes and breaks. kept: positions of the channels among those read from the table.
        known: labels that some rows have; None: no column was named for them.
    """

    def __init__(
        self,
        name: str,
        scratch: Scratch,
        summary: "ChannelSummary",
        num_series: int,
        edges: NDArray[np.int64] | None = None,
        std_epsilon: NDArray[np.float64] | None = None,
        rows: int | None = None,
    ) -> None:
        self.name, self.num_series, self.channels = name, num_series, summary.channels
        self.rows = scratch.rows if rows is None else rows
        self.mean, self.scale, self.observed = summary.mean, summary.scale, summary.observed
        self.missing = self.rows - summary.observed
        self.edges, self.std_epsilon = edges, std_epsilon
        self.waveforms: Waveforms | None = None
        self.blocks_of: SeriesData | None = None
        self.known: KnownLabels | None = None
        self.step: float | None = None
        self.unit_seconds: float | None = None
        self.time_unit: TimeUnit | None = None
        self.holes, self.breaks, self.notes = 0, 0, list[Note]()
        self.rule, self.kept, self._scratch = StepRule(), np.arange(len(self.channels)), scratch

    @classmethod
    def from_arrays(
        cls,
        values: NDArray[Any],
        steps: NDArray[Any] | None = None,
        channels: tuple[str, ...] | None = None,
        name: str = "series",
        known: NDArray[Any] | None = None,
    ) -> Self:
        """Make a series of arrays.

        Args:
            values: (T, D), NaN is missing. steps: (T,) as `read` returns them; None: one series without holes.
            channels: D names; None: x0, x1, ... All are kept, constant or not.
            known: (T,) numbers of known labels, -1 for none; None: no row has any.
        """
        T, D = values.shape
        steps = np.minimum(np.arange(T), 1) if steps is None else np.asarray(steps)
        assert steps.shape == (T,), f"shape {steps.shape}, not ({T},)"
        assert not T or steps[0] == 0, "the first row starts a series"
        summary = ChannelSummary(channels or tuple(f"x{index}" for index in range(D)))
        columns = np.asarray(values, np.float64)
        summary.add([np.ascontiguousarray(column) for column in columns.T])
        scratch = Scratch(D + 1)
        scratch.append(np.column_stack([columns, np.where(steps == 0, np.nan, steps)]))
        data = cls(name, scratch, summary, int((steps == 0).sum()))
        data.holes = int((steps > 1).sum())
        data.known = None if known is None else KnownLabels.from_array(known)
        return data

    def read(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Read rows [start, stop).

        Returns:
            values: (n, D), NaN is missing.
            steps: (n,) 0 in the first row of a series and behind a break (the chain restarts there, and no lag reaches
                across), 1 in the next row, m > 1 where m - 1 rows are missing before this one.
        """
        values, steps = self.read_all(start, stop)
        return values if self.kept.size == values.shape[1] else values[:, self.kept], steps

    def read_all(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Read rows [start, stop) of every channel that was read from the table, those left out as well."""
        rows = self._scratch.read(start, stop)
        return rows[:, :-1], self.rule.steps(rows[:, -1])

    def pieces(self, ranges: Sequence[tuple[int, int]]) -> "SeriesData":
        """Copy ranges of rows, each of which starts a series, into a series of their own."""
        scratch, summary = Scratch(len(self.channels) + 1), ChannelSummary(self.channels)
        num_series, known = 0, None if self.known is None else KnownLabels(self.known.column)
        for first, last in ranges:
            for start in range(first, last, READ_ROWS):
                values, steps = self.read(start, min(start + READ_ROWS, last))
                steps = np.where(np.arange(start, start + len(steps)) == first, 0, steps)
                summary.add([np.ascontiguousarray(column) for column in values.T])
                scratch.append(np.column_stack([values, np.where(steps == 0, np.nan, steps)]))
                num_series += int((steps == 0).sum())
                if known is not None and self.known is not None:
                    known.append(self.known.read(start, start + len(steps)), self.known.names)
        pieces = SeriesData(self.name, scratch, summary, num_series)
        pieces.known = known
        return pieces

    def close(self) -> None:
        """Free the scratch space."""
        self._scratch.close()
        if self.known is not None:
            self.known.close()

    def keep_only(self, kept: NDArray[Any]) -> None:
        """Leave out all channels except those at the positions `kept`, (D,) in order."""
        self.kept = kept
        self.channels = tuple(self.channels[index] for index in kept)
        self.mean, self.scale = self.mean[kept], self.scale[kept]
        self.observed, self.missing = self.observed[kept], self.missing[kept]

    def set_steps(self, counter: StepCounter, unit: TimeUnit, max_gap: str | None, regular: bool) -> None:
        """Set the usual step and the rule for holes and breaks, from the step lengths of the whole file."""
        self.step, self.time_unit = counter.median(), unit
        head = self._scratch.read(0, min(self._scratch.rows, READ_ROWS))[:, -1]
        period = None if regular or self.step is None else grid_period(head)
        if period is not None:
            counter, self.step = snap(self._scratch, period, READ_ROWS), period
        gap = math.inf if max_gap is None else duration_rows(max_gap, self.step, self.unit_seconds)
        if self.step is None:
            return
        self.rule = StepRule(median=self.step, max_gap=gap, regular=regular)
        lengths, counts = counter.lengths()
        steps = self.rule.steps(lengths)
        if counter.exact:
            self.holes, self.breaks = int(counts[steps > 1].sum()), int(counts[steps == 0].sum())
        else:
            self._count_holes()
        rows, position = np.unique(steps, return_inverse=True)
        shares = np.where(rows > 1, np.bincount(position, counts), 0) / counts.sum()
        if shares.max() > BUSINESS_DAY_SHARE:
            long = int(rows[shares.argmax()])
            is_weekend = self.time_unit == "seconds" and long * self.step == _WEEKEND
            self.notes.append(_note_on_holes(float(shares.max()), long, is_weekend=is_weekend))

    def _count_holes(self) -> None:
        """Count holes and breaks in the rows, where the counter has only a sample of them."""
        for start in range(0, self._scratch.rows, READ_ROWS):
            elapsed = self._scratch.read(start, min(start + READ_ROWS, self.rows))[:, -1]
            steps = self.rule.steps(elapsed)
            self.holes += int((steps > 1).sum())
            self.breaks += int(((steps == 0) & ~np.isnan(elapsed)).sum())


def fingerprint(data: SeriesData) -> str:
    """Compute a digest of the channels' names, of every value, of every step, and of labels if there are any."""
    digest = hashlib.blake2b("\0".join(data.channels).encode(), digest_size=16)
    known = data.known
    if known is not None:
        digest.update("\0".join(("", *known.names)).encode())
    for start in range(0, data.rows, READ_ROWS):
        stop = min(start + READ_ROWS, data.rows)
        values, steps = data.read(start, stop)
        digest.update(values.tobytes())
        digest.update(steps.tobytes())
        if known is not None:
            digest.update(known.read(start, stop).tobytes())
    return digest.hexdigest()


def row_time(data: SeriesData) -> float:
    """Return the usual time from row to row; 1 without a time column."""
    return 1.0 if data.step is None or data.time_unit is None else data.step


def _note_on_holes(share: float, steps: int, *, is_weekend: bool) -> Note:
    weekends = ", as over weekends" if is_weekend else ""
    sentence = f"{100 * share:.1f} % of the time steps are {steps} usual steps long{weekends}"
    return Note("equal_holes", f"{sentence}; --regular takes the rows as equally spaced")


class ChannelSummary:
    """Count, mean, standard deviation and range of each of D channels, updated block by block.

    Sums are of differences from the first value and are merged by the update of Chan, Golub, LeVeque, 1983, so a mean
    far from 0 costs no digits.

    Attributes:
        channels: D names. observed: (D,) numbers of values.
    """

    def __init__(self, channels: tuple[str, ...]) -> None:
        D = len(channels)
        self.channels = channels
        self.observed = np.zeros(D, np.int64)
        self._origin, self._mean, self._squares = np.zeros(D), np.zeros(D), np.zeros(D)  # _mean from the origin on
        self._low, self._high = np.full(D, np.inf), np.full(D, -np.inf)

    def add(self, columns: list[NDArray[np.float64]]) -> None:
        """Update with D columns of values (n,), NaN is missing."""
        for index, values in enumerate(columns):
            if math.isnan(values.sum()):
                values = values[~np.isnan(values)]
            if not values.size:
                continue
            if not self.observed[index]:
                self._origin[index] = values[0]
            differences = values - self._origin[index]
            self._add(index, values.size, differences.mean(), differences.var(), values.min(), values.max())

    def merge(self, later: "ChannelSummary") -> None:
        """Update with the values that another summary has seen."""
        for index in np.flatnonzero(later.observed).tolist():
            if not self.observed[index]:
                self._origin[index] = later._origin[index]
            n = later.observed[index]
            mean = later._origin[index] - self._origin[index] + later._mean[index]
            self._add(index, n, mean, later._squares[index] / n, later._low[index], later._high[index])

    def state(self) -> list[list[float]]:
        """Return all that the summary knows as plain numbers, which `of_state` takes."""
        return [getattr(self, name).tolist() for name in _STATE]

    @classmethod
    def of_state(cls, channels: tuple[str, ...], state: Sequence[Sequence[float]]) -> Self:
        """Make a summary again out of its `state`."""
        summary = cls(channels)
        for name, numbers in zip(_STATE, state, strict=True):
            setattr(summary, name, np.array(numbers, getattr(summary, name).dtype))
        return summary

    def _add(self, index: int, n: int, mean: float, variance: float, low: float, high: float) -> None:
        """Update a channel with n values; their mean is from the channel's origin on."""
        before = self.observed[index]
        gain = mean - self._mean[index]
        self._squares[index] += n * variance + gain * gain * before * n / (before + n)
        self._mean[index] += gain * n / (before + n)
        self.observed[index] += n
        self._low[index] = min(self._low[index], low)
        self._high[index] = max(self._high[index], high)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(D,) bool, channels with at most one value, or with a range whose square underflows."""
        with np.errstate(invalid="ignore"):  # a channel without any value
            constant: NDArray[np.bool_] = ~(self._high - self._low > SMALLEST_RANGE)
        return constant

    @property
    def farthest(self) -> NDArray[np.float64]:
        """(D,) largest distance of a value from the mean, in standard deviations."""
        mean = self.mean
        with np.errstate(invalid="ignore"):
            farthest: NDArray[np.float64] = np.maximum(self._high - mean, mean - self._low) / self.scale
        return farthest

    @property
    def mean(self) -> NDArray[np.float64]:
        """(D,) means; exactly the value of a constant channel, 0 for a channel without a value."""
        return self._origin + self._mean

    @property
    def scale(self) -> NDArray[np.float64]:
        """(D,) standard deviations, divisor n; 1 for a constant channel."""
        scale = self.deviation
        return np.where(self.constant | (scale == 0), 1.0, scale)

    @property
    def deviation(self) -> NDArray[np.float64]:
        """(D,) standard deviations, divisor n; 0 for a channel without a value."""
        deviation: NDArray[np.float64] = np.sqrt(self._squares / np.maximum(self.observed, 1))
        return deviation

    @property
    def low(self) -> NDArray[np.float64]:
        """(D,) smallest values; infinite for a channel without one."""
        return self._low

    @property
    def high(self) -> NDArray[np.float64]:
        """(D,) largest values; minus infinity for a channel without one."""
        return self._high
