"""Exact messages across stretches of a series that different workers label.

Each stretch gives the K x K transfer matrix of its rows, a few hundred bytes; passed through these in order and back,
the messages give each stretch what all rows before and behind it say: the third level of the scan that
`model.forward_backward` describes. For the best path the matrices are (max, +).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import Posterior
from gmvae_cli.inference.block_messages import Ends
from gmvae_cli.inference.scored_rows import RowScorer, scaled
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.forward_backward import BlockTransfers, backward_transfers, carried_forward, forward_transfers
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.model.viterbi import best_ends, best_transfer


class Transfer(NamedTuple):
    """Product of the transfer matrices of some rows.

    Args:
        matrix: (K, K) row = from, rows divided by their sums. logs: (K,) of these sums, nats.
    """

    matrix: np.ndarray
    logs: np.ndarray

    def behind(self, lattice: Lattice) -> "Transfer":
        """Return the product with the rows of the next lattice, which is exponentiated."""
        passed = forward_transfers(lattice, self.matrix)
        return Transfer(passed.last, self.logs + passed.log_marginal + float(lattice.log_scale.double().sum()))


class StretchTransfers(NamedTuple):
    """The transfers of a stretch: of the potentials, of the decoder where the encoder has its own, of the best path."""

    potentials: Transfer
    exact: Transfer | None
    best: np.ndarray | None


def transfers_of(scorer: RowScorer, checkpoint: Checkpoint, posterior: Posterior, is_first: bool) -> StretchTransfers:
    """Compute the transfers of the rows of a stretch.

    Args:
        scorer: of the stretch. is_first: whether the chain starts with it.
    """
    K = checkpoint.model.regimes
    chain = Chain(*(part.to(scorer.lagged_rows.device) for part in checkpoint.parameters.chain))
    potentials = exact = Transfer(np.eye(K), np.zeros(K))
    best = None
    for index in range(len(scorer.ranges)):
        block, start = scorer.score(index), is_first and not index
        lattice = Lattice(block.potentials[None], block.rows.steps, chain, None, start=start)
        if posterior == "viterbi":
            best = best_transfer(lattice, best)
        lattice.exponentiate()
        potentials = potentials.behind(lattice)
        if posterior == "encoder":
            scores = scaled(block.log_likelihoods, scorer.evidence_scale)
            lattice = Lattice(scores[None], block.rows.steps, chain, None, start=start)
            lattice.exponentiate()
            exact = exact.behind(lattice)
    return StretchTransfers(potentials, exact if posterior == "encoder" else None, best)


def ends_of(transfers: Sequence[StretchTransfers], initial_probs: torch.Tensor) -> list[Ends]:
    """Pass messages through the transfers of consecutive stretches, forward and back.

    Args:
        initial_probs: (K,) of the chain, which starts with the first stretch.
    """
    initial = initial_probs.double().cpu().numpy()[None]  # (1, K)
    passed = _passed([part.potentials for part in transfers], initial)
    betas, _ = backward_transfers(passed, np.ones_like(initial))  # (S, 1, K)
    exact_edges: Sequence[np.ndarray | None] = [None] * len(transfers)
    if transfers[0].exact is not None:
        exact_edges = list(_passed([part.exact for part in transfers if part.exact is not None], initial).edges)
    path: Sequence[int | None] = [None] * len(transfers)
    if transfers[0].best is not None:
        path = best_ends(np.stack([part.best for part in transfers if part.best is not None])).tolist()
    return [
        Ends(
            message=passed.edges[index] if index else None,
            exact_message=exact_edges[index] if index else None,
            beta=betas[index],
            entry=path[index - 1] if index else None,
            end=path[index],
        )
        for index in range(len(transfers))
    ]


def _passed(transfers: Sequence[Transfer], initial: np.ndarray) -> BlockTransfers:
    """Pass the initial law (1, K) through all transfers."""
    matrices = np.stack([transfer.matrix for transfer in transfers])[:, None]  # (S, 1, K, K)
    return carried_forward(matrices, np.stack([transfer.logs for transfer in transfers])[:, None], initial)
