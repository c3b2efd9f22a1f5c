"""Stamps that jitter about a grid: the period of the grid, and the rows that are missing on it."""

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.steps import StepCounter
from gmvae_cli.system.scratch import Scratch

_Array = NDArray[np.float64]

_JITTERY = 0.1  # quartiles of the steps that are so many medians apart; clocks without jitter lie below
_LENGTHS = 16  # different steps that jitter makes at least; fewer are those of a clock with holes
_WHOLE, _MOSTLY = 0.05, 0.6  # steps that near a whole number of medians, in so many rows, are no jitter but holes
_LAG = 8  # rows over which jitter averages out, and irregular steps add up
_GRID = 1.8  # ratio of the quartile ranges of 8 steps and of one: 1 on a grid, 2.8 where steps are independent
_NEAR = 16  # rows on either side that say where the grid lies; their mean is four times as sharp as a single stamp
GRID_CONTEXT = 4 * _NEAR  # rows around a block that its steps depend on, nearly always
_LONG, _CERTAIN = 1.3, 2.0  # periods: a shorter step misses no row; a longer one cannot be jitter of half a period


def grid_period(elapsed: _Array) -> float | None:
    """Return the period of the grid that stamps jitter about; None where they do not jitter, or about no grid.

    Args:
        elapsed: (n,) time since the row before; NaN where a series starts.
    """
    steps = elapsed[~np.isnan(elapsed)]
    if len(steps) < 4 * _LAG or steps.min() == steps.max() or len(np.unique(steps)) < _LENGTHS:
        return None
    low, median, high = np.percentile(steps, (25, 50, 75))
    of_median = steps / median
    if high - low < _JITTERY * median or (np.abs(of_median - np.rint(of_median)) < _WHOLE).mean() > _MOSTLY:
        return None
    sums = np.convolve(np.nan_to_num(elapsed), np.ones(_LAG), "valid")
    whole = np.convolve(np.isnan(elapsed), np.ones(_LAG), "valid") < 0.5
    if not whole.any():
        return None
    lows, middle, highs = np.percentile(sums[whole], (25, 50, 75))
    return float(middle / _LAG) if highs - lows < _GRID * (high - low) else None


def grid_steps(elapsed: _Array, period: float) -> NDArray[np.int64]:
    """Return (n,) by how many periods each row follows the one before on the grid: 1 is the next row.

    A row is missing where the stamps behind a long step lie a period later on the grid than those before it. Of steps
    near one another that could be it, the one with the largest shift is taken.

    Args:
        elapsed: (n,) time since the row before; NaN where a series starts.
    """
    n = len(elapsed)
    starts = np.isnan(elapsed)
    certain = np.nan_to_num(elapsed) > _CERTAIN * period
    phase = np.cumsum(np.nan_to_num(elapsed, nan=period) - period)
    run = np.cumsum(starts | certain).astype(np.int64)  # rows between which no row is missing for certain
    rows = 1 + np.flatnonzero(np.nan_to_num(elapsed[1:]) > _LONG * period).astype(np.int64)  # behind a stamp
    shift = np.zeros(n)
    shift[rows] = _mean(phase, run, rows, 1) - _mean(phase, run, rows - 1, -1)
    taken = np.zeros(n, np.int64)
    taken[rows] = np.rint(shift[rows] / period)
    doubtful = np.where(certain, 0.0, shift)
    padded = np.pad(doubtful, _NEAR)
    largest = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEAR + 1).max(1)
    taken[~certain & (doubtful < largest)] = 0
    return np.maximum(1 + taken, 1)


def snap(scratch: Scratch, period: float, block_rows: int) -> StepCounter:
    """Replace the time between rows by whole periods of the grid that their stamps jitter about; count them.

    Args:
        scratch: (T, C), time since the row before in the last column. block_rows: read at once.
    """
    counter, before = StepCounter(), np.empty(0)
    for start in range(0, scratch.rows, block_rows):
        rows = scratch.read(start, min(start + block_rows + GRID_CONTEXT, scratch.rows))
        elapsed = np.concatenate([before, rows[:, -1]])
        rows = rows[:block_rows]
        steps = grid_steps(elapsed, period)[len(before) : len(before) + len(rows)]
        before = rows[-GRID_CONTEXT:, -1].copy()
        rows[:, -1] = np.where(np.isnan(rows[:, -1]), np.nan, steps * period)
        scratch.write(start, rows)
        counter.add(rows[:, -1])
    return counter


def _mean(phase: _Array, run: NDArray[np.int64], rows: NDArray[np.int64], direction: int) -> _Array:
    """Return the mean phase of some rows (R,) and of those behind (direction 1) or before (-1), within their runs."""
    positions = rows[:, None] + direction * np.arange(_NEAR)
    window = np.clip(positions, 0, len(phase) - 1)
    inside = (run[window] == run[rows][:, None]) & (window == positions)
    means: _Array = (phase[window] * inside).sum(1) / inside.sum(1)
    return means
