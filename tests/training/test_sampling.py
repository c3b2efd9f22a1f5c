import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmvae_cli.config import ModelConfig
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.training.sampling import SAMPLE_ROWS, split, subsample


def rows_of(ranges):
    return sum(stop - start for start, stop in ranges)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.integers(1, 5_000), st.integers(1, 20_000_000)),
    st.sampled_from([0.0, 0.001, 0.1, 0.5, 0.9, 0.999]),
    st.integers(0, 10_000),
)
def test_split_ranges_are_apart_in_order_and_within_the_file(rows, validation, seed):
    training, held = split(rows, validation, np.random.default_rng(seed))
    ranges = sorted([*training, *held])
    edges = [edge for pair in ranges for edge in pair]
    assert [0, *edges, rows] == sorted([0, *edges, rows])
    assert all(stop > start for start, stop in ranges)
    assert list(training) == sorted(training)
    assert list(held) == sorted(held)
    assert 0 < rows_of(training) <= SAMPLE_ROWS
    assert rows_of(held) <= min(max(rows * validation, 1), SAMPLE_ROWS / 8)
    if rows < 2_000 or not validation:
        assert not held
    if rows <= SAMPLE_ROWS:
        assert rows_of(training) + rows_of(held) == rows


def test_split_keeps_out_what_was_asked_for():
    for rows in (2_000, 20_000, 200_000):
        _, held = split(rows, 0.1, np.random.default_rng(0))
        assert rows_of(held) == pytest.approx(rows / 10, rel=0.01)
        assert len(held) == min(10, rows // 2_000)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60_000), st.integers(4, 30_000))
def test_subsample_takes_long_pieces_in_order(count, limit):
    data = SeriesData.from_arrays(np.arange(count, dtype=float)[:, None])
    rows = LaggedRows(data, ModelConfig(), np.zeros(1), np.ones(1), torch.float64).rows(0, count)
    few = subsample(rows, limit)
    if count <= limit:
        assert few is rows
        return
    assert 0 < len(few) <= limit
    kept, starts = few.y[0].numpy(), np.flatnonzero(few.steps == 0)
    assert len(starts) >= 4
    assert (np.diff(starts, append=len(few)) == min(2_000, limit // 4)).all()
    assert (np.diff(kept) > 0).all()
    assert (np.diff(kept)[few.steps[1:] == 1] == 1).all()
    assert kept[0] == 0
    assert kept[-1] == count - 1
