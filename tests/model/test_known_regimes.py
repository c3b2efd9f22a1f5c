"""The mask on scores of rows whose regime is known, against enumeration of the paths that obey it."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import enumerate_paths, random_chain

from gmvae_cli.model.chain import Chain
from gmvae_cli.model.chain_autograd import chain_posterior
from gmvae_cli.model.forward_backward import smooth
from gmvae_cli.model.known_regimes import clamped
from gmvae_cli.model.viterbi import viterbi


def case(seed, rows=6, K=3):
    """Scores (rows, K), a chain, steps and known regimes of about half of the rows."""
    rng = np.random.default_rng(seed)
    pi, A = random_chain(rng, K)
    steps = rng.choice([0, 1, 1, 1, 3], size=rows)
    steps[0] = 0
    known = np.where(rng.random(rows) < 0.5, rng.integers(0, K, rows), -1)
    return rng.normal(size=(rows, K)) * 3, pi, A, steps, known


def obeying(joint, known):
    return {
        path: total
        for path, total in joint.items()
        if all(k in (-1, z) for k, z in zip(known.tolist(), path, strict=True))
    }


@given(st.integers(0, 10_000))
def test_the_posterior_is_that_of_the_paths_that_obey(seed):
    scores, pi, A, steps, known = case(seed)
    joint = obeying(enumerate_paths(scores, pi, A, steps)[3], known)
    log_marginal = np.logaddexp.reduce(list(joint.values()))
    probs, pairs = np.zeros(scores.shape), np.zeros(A.shape)
    for path, total in joint.items():
        probs[np.arange(len(path)), path] += np.exp(total - log_marginal)
        for t in np.flatnonzero(steps == 1):
            pairs[path[t - 1], path[t]] += np.exp(total - log_marginal)
    chain = Chain(torch.as_tensor(pi), torch.as_tensor(A))
    mask = clamped(torch.as_tensor(scores), torch.as_tensor(known))
    found = smooth(mask, chain, steps)
    np.testing.assert_allclose(found.smoothed_probs, probs, atol=1e-12)
    np.testing.assert_allclose(found.pair_sums, pairs, atol=1e-12)
    assert float(found.log_marginal) == pytest.approx(log_marginal)
    assert (found.smoothed_probs.numpy()[known >= 0, known[known >= 0]] == 1).all()
    assert tuple(viterbi(mask, chain, steps).tolist()) == max(joint, key=joint.get)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e15])
def test_nothing_outweighs_a_known_regime(dtype, scale):
    """However much better another regime explains the row and those beside it."""
    chain = Chain(torch.tensor([0.5, 0.5]), torch.tensor([[0.999999, 1e-6], [1e-6, 0.999999]]))
    scores = torch.tensor([[0.0, -1.0]] * 5, dtype=dtype) * scale
    known = torch.tensor([-1, -1, 1, -1, -1])
    chain = Chain(*(part.to(dtype) for part in chain))
    probs = smooth(clamped(scores, known), chain).smoothed_probs
    assert float(probs[2, 1]) == 1
    assert float(probs[2, 0]) < 1e-20
    assert viterbi(clamped(scores, known), chain).tolist()[2] == 1


@given(st.integers(0, 1_000))
def test_gradients_are_those_of_the_paths_that_obey(seed):
    """Of log Z and of the marginals, to potentials and to the chain, beside automatic differentiation."""
    scores, pi, A, _, known = case(seed, rows=4)
    leaves = [torch.tensor(array, requires_grad=True) for array in (scores, np.log(pi), np.log(A))]
    log_z, probs = chain_posterior(clamped(leaves[0][None], torch.as_tensor(known)[None]), *leaves[1:])
    found = torch.autograd.grad(log_z.sum() + (probs * leaves[0].detach().sin()).sum(), leaves)
    paths = list(obeying(enumerate_paths(scores, pi, A, np.ones(4))[3], known))
    totals = torch.stack(
        [
            leaves[1][path[0]]
            + sum(leaves[0][t, k] for t, k in enumerate(path))
            + sum(leaves[2][i, j] for i, j in steps)
            for path in paths
            for steps in [list(itertools.pairwise(path))]
        ]
    )
    weights = totals.softmax(0)
    expected_probs = torch.stack(
        [
            sum(w for w, path in zip(weights, paths, strict=True) if path[t] == k) * torch.ones(())
            for t in range(4)
            for k in range(3)
        ]
    ).view(4, 3)
    objective = totals.logsumexp(0) + (expected_probs * leaves[0].detach().sin()).sum()
    for gradient, expected in zip(found, torch.autograd.grad(objective, leaves), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-10)


def test_without_known_regimes_nothing_is_touched():
    scores = torch.randn(4, 3)
    assert clamped(scores, None) is scores
    assert torch.equal(clamped(scores, torch.full((4,), -1)), scores)
