"""Numbers that tell the row and measure nothing: ramps of equal steps, and counters, some of which go around."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RAMP_ROWS = 20  # that ascend in equal steps, or go around, before a column measures nothing whatever its name
_EVEN = 1e-3  # steps of equal length differ by less than this share, the rounding of their text
_HABIT = 0.9  # of the steps of a counter have one length, though rows are lost


def is_even(order: NDArray[Any] | None) -> bool:
    """Return whether numbers (n,) ascend in steps of one length."""
    if order is None or len(order) < 2:
        return False
    steps = np.diff(order)
    return bool(steps.min() > 0 and np.ptp(steps) <= _EVEN * steps.max())


def is_ramp(order: NDArray[Any] | None) -> bool:
    """Return whether numbers (n,) ascend in steps of one length, or of several such where rows are lost."""
    if order is None or len(order) < RAMP_ROWS or is_even(order):
        return order is not None and len(order) >= RAMP_ROWS
    steps = np.diff(order)
    if steps.min() <= 0:
        return False
    times = steps / np.median(steps)
    is_usual, is_multiple = np.abs(times - 1) <= _EVEN, np.abs(times - np.rint(times)) <= _EVEN
    return bool(is_usual.mean() >= _HABIT and is_multiple.all())


def counts_rows(order: NDArray[Any] | None) -> bool:
    """Return whether whole numbers (n,) ascend by one from row to row, but for rows that are lost."""
    return order is not None and is_ramp(order) and bool(order[0] % 1 == 0 and np.median(np.diff(order)) == 1)


def cycle(order: NDArray[Any] | None) -> float:
    """Return the rows in which whole numbers (n,) go around: 256 where 0 to 255 comes again and again; else 0."""
    if order is None or len(order) < RAMP_ROWS or (order % 1).any():
        return 0
    steps, counts = np.unique(np.diff(order), return_counts=True)
    if len(steps) != 2 or not steps[0] < 0 < steps[1] or counts[0] < 2:  # an age may start again once
        return 0
    modulus = steps[1] - steps[0]
    return float(modulus / steps[1]) if np.ptp(order) < modulus else 0


def counts(order: NDArray[Any] | None) -> bool:
    """Return whether whole numbers (n,) ascend or go around, or do so but for rows that are lost."""
    if order is None or len(order) < 2 or (order % 1).any():
        return False
    steps, numbers = np.unique(np.diff(order), return_counts=True)
    is_habit = steps[numbers.argmax()] > 0 and numbers.max() >= _HABIT * numbers.sum() and len(order) >= RAMP_ROWS
    return bool(steps[0] > 0 or is_habit or cycle(order) > 2)
