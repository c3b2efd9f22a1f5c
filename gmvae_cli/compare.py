"""Models of different sizes against one another: held-out likelihood in blocks, BIC, agreement of restarts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.fit import fit_closed
from gmvae_cli.polish import ClosedForm, Model
from gmvae_cli.progress import silent
from gmvae_cli.recording import Recording
from gmvae_cli.windows import Rows, Windows

BLOCKS = 10
_FOLDS = 5
_RESTARTS = 3  # whole runs whose labels are compared


@dataclass(frozen=True)
class Scored:
    """What one candidate reached.

    Args:
        block_scores: (B,) nats a row of each held-out block, by a model that did not see it.
        bic: of a model that saw all rows. free: its free parameters.
        agreement: mean ARI between the labels of restarts; 1 with one regime. smallest_share: of rows, of one of them.
    """

    model: ModelConfig
    block_scores: NDArray[np.float64]
    bic: float
    free: int
    agreement: float
    smallest_share: float


def score(recording: Recording, model: ModelConfig, gap: int, restarts: int, seed: int) -> Scored:
    """Fit a candidate on all blocks but some, five times, and on all rows, three times.

    Args:
        gap: rows between what is trained on and what is scored, the longest context of all candidates.
    """
    config = TrainConfig(model=model, restarts=restarts)
    mean = recording.mean if model.intercept else np.zeros_like(recording.mean)
    windows = Windows(recording, model, mean, recording.scale)
    D = len(mean)
    edges = np.linspace(0, len(windows), BLOCKS + 1).astype(int)
    block_scores = np.empty(BLOCKS)
    for fold in range(_FOLDS):
        held = range(fold, BLOCKS, _FOLDS)
        sample = windows.pieces(_between(edges, held, gap))
        fitted = fit_closed(sample, config, D, seed, silent)
        closed = ClosedForm.over(sample, model, D, None)
        for block in held:
            rows = windows.rows(min(edges[block] + gap, edges[block + 1] - 1), edges[block + 1])
            block_scores[block] = float(closed.score(Rows.joined([rows]), fitted[None])[0])
    return Scored(model, block_scores, *_whole(windows, config, seed))


def _between(edges: NDArray[np.int64], held: Sequence[int], gap: int) -> list[tuple[int, int]]:
    """What lies between held-out blocks, less the gap behind each."""
    found, start = [], 0
    for block in held:
        if start < edges[block]:
            found.append((start, int(edges[block])))
        start = int(edges[block + 1]) + gap
    return found + ([(start, int(edges[-1]))] if start < edges[-1] else [])


def _whole(windows: Windows, config: TrainConfig, seed: int) -> tuple[float, int, float, float]:
    """BIC, free parameters, agreement and smallest share of models that saw all rows."""
    rows = windows.rows(0, len(windows))
    closed = ClosedForm.over(rows, config.model, len(windows.mean), None)
    best, labels, most = None, [], -np.inf
    for restart in range(_RESTARTS):
        model = fit_closed(rows, config, len(windows.mean), seed + restart, silent)
        labels.append(closed.labels(rows, model))
        reached = float(closed.score(rows, model[None])[0])
        if reached > most:
            best, most, chosen = model, reached, labels[-1]
    assert isinstance(best, Model)
    evidence, free = int(rows.mask.sum()), Parameters.of(best.emission, best.chain, config.model).free
    agreement = np.mean([adjusted_rand_score(a, b) for a, b in combinations(labels, 2)])
    share = np.bincount(chosen, minlength=config.model.regimes).min() / len(chosen)
    return free * np.log(evidence) - 2 * most * evidence, free, float(agreement), float(share)


def choose(
    block_scores: NDArray[np.float64], free: Sequence[int]
) -> tuple[int, int, NDArray[np.float64], NDArray[np.float64]]:
    """The smallest candidate within one standard error of the best.            [the rule of Breiman et al. 1984, 3.4.3]

    Args:
        block_scores: (candidates, B) nats a row. free: parameters of each candidate.
    Returns:
        chosen, best, (candidates,) mean difference to the best, and its standard error over paired blocks.
    """
    best = int(block_scores.mean(1).argmax())
    differences = block_scores[best] - block_scores
    mean = differences.mean(1)
    error = differences.std(1, ddof=1) / np.sqrt(block_scores.shape[1])
    near = [index for index in range(len(free)) if mean[index] <= error[index]]
    return min(near, key=lambda index: (free[index], index)), best, mean, error
