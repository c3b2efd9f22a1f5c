"""Messages that a chain hands from block to block of a long series, kept so that any block can be entered later."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.chain import Chain
from gmvae_cli.model.forward_backward import BlockTransfers, Forward, backward, carry, carry_back, forward, predict
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.system.scratch import Scratch

_MEMORY_BYTES = 1 << 20  # what the messages may take before they move to disk


@dataclass(frozen=True)
class _RowBlock:
    """One block of rows: its lattice's blocks are `first` to `stop` of all, `last` the law of its last row (1, K)."""

    first: int
    stop: int
    last: np.ndarray


class BlockMessages:
    """The exact messages at both ends of every block of rows.

    Blocks are added in order. `run_backward` then carries a message back over their transfer matrices, not over their
    rows; after that each block may be filtered or smoothed by itself, in any order.

    Args:
        directory: where the scratch file lies: K (K + 2) numbers for every block of a lattice, about 0.1 a row.
    """

    def __init__(self, chain: Chain, directory: str | None = None) -> None:
        self.chain = chain
        self._K = chain.initial_probs.shape[-1]
        self._scratch = Scratch(self._K * (self._K + 2), np.float64, directory, memory_bytes=_MEMORY_BYTES)
        self._row_blocks: list[_RowBlock] = []
        self._betas: list[np.ndarray] = []

    def close(self) -> None:
        """Give the scratch file back."""
        self._scratch.close()

    def add(self, lattice: Lattice) -> Tensor:
        """Take in the next block of rows, exponentiated; its log-likelihood given all rows before, nats.  ()"""
        carried = carry(lattice, self._message(len(self._row_blocks)))
        B, K = len(carried.edges), self._K
        parts = (carried.matrices.reshape(B, K * K), carried.logs.reshape(B, K), carried.edges.reshape(B, K))
        first = self._scratch.rows
        self._scratch.append(np.concatenate(parts, 1))
        self._row_blocks.append(_RowBlock(first, first + B, carried.last))
        return lattice.log_scale.sum(dtype=torch.float64) + float(carried.log_marginal[0])

    def run_backward(self) -> None:
        """Carry the backward message from the last block to the first."""
        beta = np.ones((1, self._K))
        betas = []
        for index in range(len(self._row_blocks) - 1, -1, -1):
            betas.append(beta)
            beta = carry_back(self._transfers_of(index), beta)[1]
        self._betas = betas[::-1]

    def filter(self, index: int, scores: Tensor, steps: np.ndarray) -> Forward:
        """The forward sweep over the rows of a block. scores: (n, K) nats; steps: (n,) as in `markov`."""
        message = torch.as_tensor(self._message(index)) if index else None
        return forward(scores[None], self.chain, steps, message, known=self._transfers_of(index))

    def predict(self, index: int, filtered_probs: Tensor, steps: np.ndarray) -> Tensor:
        """(n, K) the law of each row of a block before it is seen, from the filtered ones."""
        return predict(filtered_probs, self.chain, steps, torch.as_tensor(self._message(index)[0]))

    def smooth(self, index: int, sweep: Forward) -> Tensor:
        """(n, K) smoothed probabilities, from the block's forward sweep, whose arrays are used up."""
        beta = torch.as_tensor(self._betas[index])
        return backward(sweep, beta, with_pairs=False)[0].smoothed_probs[0]

    def _message(self, index: int) -> np.ndarray:
        if index:
            return self._row_blocks[index - 1].last
        start: np.ndarray = self.chain.initial_probs.double().cpu().numpy()[None]
        return start

    def _transfers_of(self, index: int) -> BlockTransfers:
        row_block, K = self._row_blocks[index], self._K
        rows = self._scratch.read(row_block.first, row_block.stop)
        matrices, logs, edges = np.split(rows, [K * K, K * K + K], axis=1)
        return BlockTransfers(edges[:, None], row_block.last, matrices.reshape(-1, 1, K, K), logs[:, None], np.zeros(1))
