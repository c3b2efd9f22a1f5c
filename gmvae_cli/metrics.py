"""Scores of labels against the truth: counts first, then every score from the counts; change points per series."""

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


def match(worth: Array) -> Labels:
    """The column that each row is matched with, -1 for none: the one-to-one matching of the greatest total worth.

    A pair that is worth nothing is no match.                                      [Kuhn 1955, the Hungarian method]
    """
    from scipy.optimize import linear_sum_assignment

    matched = np.full(worth.shape[0], -1)
    for row, column in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
        if worth[row, column] > 0:
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


def adjusted_rand_index(counts: Labels) -> float:
    """Agreement on pairs of rows, 0 by chance, 1 for equal partitions, trivial ones too.  [Hubert and Arabie 1985]"""
    n = int(counts.sum())
    both = _pairs(counts)
    true, predicted = _pairs(counts.sum(axis=1)), _pairs(counts.sum(axis=0))
    expected = true * predicted / max(_pairs(np.array([n])), 1)
    largest = (true + predicted) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def normalized_mutual_information(counts: Labels) -> float:
    """MI / mean of the two entropies; 1 where both have one label, 0 where one has."""
    mean = (_entropy(counts.sum(axis=1)) + _entropy(counts.sum(axis=0))) / 2
    return 1.0 if mean == 0 else min(1.0, _mutual_information(counts) / mean)


def adjusted_mutual_information(counts: Labels) -> float:
    """(MI - E MI) / (mean entropy - E MI), 0 by chance; E over all of the same sizes.  [Vinh, Epps, Bailey 2010]"""
    true, predicted = counts.sum(axis=1), counts.sum(axis=0)
    if np.count_nonzero(true) == np.count_nonzero(predicted) == 1:
        return 1.0
    mean = (_entropy(true) + _entropy(predicted)) / 2
    expected = _expected_mutual_information(true[true > 0], predicted[predicted > 0])
    room = mean - expected
    if abs(room) < np.finfo(float).eps:  # all rows differ: chance cannot do worse
        return 1.0
    return min(1.0, (_mutual_information(counts) - expected) / room)


def v_measure(counts: Labels) -> float:
    """Harmonic mean of homogeneity, MI / H(true), and completeness, MI / H(predicted); 1 where that entropy is 0."""
    information = _mutual_information(counts)
    true, predicted = _entropy(counts.sum(axis=1)), _entropy(counts.sum(axis=0))
    homogeneity = 1.0 if true == 0 else information / true
    completeness = 1.0 if predicted == 0 else information / predicted
    total = homogeneity + completeness
    return 0.0 if total == 0 else min(1.0, 2 * homogeneity * completeness / total)


def matched_confusion(counts: Labels) -> tuple[Labels, Labels]:
    """The counts with predicted labels in the order of the true ones they stand for, and which label each column is.

    A true label without a match has a column of zeros, named -1; predicted labels without one come last.
    """
    matched = match_labels(counts)
    others = np.setdiff1d(np.arange(counts.shape[1]), matched)
    columns = np.concatenate([matched, others])
    return np.where(columns >= 0, counts[:, columns], 0), columns


def change_points(labels: Labels) -> Labels:
    """Rows where a segment other than the first starts."""
    return np.flatnonzero(labels[1:] != labels[:-1]) + 1


def covering(true: Labels, predicted: Labels, starts: Labels) -> float:
    """Mean over true segments of the best overlap with a predicted one.  [van den Burg and Williams 2020, eq. 9]

    Overlap is intersection over union; segments weigh by their rows.

    Args:
        true, predicted: (n,) labels of all series, one after the other.
        starts: the first row of each series; no segment crosses one.
    """
    n = len(true)
    true_edges = np.union1d(change_points(true), starts)
    predicted_edges = np.union1d(change_points(predicted), starts)
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


def pooled_change_scores(true: Labels, predicted: Labels, starts: Labels, tolerance: int) -> ChangeScores:
    """The scores of each series, averaged with its rows as weight; arguments as in `covering`."""
    n = len(true)
    stops = np.append(starts[1:], n)
    true_changes = np.setdiff1d(change_points(true), starts)
    predicted_changes = np.setdiff1d(change_points(predicted), starts)
    total = np.zeros(4)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        one = change_scores(
            _within(true_changes, start, stop), _within(predicted_changes, start, stop), tolerance, stop - start
        )
        total += (stop - start) / n * np.array([one.precision, one.recall, one.f1, one.hausdorff])
    precision, recall, f1, hausdorff = total.tolist()
    return ChangeScores(precision=precision, recall=recall, f1=f1, hausdorff=hausdorff)


def _agreed(counts: Labels, matched: Labels) -> Labels:
    return np.where(matched >= 0, counts[np.arange(len(matched)), matched], 0)


def _pairs(sizes: Labels) -> int:
    return sum(size * (size - 1) // 2 for size in sizes.ravel().tolist())  # integers of Python: they never overflow


def _entropy(sizes: Labels) -> float:
    probs = sizes[sizes > 0] / sizes.sum()
    return max(0.0, float(-(probs * np.log(probs)).sum())) if len(probs) > 1 else 0.0


def _mutual_information(counts: Labels) -> float:
    n = counts.sum()
    expected = np.outer(counts.sum(axis=1) / n, counts.sum(axis=0) / n)
    present = counts > 0
    joint = counts[present] / n
    return max(0.0, float((joint * np.log(joint / expected[present])).sum()))


def _expected_mutual_information(true: Labels, predicted: Labels) -> float:
    """E MI for partitions with these sizes: n_ij is hypergeometric, summed to 30 standard deviations from its mean."""
    from scipy.special import gammaln

    n = int(true.sum())

    def log_choose(top: int, bottom: Array | int) -> Array:
        """Log of the binomial coefficient."""
        chosen: Array = gammaln(top + 1.0) - gammaln(bottom + 1.0) - gammaln(top - bottom + 1.0)
        return chosen

    total = 0.0
    for a in true.tolist():
        for b in predicted.tolist():
            mean = a * b / n
            reach = 30 * (mean * (1 - a / n) * (1 - b / n)) ** 0.5 + 30
            lowest, highest = max(1, a + b - n, int(mean - reach)), min(a, b, int(mean + reach) + 1)
            both = np.arange(lowest, highest + 1, dtype=np.float64)
            log_probs = log_choose(a, both) + log_choose(n - a, b - both) - log_choose(n, b)
            total += float((both / n * np.log(n * both / (a * b)) * np.exp(log_probs)).sum())
    return total


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
