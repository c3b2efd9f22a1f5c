"""Messages of a chain at the edges of blocks of rows, kept so that each block can be filtered or smoothed by itself.

Shapes: n rows of a block, K regimes. A lattice is itself made of B short blocks of rows that run in lockstep.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.chain import Chain
from gmvae_cli.model.forward_backward import (
    BlockTransfers,
    Forward,
    backward,
    backward_transfers,
    forward,
    forward_transfers,
    predict,
)
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.system.scratch import Closing, Scratch

_MEMORY_BYTES = 1 << 20  # of the messages before they move to disk: with 4 regimes those of 1.7 million rows


@dataclass(frozen=True)
class _RowBlock:
    """One block of rows.

    Args:
        first, stop: range of its lattice's blocks among those of all lattices.
        last: (1, K) filtered probabilities of its last row.
    """

    first: int
    stop: int
    last: np.ndarray


class CarriedLaws(NamedTuple):
    """Rows that stand for all that came before them, in series that go on from an earlier file.

    Args:
        rows: (S,) their positions, in order; the chain starts at each. laws: (S, K) the filtered laws that they have.
    """

    rows: np.ndarray
    laws: np.ndarray

    def put(self, potentials: Tensor, start: int, initial_probs: Tensor) -> Tensor:
        """Return the potentials (n, K) of the rows from `start` on, with which the filter comes to these laws."""
        first, last = np.searchsorted(self.rows, [start, start + len(potentials)])
        if first == last:
            return potentials
        potentials = potentials.clone()
        laws = torch.as_tensor(self.laws[first:last], device=potentials.device).clamp_min(1e-300)
        potentials[torch.as_tensor(self.rows[first:last] - start)] = (laws / initial_probs.clamp_min(1e-300)).log()
        return potentials


@dataclass(frozen=True)
class Ends:
    """Messages from the rows before and behind a stretch of a longer series.

    Args:
        message: (1, K) filtered law of the row before; None: the chain starts with the stretch. exact_message: that of
            the decoder, where the encoder has its own.
        beta: (1, K) message from the rows behind, up to a factor.
        carried: laws that some of the rows have, whatever they hold; None: no row.
        entry, end: regimes of the best path in the row before and in the last row; None where no path is asked for.
    """

    message: np.ndarray | None = None
    exact_message: np.ndarray | None = None
    beta: np.ndarray | None = None
    carried: CarriedLaws | None = None
    entry: int | None = None
    end: int | None = None


class BlockMessages(Closing):
    """Exact messages at both ends of every block of rows.

    Blocks are added in order. `run_backward` then carries a message back over their transfer matrices, without their
    rows; after that each block can be filtered or smoothed by itself, in any order.

    Args:
        directory: of the scratch file, K (K + 2) numbers for every block of a lattice; None takes TMPDIR.
        message: (1, K) filtered law of the row before the first block; None: the chain starts there.
    """

    def __init__(self, chain: Chain, directory: str | None = None, message: np.ndarray | None = None) -> None:
        self.chain, self._before = chain, message
        self._K = chain.initial_probs.shape[-1]
        self._scratch = Scratch(self._K * (self._K + 2), np.float64, directory, memory_bytes=_MEMORY_BYTES)
        self._row_blocks: list[_RowBlock] = []
        self._betas: list[np.ndarray] = []

    def close(self) -> None:
        """Free the scratch space."""
        self._scratch.close()

    def add(self, lattice: Lattice) -> Tensor:
        """Add the next block of rows, exponentiated; return its log-likelihood given all rows before, (), nats."""
        transfers = forward_transfers(lattice, self._message(len(self._row_blocks)))
        B, K = len(transfers.edges), self._K
        parts = (transfers.matrices.reshape(B, K * K), transfers.logs.reshape(B, K), transfers.edges.reshape(B, K))
        first = self._scratch.rows
        self._scratch.append(np.concatenate(parts, 1))
        self._row_blocks.append(_RowBlock(first, first + B, transfers.last))
        return lattice.log_scale.sum(dtype=torch.float64) + float(transfers.log_marginal[0])

    def run_backward(self, beta: np.ndarray | None = None) -> None:
        """Carry the backward message from the last block to the first; beta (1, K) from the rows behind, None: none."""
        beta = np.ones((1, self._K)) if beta is None else beta
        betas = []
        for index in range(len(self._row_blocks) - 1, -1, -1):
            betas.append(beta)
            beta = backward_transfers(self._transfers_of(index), beta)[1]
        self._betas = betas[::-1]

    def filter(self, index: int, scores: Tensor, steps: np.ndarray) -> Forward:
        """Run the forward sweep over the rows of a block.

        Args:
            scores: (n, K) nats, as they were added. steps: (n,) as in a series.
        """
        continues = index or self._before is not None
        message = torch.as_tensor(self._message(index)) if continues else None
        return forward(scores[None], self.chain, steps, message, transfers=self._transfers_of(index))

    def predict(self, index: int, filtered_probs: Tensor, steps: np.ndarray) -> Tensor:
        """Return (n, K) the probabilities p(z_t | rows before t) in a block, from the filtered ones (n, K)."""
        return predict(filtered_probs, self.chain, steps, torch.as_tensor(self._message(index)[0]))

    def smooth(self, index: int, sweep: Forward) -> Tensor:
        """Return (n, K) smoothed probabilities of a block, from its forward sweep, whose arrays are overwritten."""
        beta = torch.as_tensor(self._betas[index])
        return backward(sweep, beta, with_pairs=False)[0].smoothed_probs[0]

    def _message(self, index: int) -> np.ndarray:
        """Return (1, K) filtered probabilities before a block, or of the first block the initial ones."""
        if index:
            return self._row_blocks[index - 1].last
        if self._before is not None:
            return self._before
        initial: np.ndarray = self.chain.initial_probs.double().cpu().numpy()[None]
        return initial

    def _transfers_of(self, index: int) -> BlockTransfers:
        """Read the transfer matrices of a block of rows."""
        row_block, K = self._row_blocks[index], self._K
        rows = self._scratch.read(row_block.first, row_block.stop)
        matrices, logs, edges = np.split(rows, [K * K, K * K + K], axis=1)
        return BlockTransfers(edges[:, None], row_block.last, matrices.reshape(-1, 1, K, K), logs[:, None], np.zeros(1))
