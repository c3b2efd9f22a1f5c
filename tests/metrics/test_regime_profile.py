"""Sums by regime against pandas and a loop over rows, in one piece, in blocks and in parts that were counted apart."""

import json
from itertools import groupby, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gmvae_cli.metrics.regime_profile import ProfilePart, RegimeProfile, channel_figures, described

STEP = 2.5
REGIMES = st.integers(2, 30).flatmap(lambda n: arrays(np.int64, n, elements=st.integers(-1, 2)))


def drawn(regimes, data):
    """Starts and values of some rows, a third of them missing."""
    starts = data.draw(arrays(np.bool_, len(regimes), elements=st.sampled_from([True, False, False])))
    starts[0] = True
    cells = st.sampled_from([1e6, 1e6 + 0.5, 1e6 - 3.25, np.nan])
    return starts, data.draw(arrays(np.float64, (len(regimes), 2), elements=cells))


def by_loop(regimes, starts):
    """(regime, rows) of every visit, and (regime, next) of every two that follow in one chain."""
    chain = np.cumsum(starts)
    visits = [(key, len(list(rows))) for key, rows in groupby(zip(chain, regimes, strict=True))]
    listed = [(regime, rows) for (_, regime), rows in visits if regime >= 0]
    follows = [
        (regime, after)
        for ((one, regime), _), ((two, after), _) in pairwise(visits)
        if one == two and regime >= 0 and after >= 0
    ]
    return listed, follows


def require_as_by_loop(profile, regimes, starts, values):
    visits, follows = by_loop(regimes, starts)
    assert profile.rows.tolist() == [int((regimes == k).sum()) for k in range(3)]
    assert profile.visits.tolist() == [sum(regime == k for regime, _ in visits) for k in range(3)]
    longest = [max((rows for regime, rows in visits if regime == k), default=0) * STEP for k in range(3)]
    assert profile.longest.tolist() == longest
    assert profile.time.tolist() == (profile.rows * STEP).tolist()
    assert profile.follows.tolist() == [[follows.count((i, j)) for j in range(3)] for i in range(3)]
    figures, frame = channel_figures(profile), pd.DataFrame(values).groupby(regimes)
    for regime in range(3):
        if regime in frame.groups:
            part = frame.get_group(regime)
            assert figures.values[regime].tolist() == part.count().tolist()
            np.testing.assert_allclose(figures.mean[regime], part.mean(), rtol=1e-13)
            np.testing.assert_allclose(figures.deviation[regime], part.std(ddof=0), rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(figures.minimum[regime], part.min())
            np.testing.assert_array_equal(figures.maximum[regime], part.max())


@given(REGIMES, st.data())
def test_sums_equal_a_loop_over_rows(regimes, data):
    starts, values = drawn(regimes, data)
    profile = RegimeProfile(3, ("a", "b"))
    profile.add(regimes, starts, values, STEP)
    require_as_by_loop(profile, regimes, starts, values)


@given(REGIMES, st.data())
def test_neither_blocks_nor_parts_change_a_sum(regimes, data):
    starts, values = drawn(regimes, data)
    first, second = sorted(data.draw(st.lists(st.integers(1, len(regimes) - 1), min_size=2, max_size=2)))
    edges = [0, first, len(regimes)] if first == second else [0, first, second, len(regimes)]
    in_blocks, of_parts = RegimeProfile(3, ("a", "b")), RegimeProfile(3, ("a", "b"))
    for start, stop in pairwise(edges):
        rows = regimes[start:stop], starts[start:stop], values[start:stop], STEP
        in_blocks.add(*rows)
        alone = RegimeProfile(3, ("a", "b"))
        alone.add(*rows)
        of_parts.add_part(ProfilePart(*json.loads(json.dumps(alone.part()))))
    require_as_by_loop(in_blocks, regimes, starts, values)
    require_as_by_loop(of_parts, regimes, starts, values)


@given(REGIMES, st.data())
def test_parts_of_parts_merge_as_well(regimes, data):
    starts, values = drawn(regimes, data)
    cut = data.draw(st.integers(1, len(regimes) - 1))
    half = RegimeProfile(3, ("a", "b"))
    for row in range(cut, len(regimes)):
        alone = RegimeProfile(3, ("a", "b"))
        alone.add(regimes[row : row + 1], starts[row : row + 1], values[row : row + 1], STEP)
        half.add_part(alone.part())
    whole = RegimeProfile(3, ("a", "b"))
    whole.add(regimes[:cut], starts[:cut], values[:cut], STEP)
    whole.add_part(half.part())
    require_as_by_loop(whole, regimes, starts, values)


def test_the_first_visit_of_another_table_continues_none():
    profile = RegimeProfile(2, ("x",))
    for _ in range(2):
        profile.start_table()
        profile.add(np.array([1, 1]), np.array([True, False]), np.zeros((2, 1)), 1.0)
    assert (profile.visits[1], profile.longest[1], profile.follows.sum()) == (2, 2.0, 0)


def test_channels_that_tell_a_regime_apart_come_first(generator):
    """Of four channels one has another level, one another spread, one hardly another level, one never changes."""
    regimes = np.repeat([0, 1], 5_000)
    level, spread, hardly = generator.standard_normal((3, 10_000))
    values = np.column_stack([hardly + 0.1 * regimes, spread * (1 + 3 * regimes), level + 9 * regimes, np.ones(10_000)])
    profile = RegimeProfile(2, ("hardly", "spread", "level", "constant"))
    profile.add(regimes, np.arange(10_000) == 0, values, 1.0)
    for regime in range(2):
        entry = described(profile, channel_figures(profile), regime)
        assert entry["tells_apart"] == ["level", "spread", "hardly"]
    distances = channel_figures(profile).separation
    assert distances[0, 2] == pytest.approx(81 / 8, rel=0.05)  # two Normal laws of variance 1, 9 apart
    assert distances[0, 1] == pytest.approx(np.log(17 / 8) / 2, rel=0.05)  # of variances 1 and 16


def test_a_regime_alone_is_told_apart_by_nothing():
    profile = RegimeProfile(1, ("x",))
    profile.add(np.zeros(3, np.int64), np.array([True, False, False]), np.array([[1.0], [2.0], [4.0]]), 1.0)
    assert described(profile, channel_figures(profile), 0)["tells_apart"] == []


def test_figures_that_are_undefined_are_none():
    profile = RegimeProfile(2, ("x",))
    profile.add(np.zeros(2, np.int64), np.array([True, False]), np.full((2, 1), np.nan), 1.0)
    figures = channel_figures(profile)
    assert described(profile, figures, 0)["channels"]["x"]["mean"] is None
    missing = described(profile, figures, 1)
    assert (missing["visits"], missing["mean_time"], missing["longest_time"]) == (0, None, None)
