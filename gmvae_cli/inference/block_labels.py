"""Labels of one block of rows: its regimes, their probabilities, and how likely each row was."""

import numpy as np
import torch

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.inference.best_path import BestPath
from gmvae_cli.inference.block_posterior import BlockPosterior
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.inference.lasting_path import LastingPath
from gmvae_cli.inference.scored_rows import RowScorer


class BlockLabels:
    """Labels of any block of a series, once the sweep over all blocks is done.

    Args:
        path: the best path of the series; None: the most probable regime of each row.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        scorer: RowScorer,
        blocks: BlockPosterior,
        path: BestPath | LastingPath | None,
    ) -> None:
        self._scorer, self._blocks, self._path = scorer, blocks, path
        self._merged = checkpoint.merged
        self._merges = bool((self._merged != np.arange(len(self._merged))).any())

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
        return LabelledRows(regimes, probs.cpu().numpy(), log_likelihood.cpu().numpy(), rows.steps == 0)
