from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.outputs import change_intervals
from gmvae_cli.outputs.change_intervals import ChangeIntervals, change_interval


def intervals(regimes, probs, starts, block_rows):
    found = ChangeIntervals()
    for start in range(0, len(regimes), block_rows):
        rows = slice(start, start + block_rows)
        found.add(LabelledRows(regimes[rows], probs[rows], np.zeros(len(regimes[rows])), starts[rows]))
    found.finish()
    return found.ended


def by_hand(regimes, probs, starts, reach):
    """All intervals of rows around each change, tried one after another."""
    edges = [t for t in range(len(regimes)) if t == 0 or starts[t] or regimes[t] != regimes[t - 1]] + [len(regimes)]
    found = []
    for at, (start, stop) in enumerate(pairwise(edges)):
        if starts[start]:
            found.append((0, 0))
            continue
        i, j = regimes[start - 1], regimes[start]
        first = start - min(reach, -(-(start - edges[at - 1]) // 2))
        last = start + min(reach, (stop - start) // 2 + 1)
        come = [probs[t, j] / (probs[t, i] + probs[t, j]) for t in range(first, last)]
        mass = {first + n: max(come[n] - come[n - 1], 0) for n in range(1, len(come))}
        total = sum(mass.values())
        if not total:
            found.append((0, 0))
            continue
        best: dict[int, tuple[float, int]] = {}  # by length: the most probable, the first of them
        for low in mass:
            for high in range(low, last):
                held = round(sum(mass[t] for t in range(low, high + 1)) / total, 12)
                if held > best.get(high - low + 1, (0.0, 0))[0]:
                    best[high - low + 1] = held, low
        rows = min(length for length, (held, _) in best.items() if held >= 0.95 - 1e-9)
        lengths = [length for length in (rows - 1, rows) if length]
        rows = min(lengths, key=lambda length: abs(best[length][0] - 0.95))
        low = best[rows][1]
        high = low + rows - 1
        found.append((min(low - start, 0), max(high - start, 0)))
    return found


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 8), st.integers(0, 10_000))
def test_intervals_are_those_found_by_trying_all_whatever_the_blocks(T, block_rows, reach, seed):
    rng = np.random.default_rng(seed)
    regimes = np.repeat(rng.integers(3, size=T), rng.integers(1, 20, size=T))[:T]
    probs = rng.dirichlet(np.ones(3), T)
    starts = (np.arange(T) == 0) | (rng.random(T) < 0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_intervals, "REACH", reach)
        assert intervals(regimes, probs, starts, block_rows) == by_hand(regimes, probs, starts, reach)


def test_a_sharp_change_has_one_row_and_a_slow_one_the_rows_of_its_rise():
    sharp = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], float)
    assert change_interval(sharp, 2) == (0, 0)
    assert change_interval(sharp, 1) == (0, 1), "the start is in the interval, wherever the probabilities rise"
    rise = np.concatenate([np.zeros(5), np.linspace(0, 1, 11), np.ones(5)])
    assert change_interval(np.column_stack([1 - rise, rise]), 10) == (-4, 4)
    assert change_interval(np.zeros((4, 2)), 2) == (0, 0)
