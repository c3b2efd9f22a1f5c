"""The best path through a series longer than memory: best predecessors forward, then the path backward, on disk."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.inference.scored_rows import ScoredRows
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.model.viterbi import backtrack, best_predecessors, from_regime, index_type
from gmvae_cli.system.scratch import Closing, Scratch


class BestPath(Closing):
    """The most probable regimes of all rows together, found block by block (Viterbi).

    Args:
        num_regimes: K. directory: of the scratch file, K bytes a row up to 128 regimes; None takes TMPDIR.
        entry, end: regimes of the row before the first and of the last row, where a longer path has them.
    """

    def __init__(
        self, num_regimes: int, directory: str | None = None, entry: int | None = None, end: int | None = None
    ) -> None:
        dtype = torch.zeros(0, dtype=index_type(num_regimes)).numpy().dtype
        self._predecessors = Scratch(num_regimes, dtype, directory)  # after `trace_back` the path, in column 0
        self._score = None if entry is None else from_regime(num_regimes, entry)  # of the best path to the last row
        self._end, self._final = end, 0

    def close(self) -> None:
        """Free the scratch space."""
        self._predecessors.close()

    def extend(self, _: ScoredRows, lattice: Lattice | None) -> None:
        """Store the best predecessors of the regimes in the next block of rows."""
        assert lattice is not None
        psi, self._score = best_predecessors(lattice, self._score)  # (n, K)
        self._predecessors.append(psi.cpu().numpy())
        self._final = int(self._score.argmax()) if self._end is None else self._end

    def trace_back(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Follow the predecessors from the last row to the first, a block of the given ranges at a time."""
        final = self._final
        for start, stop in reversed(ranges):
            psi = torch.as_tensor(self._predecessors.read(start, stop))
            path, final = backtrack(psi, final)
            psi[:, 0] = path
            self._predecessors.write(start, psi.numpy())

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the regimes (n,) of rows [start, stop), once the path was traced back."""
        regimes: NDArray[np.int64] = self._predecessors.read(start, stop)[:, 0].astype(np.int64)
        return regimes
