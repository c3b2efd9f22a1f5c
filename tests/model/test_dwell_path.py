from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import enumerate_paths, move, random_chain

from gmvae_cli.model import dwell_path
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.dwell_path import Shortest, Visit, extended, mark_type, traced
from gmvae_cli.model.viterbi import viterbi


def best_path(scores, chain, steps, rule, block_rows):
    """The path in blocks of so many rows: forward through all, then backward."""
    message, marks, path = None, [], []
    for start in range(0, len(scores), block_rows):
        rows = slice(start, start + block_rows)
        part, message = extended(scores[rows], steps[rows], chain, rule, message)
        marks.append(part)
    visit = Visit(int(message.settled.argmax()))
    for part in reversed(marks):
        regimes, visit = traced(part, visit, rule.rows)
        path.insert(0, regimes)
    return np.concatenate(path)


def visits(path, steps):
    """(start, stop) of every visit, and whether it has its series for itself."""
    starts = [0, *(t for t in range(1, len(path)) if steps[t] == 0), len(path)]
    for first, last in pairwise(starts):
        edges = [first, *(t for t in range(first + 1, last) if path[t] != path[t - 1]), last]
        yield from ((start, stop, len(edges) == 2) for start, stop in pairwise(edges))


def obeys(path, steps, shortest):
    return all(alone or stop - start >= shortest for start, stop, alone in visits(path, steps))


def score(path, scores, pi, A, steps, passing=0):
    """log p(z, x), where the first rows of a visit that follows another in its series may pass."""
    total = np.log(pi[path[0]]) + sum(np.log(move(pi, A, steps[t])[path[t - 1], path[t]]) for t in range(1, len(path)))
    evidence = scores[np.arange(len(path)), path].copy()
    for start, _, _ in visits(path, steps):
        if start and steps[start]:
            evidence[start : start + passing] = scores[start : start + passing].max(1)
    return total + evidence.sum()


def random_case(seed, K, T, sharpness=2.0):
    rng = np.random.default_rng(seed)
    pi, A = random_chain(rng, K)
    steps = rng.choice([0, 1, 1, 1, 1, 1, 3], size=T)
    steps[0] = 1  # the chain starts here whatever it says
    scores = rng.normal(size=(T, K)) * sharpness
    scores[rng.random(T) < 0.2] = 0  # rows without evidence
    return scores, pi, A, steps


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(2, 6),
    st.integers(0, 4),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(0, 10_000),
)
def test_path_is_the_best_of_all_that_obey(K, T, shortest, passing, block_rows, lane_rows, seed):
    scores, pi, A, steps = random_case(seed, K, T)
    rule = Shortest(shortest, min(passing, shortest - 2))
    joint = enumerate_paths(scores, pi, A, steps)[3]
    best = max(score(path, scores, pi, A, steps, rule.passing) for path in joint if obeys(path, steps, shortest))
    chain = Chain(torch.as_tensor(pi), torch.as_tensor(A))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dwell_path, "_LANE_ROWS", lane_rows)
        patch.setattr(dwell_path, "_LANE_DWELLS", 0)
        path = best_path(scores, chain, steps, rule, block_rows)
    assert obeys(path, steps, shortest)
    assert score(path, scores, pi, A, steps, rule.passing) == pytest.approx(best, abs=1e-9)


def test_a_path_that_obeys_by_itself_is_that_of_viterbi():
    scores, pi, A, _ = random_case(0, 3, 3_000, 0.3)
    steps = np.ones(3_000, np.int64)
    chain = Chain(torch.as_tensor(pi), torch.as_tensor(0.02 * A + 0.98 * np.eye(3)))
    free = viterbi(torch.as_tensor(scores), chain, steps).numpy()
    edges = np.flatnonzero(np.diff(free, prepend=-1, append=-1))
    shortest = int(np.diff(edges).min())
    assert len(edges) > 5 and shortest >= 2
    np.testing.assert_array_equal(best_path(scores, chain, steps, Shortest(shortest), 3_000), free)
    longer = best_path(scores, chain, steps, Shortest(shortest + 1), 3_000)
    assert obeys(longer, steps, shortest + 1) and not np.array_equal(longer, free)


@pytest.mark.parametrize("sharpness", [3.0, 0.3, 0.01])
@pytest.mark.parametrize(("shortest", "passing"), [(2, 0), (5, 1), (7, 5), (40, 2), (700, 1)])
def test_lanes_and_blocks_change_nothing(shortest, passing, sharpness, monkeypatch):
    """From weak evidence no lane guesses well, so all of them run again."""
    scores, pi, A, steps = random_case(1, 3, 5_000, sharpness)
    steps = np.where(np.random.default_rng(0).random(5_000) < 0.995, 1, steps)
    matrix = 0.05 * A + 0.95 * np.eye(3)
    chain = Chain(torch.as_tensor(pi), torch.as_tensor(matrix))
    rule = Shortest(shortest, passing)
    monkeypatch.setattr(dwell_path, "_LANE_ROWS", 10_000)
    alone = best_path(scores, chain, steps, rule, 5_000)
    monkeypatch.setattr(dwell_path, "_LANE_ROWS", 16)
    for block_rows in (5_000, 1_777):
        path = best_path(scores, chain, steps, rule, block_rows)
        assert obeys(path, steps, shortest)
        if passing:  # where two rows pass, and one says nothing, two paths are equally good
            ours, theirs = (score(one, scores, pi, matrix, steps, passing) for one in (path, alone))
            assert ours == pytest.approx(theirs, abs=1e-7)
        else:
            np.testing.assert_array_equal(path, alone)


def test_a_row_of_extreme_evidence_does_not_blur_the_next_series():
    """Sums over a row of -1e20 nats would swallow the evidence of the rows that start the next series."""
    scores = np.zeros((12, 2))
    scores[2, 0], scores[3, 1] = -1e20, -3e20
    scores[6:, 1] = 1e-3
    steps = np.array([0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1])
    chain = Chain(torch.full((2,), 0.5).double(), torch.tensor([[0.9, 0.1], [0.1, 0.9]]).double())
    assert best_path(scores, chain, steps, Shortest(5), 12).tolist() == [0] * 6 + [1] * 6


def test_moves_of_probability_0_are_made_only_where_nothing_else_obeys():
    never_stays = Chain(torch.full((2,), 0.5).double(), torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double())
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.5]])
    assert best_path(scores, never_stays, np.ones(4, np.int64), Shortest(2), 4).tolist() == [1, 1, 0, 0]
    absorbed = Chain(torch.tensor([1.0, 0.0]).double(), torch.tensor([[0.5, 0.5], [0.0, 1.0]]).double())
    scores = np.repeat([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], 30, axis=0)
    assert best_path(scores, absorbed, np.ones(90, np.int64), Shortest(3), 90).tolist() in (
        [0] * 90,
        [0] * 30 + [1] * 60,
    )


def test_more_regimes_than_a_byte_holds():
    K = 70
    scores = np.full((60, K), -5.0)
    scores[:30, 69], scores[30:, 68] = 0, 0
    matrix = torch.full((K, K), 0.1 / (K - 1)).double().fill_diagonal_(0.9)
    chain = Chain(torch.full((K,), 1 / K).double(), matrix)
    assert mark_type(64) == np.uint8 and mark_type(K) == np.uint16
    assert best_path(scores, chain, np.ones(60, np.int64), Shortest(4), 7).tolist() == [69] * 30 + [68] * 30
