"""Scores of a labelling against the true one, from counts of label pairs and from the rows where segments start.

Counts are contingency tables: n_ij rows have the true label i and the predicted label j. The names of labels never
matter. Every score is 1 where both labellings are the same partition; ARI and AMI are 0 on average by chance.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]
Array = NDArray[np.float64]

_DEVIATIONS, _TERMS = 12, 24  # each side of the mean; in 4,000 random tables of up to 1e7 rows 2e-33 lay beyond


def contingency(true: Labels, predicted: Labels, num_true: int, num_predicted: int) -> Labels:
    """Count the rows with true label i and predicted label j: two of (n,) -> (num_true, num_predicted)."""
    cells = np.bincount(true * num_predicted + predicted, minlength=num_true * num_predicted)
    return cells.reshape(num_true, num_predicted)


# --- matched labels --------------------------------------------------------------------------------------------------


def match(utility: Array) -> Labels:
    """Match rows with columns one to one so that the total utility is greatest.      [Kuhn 1955, the Hungarian method]

    Args:
        utility: (L, K). A pair of utility 0 or less is no match.
    Returns:
        (L,) the column of each row, -1 for none.
    """
    from scipy.optimize import linear_sum_assignment

    matched = np.full(utility.shape[0], -1)
    for row, column in zip(*linear_sum_assignment(utility, maximize=True), strict=True):
        if utility[row, column] > 0:
            matched[row] = column
    return matched


def match_labels(counts: Labels) -> Labels:
    """Match each true label with a predicted one so that most rows agree: counts (L, K) -> (L,), -1 for none.

    Among equally good matchings the best by macro F1, so that no score depends on the order of labels.
    """
    sizes = counts.sum(axis=1)[:, None] + counts.sum(axis=0)
    f1 = 2 * counts / np.maximum(sizes, 1)
    return match(counts * (1.0 + min(counts.shape)) + f1)  # all F1 together weigh less than one row


def accuracy(counts: Labels) -> float:
    """Compute the share of rows that agree under the best matching, from counts (L, K)."""
    return float(_agreed(counts, match_labels(counts)).sum() / counts.sum())


def macro_f1(counts: Labels) -> float:
    """Average the F1 of each true label with its match over true labels, from counts (L, K); 0 without a match."""
    matched = match_labels(counts)
    sizes = counts.sum(axis=1) + np.where(matched >= 0, counts.sum(axis=0)[matched], 0)
    present = counts.sum(axis=1) > 0
    return float((2 * _agreed(counts, matched)[present] / sizes[present]).mean())


def matched_confusion(counts: Labels) -> tuple[Labels, Labels]:
    """Put the matched pairs of labels on the diagonal of the counts.

    Returns:
        (L, C) the counts with predicted labels in the order of the true ones that they are matched with, then those
        without a match; and (C,) the predicted label of each column, -1 for the column of zeros of a true label that
        has no match.
    """
    matched = match_labels(counts)
    others = np.setdiff1d(np.arange(counts.shape[1]), matched)
    columns = np.concatenate([matched, others])
    return np.where(columns >= 0, counts[:, columns], 0), columns


def _agreed(counts: Labels, matched: Labels) -> Labels:
    return np.where(matched >= 0, counts[np.arange(len(matched)), matched], 0)


# --- pairs of rows ---------------------------------------------------------------------------------------------------


def adjusted_rand(counts: Labels, undefined: float = 1.0) -> Array:
    """Compute the ARI of each of many tables of counts: agreement on pairs of rows, less what chance gives.

    ARI = (S - A B / N) / ((A + B) / 2 - A B / N)                                     [Hubert and Arabie 1985, Eq. 5]

    with S the pairs of rows together in both labellings, A and B those together in either one, and N all pairs of rows.
    It is computed in whole numbers of any size up to the division, so that many rows cost no digit.

    Args:
        counts: (..., L, K) int64, of at most 3e9 rows each.
        undefined: the value of 0 / 0, where both have one label alone or give each row a label of its own.
    Returns:
        (...) at most 1.
    """
    together, in_true, in_predicted, pairs = (
        np.asarray(sizes * (sizes - 1) // 2).sum(axes).astype(object)  # the integers of Python never overflow
        for sizes, axes in (
            (counts, (-2, -1)),
            (counts.sum(-1), -1),
            (counts.sum(-2), -1),
            (counts.sum((-2, -1), keepdims=True), (-2, -1)),
        )
    )
    chance = in_true * in_predicted
    possible = np.asarray((in_true + in_predicted) * pairs / 2 - chance)
    ratio = (together * pairs - chance) / np.where(possible == 0, 1.0, possible).astype(object)
    equal = (in_true == together) & (in_predicted == together)
    return np.where(possible == 0, undefined, np.where(equal, 1.0, ratio)).astype(np.float64)


def agreements(labels: Labels) -> Array:
    """Compute the ARI of every pair of N labellings of n rows; 0 where both have a single label, which says nothing.

    All pairs at once, from one product of indicator matrices.

    Args:
        labels: (N, n) regimes from 0.
    Returns:
        (N, N).
    """
    N, n = labels.shape
    K = int(labels.max()) + 1
    indicators = (labels[:, None] == np.arange(K)[:, None]).astype(np.float32).reshape(N * K, n)
    counts = (indicators @ indicators.T).reshape(N, K, N, K).transpose(0, 2, 1, 3)  # (N, N, K, K)
    return adjusted_rand(counts.astype(np.int64), undefined=0.0)


# --- information -----------------------------------------------------------------------------------------------------


def partition_scores(counts: Labels) -> dict[str, float]:
    """Compute ARI, NMI, AMI and V-measure of two labellings, as scikit-learn defines them (averages arithmetic).

    Two labellings that are the same partition score 1, trivial ones too. NMI and the V-measure are one number.

    Args:
        counts: (L, K), of one row at least.
    """
    from sklearn.metrics import mutual_info_score

    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    if (counts > 0).sum(0).max() == (counts > 0).sum(1).max() == 1:  # equal but for names
        return dict.fromkeys(("ari", "nmi", "ami", "v_measure"), 1.0)  # which a gate of 1 must not miss by rounding
    information = float(mutual_info_score(None, None, contingency=counts))
    entropy = (_entropy(counts.sum(1)) + _entropy(counts.sum(0))) / 2
    nmi = information / entropy if entropy else 1.0
    ami = _adjusted_information(information, entropy, counts)
    return {"ari": float(adjusted_rand(counts)), "nmi": nmi, "ami": ami, "v_measure": nmi}


def _entropy(sizes: Labels) -> float:
    """Compute the entropy of labels of these sizes (L,), nats."""
    shares = sizes / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def _adjusted_information(information: float, entropy: float, counts: Labels) -> float:
    """Compute AMI = (I - E[I]) / (H - E[I]) of labellings that differ.                  [Vinh, Epps and Bailey 2010]

    Args:
        information: I, mutual information. entropy: H, mean entropy. counts: (L, K) without empty labels.
    """
    if min(counts.shape) == 1:  # one label alone: I and E[I] are 0 but for rounding
        return 0.0
    expected = expected_information(counts.sum(1), counts.sum(0))
    return (information - expected) / (entropy - expected)


def expected_information(true_sizes: Labels, predicted_sizes: Labels) -> float:
    """Average the mutual information of labellings with labels of these sizes over all orders of rows, nats.

    sum_ij E[n/N log(N n / (a_i b_j))] with n hypergeometric (Vinh, Epps and Bailey 2010, eq. 24a), summed over the
    n within 12 standard deviations of the mean: memory grows with the square root of the rows.

    Args:
        true_sizes: (L,) a_i, rows of each true label. predicted_sizes: (K,) b_j. Both sum to N; none is 0.
    """
    from scipy.special import gammaln

    N, b = int(true_sizes.sum()), predicted_sizes
    total = 0.0
    for a in true_sizes.tolist():
        mean = a * b / N  # (K,)
        width = _DEVIATIONS * np.sqrt(mean * (N - a) * (N - b) / max(N * (N - 1), 1)) + _TERMS
        first = np.maximum(np.floor(mean - width), np.maximum(0, a + b - N)).astype(np.int64)
        last = np.minimum(np.ceil(mean + width), np.minimum(a, b)).astype(np.int64)
        n = first[:, None] + np.arange((last - first).max() + 1)  # (K, terms)
        inside = n <= last[:, None]
        n = np.minimum(n, last[:, None])
        b_column = b[:, None]
        log_mass = -(
            gammaln(n + 1) + gammaln(a - n + 1) + gammaln(b_column - n + 1) + gammaln(N - a - b_column + n + 1)
        )
        mass = np.where(inside, np.exp(log_mass - log_mass.max(1, keepdims=True)), 0)
        utility = n / N * np.log(np.maximum(n, 1) * (N / a) / b_column)
        total += float(((mass * utility).sum(1) / mass.sum(1)).sum())
    return total


# --- segments --------------------------------------------------------------------------------------------------------


def covering(true_edges: Labels, predicted_edges: Labels, num_rows: int) -> float:
    """Average the best overlap of each true segment with a predicted one. [van den Burg and Williams 2020, eq. 9]

    Overlap is intersection over union; segments weigh by their rows.

    Args:
        true_edges, predicted_edges: (S,) first row of every segment, of all series one after the other; both have every
            first row of a series, so that no segment crosses one.
    """
    n = num_rows
    pieces = np.union1d(true_edges, predicted_edges)  # every piece is one true segment cut with one predicted segment
    rows = np.diff(pieces, append=n)
    true_rows, predicted_rows = np.diff(true_edges, append=n), np.diff(predicted_edges, append=n)
    of_true = np.searchsorted(true_edges, pieces, side="right") - 1
    of_predicted = np.searchsorted(predicted_edges, pieces, side="right") - 1
    overlap = rows / (true_rows[of_true] + predicted_rows[of_predicted] - rows)
    best = np.zeros(len(true_edges))
    np.maximum.at(best, of_true, overlap)
    return float((best * true_rows).sum() / n)
