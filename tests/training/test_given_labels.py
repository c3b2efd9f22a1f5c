"""Training with regimes that are known in some rows: responsibilities, closed form, samples, starts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_observed, random_parameters
from reference import random_chain

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import GMVAE, Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, Rows, training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.model.ar_density import context, log_likelihoods
from gmvae_cli.model.chain import Chain, stationary
from gmvae_cli.system.progress import silent
from gmvae_cli.training import fit, initialization, sampling
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import collect, smoothed_labels
from gmvae_cli.training.given_labels import named, order_for_known
from gmvae_cli.training.gradient import fit_encoder
from gmvae_cli.training.sampling import draw, subsample

PRIORS = st.sampled_from(["markov", "iid"])


def random_rows(seed, n=300, D=2, K=3, missing=False, labelled=1.0):
    """Rows in float64 with lags and an intercept, and labels of a share of them."""
    rng = np.random.default_rng(seed)
    y = context(torch.as_tensor(rng.normal(size=(D, n + 1))), 1, 1, True)
    observed = random_observed(rng, D, n) if missing else torch.ones(D, n, dtype=torch.bool)
    y[:D] = torch.where(observed, y[:D], 0)
    known = np.where(rng.random(n) < labelled, np.repeat(rng.integers(0, K, n // 5), 5), -1)
    known[:K] = np.arange(K)
    steps = np.minimum(np.arange(n), 1)
    return Rows(y, observed.any(0), observed, steps, known=torch.as_tensor(known))


def random_start(seed, prior, D=2, K=3):
    rng = np.random.default_rng(seed)
    pi, A = (torch.as_tensor(part) for part in random_chain(rng, K))
    chain = Chain(pi, pi.expand(K, K)) if prior == "iid" else Chain(stationary(A), A)
    return replace(random_parameters(rng, K, D, 1), chain=chain)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), PRIORS, st.floats(1.0, 40.0), st.booleans())
def test_responsibilities_are_one_where_the_regime_is_known(seed, prior, scale, missing):
    rows = random_rows(seed, missing=missing, labelled=0.3)
    start = replace(random_start(seed, prior), evidence_scale=torch.tensor(scale, dtype=torch.float64))
    probs = collect(rows, start[None], prior == "iid").probs[0]
    labelled = rows.known >= 0
    assert (probs[rows.known[labelled], labelled.nonzero()[:, 0]] == 1).all()
    assert 0 < float(probs[0, ~labelled].mean()) < 1
    assert (smoothed_labels(rows, start, prior == "iid")[labelled] == rows.known[labelled].numpy()).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), PRIORS, st.sampled_from(["regime", "shared"]))
def test_with_every_row_labelled_a_pass_gives_the_regressions_of_the_labels(seed, prior, covariance):
    """Whatever the parameters before: least squares of numpy, with a row that follows the pooled regression."""
    rows = random_rows(seed)
    em = EM.over(rows, ModelConfig(regimes=3, prior=prior, covariance=covariance), 2, None)
    start = random_start(seed, prior)
    if covariance == "shared":
        start = replace(start, emission=replace(start.emission, scale_tril=start.emission.scale_tril[:1]))
    found = em.update(collect(rows, start[None], em.iid_prior).statistics, start[None])[0]
    y, known = rows.y.numpy().T, rows.known.numpy()
    counts, scatters = np.zeros((3, 3)), []
    of_all, *_ = np.linalg.lstsq(y[:, 2:], y[:, :2], rcond=None)
    errors = np.pad(y[:, :2] - y[:, 2:] @ of_all, ((0, 0), (0, y.shape[1] - 2))) / np.sqrt(len(y))  # without lags
    for regime in range(3):
        own = y[known == regime]
        share = min(1, (y.shape[1] - 2) / (len(own) + 1))  # of the lags of all rows
        lags = [np.sqrt((1 - share) / len(own)) * own[:, 2:], np.sqrt(share / len(y)) * y[:, 2:]]
        lags = np.concatenate(lags)
        own = np.concatenate([own, np.concatenate([lags @ of_all, lags], axis=1), errors])
        weights, *_ = np.linalg.lstsq(own[:, 2:], own[:, :2], rcond=None)
        residuals = own[:, :2] - own[:, 2:] @ weights
        np.testing.assert_allclose(found.emission.weights[regime], weights.T, atol=1e-9)
        scatters.append((residuals.T @ residuals, (known == regime).sum() + 1))
    if covariance == "shared":
        scatters = [(sum(s for s, _ in scatters), sum(n for _, n in scatters))]
    for (scatter, size), tril in zip(scatters, found.emission.scale_tril, strict=True):
        np.testing.assert_allclose(tril @ tril.mT, scatter / size, atol=1e-5, rtol=1e-5)  # a floor is 1e-6 of it
        np.testing.assert_allclose((tril @ tril.mT - torch.as_tensor(scatter / size))[0, 1], 0, atol=1e-9)
    if prior == "markov":
        np.add.at(counts, (known[:-1], known[1:]), 1)
        expected = (counts + 0.1) / (counts + 0.1).sum(1, keepdims=True)
        np.testing.assert_allclose(found.chain.transition_matrix, expected, atol=1e-9)
    else:
        law = np.bincount(known, minlength=3) + 0.1
        np.testing.assert_allclose(found.chain.initial_probs, law / law.sum(), atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), PRIORS)
def test_with_every_row_labelled_the_elbo_and_its_gradient_are_those_of_the_labels(seed, prior):
    rows = random_rows(seed, n=40)
    torch.manual_seed(seed)
    model = GMVAE(random_start(seed, prior), ModelConfig(regimes=3, prior=prior)).double()
    leaves = [model.weights, model.log_diagonal, model.lower, model.prior_logits]
    arguments = rows.y, rows.usable[None], rows.observed, rows.steps[None]
    found = model.elbo(*arguments, known=rows.known[None]).sum()
    residuals, log_det = model.decoder_residuals(rows.y)
    own = -0.5 * residuals.square().sum(0)[rows.known, torch.arange(40)] - log_det[rows.known]
    law = model.prior_logits.log_softmax(-1)
    if prior == "iid":
        path = law[rows.known].sum()
    else:
        first = stationary(law.detach().exp()).log()[rows.known[0]]
        path = first + law[rows.known[:-1], rows.known[1:]].sum()
    expected = own.sum() + path
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-9)
    gradients = zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True)
    for gradient, other in gradients:
        np.testing.assert_allclose(gradient, other, atol=1e-9)


def test_the_encoder_learns_known_regimes_as_they_are():
    """Two regimes of one law, told apart by labels alone: the sign of the first channel."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2_000, 1))
    known = (values[:, 0] > 0).astype(int)
    with SeriesData.from_arrays(values, known=known) as data:
        rows = training_rows(data, ModelConfig(regimes=2)).rows(0, 2_000)
    emission = replace(random_parameters(rng, 1, 1, 1).emission)
    emission = replace(
        emission, weights=emission.weights.repeat(2, 1, 1), scale_tril=emission.scale_tril.repeat(2, 1, 1)
    )
    torch.manual_seed(0)
    model = GMVAE(Parameters(emission, Chain(torch.full((2,), 0.5), torch.full((2, 2), 0.5))), ModelConfig(regimes=2))
    fit_encoder(model, rows, 150, torch.Generator().manual_seed(0), silent)
    guess = model.encoder(rows.y, rows.observed).argmax(-1)[rows.usable]
    assert float((guess == rows.known[rows.usable]).double().mean()) > 0.95


# --- samples ---------------------------------------------------------------------------------------------------------


def labelled_rows(total, *stretches):
    known = np.full(total, -1)
    for label, (start, stop) in enumerate(stretches):
        known[start:stop] = label
    data = SeriesData.from_arrays(np.arange(total, dtype=float)[:, None], known=known)
    return training_rows(data, ModelConfig(regimes=3))


def test_a_long_file_is_sampled_where_it_is_labelled(monkeypatch):
    """Two visits of 30 rows in 200,000, of which an eighth is held in memory."""
    monkeypatch.setattr(sampling, "SAMPLE_ROWS", 24_000)
    monkeypatch.setattr(sampling, "_PIECE", 1_000)
    rows = labelled_rows(200_000, (70_000, 70_030), (150_000, 150_030))
    for seed in range(5):
        known = draw(rows, TrainConfig(seed=seed)).rows.known
        assert torch.bincount(known[known >= 0]).tolist() == [30, 30]
        assert 22_000 <= len(known) <= 24_000


def test_a_visit_is_not_held_out():
    rows = labelled_rows(20_000, *((start, start + 150) for start in range(700, 20_000, 1_500)))
    for seed in range(10):
        sample = draw(rows, TrainConfig(seed=seed))
        assert (torch.bincount(sample.rows.known + 1)[1:] >= 75).all(), seed


def test_a_subsample_keeps_a_labelled_visit():
    rows = labelled_rows(100_000, (33_000, 33_050), (33_200, 33_260), (90_000, 90_040)).rows(0, 100_000)
    few = subsample(rows, 20_000)
    assert len(few) <= 20_000
    assert torch.bincount(few.known[few.known >= 0]).tolist() == [50, 60, 40]
    assert (np.diff(few.y[0, 1:].numpy()) > 0).all(), "a row comes twice"


# --- starts ----------------------------------------------------------------------------------------------------------


def three_levels(labels):
    """Three levels in turn, 50 rows each, of which the first visits to some are labelled; rows, EM."""
    state = np.repeat(np.arange(60) % 3, 50)
    values = np.array([0.0, 3.0, 6.0])[state][:, None] + np.random.default_rng(1).normal(size=(3_000, 1))
    known = np.full(3_000, -1)
    for number, level in enumerate(labels):
        known[level * 50 : level * 50 + 50] = number
    with SeriesData.from_arrays(values, known=known) as data:
        rows = training_rows(data, ModelConfig(regimes=3)).rows(0, 3_000)
    return rows, EM.over(rows, ModelConfig(regimes=3), 1, None), state


@pytest.mark.parametrize("labels", [(2,), (1, 0), (2, 0, 1)])
@pytest.mark.parametrize("start", [initialization.start_from_windows, initialization.start_from_levels])
def test_every_start_has_the_known_regimes_first(start, labels):
    rows, em, state = three_levels(labels)
    parameters = start(em, rows, 10, 4, torch.Generator().manual_seed(0))
    free = smoothed_labels(replace(rows, known=None), parameters, False)
    for number, level in enumerate(labels):
        assert (free[state == level] == number).mean() > 0.9, f"level {level}"


def test_short_runs_learn_known_regimes_from_the_rows_that_have_them():
    rows, em, state = three_levels((2, 0, 1))
    known = torch.as_tensor(np.array([1, 2, 0])[state])
    chosen = rows.fully_observed.nonzero()[:, 0]
    emission, law, _ = initialization.short_runs(
        em, rows.y[:, chosen], 2, torch.Generator().manual_seed(0), known[chosen]
    )
    expected = initialization.start_from_labels(em, replace(rows, known=known), np.zeros(3_000, int)).emission
    for restart in range(2):
        np.testing.assert_allclose(emission.weights[restart], expected.weights, atol=1e-9)
        np.testing.assert_allclose(law[restart], np.bincount(known[chosen]) / len(chosen), atol=1e-3)


def test_short_runs_see_labelled_rows_though_they_are_few(monkeypatch):
    rows, em, _ = three_levels((2, 0))
    seen = []
    monkeypatch.setattr(initialization, "_SHORT_ROWS", 150)
    short_runs = initialization.short_runs

    def remember(em, y, restarts, generator, known):
        seen.append(torch.bincount(known + 1).tolist())
        return short_runs(em, y, restarts, generator, known)

    monkeypatch.setattr(initialization, "short_runs", remember)
    initialization._short_starts(em, rows, 2, torch.Generator().manual_seed(0))
    assert sum(seen[0][1:]) == 75


def test_a_known_regime_is_not_made_anew_where_hardly_any_row_visits_it():
    rows, em, _ = three_levels((1,))
    known = torch.full_like(rows.known, -1)
    known[50:52] = 0  # fewer rows than a regression needs
    rows = replace(rows, known=known)
    parameters = random_start(0, "markov", D=1)
    far = replace(parameters.emission, weights=parameters.emission.weights + torch.tensor([[[0.0, 99.0]]]))
    parameters = replace(parameters, emission=far)
    chosen = []
    run_em = EM.run_em

    def remember(self, rows, parameters, *others):
        chosen.append(parameters.emission.weights.clone())
        return run_em(self, rows, parameters, *others)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(EM, "run_em", remember)
        initialization.reinitialize_empty(em, rows, parameters[None])
    assert torch.equal(chosen[0][0, 0], parameters.emission.weights[0])
    assert not torch.equal(chosen[0][0, 1], parameters.emission.weights[1])


def test_a_start_in_which_regimes_have_changed_places_is_put_right(monkeypatch):
    """Two regimes of a start that its labelled rows look like, each to the other's label."""
    rows, em, state = three_levels((2, 0))
    right = initialization.start_from_labels(em, rows, state)
    swapped = right.permuted(torch.tensor([1, 0, 2]))
    monkeypatch.setattr(fit, "best_start", lambda *arguments: swapped)
    config = TrainConfig(model=em.config, polish=0)
    found = fit.fit_em_only(rows, config, 1, 0, silent)
    torch.testing.assert_close(found.emission.weights, right.emission.weights)


@pytest.mark.parametrize("labels", [(2,), (1, 0), (2, 0, 1)])
def test_a_given_start_is_ordered_by_the_labels(labels):
    rows, em, state = three_levels(labels)
    start = initialization.start_from_labels(em, replace(rows, known=None), state)
    order = order_for_known(rows, start, False)
    assert order[: len(labels)].tolist() == list(labels)
    assert named(None, ("x", "y", "z"), order.tolist()) == ("x", "y", "z")
    earlier = named(
        SeriesData.from_arrays(np.zeros((9, 1)), known=np.arange(len(labels))).known, ("x", "y", "z"), order.tolist()
    )
    assert earlier[: len(labels)] == tuple(str(number) for number in range(len(labels)))
    assert list(earlier[len(labels) :]) == ["xyz"[number] for number in order[len(labels) :]]


def test_labels_of_a_consensus_are_numbered_like_the_known_ones_and_give_way_to_them():
    rows, em, state = three_levels((2, 0))
    parameters = initialization.start_from_labels(em, rows, (state + 1) % 3)
    levels = parameters.emission.weights[:, 0, 1] * float(1)
    assert int(levels.argmax()) == 0
    assert int(levels.argmin()) == 1
    assert log_likelihoods(rows.y, parameters.emission).shape == (3, 3_000)


def test_ranges_know_no_label_unless_they_are_asked_for():
    with SeriesData.from_arrays(np.zeros((9, 1)) + np.arange(9)[:, None], known=np.full(9, -1)) as data:
        assert LaggedRows(data, ModelConfig(), np.zeros(1), np.ones(1)).rows(0, 9).known is None
