"""The E-step against enumeration of all paths, and with the M-step over rows with missing cells."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_models import random_observed, random_parameters
from reference import enumerate_paths, random_chain

from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import Rows
from gmvae_cli.model.ar_density import context, log_likelihoods
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.moments import update_emission, weighted_moments
from gmvae_cli.training.expectation import collect


def test_collect_equals_enumeration():
    rng = np.random.default_rng(4)
    parameters, (pi, A) = random_parameters(rng, 2, 1, 1), random_chain(rng, 2)
    y = context(torch.as_tensor(rng.normal(size=(1, 7))), 1, 1, True)
    usable = torch.tensor([True, True, False, True, True, True])
    steps = np.array([0, 1, 1, 0, 1, 1])
    scores = np.where(usable[:, None], log_likelihoods(y, parameters.emission).mT, 0)
    log_marginal, smoothed, pairs, _ = enumerate_paths(scores, pi, A, steps)
    parameters = replace(parameters, chain=Chain(torch.as_tensor(pi), torch.as_tensor(A)))
    rows = Rows(y, usable, torch.ones(1, 6, dtype=torch.bool), steps)
    found = collect(rows, parameters[None], iid_prior=False).statistics
    assert float(found.log_marginal[0]) == pytest.approx(log_marginal)
    np.testing.assert_allclose(found.pair_sums[0], pairs, atol=1e-12)
    np.testing.assert_allclose(found.shares[0], smoothed.sum(0))
    np.testing.assert_allclose(found.occupancy[0], smoothed[usable].sum(0))
    np.testing.assert_allclose(found.first_probs[0], smoothed[[0, 3]].sum(0))
    weights = smoothed * usable.numpy()[:, None]
    np.testing.assert_allclose(found.moments[0], np.einsum("at,bt,tk->kab", y, y, weights))
    assert (found.rows, found.usable_rows, found.num_series) == (6, 5, 2)


def test_an_update_with_missing_cells_never_lowers_the_likelihood():
    """Expectation-maximisation over partly observed rows, from random parameters."""
    rng = np.random.default_rng(7)
    parameters = random_parameters(rng, 2, 3, 1)
    y = context(torch.as_tensor(rng.normal(size=(3, 400))), 1, 1, True)
    observed = random_observed(rng, 3, y.shape[1])
    usable = observed.any(0)
    y[:3] = torch.where(observed, y[:3], 0)
    steps = np.minimum(np.arange(y.shape[1]), 1)
    pooled = weighted_moments(y, torch.ones(1, y.shape[1], dtype=y.dtype))[0] / y.shape[1]
    law = torch.full((1, 2), 0.5, dtype=torch.float64)
    emission, chain = parameters.emission[None], Chain(law, law.expand(1, 2, 2))
    rows, path = Rows(y, usable, observed, steps), []
    for _ in range(12):
        found = collect(rows, Parameters(emission, chain, torch.ones(1)), iid_prior=True).statistics
        path.append(float(found.log_marginal))
        emission = update_emission(found.moments, found.occupancy, pooled, 3, False, pooled_rows=1e-6)
    assert all(b > a - 1e-6 for a, b in itertools.pairwise(path))
    assert path[-1] > path[0] + 50
