import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmvae_cli.data.block_features import block_features
from gmvae_cli.data.known_labels import KnownLabels
from gmvae_cli.data.series_data import SeriesData, fingerprint

LABELS = st.lists(st.integers(-1, 2), min_size=1, max_size=60)


@given(LABELS, st.integers(1, 9))
def test_labels_come_back_with_their_counts_and_longest_runs(labels, portion):
    labels = np.array(labels)
    known = KnownLabels()
    for start in range(0, len(labels), portion):
        known.append(labels[start : start + portion], ["a", "b", "c"])
    assert known.read(0, len(labels)).tolist() == labels.tolist()
    text = "".join("abc-"[label] for label in labels)
    assert known.counts.tolist() == [text.count(name) for name in "abc"]
    longest = [max(length for length in range(len(text) + 1) if name * length in text) for name in "abc"]
    assert known.longest.tolist() == longest
    assert known.is_complete == (labels >= 0).all()


@given(LABELS, st.data())
def test_a_block_has_the_label_that_most_of_its_rows_have_and_none_contradicts(labels, data):
    cuts = data.draw(st.sets(st.integers(1, len(labels) - 1)) if len(labels) > 1 else st.just(set()))
    edges = np.array([0, *sorted(cuts), len(labels)])
    found = KnownLabels.from_array(np.array(labels), ["a", "b", "c"]).of_blocks(edges)
    for block, (start, stop) in enumerate(itertools.pairwise(edges)):
        given = [label for label in labels[start:stop] if label >= 0]
        agreed = len(set(given)) == 1 and 2 * len(given) > stop - start
        assert found.read(block, block + 1).tolist() == [given[0] if agreed else -1]


def test_labels_go_with_pieces_and_blocks():
    labels = np.repeat([-1, 0, -1, 1], 10)
    with SeriesData.from_arrays(np.random.default_rng(0).normal(size=(40, 2)), known=labels) as data:
        pieces = data.pieces([(5, 15), (35, 40)])
        assert pieces.known.read(0, 15).tolist() == [*[-1] * 5, *[0] * 5, *[1] * 5]
        blocks = block_features(data, 5, np.ones(2))
        assert blocks.known.read(0, 8).tolist() == [-1, -1, 0, 0, -1, -1, 1, 1]


def test_a_fingerprint_tells_other_labels():
    values = np.random.default_rng(0).normal(size=(40, 2))
    labels = np.repeat([-1, 0, -1, 1], 10)
    prints = {fingerprint(SeriesData.from_arrays(values, known=known)) for known in (None, labels, np.roll(labels, 1))}
    assert len(prints) == 3


@pytest.mark.parametrize("name", ["", "unknown", " a", "x" * 61])
def test_a_label_must_be_a_name(name):
    known = KnownLabels.from_array(np.array([0]), [name])
    with pytest.raises(Exception, match=r"^f.csv: row 1: here or soon after it column 'known' holds"):
        known.require_names("f.csv: row 1")
