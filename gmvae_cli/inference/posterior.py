"""Exact inference over a series with a trained model: one sweep over all rows, then any block of rows by itself.

The sweep keeps only messages at the edges of blocks (`block_messages`), so memory stays flat in the number of rows.
Shapes: n rows of a block, K regimes.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import Posterior
from gmvae_cli.core import Encoder
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.inference.best_path import BestPath
from gmvae_cli.inference.block_messages import BlockMessages
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.inference.scored_rows import BLOCK_ROWS, RowScorer, ScoredRows
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.evidence_scale import unscaled_marginal
from gmvae_cli.model.forward_backward import Forward
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.system.concurrency import prefetch
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.scratch import MEMORY_BYTES, Closing, require_free

Item = TypeVar("Item")


def scratch_bytes(rows: int, num_regimes: int, posterior: Posterior) -> int:
    """Estimate the scratch space of an inference: messages at edges of blocks, and potentials or a best path."""
    edges = rows * num_regimes * (num_regimes + 2) * 8 // 200  # a lattice of BLOCK_ROWS rows has blocks of some 300
    return edges + rows * num_regimes * {"viterbi": 1, "encoder": 8}.get(posterior, 0)


class _Laid(NamedTuple):
    """A block of rows and the lattice of its potentials, which independent rows do not need."""

    scored: ScoredRows
    lattice: Lattice | None


class Inference(Closing):
    """Posterior of all rows of a series, to be read block by block until it is closed; `over` makes one.

    Attributes:
        log_likelihood: log p(x), with an evidence scale log Z of the scaled potentials; nats, standardised units.
        usable: rows of the series that it sums over. usable_rows: rows of the file that these stand for.
        log_volume: to be subtracted from it, or from the ELBO, for data units; nats.
    """

    def __init__(self, scorer: RowScorer, checkpoint: Checkpoint, posterior: Posterior, directory: str | None) -> None:
        device = scorer.lagged_rows.device
        self.log_likelihood, self.log_volume = 0.0, 0.0
        self.usable = self.usable_rows = 0
        self._log_normaliser = 0.0  # log Z of the potentials
        self._scorer, self._posterior = scorer, posterior
        self._chain = Chain(*(part.to(device) for part in checkpoint.parameters.chain))
        self._log_initial = self._chain.initial_probs.clamp_min(1e-300).log()  # finite for a probability of 0
        self._iid_prior = checkpoint.model.prior == "iid"
        # a filter labels a row without later rows, so the label of a block must not depend on the block itself
        self._predicts = posterior == "filter" and scorer.lagged_rows.data.edges is not None
        self._messages = BlockMessages(self._chain, directory)
        self._exact_messages = BlockMessages(self._chain, directory)  # of the decoder, where the encoder has its own
        self._path = BestPath(checkpoint.model.regimes, directory)

    @classmethod
    def over(
        cls,
        lagged_rows: LaggedRows,
        checkpoint: Checkpoint,
        posterior: Posterior,
        encoder: Encoder | None = None,
        *,
        directory: str | None = None,
        progress: Progress = silent,
        block_rows: int = BLOCK_ROWS,
        evidence_scale: float | None = None,
    ) -> "Inference":
        """Sweep over all rows, so that any block can be labelled afterwards.

        Args:
            lagged_rows: T rows of the model's channels, float64.
            encoder: of the model, for the posterior "encoder" alone.
            directory: of scratch files; None takes TMPDIR. block_rows: it does not change the posterior.
            evidence_scale: what potentials are divided by; None: the model's own.
        """
        needed = scratch_bytes(len(lagged_rows), checkpoint.model.regimes, posterior)
        if needed > MEMORY_BYTES:
            require_free(directory, needed)
        scale = float(checkpoint.parameters.evidence_scale) if evidence_scale is None else evidence_scale
        scorer = RowScorer(lagged_rows, checkpoint, encoder, scale, directory, block_rows)
        inference = cls(scorer, checkpoint, posterior, directory)
        try:
            inference._sweep(progress)
        except BaseException:
            inference.close()
            raise
        return inference

    def close(self) -> None:
        """Free the scratch space."""
        for owner in (self._messages, self._exact_messages, self._path, self._scorer):
            owner.close()

    def blocks(self) -> Iterator[LabelledRows]:
        """Yield all rows of the file in order, labelled; a block has `block_rows` rows of the series."""
        return self._prefetched(self._labelled(index) for index in range(len(self._scorer.ranges)))

    @torch.no_grad()
    def elbo(self) -> float | None:
        """Compute the ELBO of the posterior "encoder", nats, standardised units, in a sweep of its own; else None.

        sum_t sum_k q_t(k) (log p(x_t | h_t, k) - l_t(k)) + log Z(l)
        """
        if self._posterior != "encoder":
            return None
        total = self._log_normaliser
        for index, block in enumerate(self._scored()):
            total += float((self._block_posterior(index, block)[0] * (block.log_likelihoods - block.potentials)).sum())
        return total

    # --- the sweep -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _sweep(self, progress: Progress) -> None:
        """Sum the log-likelihood, and keep messages at the edges of blocks and the best path."""
        stop, total = 0, len(self._scorer.lagged_rows)
        for index, (block, lattice) in enumerate(self._prefetched(self._with_path(self._laid()))):
            if lattice is None:
                marginal = self._row_marginals(block.log_likelihoods).sum()
                normaliser = marginal if self._scorer.encoder is None else self._row_marginals(block.potentials).sum()
            else:
                lattice.exponentiate()
                marginal = normaliser = self._messages.add(lattice)
                if self._posterior == "encoder":
                    exact = self._lattice(index, block, self._scorer.scaled(block.log_likelihoods))
                    exact.exponentiate()
                    marginal = self._exact_messages.add(exact)
            self.log_likelihood += float(marginal)
            self._log_normaliser += float(normaliser)
            self._count(index, block)
            stop += len(block.rows)
            progress("forward", stop, total)
        self._messages.run_backward()
        if self._posterior == "viterbi" and not self._iid_prior:
            self._path.trace_back(self._scorer.ranges)

    def _count(self, index: int, block: ScoredRows) -> None:
        """Add the usable rows of a block to the counts, and their log volume."""
        usable = block.rows.usable
        file_rows = self._scorer.lagged_rows.file_rows(*self._scorer.ranges[index])
        self.usable += int(usable.sum())
        self.usable_rows += int(usable.sum()) if file_rows is None else int(file_rows[usable.cpu().numpy()].sum())
        self.log_volume += float(self._scorer.log_volume(block.rows)[usable].sum())

    def _scored(self) -> Iterator[ScoredRows]:
        """Yield all blocks with their scores."""
        return (self._scorer.score(index) for index in range(len(self._scorer.ranges)))

    def _laid(self) -> Iterator[_Laid]:
        """Yield all blocks with the lattice of their potentials."""
        for index, block in enumerate(self._prefetched(self._scored())):
            yield _Laid(block, None if self._iid_prior else self._lattice(index, block, block.potentials))

    @torch.no_grad()
    def _with_path(self, blocks: Iterator[_Laid]) -> Iterator[_Laid]:
        """Yield the same blocks, after the best path, if it is wanted, was extended by each."""
        for block in blocks:
            if self._posterior == "viterbi" and block.lattice is not None:
                self._path.extend(block.lattice)
            yield block

    def _lattice(self, index: int, block: ScoredRows, scores: Tensor) -> Lattice:
        """Return the lattice of scores (n, K) of a block."""
        return Lattice(scores[None], block.rows.steps, self._chain, None, start=not index)

    def _prefetched(self, blocks: Iterator[Item]) -> Iterator[Item]:
        """Compute each item in a thread while the previous one is used, if there are several blocks."""
        return prefetch(blocks) if len(self._scorer.ranges) > 1 else blocks

    # --- a block by itself ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def _labelled(self, index: int) -> LabelledRows:
        """Label the rows of a block, or where they are blocks themselves the file's rows of these."""
        block = self._scorer.score(index)
        rows = block.rows
        probs, marginals = self._block_posterior(index, block)
        log_likelihood = torch.where(rows.usable, marginals - self._scorer.log_volume(rows), torch.nan)
        if self._posterior == "viterbi" and not self._iid_prior:
            regimes = self._path.read(*self._scorer.ranges[index])
        else:
            regimes = probs.mT.argmax(0).cpu().numpy()
        labelled = LabelledRows(regimes, probs.cpu().numpy(), log_likelihood.cpu().numpy(), rows.steps == 0)
        file_rows = self._scorer.lagged_rows.file_rows(*self._scorer.ranges[index])
        return labelled if file_rows is None else labelled.expanded(file_rows)

    def _block_posterior(self, index: int, block: ScoredRows) -> tuple[Tensor, Tensor]:
        """Return regime probabilities (n, K), and log p(x_t | past) of each row (n,) nats, standardised units."""
        rows, scores, potentials = block
        if self._iid_prior:
            known = torch.zeros_like(potentials) if self._predicts else potentials
            return (self._log_initial + known).log_softmax(-1).exp(), self._row_marginals(scores)
        sweep = self._messages.filter(index, potentials, rows.steps)
        exact = sweep
        if self._posterior == "encoder":
            exact = self._exact_messages.filter(index, self._scorer.scaled(scores), rows.steps)
        marginals = self._chain_marginals(exact, scores)
        if self._predicts:
            return self._messages.predict(index, sweep.filtered_probs[0], rows.steps), marginals
        probs = sweep.filtered_probs[0] if self._posterior == "filter" else self._messages.smooth(index, sweep)
        return probs, marginals

    def _row_marginals(self, scores: Tensor) -> Tensor:
        """Return (n,) log sum_k p(z_t = k) exp(score_tk) of independent rows, nats."""
        return (self._log_initial + scores).logsumexp(-1)

    def _chain_marginals(self, sweep: Forward, log_likelihoods: Tensor) -> Tensor:
        """Return (n,) log sum_k p(z_t = k | past) p(x_t | h_t, k), nats, from a filter of scaled log-likelihoods."""
        marginals = sweep.row_log_likelihoods[0]
        if self._scorer.evidence_scale == 1:
            return marginals
        remainder = (log_likelihoods - self._scorer.scaled(log_likelihoods)).mT
        return unscaled_marginal(marginals, sweep.filtered_probs[0].mT, remainder)
