"""The jointly most probable regime path, in the blocks of `lattice` with (max, +) in place of (sum, *).

    delta_t(j) = l_t(j) + max_i delta_t-1(i) + log A_ij,   psi_t(j) the i that attains it, the lowest on ties

The path is read backwards through psi (Viterbi, 1967; Rabiner, 1989, Eq. 33). A block's path is composed for all K
regimes it may end in at once, so that blocks run side by side on the way back too.
"""

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.chain import Chain
from gmvae_cli.model.lattice import Lattice, block_length

_REDUCE_EVERY = 8  # rows after which delta is reduced by its maximum, so that rounding stays that of 8 rows' scores
_LEVELS = 16  # steps of all blocks whose predecessors are looked up at once, as the cache allows
_IMPOSSIBLE = -1e30  # log 0: finite, so that no difference of two of them is NaN


def index_type(num_regimes: int) -> torch.dtype:
    """Return the smallest integer type that holds every regime number."""
    return torch.int8 if num_regimes <= 128 else torch.int32


class _Moves:
    """log A and the logarithms of a lattice's irregular matrices, and (max, +) steps with them."""

    def __init__(self, lattice: Lattice) -> None:
        self.matrix = lattice.matrix[0].log().clamp_min(_IMPOSSIBLE)
        self.wide = self.matrix[:, :, None, None]
        self.irregular_steps = [
            None if entry is None else (entry[0], entry[1][0].log().clamp_min(_IMPOSSIBLE))
            for entry in lattice.irregular_steps
        ]

    def best(self, level: int, delta: Tensor, workspace: Tensor, out: Tensor) -> Tensor:
        """Compute max_i delta(i) + log A_ij for S vectors of every block.

        Args:
            level: step in the block. delta, out: (K, S, B). workspace: (K, K, S, B) to work in.
        """
        torch.add(delta[:, None], self.wide, out=workspace)
        irregular_steps = self.irregular_steps[level]
        if irregular_steps is not None:
            columns, matrices = irregular_steps
            workspace[..., columns] = delta[:, None, :, columns] + matrices.permute(1, 2, 0)[:, :, None]
        return torch.amax(workspace, 0, out=out)

    def predecessors(self, first: int, before: Tensor) -> Tensor:
        """Find the i of largest delta(i) + log A_ij, the lowest on ties, for the steps from `first` on.

        Args:
            before: (l, K, B) delta of the rows before.
        Returns:
            (l, K, B) of `index_type`, K the regime moved into.
        """
        best = before[:, :1] + self.matrix[0][:, None]  # (l, K, B)
        psi = torch.zeros_like(best, dtype=index_type(len(self.matrix)))
        candidate = torch.empty_like(best)
        for regime in range(1, len(self.matrix)):
            torch.add(before[:, regime : regime + 1], self.matrix[regime][:, None], out=candidate)
            psi.masked_fill_(candidate > best, regime)
            torch.maximum(best, candidate, out=best)
        for level, irregular_steps in enumerate(self.irregular_steps[first : first + len(before)]):
            if irregular_steps is not None:
                columns, matrices = irregular_steps  # (c,), (c, K, K)
                scores = before[level][:, None, columns] + matrices.permute(1, 2, 0)
                psi[level][:, columns] = scores.max(0).indices.to(psi.dtype)
        return psi


def _reduce(delta: Tensor) -> Tensor:
    """Subtract the maximum over the first axis in place, and return it."""
    peak = delta.amax(0, keepdim=True)
    delta.sub_(peak)
    return peak


def _edges(lattice: Lattice, moves: _Moves, message: Tensor) -> Tensor:
    """Compute delta of the row before each block, (K, B): (max, +) transfer matrices, then B small steps.

    Args:
        message: (K,) delta of the row before the first.
    """
    edges = lattice.scores.new_empty(lattice.regimes, lattice.blocks)
    edges[:, 0] = message
    if lattice.blocks == 1:
        return edges
    transfers = _transfers(lattice, moves)
    current = message.cpu().numpy()
    for block in range(lattice.blocks - 1):
        current = (current[:, None] + transfers[block]).max(0)
        current = current - current.max()
        edges[:, block + 1] = torch.as_tensor(current)
    return edges


def _transfers(lattice: Lattice, moves: _Moves) -> np.ndarray:
    """Compute each block's (max, +) transfer matrix: (B, K from, K to), float64 on the host."""
    K, B = lattice.regimes, lattice.blocks
    state = torch.full_like(lattice.scores[0, 0], _IMPOSSIBLE)[:, None].repeat(1, K, 1)  # (to, from, B)
    state.diagonal(dim1=0, dim2=1).zero_()
    other, workspace = torch.empty_like(state), state.new_empty(K, K, K, B)
    offsets = torch.zeros_like(state[:1])  # (1, from, B)
    for level, log_likelihoods in enumerate(lattice.scores[:, 0].unbind()):
        moves.best(level, state, workspace, other).add_(log_likelihoods[:, None])
        state, other = other, state
        if level % _REDUCE_EVERY == 0:
            offsets += _reduce(state)
    return (state + offsets).permute(2, 1, 0).cpu().numpy()


def best_transfer(lattice: Lattice, before: np.ndarray | None = None) -> np.ndarray:
    """Compute the score of the best path through rows, from each regime of the row before to each of the last row.

    Args:
        lattice: of one restart, float64, not exponentiated. before: the result for the rows before these; None: none.
    Returns:
        (K from, K to) nats.
    """
    total = np.where(np.eye(lattice.regimes, dtype=np.bool_), 0.0, _IMPOSSIBLE) if before is None else before
    for transfer in _transfers(lattice, _Moves(lattice)):
        total = (total[:, :, None] + transfer[None]).max(1)
    return np.maximum(total, _IMPOSSIBLE)


def best_ends(transfers: np.ndarray) -> np.ndarray:
    """Find the regimes of the best path at the last row of each of several stretches of rows.

    Args:
        transfers: (S, K from, K to) as `best_transfer` returns them; the first starts the chain.
    Returns:
        (S,) int64.
    """
    score = transfers[0].max(0)  # a lattice that starts the chain moves alike from every regime
    predecessors = []
    for transfer in transfers[1:]:
        reached = score[:, None] + transfer
        predecessors.append(reached.argmax(0))
        score = reached.max(0) - reached.max()
    ends = [int(score.argmax())]
    for predecessor in reversed(predecessors):
        ends.append(int(predecessor[ends[-1]]))
    return np.array(ends[::-1])


def from_regime(num_regimes: int, regime: int) -> Tensor:
    """Return the message (K,) of a path that has reached this regime, for `best_predecessors`."""
    message = torch.full((num_regimes,), _IMPOSSIBLE, dtype=torch.float64)
    message[regime] = 0
    return message


def best_predecessors(lattice: Lattice, message: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sweep forward: psi_t(j), the best regime of the row before given regime j in row t, and the last delta.

    Args:
        lattice: of one restart, float64, not exponentiated.
        message: (K,) delta of the row before the first; None: the chain starts here.
    Returns:
        psi (T, K) of `index_type`, and delta of the last row (K,), float64.
    """
    scores = lattice.scores
    moves = _Moves(lattice)
    start = scores.new_zeros(lattice.regimes) if message is None else message.double()
    K, B = lattice.regimes, lattice.blocks
    deltas = scores.new_empty(lattice.length + 1, K, 1, B)  # at each step that of the row before
    deltas[0, :, 0] = _edges(lattice, moves, start)
    workspace = scores.new_empty(K, K, 1, B)
    levels = zip(lattice.scores[:, 0].unbind(), deltas.unbind(), deltas[1:].unbind(), strict=False)
    for level, (log_likelihoods, previous, delta) in enumerate(levels):
        moves.best(level, previous, workspace, delta).add_(log_likelihoods[:, None])
        if level % _REDUCE_EVERY == 0:
            _reduce(delta)
    before = deltas[:-1, :, 0]
    last = deltas[lattice.length - lattice.padding, :, 0, -1]
    psi = torch.cat(
        [moves.predecessors(first, before[first : first + _LEVELS]) for first in range(0, len(before), _LEVELS)]
    )
    return lattice.row_axis(psi[:, None])[0], last - last.max()


def backtrack(psi: Tensor, final: int) -> tuple[Tensor, int]:
    """Read back the best path that ends in a regime.

    Args:
        psi: (T, K) from `best_predecessors`. final: regime of the last row.
    Returns:
        regimes (T,) int64, and the regime of the row before the first (without meaning where the chain starts here).
    """
    T, K = psi.shape
    length = block_length(T)
    blocks = -(-T // length)
    identity = torch.arange(K, dtype=psi.dtype, device=psi.device)
    padded = torch.cat([psi, identity.expand(blocks * length - T, K)]).view(blocks, length, K)
    maps = padded.permute(1, 2, 0).long().contiguous()  # (L, K, B)
    ends = torch.arange(K, device=psi.device)[:, None].repeat(1, blocks)  # (K, B)
    for level in range(length - 1, -1, -1):
        ends = maps[level].gather(0, ends)
    table, regime = ends.cpu().numpy(), final
    finals = np.empty(blocks, dtype=np.int64)
    for block in range(blocks - 1, -1, -1):
        finals[block], regime = regime, int(table[regime, block])
    path = torch.empty(length, blocks, dtype=torch.int64, device=psi.device)
    current = torch.as_tensor(finals, device=psi.device)[None]
    for level in range(length - 1, -1, -1):
        path[level] = current[0]
        current = maps[level].gather(0, current)
    return path.mT.reshape(-1)[:T], regime


def viterbi(
    log_likelihoods: Tensor, chain: Chain, steps: np.ndarray | None = None, block_rows: int | None = None
) -> Tensor:
    """Find the path of largest log p(z_1..z_T, x_1..x_T), the lowest regime number on ties.

    Args:
        log_likelihoods: (T, K) nats. steps: (T,) as in `lattice`. block_rows: it never changes the answer.
    Returns:
        regimes (T,) int64.
    """
    lattice = Lattice(log_likelihoods.double()[None], steps, chain, block_rows, start=True)
    psi, score = best_predecessors(lattice)
    return backtrack(psi, int(score.argmax()))[0]
