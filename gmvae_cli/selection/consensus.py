"""Consensus of many labellings of the same rows, whatever numbers they give to regimes.

Each row is described by the regimes that all labellings give it, and these descriptions are clustered: rows that most
labellings put into the same regime end in the same regime. A labelling that is right about one regime but wrong about
another still contributes the first.                                  [Strehl, Ghosh, 2002; Topchy, Jain, Punch, 2005]
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.metrics.partition import agreements

_STARTS = 10  # of k-means, scikit-learn's usual number
_COMPONENTS = 20  # principal components that are clustered; K regimes differ in K - 1 directions; up to 9 are tried


class Consensus(NamedTuple):
    """Labelling of K regimes that agrees with C labellings.

    Args:
        votes: (C, L + 1, K) weight that regime l of labelling c gives to each regime of the consensus; the last of a
            row that the labelling does not have is the mean over the compared rows.
        threshold: (K,) subtracted from the sum of votes; a row gets the regime of the largest difference.
        agreement: root mean square of the adjusted Rand index (ARI) with the labellings, by their weight, negative
            ones taken as 0.
        agreed: (C,) ARI with each labelling.
    """

    votes: NDArray[np.float64]
    threshold: NDArray[np.float64]
    agreement: float
    agreed: NDArray[np.float64]

    @property
    def regimes(self) -> int:
        """K."""
        return len(self.threshold)

    def labels(self, labels: Iterable[NDArray[np.integer[Any]]]) -> NDArray[np.int64]:
        """Return the regimes (n,) of rows with the given C labels (n,), in the order of labellings in `consensus`.

        Args:
            labels: of each labelling, -1 for rows that it does not have.
        """
        score = sum(votes[regimes] for votes, regimes in zip(self.votes, labels, strict=True)) - self.threshold
        best: NDArray[np.int64] = score.argmax(1)
        return best


def consensus(
    labels: NDArray[np.integer[Any]],
    counts: Sequence[int],
    num_labels: int,
    seed: int,
    scales: NDArray[np.integer[Any]] | None = None,
) -> Consensus:
    """Cluster rows by the regimes that all labellings give them, and return the clusters of the best agreement.

    The squared distance of two rows is the weight of the labellings that separate them. A labelling weighs its mean
    squared ARI with the labellings of other scales, or with all where there is one scale; negative ones count as 0. So
    scales at which there is nothing to see have no say, however many there are. k-means on principal components finds
    the clusters.

    Args:
        labels: (C, n) from 0, each labelling with a number of regimes of its own; n rows, enough to compute an ARI.
        counts: numbers of regimes that are tried. num_labels: L, above all labels, also of rows labelled later.
        seed: of the components and of k-means. scales: (C,) at which labellings were found; None: one scale.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    C, n = labels.shape
    seed %= 1 << 32  # the largest that scikit-learn accepts
    weights = _weights(labels, np.zeros(C, np.int64) if scales is None else scales)
    factors = np.sqrt(weights)[:, None, None]
    indicators = np.eye(num_labels, dtype=np.float32)[labels] * factors  # (C, n, L)
    rows = indicators.transpose(1, 0, 2).reshape(n, C * num_labels)
    with threadpool_limits(1), warnings.catch_warnings():  # several threads would add up in a random order
        warnings.simplefilter("ignore", ConvergenceWarning)  # with fewer distinct rows than K some clusters are empty
        components = PCA(min(_COMPONENTS, *rows.shape), svd_solver="randomized", random_state=seed).fit(rows)
        features = components.transform(rows).astype(np.float64)
        clusterings = [KMeans(K, n_init=_STARTS, random_state=seed).fit(features) for K in counts]
    merged = np.stack([clusters.labels_ for clusters in clusterings])
    agreed = agreements(np.concatenate([merged, labels]))[: len(merged), len(merged) :]  # (counts, C)
    agreement = np.sqrt(np.average(np.square(np.maximum(agreed, 0)), axis=1, weights=weights))
    best = int(agreement.argmax())
    centres = clusterings[best].cluster_centers_
    # nearest centre: the largest (row - mean) c_k - |c_k|^2 / 2, a sum over labellings less a threshold
    directions = components.components_.T.astype(np.float64) @ centres.T  # (C L, K)
    directions = directions.reshape(C, num_labels, -1)
    means = components.mean_.reshape(C, num_labels, 1) * directions
    votes = np.concatenate([directions * factors, means.sum(axis=1, keepdims=True)], axis=1)
    threshold = np.square(centres).sum(1) / 2 + means.sum(axis=(0, 1))
    return Consensus(votes, threshold, float(agreement[best]), agreed[best])


def _weights(labels: NDArray[np.integer[Any]], scales: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Compute the weight of each labelling, (C,), as `consensus` says; all weigh 1 where none agrees with another."""
    squares = np.square(np.maximum(agreements(labels), 0))
    counted = scales[:, None] != scales if len(np.unique(scales)) > 1 else np.ones_like(squares)
    weights = (squares * counted).sum(1) / counted.sum(1)
    return weights if weights.any() else np.ones_like(weights)
