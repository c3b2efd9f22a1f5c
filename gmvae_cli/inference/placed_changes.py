"""Changes of regime placed at single rows, where a model labels blocks of rows as a whole.

Such a change lies at the edge of a block, up to half a block from where it was, and the block that it lies in, with
those predicted from it, may look like a third regime. So rows are compared with the regimes themselves: each channel is
Normal with the mean and variance that the blocks of a regime have. Blocks between two visits are no visit of their own
if their rows are more like the regime before up to some row, and more like the regime after from there; any other
change moves to the row that divides the rows nearby best. Since neighbours are alike, log-likelihoods are divided by
how much larger the variance of means of blocks is than that of independent rows.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.inference.labelled_rows import LabelledRows, relabelled
from gmvae_cli.metrics.passages import context_rows, passages
from gmvae_cli.metrics.segments import rows_of, runs

Array = NDArray[np.float64]
Labels = NDArray[np.integer[Any]]


class Levels(NamedTuple):
    """Levels of the rows of each regime, all (K, D); NaN for a regime without a row.

    Args:
        mean, variance: of rows. inflation: at least 1, rows that say as much as one independent row, since neighbours
            are alike: how many times larger the variance of means of blocks is than that of independent rows.
    """

    mean: Array
    variance: Array
    inflation: Array


def levels_of_blocks(features: SeriesData, blocks: Iterable[LabelledRows], num_regimes: int, block_rows: int) -> Levels:
    """Compute the levels of K regimes from the features of labelled blocks, without their rows.

    Args:
        features: B blocks, as `block_features` makes them: means of D channels, then log standard deviations.
        blocks: labels of all B blocks, in order. block_rows: rows of a block.
    """
    D = len(features.channels) // 2
    counts, mean, square, within = np.zeros((4, num_regimes, D))
    row = 0
    for block in blocks:
        values = features.read(row, row + len(block))[0]
        row += len(block)
        known = ~np.isnan(values[:, :D])
        middle = np.where(known, values[:, :D] - features.mean[:D], 0)  # of a block, from a point nearby
        variance = np.exp(2 * np.where(known, values[:, D:], -np.inf))
        member = (block.regimes == np.arange(num_regimes)[:, None]).astype(np.float64)  # (K, n)
        counts += member @ known
        mean += member @ middle
        square += member @ middle**2
        within += member @ variance
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean /= counts
        between = square / counts - mean**2
        variance = within / counts + between
        return Levels(mean + features.mean[:D], variance, np.maximum(1, block_rows * between / variance))


def with_changes_placed(
    blocks: Iterable[LabelledRows], data: SeriesData, levels: Levels, block_rows: int, longest: int, shortest: int = 0
) -> Iterator[LabelledRows]:
    """Yield the same rows in other blocks, with passages joined to the visits beside them, and changes placed.

    Args:
        blocks: all rows of the file, in order. data: their values. block_rows: rows of a block that the model labels.
        longest: blocks of a passage at most. shortest: rows that every visit has, and keeps.
    """
    passage_rows = longest * block_rows

    def sources(rows: LabelledRows, first: int) -> NDArray[np.int64]:
        values = data.read(first, first + len(rows))[0]
        joined = joined_by(rows.regimes, rows.starts, values, levels, passage_rows)
        return joined[placed_by(rows.regimes[joined], rows.starts, values, levels, block_rows, shortest)]

    near = context_rows(passage_rows) + 3 * block_rows + 2 + shortest
    return relabelled(blocks, near, sources)


def joined_by(
    labels: Labels, starts: NDArray[np.bool_], values: Array, levels: Levels, longest: int
) -> NDArray[np.int64]:
    """Find for each row the row whose label it takes: itself, or in a passage one of the visit before or after.

    Args:
        labels: (n,) regimes. starts: (n,) rows that begin a series. values: (n, D), NaN is missing.
        longest: rows of a passage at most.
    """
    source = np.arange(len(labels))
    first, stop = passages(labels, starts, longest)
    rows = first[:, None] + np.arange(longest)  # (S, longest)
    inside = rows < stop[:, None]
    rows = np.minimum(rows, len(labels) - 1)
    before, after = labels[first - 1, None], labels[stop, None]
    best = first + _totals(_log_ratio(values, rows, before, after, levels), inside).argmax(axis=1)
    divided = np.where(rows < best[:, None], before, after)
    better = _totals(_log_ratio(values, rows, divided, labels[rows], levels), inside)[:, -1] > 0
    first, best, stop = first[better], best[better], stop[better]
    source[rows_of(first, best)] = np.repeat(first - 1, best - first)
    source[rows_of(best, stop)] = np.repeat(stop, stop - best)
    return source


def placed_by(
    labels: Labels, starts: NDArray[np.bool_], values: Array, levels: Levels, reach: int, shortest: int = 0
) -> NDArray[np.int64]:
    """Find for each row the row whose label it takes: itself, or one across a change that moves past it.

    A change moves by `reach` rows at most, and by half of what a visit has beyond the shortest, which vanishes where
    both of its changes do so if that is 0 rows. It stays unless one of 2 `reach` other places is likelier even if all
    of these together are as likely as its own.

    Args:
        labels: (n,) regimes. starts: (n,) rows that begin a series. values: (n, D), NaN is missing.
    """
    source = np.arange(len(labels))
    visits = runs(labels, starts)
    later = 1 + np.flatnonzero(~starts[visits.start[1:]])  # visits that follow another in their series
    change, before, after = visits.start[later], visits.start[later - 1], visits.stop[later]
    # visits that the edge of the rows cuts off may be shorter than the shortest: their changes stay
    first = np.minimum(change, np.maximum(change - reach, (before + change + shortest) // 2))
    last = np.maximum(change, np.minimum(change + reach, (change + after - shortest) // 2))
    rows = change[:, None] + np.arange(-reach, reach)  # (S, 2 reach)
    near = (rows >= first[:, None]) & (rows < last[:, None])
    rows = np.clip(rows, 0, len(labels) - 1)
    total = _totals(_log_ratio(values, rows, labels[change - 1, None], labels[change, None], levels), near)
    best = np.clip(change - reach + total.argmax(axis=1), first, last)
    moves = total.max(axis=1) > total[:, reach] + np.log(2 * reach)
    best = np.where(moves, best, change)
    low, high = np.minimum(best, change), np.maximum(best, change)
    source[rows_of(low, high)] = np.repeat(np.where(best < change, change, change - 1), high - low)
    return source


def _totals(gain: Array, counted: NDArray[np.bool_]) -> Array:
    """Sum what the first 0, 1, ... m rows that count gain: (S, m) -> (S, m + 1)."""
    total = np.zeros((len(gain), gain.shape[1] + 1))
    np.cumsum(np.where(counted, gain, 0), axis=1, out=total[:, 1:])
    return total


def _log_ratio(values: Array, rows: NDArray[np.int64], regimes: Labels, others: Labels, levels: Levels) -> Array:
    """Compute log p(row | regime) - log p(row | other), (S, m) nats as of independent rows; 0 for missing values.

    Args:
        values: (n, D). rows: (S, m), of values. regimes, others: (S, m) or (S, 1).
    """
    gain = np.zeros(rows.shape)
    with np.errstate(over="ignore", invalid="ignore"):  # of values too far apart to be squared, which count as missing
        for column, mean, variance, inflation in zip(values.T, *(level.T for level in levels), strict=True):
            x = column[rows]
            alike = np.maximum(inflation[regimes], inflation[others])
            for sign, regime in ((-0.5, regimes), (0.5, others)):
                part = (x - mean[regime]) ** 2 / variance[regime] + np.log(variance[regime])
                gain += sign * np.where(np.isfinite(part), part / alike, 0)
    return gain
