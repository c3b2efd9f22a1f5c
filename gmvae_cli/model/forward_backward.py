"""Exact filtering and smoothing of a Markov chain of regimes, in blocks of rows that run side by side.

Everything here takes log-likelihoods (or the encoder's potentials), an initial law and a transition matrix, and knows
nothing else. The row axis is cut into B blocks of L rows (`lattice`). Three sweeps: all blocks in lockstep give each
block's transfer matrix M_b = prod_{t in b} A diag(e_t), with e_t = exp(l_t - max_k l_t); B small steps carry the exact
message across the blocks; all blocks in lockstep again, forward then backward, from the exact messages. This is the
associative scan of Sarkka and Garcia-Fernandez (2021, "Temporal parallelization of Bayesian smoothers") in two levels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.chain import Chain, matrix_powers
from gmvae_cli.model.lattice import Lattice, move


class Filtered(NamedTuple):
    """Causal posterior.

    filtered_probs: (..., T, K) p(z_t = k | x_1:t).
    row_log_likelihoods: (..., T) log p(x_t | x_1:t-1), nats; they sum to the log evidence.
    """

    filtered_probs: Tensor
    row_log_likelihoods: Tensor


class Smoothed(NamedTuple):
    """Posterior given the whole series.

    smoothed_probs: (..., T, K) p(z_t = k | x_1:T).
    pair_sums: (..., K, K) sum over rows t that directly follow t-1 of p(z_t-1 = i, z_t = j | x_1:T); float64.
    row_log_likelihoods: (..., T) log p(x_t | x_1:t-1), nats.
    """

    smoothed_probs: Tensor
    pair_sums: Tensor
    row_log_likelihoods: Tensor

    @property
    def log_marginal(self) -> Tensor:
        """log p(x_1:T), nats, in float64; shape (...)."""
        return self.row_log_likelihoods.sum(-1, dtype=torch.float64)


def _transfers(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Each block's transfer matrix, its rows normalised, and the log of what each row was divided by.

    Returns:
        (B, R, K, K) from, to; and (B, R, K); float64 on the host.
    """
    L, R, K, B = lattice.scores.shape
    identity = torch.eye(K, dtype=lattice.dtype, device=lattice.scores.device)
    state = identity[None, :, :, None].repeat(R, 1, 1, B).view(R, K, K * B)  # (R, to, from * B)
    other = torch.empty_like(state)
    norms = torch.empty(L, R, 1, K * B, dtype=lattice.dtype, device=state.device)
    for level, (evidence, norm) in enumerate(zip(lattice.scores.unbind(), norms.unbind(), strict=True)):
        move(lattice, level, state, other, transposed=True)
        other.view(R, K, K, B).mul_(evidence[:, :, None])
        torch.sum(other, -2, keepdim=True, out=norm)
        other.div_(norm)
        state, other = other, state
    logs = norms.log_().sum(0, dtype=torch.float64).view(R, K, B)
    return state.view(R, K, K, B).permute(3, 0, 2, 1).double().cpu().numpy(), logs.permute(2, 0, 1).cpu().numpy()


class BlockTransfers(NamedTuple):
    """What the blocks of a lattice do to messages that pass through; float64 on the host.

    Args:
        edges: (B, R, K) exact filtered law before each block's first row. last: (R, K) that of the last row.
        matrices: (B, R, K, K) transfer matrices M_b, from, to, rows normalised. logs: (B, R, K) of what each row was
            divided by.
        log_marginal: (R,) log-likelihood of all rows given those before, nats, less the rows' peaks.
    """

    edges: np.ndarray
    last: np.ndarray
    matrices: np.ndarray
    logs: np.ndarray
    log_marginal: np.ndarray


def carry(lattice: Lattice, message: np.ndarray) -> BlockTransfers:
    """Carry a message forward across an exponentiated lattice: the first two of the three sweeps.

    Args:
        message: (R, K) filtered law of the row before the first; of a lattice that starts the chain any law.
    """
    matrices, logs = _transfers(lattice)
    edges = np.empty((lattice.blocks, *message.shape))
    log_marginal = np.zeros(len(message))
    current = message
    with np.errstate(divide="ignore"):
        for block in range(lattice.blocks):
            edges[block] = current
            weights = np.log(current) + logs[block]
            peak = weights.max(-1, keepdims=True)
            current = (np.exp(weights - peak)[:, None] @ matrices[block])[:, 0]
            total = current.sum(-1, keepdims=True)
            current = current / total
            log_marginal += (peak + np.log(total))[:, 0]
    return BlockTransfers(edges, current, matrices, logs, log_marginal)


@dataclass
class Forward:
    """A forward sweep over one block of rows, with what the backward sweep needs of it."""

    lattice: Lattice
    alpha: Tensor  # (L, R, K, B) filtered
    norms: Tensor  # (L, R, 1, B)
    edges: np.ndarray  # (B, R, K)
    carried: BlockTransfers | None  # None where there is one block and nobody asked

    @property
    def filtered_probs(self) -> Tensor:
        """(R, T, K)."""
        return self.lattice.row_axis(self.alpha)

    @property
    def message(self) -> Tensor:
        """The filtered law of the last row, (R, K): what the next block of rows starts from."""
        lattice = self.lattice
        return self.alpha[lattice.length - 1 - lattice.padding, :, :, -1].clone()  # a view would keep all of alpha

    @property
    def row_log_likelihoods(self) -> Tensor:
        """(R, T) log p(x_t | x_1:t-1), nats."""
        lattice = self.lattice
        rows = self.norms[:, :, 0].permute(1, 2, 0).reshape(lattice.restarts, -1)[:, : lattice.rows]
        return rows.log() + lattice.log_scale


def forward(
    log_likelihoods: Tensor,
    chain: Chain,
    steps: np.ndarray | None = None,
    message: Tensor | None = None,
    block_rows: int | None = None,
    known: BlockTransfers | None = None,
) -> Forward:
    """The forward sweep over a block of rows, from a carried message.

    Args:
        log_likelihoods: (R, T, K) nats; 0 for all k where a row has no evidence. T at least 1.
        steps: (T,) see the module. None: every row follows the one before.
        message: (R, K) filtered law of the row before the first; None: the chain starts here.
        block_rows: L; None chooses. It never changes the answer.
        known: what `carry` found for the same rows: saves the first two of the three sweeps.
    """
    R, _, K = log_likelihoods.shape
    lattice = Lattice(log_likelihoods, steps, chain, block_rows, start=message is None)
    lattice.exponentiate()
    if known is None:
        start = (chain.initial_probs.expand(R, K) if message is None else message).double().cpu().numpy()
        if lattice.blocks > 1:
            known = carry(lattice, start)
    edges = start[None] if known is None else known.edges
    L, B = lattice.length, lattice.blocks
    alpha = torch.empty_like(lattice.scores)
    norms = alpha.new_empty(L, R, 1, B)
    state = torch.as_tensor(edges).permute(1, 2, 0).to(alpha).contiguous()
    for level, (evidence, target, norm) in enumerate(
        zip(lattice.scores.unbind(), alpha.unbind(), norms.unbind(), strict=True)
    ):
        move(lattice, level, state, target, transposed=True)
        target.mul_(evidence)
        torch.sum(target, -2, keepdim=True, out=norm)
        target.div_(norm)
        state = target
    return Forward(lattice, alpha, norms, edges, known)


def _beta_edges(sweep: Forward, beta: Tensor | None) -> np.ndarray:
    """The backward message at each block's last row, scaled to product one with the filtered law: (B, R, K)."""
    last = sweep.message.double().cpu().numpy()
    current = np.ones_like(last) if beta is None else beta.double().cpu().numpy()
    if sweep.carried is None:
        return _scaled(current, last, _ceiling(sweep.alpha))[None]
    return carry_back(sweep.carried._replace(last=last), current, _ceiling(sweep.alpha))[0]


def carry_back(carried: BlockTransfers, beta: np.ndarray, ceiling: float = 1e250) -> tuple[np.ndarray, np.ndarray]:
    """Carry a backward message through blocks, last one first.

    Args:
        beta: (R, K) message from the rows after these, up to a factor.
    Returns:
        the message at each block's last row, scaled to product one with the filtered law, (B, R, K); and that for the
        rows before these, up to a factor, (R, K).
    """
    edges, ends = carried.edges, np.concatenate([carried.edges[1:], carried.last[None]])
    out = np.empty_like(edges)
    current = beta
    with np.errstate(divide="ignore"):
        for block in range(len(edges) - 1, -1, -1):
            current = out[block] = _scaled(current, ends[block], ceiling)
            scores = np.log((carried.matrices[block] @ current[..., None])[..., 0]) + carried.logs[block]
            reach = scores + np.log(edges[block])
            current = np.exp(np.minimum(scores - reach.max(-1, keepdims=True), 600))
    return out, current


def _scaled(beta: np.ndarray, law: np.ndarray, ceiling: float) -> np.ndarray:
    beta = np.minimum(beta, ceiling)
    scaled: np.ndarray = beta / (law * beta).sum(-1, keepdims=True)
    return scaled


def _ceiling(like: Tensor) -> float:
    """The largest backward message kept: only regimes of filtered probability near 0 reach it, to no effect."""
    return 1e30 if like.dtype == torch.float32 else 1e250


def backward(sweep: Forward, beta: Tensor | None = None, *, with_pairs: bool = True) -> tuple[Smoothed, Tensor]:
    """The backward sweep over the rows of a forward one, whose arrays it uses up.

    Args:
        beta: (R, K) message from the rows after these, up to a factor; None: there are none.
        with_pairs: False leaves the pair sums 0, and saves their time.
    Returns:
        the posterior, and the message for the rows before these.
    """
    lattice, alpha, ceiling = sweep.lattice, sweep.alpha, _ceiling(sweep.alpha)
    L = lattice.length
    row_log_likelihoods = sweep.row_log_likelihoods
    betas = torch.empty_like(alpha)
    betas[L - 1] = torch.as_tensor(_beta_edges(sweep, beta)).permute(1, 2, 0).to(alpha)
    ratios = lattice.scores.div_(sweep.norms)
    before_first = torch.empty_like(alpha[0])
    levels = list(zip(ratios.unbind(), betas.unbind(), [before_first, *betas.unbind()[:-1]], strict=True))
    for level in range(L - 1, -1, -1):
        ratio, message, target = levels[level]
        ratio.mul_(message).clamp_(max=ceiling)
        move(lattice, level, ratio, target, transposed=False)
    totals = betas.mul_(alpha).sum(-2, keepdim=True)
    betas.div_(totals)
    first = torch.as_tensor(sweep.edges).permute(1, 2, 0).to(alpha)
    pair_sums = torch.zeros_like(lattice.matrix, dtype=torch.float64)
    if with_pairs:
        pair_sums = _pair_sums(lattice, first, alpha, ratios.div_(totals))
    return Smoothed(lattice.row_axis(betas), pair_sums, row_log_likelihoods), before_first[..., 0]


def _pair_sums(lattice: Lattice, first: Tensor, alpha: Tensor, ratios: Tensor) -> Tensor:
    """sum_t alpha_t-1(i) A_ij ratio_t(j) over rows that directly follow another: (R, K, K), float64."""
    if len(lattice.irregular_rows):
        rows = torch.as_tensor(lattice.irregular_rows, device=ratios.device)
        step, block = rows % lattice.length, rows // lattice.length
        ratios.permute(0, 3, 1, 2)[step, block] = 0
    sums = first.double() @ ratios[0].mT.double()
    if lattice.length > 1:
        sums = sums + (alpha[:-1] @ ratios[1:].mT).sum(0, dtype=torch.float64)
    return sums * lattice.matrix


def _batch(log_likelihoods: Tensor, chain: Chain) -> tuple[Tensor, Chain, torch.Size]:
    leading = log_likelihoods.shape[:-2]
    T, K = log_likelihoods.shape[-2:]
    count = int(np.prod(leading)) if leading else 1
    flat = Chain(
        chain.initial_probs.expand(*leading, K).reshape(count, K),
        chain.transition_matrix.expand(*leading, K, K).reshape(count, K, K),
    )
    return log_likelihoods.reshape(count, T, K), flat, leading


def filter(  # noqa: A001 - the field's word for it
    log_likelihoods: Tensor, chain: Chain, steps: np.ndarray | None = None, block_rows: int | None = None
) -> Filtered:
    """Regime probabilities given the past and the present, p(z_t = k | x_1:t); no later row is used.

    Args:
        log_likelihoods: (..., T, K) log p(x_t | past, z_t = k), nats; 0 for all k where a row has no evidence.
        chain: its tensors may have the same leading dimensions, or none.
        steps: (T,), see the module; block_rows: rows in a block, it never changes the answer.
    """
    flat, flat_chain, leading = _batch(log_likelihoods, chain)
    sweep = forward(flat, flat_chain, steps, None, block_rows)
    probs, rows = sweep.filtered_probs, sweep.row_log_likelihoods
    return Filtered(probs.reshape(*leading, *probs.shape[1:]), rows.reshape(*leading, rows.shape[-1]))


def predict(filtered_probs: Tensor, chain: Chain, steps: np.ndarray, message: Tensor) -> Tensor:
    """Regime probabilities given the past alone, p(z_t = k | x_1:t-1), from those of `filter`: (T, K).

    Args:
        filtered_probs: (T, K). chain: without leading dimensions. steps: (T,), see the module.
        message: (K,) filtered law of the row before the first; where the chain starts, any law.
    """
    before = torch.cat([message[None].to(filtered_probs), filtered_probs[:-1]])
    unique = np.unique(steps)
    probs = torch.empty_like(before)
    for step, matrix in zip(unique.tolist(), matrix_powers(chain.transition_matrix[None], unique)[0], strict=True):
        rows = torch.as_tensor(steps == step, device=before.device)
        probs[rows] = before[rows] @ matrix.to(before) if step else chain.initial_probs.to(before)
    return probs


def smooth(
    log_likelihoods: Tensor, chain: Chain, steps: np.ndarray | None = None, block_rows: int | None = None
) -> Smoothed:
    """Regime probabilities given the whole series, exact, in parallel blocks of rows.

    s_t(k) = p(z_t = k | x_1:T), from transfer matrices M_b = prod_{t in b} A diag(e_t). Arguments as in `filter`.
    Hard zeros give no NaN. Cost O(T K^3), sequential depth O(sqrt T).
    """
    flat, flat_chain, leading = _batch(log_likelihoods, chain)
    result, _ = backward(forward(flat, flat_chain, steps, None, block_rows))
    return Smoothed(*(part.reshape(*leading, *part.shape[1:]) if leading else part[0] for part in result))
