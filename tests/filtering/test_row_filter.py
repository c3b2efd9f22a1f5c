"""Row by row the filter says what inference over the whole series says, which shares no code with it."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch
from filtering.models import KINDS, as_filter, block_model, random_model, random_rows
from random_models import collected

from gmvae_cli.data.block_features import feature_names
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.filtering.block_filter import BlockFilter
from gmvae_cli.filtering.fixed_lag import Waiting, smoothed
from gmvae_cli.filtering.row_filter import RowFilter
from gmvae_cli.filtering.row_novelty import UnknownRows
from gmvae_cli.inference import apply

ROWS = 150


def one_by_one(rows, values, steps, cuts=()):
    """Labels of rows taken one by one; at the cuts the memory goes through what a state file holds."""
    memory, labels = rows.new_memory(), []
    for row, (value, step) in enumerate(zip(values.tolist(), steps.tolist(), strict=True)):
        if row in cuts:
            memory = rows.from_json(rows.to_json(memory))
        labels.append(rows.step(memory, value, step))
    return labels


def arrays(labels):
    laws = np.array([label.law for label in labels])
    log_likelihoods = [np.nan if label.log_likelihood is None else label.log_likelihood for label in labels]
    return laws, np.array(log_likelihoods)


@pytest.mark.parametrize("kind", KINDS)
def test_the_filter_equals_that_of_whole_series_and_goes_on_from_any_cut(kind, tmp_path):
    checkpoint = random_model(3, **KINDS[kind])
    values, steps = random_rows(1, ROWS, len(checkpoint.channels))
    _, probs, log_likelihood, *_ = collected(SeriesData.from_arrays(values, steps), checkpoint, "filter", 64)
    rows = RowFilter(as_filter(checkpoint, tmp_path))
    laws, likelihoods = arrays(one_by_one(rows, values, steps))
    np.testing.assert_allclose(laws, probs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(likelihoods, log_likelihood, rtol=1e-9, atol=1e-9)
    assert 0 < np.isnan(log_likelihood).sum() < ROWS
    cut_laws, cut_likelihoods = arrays(one_by_one(rows, values, steps, cuts={1, 2, 5, 6, 40, 41, 42, 99}))
    np.testing.assert_array_equal(cut_laws, laws)
    np.testing.assert_array_equal(cut_likelihoods, likelihoods)


@pytest.mark.parametrize("seed", range(4))
def test_values_that_are_far_off_or_huge_say_the_same(seed, tmp_path):
    checkpoint = random_model(seed, P=1, noise=("normal", "student")[seed % 2])
    values, steps = random_rows(seed, ROWS, 2)
    values[30:33] *= 1e4
    values[60, 0], values[61, 1], values[80] = 1e149, -1e140, 3e80
    _, probs, log_likelihood, *_ = collected(SeriesData.from_arrays(values, steps), checkpoint, "filter", 64)
    laws, likelihoods = arrays(one_by_one(RowFilter(as_filter(checkpoint, tmp_path)), values, steps))
    np.testing.assert_allclose(laws, probs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(likelihoods, log_likelihood, rtol=1e-9)


@pytest.mark.parametrize("kind", ["one lag", "one channel", "Student noise", "independent rows", "an evidence scale"])
def test_novelty_equals_that_of_whole_series(kind, tmp_path):
    checkpoint = random_model(5, **KINDS[kind])
    tail = {"novelty_tail": [[1.0, 1.3], [2.0, 3.0]]}
    checkpoint = replace(checkpoint, training=checkpoint.training | tail)
    values, steps = random_rows(2, ROWS, len(checkpoint.channels))
    with apply.infer(SeriesData.from_arrays(values, steps), checkpoint, "filter", novelty=True) as inferred:
        expected = np.concatenate([block.novelty for block in inferred.blocks()])
    labels = one_by_one(RowFilter(as_filter(checkpoint, tmp_path), novelty=True), values, steps)
    found = np.array([np.nan if label.novelty is None else label.novelty for label in labels])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert np.nanmax(expected) > 2


@pytest.mark.parametrize("kind", ["one lag", "a stride", "Student noise, a stride and a scale", "independent rows"])
@pytest.mark.parametrize("lag", [1, 7])
def test_a_fixed_lag_is_the_smoothing_of_the_series_cut_so_many_rows_later(kind, lag, tmp_path):
    checkpoint = random_model(4, **KINDS[kind])
    values, steps = random_rows(6, 60, len(checkpoint.channels))
    rows = RowFilter(as_filter(checkpoint, tmp_path))
    labels = one_by_one(rows, values, steps)
    waiting = [Waiting(0, "", label, step, False) for label, step in zip(labels, steps.tolist(), strict=True)]
    for row in range(60 - lag):
        stop = row + lag + 1
        cut = SeriesData.from_arrays(values[:stop], steps[:stop])
        probs = collected(cut, checkpoint, "smooth", 64)[1]
        np.testing.assert_allclose(smoothed(deque(waiting[row:stop]), rows), probs[row], rtol=0, atol=1e-9)


def test_a_fixed_lag_survives_regimes_that_all_but_exclude_each_other(tmp_path):
    checkpoint = random_model(0, K=2, D=1)
    emission = replace(checkpoint.parameters.emission, scale_tril=torch.full((2, 1, 1), 1e-6, dtype=torch.float64))
    checkpoint = replace(checkpoint, parameters=replace(checkpoint.parameters, emission=emission))
    values, steps = random_rows(0, 40, 1)
    rows = RowFilter(as_filter(checkpoint, tmp_path))
    labels = one_by_one(rows, values, steps)
    waiting = deque(Waiting(0, "", label, step, False) for label, step in zip(labels, steps.tolist(), strict=True))
    probs = collected(SeriesData.from_arrays(values, steps), checkpoint, "smooth", 64)[1]
    np.testing.assert_allclose(smoothed(waiting, rows), probs[0], rtol=0, atol=1e-9)


# --- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{}, {"P": 2, "noise": "student"}, {"prior": "iid"}, {"scale": 4.0}])
def test_rows_of_blocks_are_labelled_from_the_blocks_before(kind, tmp_path):
    checkpoint = block_model(2, 10, **kind)
    assert checkpoint.modelled == feature_names(("x0", "x1"))
    rng = np.random.default_rng(4)
    values = rng.normal(size=(400, 2)).cumsum(0) * 0.3
    values[rng.random((400, 2)) < 0.2] = np.nan
    values[52:58] = np.nan  # of a block more than half
    steps = rng.choice([1, 7], size=400, p=[0.97, 0.03])
    steps[[0, 200]] = 0  # a break, at the end of a block
    with apply.infer(SeriesData.from_arrays(values, steps), checkpoint, "filter", novelty=True) as inferred:
        parts = list(inferred.blocks())
    names = ("probs", "log_likelihood", "novelty")
    probs, shares, novelty = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    rows = BlockFilter(as_filter(checkpoint, tmp_path), novelty=True)
    labels = one_by_one(rows, values, steps)
    laws, likelihoods = arrays(labels)
    np.testing.assert_allclose(laws, probs, rtol=0, atol=1e-9)
    last = np.arange(9, 400, 10)  # rows of blocks, which tell their likelihood and novelty
    np.testing.assert_allclose(likelihoods[last], shares[last], rtol=1e-9)
    assert np.isnan(np.delete(likelihoods, last)).all()
    found = np.array([np.nan if label.novelty is None else label.novelty for label in labels])
    np.testing.assert_allclose(found[last], novelty[last], rtol=1e-8, atol=1e-9)
    cut_laws, cut_likelihoods = arrays(one_by_one(rows, values, steps, cuts={1, 9, 10, 15, 203, 399}))
    np.testing.assert_array_equal(cut_laws, laws)
    np.testing.assert_array_equal(cut_likelihoods, likelihoods)


# --- rows of no regime -----------------------------------------------------------------------------------------------


def unknown_rows(novelties, fewest=3, level=6.0):
    judge, state, found = UnknownRows(level, fewest), (0.0, 0), []
    for row, novelty in enumerate(novelties):
        state = judge.step(state, novelty, int(row > 0))
        found.append(judge.is_unknown(state))
    return found


def test_a_stretch_is_unknown_from_its_third_row_on_and_a_single_row_is_not():
    assert unknown_rows([0.3] * 5 + [20.0] + [0.3] * 5) == [False] * 11
    found = unknown_rows([0.3] * 5 + [20.0] * 6 + [0.3] * 6)
    assert found == [False] * 7 + [True] * 4 + [False] * 6


def test_rows_without_evidence_inside_a_stretch_belong_to_it():
    assert unknown_rows([0.3, 20.0, 20.0, None, None, 20.0])[-3:] == [True] * 3
    assert not any(unknown_rows([None] * 20))
