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
