"""Scores of change points against the largest matching and examples worked by hand."""

import numpy as np
import pytest
from labellings import change_rows, edges, random_labels
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from gmvae_cli.metrics import change_points


@pytest.mark.parametrize("tolerance", [0, 1, 3, 10])
@pytest.mark.parametrize("seed", range(20))
def test_change_scores_equal_the_largest_matching(seed, tolerance):
    true, predicted, _ = random_labels(seed)
    true_changes, predicted_changes = change_rows(true), change_rows(predicted)
    scores = change_points.change_scores(
        np.array(true_changes, int), np.array(predicted_changes, int), tolerance, num_rows=len(true)
    )
    if not true_changes or not predicted_changes:
        neither = not true_changes and not predicted_changes
        assert (scores.precision, scores.recall, scores.f1) == ((1, 1, 1) if neither else (0, 0, 0))
        assert scores.hausdorff == (0 if neither else len(true))
        return
    distance = np.abs(np.subtract.outer(true_changes, predicted_changes))
    hits = int((maximum_bipartite_matching(csr_array(distance <= tolerance)) >= 0).sum())
    precision, recall = hits / len(predicted_changes), hits / len(true_changes)
    assert scores.precision == pytest.approx(precision, abs=1e-12)
    assert scores.recall == pytest.approx(recall, abs=1e-12)
    harmonic = 2 * precision * recall / (precision + recall) if hits else 0.0
    assert scores.f1 == pytest.approx(harmonic, abs=1e-12)
    assert scores.hausdorff == max(distance.min(axis=0).max(), distance.min(axis=1).max())


def test_a_true_change_is_matched_once():
    scores = change_points.change_scores(np.array([50]), np.array([48, 50, 52]), tolerance=5, num_rows=100)
    assert (scores.precision, scores.recall, scores.f1, scores.hausdorff) == (1 / 3, 1.0, 0.5, 2.0)


def test_change_scores_of_series_are_pooled_by_rows():
    true = np.array([0, 0, 1, 1] + [0] * 12)
    predicted = np.array([0, 0, 1, 1] + [0] * 6 + [1] * 6)
    starts = np.array([0, 4])
    scores = change_points.pooled_change_scores(edges(true, starts), edges(predicted, starts), starts, 16, tolerance=0)
    assert (scores.precision, scores.recall, scores.f1) == (0.25, 0.25, 0.25)
    assert scores.hausdorff == 12, "the largest of the series, not their mean"
