"""Novelty of rows that are not quite the model's: calibrated by how often rows of the training kind exceeded it.

Real rows exceed a novelty more often than the model says: at switches, where lags lie in the regime that has ended, or
because their tails are heavier. So levels q(a) are kept that a share 10^-a of rows exceeded, and a novelty q(a) counts
as a. Beyond the last one the line goes on with its slope, at most 1. Rows that the parameters were not fitted to tell
how large q(a) is, but they are few, and a kind of row that comes rarely may be missing among them; all rows have it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Tail = Sequence[Sequence[float]]  # pairs of a and q(a), both rising

_STEP = 0.5  # from one a to the next
_FEWEST_ROWS = 3  # above the last q(a): it is then known to a factor of two or so
_CHANCE = 4.0  # standard deviations by which more rows than the nominal number may exceed a level by chance, and
_CHANCE_ROWS = 2.5  # so many rows, since at high levels the nominal number is next to none
_FLATTEST = 0.05


def tail_of(values: Array) -> list[list[float]]:
    """Return the tail of the novelty (n,) of rows; empty where these exceed no level more often than the model says."""
    values = np.sort(values[~np.isnan(values)])
    n = len(values)
    levels = np.arange(_STEP, np.log10(max(n, 1) / _FEWEST_ROWS), _STEP)
    if not len(levels):
        return []
    tested = np.arange(_STEP, values[-1], _STEP)
    expected = n * 10**-tested
    observed = n - np.searchsorted(values, tested, side="right")
    if not (observed > expected + _CHANCE * np.sqrt(expected) + _CHANCE_ROWS).any():
        return []
    nominal = n * 10**-levels
    kept = np.maximum.accumulate(values[n - 1 - np.floor(nominal).astype(int)])
    rising = np.diff(kept, prepend=0.0) > 0
    return [[float(a), float(q)] for a, q in zip(levels[rising], kept[rising], strict=True)]


def larger(tail: Tail, other: Tail) -> list[list[float]]:
    """Return the tail that has at each level the larger q(a) of two, where both or only one of them is known."""
    levels = sorted({a for a, _ in (*tail, *other)})
    kept = np.maximum(*(_interpolated(part, levels) for part in (tail, other)))
    kept = np.maximum.accumulate(kept)
    rising = np.diff(kept, prepend=0.0) > 0
    return [[a, float(q)] for a, q, rises in zip(levels, kept, rising, strict=True) if rises]


def _interpolated(tail: Tail, levels: Sequence[float]) -> Array:
    """Return q(a) at some levels, on the straight lines between those of a tail; 0 beyond its last one."""
    a, q = np.array([[0.0, 0.0], *tail]).T
    values: Array = np.interp(levels, a, q, right=0.0)
    return values


def calibrated(values: Array, tail: Tail) -> Array:
    """Replace each novelty q(a), of (n,), by a, where that is smaller; without a tail nothing changes."""
    if not tail:
        return values
    a, q = np.array([[0.0, 0.0], *tail]).T
    first = max(len(a) - 3, 0)
    slope = np.clip((a[-1] - a[first]) / (q[-1] - q[first]), _FLATTEST, 1)
    beyond = a[-1] + slope * (values - q[-1])
    lowered: Array = np.minimum(values, np.where(values > q[-1], beyond, np.interp(values, q, a)))
    return lowered
