"""Fixed-lag smoothing: rows that wait for later ones of their series, and what those say of them."""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.block_filter import BlockFilter
from gmvae_cli.filtering.row_filter import Labels, RowFilter

Array = NDArray[np.float64]

_CEILING = 1e250  # of backward messages, as in `model.forward_backward`
_TINY = float(np.finfo(np.float64).tiny)


class Waiting(NamedTuple):
    """A labelled row that waits for later ones.

    Args:
        order: number of its line in the feed. text: its own cells, as they will be written. steps: as in `row_filter`.
        is_unknown: whether no regime explains it.
    """

    order: int
    text: str
    labels: Labels
    steps: int
    is_unknown: bool


def smoothed(rows: deque[Waiting], chain: RowFilter | BlockFilter) -> Array:
    """Compute (K,) p(z = k | all rows) of the first of some rows of a series.

    beta_t-1(i) = sum_j A_ij e_t(j) beta_t(j), scaled to product one with the filtered law of its row
    """
    beta = np.ones_like(rows[0].labels.law)
    for index in range(len(rows) - 1, 0, -1):
        row = rows[index]
        evidence = row.labels.likelihoods
        beta = chain.matrix(row.steps).dot(beta if evidence is None else beta * evidence)
        beta = beta / beta.max()
        law = rows[index - 1].labels.law
        beta = np.minimum(beta / max(float(law.dot(beta)), _TINY), _CEILING)
    joint: Array = rows[0].labels.law * beta
    probs: Array = joint / joint.sum()
    return probs
