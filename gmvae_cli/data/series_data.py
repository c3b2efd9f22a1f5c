"""What the mathematics sees of a file: standardisable numbers, steps in time, and what was found on the way."""

import hashlib
import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.steps import BUSINESS_DAY_SHARE, StepCounter, StepRule, TimeUnit, duration_rows
from gmvae_cli.system.scratch import Closing, Scratch

READ_ROWS = 1 << 18
SMALLEST_RANGE = 1e-140  # whose square is still a number


class SeriesData(Closing):
    """The channels of one table as numbers, row by row, kept in a scratch file until it is closed.

    Attributes:
        name: of the file, for messages. rows: T. num_series: unbroken ids (or files without a series column).
        channels: D names, those left out not among them. notes: (code, sentence) pairs for the user.
        mean, scale: (D,) float64 mean and standard deviation (divisor n) of the observed values; where a channel kept
            on request is constant or never observed, scale is 1 (and the mean of nothing 0).
        observed, missing: (D,) cells that hold a number, and that do not.
        step: median time step, in `time_unit`; None without a time column, or without two rows of one series.
        holes, breaks: steps longer than 1.5 medians, and those of them that --max-gap turns into a new start.
    """

    def __init__(self, name: str, scratch: Scratch, summary: "ChannelSummary", num_series: int) -> None:
        D = len(summary.channels)
        self.name, self.num_series = name, num_series
        self.rows = scratch.rows
        self.channels = summary.channels
        self.mean, self.scale = summary.mean, summary.scale
        self.observed, self.missing = summary.observed, scratch.rows - summary.observed
        self.step: float | None = None
        self.time_unit: TimeUnit | None = None
        self.holes = self.breaks = 0
        self.notes: list[tuple[str, str]] = []
        self._scratch, self._rule, self._kept = scratch, StepRule(), np.arange(D)

    @classmethod
    def from_arrays(
        cls,
        values: NDArray[Any],
        steps: NDArray[Any] | None = None,
        channels: tuple[str, ...] | None = None,
        name: str = "series",
    ) -> Self:
        """A recording of numbers in memory: values (T, D), NaN is missing; steps (T,) as `read` gives them.

        Without steps the rows are one series without holes. All channels are kept, constant or not.
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
        return data

    def read(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Rows [start, stop): values (n, D), NaN = missing, and steps (n,).

        A step is 0 in the first row of a series and behind a break (the chain restarts there, no lag looks across),
        1 in the next row, n > 1 where n - 1 rows are missing before this one.
        """
        rows = self._scratch.read(start, stop)
        whole = self._kept.size == rows.shape[1] - 1
        values = rows[:, :-1] if whole else rows[:, self._kept]
        return values, self._rule.steps(rows[:, -1])

    def fingerprint(self) -> str:
        """A digest of the channels' names, of every number and of every step."""
        digest = hashlib.blake2b("\0".join(self.channels).encode(), digest_size=16)
        for start in range(0, self.rows, READ_ROWS):
            values, steps = self.read(start, min(start + READ_ROWS, self.rows))
            digest.update(values.tobytes())
            digest.update(steps.tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Give the scratch space back."""
        self._scratch.close()

    def keep_only(self, kept: NDArray[Any]) -> None:
        """Leave out all channels but those at the positions `kept`."""
        self._kept = kept
        self.channels = tuple(self.channels[index] for index in kept)
        self.mean, self.scale = self.mean[kept], self.scale[kept]
        self.observed, self.missing = self.observed[kept], self.missing[kept]

    def settle_steps(self, counter: StepCounter, unit: TimeUnit, max_gap: str | None, regular: bool) -> None:
        """Settle what a step is, from the steps seen."""
        self.step, self.time_unit = counter.median(), unit
        gap = math.inf if max_gap is None else duration_rows(max_gap, self.step, unit)
        if self.step is None:
            return
        self._rule = StepRule(median=self.step, max_gap=gap, regular=regular)
        lengths, counts = counter.lengths()
        steps = self._rule.steps(lengths)
        if counter.exact:
            self.holes, self.breaks = int(counts[steps > 1].sum()), int(counts[steps == 0].sum())
        else:
            self._count_holes()
        rows, position = np.unique(steps, return_inverse=True)
        shares = np.where(rows > 1, np.bincount(position, counts), 0) / counts.sum()
        if shares.max() > BUSINESS_DAY_SHARE:
            sentence = (
                f"{100 * shares.max():.1f} % of the time steps are {rows[shares.argmax()]} usual steps long, as over "
                "weekends; --regular takes the rows as equally spaced"
            )
            self.notes.append(("equal_holes", sentence))

    def _count_holes(self) -> None:
        for start in range(0, self.rows, READ_ROWS):
            elapsed = self._scratch.read(start, min(start + READ_ROWS, self.rows))[:, -1]
            steps = self._rule.steps(elapsed)
            self.holes += int((steps > 1).sum())
            self.breaks += int(((steps == 0) & ~np.isnan(elapsed)).sum())


class ChannelSummary:
    """Count, mean, spread and range of each channel, block by block.

    Sums are of differences from the first value, merged by Chan's update, so a large mean does no harm.
    """

    def __init__(self, channels: tuple[str, ...]) -> None:
        D = len(channels)
        self.channels = channels
        self.observed = np.zeros(D, np.int64)
        self._origin, self._mean, self._squares = np.zeros(D), np.zeros(D), np.zeros(D)  # _mean from the origin on
        self._low, self._high = np.full(D, np.inf), np.full(D, -np.inf)

    def add(self, columns: list[NDArray[np.float64]]) -> None:
        """Take in D columns of values, NaN = missing."""
        for index, values in enumerate(columns):
            if math.isnan(values.sum()):
                values = values[~np.isnan(values)]
            if not values.size:
                continue
            before, n = self.observed[index], values.size
            if not before:
                self._origin[index] = values[0]
            differences = values - self._origin[index]
            mean = differences.mean()
            gain = mean - self._mean[index]
            self._squares[index] += n * differences.var() + gain * gain * before * n / (before + n)
            self._mean[index] += gain * n / (before + n)
            self.observed[index] += n
            self._low[index] = min(self._low[index], values.min())
            self._high[index] = max(self._high[index], values.max())

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(D,) whether a channel has at most one value, or varies so little that squares of it vanish."""
        with np.errstate(invalid="ignore"):  # a channel without any value
            constant: NDArray[np.bool_] = ~(self._high - self._low > SMALLEST_RANGE)
        return constant

    @property
    def farthest(self) -> NDArray[np.float64]:
        """(D,) how far out a value lies, in standard deviations."""
        mean = self.mean
        with np.errstate(invalid="ignore"):
            farthest: NDArray[np.float64] = np.maximum(self._high - mean, mean - self._low) / self.scale
        return farthest

    @property
    def mean(self) -> NDArray[np.float64]:
        """(D,) means; a constant channel's is its value, without rounding; 0 for a channel without any."""
        return self._origin + self._mean

    @property
    def scale(self) -> NDArray[np.float64]:
        """(D,) standard deviations, divisor n; 1 for a constant channel."""
        scale = np.sqrt(self._squares / np.maximum(self.observed, 1))
        return np.where(self.constant | (scale == 0), 1.0, scale)
