"""Exact filtering and smoothing of a Markov chain of regimes, in blocks of rows that run side by side.

Everything takes log-likelihoods (or the encoder's potentials) l_t(k), an initial law and a transition matrix A, and
knows nothing else. With e_t(k) = exp(l_t(k) - max_k l_t(k)) the recursions are

    alpha_t(j) = e_t(j) sum_i alpha_t-1(i) A_ij / norm_t,     p(z_t = j | x_1:t), norm_t such that it sums to one
    beta_t-1(i) = sum_j A_ij e_t(j) beta_t(j) / norm_t,       in proportion to p(x_t:T | z_t-1 = i)
    p(z_t = j | x_1:T) = alpha_t(j) beta_t(j)                                    [Rabiner 1989, Proc. IEEE 77, sec. III]

A loop over T rows is avoided in three sweeps over B blocks of L rows (`lattice`): all blocks in lockstep give each
block's transfer matrix M_b = prod_{t in b} A diag(e_t); B small steps carry the exact message across the blocks; all
blocks in lockstep again, forward then backward, from the exact messages. This is the associative scan of Särkkä and
García-Fernández (2021, "Temporal parallelization of Bayesian smoothers") in two levels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.model.chain import Chain, matrix_powers
from gmvae_cli.model.lattice import Lattice, move

# The largest backward messages kept, beta / (alpha . beta). Only a regime with alpha below their inverse can reach
# them, and there alpha beta is too small to be seen in the answer.
_CEILINGS = {torch.float32: 1e30, torch.float64: 1e250}
_LARGEST_EXPONENT = 600.0  # nats; exp of it is 1e260, beyond the ceilings and short of infinity


class Filtered(NamedTuple):
    """The posterior given the past and the present.

    Args:
        filtered_probs: (..., T, K) p(z_t = k | x_1:t).
        row_log_likelihoods: (..., T) log p(x_t | x_1:t-1), nats; they sum to log p(x_1:T).
    """

    filtered_probs: Tensor
    row_log_likelihoods: Tensor


class Smoothed(NamedTuple):
    """The posterior given the whole series.

    Args:
        smoothed_probs: (..., T, K) p(z_t = k | x_1:T).
        pair_sums: (..., K, K) sum of p(z_t-1 = i, z_t = j | x_1:T) over rows t that directly follow t-1; float64.
        row_log_likelihoods: (..., T) log p(x_t | x_1:t-1), nats.
    """

    smoothed_probs: Tensor
    pair_sums: Tensor
    row_log_likelihoods: Tensor

    @property
    def log_marginal(self) -> Tensor:
        """log p(x_1:T), nats, in float64; shape (...)."""
        return self.row_log_likelihoods.sum(-1, dtype=torch.float64)


# --- messages across blocks ------------------------------------------------------------------------------------------


class BlockTransfers(NamedTuple):
    """The transfer matrices of a lattice's blocks, and the forward message that has passed through them.

    Args, all float64 on the host:
        edges: (B, R, K) filtered law of the row before each block. last: (R, K) that of the last row.
        matrices: (B, R, K, K) transfer matrices M_b, row = from, rows divided by their sums.
        logs: (B, R, K) log of these sums, nats.
        log_marginal: (R,) log-likelihood of all rows given those before, nats, less the rows' `log_scale`.
    """

    edges: np.ndarray
    last: np.ndarray
    matrices: np.ndarray
    logs: np.ndarray
    log_marginal: np.ndarray


def _transfer_matrices(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Compute each block's transfer matrix, its rows divided by their sums, and the logarithms of these sums.

    Returns:
        (B, R, K, K) row = from, and (B, R, K) nats; float64 on the host.
    """
    L, R, K, B = lattice.scores.shape
    identity = torch.eye(K, dtype=lattice.dtype, device=lattice.scores.device)
    state = identity[None, :, :, None].repeat(R, 1, 1, B).view(R, K, K * B)  # (R, to, from * B)
    other = torch.empty_like(state)
    norms = torch.empty(L, R, 1, K * B, dtype=lattice.dtype, device=state.device)
    for level, (likelihoods, norm) in enumerate(zip(lattice.scores.unbind(), norms.unbind(), strict=True)):
        move(lattice, level, state, other, transposed=True)
        other.view(R, K, K, B).mul_(likelihoods[:, :, None])
        torch.sum(other, -2, keepdim=True, out=norm)  # (R, 1, from * B)
        other.div_(norm)
        state, other = other, state
    logs = norms.log_().sum(0, dtype=torch.float64).view(R, K, B)
    return state.view(R, K, K, B).permute(3, 0, 2, 1).double().cpu().numpy(), logs.permute(2, 0, 1).cpu().numpy()


def forward_transfers(lattice: Lattice, message: np.ndarray) -> BlockTransfers:
    """Pass a message forward through the blocks of an exponentiated lattice: the first two of the three sweeps.

    Args:
        message: (R, K) filtered law of the row before the first; of a lattice that starts the chain any law.
    """
    return carried_forward(*_transfer_matrices(lattice), message)


def carried_forward(matrices: np.ndarray, logs: np.ndarray, message: np.ndarray) -> BlockTransfers:
    """Pass a message forward through the transfer matrices of blocks, without their rows.

    Args:
        matrices: (B, R, K, K), rows divided by their sums. logs: (B, R, K) of these sums, nats.
        message: (R, K) filtered law of the row before the first block; where R is 1 above, any number of laws.
    """
    edges = np.empty((len(matrices), *message.shape))
    log_marginal = np.zeros(len(message))
    current = message  # (R, K)
    with np.errstate(divide="ignore"):
        for block in range(len(matrices)):
            edges[block] = current
            weights = np.log(current) + logs[block]  # (R, K)
            peak = weights.max(-1, keepdims=True)  # (R, 1)
            current = (np.exp(weights - peak)[:, None] @ matrices[block])[:, 0]  # (R, K)
            total = current.sum(-1, keepdims=True)
            current = current / total
            log_marginal += (peak + np.log(total))[:, 0]
    return BlockTransfers(edges, current, matrices, logs, log_marginal)


def backward_transfers(
    transfers: BlockTransfers, beta: np.ndarray, ceiling: float = _CEILINGS[torch.float64]
) -> tuple[np.ndarray, np.ndarray]:
    """Pass a message backward through blocks, last one first.

    Args:
        beta: (R, K) message from the rows after these, up to a factor.
        ceiling: the largest message kept.
    Returns:
        the message at each block's last row, (B, R, K), scaled to product one with the filtered law; and the message
        for the rows before these, (R, K), up to a factor.
    """
    edges, ends = transfers.edges, np.concatenate([transfers.edges[1:], transfers.last[None]])
    out = np.empty_like(edges)
    current = beta
    with np.errstate(divide="ignore"):
        for block in range(len(edges) - 1, -1, -1):
            current = out[block] = _scaled(current, ends[block], ceiling)
            scores = np.log((transfers.matrices[block] @ current[..., None])[..., 0]) + transfers.logs[block]  # (R, K)
            reach = scores + np.log(edges[block])  # (R, K)
            current = np.exp(np.minimum(scores - reach.max(-1, keepdims=True), _LARGEST_EXPONENT))
    return out, current


def _scaled(beta: np.ndarray, law: np.ndarray, ceiling: float) -> np.ndarray:
    """Scale a message to product one with a law: two of (R, K) -> (R, K)."""
    beta = np.minimum(beta, ceiling)
    scaled: np.ndarray = beta / (law * beta).sum(-1, keepdims=True)
    return scaled


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass
class Forward:
    """A forward sweep over rows, with all that the backward sweep needs.

    Args:
        alpha: (L, R, K, B) filtered probabilities. norms: (L, R, 1, B) what each row's sum was before.
        edges: (B, R, K) filtered law of the row before each block.
        transfers: None where there is one block and none were given.
    """

    lattice: Lattice
    alpha: Tensor
    norms: Tensor
    edges: np.ndarray
    transfers: BlockTransfers | None

    @property
    def filtered_probs(self) -> Tensor:
        """p(z_t = k | x_1:t), (R, T, K)."""
        return self.lattice.row_axis(self.alpha)

    @property
    def message(self) -> Tensor:
        """The filtered law of the last row, (R, K): the next rows start from it."""
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
    transfers: BlockTransfers | None = None,
) -> Forward:
    """Filter rows, from the message of the row before.

    Args:
        log_likelihoods: (R, T, K) nats; 0 for all k where a row is not usable. T at least 1.
        chain: (R, K) and (R, K, K), or without R.
        steps: (T,) as in `lattice`. None: every row follows the one before.
        message: (R, K) filtered law of the row before the first; None: the chain starts here.
        block_rows: L; None chooses. It never changes the answer.
        transfers: from `forward_transfers` over the same rows: saves the first two of the three sweeps.
    """
    R, _, K = log_likelihoods.shape
    lattice = Lattice(log_likelihoods, steps, chain, block_rows, start=message is None)
    lattice.exponentiate()
    if transfers is None:
        start = (chain.initial_probs.expand(R, K) if message is None else message).double().cpu().numpy()
        if lattice.blocks > 1:
            transfers = forward_transfers(lattice, start)
    edges = start[None] if transfers is None else transfers.edges
    L, B = lattice.length, lattice.blocks
    alpha = torch.empty_like(lattice.scores)  # (L, R, K, B)
    norms = alpha.new_empty(L, R, 1, B)
    state = torch.as_tensor(edges).permute(1, 2, 0).to(alpha).contiguous()  # (R, K, B)
    for level, (likelihoods, target, norm) in enumerate(
        zip(lattice.scores.unbind(), alpha.unbind(), norms.unbind(), strict=True)
    ):
        move(lattice, level, state, target, transposed=True)
        target.mul_(likelihoods)
        torch.sum(target, -2, keepdim=True, out=norm)
        target.div_(norm)
        state = target
    return Forward(lattice, alpha, norms, edges, transfers)


def _block_betas(sweep: Forward, beta: Tensor | None) -> np.ndarray:
    """Compute the backward message at each block's last row, scaled to product one with the filtered law: (B, R, K)."""
    ceiling = _CEILINGS[sweep.alpha.dtype]
    last = sweep.message.double().cpu().numpy()
    current = np.ones_like(last) if beta is None else beta.double().cpu().numpy()
    if sweep.transfers is None:
        return _scaled(current, last, ceiling)[None]
    return backward_transfers(sweep.transfers._replace(last=last), current, ceiling)[0]


def backward(sweep: Forward, beta: Tensor | None = None, *, with_pairs: bool = True) -> tuple[Smoothed, Tensor]:
    """Smooth the rows of a forward sweep, whose arrays are used up.

    Args:
        beta: (R, K) message from the rows after these, up to a factor; None: there are none.
        with_pairs: False leaves the pair sums 0, and saves their time.
    Returns:
        the posterior, with leading R, and the message (R, K) for the rows before these.
    """
    lattice, alpha, ceiling = sweep.lattice, sweep.alpha, _CEILINGS[sweep.alpha.dtype]
    L = lattice.length
    row_log_likelihoods = sweep.row_log_likelihoods
    betas = torch.empty_like(alpha)  # (L, R, K, B)
    betas[L - 1] = torch.as_tensor(_block_betas(sweep, beta)).permute(1, 2, 0).to(alpha)
    ratios = lattice.scores.div_(sweep.norms)  # (L, R, K, B) e_t / norm_t, and below times beta_t
    before_first = torch.empty_like(alpha[0])  # (R, K, B)
    levels = list(zip(ratios.unbind(), betas.unbind(), [before_first, *betas.unbind()[:-1]], strict=True))
    for level in range(L - 1, -1, -1):
        ratio, message, target = levels[level]
        ratio.mul_(message).clamp_(max=ceiling)
        move(lattice, level, ratio, target, transposed=False)
    totals = betas.mul_(alpha).sum(-2, keepdim=True)  # (L, R, 1, B) one, but for rounding
    betas.div_(totals)
    first = torch.as_tensor(sweep.edges).permute(1, 2, 0).to(alpha)  # (R, K, B)
    pair_sums = torch.zeros_like(lattice.matrix, dtype=torch.float64)
    if with_pairs:
        pair_sums = _pair_sums(lattice, first, alpha, ratios.div_(totals))
    return Smoothed(lattice.row_axis(betas), pair_sums, row_log_likelihoods), before_first[..., 0]


def _pair_sums(lattice: Lattice, first: Tensor, alpha: Tensor, ratios: Tensor) -> Tensor:
    """Compute sum_t alpha_t-1(i) A_ij ratio_t(j) over rows that directly follow another: (R, K, K), float64.

    Args:
        first: (R, K, B) filtered law of the row before each block. alpha: (L, R, K, B).
        ratios: (L, R, K, B) e_t(j) beta_t(j) / norm_t; used up.
    """
    if len(lattice.irregular_rows):
        rows = torch.as_tensor(lattice.irregular_rows, device=ratios.device)
        step, block = rows % lattice.length, rows // lattice.length
        ratios.permute(0, 3, 1, 2)[step, block] = 0
    sums = first.double() @ ratios[0].mT.double()  # (R, K, K)
    if lattice.length > 1:
        sums = sums + (alpha[:-1] @ ratios[1:].mT).sum(0, dtype=torch.float64)
    return sums * lattice.matrix


# --- whole series ----------------------------------------------------------------------------------------------------


def _batch(log_likelihoods: Tensor, chain: Chain) -> tuple[Tensor, Chain, torch.Size]:
    """Join the leading dimensions of log-likelihoods (..., T, K) and their chains into one, R; return these too."""
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
    """Compute regime probabilities given the past and the present, p(z_t = k | x_1:t); no later row is used.

    Args:
        log_likelihoods: (..., T, K) log p(x_t | past, z_t = k), nats; 0 for all k where a row is not usable.
        chain: its tensors may have the same leading dimensions, or none.
        steps: (T,) as in `lattice`. block_rows: rows in a block; it never changes the answer.
    """
    flat, flat_chain, leading = _batch(log_likelihoods, chain)
    sweep = forward(flat, flat_chain, steps, None, block_rows)
    probs, rows = sweep.filtered_probs, sweep.row_log_likelihoods
    return Filtered(probs.reshape(*leading, *probs.shape[1:]), rows.reshape(*leading, rows.shape[-1]))


def predict(filtered_probs: Tensor, chain: Chain, steps: np.ndarray, message: Tensor) -> Tensor:
    """Compute regime probabilities given the past alone, p(z_t = k | x_1:t-1), from those of `filter`: (T, K).

    Args:
        filtered_probs: (T, K). chain: without leading dimensions. steps: (T,) as in `lattice`.
        message: (K,) filtered law of the row before the first; where the chain starts, any law.
    """
    before = torch.cat([message[None].to(filtered_probs), filtered_probs[:-1]])  # (T, K)
    unique = np.unique(steps)
    probs = torch.empty_like(before)
    for step, matrix in zip(unique.tolist(), matrix_powers(chain.transition_matrix[None], unique)[0], strict=True):
        rows = torch.as_tensor(steps == step, device=before.device)
        probs[rows] = before[rows] @ matrix.to(before) if step else chain.initial_probs.to(before)
    return probs


def smooth(
    log_likelihoods: Tensor, chain: Chain, steps: np.ndarray | None = None, block_rows: int | None = None
) -> Smoothed:
    """Compute regime probabilities given the whole series, p(z_t = k | x_1:T), exactly.

    Probabilities that are exactly 0 give no NaN. Cost O(T K^3), sequential depth O(sqrt T).

    Args:
        log_likelihoods: (..., T, K). chain, steps, block_rows: as in `filter`.
    """
    flat, flat_chain, leading = _batch(log_likelihoods, chain)
    result, _ = backward(forward(flat, flat_chain, steps, None, block_rows))
    return Smoothed(*(part.reshape(*leading, *part.shape[1:]) if leading else part[0] for part in result))
