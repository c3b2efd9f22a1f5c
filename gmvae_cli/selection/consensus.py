"""One labelling out of many of the same rows: the consensus of clusterings that need not name regimes alike.

Rows that most labellings put together belong together. Each row is described by the regimes that all labellings give
it, and these descriptions are clustered; so a labelling that is right about one regime and wrong about another helps
with the one, which none that is chosen as a whole could do.          [Strehl, Ghosh, 2002; Topchy, Jain, Punch, 2005]
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.metrics.partition import agreements

_STARTS = 10  # of k-means
_COMPONENTS = 20  # principal ones, of what the labellings say, that clustering looks at


class Consensus(NamedTuple):
    """What many labellings agree on.

    Args:
        votes: (C, L, K) what each of up to L regimes of C labellings says for each of K regimes of the consensus.
        threshold: (K,) that the sum of votes is compared with.
        agreement: root mean square ARI of the consensus with the labellings.
        agreed: (C,) ARI with each.
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
        """The regimes of rows that the C labellings, in the order of `consensus`, label so: C of (n,) -> (n,)."""
        score = sum(votes[given] for votes, given in zip(self.votes, labels, strict=True)) - self.threshold
        best: NDArray[np.int64] = score.argmax(1)
        return best


def consensus(labels: NDArray[np.integer[Any]], counts: Sequence[int], most: int, seed: int) -> Consensus:
    """Cluster rows by the regimes that all labellings give them; of several numbers of clusters the best.

    The distance of two rows is the weight of the labellings that part them, where each weighs its mean squared ARI with
    all, negative ones taken as 0; k-means finds the clusters. Best is the consensus of the largest agreement.

    Args:
        labels: (C, n) of regimes from 0; of rows enough for their agreement, and each with regimes of its own number.
        counts: numbers of regimes that the consensus may have.
        most: L, regimes that a labelling has at most, here or in rows that are labelled later.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    C, n = labels.shape
    seed %= 1 << 32  # all that scikit-learn takes
    weights = np.square(np.maximum(agreements(labels), 0)).mean(1)[:, None, None]
    indicators = np.eye(most, dtype=np.float32)[labels] * np.sqrt(weights)  # (C, n, L)
    rows = indicators.transpose(1, 0, 2).reshape(n, C * most)
    with threadpool_limits(1), warnings.catch_warnings():  # the order in which threads add up is left to chance
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer rows that differ than regimes: some stay empty
        components = PCA(min(_COMPONENTS, *rows.shape), svd_solver="randomized", random_state=seed).fit(rows)
        seen = components.transform(rows).astype(np.float64)
        found = [KMeans(K, n_init=_STARTS, random_state=seed).fit(seen) for K in counts]
    merged = np.stack([one.labels_ for one in found])
    agreed = agreements(np.concatenate([merged, labels]))[: len(found), len(found) :]
    agreement = np.sqrt(np.square(np.maximum(agreed, 0)).mean(1))
    best = int(agreement.argmax())
    centres = found[best].cluster_centers_
    directions = components.components_.T.astype(np.float64) @ centres.T  # (C L, K)
    votes = directions.reshape(C, most, -1) * np.sqrt(weights)
    threshold = np.square(centres).sum(1) / 2 + components.mean_ @ directions
    return Consensus(votes, threshold, float(agreement[best]), agreed[best])
