"""Held-out discrimination: how well blocks that were not seen are given their labels, by means of those that were."""

import numpy as np
from numpy.typing import NDArray

_FOLDS = 4  # contiguous parts of each visit, each held out in turn; chosen, not measured


def discrimination(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Compute the F1 of held-out blocks, averaged over regimes, less 1 / K, about what chance gives.

    A block goes to the regime of the nearest mean. Each visit is held out in contiguous parts, because a block
    is like its neighbours whatever its regime: a division of one regime that changes slowly scores low.
                                                                     [after CLaP, Ermshaus, Schaefer and Leser 2025]

    Args:
        features: (B, F) in which noise has the same variance in each direction. labels: (B,) from 0.
    """
    regimes = int(labels.max()) + 1
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1, [len(labels)]])
    lengths = np.diff(cuts)
    fold = _FOLDS * (np.arange(len(labels)) - np.repeat(cuts[:-1], lengths)) // np.repeat(lengths, lengths)
    predicted = labels.copy()
    for part in range(_FOLDS):
        held_out = fold == part
        distances = np.full((np.count_nonzero(held_out), regimes), np.inf)
        for regime in range(regimes):
            seen = ~held_out & (labels == regime)
            if seen.any():
                distances[:, regime] = np.square(features[held_out] - features[seen].mean(axis=0)).sum(axis=1)
        predicted[held_out] = distances.argmin(axis=1)
    right = np.bincount(labels[labels == predicted], minlength=regimes)
    sizes = np.bincount(labels, minlength=regimes) + np.bincount(predicted, minlength=regimes)
    return float((2 * right / np.maximum(sizes, 1)).mean() - 1 / regimes)
