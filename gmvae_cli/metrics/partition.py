"""Scores of labels against the truth, from counts of label pairs and from the rows where segments start."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ChangeScores:
    """How well predicted change points meet the true ones, in one series or pooled by rows over several."""

    precision: float
    recall: float
    f1: float
    hausdorff: float


def contingency(true: Labels, predicted: Labels, num_true: int, num_predicted: int) -> Labels:
    """Rows with true label i and predicted label j.  (num_true, num_predicted)"""
    cells = np.bincount(true * num_predicted + predicted, minlength=num_true * num_predicted)
    return cells.reshape(num_true, num_predicted)


def match(utility: Array) -> Labels:
    """The column that each row is matched with, -1 for none: the one-to-one matching of the greatest total worth.

    A pair that is worth nothing is no match.                                      [Kuhn 1955, the Hungarian method]
    """
    from scipy.optimize import linear_sum_assignment

    matched = np.full(utility.shape[0], -1)
    for row, column in zip(*linear_sum_assignment(utility, maximize=True), strict=True):
        if utility[row, column] > 0:
            matched[row] = column
    return matched


def match_labels(counts: Labels) -> Labels:
    """The predicted label that stands for each true one, -1 for none, so that most rows agree.  (num_true,)

    Among equally good matchings the best by macro F1, so that no score depends on the order of labels.
    """
    sizes = counts.sum(axis=1)[:, None] + counts.sum(axis=0)
    f1 = 2 * counts / np.maximum(sizes, 1)
    return match(counts * (1.0 + min(counts.shape)) + f1)  # all F1 together weigh less than one row


def accuracy(counts: Labels) -> float:
    """Share of rows that agree under the best matching."""
    return float(_agreed(counts, match_labels(counts)).sum() / counts.sum())


def macro_f1(counts: Labels) -> float:
    """Mean over true labels of the F1 of the label that stands for it; 0 for one that has none."""
    matched = match_labels(counts)
    sizes = counts.sum(axis=1) + np.where(matched >= 0, counts.sum(axis=0)[matched], 0)
    present = counts.sum(axis=1) > 0
    return float((2 * _agreed(counts, matched)[present] / sizes[present]).mean())


def partition_scores(counts: Labels) -> dict[str, float]:
    """ARI, NMI, AMI and V-measure of two labellings, as scikit-learn defines them for labels (averages arithmetic).

    Names of labels do not matter. Two labellings that are the same partition score 1, trivial ones too. NMI and the
    V-measure are one number.

    Args:
        counts: as `contingency` gives them, of one row at least.
    """
    from sklearn.metrics import mutual_info_score

    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    if (counts > 0).sum(0).max() == (counts > 0).sum(1).max() == 1:  # equal but for names
        return dict.fromkeys(("ari", "nmi", "ami", "v_measure"), 1.0)  # which a gate of 1 must not miss by rounding
    information = float(mutual_info_score(None, None, contingency=counts))
    entropy = (_entropy(counts.sum(1)) + _entropy(counts.sum(0))) / 2
    nmi = information / entropy if entropy else 1.0
    return {"ari": _adjusted_rand(counts), "nmi": nmi, "ami": _adjusted(information, entropy, counts), "v_measure": nmi}


def _entropy(sizes: Labels) -> float:
    shares = sizes / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def _adjusted_rand(counts: Labels) -> float:
    """Agreement on pairs of rows, less what chance gives.  [Hubert and Arabie 1985, eq. 5]"""
    together, in_true, in_predicted, pairs = (
        sum(size * (size - 1) // 2 for size in sizes.ravel().tolist())
        for sizes in (counts, counts.sum(1), counts.sum(0), counts.sum())
    )
    if in_true == in_predicted == together:
        return 1.0
    # whole numbers up to here, so that many rows cost no digit
    return (together * pairs - in_true * in_predicted) / ((in_true + in_predicted) * pairs / 2 - in_true * in_predicted)


def _adjusted(information: float, entropy: float, counts: Labels) -> float:
    """Mutual information less what chance gives, over the most that is possible.  [Vinh, Epps and Bailey 2010]"""
    if min(counts.shape) == 1:
        return float(counts.shape == (1, 1))
    expected = expected_information(counts.sum(1), counts.sum(0))
    room, gain = entropy - expected, information - expected
    # every row a label of its own leaves no room, and rounding would decide
    return 1.0 if room < 1e-12 else gain / room


def expected_information(true_sizes: Labels, predicted_sizes: Labels) -> float:
    """The mutual information of two labellings with labels of these sizes, in the mean over all orders of rows, nats.

    sum_ij E[n/N log(N n / (a_i b_j))] with n hypergeometric (Vinh, Epps and Bailey 2010, eq. 24a), summed over the
    n within 12 standard deviations of the mean: memory grows with the square root of the rows.
    """
    from scipy.special import gammaln

    N, b = int(true_sizes.sum()), predicted_sizes
    total = 0.0
    for a in true_sizes.tolist():
        mean = a * b / N
        width = 12 * np.sqrt(mean * (N - a) * (N - b) / max(N * (N - 1), 1)) + 24
        first = np.maximum(np.floor(mean - width), np.maximum(0, a + b - N)).astype(np.int64)
        last = np.minimum(np.ceil(mean + width), np.minimum(a, b)).astype(np.int64)
        n = first[:, None] + np.arange((last - first).max() + 1)
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


def matched_confusion(counts: Labels) -> tuple[Labels, Labels]:
    """The counts with predicted labels in the order of the true ones they stand for, and which label each column is.

    A true label without a match has a column of zeros, named -1; predicted labels without one come last.
    """
    matched = match_labels(counts)
    others = np.setdiff1d(np.arange(counts.shape[1]), matched)
    columns = np.concatenate([matched, others])
    return np.where(columns >= 0, counts[:, columns], 0), columns


def covering(true_edges: Labels, predicted_edges: Labels, num_rows: int) -> float:
    """Mean over true segments of the best overlap with a predicted one.  [van den Burg and Williams 2020, eq. 9]

    Overlap is intersection over union; segments weigh by their rows.

    Args:
        true_edges, predicted_edges: first row of every segment, of all series one after the other; both have every
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


def change_scores(true: Labels, predicted: Labels, tolerance: int, num_rows: int) -> ChangeScores:
    """Precision, recall and F1 of change points of one series, within a tolerance, and their Hausdorff distance.

    Every change point is matched at most once. Neither has one: 1, 1, 1 and 0 rows. Only one has: 0, 0, 0, `num_rows`.

    Args:
        true, predicted: sorted rows of change points.
        tolerance: rows that a match may be apart.
    """
    if len(true) == len(predicted) == 0:
        return ChangeScores(precision=1.0, recall=1.0, f1=1.0, hausdorff=0.0)
    if len(true) == 0 or len(predicted) == 0:
        return ChangeScores(precision=0.0, recall=0.0, f1=0.0, hausdorff=float(num_rows))
    hits = _num_matched(true, predicted, tolerance)
    return ChangeScores(
        precision=hits / len(predicted),
        recall=hits / len(true),
        f1=2 * hits / (len(predicted) + len(true)),
        hausdorff=float(max(_nearest(true, predicted).max(), _nearest(predicted, true).max())),
    )


def pooled_change_scores(
    true_edges: Labels, predicted_edges: Labels, starts: Labels, num_rows: int, tolerance: int
) -> ChangeScores:
    """The scores of each series, averaged with its rows as weight.

    Args:
        true_edges, predicted_edges: as in `covering`. starts: first row of each series.
    """
    n = num_rows
    stops = np.append(starts[1:], n)
    true_changes = np.setdiff1d(true_edges, starts)
    predicted_changes = np.setdiff1d(predicted_edges, starts)
    total = np.zeros(4)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        one = change_scores(
            _within(true_changes, start, stop), _within(predicted_changes, start, stop), tolerance, stop - start
        )
        total += (stop - start) * np.array([one.precision, one.recall, one.f1, one.hausdorff])
    precision, recall, f1, hausdorff = (total / n).tolist()
    return ChangeScores(precision=precision, recall=recall, f1=f1, hausdorff=hausdorff)


def _agreed(counts: Labels, matched: Labels) -> Labels:
    return np.where(matched >= 0, counts[np.arange(len(matched)), matched], 0)


def _num_matched(true: Labels, predicted: Labels, tolerance: int) -> int:
    """Size of the largest one-to-one matching: windows are equally wide, so the earliest that is free is best."""
    few, many = sorted((true, predicted), key=len)
    earliest = np.searchsorted(many, few - tolerance).tolist()
    latest = np.searchsorted(many, few + tolerance, side="right").tolist()
    free = hits = 0
    for first, stop in zip(earliest, latest, strict=True):
        candidate = max(first, free)
        if candidate < stop:
            hits += 1
            free = candidate + 1
    return hits


def _nearest(points: Labels, others: Labels) -> Labels:
    """Distance of each point to the nearest of the others."""
    after = np.searchsorted(others, points)
    left = np.abs(points - others[np.maximum(after - 1, 0)])
    right = np.abs(others[np.minimum(after, len(others) - 1)] - points)
    nearest: Labels = np.minimum(left, right)
    return nearest


def _within(rows: Labels, start: int, stop: int) -> Labels:
    first, last = np.searchsorted(rows, [start, stop])
    return rows[first:last] - start


def agreements(labels: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """ARI of every pair of labellings: (N, n) of regimes from 0 -> (N, N); 0 where both have one label alone.

    All pairs at once, from one product of indicator matrices.                     [Hubert, Arabie, 1985, Eq. 5]
    """
    N, n = labels.shape
    K = int(labels.max()) + 1
    indicators = (labels[:, None] == np.arange(K)[:, None]).astype(np.float32).reshape(N * K, n)
    shared = (indicators @ indicators.T).astype(np.float64).reshape(N, K, N, K)
    sizes = indicators.sum(1, dtype=np.float64).reshape(N, K)
    together = (shared * (shared - 1) / 2).sum((1, 3))
    pairs = (sizes * (sizes - 1) / 2).sum(1)
    expected = pairs[:, None] * pairs / (n * (n - 1) / 2)
    most = 0.5 * (pairs[:, None] + pairs)
    room = most - expected
    return np.where(room > 1e-9, (together - expected) / np.maximum(room, 1e-9), 0.0)
