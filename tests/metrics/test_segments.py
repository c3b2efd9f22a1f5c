"""Runs of one label against a loop over rows, in one piece and block by block."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gmvae_cli.metrics.segments import Ribbon, runs, segments

LABELS = st.integers(0, 40).flatmap(lambda n: arrays(np.int64, n, elements=st.integers(0, 2)))


def by_loop(labels, breaks, carry):
    """[start, stop) of every run, and whether the first one goes on."""
    pairs = []
    for row, label in enumerate(labels):
        if row and label == labels[row - 1] and not breaks[row]:
            pairs[-1][1] = row + 1
        else:
            pairs.append([row, row + 1])
    return pairs, bool(len(labels) and labels[0] == carry and not breaks[0])


@settings(deadline=None)
@given(LABELS, st.data())
def test_runs_equal_a_loop(labels, data):
    breaks = data.draw(arrays(np.bool_, len(labels)))
    carry = data.draw(st.none() | st.integers(0, 2))
    stretches = runs(labels, breaks, carry)
    expected, continued = by_loop(labels.tolist(), breaks.tolist(), carry)
    assert [list(pair) for pair in zip(stretches.start, stretches.stop, strict=True)] == expected
    assert stretches.continued == continued
    assert len(stretches) == len(expected)
    assert stretches.begun.tolist() == [start for start, _ in expected[continued:]]


@settings(deadline=None)
@given(LABELS, st.data())
def test_the_blocks_that_rows_come_in_change_no_run(labels, data):
    breaks = data.draw(arrays(np.bool_, len(labels)))
    cut = data.draw(st.integers(0, len(labels)))
    whole = runs(labels, breaks)
    first = runs(labels[:cut], breaks[:cut])
    second = runs(labels[cut:], breaks[cut:], labels[cut - 1] if cut else None)
    assert [*first.begun, *(cut + second.begun)] == whole.begun.tolist()


def test_labels_without_breaks_are_cut_where_they_change():
    stretches = runs(np.array([2.0, 2.0, 5.0, 2.0]))
    assert stretches.start.tolist() == [0, 2, 3]
    assert stretches.stop.tolist() == [2, 3, 4]
    assert not stretches.continued


def test_segments_end_where_a_series_does_and_sum_the_probability_of_their_regime():
    regimes, starts = np.array([1, 1, 0, 0, 0]), np.array([True, False, False, False, True])
    probs = np.array([[0.1, 0.9], [0.3, 0.7], [0.6, 0.4], [1.0, 0.0], [0.8, 0.2]])
    listed = segments(regimes, starts, probs)
    assert (listed.start.tolist(), listed.stop.tolist()) == ([0, 2, 4], [2, 4, 5])
    assert listed.regime.tolist() == [1, 0, 0]
    assert listed.starts_series.tolist() == [True, False, True]
    np.testing.assert_allclose(listed.prob_sum, [1.6, 1.6, 0.8])
    assert len(listed) == 3


@settings(max_examples=40, deadline=None)
@given(arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 2)), st.integers(1, 50), st.integers(1, 8))
def test_a_ribbon_holds_the_most_frequent_regime_of_its_bins(regimes, block_rows, half):
    ribbon = Ribbon(3, limit=2 * half)
    for start in range(0, len(regimes), block_rows):
        ribbon.add(regimes[start : start + block_rows])
    size = 1
    while -(-len(regimes) // size) > 2 * half:
        size *= 2
    bins = [regimes[start : start + size] for start in range(0, len(regimes), size)]
    expected = [int(np.bincount(rows, minlength=3).argmax()) for rows in bins]
    assert ribbon.bin_rows == size
    assert ribbon.majority(len(bins)).tolist() == expected


def test_a_ribbon_without_rows_has_no_column():
    assert Ribbon(3).majority(10).tolist() == []
