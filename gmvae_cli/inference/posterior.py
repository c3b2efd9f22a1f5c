"""Exact inference over a series with a trained model: one sweep over all rows, then any block of rows by itself.

The sweep keeps only messages at the edges of blocks (`block_messages`), so memory stays flat in the number of rows.
Shapes: n rows of a block, K regimes.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import ModelConfig, Posterior
from gmvae_cli.core import Encoder
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.inference.best_path import BestPath
from gmvae_cli.inference.block_labels import BlockLabels
from gmvae_cli.inference.block_messages import Ends
from gmvae_cli.inference.block_posterior import BlockPosterior
from gmvae_cli.inference.file_rows import rows_of_file
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.inference.lasting_path import LastingPath, shortest_blocks
from gmvae_cli.inference.row_novelty import NOVELTY_BYTES, UNKNOWN_BYTES, RowNovelty
from gmvae_cli.inference.scored_rows import BLOCK_ROWS, RowScorer, ScoredRows
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.system.concurrency import prefetch
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.scratch import MEMORY_BYTES, Closing, require_free

Item = TypeVar("Item")


def scratch_bytes(
    rows: int, model: ModelConfig, posterior: Posterior, novelty: bool = False, unknown: bool = False
) -> int:
    """Estimate the scratch space of an inference: messages at edges of blocks, potentials, a best path, novelty."""
    K = model.regimes
    edges = rows * K * (K + 2) * 8 // 200  # a lattice of BLOCK_ROWS rows has blocks of some 300
    has_path = posterior == "viterbi" or model.shortest_visit > 1
    judged = NOVELTY_BYTES * (novelty or unknown) + UNKNOWN_BYTES * unknown
    return edges + rows * (K * (8 * (posterior == "encoder") + has_path) + judged)


class _BlockLattice(NamedTuple):
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

    def __init__(
        self,
        scorer: RowScorer,
        blocks: BlockPosterior,
        path: BestPath | LastingPath | None,
        labels: BlockLabels,
        longest_passage: int,
    ) -> None:
        self.log_likelihood, self.log_volume = 0.0, 0.0
        self.usable = self.usable_rows = 0
        self._log_normaliser = 0.0  # log Z of the potentials
        self._scorer, self._blocks, self._path, self._longest_passage = scorer, blocks, path, longest_passage
        self._labels = labels

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
        ends: Ends = Ends(),
        novelty: bool = False,
        unknown: float | None = None,
    ) -> "Inference":
        """Sweep over all rows, so that any block can be labelled afterwards.

        Args:
            lagged_rows: T rows of the model's channels, float64.
            encoder: of the model, for the posterior "encoder" alone.
            directory: of scratch files; None takes TMPDIR. block_rows: it does not change the posterior.
            evidence_scale: what potentials are divided by; None: the model's own.
            ends: of the rows, where they are a stretch of a longer series.
            novelty, unknown: whether rows have a novelty; level of the stretches that no regime explains.
        """
        model, parameters, device = checkpoint.model, checkpoint.parameters, lagged_rows.device
        is_judged = novelty or unknown is not None
        needed = scratch_bytes(len(lagged_rows), model, posterior, is_judged, unknown is not None)
        if needed > MEMORY_BYTES:
            require_free(directory, needed)
        scale = float(parameters.evidence_scale) if evidence_scale is None else evidence_scale
        chain, iid_prior = Chain(*(part.to(device) for part in parameters.chain)), model.prior == "iid"
        scorer = RowScorer(lagged_rows, checkpoint, encoder, scale, directory, block_rows, ends.carried)
        stands_for_rows = lagged_rows.data.edges is not None
        blocks = BlockPosterior(chain, iid_prior, posterior, stands_for_rows, scale, directory, ends)
        path = _path(lagged_rows, chain, posterior, directory, ends)
        judged = RowNovelty(checkpoint, scorer, blocks, unknown, directory) if is_judged else None
        labels = BlockLabels(checkpoint, scorer, blocks, path, judged)
        inference = cls(scorer, blocks, path, labels, 0 if posterior == "filter" else model.longest_passage)
        try:
            inference._sweep(progress)
            if judged is not None:
                judged.add_all(inference._prefetched(inference._scored()))
        except BaseException:
            inference.close()
            raise
        return inference

    def close(self) -> None:
        """Free the scratch space."""
        self._scorer.close()
        self._blocks.close()
        self._labels.close()
        if self._path is not None:
            self._path.close()

    def blocks(self) -> Iterator[LabelledRows]:
        """Yield all rows of the file in order, labelled, `block_rows` at a time."""
        return rows_of_file(self._series_rows, self._scorer.lagged_rows, self._longest_passage, self._scorer.block_rows)

    def _series_rows(self) -> Iterator[LabelledRows]:
        """Yield all rows of the series, which may be blocks of rows of the file, labelled one by one."""
        return self._prefetched(self._labels.of(index) for index in range(len(self._scorer.ranges)))

    def novelty(self) -> NDArray[np.float64]:
        """Return the novelty (T,) of the rows of the series, if it is asked for; NaN where one is not usable."""
        return np.concatenate([self._labels.novelty(index) for index in range(len(self._scorer.ranges))])

    @torch.no_grad()
    def elbo(self) -> float | None:
        """Compute the ELBO of the posterior "encoder", nats, standardised units, in a sweep of its own; else None.

        sum_t sum_k q_t(k) (log p(x_t | h_t, k) - l_t(k)) + log Z(l)
        """
        if self._scorer.encoder is None:
            return None
        total = self._log_normaliser
        for index, block in enumerate(self._scored()):
            total += float((self._blocks.of(index, block)[0] * (block.log_likelihoods - block.potentials)).sum())
        return total

    # --- the sweep -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _sweep(self, progress: Progress) -> None:
        """Sum the log-likelihood, and keep messages at the edges of blocks and the best path."""
        stop, total = 0, len(self._scorer.lagged_rows)
        for index, (block, lattice) in enumerate(self._prefetched(self._with_path(self._laid()))):
            marginal, normaliser = self._blocks.add(index, block, lattice)
            self.log_likelihood += marginal
            self._log_normaliser += normaliser
            self._count(index, block)
            stop += len(block.rows)
            progress("forward", stop, total)
        self._blocks.run_backward()
        if self._path is not None:
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

    def _laid(self) -> Iterator[_BlockLattice]:
        """Yield all blocks with the lattice of their potentials."""
        for index, block in enumerate(self._prefetched(self._scored())):
            yield _BlockLattice(block, self._blocks.lattice(index, block))

    @torch.no_grad()
    def _with_path(self, blocks: Iterator[_BlockLattice]) -> Iterator[_BlockLattice]:
        """Yield the same blocks, after the best path, if it is wanted, was extended by each."""
        for block in blocks:
            if self._path is not None:
                self._path.extend(*block)
            yield block

    def _prefetched(self, blocks: Iterator[Item]) -> Iterator[Item]:
        """Compute each item in a thread while the previous one is used, if there are several blocks."""
        return prefetch(blocks) if len(self._scorer.ranges) > 1 else blocks


def _path(
    lagged_rows: LaggedRows, chain: Chain, posterior: Posterior, directory: str | None, ends: Ends
) -> BestPath | LastingPath | None:
    """Return the path that labels rows; None where each has its most probable regime."""
    model = lagged_rows.model
    lasting = model.shortest_visit > 1 and posterior != "filter"  # which knows no later row
    if lasting and shortest_blocks(model) > 1:
        return LastingPath(lagged_rows, chain, directory)
    if (lasting or posterior == "viterbi") and model.prior != "iid":
        return BestPath(model.regimes, directory, ends.entry, ends.end)
    return None
