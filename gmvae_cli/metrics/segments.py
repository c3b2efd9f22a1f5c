"""Labels as half-open segments [start, stop) of one regime each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Segments:
    """Segments in order; every array is (S,).

    Args:
        first, last: rows of the block, or of whatever the caller counts in. regime: int64.
        starts_series: whether a series begins here. prob_sum: sum of the regime's probabilities over the rows.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    regime: NDArray[np.int64]
    starts_series: NDArray[np.bool_]
    prob_sum: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)


def segments(regimes: NDArray[np.int64], starts: NDArray[np.bool_], probs: NDArray[np.float64]) -> Segments:
    """The segments of consecutive rows.

    Args:
        regimes: (n,) n at least 1. starts: (n,) rows that begin a series, where a segment ends whatever the regime.
        probs: (n, K).
    """
    rows = np.arange(len(regimes))
    edge = starts.copy()
    edge[0] = True
    edge[1:] |= regimes[1:] != regimes[:-1]
    first = np.flatnonzero(edge)
    last = np.append(first[1:], len(regimes)) - 1
    return Segments(
        first=first,
        last=last,
        regime=regimes[first],
        starts_series=starts[first],
        prob_sum=np.add.reduceat(probs[rows, regimes], first),
    )


class Ribbon:
    """How often each regime holds along the rows, in constant memory: bins of equally many rows, merged in pairs.

    Args:
        num_regimes: K. limit: bins at most; half as many at least, once there were more rows.
    """

    def __init__(self, num_regimes: int, limit: int = 512) -> None:
        self.limit, self.bin_rows, self.rows = limit, 1, 0
        self._counts = np.zeros((0, num_regimes), np.int64)

    def add(self, regimes: NDArray[np.int64]) -> None:
        """Take in the regimes of the next rows."""
        K = self._counts.shape[1]
        bins = (self.rows + np.arange(len(regimes))) // self.bin_rows
        self.rows += len(regimes)
        needed = -(-self.rows // self.bin_rows)
        counts = np.bincount(bins * K + regimes, minlength=needed * K).reshape(needed, K)
        counts[: len(self._counts)] += self._counts
        while len(counts) > self.limit:
            counts = np.add.reduceat(counts, np.arange(0, len(counts), 2))
            self.bin_rows *= 2
        self._counts = counts

    def majority(self, columns: int) -> NDArray[np.int64]:
        """The most frequent regime in each of so many columns of equal length; none where there is no row."""
        if not self.rows:
            return np.zeros(0, np.int64)
        edges = np.linspace(0, len(self._counts), columns + 1)
        starts = np.minimum(edges[:-1].astype(int), len(self._counts) - 1)
        stops = np.maximum(np.ceil(edges[1:] - 1e-9).astype(int), starts + 1)
        totals = np.vstack([np.zeros_like(self._counts[:1]), np.cumsum(self._counts, axis=0)])
        return np.asarray((totals[np.minimum(stops, len(self._counts))] - totals[starts]).argmax(1))
