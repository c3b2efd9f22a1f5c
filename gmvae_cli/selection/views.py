"""A recording at several time scales: its rows, and blocks of several lengths in their place.

Lengths do not depend on how long the recording is. Of a long one, fine scales see pieces and coarse ones the whole; all
pieces have the same middles, so that the rows of the finest are seen at every scale.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.block_features import STD_EPSILON, block_edges, block_features
from gmvae_cli.data.series_data import READ_ROWS, SeriesData

Ranges = list[tuple[int, int]]

EXTRA_ROWS = 3  # a regime of D channels needs D + 3 rows, as in training
SHORTEST_BLOCK = 4  # rows; the standard deviation of fewer says nothing
_LADDER = 4  # a block is so many times as long as the next shorter one
_FEWEST_BLOCKS = 300  # at the coarsest scale; chosen, not measured
_PIECES, _PIECE_ROWS = 32, 1_024  # of a view: a long recording is seen in so many pieces of so many rows or blocks
_COMPARED_ROWS = 2_000  # rows, evenly spaced, by which labellings are compared


class View(NamedTuple):
    """Rows or blocks of a recording.

    Args:
        kind: "rows" or "blocks".
        block_rows: rows of the recording that each row of the view stands for.
        values: (n, D). steps: (n,) as `SeriesData.read` gives them.
        first, stop: (n,) rows of the recording that each row stands for, [first, stop).
    """

    kind: str
    block_rows: int
    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]

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


def views(data: SeriesData, spacing: int) -> list[View]:
    """Return every `spacing`-th row, and blocks of each length that has blocks enough, the shortest first."""
    lengths = block_lengths(data.rows, spacing)
    return [view_of_rows(data, spacing), *(_view_of_blocks(data, block_rows) for block_rows in lengths)]


def block_lengths(rows: int, spacing: int) -> list[int]:
    """List the lengths of blocks for a recording of so many rows, sampled so finely, the shortest first."""
    lengths = []
    length = max(SHORTEST_BLOCK, spacing)
    while length * _FEWEST_BLOCKS <= rows:
        lengths.append(length)
        length *= _LADDER
    return lengths


def pieces(rows: int, block_rows: int) -> Ranges:
    """List the ranges of rows that a view of such blocks sees: all rows, or evenly spaced pieces of very many."""
    length, span = _PIECE_ROWS * block_rows, rows / _PIECES
    if length >= span:
        return [(0, rows)]
    starts = [round((index + 0.5) * span - length / 2) for index in range(_PIECES)]
    return [(start, start + length) for start in starts]


def compared_rows(rows: int, block_rows: int, most: int = _COMPARED_ROWS) -> NDArray[np.int64]:
    """Choose the rows by which labellings are compared, evenly spaced in those that a view of such blocks sees."""
    seen = np.array(pieces(rows, block_rows))
    ends = np.cumsum(seen[:, 1] - seen[:, 0])
    position = np.linspace(0, ends[-1] - 1, min(int(ends[-1]), most)).astype(int)
    piece = np.searchsorted(ends, position, side="right")
    chosen: NDArray[np.int64] = seen[piece, 1] - ends[piece] + position
    return chosen


def view_of_rows(data: SeriesData, spacing: int) -> View:
    """Return every `spacing`-th row of each series."""
    parts = []
    ranges = pieces(data.rows, spacing)
    with data.pieces(ranges) as seen:
        edges, steps = block_edges(seen, spacing)
        for start in range(0, seen.rows, READ_ROWS):
            stop = min(start + READ_ROWS, seen.rows)
            first = edges[:-1][(edges[:-1] >= start) & (edges[:-1] < stop)]
            parts.append(seen.read(start, stop)[0][first - start])
    return View("rows", spacing, np.concatenate(parts), steps, *_in_recording(edges, ranges))


def _view_of_blocks(data: SeriesData, block_rows: int) -> View:
    """Return blocks with the means and spreads of their channels."""
    ranges = pieces(data.rows, block_rows)
    with data.pieces(ranges) as seen, block_features(seen, block_rows, STD_EPSILON * data.scale) as features:
        values, steps = features.read(0, features.rows)
        assert features.edges is not None
        return View("blocks", block_rows, values, steps, *_in_recording(features.edges, ranges))


def _in_recording(edges: NDArray[np.int64], ranges: Ranges) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last rows + 1, each (n,), of blocks with these edges (n + 1,) in the joined ranges."""
    start, stop = np.array(ranges).T
    ends = np.cumsum(stop - start)
    shift = (stop - ends)[np.searchsorted(ends, edges[:-1], side="right")]
    return edges[:-1] + shift, edges[1:] + shift
