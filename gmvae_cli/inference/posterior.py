"""Exact inference over a recording with a trained model: a sweep over all rows, then any block by itself.

The first sweep keeps only what crosses the edges of blocks (`relay`), so memory stays flat in the number of rows. A
block's rows are then scored again from the recording, which costs less than keeping their scores on disk.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import Posterior
from gmvae_cli.core import Encoder
from gmvae_cli.data.lagged_rows import Rows
from gmvae_cli.inference.block_messages import BlockMessages
from gmvae_cli.model.ar_density import log_likelihoods
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.forward_backward import Forward
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.model.moments import unscaled_marginal
from gmvae_cli.model.viterbi import backtrack, best_predecessors, index_type
from gmvae_cli.system.concurrency import prefetch
from gmvae_cli.system.device import trim_malloc
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.scratch import MEMORY_BYTES, Closing, Scratch, require_free

BLOCK_ROWS = 3 << 15  # a column of it for each of 4 regimes is below what `runtime` calls a large array

_BLOCKS_BETWEEN = 8  # times that memory is given back


Item = TypeVar("Item")


@dataclass(frozen=True)
class Labelled:
    """Some consecutive rows with what inference says of them.

    Args:
        regimes: (n,) int64. probs: (n, K), rows sum to one.
        log_likelihood: (n,) nats of the row given its past, data units; NaN where a row has no evidence.
        starts: (n,) bool, rows where the chain starts: the first of a series, or behind a break.
    """

    regimes: NDArray[np.int64]
    probs: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    starts: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.regimes)

    def rows(self, start: int, stop: int) -> "Labelled":
        """Rows [start, stop) of these."""
        return Labelled(
            self.regimes[start:stop], self.probs[start:stop], self.log_likelihood[start:stop], self.starts[start:stop]
        )

    def expanded(self, lengths: NDArray[np.int64]) -> "Labelled":
        """Rows in place of blocks of these lengths (n,); a block's log-likelihood is divided among its rows."""
        starts = np.zeros(lengths.sum(), np.bool_)
        starts[(np.cumsum(lengths) - lengths)[self.starts]] = True
        return Labelled(
            np.repeat(self.regimes, lengths),
            np.repeat(self.probs, lengths, axis=0),
            np.repeat(self.log_likelihood / lengths, lengths),
            starts,
        )

    @classmethod
    def joined(cls, parts: "Sequence[Labelled]") -> "Labelled":
        """Several stretches after one another."""
        names = ("regimes", "probs", "log_likelihood", "starts")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def in_portions(blocks: Iterable[Labelled]) -> Callable[[int], Labelled]:
    """A function that hands out the next so many rows of consecutive blocks."""
    iterator = iter(blocks)
    rest = Labelled(np.empty(0, np.int64), np.empty((0, 0)), np.empty(0), np.empty(0, np.bool_))

    def take(rows: int) -> Labelled:
        nonlocal rest
        parts: list[Labelled] = []
        while rows:
            if not len(rest):
                rest = next(iterator)
            part, rest = rest.rows(0, rows), rest.rows(rows, len(rest))
            parts.append(part)
            rows -= len(part)
        return parts[0] if len(parts) == 1 else Labelled.joined(parts)

    return take


def scratch_bytes(rows: int, num_regimes: int, posterior: Posterior) -> int:
    """Scratch space that `Inference` needs: what crosses edges, and evidence or what leads to a path."""
    edges = rows * num_regimes * (num_regimes + 2) * 8 // 200
    return edges + rows * num_regimes * {"viterbi": 1, "encoder": 8}.get(posterior, 0)


class Source(Protocol):
    """Where rows come from: a recording seen through `LaggedRows`, or `Rows` in memory."""

    @property
    def device(self) -> torch.device:
        """Of the tensors."""

    def __len__(self) -> int:
        """T."""

    def rows(self, start: int, stop: int) -> Rows:
        """Rows [start, stop), float64."""


class _Scored(NamedTuple):
    """A block of rows: scores (n, K) of the decoder, and source (n, K): the evidence that the posterior is made of."""

    rows: Rows
    scores: Tensor
    source: Tensor


class Inference(Closing):
    """The posterior of some rows, ready to be read block by block; a context manager that owns scratch files.

    Args:
        source: float64 rows of the model's channels.
        posterior: smooth, viterbi, filter, or encoder (then `encoder` is needed).
        directory: where scratch files lie. block_rows never changes the answer.
        evidence_scale: what evidence is divided by, None is the model's own.
        edges: (T + 1,) where each row of the source is a block of rows, their first ones; all that is read and counted
            is then of rows, each with its block's regime and its part of the block's log-likelihood.
    Attributes:
        log_likelihood: at evidence scale 1 log p(x), else log Z of the scaled evidence; nats, standardised units.
        evidence_rows: rows it sums over.
        log_volume: what to subtract from it, or from the ELBO, for data units: sum of log scale over observed channels
            of those rows.
    """

    def __init__(
        self,
        source: Source,
        checkpoint: Checkpoint,
        posterior: Posterior,
        encoder: Encoder | None = None,
        directory: str | None = None,
        progress: Progress = silent,
        block_rows: int = BLOCK_ROWS,
        evidence_scale: float | None = None,
        edges: NDArray[np.int64] | None = None,
    ) -> None:
        model, parameters, device = checkpoint.model, checkpoint.parameters, source.device
        self.source, self.posterior, self.progress, self.block_rows = source, posterior, progress, block_rows
        self.edges = edges
        self.emission = parameters.emission.to(torch.zeros((), dtype=torch.float64, device=device))
        self.chain = Chain(*(part.to(device) for part in parameters.chain))
        self.evidence_scale = float(parameters.evidence_scale) if evidence_scale is None else evidence_scale
        self.log_law = self.chain.initial_probs.clamp_min(1e-300).log()
        self.iid_prior = model.prior == "iid"
        self.log_std = checkpoint.scale.log().to(device)
        self.encoder = encoder.to(device).double() if encoder is not None else None
        self.log_likelihood, self.log_volume, self.usable_rows = 0.0, 0.0, 0
        self._log_normaliser = 0.0
        needed = scratch_bytes(len(source), model.regimes, posterior)
        if needed > MEMORY_BYTES:
            require_free(directory, needed)
        self._messages, self._exact = BlockMessages(self.chain, directory), BlockMessages(self.chain, directory)
        self._path = Scratch(model.regimes, _numpy_type(index_type(model.regimes)), directory)
        self._stored = Scratch(model.regimes, np.float64, directory)
        try:
            self._sweep()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the scratch files back."""
        for scratch in (self._messages, self._exact, self._path, self._stored):
            scratch.close()

    def blocks(self) -> Iterator[Labelled]:
        """All rows in order, in blocks of `block_rows`, the last one shorter."""
        return self._ahead(self._labelled(index) for index in range(len(self._ranges())))

    @cached_property
    @torch.no_grad()
    def elbo(self) -> float | None:
        """With posterior "encoder" the ELBO, nats, standardised units; a sweep of its own. Else None.

        sum_t sum_k q_t(k) (log p(x_t | h_t, k) - l_t(k)) + log Z(l).
        """
        if self.posterior != "encoder":
            return None
        total = self._log_normaliser
        for index, block in enumerate(self._scored()):
            total += float((self._posterior(index, block)[0] * (block.scores - block.source)).sum())
        return total

    def _ahead(self, blocks: Iterator[Item]) -> Iterator[Item]:
        """The same, each made while the one before is worked on; of a single block there is nothing to gain."""
        return prefetch(blocks) if len(self.source) > self.block_rows else blocks

    def _ranges(self) -> list[tuple[int, int]]:
        size, total = self.block_rows, len(self.source)
        return [(start, min(start + size, total)) for start in range(0, total, size)]

    # --- the sweep -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _sweep(self) -> None:
        """Log-likelihoods of all rows, messages at the edges of blocks, and the best path."""
        stop = 0
        for rows, scores, source, lattice in self._ahead(self._led_to(self._laid_out())):
            if lattice is None:
                marginal = self._marginal(scores).sum()
                normaliser = self._marginal(source).sum() if self.encoder is not None else marginal
            else:
                lattice.exponentiate()
                marginal = normaliser = self._messages.add(lattice)
                if self.posterior == "encoder":
                    exact = Lattice(self._scaled(scores)[None], rows.steps, self.chain, None, start=not stop)
                    exact.exponentiate()
                    marginal = self._exact.add(exact)
            self._count(rows, float(marginal), float(normaliser), stop)
            stop += len(rows)
            self.progress("forward", stop, len(self.source))
        self._messages.run_backward()
        if self.posterior == "viterbi" and not self.iid_prior:
            self._trace_back()

    def _count(self, rows: Rows, marginal: float, normaliser: float, start: int) -> None:
        self.log_likelihood += marginal
        self._log_normaliser += normaliser
        if self.edges is None:
            self.usable_rows += int(rows.usable.sum())
        else:
            lengths = np.diff(self.edges[start : start + len(rows) + 1])
            self.usable_rows += int(lengths[rows.usable.cpu().numpy()].sum())
        self.log_volume += float(self._volume(rows)[rows.usable].sum())

    def _scored(self) -> Iterator[_Scored]:
        for index in range(len(self._ranges())):
            yield self._score(index)

    @torch.no_grad()
    def _score(self, index: int) -> _Scored:
        """A block of rows with its scores; the encoder's evidence is kept the first time."""
        if index % _BLOCKS_BETWEEN == _BLOCKS_BETWEEN - 1:
            trim_malloc()
        start, stop = self._ranges()[index]
        rows = self.source.rows(start, stop)
        scores = source = self._scores(rows)
        if self.posterior == "encoder":
            if self._stored.rows == start:
                source = self._potentials(rows)
                self._stored.append(source.cpu().numpy())
            else:
                source = torch.as_tensor(self._stored.read(start, stop), device=scores.device)
        return _Scored(rows, scores, self._scaled(source))

    def _laid_out(self) -> Iterator[tuple[Rows, Tensor, Tensor, Lattice | None]]:
        """Every block with the lattice of its evidence, which independent rows do not need."""
        for index, block in enumerate(self._ahead(self._scored())):
            lattice = None
            if not self.iid_prior:
                lattice = Lattice(block.source[None], block.rows.steps, self.chain, None, start=not index)
            yield *block, lattice

    @torch.no_grad()
    def _led_to(
        self, blocks: Iterator[tuple[Rows, Tensor, Tensor, Lattice | None]]
    ) -> Iterator[tuple[Rows, Tensor, Tensor, Lattice | None]]:
        """The same blocks; on the way the best predecessors of each regime are kept, if a path is wanted."""
        score: Tensor | None = None
        for block in blocks:
            if self.posterior == "viterbi" and block[3] is not None:
                psi, score = best_predecessors(block[3], score)
                self._path.append(psi.cpu().numpy())
                self._final = int(score.argmax())
            yield block

    def _trace_back(self) -> None:
        """The best path, into the first column of its predecessors."""
        final = self._final
        for start, stop in reversed(self._ranges()):
            psi = torch.as_tensor(self._path.read(start, stop))
            path, final = backtrack(psi, final)
            psi[:, 0] = path
            self._path.write(start, psi.numpy())

    def _scores(self, rows: Rows) -> Tensor:
        """(n, K) decoder log-likelihoods, 0 where a row has no evidence."""
        scores = log_likelihoods(rows.y, self.emission, rows.partial, rows.lag_index)
        return (scores if bool(rows.usable.all()) else torch.where(rows.usable, scores, 0)).mT

    def _potentials(self, rows: Rows) -> Tensor:
        """(n, K) what the encoder says, 0 where a row has no evidence."""
        assert self.encoder is not None
        potentials: Tensor = self.encoder(rows.y, rows.observed)
        return torch.where(rows.usable[:, None], potentials, 0)

    def _marginal(self, scores: Tensor) -> Tensor:
        """Prior "iid": log sum_k p_k exp(score_k) of each row by itself.  (n,)"""
        return (self.log_law + scores).logsumexp(-1)

    def _scaled(self, scores: Tensor) -> Tensor:
        """What enters the chain."""
        return scores if self.evidence_scale == 1 else scores / self.evidence_scale

    def _predictive(self, sweep: Forward, scores: Tensor) -> Tensor:
        """(n,) log sum_k p(z_t = k | past) p(x_t | h_t, k), from a filter of scaled scores."""
        marginal = sweep.row_log_likelihoods[0]
        if self.evidence_scale == 1:
            return marginal
        return unscaled_marginal(marginal, sweep.filtered_probs[0].mT, (scores - self._scaled(scores)).mT)

    def _volume(self, rows: Rows) -> Tensor:
        """(n,) log scale of the observed channels."""
        return self.log_std @ rows.observed.to(self.log_std)

    # --- a block by itself ---------------------------------------------------------------------------------------

    def _posterior(self, index: int, block: _Scored) -> tuple[Tensor, Tensor]:
        """Probabilities (n, K), and log p(x_t | past) of each row (n,)."""
        rows, scores, source = block
        if self.iid_prior:
            potentials = torch.zeros_like(source) if self._unseen else source
            return (self.log_law + potentials).log_softmax(-1).exp(), self._marginal(scores)
        sweep = self._messages.filter(index, source, rows.steps)
        if self.posterior == "encoder":
            marginal = self._predictive(self._exact.filter(index, self._scaled(scores), rows.steps), scores)
        else:
            marginal = self._predictive(sweep, scores)
        if self._unseen:
            return self._messages.predict(index, sweep.filtered_probs[0], rows.steps), marginal
        probs = sweep.filtered_probs[0] if self.posterior == "filter" else self._messages.smooth(index, sweep)
        return probs, marginal

    @property
    def _unseen(self) -> bool:
        """Whether rows are labelled before their block is seen, since it holds later rows than they are."""
        return self.posterior == "filter" and self.edges is not None

    @torch.no_grad()
    def _labelled(self, index: int) -> Labelled:
        block = self._score(index)
        rows = block.rows
        probs, marginal = self._posterior(index, block)
        likelihood = torch.where(rows.usable, marginal - self._volume(rows), torch.nan)
        if self.posterior == "viterbi" and not self.iid_prior:
            regimes = self._path.read(*self._ranges()[index])[:, 0].astype(np.int64)
        else:
            regimes = probs.mT.argmax(0).cpu().numpy()
        found = Labelled(regimes, probs.cpu().numpy(), likelihood.cpu().numpy(), rows.steps == 0)
        if self.edges is None:
            return found
        start, stop = self._ranges()[index]
        return found.expanded(np.diff(self.edges[start : stop + 1]))


def _numpy_type(kind: torch.dtype) -> np.dtype[np.generic]:
    return torch.zeros(0, dtype=kind).numpy().dtype
