"""The best path without short visits through a series longer than memory: marks forward, then the path backward."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import READ_ROWS, SeriesData
from gmvae_cli.inference.scored_rows import ScoredRows
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.dwell_path import DwellMessage, Shortest, Visit, extended, mark_type, traced
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.system.scratch import Closing, Scratch


def shortest_blocks(model: ModelConfig) -> int:
    """Return the shortest visit in rows, or blocks, rounded up; the last block of a series may have half the rows."""
    if model.shortest_visit > model.summarize:
        return -(-model.shortest_visit // model.summarize)
    return 1 if 2 * model.shortest_visit <= model.summarize + 1 else 2


class LastingPath(Closing):
    """The most probable regimes of all rows together, of paths whose visits all have so many rows of the file.

    Args:
        lagged_rows: T rows, which may be blocks of rows of the file. chain: of the model.
        directory: of the scratch file, K bytes a row up to 64 regimes; None takes TMPDIR.
    """

    def __init__(self, lagged_rows: LaggedRows, chain: Chain, directory: str | None = None) -> None:
        model, data = lagged_rows.model, lagged_rows.data
        wanted = shortest_blocks(model)
        shortest = max(2, min(wanted, len(lagged_rows) // 2 + 1))  # from there on no series has two visits
        passing = model.longest_passage if model.longest_passage + 2 <= shortest else 0
        self._shortest = Shortest(shortest, passing)
        self._barred: NDArray[np.bool_] | None = None
        if data.edges is not None and lagged_rows.ranges is None:
            self._barred = _short_ends(data, data.edges, model.shortest_visit, wanted, passing)
        self._chain = chain
        self._message: DwellMessage | None = None
        self._marks = Scratch(model.regimes, mark_type(model.regimes), directory)  # in the end the path, in column 0

    def close(self) -> None:
        """Free the scratch space."""
        self._marks.close()

    def extend(self, block: ScoredRows, _: Lattice | None) -> None:
        """Store the marks of the next block of rows."""
        start, stop = self._marks.rows, self._marks.rows + len(block.rows)
        barred = None if self._barred is None else self._barred[start:stop]
        potentials, steps = block.potentials.cpu().numpy(), block.rows.steps
        marks, self._message = extended(potentials, steps, self._chain, self._shortest, self._message, barred)
        self._marks.append(marks)

    def trace_back(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Follow the marks from the last row to the first, a block of the given ranges at a time."""
        assert self._message is not None
        visit = Visit(int(self._message.settled.argmax()))
        for start, stop in reversed(ranges):
            marks = self._marks.read(start, stop)
            path, visit = traced(marks, visit, self._shortest.rows)
            marks[:, 0] = path
            self._marks.write(start, marks)

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the regimes (n,) of rows [start, stop), once the path was traced back."""
        regimes: NDArray[np.int64] = self._marks.read(start, stop)[:, 0].astype(np.int64)
        return regimes


def _short_ends(data: SeriesData, edges: NDArray[np.int64], rows: int, blocks: int, passing: int) -> NDArray[np.bool_]:
    """Find blocks, (B,), that may not be the first behind the passing ones of a visit: it would have too few rows.

    Args:
        edges: (B + 1,) first row of each block, end of the last; the last block of a series may be short.
        rows, blocks: of the shortest visit. passing: blocks of it that pass.
    """
    portions = [(start, min(start + READ_ROWS, data.rows)) for start in range(0, data.rows, READ_ROWS)]
    starts = np.concatenate([start + np.flatnonzero(data.read(start, stop)[1] == 0) for start, stop in portions])
    stops = np.append(starts[1:], data.rows)
    first = stops - blocks
    short = (first > starts) & (edges[stops] - edges[np.maximum(first, 0)] < rows)
    barred = np.zeros(data.rows, np.bool_)
    barred[first[short] + passing] = True
    return barred
