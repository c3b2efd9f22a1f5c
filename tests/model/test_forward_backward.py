import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import enumerate_paths, filter_rows, random_chain

from gmvae_cli.model import forward_backward
from gmvae_cli.model.chain import Chain, expected_dwell, persistent, stationary
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.model.viterbi import viterbi


def chain(pi, A):
    return Chain(torch.as_tensor(pi), torch.as_tensor(A))


def draw(seed, scale=2.0, holes=True):
    """Log-likelihoods (T, K) of a short series, with its chain and steps."""
    rng = np.random.default_rng(seed)
    T, K = rng.integers(1, 8), rng.integers(1, 4)
    pi, A = random_chain(rng, K)
    steps = rng.choice([0, 1, 1, 1, 2, 5], size=T) if holes else np.ones(T, int)
    steps[0] = 0
    return rng.normal(size=(T, K)) * scale, pi, A, steps


@pytest.mark.parametrize("seed", range(24))
def test_smoother_equals_enumeration_for_every_block_size(seed):
    scores, pi, A, steps = draw(seed, holes=seed % 2 == 0)
    log_marginal, smoothed, pairs, _ = enumerate_paths(scores, pi, A, steps)
    for block_rows in range(1, len(scores) + 1):
        result = forward_backward.smooth(torch.as_tensor(scores), chain(pi, A), steps, block_rows)
        assert float(result.log_marginal) == pytest.approx(log_marginal, abs=1e-9)
        np.testing.assert_allclose(result.smoothed_probs, smoothed, rtol=0, atol=1e-9)
        np.testing.assert_allclose(result.pair_sums, pairs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(24))
def test_filter_equals_the_recursion_for_every_block_size(seed):
    scores, pi, A, steps = draw(seed)
    filtered, rows = filter_rows(scores, pi, A, steps)
    for block_rows in range(1, len(scores) + 1):
        result = forward_backward.filter(torch.as_tensor(scores), chain(pi, A), steps, block_rows)
        np.testing.assert_allclose(result.filtered_probs, filtered, rtol=0, atol=1e-9)
        np.testing.assert_allclose(result.row_log_likelihoods, rows, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(24))
def test_transfers_carry_the_message_and_the_log_likelihood_over_the_blocks(seed):
    scores, pi, A, steps = draw(seed)
    filtered, rows = filter_rows(scores, pi, A, steps)
    for block_rows in range(1, len(scores) + 1):
        lattice = Lattice(torch.as_tensor(scores)[None], steps, chain(pi, A), block_rows, start=True)
        lattice.exponentiate()
        transfers = forward_backward.forward_transfers(lattice, pi[None])
        assert float(transfers.log_marginal[0] + lattice.log_scale.sum()) == pytest.approx(rows.sum(), abs=1e-9)
        np.testing.assert_allclose(transfers.last[0], filtered[-1], rtol=0, atol=1e-9)
        np.testing.assert_allclose(
            transfers.edges[1:, 0], filtered[block_rows - 1 : -1 : block_rows], rtol=0, atol=1e-9
        )


@pytest.mark.parametrize("seed", range(24))
def test_predicted_laws_are_the_filters_of_rows_that_say_nothing(seed):
    scores, pi, A, steps = draw(seed)
    filtered, _ = filter_rows(scores, pi, A, steps)
    unseen = [scores[: t + 1] * (np.arange(t + 1) < t)[:, None] for t in range(len(scores))]
    expected = np.stack([filter_rows(seen, pi, A, steps[: len(seen)])[0][-1] for seen in unseen])
    for cut in range(len(scores)):
        message = torch.as_tensor(filtered[cut - 1] if cut else pi)
        result = forward_backward.predict(torch.as_tensor(filtered[cut:]), chain(pi, A), steps[cut:], message)
        np.testing.assert_allclose(result, expected[cut:], rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(24))
def test_viterbi_equals_enumeration_for_every_block_size(seed):
    scores, pi, A, steps = draw(seed)
    _, _, _, joint = enumerate_paths(scores, pi, A, steps)
    for block_rows in range(1, len(scores) + 1):
        path = viterbi(torch.as_tensor(scores), chain(pi, A), steps, block_rows)
        assert joint[tuple(path.tolist())] == pytest.approx(max(joint.values()), abs=1e-9)


@pytest.mark.parametrize("K", [128, 129, 300])
def test_viterbi_knows_hundreds_of_regimes(K):
    expected = np.random.default_rng(0).integers(K, size=40)
    scores = 100 * torch.eye(K, dtype=torch.float64)[expected]
    law = chain(np.full(K, 1 / K), np.full((K, K), 1 / K))
    assert viterbi(scores, law, None, 7).tolist() == expected.tolist()


def test_viterbi_breaks_ties_to_the_lowest_regime():
    flat = torch.zeros(9, 3, dtype=torch.float64)
    uniform = chain(np.full(3, 1 / 3), np.full((3, 3), 1 / 3))
    for block_rows in range(1, 10):
        assert viterbi(flat, uniform, None, block_rows).tolist() == [0] * 9


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 6), st.integers(1, 60), st.integers(0, 10_000))
def test_block_size_changes_nothing(T, K, block_rows, seed):
    rng = np.random.default_rng(seed)
    scores = torch.as_tensor(rng.normal(size=(T, K)) * 3)
    law = chain(*random_chain(rng, K))
    steps = rng.choice([0, 1, 1, 1, 1, 7, 300], size=T)
    single_block = forward_backward.smooth(scores, law, steps, T)
    many = forward_backward.smooth(scores, law, steps, min(block_rows, T))
    for whole, cut in zip(single_block, many, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-9, atol=1e-9)
    assert torch.equal(viterbi(scores, law, steps, T), viterbi(scores, law, steps, min(block_rows, T)))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 200), st.integers(0, 10_000), st.data())
def test_messages_carry_a_series_over_any_cut(T, seed, data):
    rng = np.random.default_rng(seed)
    scores = torch.as_tensor(rng.normal(size=(1, T, 3)) * 3)
    law = chain(*random_chain(rng, 3))
    steps = rng.choice([0, 1, 1, 1, 4], size=T)
    cut = data.draw(st.integers(1, T - 1))
    whole, _ = forward_backward.backward(forward_backward.forward(scores, law, steps))
    first = forward_backward.forward(scores[:, :cut], law, steps[:cut])
    second = forward_backward.forward(scores[:, cut:], law, steps[cut:], first.message)
    again = forward_backward.forward(scores[:, cut:], law, steps[cut:], first.message, transfers=second.transfers)
    late, beta = forward_backward.backward(again)
    early, _ = forward_backward.backward(first, beta)
    joined = torch.cat([early.smoothed_probs, late.smoothed_probs], 1)
    torch.testing.assert_close(joined, whole.smoothed_probs, rtol=0, atol=1e-10)
    rows = torch.cat([early.row_log_likelihoods, late.row_log_likelihoods], 1)
    torch.testing.assert_close(rows, whole.row_log_likelihoods, rtol=0, atol=1e-10)


def test_batched_chains_equal_single_ones():
    rng = np.random.default_rng(3)
    scores = torch.as_tensor(rng.normal(size=(4, 50, 3)))
    laws = [chain(*random_chain(rng, 3)) for _ in range(4)]
    stacked = Chain(*(torch.stack(part) for part in zip(*laws, strict=True)))
    batched = forward_backward.smooth(scores, stacked)
    for index, law in enumerate(laws):
        single = forward_backward.smooth(scores[index], law)
        for batch, alone in zip(batched, single, strict=True):
            torch.testing.assert_close(batch[index], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_million_rows_with_scores_scaled_by_100_have_no_nan(dtype):
    generator = torch.Generator().manual_seed(0)
    scores = 100 * torch.randn(1_000_000, 4, generator=generator, dtype=dtype)
    law = Chain(torch.full((4,), 0.25, dtype=dtype), persistent(4, 50).to(dtype))
    result = forward_backward.smooth(scores, law)
    assert all(bool(torch.isfinite(part).all()) for part in result)
    torch.testing.assert_close(result.smoothed_probs.sum(-1), torch.ones(1_000_000, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_zeros_give_no_nan(dtype):
    """A chain that only moves on, against log-likelihoods that favour going back."""
    A = torch.tensor([[0.9, 0.1, 0], [0, 0.9, 0.1], [0, 0, 1]], dtype=dtype)
    scores = torch.zeros(300, 3, dtype=dtype)
    scores[:100, 2], scores[100:200, 1], scores[200:, 0] = 50, 50, 50
    for block_rows in (1, 17, 300):
        result = forward_backward.smooth(scores, Chain(torch.tensor([1.0, 0, 0], dtype=dtype), A), None, block_rows)
        assert all(bool(torch.isfinite(part).all()) for part in result)
    assert viterbi(scores, Chain(torch.tensor([1.0, 0, 0], dtype=dtype), A)).diff().min() >= 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_no_reachable_regime_explains_give_no_nan(dtype):
    """The chain cannot leave regime 0, and every third row is e^-5000 times as likely there as in regime 1."""
    scores = torch.zeros(100, 2, dtype=dtype)
    scores[::3, 0] = -5000
    stuck = Chain(torch.tensor([1.0, 0], dtype=dtype), torch.eye(2, dtype=dtype))
    for block_rows in (1, 17, 100):
        result = forward_backward.smooth(scores, stuck, None, block_rows)
        assert result.smoothed_probs.tolist() == [[1.0, 0.0]] * 100


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 80), st.data(), st.integers(0, 10_000))
def test_filter_uses_no_later_row(T, data, seed):
    rng = np.random.default_rng(seed)
    scores = torch.as_tensor(rng.normal(size=(T, 3)) * 2)
    law = chain(*random_chain(rng, 3))
    t = data.draw(st.integers(1, T - 1))
    changed = scores.clone()
    changed[t:] += torch.as_tensor(rng.normal(size=(T - t, 3)) * 5)
    before, after = (forward_backward.filter(s, law, None, 7).filtered_probs for s in (scores, changed))
    torch.testing.assert_close(before[:t], after[:t], rtol=0, atol=1e-12)
    assert not torch.allclose(before[t], after[t], rtol=0, atol=1e-12)


def test_stationary_law_stays():
    _, A = random_chain(np.random.default_rng(5), 6)
    law = stationary(torch.as_tensor(A))
    np.testing.assert_allclose(law @ torch.as_tensor(A), law, atol=1e-12)
    assert float(law.sum()) == pytest.approx(1)
    np.testing.assert_allclose(stationary(torch.eye(3, dtype=torch.float64)), np.full(3, 1 / 3))


def test_persistent_chain_has_the_dwell_asked_for():
    A = persistent(4, 20.0)
    np.testing.assert_allclose(expected_dwell(A), np.full(4, 20.0))
    np.testing.assert_allclose(A.sum(-1), np.ones(4))
    assert persistent(1, 20.0).tolist() == [[1.0]]


@pytest.mark.parametrize("dwell", [1.0, 4 / 3])
def test_visits_as_short_as_those_of_independent_rows_make_every_regime_as_likely(dwell):
    np.testing.assert_allclose(persistent(4, dwell), np.full((4, 4), 0.25))
