import importlib
import itertools
import math
import operator
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_parameters
from reference import random_chain
from scipy.stats import multivariate_t

from gmvae_cli import core
from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import GMVAE, relaxed_regimes, temperature_at
from gmvae_cli.model.ar_density import context, log_likelihoods
from gmvae_cli.model.chain import Chain, stationary
from gmvae_cli.model.forward_backward import smooth


def random_model(seed, K=3, D=2, P=1, prior="markov", covariance="regime", noise="normal"):
    """A GMVAE in float64 whose encoder is random, with rows for one chunk: (model, y, mask, observed)."""
    rng = np.random.default_rng(seed)
    config = ModelConfig(regimes=K, lags=P, prior=prior, covariance=covariance, noise=noise)
    parameters = random_parameters(rng, K, D, P, shared=covariance == "shared")
    if noise == "student":
        heavy = replace(parameters.emission, degrees=torch.tensor([2.5], dtype=torch.float64))
        parameters = replace(parameters, emission=heavy)
    pi, A = (torch.as_tensor(part) for part in random_chain(rng, K))
    chain = Chain(pi, pi.expand(K, K)) if prior == "iid" else Chain(stationary(A), A)
    torch.manual_seed(seed)
    parameters = replace(parameters, chain=chain)
    model = GMVAE(parameters, config).double()
    model.set_parameters(parameters)
    model.requires_grad_(False)
    y = context(torch.as_tensor(rng.normal(size=(D, 40 + P))), P, 1, True)
    return model, y, torch.ones(1, 40, dtype=torch.bool), torch.ones(D, 40, dtype=torch.bool)


def log_marginal(model, y):
    scores, chain = log_likelihoods(y, model.emission()), model.chain()
    if model.config.prior == "iid":
        return float((scores + chain.initial_probs.log()[:, None]).logsumexp(0).sum())
    return float(smooth(scores.mT, chain).log_marginal)


MAP = re.findall(r"^ {4}(\S.*?) {2,}([\w.]+):([\w.]+)$", core.__doc__, re.MULTILINE)


def test_the_map_from_formulas_to_functions_is_long_and_names_each_formula_once():
    formulas = [formula for formula, _, _ in MAP]
    assert len(formulas) == len(set(formulas)) == core.__doc__.split("gmvae_cli`:")[1].strip().count("\n") + 1
    assert len(formulas) > 35


@pytest.mark.parametrize(("formula", "module", "name"), MAP)
def test_the_map_from_formulas_names_functions_that_exist(formula, module, name):
    found = operator.attrgetter(name)(importlib.import_module(f"gmvae_cli.{module}"))
    assert callable(found), formula
    assert found.__module__ == f"gmvae_cli.{module}", f"{formula}: {name} is defined in {found.__module__}"


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["markov", "iid"]),
    st.sampled_from(["regime", "shared"]),
    st.sampled_from(["normal", "student"]),
)
def test_elbo_never_exceeds_the_log_marginal(seed, prior, covariance, noise):
    model, y, usable, observed = random_model(seed, K=1 + seed % 4, prior=prior, covariance=covariance, noise=noise)
    assert float(model.elbo(y, usable, observed).sum()) <= log_marginal(model, y) + 1e-9


@pytest.mark.parametrize("prior", ["markov", "iid"])
@pytest.mark.parametrize(("covariance", "noise"), [("regime", "normal"), ("shared", "normal"), ("regime", "student")])
def test_elbo_is_the_log_marginal_where_the_potentials_are_the_decoder(prior, covariance, noise, monkeypatch):
    model, y, usable, observed = random_model(5, prior=prior, covariance=covariance, noise=noise)
    loose = float(model.elbo(y, usable, observed).sum())
    monkeypatch.setattr(model.encoder, "forward", lambda y, observed: log_likelihoods(y, model.emission()).mT)
    assert float(model.elbo(y, usable, observed).sum()) == pytest.approx(log_marginal(model, y), abs=1e-5)
    assert loose < log_marginal(model, y) - 0.1


@pytest.mark.parametrize("prior", ["markov", "iid"])
def test_with_one_regime_the_elbo_is_the_autoregressive_likelihood(prior):
    model, y, usable, observed = random_model(1, K=1, prior=prior)
    expected = float(log_likelihoods(y, model.emission()).sum())
    assert float(model.elbo(y, usable, observed).sum()) == pytest.approx(expected, abs=1e-9)


def test_rows_that_are_not_usable_count_for_nothing():
    model, y, usable, observed = random_model(2, prior="iid")
    usable[0, 10:20] = False
    kept = usable[0]
    assert float(model.elbo(y, usable, observed)[0]) == pytest.approx(
        float(model.elbo(y[:, kept], usable[:, kept], observed[:, kept])[0])
    )


def test_the_relaxed_reconstruction_goes_through_the_mean_with_a_shared_covariance():
    """Normal(x; sum_k z_k Pi_k h, Sigma) by torch's own distribution, with the sample of the same noise."""
    model, y, usable, _ = random_model(3, covariance="shared")
    probs = torch.rand(1, 40, 3, dtype=torch.float64).softmax(-1)
    found = model.reconstruction(y, probs, usable, 0.7, torch.Generator().manual_seed(1))
    relaxed = relaxed_regimes(probs.log(), 0.7, torch.Generator().manual_seed(1))[0]
    emission = model.emission()
    mean = torch.einsum("tk,kdc,ct->td", relaxed, emission.weights, y[2:])
    normal = torch.distributions.MultivariateNormal(mean, scale_tril=emission.scale_tril[0])
    assert float(found) == pytest.approx(float(normal.log_prob(y[:2].T).sum()), rel=1e-9)


def test_the_relaxed_reconstruction_of_student_noise_goes_through_the_mean_and_doubts_rows():
    model, y, usable, _ = random_model(3, covariance="shared", noise="student")
    probs = torch.rand(1, 40, 3, dtype=torch.float64).softmax(-1)
    lag_inflation = torch.linspace(1, 9, 40, dtype=torch.float64)
    found = model.reconstruction(y, probs, usable, 0.7, torch.Generator().manual_seed(1), lag_inflation)
    relaxed = relaxed_regimes(probs.log(), 0.7, torch.Generator().manual_seed(1))[0]
    emission = model.emission()
    mean = torch.einsum("tk,kdc,ct->td", relaxed, emission.weights, y[2:]).numpy()
    shape = (emission.scale_tril[0] @ emission.scale_tril[0].mT).numpy()
    rows = (
        multivariate_t(mean[t], shape * float(lag_inflation[t]), df=2.5).logpdf(y[:2, t].numpy()) for t in range(40)
    )
    assert float(found) == pytest.approx(sum(rows), rel=1e-6)


def test_the_relaxed_reconstruction_mixes_log_densities_with_a_covariance_per_regime():
    model, y, usable, _ = random_model(3)
    probs = torch.rand(1, 40, 3, dtype=torch.float64).softmax(-1)
    found = model.reconstruction(y, probs, usable, 0.7, torch.Generator().manual_seed(1))
    relaxed = relaxed_regimes(probs.log(), 0.7, torch.Generator().manual_seed(1))[0]
    expected = (relaxed.T * log_likelihoods(y, model.emission())).sum()
    assert float(found) == pytest.approx(float(expected), rel=1e-9)


def test_relaxed_regimes_follow_the_law_when_cold():
    """At a low temperature the sample is nearly one-hot and its argmax has the law q (the Gumbel-max trick)."""
    law = torch.tensor([0.6, 0.3, 0.1])
    sample = relaxed_regimes(law.log().expand(20_000, 3), 0.01, torch.Generator().manual_seed(0))
    assert float((sample.amax(-1) > 0.99).float().mean()) > 0.95
    np.testing.assert_allclose(np.bincount(sample.argmax(-1)) / 20_000, law, atol=0.015)


@pytest.mark.parametrize("shape", ["exponential", "linear", "cosine"])
def test_temperature_falls_from_start_to_end(shape):
    config = TrainConfig(anneal=shape, temperature_start=2.0, temperature_end=0.25)
    path = [temperature_at(step, 50, config) for step in range(50)]
    assert path[0] == pytest.approx(2.0)
    assert path[-1] == pytest.approx(0.25)
    assert all(a > b for a, b in itertools.pairwise(path))
    middle = {"exponential": math.sqrt(2 * 0.25), "linear": 1.125, "cosine": 1.125}[shape]
    assert temperature_at(25, 51, config) == pytest.approx(middle)
    assert temperature_at(10**6, 50, config) == pytest.approx(0.25)


def test_permuting_regimes_only_permutes():
    rng = np.random.default_rng(0)
    parameters = random_parameters(rng, 3, 2, 1)
    order = torch.tensor([2, 0, 1])
    y = context(torch.as_tensor(rng.normal(size=(2, 30))), 1, 1, True)
    before = log_likelihoods(y, parameters.emission)
    torch.testing.assert_close(log_likelihoods(y, parameters.permuted(order).emission), before[order])
    chain = Chain(*(torch.as_tensor(part) for part in random_chain(rng, 3)))
    permuted = replace(parameters, chain=chain).permuted(order).chain
    for i, j in itertools.product(range(3), repeat=2):
        assert permuted.transition_matrix[i, j] == chain.transition_matrix[order[i], order[j]]
        assert permuted.initial_probs[i] == chain.initial_probs[order[i]]


def test_rescaled_parameters_predict_the_same():
    rng = np.random.default_rng(0)
    parameters = random_parameters(rng, 3, 2, 2)
    mean, scale, other_mean, other_scale = (torch.as_tensor(rng.uniform(0.5, 3, size=2)) for _ in range(4))
    x = torch.as_tensor(rng.normal(size=(2, 30)))
    moved = (x * scale[:, None] + mean[:, None] - other_mean[:, None]) / other_scale[:, None]
    there = parameters.rescaled(2, mean, scale, other_mean, other_scale)
    before = log_likelihoods(context(x, 2, 1, True), parameters.emission) - scale.log().sum()
    after = log_likelihoods(context(moved, 2, 1, True), there.emission) - other_scale.log().sum()
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"prior": "iid", "covariance": "shared", "intercept": False}, 12 + 3 + 2, id="iid"),
        pytest.param({"covariance": "shared", "intercept": False}, 12 + 3 + 6, id="chain"),
        pytest.param({}, 12 + 6 + 9 + 6, id="an intercept and a covariance each"),
        pytest.param({"lags": 2, "noise": "student"}, 24 + 6 + 9 + 1 + 6, id="two lags and degrees of freedom"),
        pytest.param({"prior": "iid", "fixed_prior": True}, 12 + 6 + 9, id="a fixed prior"),
    ],
)
def test_free_parameters_of_three_regimes_and_two_channels(options, expected):
    """Weights, intercepts, covariances of 3 numbers each, degrees of freedom, and the law or the rows of the chain."""
    assert ModelConfig(regimes=3, **options).num_free_parameters(2) == expected


@pytest.mark.parametrize("covariance", ["regime", "shared"])
def test_regimes_that_differ_in_level_alone_have_weights_and_a_covariance_once(covariance):
    assert ModelConfig(regimes=3, lags=2, covariance=covariance).num_free_parameters(2, levels=True) == 8 + 6 + 3 + 6
