"""Scores of change points, the rows where segments start, against the true ones."""

from dataclasses import dataclass

import numpy as np

from gmvae_cli.metrics.partition import Labels


@dataclass(frozen=True, kw_only=True)
class ChangeScores:
    """Scores of predicted change points against the true ones, in one series or pooled by rows over several.

    Args:
        precision, recall, f1: of predicted change points within a tolerance of a true one, 0 to 1.
        hausdorff: rows from the change point that is furthest from all of the other side to the nearest of them.
    """

    precision: float
    recall: float
    f1: float
    hausdorff: float


def change_scores(true: Labels, predicted: Labels, tolerance: int, num_rows: int) -> ChangeScores:
    """Score the change points of one series; each is matched at most once.

    Neither side has a change point: precision, recall and F1 are 1, the distance is 0. Only one has: 0 and `num_rows`.

    Args:
        true, predicted: (C,) sorted rows of change points.
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
    """Average the scores of several series, with the rows of each as its weight; of the distances take the largest.

    Args:
        true_edges, predicted_edges: (S,) first row of every segment, as in `partition.covering`.
        starts: (N,) first row of each series. num_rows: of all series.
    """
    stops = np.append(starts[1:], num_rows)
    true_changes = np.setdiff1d(true_edges, starts)
    predicted_changes = np.setdiff1d(predicted_edges, starts)
    total, farthest = np.zeros(3), 0.0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        scores = change_scores(
            _within(true_changes, start, stop), _within(predicted_changes, start, stop), tolerance, stop - start
        )
        total += (stop - start) * np.array([scores.precision, scores.recall, scores.f1])
        farthest = max(farthest, scores.hausdorff)
    precision, recall, f1 = (total / num_rows).tolist()
    return ChangeScores(precision=precision, recall=recall, f1=f1, hausdorff=farthest)


def _num_matched(true: Labels, predicted: Labels, tolerance: int) -> int:
    """Count the largest one-to-one matching: windows are equally wide, so the earliest free point is best."""
    fewer, more = sorted((true, predicted), key=len)
    earliest = np.searchsorted(more, fewer - tolerance).tolist()
    latest = np.searchsorted(more, fewer + tolerance, side="right").tolist()
    free = hits = 0
    for first, stop in zip(earliest, latest, strict=True):
        candidate = max(first, free)
        if candidate < stop:
            hits += 1
            free = candidate + 1
    return hits


def _nearest(points: Labels, others: Labels) -> Labels:
    """Measure the distance of each point to the nearest of the others: (C,) and (O,), both sorted -> (C,)."""
    after = np.searchsorted(others, points)
    left = np.abs(points - others[np.maximum(after - 1, 0)])
    right = np.abs(others[np.minimum(after, len(others) - 1)] - points)
    nearest: Labels = np.minimum(left, right)
    return nearest


def _within(rows: Labels, start: int, stop: int) -> Labels:
    """Select the rows, sorted (C,), that lie in [start, stop)."""
    first, last = np.searchsorted(rows, [start, stop])
    return rows[first:last]
