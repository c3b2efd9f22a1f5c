"""A recording at several time scales: its rows, and blocks of several lengths in their place.

Lengths do not depend on how long the recording is. Of a long one, fine scales see pieces and coarse ones the whole; all
pieces have the same middles, so that the rows of the finest are seen at every scale.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.block_features import (
    SHORTEST_BLOCK,
    STD_EPSILON,
    Ranges,
    block_edges,
    block_features,
    in_recording,
    pieces,
)
from gmvae_cli.data.series_data import READ_ROWS, SeriesData

EXTRA_ROWS = 3  # a regime of D channels needs D + 3 rows, as in training
_LADDER = 4  # a block is so many times as long as the next shorter one
_COMPONENTS = 20  # of wide views, in which they are divided into regimes; chosen, not measured
_FEWEST_BLOCKS = 300  # at the coarsest scale; chosen, not measured
_PIECES, _PIECE_ROWS = 32, 1_024  # of a view: a long recording is seen in so many pieces of so many rows or blocks


class View(NamedTuple):
    """Rows or blocks of a recording.

    Args:
        kind: "rows" or "blocks".
        block_rows: rows of the recording that each row of the view stands for.
        values: (n, D). steps: (n,) as `SeriesData.read` gives them.
        first, stop: (n,) rows of the recording that each row stands for, [first, stop).
        known: (n,) as of `SeriesData.from_arrays`.
    """

    kind: str
    block_rows: int
    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    known: NDArray[np.int64] | None = None

    @property
    def middles(self) -> NDArray[np.int64]:
        """The row of the recording in the middle of each block, (n,)."""
        return (self.first + self.stop) // 2

    def at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of the view that stands for each of these rows (m,) of the recording; -1 where none does."""
        position = np.searchsorted(self.first, rows, side="right") - 1
        return np.where((position >= 0) & (rows < self.stop[position]), position, -1)

    def supports(self, regimes: int) -> bool:
        """Return whether the view has the complete rows that training needs; of blocks twice as many."""
        missing = np.isnan(self.values).sum(axis=1)
        usable = int(np.count_nonzero((missing[1:] + missing[:-1] == 0) & (self.steps[1:] == 1)))
        factor = 1 if self.kind == "rows" else 2
        return usable >= factor * regimes * (len(self.values.T) + EXTRA_ROWS)

    def reduced(self) -> "View":
        """Return the view in its principal components of standardised columns, where it has more columns than those.

        A fit costs the square of the columns. A missing cell counts as its column's mean; a row of which half is
        missing has no value.
        """
        if self.values.shape[1] <= _COMPONENTS:
            return self
        missing = np.isnan(self.values)
        counts = np.maximum((~missing).sum(axis=0), 1)
        centred = np.where(missing, 0, self.values - np.where(missing, 0, self.values).sum(axis=0) / counts)
        variance = np.square(centred).sum(axis=0) / counts
        standard = centred / np.sqrt(np.where(variance > 0, variance, 1))
        axes = np.linalg.eigh(standard.T @ standard)[1][:, -_COMPONENTS:]
        components = np.where(2 * missing.sum(axis=1, keepdims=True) >= missing.shape[1], np.nan, standard @ axes)
        return self._replace(values=components)


def views(data: SeriesData, spacing: int) -> list[View]:
    """Return every `spacing`-th row, and blocks of each length that has blocks enough, the shortest first.

    Blocks are shorter than some stretch of each known label.
    """
    lengths = block_lengths(data.rows, spacing)
    if data.known is not None:
        lengths = [length for length in lengths if length < data.known.shortest]
    return [view_of_rows(data, spacing), *(_view_of_blocks(data, block_rows) for block_rows in lengths)]


def block_lengths(rows: int, spacing: int) -> list[int]:
    """List the lengths of blocks for a recording of so many rows, sampled so finely, the shortest first."""
    lengths = []
    length = max(SHORTEST_BLOCK, spacing)
    while length * _FEWEST_BLOCKS <= rows:
        lengths.append(length)
        length *= _LADDER
    return lengths


def seen_rows(rows: int, block_rows: int) -> Ranges:
    """List the ranges of rows that a view of such blocks sees: all rows, or evenly spaced pieces of very many."""
    return pieces(rows, _PIECES, _PIECE_ROWS * block_rows)


def view_of_rows(data: SeriesData, spacing: int) -> View:
    """Return every `spacing`-th row of each series."""
    parts, labels = [], []
    ranges = seen_rows(data.rows, spacing)
    with data.pieces(ranges) as seen:
        edges, steps = block_edges(seen, spacing)
        for start in range(0, seen.rows, READ_ROWS):
            stop = min(start + READ_ROWS, seen.rows)
            first = edges[:-1][(edges[:-1] >= start) & (edges[:-1] < stop)]
            parts.append(seen.read(start, stop)[0][first - start])
            if seen.known is not None:
                labels.append(seen.known.read(start, stop)[first - start])
    known = np.concatenate(labels) if labels else None
    return View("rows", spacing, np.concatenate(parts), steps, *in_recording(edges, ranges), known)


def _view_of_blocks(data: SeriesData, block_rows: int) -> View:
    """Return blocks with the means and spreads of their channels."""
    ranges = seen_rows(data.rows, block_rows)
    with data.pieces(ranges) as seen, block_features(seen, block_rows, STD_EPSILON * data.scale) as features:
        values, steps = features.read(0, features.rows)
        assert features.edges is not None
        known = None if features.known is None else features.known.read(0, features.rows)
        return View("blocks", block_rows, values, steps, *in_recording(features.edges, ranges), known)
