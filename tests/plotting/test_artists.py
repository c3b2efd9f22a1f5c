"""What a picture shows: reductions that lose no extreme, spans that are the segments, colours that stay apart."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gmvae_cli.metrics.segments import Ribbon, segments
from gmvae_cli.plotting import artists
from gmvae_cli.plotting.downsampling import Columns, Reduction, SpanList, Spans


def random_rows(seed, n):
    """Rows at uneven positions, with holes and missing values."""
    rng = np.random.default_rng(seed)
    hole = rng.random(n) < 0.02
    position = np.cumsum(np.where(hole, rng.uniform(5, 500, n), rng.uniform(0.9, 1.1, n)))
    values = rng.normal(size=(n, 2))
    values[rng.random((n, 2)) < 0.3] = np.nan
    regimes = np.repeat(rng.integers(0, 3, n // 5 + 1), 5)[:n]
    hole[0] = False
    return position, hole, values, regimes


def reduced(position, gap, values, regimes, limit, block):
    reduction = Reduction(limit)
    rows = Columns.of_rows(position, gap, values, np.eye(3)[regimes])
    for start in range(0, len(position), block):
        reduction.add(rows[start : start + block])
    return reduction.columns()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 900), st.integers(8, 64), st.integers(1, 300))
def test_columns_keep_every_extreme_and_lose_no_row(seed, n, limit, block):
    position, gap, values, regimes = random_rows(seed, n)
    columns = reduced(position, gap, values, regimes, limit, block)
    assert len(columns) == n if n <= limit else len(columns) <= limit
    assert columns.rows.sum() == n
    np.testing.assert_allclose(columns.sums.sum(0), np.bincount(regimes, minlength=3))
    for column in range(len(columns)):
        inside = (position >= columns.first[column]) & (position <= columns.last[column])
        assert inside.sum() == columns.rows[column]
        for channel in range(2):
            observed = values[inside, channel][~np.isnan(values[inside, channel])]
            extremes = columns.low[column, channel], columns.high[column, channel]
            assert extremes == (observed.min(), observed.max()) if observed.size else np.isnan(extremes).all()


@pytest.mark.parametrize("limit", [8, 32])
def test_columns_do_not_depend_on_the_blocks(limit):
    rows = random_rows(3, 700)
    whole = reduced(*rows, limit, 700)
    for block in (1, 13, 100):
        cut = reduced(*rows, limit, block)
        np.testing.assert_array_equal(cut.first, whole.first)
        np.testing.assert_array_equal(cut.sums, whole.sums)


def test_evenly_spaced_rows_fill_at_least_half_the_columns():
    n = 100_000
    columns = reduced(np.arange(n) * 1.0, np.zeros(n, bool), np.zeros((n, 1)), np.zeros(n, int), 4096, 1 << 14)
    assert 2048 <= len(columns) <= 4096
    assert np.ptp(columns.rows[:-1]) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 100))
def test_spans_are_the_segments_whatever_the_blocks(seed, n, block):
    position, _, _, regimes = random_rows(seed, n)
    spans = SpanList()
    for start in range(0, n, block):
        part = slice(start, start + block)
        spans.add(position[part], regimes[part], np.zeros(len(position[part]), bool))
    expected = segments(regimes, np.arange(n) == 0, np.ones((n, 3)))
    np.testing.assert_array_equal(spans.spans.first, position[expected.start])
    np.testing.assert_array_equal(spans.spans.last, position[expected.stop - 1])
    np.testing.assert_array_equal(spans.spans.label, expected.regime)
    np.testing.assert_array_equal(spans.spans.segment, np.arange(len(expected)))
    stops = spans.spans.stops(1.0)
    np.testing.assert_array_equal(stops[:-1], spans.spans.first[1:])
    assert stops[-1] == position[-1] + 1


def test_a_hole_parts_a_stretch_but_not_a_segment():
    gap = np.array([False, False, True, False])
    spans = Spans.of(*(np.array([0.0, 1, 5, 6]),) * 2, np.array([4, 4, 4, 2]), gap)
    assert spans.segment.tolist() == [0, 0, 1]
    assert spans.stops(1.0).tolist() == [2, 6, 7]


def test_too_many_spans_are_given_up_but_still_counted():
    spans = SpanList(limit=10)
    for start in range(0, 100, 10):
        spans.add(np.arange(start, start + 10) * 1.0, np.arange(10) % 2, np.zeros(10, bool))
    assert spans.spans is None
    assert spans.count == 100


@pytest.fixture
def axes():
    return Figure(dpi=100).add_axes((0, 0, 1, 1))


def test_shaded_stretches_have_the_spans_edges_and_their_regimes_colour(axes):
    position = np.arange(6.0)
    spans = Spans.of(position, position, np.array([1, 1, 0, 0, 0, 1]), np.array([False] * 4 + [True, False]))
    artists.shade(axes, spans, 0.5)
    drawn = {
        c.get_gid(): [(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for p in c.get_paths()] for c in axes.collections
    }
    assert drawn == {"regime 0": [(2, 3.5), (4, 5)], "regime 1": [(0, 2), (5, 5.5)]}
    for collection in axes.collections:
        regime = int(collection.get_gid().split()[1])
        np.testing.assert_allclose(collection.get_facecolor()[0, :3], artists.tint(regime))


def test_a_line_passes_both_extremes_and_stops_at_gaps(axes):
    columns = Columns(
        first=np.arange(5.0),
        last=np.arange(5.0),
        gap=np.array([False, False, False, True, False]),
        low=np.array([[0.0], [1], [np.nan], [3], [4]]),
        high=np.array([[0.0], [9], [np.nan], [3], [5]]),
        sums=np.zeros((5, 0)),
        rows=np.ones(5, int),
    )
    artists.line(axes, columns, 0)
    x, y = axes.lines[0].get_data()
    assert x.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4]
    np.testing.assert_array_equal(y, [0, 0, 9, 1, np.nan, np.nan, np.nan, 3, 3, 4, 5])


def test_a_value_alone_is_a_dot(axes):
    nan = np.nan
    values = np.array([[nan], [2.0], [nan], [4.0], [5.0]])
    rows = Columns.of_rows(np.arange(5.0), np.zeros(5, bool), values, np.zeros((5, 0)))
    artists.line(axes, rows, 0)
    assert [line.get_xdata().tolist() for line in axes.lines[1:]] == [[1.0]]


def test_probabilities_are_stacked_to_one_and_white_in_holes(axes):
    probs = np.array([[0.25, 0.75], [1, 0], [0.5, 0.5]])
    rows = Columns.of_rows(np.array([0.0, 1, 5]), np.array([False, False, True]), np.zeros((3, 0)), probs)
    artists.stack(axes, rows, probs, 1.0)
    lower = axes.collections[0].get_paths()
    assert [(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for p in lower] == [(0, 2), (5, 6)]
    assert max(p.vertices[:, 1].max() for p in axes.collections[1].get_paths()) == 1
    assert {tuple(v) for v in lower[0].vertices.tolist()} >= {(0, 0.25), (1, 0.25), (1, 1), (2, 1)}


def test_segments_are_numbered_where_there_is_room(axes):
    axes.set_xlim(0, 1000)
    position = np.arange(1000.0)
    label = np.where((position >= 500) & (position < 503), 1, 0)
    artists.number(axes, Spans.of(position, position, label, np.zeros(1000, bool)), 1.0, first_number=7)
    assert [text.get_text() for text in axes.texts] == ["7", "9"]


# Machado, Oliveira, Fernandes (2009), table 1, severity 1.0: what the eye without one kind of cones sees
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(rgb, sight):
    """CIE L*a*b* of an sRGB colour as that sight has it."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(sight) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(("regimes", "apart"), [(4, 17), (8, 7), (10, 5)])
def test_colours_stay_apart_for_every_eye(sight, regimes, apart):
    """Differences of about 2.3 are just noticeable; tints are the hardest case."""
    for colour in (artists.tint, lambda regime: to_rgb(artists.colour(regime))):
        seen = [lab(colour(regime), SIGHT[sight]) for regime in range(regimes)]
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > apart


def test_beyond_ten_regimes_a_hatch_tells_colours_apart():
    looks = [(artists.colour(regime), artists.hatch(regime)) for regime in range(40)]
    assert len(set(looks)) == 40
    assert {hatch for _, hatch in looks[:10]} == {""}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3000), st.integers(1, 400))
def test_a_ribbon_is_the_same_for_every_block_size(seed, n, block):
    regimes = np.repeat(np.random.default_rng(seed).integers(-1, 4, n), 3)[:n]  # -1: of no regime
    whole, cut = Ribbon(4, limit=64), Ribbon(4, limit=64)
    whole.add(regimes)
    for start in range(0, n, block):
        cut.add(regimes[start : start + block])
    np.testing.assert_array_equal(whole.majority(80), cut.majority(80))
    counts = np.bincount(regimes + 1, minlength=5).tolist()
    assert counts == whole._counts.sum(0).tolist() == cut._counts.sum(0).tolist()


def test_a_ribbon_shows_each_regime_for_its_share_of_the_line():
    ribbon = Ribbon(3, limit=512)
    ribbon.add(np.repeat([2, 0, 1], [5000, 2500, 2500]))
    assert ribbon.majority(80).tolist() == [2] * 40 + [0] * 20 + [1] * 20
    assert Ribbon(3).majority(80).tolist() == []
