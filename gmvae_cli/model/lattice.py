"""The rows of a series cut into B blocks of L rows, which the sweeps along the chain work through side by side.

A row's `steps` says how it follows the one before: 1 the next row, n > 1 after a hole of n - 1 rows (the chain moves by
A^n), 0 the first row of a series (the chain starts from the initial law). Inside, arrays run (L, R, K, B): step in the
block, restart, regime, block; the last axis is long and contiguous, so each step is a few vectorised calls.
"""

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.chain import Chain, matrix_powers

_NO_STEP = -1  # of a row of padding, which moves by the identity
# Of l_t(k) - max_k l_t(k), nats. Its exponential and 1e-3 of it are normal numbers of the type, so a row has a positive
# sum over regimes even where the chain is in the regime least likely to have produced it.
_FLOORS = {torch.float32: -80.0, torch.float64: -650.0}


class Lattice:
    """The log-likelihoods of a series laid out in blocks, with the moves of the chain between their rows.

    Args:
        log_likelihoods: (R, T, K) nats.
        steps: (T,) see the module; None: every row follows the one before.
        chain: its tensors may lack the leading R.
        block_rows: L; None takes `block_length`.
        start: whether the chain starts at the first row, whatever its step.

    Attributes:
        log_scale: (R, T) max_k l_t(k), nats, which has been subtracted.
        scores: (L, R, K, B) l_t(k) - max_k l_t(k); after `exponentiate` e_t(k).
        matrix, transposed: (R, K, K) A and A^T.
        irregular_rows: (I,) rows, and padding, with a step other than 1.
        irregular_steps: for each of the L steps None or the blocks (c,) with such a row, and their matrices
            (R, c, K, K), row = from.
    """

    def __init__(
        self, log_likelihoods: Tensor, steps: np.ndarray | None, chain: Chain, block_rows: int | None, start: bool
    ):
        R, T, K = log_likelihoods.shape
        self.rows, self.restarts, self.regimes = T, R, K
        self.length = min(block_rows or block_length(T), T)
        self.blocks = -(-T // self.length)
        self.padding = self.blocks * self.length - T
        self.dtype = log_likelihoods.dtype
        regimes_first = log_likelihoods.mT  # (R, K, T)
        self.log_scale = regimes_first.amax(-2)  # (R, T)
        scaled = regimes_first - self.log_scale[:, None]
        if self.padding:
            scaled = torch.nn.functional.pad(scaled, (0, self.padding))
        scaled = scaled.view(R, K, self.blocks, self.length)
        self.scores = torch.empty(self.length, R, K, self.blocks, dtype=self.dtype, device=scaled.device)
        self.scores.copy_(scaled.permute(3, 0, 1, 2))
        self.matrix = chain.transition_matrix.expand(R, K, K).to(self.dtype).contiguous()
        self.transposed = self.matrix.mT.contiguous()
        self._find_irregular(steps, chain, start)

    def _find_irregular(self, steps: np.ndarray | None, chain: Chain, start: bool) -> None:
        """Note the rows into which the chain does not move by A, by their step in the block, with their matrices."""
        R, K, L = self.restarts, self.regimes, self.length
        kinds = np.ones(self.blocks * L, dtype=np.int64)
        if steps is not None:
            kinds[: self.rows] = steps
        if start:
            kinds[0] = 0
        kinds[self.rows :] = _NO_STEP
        self.irregular_rows = np.flatnonzero(kinds != 1)
        self.irregular_steps: list[tuple[Tensor, Tensor] | None] = [None] * L
        if not len(self.irregular_rows):
            return
        unique, which = np.unique(kinds[self.irregular_rows], return_inverse=True)
        matrices = matrix_powers(chain.transition_matrix.expand(R, K, K), np.maximum(unique, 0))  # (R, unique, K, K)
        if 0 in unique:
            matrices[:, np.flatnonzero(unique == 0)] = chain.initial_probs.expand(R, K).to(matrices)[:, None, None, :]
        matrices = matrices.to(self.matrix)
        step, block = self.irregular_rows % L, self.irregular_rows // L
        order = np.argsort(step, kind="stable")
        present, first = np.unique(step[order], return_index=True)
        for level, rows in zip(present, np.split(order, first[1:]), strict=True):
            columns = torch.as_tensor(block[rows], device=matrices.device)
            self.irregular_steps[level] = (columns, matrices[:, torch.as_tensor(which[rows], device=matrices.device)])

    def exponentiate(self) -> None:
        """Turn the scores into e_t(k) = exp(l_t(k) - max_k l_t(k)), never 0."""
        self.scores.clamp_(min=_FLOORS[self.dtype]).exp_()

    def row_axis(self, array: Tensor) -> Tensor:
        """Return (L, R, K, B) as (R, T, K), a view of regimes-first memory, or (L, R, B) as (R, T)."""
        ordered = array.permute(1, *range(2, array.dim()), 0)
        return ordered.reshape(*ordered.shape[:-2], -1)[..., : self.rows].transpose(-1, -2 if array.dim() == 4 else -1)


def block_length(rows: int) -> int:
    """Choose the rows in a block: near sqrt(T), where L steps of all blocks take as long as B steps across them."""
    return max(16, int(0.7 * rows**0.5))


def move(lattice: Lattice, level: int, state: Tensor, out: Tensor, transposed: bool) -> None:
    """Move all blocks by one row: A^T state (forward) or A state (backward), or an irregular row's matrix for A.

    Args:
        level: step in the block, 0 to L - 1, of the row moved into (forward) or out of (backward).
        state, out: (R, K, S * B), S vectors for each block.
        transposed: forward.
    """
    torch.bmm(lattice.transposed if transposed else lattice.matrix, state, out=out)
    irregular_steps = lattice.irregular_steps[level]
    if irregular_steps is not None:
        columns, matrices = irregular_steps
        R, K, B = state.shape[0], state.shape[1], lattice.blocks
        moved = state.view(R, K, -1, B)[..., columns].permute(0, 3, 2, 1)  # (R, c, S, K)
        moved = moved @ (matrices if transposed else matrices.mT)
        out.view(R, K, -1, B)[..., columns] = moved.permute(0, 3, 2, 1)
