import numpy as np
import pytest
import recovery

from gmvae_cli.metrics.partition import agreements
from gmvae_cli.selection.consensus import consensus


def blurred(true, regimes, share, rng):
    """The truth under other names, with a share of rows drawn anew."""
    labels = rng.permutation(regimes)[true]
    return np.where(rng.random(len(true)) < share, rng.integers(regimes, size=len(true)), labels)


@pytest.mark.parametrize("regimes", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(4))
def test_labellings_that_err_independently_agree_on_the_truth(seed, regimes):
    """Of 300 such draws k-means misses the best clustering in one, which is none of these."""
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.integers(regimes, size=40), 25)
    true[:regimes] = np.arange(regimes)
    labels = np.stack([blurred(true, regimes, 0.4, rng) for _ in range(15)])
    agreed = consensus(labels, [regimes], regimes, 0).labels(labels)
    assert recovery.ari(true, agreed) > max(0.9, *(recovery.ari(true, labelling) for labelling in labels))


def test_each_labelling_helps_where_it_is_right():
    """Half of them part A from B but not C from D, half the other way round: together they part all four."""
    rng = np.random.default_rng(0)
    true = np.repeat(rng.permutation(np.repeat(np.arange(4), 10)), 50)
    first = [blurred(np.array([0, 1, 2, 2])[true], 4, 0.1, rng) for _ in range(6)]
    second = [blurred(np.array([0, 0, 1, 2])[true], 4, 0.1, rng) for _ in range(6)]
    labels = np.stack(first + second)
    assert max(recovery.ari(true, labelling) for labelling in labels) < 0.8
    assert recovery.ari(true, consensus(labels, [4], 4, 0).labels(labels)) > 0.99


def test_labellings_that_agree_with_none_have_little_say():
    """Four times as many, each with long regimes of its own."""
    rng = np.random.default_rng(2)
    true = np.repeat(rng.integers(3, size=40), 25)
    others = [np.repeat(rng.integers(3, size=20), 50) for _ in range(24)]
    labels = np.stack([blurred(true, 3, 0.2, rng) for _ in range(6)] + others)
    merged = consensus(labels, [3], 3, 0)
    assert recovery.ari(true, merged.labels(labels)) > 0.95
    assert merged.agreed[:6].min() > 0.5 > 0.3 > np.abs(merged.agreed[6:]).max()
    weights = np.square(np.maximum(agreements(labels), 0)).mean(axis=1)
    squares = np.square(np.maximum(merged.agreed, 0))
    assert merged.agreement == pytest.approx(np.sqrt((weights * squares).sum() / weights.sum()))


def test_labellings_that_another_confirms_weigh_more_than_one_that_none_confirms():
    """Two have a regime in every tenth row, a third one halves the rows; counted alike, the halves would part more."""
    row = np.arange(1_000)
    tenth, halves = (row % 10 == 0).astype(int), row // 10 % 2
    merged = consensus(np.stack([tenth, tenth, halves]), [2], 2, 0)
    assert recovery.ari(tenth, merged.labels([tenth, tenth, halves])) == 1


def test_names_of_regimes_do_not_matter_and_rows_not_compared_are_labelled_alike():
    rng = np.random.default_rng(2)
    true = np.repeat(rng.integers(3, size=40), 25)
    labels = np.stack([blurred(true, 3, 0.3, rng) for _ in range(9)])
    renamed = np.stack([rng.permutation(3)[labelling] for labelling in labels])
    every, some = consensus(labels, [3], 3, 0), consensus(renamed[:, ::2], [3], 3, 0)
    assert recovery.ari(every.labels(labels), some.labels(renamed)) > 0.98


def test_the_number_of_regimes_that_most_labellings_fit_is_found():
    """Labellings of 2 to 7 regimes: where they have fewer than the truth, some are one; where more, some are two."""
    rng = np.random.default_rng(3)
    true = np.repeat(rng.permutation(np.repeat(np.arange(4), 15)), 50)
    parts = rng.integers(2, size=len(true) // 25).repeat(25)
    labels = []
    for regimes in range(2, 8):
        for _ in range(4):
            names = rng.permutation(8)
            finer = names[true] + 8 * (parts & (names[true] < regimes - 4))
            coarser = names[true] % regimes
            labels.append(finer if regimes > 4 else coarser)
    labels = np.stack([np.unique(labelling, return_inverse=True)[1] for labelling in labels])
    merged = consensus(labels, range(2, 10), 8, 0)
    assert merged.regimes == 4
    assert recovery.ari(true, merged.labels(labels)) > 0.95


def test_a_regime_that_no_compared_row_has_is_no_obstacle():
    labels = np.zeros((3, 400), int)
    labels[:, 200:] = 1
    labels[0, 7] = 2
    merged = consensus(labels[:, ::2], [2], 3, 1 << 40)
    assert recovery.ari(labels[1], merged.labels(labels)) > 0.98


def test_scales_at_which_nothing_is_seen_have_no_say():
    """At each of eight such scales all windows find the same regimes, which are those of no other scale."""
    rng = np.random.default_rng(4)
    true = np.repeat(rng.integers(2, size=40), 25)
    seen = [blurred(true, 2, 0.2, rng) for _ in range(4)]
    unseen = [np.repeat(rng.integers(2, size=500), 2) for _ in range(8)]
    labels = np.stack(seen + [labelling for labelling in unseen for _ in range(4)])
    scales = np.array([0, 0, 1, 1, *np.repeat(np.arange(2, 10), 4)])
    merged = consensus(labels, [2], 2, 0, scales)
    assert recovery.ari(true, merged.labels(labels)) > 0.7
    assert recovery.ari(true, consensus(labels, [2], 2, 0).labels(labels)) < 0.3
    assert merged.agreement > 0.4


def test_rows_that_a_labelling_does_not_have_are_left_to_the_others():
    rng = np.random.default_rng(5)
    true = np.repeat(rng.integers(3, size=40), 25)
    labels = np.stack([blurred(true, 3, 0.2, rng) for _ in range(9)])
    merged = consensus(labels, [3], 3, 0)
    known = labels.copy()
    known[4:, 300:] = -1
    assert recovery.ari(true[300:], merged.labels(known)[300:]) > 0.9
