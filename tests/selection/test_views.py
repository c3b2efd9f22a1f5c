from itertools import pairwise

import numpy as np
import pytest

from gmvae_cli.data.block_features import compared_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.selection.views import block_lengths, seen_rows, views


def test_every_view_stands_for_every_row():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(5_000, 2))
    values[rng.random(5_000) < 0.1] = np.nan
    steps = rng.choice([1, 1, 1, 1, 1, 1, 4, 0], size=5_000, p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.08, 0.01, 0.01])
    steps[0] = 0
    with SeriesData.from_arrays(values, steps) as data:
        seen = views(data, 2)
    assert [(view.kind, view.block_rows) for view in seen] == [("rows", 2), ("blocks", 4), ("blocks", 16)]
    for view in seen:
        assert view.first[0] == 0 and view.stop[-1] == 5_000
        np.testing.assert_array_equal(view.first[1:], view.stop[:-1])
        assert len(view.values) == len(view.steps) == len(view.first)
        np.testing.assert_array_equal(view.first[view.steps == 0], np.flatnonzero(steps == 0))


def test_views_are_long_enough_for_the_regimes():
    """10 channels: a regime needs 13 rows, and 2 * (20 + 3) blocks; the last value of every second row is missing."""
    values = np.random.default_rng(3).normal(size=(3_000, 10))
    with SeriesData.from_arrays(values) as data:
        rows, blocks = views(data, 1)
    assert blocks.block_rows == 4
    assert rows.supports(2_999 // 13) and not rows.supports(2_999 // 13 + 1)
    assert blocks.supports(749 // 46) and not blocks.supports(749 // 46 + 1)
    values[::2, -1] = np.nan
    with SeriesData.from_arrays(values) as data:
        assert not views(data, 1)[0].supports(1)


@pytest.mark.parametrize("spacing", [1, 16])
def test_a_longer_recording_has_the_same_blocks_and_some_longer_ones(spacing):
    short, long, longest = (block_lengths(rows, spacing) for rows in (5_000, 80_000, 10**8))
    assert short == long[: len(short)] == longest[: len(short)]
    assert long == longest[: len(long)]
    assert len(longest) < 12


def test_pieces_have_the_same_middles_at_every_scale():
    scales = [seen_rows(10**6, block_rows) for block_rows in (1, 4, 16)]
    for finer, coarser in pairwise(scales):
        for (start, stop), (first, last) in zip(finer, coarser, strict=True):
            assert first <= start < stop <= last
            assert abs((start + stop) - (first + last)) <= 2
    assert seen_rows(10**6, 64) == [(0, 10**6)]


def test_a_long_recording_is_seen_in_pieces_at_fine_scales_and_as_a_whole_at_coarse_ones():
    """300,000 rows that count themselves: no view has more than some 33,000 rows or blocks."""
    count = np.arange(300_000)
    with SeriesData.from_arrays(count[:, None].astype(float)) as data:
        seen = views(data, 1)
    compared = compared_rows(seen_rows(300_000, 1))
    assert len(compared) == 2_000 and compared[-1] - compared[0] > 250_000
    for view in seen:
        assert len(view.values) <= 33_000
        assert (view.stop - view.first).sum() == min(300_000, 32 * 1_024 * view.block_rows)
        position = view.at(compared)
        assert (position >= 0).all()
        middle = (view.first + view.stop - 1) / 2
        np.testing.assert_allclose(view.values[:, 0], middle)
        assert (np.abs(middle[position] - compared) <= view.block_rows).all()
        starts = np.flatnonzero(np.append(True, view.first[1:] != view.stop[:-1]))
        np.testing.assert_array_equal(np.flatnonzero(view.steps == 0), starts)
    assert seen[0].at(np.array([0, 299_999])).tolist() == [-1, -1]


def test_wide_views_are_divided_in_their_principal_components(generator):
    """Thirty channels that follow two sources: the last two components hold all; half a row is enough."""
    sources = generator.normal(size=(2_000, 2)) * [3, 1]
    values = sources @ generator.normal(size=(2, 30)) + 0.1 * generator.normal(size=(2_000, 30))
    values[5, :14], values[6, :15] = np.nan, np.nan
    with SeriesData.from_arrays(values) as data:
        view = views(data, 1)[0]
        narrow = views(data.pieces([(0, 2_000)]), 1)[0]._replace(values=values[:, :20])
    reduced = view.reduced()
    assert reduced.values.shape == (2_000, 20)
    assert np.flatnonzero(np.isnan(reduced.values).any(axis=1)).tolist() == [6]
    known = np.delete(reduced.values, 6, axis=0)
    assert known[:, -2:].var() > 0.98 * known.var(axis=0).sum() / 2
    assert narrow.reduced() is narrow
