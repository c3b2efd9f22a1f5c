"""Runs of one label: half-open [start, stop) of consecutive rows, and what is counted along them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Runs:
    """Runs of one label, in order; they cover all rows.

    Args:
        start, stop: (S,) int64, half-open rows.
        continued: whether the first run goes on with the last one of the rows before.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    continued: bool

    def __len__(self) -> int:
        return len(self.start)

    @property
    def begun(self) -> NDArray[np.int64]:
        """Starts of the runs that begin in these rows: of all but a continued one."""
        return self.start[1:] if self.continued else self.start


def runs(labels: NDArray[Any], breaks: NDArray[np.bool_] | None = None, carry: float | None = None) -> Runs:
    """Find the runs of one label in consecutive rows.

    Args:
        labels: (n,) numbers. breaks: (n,) rows that begin a run whatever their label.
        carry: label of the row before the first; None: there is none, and the first row begins a run.
    """
    n = len(labels)
    edge = np.ones(n, np.bool_)
    np.not_equal(labels[1:], labels[:-1], out=edge[1:])
    if breaks is not None:
        edge |= breaks
    start = np.flatnonzero(edge)
    continued = n > 0 and carry is not None and labels[0] == carry and (breaks is None or not breaks[0])
    return Runs(start, np.append(start[1:], n)[: len(start)], bool(continued))


def rows_of(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """List the rows of half-open ranges (S,), one range after another."""
    count = stop - start
    return np.arange(count.sum()) + np.repeat(stop - np.cumsum(count), count)


@dataclass(frozen=True)
class Segments:
    """Segments in order; every array is (S,).

    Args:
        start, stop: half-open rows of the block, or of whatever the caller counts in. regime: int64.
        starts_series: whether a series begins here. prob_sum: sum of the regime's probabilities over the rows; NaN
            for rows of no regime, -1.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    regime: NDArray[np.int64]
    starts_series: NDArray[np.bool_]
    prob_sum: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start)


def segments(regimes: NDArray[np.int64], starts: NDArray[np.bool_], probs: NDArray[np.float64]) -> Segments:
    """List the segments of consecutive rows.

    Args:
        regimes: (n,) n at least 1. starts: (n,) rows that begin a series, where a segment ends whatever the regime.
        probs: (n, K).
    """
    visits = runs(regimes, starts)
    return Segments(
        start=visits.start,
        stop=visits.stop,
        regime=regimes[visits.start],
        starts_series=starts[visits.start],
        prob_sum=np.add.reduceat(np.where(regimes < 0, np.nan, probs[np.arange(len(regimes)), regimes]), visits.start),
    )


class Ribbon:
    """Counts of each regime along the rows, in constant memory: bins of equally many rows, merged in pairs.

    Args:
        num_regimes: K; rows may also be of none, -1. limit: bins at most; half as many at least, once there were
            more rows.
    """

    def __init__(self, num_regimes: int, limit: int = 512) -> None:
        self.limit, self.bin_rows, self.rows = limit, 1, 0
        self._counts = np.zeros((0, 1 + num_regimes), np.int64)  # the first: of no regime

    def add(self, regimes: NDArray[np.int64]) -> None:
        """Count the regimes (n,) of the next rows."""
        K = self._counts.shape[1]
        bins = (self.rows + np.arange(len(regimes))) // self.bin_rows
        self.rows += len(regimes)
        needed = -(-self.rows // self.bin_rows)
        counts = np.bincount(bins * K + regimes + 1, minlength=needed * K).reshape(needed, K)
        counts[: len(self._counts)] += self._counts
        while len(counts) > self.limit:
            counts = np.add.reduceat(counts, np.arange(0, len(counts), 2))
            self.bin_rows *= 2
        self._counts = counts

    def majority(self, columns: int) -> NDArray[np.int64]:
        """Find the most frequent regime in each of so many columns of equal length: (columns,), empty without a row."""
        if not self.rows:
            return np.zeros(0, np.int64)
        edges = np.linspace(0, len(self._counts), columns + 1)
        starts = np.minimum(edges[:-1].astype(int), len(self._counts) - 1)
        stops = np.maximum(np.ceil(edges[1:] - 1e-9).astype(int), starts + 1)
        totals = np.vstack([np.zeros_like(self._counts[:1]), np.cumsum(self._counts, axis=0)])
        return np.asarray((totals[np.minimum(stops, len(self._counts))] - totals[starts]).argmax(1) - 1)
