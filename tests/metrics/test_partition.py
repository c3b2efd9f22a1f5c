"""Scores against scikit-learn, brute force and examples worked by hand."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import reference
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from labellings import edges, random_labels, spans
from scipy.sparse import csr_array

from gmvae_cli.metrics import change_points, partition

SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_partition_scores_equal_the_formulas_on_counts(seed):
    true, predicted, counts = random_labels(seed)
    expected = {
        "ari": reference.adjusted_rand_index(counts),
        "nmi": reference.normalized_mutual_information(counts),
        "ami": reference.adjusted_mutual_information(counts),
        "v_measure": reference.v_measure(counts),
    }
    result = partition.partition_scores(counts)
    assert result == pytest.approx(expected, abs=1e-9)
    for name, score in (
        ("ari", sklearn.metrics.adjusted_rand_score),
        ("nmi", sklearn.metrics.normalized_mutual_info_score),
        ("ami", sklearn.metrics.adjusted_mutual_info_score),
        ("v_measure", sklearn.metrics.v_measure_score),
    ):
        assert result[name] == pytest.approx(score(true, predicted), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 60), st.integers(1, 5))
def test_agreements_are_those_of_scikit_learn(seed, rows, regimes):
    labels = np.random.default_rng(seed).integers(regimes, size=(4, rows))
    scores = partition.agreements(labels)
    for i, j in itertools.product(range(4), repeat=2):
        sizes = {len(set(labels[i])), len(set(labels[j]))}
        undefined = sizes in ({1}, {rows})
        expected = 0.0 if undefined else sklearn.metrics.adjusted_rand_score(labels[i], labels[j])
        assert scores[i, j] == pytest.approx(expected, abs=1e-15)


def test_adjusted_rand_of_many_tables_is_that_of_each():
    tables = np.random.default_rng(0).integers(0, 9, size=(3, 2, 4, 5))
    scores = partition.adjusted_rand(tables)
    assert scores.shape == (3, 2)
    for index in np.ndindex(3, 2):
        assert scores[index] == partition.adjusted_rand(tables[index])


def test_adjusted_rand_of_a_billion_rows_loses_no_digit():
    """By fractions. Pairs of pairs of rows are beyond 64 bits, and the numerator is a difference of two of them."""
    counts = np.array([[400_000_001, 99_999_999], [399_999_999, 100_000_000]])
    together, true, predicted, pairs = (
        sum(Fraction(int(size)) * (int(size) - 1) / 2 for size in np.ravel(sizes))
        for sizes in (counts, counts.sum(1), counts.sum(0), counts.sum())
    )
    chance = true * predicted / pairs
    expected = float((together - chance) / ((true + predicted) / 2 - chance))
    assert float(partition.adjusted_rand(counts)) == pytest.approx(expected, rel=1e-14, abs=0)


@pytest.mark.parametrize("seed", range(20))
def test_adjusted_rand_of_equal_partitions_of_many_rows_is_exactly_one(seed):
    """Where rounding of numerator and denominator would say 1 - 1e-16 every other time."""
    sizes = np.random.default_rng(seed).integers(1, 10**6, size=3)
    assert partition.adjusted_rand(np.diag(sizes)) == 1


@pytest.mark.parametrize("counts", [[[5]], [[1, 0], [0, 1]]], ids=["one label each", "every row its own label"])
def test_adjusted_rand_is_told_what_nothing_by_nothing_is(counts):
    assert partition.adjusted_rand(np.array(counts)) == 1
    assert partition.adjusted_rand(np.array(counts), undefined=0.0) == 0


@pytest.mark.parametrize("rows", [2, 50, 3000, 200_000])
def test_expected_information_equals_scikit_learn(rows):
    """Also where only part of the sum is taken."""
    generator = np.random.default_rng(rows)
    true, predicted = generator.choice(4, rows, p=[0.7, 0.2, 0.09, 0.01]), generator.integers(3, size=rows)
    counts = partition.contingency(true, predicted, 4, 3)
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    expected = sklearn.metrics.cluster.expected_mutual_information(csr_array(counts), rows)
    assert partition.expected_information(counts.sum(1), counts.sum(0)) == pytest.approx(expected, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_accuracy_equals_the_best_of_all_matchings(seed):
    true, predicted, counts = random_labels(seed)
    size = max(counts.shape)
    best = max(np.mean(np.array(names)[predicted] == true) for names in itertools.permutations(range(size)))
    assert partition.accuracy(counts) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_macro_f1_equals_scikit_learn_on_matched_labels(seed):
    true, predicted, counts = random_labels(seed)
    stands_for = {int(column): label for label, column in enumerate(partition.match_labels(counts)) if column >= 0}
    renamed = np.array([stands_for.get(int(label), 99) for label in predicted])
    expected = sklearn.metrics.f1_score(true, renamed, labels=np.unique(true), average="macro", zero_division=0)
    assert partition.macro_f1(counts) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([[1]], id="one row"),
        pytest.param([[7]], id="one label each"),
        pytest.param(np.eye(4, dtype=int).tolist(), id="every row its own label"),
        pytest.param([[0, 3, 0], [5, 0, 0], [0, 0, 2]], id="equal but for names"),
        pytest.param([[0, 3], [0, 0]], id="labels that never occur"),
    ],
)
def test_equal_partitions_score_one(counts):
    counts = np.array(counts)
    assert partition.accuracy(counts) == partition.macro_f1(counts) == 1
    assert list(partition.partition_scores(counts).values()) == pytest.approx([1] * 4, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("renamed", [False, True])
def test_a_segmentation_with_itself_is_perfect_under_any_names(seed, renamed):
    """Exactly, so that a gate of 1 is met: rounding loses nothing."""
    generator = np.random.default_rng(seed)
    n, K = int(generator.integers(1, 3_000)), int(generator.integers(1, 9))
    true = np.repeat(generator.integers(K, size=n), generator.integers(1, 6, size=n))[:n]
    predicted = generator.permutation(K)[true] if renamed else true
    counts, starts = partition.contingency(true, predicted, K, K), np.union1d([0], generator.integers(n, size=3))
    starting_rows = edges(true, starts), edges(predicted, starts)
    changes = change_points.pooled_change_scores(*starting_rows, starts, n, 0)
    assert partition.partition_scores(counts) == dict.fromkeys(("ari", "nmi", "ami", "v_measure"), 1)
    assert partition.accuracy(counts) == partition.macro_f1(counts) == partition.covering(*starting_rows, n) == 1
    assert (changes.precision, changes.recall, changes.f1, changes.hausdorff) == (1, 1, 1, 0)


def test_one_predicted_label_for_two_true_ones():
    counts = np.array([[6], [4]])
    assert partition.accuracy(counts) == 0.6
    assert partition.macro_f1(counts) == pytest.approx((2 * 6 / (6 + 10) + 0) / 2, abs=1e-12)
    assert partition.partition_scores(counts) == pytest.approx(
        {"ari": 0, "nmi": 0, "ami": 0, "v_measure": 0}, abs=1e-12
    )


def test_match_takes_the_greatest_total_worth_of_any_numbers():
    assert partition.match(np.array([[0.9, 0.8, 0.0], [0.8, 0.1, 0.0], [0.0, 0.0, 0.0]])).tolist() == [1, 0, -1]


def test_matched_confusion_has_the_matches_on_its_diagonal():
    confusion, columns = partition.matched_confusion(np.array([[1, 9, 0, 2], [8, 0, 0, 1]]))
    assert confusion.tolist() == [[9, 1, 0, 2], [0, 8, 0, 1]]
    assert columns.tolist() == [1, 0, 2, 3]


def test_matched_confusion_gives_a_true_label_without_a_match_an_empty_column():
    confusion, columns = partition.matched_confusion(np.array([[3], [9]]))
    assert confusion.tolist() == [[0, 3], [0, 9]]
    assert columns.tolist() == [-1, 0]


def test_covering_worked_by_hand():
    true = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    predicted = np.array([0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    # [0, 4) meets [0, 2): 2/4; [4, 10) meets [2, 10): 6/8
    assert partition.covering(edges(true), edges(predicted), 10) == pytest.approx((4 * 0.5 + 6 * 0.75) / 10, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_covering_equals_all_pairs_of_segments(seed):
    true, predicted, _ = random_labels(seed)
    starts = np.unique([0, len(true) // 3, len(true) // 2])
    total = 0.0
    for a, b in spans(true, set(starts.tolist())):
        overlaps = [
            max(0, min(b, d) - max(a, c)) / (max(b, d) - min(a, c)) for c, d in spans(predicted, set(starts.tolist()))
        ]
        total += (b - a) * max(overlaps)
    assert partition.covering(edges(true, starts), edges(predicted, starts), len(true)) == pytest.approx(
        total / len(true), abs=1e-12
    )


@given(st.integers(0, 10_000), st.permutations(range(6)))
@settings(max_examples=50, deadline=None)
def test_names_of_labels_do_not_matter(seed, names):
    true, predicted, counts = random_labels(seed)
    renamed = partition.contingency(true, np.array(names)[predicted], counts.shape[0], 6)
    for score in (partition.accuracy, partition.macro_f1):
        assert score(renamed) == pytest.approx(score(counts), abs=1e-9)
    assert partition.partition_scores(renamed) == pytest.approx(partition.partition_scores(counts), abs=1e-9)
