"""Sums over rows by regime: how long its visits last, what follows them, and how each channel lies in it.

The sums of consecutive stretches of rows merge, so rows of any number take constant memory.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.series_data import ChannelSummary
from gmvae_cli.metrics.segments import runs

Counts = NDArray[np.int64]
Array = NDArray[np.float64]

_SMALLEST_VARIANCE = 1e-4  # of all rows' variance: a hundredth of their spread tells as much as none at all


class ProfilePart(NamedTuple):
    """Sums over some rows of a table, at least one, as plain numbers that travel and can be kept beside the rows.

    Args:
        rows, visits, time, longest, follows: as in `RegimeProfile`. summaries: K, as `ChannelSummary.state`.
        first, last: regimes of the first and of the last row; first_time, last_time: time of their visits.
        continues: whether the first row goes on with the chain of the row before. single: whether it is one visit.
    """

    rows: list[int]
    visits: list[int]
    time: list[float]
    longest: list[float]
    follows: list[list[int]]
    summaries: list[list[list[float]]]
    first: int
    last: int
    first_time: float
    last_time: float
    continues: bool
    single: bool


class RegimeProfile:
    """Sums over the rows of each of K regimes, in the units of the channels and of the time.

    Attributes:
        rows, visits: (K,) int64. time, longest: (K,) of all rows, and of the longest visit: rows times the usual step.
        follows: (K, K) how often a visit to the second regime follows one to the first; not across a start.
        summaries: K, of the values of D channels.
    """

    def __init__(self, num_regimes: int, channels: Sequence[str]) -> None:
        self.channels = tuple(channels)
        self.rows, self.visits = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.time, self.longest = np.zeros(0), np.zeros(0)
        self.follows = np.zeros((0, 0), np.int64)
        self.summaries: list[ChannelSummary] = []
        self.grow(num_regimes)
        self._last, self._open = -1, 0.0  # regime of the last row, and the time of its visit so far
        self._first: tuple[int, bool] | None = None  # regime of the first row, and whether it goes on with a chain
        self._first_time, self._single = 0.0, True  # time of the first visit, and whether there is no other yet

    @property
    def num_regimes(self) -> int:
        """Number of regimes, K."""
        return len(self.rows)

    def grow(self, num_regimes: int) -> None:
        """Make room for more regimes."""
        more = num_regimes - self.num_regimes
        for name in ("rows", "visits", "time", "longest"):
            setattr(self, name, np.pad(getattr(self, name), (0, more)))
        self.follows = np.pad(self.follows, (0, more))
        self.summaries += [ChannelSummary(self.channels) for _ in range(more)]

    def start_table(self) -> None:
        """Begin another table, whose first visit continues none."""
        self._last, self._open = -1, 0.0

    def add(self, regimes: Counts, starts: NDArray[np.bool_], values: Array, step: float) -> None:
        """Count the next n rows, at least one.

        Args:
            regimes: (n,) 0 to K - 1; -1 is a row without one, which ends a visit and is not counted.
            starts: (n,) rows where the chain starts, and a visit begins whatever the regime.
            values: (n, D), NaN is missing. step: usual time from row to row.
        """
        visits = runs(regimes, starts, self._last)
        labels = regimes[visits.start]
        time: Array = np.asarray((visits.stop - visits.start) * step, np.float64)
        time[0] += self._open * visits.continued
        follows = ~starts[visits.start]
        follows[0] &= not visits.continued
        before = np.append(self._last, labels[:-1])
        self._count_pairs(before[follows], labels[follows])
        known = labels >= 0
        np.maximum.at(self.longest, labels[known], time[known])
        begun = regimes[visits.begun]
        self.visits += np.bincount(begun[begun >= 0], minlength=self.num_regimes)
        self._note_ends(labels, time, visits.continued, not starts[0])
        rows = np.bincount(regimes[regimes >= 0], minlength=self.num_regimes)
        self.rows += rows
        self.time += rows * step
        self._add_values(regimes, values)

    def part(self) -> ProfilePart:
        """Return the sums over the rows that have been added, at least one, as those of a part of a table."""
        assert self._first is not None
        regime, continues = self._first
        return ProfilePart(
            rows=self.rows.tolist(),
            visits=self.visits.tolist(),
            time=self.time.tolist(),
            longest=self.longest.tolist(),
            follows=self.follows.tolist(),
            summaries=[summary.state() for summary in self.summaries],
            first=regime,
            last=self._last,
            first_time=self._first_time,
            last_time=self._open,
            continues=continues,
            single=self._single,
        )

    def add_part(self, part: ProfilePart) -> None:
        """Count the next rows of the table, which were counted elsewhere."""
        goes_on = part.continues and part.first == self._last
        self.rows += np.array(part.rows)
        self.visits += np.array(part.visits)
        self.time += np.array(part.time)
        self.follows += np.array(part.follows)
        self.longest = np.maximum(self.longest, part.longest)
        for summary, state in zip(self.summaries, part.summaries, strict=True):
            summary.merge(ChannelSummary.of_state(self.channels, state))
        first_time = part.first_time + self._open * goes_on
        if goes_on and part.first >= 0:
            self.visits[part.first] -= 1
            self.longest[part.first] = max(self.longest[part.first], first_time)
        elif part.continues:
            self._count_pairs(np.array([self._last]), np.array([part.first]))
        ends = [part.first] if part.single else [part.first, part.last]
        times = [first_time] if part.single else [first_time, part.last_time]
        self._note_ends(np.array(ends), np.array(times), goes_on, part.continues)

    def _note_ends(self, labels: Counts, time: Array, continued: bool, continues: bool) -> None:
        """Remember the first and the last visit: their regimes and times, of the next visits (S,)."""
        if self._first is None:
            self._first, continued = (int(labels[0]), continues), True
        if self._single and continued:
            self._first_time = float(time[0])
        self._single &= continued and len(labels) == 1
        self._last, self._open = int(labels[-1]), float(time[-1])

    def _count_pairs(self, before: Counts, after: Counts) -> None:
        """Count the regimes (S,) that visits to others (S,) follow; -1 is none."""
        known = (before >= 0) & (after >= 0)
        np.add.at(self.follows, (before[known], after[known]), 1)

    def _add_values(self, regimes: Counts, values: Array) -> None:
        order = np.argsort(regimes.astype(np.int16), kind="stable")  # of such small numbers in linear time
        columns = np.ascontiguousarray(values.T)[:, order]
        edges = np.searchsorted(regimes[order], np.arange(self.num_regimes + 1))
        for regime in np.flatnonzero(np.diff(edges)).tolist():
            rows = slice(edges[regime], edges[regime + 1])
            self.summaries[regime].add([column[rows] for column in columns])


class ChannelFigures(NamedTuple):
    """Figures of D channels in K regimes, (K, D) each; NaN where a regime has no value of a channel.

    Args:
        values: int64, how many. deviation: standard deviation, divisor n.
        separation: how far the values lie from those of all other regimes, as in `separation`.
    """

    values: Counts
    mean: Array
    deviation: Array
    minimum: Array
    maximum: Array
    separation: Array


def channel_figures(profile: RegimeProfile) -> ChannelFigures:
    """Compute the figures of every channel in every regime."""
    shape = profile.num_regimes, len(profile.channels)
    count = np.array([summary.observed for summary in profile.summaries]).reshape(shape)

    def known(name: str) -> Array:
        figures = np.array([getattr(summary, name) for summary in profile.summaries]).reshape(shape)
        return np.where(count > 0, figures, np.nan)

    mean, deviation = known("mean"), known("deviation")
    apart = separation(count, mean, deviation)
    return ChannelFigures(count, mean, deviation, known("low"), known("high"), apart)


def separation(count: Counts, mean: Array, deviation: Array) -> Array:
    """Compute how far each regime's values of each channel lie from those of all other regimes, (K, D).

    It is the Bhattacharyya distance (1943) of two Normal distributions with these means and standard deviations, so
    that another level tells regimes apart and another spread does as well.

    Args:
        count, mean, deviation: (K, D); where the count is 0 the others are NaN.
    Returns:
        (K, D), 0 where a regime or all others have no value.
    """
    mean, deviation = np.nan_to_num(mean), np.nan_to_num(deviation)
    unit = np.maximum(np.abs(mean).max(0), deviation.max(0))  # squares of the largest numbers have none
    unit = np.where(unit > 0, unit, 1.0)
    mean, variance = mean / unit, (deviation / unit) ** 2
    all_rows = _pooled(count, mean, variance)[1]
    floor = np.where(all_rows > 0, _SMALLEST_VARIANCE * all_rows, 1.0)
    result = np.zeros(mean.shape)
    for regime, others in enumerate(1 - np.eye(len(count), dtype=np.int64)):
        rest_count = count * others[:, None]
        rest_mean, rest_variance = _pooled(rest_count, mean, variance)
        own, rest = variance[regime] + floor, rest_variance + floor
        distance = (mean[regime] - rest_mean) ** 2 / (own + rest) / 4
        distance += np.log((own + rest) / (2 * np.sqrt(own * rest))) / 2
        result[regime] = np.where((count[regime] > 0) & rest_count.any(0) & (all_rows > 0), distance, 0.0)
    return result


def _pooled(count: Counts, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Pool means and variances of K groups, (K, D) as the counts of their values; returns (D,) each."""
    total = np.maximum(count.sum(0), 1)
    pooled = (count * mean).sum(0) / total
    return pooled, (count * (variance + (mean - pooled) ** 2)).sum(0) / total


def described(profile: RegimeProfile, figures: ChannelFigures, regime: int) -> dict[str, Any]:
    """Describe a regime as plain numbers: its rows and visits, its channels, and those that tell it apart most first.

    Figures that are undefined are None: times without a visit, and those of a channel without a value.
    """
    visits, order = int(profile.visits[regime]), np.argsort(-figures.separation[regime], kind="stable")
    channels = {
        name: {
            "values": int(figures.values[regime, index]),
            "mean": _defined(figures.mean[regime, index]),
            "standard_deviation": _defined(figures.deviation[regime, index]),
            "minimum": _defined(figures.minimum[regime, index]),
            "maximum": _defined(figures.maximum[regime, index]),
        }
        for index, name in enumerate(profile.channels)
    }
    return {
        "rows": int(profile.rows[regime]),
        "share": float(profile.rows[regime] / max(profile.rows.sum(), 1)),
        "visits": visits,
        "total_time": float(profile.time[regime]),
        "mean_time": float(profile.time[regime] / visits) if visits else None,
        "longest_time": float(profile.longest[regime]) if visits else None,
        "channels": channels,
        "tells_apart": [profile.channels[index] for index in order if figures.separation[regime, index] > 0],
    }


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
