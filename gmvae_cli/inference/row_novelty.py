"""Novelty of every row, and the stretches of rows that no regime explains.

A row of a regime has a novelty v whose density is log(10) 10^-v; a row of none may have any up to twice the level at
which stretches are called unknown. So stretches are the best path of a chain of two states, known and unknown, that
becomes unknown with probability 10^-level; of one row and those that it is a lag of, a stretch may be a single outlier,
and is not called unknown. Rows behind a stretch that it is a lag of look unlike every regime, and do not belong to it.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.inference.best_path import BestPath
from gmvae_cli.inference.block_posterior import BlockPosterior
from gmvae_cli.inference.scored_rows import RowScorer, ScoredRows
from gmvae_cli.metrics.novelty import novelty
from gmvae_cli.metrics.novelty_tail import Tail, calibrated
from gmvae_cli.metrics.segments import rows_of, runs
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.system.scratch import Closing, Scratch

Array = NDArray[np.float64]

NOVELTY_BYTES, UNKNOWN_BYTES = 16, 2  # of scratch space a row: for its novelty, and for the path of two states
_LAST_ROWS = 10  # of an unknown stretch, on average; its evidence comes from rows, not from this


class RowNovelty(Closing):
    """Novelty of the rows of a series, once all blocks have been added in order.

    Args:
        unknown: level of stretches that no regime explains; None: none are looked for.
        directory: of scratch files; None takes TMPDIR.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        scorer: RowScorer,
        blocks: BlockPosterior,
        unknown: float | None,
        directory: str | None,
    ) -> None:
        self._checkpoint, self._scorer, self._blocks, self._level = checkpoint, scorer, blocks, unknown
        self._tail: Tail = checkpoint.training.get("novelty_tail") or ()
        self._stored = Scratch(2, np.float64, directory)  # novelty, and whether the chain starts
        self._path = None if unknown is None else BestPath(2, directory)
        self._behind = checkpoint.model.context_rows  # rows whose lags lie in a stretch that has ended
        self._fewest = 2 + self._behind  # rows of a stretch

    def close(self) -> None:
        """Free the scratch space."""
        self._stored.close()
        if self._path is not None:
            self._path.close()

    def add_all(self, blocks: Iterable[ScoredRows]) -> None:
        """Compute the novelty of all rows, block by block, and find the stretches."""
        for index, block in enumerate(blocks):
            values = self._novelty(index, block)
            self._stored.append(np.column_stack([values, block.rows.steps == 0]))
            if self._path is not None:
                self._path.extend(block, self._lattice(values, block.rows.steps, index == 0))
        if self._path is not None:
            self._path.trace_back(self._scorer.ranges)

    def of(self, index: int) -> Array:
        """Return the novelty (n,) of the rows of a block; NaN where a row is not usable."""
        return self._stored.read(*self._scorer.ranges[index])[:, 0]

    def is_unknown(self, index: int) -> NDArray[np.bool_]:
        """Return which rows (n,) of a block lie in a stretch that no regime explains."""
        start, stop = self._scorer.ranges[index]
        if self._path is None:
            return np.zeros(stop - start, np.bool_)
        first, last = max(0, start - self._fewest), min(self._stored.rows, stop + self._fewest)
        path = self._path.read(first, last) == 1
        starts = np.append(self._stored.read(first, last)[:, 1] > 0, True)  # of series; after the last row, too
        stretches = runs(path, starts[:-1])
        short = stretches.stop - stretches.start < self._fewest
        path[rows_of(stretches.start[short], stretches.stop[short])] = False
        ended = ~short & ~starts[stretches.stop]
        path[rows_of(stretches.stop[ended] - self._behind, stretches.stop[ended])] = False
        rows: NDArray[np.bool_] = path[start - first : stop - first]
        return rows

    def _lattice(self, values: Array, steps: NDArray[np.int64], start: bool) -> Lattice:
        """Return the lattice of a block's evidence for known and unknown rows; rows without evidence have none."""
        assert self._level is not None
        enter, leave = 10**-self._level, 1 / _LAST_ROWS
        chain = Chain(
            torch.tensor([1 - enter, enter], dtype=torch.float64),
            torch.tensor([[1 - enter, enter], [leave, 1 - leave]], dtype=torch.float64),
        )
        widest = 2 * self._level * math.log(10)
        gain = np.nan_to_num(np.minimum(values * math.log(10), widest) - math.log(widest), nan=0.0)
        scores = torch.as_tensor(np.column_stack([np.zeros_like(gain), gain]))
        return Lattice(scores[None], steps, chain, None, start=start)

    def _novelty(self, index: int, block: ScoredRows) -> Array:
        """Compute the novelty (n,) of the rows of a block."""
        rows, parameters = block.rows, self._checkpoint.parameters
        weights = self._blocks.predicted(index, block).cpu().numpy()
        degrees = parameters.emission.degrees
        nu = None if degrees is None else float(degrees)
        inflation = self._scorer.lag_inflation(rows)
        values = np.full(len(rows), np.nan)
        for columns, residuals, scales in self._scorer.residuals(rows):
            chosen = columns.cpu().numpy()
            part = None if inflation is None else inflation[columns].cpu().numpy()
            values[chosen] = novelty(_array(residuals), _array(scales), weights[chosen], nu, part)
        return calibrated(values, self._tail)


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy()
    return array
