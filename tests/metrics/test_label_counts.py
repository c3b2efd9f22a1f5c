"""Labels counted block by block: codes, the table of pairs, and where segments begin."""

import numpy as np
import pytest

from gmvae_cli.metrics.label_counts import LabelCoder, LabelCounts


def test_codes_follow_appearance_and_no_label_is_minus_one():
    coder = LabelCoder(["b"])
    assert coder.encode(["a", "b"], np.array([0, 1, -1, 0])).tolist() == [1, 0, -1, 1]
    assert coder.encode(["c", "a"], np.array([0, 1])).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [(["10", "9", "-1"], ["-1", "9", "10"]), (["10", "9", "x"], ["10", "9", "x"])],
    ids=["numbers by value", "text by letter"],
)
def test_labels_are_listed_in_order(labels, ordered):
    codes, names = LabelCoder(labels).in_order()
    assert names == ordered
    assert [labels[code] for code in codes] == ordered


def test_rows_without_a_true_label_close_up():
    """Rows 0 0 - 0 1 of one series and 1 1 of the next: the gap parts no segment, the new series does."""
    counts = LabelCounts(["p", "q"])
    true = [counts.true.encode(["a", "b"], np.array(rows)) for rows in ([0, 0, -1], [0, 1, 1, 1])]
    predicted = [np.array([0, 0, 1]), np.array([0, 1, 1, 1])]
    series = [np.array([5, 5, 5]), np.array([5, 5, 3, 3])]
    for block in zip(true, predicted, series, strict=True):
        counts.add(*block)
    assert (counts.rows, counts.labelled) == (7, 6)
    assert counts.table.tolist() == [[3, 0], [0, 3]]
    true_starts, predicted_starts, series_starts = (starts.tolist() for starts in counts.starts())
    assert true_starts == predicted_starts == [0, 3, 4]
    assert series_starts == [0, 4]


def test_a_series_that_comes_back_is_another_one():
    counts = LabelCounts(["p"])
    codes = counts.true.encode(["a"], np.zeros(4, int))
    counts.add(codes, np.zeros(4, int), np.array([0, 1, 1, 0]))
    assert counts.starts()[2].tolist() == [0, 1, 3]
