import numpy as np
import pytest
import recovery
from hypothesis import given, settings
from hypothesis import strategies as st

from gmvae_cli.consensus import consensus


def blurred(true, regimes, share, rng):
    """The truth under other names, with a share of rows drawn anew."""
    labels = rng.permutation(regimes)[true]
    return np.where(rng.random(len(true)) < share, rng.integers(regimes, size=len(true)), labels)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 6))
def test_labellings_that_err_independently_agree_on_the_truth(seed, regimes):
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.integers(regimes, size=40), 25)
    true[:regimes] = np.arange(regimes)
    labels = np.stack([blurred(true, regimes, 0.4, rng) for _ in range(15)])
    found = consensus(labels, regimes, 0).labels(labels)
    assert recovery.ari(true, found) > max(0.9, *(recovery.ari(true, one) for one in labels))


def test_each_labelling_helps_where_it_is_right():
    """Half of them part A from B but not C from D, half the other way round: together they part all four."""
    rng = np.random.default_rng(0)
    true = np.repeat(rng.permutation(np.repeat(np.arange(4), 10)), 50)
    first = [blurred(np.array([0, 1, 2, 2])[true], 4, 0.1, rng) for _ in range(6)]
    second = [blurred(np.array([0, 0, 1, 2])[true], 4, 0.1, rng) for _ in range(6)]
    labels = np.stack(first + second)
    assert max(recovery.ari(true, one) for one in labels) < 0.8
    assert recovery.ari(true, consensus(labels, 4, 0).labels(labels)) > 0.99


def test_labellings_that_agree_with_none_have_no_say():
    rng = np.random.default_rng(1)
    true = np.repeat(rng.integers(3, size=40), 25)
    noise = [rng.integers(3, size=1_000) for _ in range(12)]
    labels = np.stack([blurred(true, 3, 0.2, rng) for _ in range(4)] + noise)
    found = consensus(labels, 3, 0)
    assert recovery.ari(true, found.labels(labels)) > 0.9
    assert found.agreed[:4].min() > 0.5 > 0.1 > np.abs(found.agreed[4:]).max()
    assert found.agreement == pytest.approx(np.sqrt(np.square(np.maximum(found.agreed, 0)).mean()))


def test_names_of_regimes_do_not_matter_and_rows_not_compared_are_labelled_alike():
    rng = np.random.default_rng(2)
    true = np.repeat(rng.integers(3, size=40), 25)
    labels = np.stack([blurred(true, 3, 0.3, rng) for _ in range(9)])
    renamed = np.stack([rng.permutation(3)[one] for one in labels])
    every, some = consensus(labels, 3, 0), consensus(renamed[:, ::2], 3, 0)
    assert recovery.ari(every.labels(labels), some.labels(renamed)) > 0.98
