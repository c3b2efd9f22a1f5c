"""Messages that a chain hands from block to block of a long series, kept so that any block can be entered later."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.chain import Carried, Chain, Forward, Lattice, backward, carry, carry_back, forward, predict
from gmvae_cli.system.scratch import Scratch

_MEMORY_BYTES = 1 << 20  # what the messages may take before they move to disk


@dataclass(frozen=True)
class _Leg:
    """One block of rows: its lattice's blocks are `first` to `stop` of all, `last` the law of its last row (1, K)."""

    first: int
    stop: int
    last: np.ndarray


class Relay:
    """The exact messages at both ends of every block of rows.

    Blocks are added in order; once `turn` has gone back over what they do to messages, not over their rows, each may
    be filtered or smoothed by itself, in any order.

    Args:
        directory: where the scratch file lies: K (K + 2) numbers for every block of a lattice, about 0.1 a row.
    """

    def __init__(self, chain: Chain, directory: str | None = None) -> None:
        self.chain = chain
        self._K = chain.initial_probs.shape[-1]
        self._scratch = Scratch(self._K * (self._K + 2), np.float64, directory, memory_bytes=_MEMORY_BYTES)
        self._legs: list[_Leg] = []
        self._betas: list[np.ndarray] = []

    def close(self) -> None:
        """Give the scratch file back."""
        self._scratch.close()

    def add(self, lattice: Lattice) -> Tensor:
        """Take in the next block of rows, exponentiated; its log-likelihood given all rows before, nats.  ()"""
        carried = carry(lattice, self._message(len(self._legs)))
        B, K = len(carried.edges), self._K
        parts = (carried.matrices.reshape(B, K * K), carried.logs.reshape(B, K), carried.edges.reshape(B, K))
        first = self._scratch.rows
        self._scratch.append(np.concatenate(parts, 1))
        self._legs.append(_Leg(first, first + B, carried.last))
        return lattice.peaks.sum(dtype=torch.float64) + float(carried.log_marginal[0])

    def turn(self) -> None:
        """Carry the backward message from the last block to the first."""
        beta = np.ones((1, self._K))
        betas = []
        for index in range(len(self._legs) - 1, -1, -1):
            betas.append(beta)
            beta = carry_back(self._carried(index), beta)[1]
        self._betas = betas[::-1]

    def filter(self, index: int, scores: Tensor, steps: np.ndarray) -> Forward:
        """The forward sweep over the rows of a block. scores: (n, K) nats; steps: (n,) as in `markov`."""
        message = torch.as_tensor(self._message(index)) if index else None
        return forward(scores[None], self.chain, steps, message, known=self._carried(index))

    def predict(self, index: int, filtered_probs: Tensor, steps: np.ndarray) -> Tensor:
        """(n, K) the law of each row of a block before it is seen, from the filtered ones."""
        return predict(filtered_probs, self.chain, steps, torch.as_tensor(self._message(index)[0]))

    def smooth(self, index: int, sweep: Forward) -> Tensor:
        """(n, K) smoothed probabilities, from the block's forward sweep, whose arrays are used up."""
        beta = torch.as_tensor(self._betas[index])
        return backward(sweep, beta, with_pairs=False)[0].smoothed_probs[0]

    def _message(self, index: int) -> np.ndarray:
        if index:
            return self._legs[index - 1].last
        start: np.ndarray = self.chain.initial_probs.double().cpu().numpy()[None]
        return start

    def _carried(self, index: int) -> Carried:
        leg, K = self._legs[index], self._K
        rows = self._scratch.read(leg.first, leg.stop)
        matrices, logs, edges = np.split(rows, [K * K, K * K + K], axis=1)
        return Carried(edges[:, None], leg.last, matrices.reshape(-1, 1, K, K), logs[:, None], np.zeros(1))
