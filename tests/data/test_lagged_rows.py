from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmvae_cli.config import ModelConfig
from gmvae_cli.data.block_features import block_features
from gmvae_cli.data.lagged_rows import SAMPLED_ROWS, LaggedRows, Rows, quartile_standard
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.model.ar_density import Emission, log_likelihoods


def lagged_rows(values, steps=None, **model):
    data = SeriesData.from_arrays(np.asarray(values, float), steps)
    D = data.rows and np.asarray(values).shape[1]
    return LaggedRows(data, ModelConfig(**model), np.zeros(D), np.ones(D), torch.float64)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(1, 3), st.integers(1, 70), st.integers(0, 10_000))
def test_rows_are_the_same_for_every_block_size(T, lags, stride, block_rows, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(T, 2))
    values[rng.random(T) < 0.1, 0] = np.nan
    steps = rng.choice([0, 1, 1, 1, 1, 1, 4], size=T)
    steps[0] = 0
    source = lagged_rows(values, steps, lags=lags, stride=stride)
    whole = source.rows(0, T)
    cut = list(source.blocks(block_rows))
    assert torch.equal(torch.cat([rows.y for rows in cut], 1), whole.y)
    assert torch.equal(torch.cat([rows.usable for rows in cut]), whole.usable)
    assert torch.equal(torch.cat([rows.observed for rows in cut], 1), whole.observed)
    assert np.array_equal(np.concatenate([rows.steps for rows in cut]), whole.steps)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10_000))
def test_a_row_is_usable_only_with_all_its_lags_in_one_stretch(T, lags, stride, seed):
    """Row by row, from the definition."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(T, 2))
    values[rng.random((T, 2)) < 0.15] = np.nan
    steps = rng.choice([0, 1, 1, 1, 1, 1, 4], size=T)
    steps[0] = 0
    rows = lagged_rows(values, steps, lags=lags, stride=stride).rows(0, T)
    for t in range(T):
        lagged = [t - p * stride for p in range(lags + 1)]
        fully_observed = lagged[-1] >= 0 and all(steps[u] == 1 for u in range(lagged[-1] + 1, t + 1))
        fully_observed = fully_observed and not any(np.isnan(values[u]).any() for u in lagged[1:])
        assert bool(rows.usable[t]) == (fully_observed and not np.isnan(values[t]).all())
        assert bool(rows.fully_observed[t]) == (fully_observed and not np.isnan(values[t]).any())
        assert rows.observed[:, t].tolist() == (~np.isnan(values[t])).tolist()
        if rows.usable[t]:
            assert rows.y[:, t].tolist() == [v for u in lagged for v in np.nan_to_num(values[u])] + [1.0]


def test_rows_are_standardised():
    data = SeriesData.from_arrays(np.array([[1.0, 10], [3, 30], [5, 50]]))
    source = LaggedRows(data, ModelConfig(), data.mean, data.scale, torch.float64)
    assert source.rows(1, 3).y[0].tolist() == pytest.approx([0, np.sqrt(1.5)])


def test_joined_stretches_restart_the_chain():
    source = lagged_rows(np.arange(20.0)[:, None])
    pieces = source.pieces([(2, 5), (10, 13)])
    assert pieces.steps.tolist() == [0, 1, 1, 0, 1, 1]
    assert pieces.y[0].tolist() == [2, 3, 4, 10, 11, 12]
    assert bool(pieces.usable.all())
    assert len(pieces.rows(1, 4)) == 3
    assert isinstance(pieces.rows(1, 4), Rows)


@pytest.mark.parametrize("rows", [1_000, SAMPLED_ROWS + 5_000])
def test_outliers_hardly_move_the_quartile_standard(rows):
    """The median and 1 / 1.349 of the range between quartiles, on a long file of a sample."""
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, size=(rows, 3))
    values[::50, 0] = 1e12
    values[rng.random(rows) < 0.3, 1] = np.nan
    values[:, 2] = np.where(rng.random(rows) < 0.1, values[:, 2], 7.0)  # mostly the same
    with SeriesData.from_arrays(values) as data:
        mean, scale = quartile_standard(data)
        np.testing.assert_allclose(mean[:2], 5, atol=0.3)
        np.testing.assert_allclose(scale[:2], 2, atol=0.3)
        assert (mean[2], scale[2]) == (data.mean[2], data.scale[2])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 50), st.sampled_from(["normal", "student"]))
def test_ranges_read_in_blocks_are_the_pieces_in_memory(seed, block_rows, noise):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(200, 2))
    values[rng.random(200) < 0.1, 0] = np.nan
    steps = rng.choice([0, 1, 1, 1, 1, 1, 4], size=200)
    steps[0] = 0
    source = lagged_rows(values, steps, lags=2, noise=noise)
    edges = np.sort(rng.choice(201, size=6, replace=False)).reshape(3, 2).tolist()
    ranges = [(start, stop) for start, stop in edges]
    whole, view = source.pieces(ranges), replace(source, ranges=ranges)
    assert len(view) == len(whole) == sum(stop - start for start, stop in ranges)
    cut = list(view.blocks(block_rows))
    for name in ("y", "usable", "observed"):
        assert torch.equal(torch.cat([getattr(rows, name) for rows in cut], -1), getattr(whole, name)), name
    assert np.concatenate([rows.steps for rows in cut]).tolist() == whole.steps.tolist()
    assert whole.steps[np.cumsum([0, *(stop - start for start, stop in ranges[:-1])])].tolist() == [0, 0, 0]
    if noise == "student":
        weights = torch.as_tensor(rng.normal(size=(3, 2, 5)) * 0.4)
        emission = Emission(weights, torch.eye(2).double().expand(3, 2, 2), torch.tensor([3.0]).double())
        scores = [log_likelihoods(rows.y, emission, rows.partial, rows.lag_index) for rows in [whole, *cut]]
        np.testing.assert_allclose(torch.cat(scores[1:], -1)[:, whole.usable], scores[0][:, whole.usable], atol=1e-9)


def test_a_range_leaves_the_series_as_it_is():
    source = lagged_rows(np.arange(20.0)[:, None])
    replace(source, ranges=[(5, 9), (12, 15)]).rows(0, 7)
    assert source.data.read(0, 20)[1].tolist() == [0] + [1] * 19


def test_rows_of_blocks_know_how_many_rows_of_the_file_they_are():
    data = block_features(SeriesData.from_arrays(np.arange(11.0)[:, None]), 3, np.ones(1))
    source = LaggedRows(data, ModelConfig(), data.mean, data.scale)
    assert source.file_rows(0, 4).tolist() == [3, 3, 3, 2]
    assert source.file_rows(1, 3).tolist() == [3, 3]
    assert replace(source, ranges=[(0, 1), (2, 4)]).file_rows(1, 3).tolist() == [3, 2]
    assert lagged_rows(np.arange(5.0)[:, None]).file_rows(0, 5) is None
