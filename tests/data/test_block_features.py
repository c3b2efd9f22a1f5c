from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmvae_cli.data.block_features import STD_EPSILON, block_features
from gmvae_cli.data.series_data import SeriesData


def random_series(seed, rows, channels=2):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, channels)) * 3 + 100
    values[rng.random((rows, channels)) < 0.2] = np.nan
    steps = rng.choice([0, 1, 1, 1, 1, 1, 1, 1, 7], size=rows)
    steps[0] = 0
    return SeriesData.from_arrays(values, steps), values, steps


def by_hand(values, steps, block_rows, std_epsilon):
    """Features, steps and edges, block after block in plain Python."""
    features, follows, edges = [], [], []
    bounds = [*np.flatnonzero(steps == 0), len(values)]
    for start, stop in pairwise(bounds):
        cuts = list(range(start, stop, block_rows))
        if len(cuts) > 1 and stop - cuts[-1] < block_rows / 2:
            cuts.pop()
        for index, cut in enumerate(cuts):
            block = values[cut : cuts[index + 1] if index + 1 < len(cuts) else stop]
            cells = [column[~np.isnan(column)] for column in block.T]
            known = [2 * len(cell) > len(block) for cell in cells]
            mean = [cell.mean() if k else np.nan for cell, k in zip(cells, known, strict=True)]
            log_std = [
                np.log(cell.std() + f) if k else np.nan for cell, k, f in zip(cells, known, std_epsilon, strict=True)
            ]
            features.append([*mean, *log_std])
            travelled = steps[cuts[index - 1] + 1 : cut + 1].sum() if index else 0
            follows.append(max(1, int(travelled / block_rows + 0.5)) if index else 0)
            edges.append(cut)
    return np.array(features), np.array(follows), np.array([*edges, len(values)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_000), st.integers(1, 200), st.integers(2, 9))
def test_blocks_are_those_taken_by_hand(seed, rows, block_rows):
    data, values, steps = random_series(seed, rows)
    std_epsilon = STD_EPSILON * data.scale
    blocks = block_features(data, block_rows, std_epsilon)
    expected, follows, edges = by_hand(values, steps, block_rows, std_epsilon)
    features, feature_steps = blocks.read(0, blocks.rows)
    np.testing.assert_allclose(features, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(feature_steps, follows)
    np.testing.assert_array_equal(blocks.edges, edges)


def test_parts_of_a_reading_are_the_whole():
    data, _, _ = random_series(0, 500)
    blocks = block_features(data, 4, STD_EPSILON * data.scale)
    whole, steps = blocks.read(0, blocks.rows)
    parts = [blocks.read(start, min(start + 7, blocks.rows)) for start in range(0, blocks.rows, 7)]
    np.testing.assert_allclose(np.concatenate([part[0] for part in parts]), whole)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), steps)


def test_a_block_that_never_changes_has_a_log_too():
    data = SeriesData.from_arrays(np.array([[5.0], [5.0], [5.0], [5.0], [7.0], [9.0]]))
    features, _ = block_features(data, 2, np.array([0.01])).read(0, 3)
    np.testing.assert_allclose(features, [[5, np.log(0.01)], [5, np.log(0.01)], [8, np.log(1.01)]])


def test_units_shift_the_log_and_scale_the_mean():
    data, values, steps = random_series(3, 100)
    large = SeriesData.from_arrays(values * 1_000, steps)
    small, big = (block_features(r, 5, STD_EPSILON * r.scale) for r in (data, large))
    expected = small.read(0, small.rows)[0] * [1_000, 1_000, 1, 1] + [0, 0, np.log(1_000), np.log(1_000)]
    np.testing.assert_allclose(big.read(0, big.rows)[0], expected)
    assert small.scale[2:] == pytest.approx(big.scale[2:])
