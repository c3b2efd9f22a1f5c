"""Quartiles of many channels by group, exact for any number of rows, in constant memory.

A float64 is read as a whole number of 64 bits in the same order. A pass over the rows counts the values that begin with
the bits found so far by their next ones, and those of the wanted rank go on, until the values that are left fit into
memory. This is selection by radix; sketches such as the t-digest take as long, and miss the rank (docs/design.md).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

QUARTILES = np.array([0.25, 0.5, 0.75])

_BITS = 11  # that a pass settles: six passes at most, and 16 KiB of counts
_MOST_COUNTS = 2_000  # groups times channels that are worked on at once: 100 MiB of counts at most
_HELD_VALUES = 1 << 22  # that are left, of all groups and channels: 32 MiB
_SIGN = np.uint64(1 << 63)
_WORD = 64

Array = NDArray[np.float64]
Words = NDArray[np.uint64]


class GroupedValues(NamedTuple):
    """Some rows: the number of their group (n,), -1 for none, and their values (n, D), NaN is missing."""

    codes: NDArray[np.int64]
    values: Array


Rows = Callable[[], Iterator[GroupedValues]]


def quartiles(rows: Rows, count: NDArray[np.int64]) -> Array:
    """Compute the quartiles of each group of rows, with interpolation between two values as of `numpy.quantile`.

    Args:
        rows: yields all rows, each time that it is called. count: (K, D) values of each group in each channel.
    Returns:
        (3, K, D), NaN where a group has no value of a channel.
    """
    K, D = count.shape
    found = np.full((len(QUARTILES), K, D), np.nan)
    width = max(1, _MOST_COUNTS // max(K, 1))
    for first in range(0, D, width):
        channels = slice(first, min(first + width, D))
        found[:, :, channels] = _quartiles(rows, count[:, channels], channels)
    return found


def _quartiles(rows: Rows, count: NDArray[np.int64], channels: slice) -> Array:
    position = QUARTILES[:, None, None] * (count - 1)  # between two ranks
    low = np.floor(np.maximum(position, 0)).astype(np.int64)
    ranks = np.stack([low, np.minimum(low + 1, np.maximum(count - 1, 0))])  # (2, 3, K, D)
    lower, upper = _selected(rows, ranks.reshape(-1, *count.shape), count, channels).reshape(ranks.shape)
    weight, distance = position - low, upper - lower
    values = np.where(weight < 0.5, lower + weight * distance, upper - (1 - weight) * distance)
    return np.where(count > 0, values, np.nan)


class _Search(NamedTuple):
    """Search for the values of R ranks in K groups and D channels.

    Args:
        sizes: (K, D) numbers of values. prefixes: (R, K, D) the bits of each value that are known.
        left: (R, K, D) its rank among the values that begin with these. bits: how many are not known.
    """

    sizes: NDArray[np.int64]
    prefixes: Words
    left: NDArray[np.int64]
    bits: int


def _selected(rows: Rows, ranks: NDArray[np.int64], count: NDArray[np.int64], channels: slice) -> Array:
    """Select the values of some ranks, from 0, of each group in each channel; ranks (R, K, D), returns (R, K, D)."""
    search = _Search(count, np.zeros(ranks.shape, np.uint64), ranks, _WORD)
    remaining = _HELD_VALUES + 1
    while search.bits and remaining > _HELD_VALUES:
        width = min(_BITS, search.bits)
        counts: dict[_Key, NDArray[np.int64]] = defaultdict(lambda: np.zeros(1 << width, np.int64))  # noqa: B023
        for key, low in _beginning(rows, search, channels, width):
            counts[key] += np.bincount(low.astype(np.int64), minlength=1 << width)
        search, remaining = _narrowed(search, counts, width)
    held: dict[_Key, list[Words]] = defaultdict(list)
    for key, low in _beginning(rows, search, channels, search.bits) if search.bits else ():
        held[key].append(low)
    for key, parts in held.items():
        mine = _of(search, key)
        known = key[2] << np.uint64(search.bits)
        search.prefixes[mine] = known | np.sort(np.concatenate(parts))[search.left[mine]]
    return _values(search.prefixes)


_Key = tuple[int, int, np.uint64]  # group, channel, prefix


def _of(search: _Search, key: _Key) -> Any:
    """Return the positions of the ranks whose group, channel and prefix these are."""
    group, channel, prefix = key
    ranks = np.flatnonzero(search.prefixes[:, group, channel] == prefix)
    return ranks, group, channel


def _narrowed(search: _Search, counts: Mapping[_Key, NDArray[np.int64]], width: int) -> tuple[_Search, int]:
    """Settle the next bits of every value by the counts of them; also return how many values begin with those found."""
    prefixes, left, remaining = search.prefixes.copy(), search.left.copy(), 0
    for key, of_digit in counts.items():
        mine, totals = _of(search, key), np.cumsum(of_digit)
        digit = np.searchsorted(totals, search.left[mine], side="right")
        left[mine] -= totals[digit] - of_digit[digit]
        prefixes[mine] = (key[2] << np.uint64(width)) | digit.astype(np.uint64)
        remaining += int(of_digit[np.unique(digit)].sum())
    return _Search(search.sizes, prefixes, left, search.bits - width), remaining


def _beginning(rows: Rows, search: _Search, channels: slice, width: int) -> Iterator[tuple[_Key, Words]]:
    """Yield the next `width` bits of all values that begin with a prefix which is searched for, (n,) at a time."""
    wanted = {
        (group, channel): np.unique(search.prefixes[:, group, channel])
        for group, channel in np.argwhere(search.sizes > 0).tolist()
    }
    for codes, values in rows():
        order = np.argsort(codes.astype(np.int16), kind="stable")
        edges = np.searchsorted(codes[order], np.arange(len(search.sizes) + 1))
        for channel, column in enumerate(np.ascontiguousarray(values[:, channels].T)):
            words = _words(column[order]) >> np.uint64(search.bits - width)
            for group in np.flatnonzero(np.diff(edges)).tolist():
                own = words[edges[group] : edges[group + 1]]
                for prefix in wanted.get((group, channel), ()):
                    low = own - (prefix << np.uint64(width))  # beyond the prefix a large number, below it as well
                    yield (group, channel, prefix), low[low < (1 << width)]


def _words(values: Array) -> Words:
    """Read numbers (n,) as whole numbers in the same order; NaN becomes the largest."""
    words = (values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    ordered: Words = np.where(words & _SIGN, ~words, words | _SIGN)
    ordered[np.isnan(values)] = np.iinfo(np.uint64).max
    return ordered


def _values(words: Words) -> Array:
    """Turn what `_words` returns into numbers again."""
    values: Array = np.where(words & _SIGN, words & ~_SIGN, ~words).view(np.float64)
    return values
