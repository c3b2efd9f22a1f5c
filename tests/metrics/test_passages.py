import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmvae_cli.metrics.passages import context_rows, labelled_by


def joined(text, longest, starts=()):
    """Labels after passing rows took the label of the next visit; letters are regimes."""
    labels = np.array([ord(letter) for letter in text])
    begin = np.zeros(len(labels), np.bool_)
    begin[[0, *starts]] = True
    return "".join(map(chr, labels[labelled_by(labels, begin, longest)]))


@pytest.mark.parametrize(
    ("before", "longest", "after"),
    [
        ("aaaxbbb", 1, "aaabbbb"),
        ("aaaxxbbb", 1, "aaaxxbbb"),
        ("aaaxxbbb", 2, "aaabbbbb"),
        ("aaaxybbb", 2, "aaabbbbb"),
        ("aaaxaaa", 1, "aaaxaaa"),
        ("xbbb", 1, "xbbb"),
        ("aaax", 1, "aaax"),
        ("aaabbb", 1, "aaabbb"),
        ("axbxcxd", 1, "axbxcxd"),
        ("aaxbbyccc", 1, "aabbbcccc"),
        ("", 1, ""),
    ],
)
def test_rows_between_two_longer_visits_go_to_the_second(before, longest, after):
    assert joined(before, longest) == after if before else len(labelled_by(np.zeros(0, int), np.zeros(0, bool), 1)) == 0


def test_no_row_passes_from_one_series_to_another():
    assert joined("aaaxbbb", 1, starts=[3]) == "aaaxbbb"
    assert joined("aaaxbbb", 1, starts=[4]) == "aaaxbbb"


@given(st.text("abc", min_size=1, max_size=60), st.integers(1, 4), st.data())
def test_a_row_is_decided_by_the_rows_around_it(text, longest, data):
    row = data.draw(st.integers(0, len(text) - 1))
    near = context_rows(longest)
    low, high = max(0, row - near), min(len(text), row + near + 1)
    assert joined(text[low:high], longest)[row - low] == joined(text, longest)[row]
