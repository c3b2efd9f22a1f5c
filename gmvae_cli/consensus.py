"""One labelling out of many of the same rows: the consensus of clusterings that need not name regimes alike.

Rows that most labellings put together belong together. Each row is described by the regimes that all labellings give
it, and these descriptions are clustered; so a labelling that is right about one regime and wrong about another helps
with the one, which none that is chosen as a whole could do.                      [Strehl, Ghosh, 2002; Topchy, 2005]
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.metrics import agreements

_STARTS = 20  # of k-means: with half as many it now and then finds less


class Consensus(NamedTuple):
    """What many labellings agree on.

    Args:
        votes: (C, K, K) what a row's regime in each of C labellings says for each regime of the consensus.
        threshold: (K,) that the sum of votes is compared with.
        agreement: root mean square ARI of the consensus with the labellings.
        agreed: (C,) ARI with each.
    """

    votes: NDArray[np.float64]
    threshold: NDArray[np.float64]
    agreement: float
    agreed: NDArray[np.float64]

    def labels(self, labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The regimes of rows that the labellings, in the order of `consensus`, label so: (C, n) -> (n,)."""
        score: NDArray[np.float64] = -np.repeat(self.threshold[None], labels.shape[1], axis=0)
        for votes, given in zip(self.votes, labels, strict=True):
            score += votes[given]
        best: NDArray[np.int64] = score.argmax(1)
        return best


def consensus(labels: NDArray[np.integer[Any]], regimes: int, seed: int) -> Consensus:
    """Cluster rows by the regimes that all labellings give them.

    The distance of two rows is the weight of the labellings that part them, where each weighs its mean squared ARI with
    all, negative ones taken as 0; k-means finds the clusters.

    Args:
        labels: (C, n) of regimes from 0, of rows enough for their agreement.
        regimes: K, of each labelling and of the consensus.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    C, n = labels.shape
    weights = np.square(np.maximum(agreements(labels), 0)).mean(1)
    indicators = np.eye(regimes)[labels] * np.sqrt(weights)[:, None, None]  # (C, n, K)
    rows = indicators.transpose(1, 0, 2).reshape(n, C * regimes)
    with threadpool_limits(1):  # the order in which threads add up is left to chance
        found = KMeans(regimes, n_init=_STARTS, random_state=seed).fit(rows)
    centres = found.cluster_centers_
    votes = centres.reshape(regimes, C, regimes).transpose(1, 2, 0) * np.sqrt(weights)[:, None, None]
    agreed = agreements(np.concatenate([found.labels_[None], labels]))[0, 1:]
    agreement = float(np.sqrt(np.square(np.maximum(agreed, 0)).mean()))
    return Consensus(votes, np.square(centres).sum(1) / 2, agreement, agreed)
