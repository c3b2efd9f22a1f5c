from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_checkpoint, random_data

from gmvae_cli.data.known_labels import KnownLabels
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.inference import apply
from gmvae_cli.inference.labelled_rows import LabelledRows, held_to_known, in_portions, with_passages_joined
from gmvae_cli.metrics.passages import labelled_by
from gmvae_cli.model.chain import Chain

NAMES = ("regimes", "probs", "log_likelihood", "starts")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), st.data())
def test_portions_are_the_rows_of_the_blocks(T, block_rows, draws):
    checkpoint, data = random_checkpoint(6), random_data(6, T)
    with apply.infer(data, checkpoint, "smooth", block_rows=block_rows) as inferred:
        whole = LabelledRows.joined(list(inferred.blocks()))
        take = in_portions(inferred.blocks())
        start = 0
        while start < T:
            count = draws.draw(st.integers(1, T - start))
            part = take(count)
            for name in NAMES:
                np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start : start + count])
            start += count
    assert np.array_equal(whole.starts, data.read(0, T)[1] == 0)


def test_rows_of_a_block_get_its_label_and_share_its_log_likelihood():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    blocks = LabelledRows(np.array([0, 1, 0]), probs, np.array([6.0, np.nan, 1.0]), np.array([True, False, True]))
    rows = blocks.expanded(np.array([3, 1, 2]))
    assert rows.regimes.tolist() == [0, 0, 0, 1, 0, 0]
    assert rows.probs.tolist() == probs[[0, 0, 0, 1, 2, 2]].tolist()
    np.testing.assert_array_equal(rows.log_likelihood, [2, 2, 2, np.nan, 0.5, 0.5])
    assert rows.starts.tolist() == [True, False, False, False, True, False]


@given(st.integers(1, 200), st.integers(1, 3), st.integers(0, 1000), st.data())
def test_passages_are_joined_whatever_the_blocks(n, longest, seed, draws):
    rng = np.random.default_rng(seed)
    lengths = rng.choice([1, 2, 3, 9], size=n)
    labels = np.repeat(rng.integers(3, size=n), lengths)[:n]
    probs = rng.random((n, 3))
    rows = LabelledRows(labels, probs, rng.random(n), np.r_[True, rng.random(n - 1) < 0.02])
    source = labelled_by(labels, rows.starts, longest)
    cuts = sorted(draws.draw(st.lists(st.integers(0, n), max_size=8)))
    parts = (rows.rows(a, b) for a, b in pairwise([0, *cuts, n]) if a < b)
    joined = LabelledRows.joined(list(with_passages_joined(parts, longest)))
    np.testing.assert_array_equal(joined.regimes, labels[source])
    np.testing.assert_array_equal(joined.probs, probs[source])
    np.testing.assert_array_equal(joined.log_likelihood, rows.log_likelihood)
    np.testing.assert_array_equal(joined.starts, rows.starts)


def test_a_model_that_joins_passages_differs_in_these_rows_alone():
    """Whatever the blocks of inference; the filter knows no later row."""
    checkpoint = random_checkpoint(5, K=3, D=2)
    often = torch.full((3, 3), 1 / 3, dtype=torch.float64)  # of changes, so that there are passages
    checkpoint = replace(checkpoint, parameters=replace(checkpoint.parameters, chain=Chain(often[0], often)))
    joining = replace(checkpoint, model=replace(checkpoint.model, join_passages=True))
    data = SeriesData.from_arrays(2 * np.random.default_rng(0).normal(size=(400, 2)))
    for posterior in ("smooth", "viterbi"):
        before, after = (labelled(one, data, posterior) for one in (checkpoint, joining))
        source = labelled_by(before.regimes, before.starts, 1)
        assert (source != np.arange(len(source))).any()
        np.testing.assert_array_equal(after.regimes, before.regimes[source])
        np.testing.assert_array_equal(after.probs, before.probs[source])
    before, after = (labelled(one, data, "filter") for one in (checkpoint, joining))
    np.testing.assert_array_equal(before.regimes, after.regimes)


def labelled(checkpoint, data, posterior):
    with apply.infer(data, checkpoint, posterior, block_rows=7) as inferred:
        return LabelledRows.joined(list(inferred.blocks()))


def test_known_rows_keep_their_regime_whatever_their_block_says():
    known = KnownLabels.from_array(np.array([-1, 0, -1, 1, 1, -1]), ["a", "b"])
    rows = LabelledRows(np.zeros(6, np.int64), np.full((6, 3), 1 / 3), np.arange(6.0), np.zeros(6, np.bool_))
    blocks = [rows.rows(0, 4), rows.rows(4, 6)]
    found = LabelledRows.joined(list(held_to_known(blocks, known, np.array([2, 1]))))
    assert found.regimes.tolist() == [0, 2, 0, 1, 1, 0]
    assert found.probs[[1, 3, 4]].tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert (found.probs[[0, 2, 5]] == 1 / 3).all()
    assert found.log_likelihood.tolist() == rows.log_likelihood.tolist()
