"""Labels of one block of rows: its regimes, their probabilities, and how likely each row was."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.inference.best_path import BestPath
from gmvae_cli.inference.block_posterior import BlockPosterior
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.inference.lasting_path import LastingPath
from gmvae_cli.inference.row_novelty import RowNovelty
from gmvae_cli.inference.scored_rows import RowScorer


class BlockLabels:
    """Labels of any block of a series, once the sweep over all blocks is done.

    Args:
        path: the best path of the series; None: the most probable regime of each row. novelty: None: not asked for.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        scorer: RowScorer,
        blocks: BlockPosterior,
        path: BestPath | LastingPath | None,
        novelty: RowNovelty | None,
    ) -> None:
        self._scorer, self._blocks, self._path, self._novelty = scorer, blocks, path, novelty
        self._merged = checkpoint.merged
        self._merges = bool((self._merged != np.arange(len(self._merged))).any())

    def novelty(self, index: int) -> NDArray[np.float64]:
        """Return the novelty (n,) of the rows of the block `index`, if it is asked for."""
        assert self._novelty is not None
        return self._novelty.of(index)

    def close(self) -> None:
        """Free the scratch space of the novelty."""
        if self._novelty is not None:
            self._novelty.close()

    @torch.no_grad()
    def of(self, index: int) -> LabelledRows:
        """Label the rows of the block `index`."""
        block = self._scorer.score(index)
        rows = block.rows
        probs, marginals = self._blocks.of(index, block)
        log_likelihood = torch.where(rows.usable, marginals - self._scorer.log_volume(rows), torch.nan)
        if self._merges:
            probs = torch.zeros_like(probs).index_add_(1, torch.as_tensor(self._merged, device=probs.device), probs)
        if self._path is not None:
            regimes = self._merged[self._path.read(*self._scorer.ranges[index])]
        else:
            regimes = probs.mT.argmax(0).cpu().numpy()
        labelled = LabelledRows(regimes, probs.cpu().numpy(), log_likelihood.cpu().numpy(), rows.steps == 0)
        if self._novelty is None:
            return labelled
        return replace(labelled, novelty=self._novelty.of(index), unknown=self._novelty.is_unknown(index))
