"""The rows of a series cut into B blocks of L rows, which run side by side.

A row's `steps` says how it follows the one before: 1 the next row, n > 1 after a hole of n - 1 rows (the chain moves by
A^n), 0 the first row of a series (the chain starts from the initial law). Inside, arrays run (L, R, K, B): step in the
block, restart, regime, block; the last axis is long and contiguous, so each step is a few vectorised calls.
"""

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.chain import Chain, matrix_powers

_NO_STEP = -1  # padding: the identity


class Lattice:
    """The rows of a series laid out in blocks, with how each block moves at each of its steps."""

    def __init__(
        self, log_likelihoods: Tensor, steps: np.ndarray | None, chain: Chain, block_rows: int | None, start: bool
    ):
        R, T, K = log_likelihoods.shape
        self.rows, self.restarts, self.regimes = T, R, K
        self.length = min(block_rows or block_length(T), T)
        self.blocks = -(-T // self.length)
        self.padding = self.blocks * self.length - T
        self.dtype = log_likelihoods.dtype
        regimes_first = log_likelihoods.mT
        self.log_scale = regimes_first.amax(-2)
        scaled = regimes_first - self.log_scale[:, None]
        if self.padding:
            scaled = torch.nn.functional.pad(scaled, (0, self.padding))
        scaled = scaled.view(R, K, self.blocks, self.length)
        self.scores = torch.empty(self.length, R, K, self.blocks, dtype=self.dtype, device=scaled.device)
        self.scores.copy_(scaled.permute(3, 0, 1, 2))
        self.matrix = chain.transition_matrix.expand(R, K, K).to(self.dtype).contiguous()
        self.transposed = self.matrix.mT.contiguous()
        self._plan(steps, chain, start)

    def _plan(self, steps: np.ndarray | None, chain: Chain, start: bool) -> None:
        """Which blocks, at which step, do not move by A itself: `special[l]` is (blocks, matrices (R, c, K, K))."""
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
        matrices = matrix_powers(chain.transition_matrix.expand(R, K, K), np.maximum(unique, 0))
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
        """Scores become e_t, floored so that no product of one evidence and one message can vanish."""
        floor = -80.0 if self.dtype == torch.float32 else -650.0
        self.scores.clamp_(min=floor).exp_()

    def row_axis(self, array: Tensor) -> Tensor:
        """(L, R, K, B) back to (R, T, K), as a view of regimes-first memory; (L, R, B) to (R, T)."""
        ordered = array.permute(1, *range(2, array.dim()), 0)
        return ordered.reshape(*ordered.shape[:-2], -1)[..., : self.rows].transpose(-1, -2 if array.dim() == 4 else -1)


def block_length(rows: int) -> int:
    """Rows in a block: near sqrt(T), where the steps in lockstep and the steps across blocks balance."""
    return max(16, int(0.7 * rows**0.5))


def move(lattice: Lattice, level: int, state: Tensor, out: Tensor, transposed: bool) -> None:
    """One step of all columns, (R, K, S * B): A^T state (forward) or A state (backward), or a special matrix."""
    torch.bmm(lattice.transposed if transposed else lattice.matrix, state, out=out)
    irregular_steps = lattice.irregular_steps[level]
    if irregular_steps is not None:
        columns, matrices = irregular_steps
        R, K, B = state.shape[0], state.shape[1], lattice.blocks
        moved = state.view(R, K, -1, B)[..., columns].permute(0, 3, 2, 1)  # (R, c, S, K)
        moved = moved @ (matrices if transposed else matrices.mT)
        out.view(R, K, -1, B)[..., columns] = moved.permute(0, 3, 2, 1)
