"""The filter of a series whose blocks of rows are modelled: a row is labelled from the blocks before its own.

The block itself holds later rows. Its log-likelihood and novelty are known with its last row, and stand there; its
rows share the log-likelihood equally, as in `inference.labelled_rows`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.filtering.row_filter import Labels, Memory, RowFilter, numbers_of_json, numbers_to_json

Array = NDArray[np.float64]


class BlockMemory:
    """The blocks of a series that later ones depend on, and the rows of the block that is not complete.

    Attributes:
        blocks: memory of the features of blocks. law: (K,) p(z | blocks before), of all rows of the block.
        rows: of the block, values (D,) each. steps: from the block before to this one, in blocks.
        missing: rows that holes lack since the block before began.
    """

    __slots__ = ("blocks", "law", "missing", "rows", "steps")

    def __init__(self, blocks: Memory) -> None:
        self.blocks, self.law = blocks, blocks.law
        self.rows: list[Sequence[float]] = []
        self.steps = self.missing = 0


class BlockFilter:
    """Filter of rows by a model of blocks, as `RowFilter` is one by a model of rows."""

    def __init__(self, model: FilterModel, novelty: bool = False) -> None:
        assert model.std_epsilon is not None
        self._filter, self._block_rows, self._std_epsilon = (
            RowFilter(model, novelty),
            model.config.summarize,
            (model.std_epsilon),
        )

    def step(self, memory: BlockMemory, values: Sequence[float], steps: int) -> Labels:
        """Take the next row of a series; values (D,), NaN is missing."""
        memory.missing += max(steps - 1, 0)
        if steps == 0 or not memory.rows:
            self._begin(memory, steps)
        memory.rows.append(values)
        assert memory.law is not None
        if len(memory.rows) < self._block_rows:
            return Labels(memory.law, None, None, None)
        labels = self._filter.step(memory.blocks, self._features(memory.rows), memory.steps)
        memory.rows = []
        share = None if labels.log_likelihood is None else labels.log_likelihood / self._block_rows
        return Labels(memory.law, share, labels.novelty, None)

    def _begin(self, memory: BlockMemory, steps: int) -> None:
        """Begin a block: what the blocks before say of it holds for all of its rows."""
        memory.rows, elapsed = [], self._block_rows + memory.missing
        memory.steps = 0 if steps == 0 else max(1, (elapsed + self._block_rows // 2) // self._block_rows)
        memory.missing = 0
        memory.law = self._filter.predicted(memory.blocks.law, memory.steps)

    def _features(self, rows: list[Sequence[float]]) -> list[float]:
        """Return (2 D,) means and log standard deviations, as `data.block_features` computes them for many blocks."""
        values = np.array(rows, np.float64)  # (n, D)
        observed = ~np.isnan(values)
        counts = observed.sum(0)
        known = 2 * counts > len(rows)
        divisor = np.where(known, counts, 1)
        mean = np.where(observed, values, 0).sum(0) / divisor
        differences = np.where(observed, values - mean, 0)
        std = np.sqrt((differences * differences).sum(0) / divisor)
        features: list[float] = np.where(
            np.tile(known, 2), np.concatenate([mean, np.log(std + self._std_epsilon)]), np.nan
        ).tolist()
        return features

    def matrix(self, steps: int) -> Array:
        """Return the matrix by which the chain moves; blocks are not carried back to rows."""
        return self._filter.matrix(steps)

    def new_memory(self) -> BlockMemory:
        """Return the memory of a series without a row."""
        return BlockMemory(self._filter.new_memory())

    def to_json(self, memory: BlockMemory) -> dict[str, Any]:
        """Return what a state file holds of a memory."""
        block = {
            "rows": [numbers_to_json(values) for values in memory.rows],
            "steps": memory.steps,
            "missing": memory.missing,
            "law": None if memory.law is None else memory.law.tolist(),
        }
        return self._filter.to_json(memory.blocks) | {"block": block}

    def from_json(self, content: Any) -> BlockMemory:
        """Make a memory again of what `to_json` returned."""
        memory, block = BlockMemory(self._filter.from_json(content)), content["block"]
        memory.rows = [numbers_of_json(values) for values in block["rows"]]
        memory.steps, memory.missing = int(block["steps"]), int(block["missing"])
        memory.law = self._filter.law_of(block["law"])
        return memory
