"""Student t noise: density, weights, updates, training and what outliers do to it."""

import itertools

import numpy as np
import pytest
import recovery
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_observed, random_parameters
from scipy import integrate, optimize, stats

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data import simulation
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.model import student_t
from gmvae_cli.model.ar_density import Emission, context, log_likelihoods, patterns, weighted_log_likelihoods
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.moments import inliers, robust_moments, update_emission, weighted_moments
from gmvae_cli.model.student_t import LagIndex
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import collect
from gmvae_cli.training.initialization import with_noise


def heavy(seed, K, D, P, nu=3.0, shared=False):
    """Random parameters of a decoder with Student t noise."""
    emission = random_parameters(np.random.default_rng(seed), K, D, P, shared).emission
    return Emission(emission.weights, emission.scale_tril, torch.tensor([nu], dtype=torch.float64))


def spiked(seed, T, D):
    """Rows (T, D) with gaps, empty cells and spikes, and their steps."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(T, D))
    values[rng.random((T, D)) < 0.1] *= 50
    values[rng.random((T, D)) < 0.05] = np.nan
    steps = rng.choice([0, 1, 1, 1, 1, 1, 1, 1, 1, 3], size=T)
    steps[0] = 0
    return values, steps


def lagged_rows(values, steps=None, **model):
    D = values.shape[1]
    return LaggedRows(
        SeriesData.from_arrays(values, steps),
        ModelConfig(noise="student", **model),
        np.zeros(D),
        np.ones(D),
        torch.float64,
    )


# --- density ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nu", [1.0, 2.5, 30.0, 1000.0])
@pytest.mark.parametrize(("D", "shared"), [(1, False), (3, True)])
def test_partly_and_wholly_observed_rows_have_the_density_of_scipy(nu, D, shared):
    rng = np.random.default_rng(0)
    emission = heavy(1, 2, D, 1, nu, shared)
    y = np.concatenate([3 * rng.normal(size=(2 * D, 40)), np.ones((1, 40))])
    observed = random_observed(rng, D, 40) if D > 1 else torch.ones(D, 40, dtype=torch.bool)
    result = log_likelihoods(torch.as_tensor(y), emission, patterns(observed))
    shape = (emission.scale_tril @ emission.scale_tril.mT).expand(2, D, D).numpy()
    for t, k in itertools.product(range(40), range(2)):
        o = observed[:, t].numpy()
        if o.any():
            mean = (emission.weights[k].numpy() @ y[D:, t])[o]
            expected = stats.multivariate_t(mean, shape[k][np.ix_(o, o)], df=nu).logpdf(y[:D, t][o])
            assert float(result[k, t]) == pytest.approx(expected, rel=1e-9)


def test_partly_observed_rows_weigh_by_what_is_observed():
    """(nu + o) / (nu + r^2), with the o observed channels and their Mahalanobis distance r alone."""
    rng = np.random.default_rng(3)
    emission = heavy(2, 2, 3, 1)
    y = np.concatenate([3 * rng.normal(size=(6, 40)), np.ones((1, 40))])
    observed = random_observed(rng, 3, 40)
    _, weights = weighted_log_likelihoods(torch.as_tensor(y), emission, patterns(observed))
    shape = (emission.scale_tril @ emission.scale_tril.mT).numpy()
    for t, k in itertools.product(range(40), range(2)):
        o = observed[:, t].numpy()
        if o.any():
            residual = (y[:3, t] - emission.weights[k].numpy() @ y[3:, t])[o]
            square = residual @ np.linalg.solve(shape[k][np.ix_(o, o)], residual)
            assert float(weights.mean[k, t]) == pytest.approx((3 + o.sum()) / (3 + square), rel=1e-9)


def expected_row(values, steps, emission, t, model, weighed):
    """Row by row, by scipy: (K,) log-likelihoods of row t, None if not usable; notes in `weighed` its own weight."""
    D, P, s = values.shape[1], model.lags, model.stride
    lagged = [t - p * s for p in range(1, P + 1)]
    if lagged[-1] < 0 or any(steps[u] != 1 for u in range(lagged[-1] + 1, t + 1)):
        return None
    o = ~np.isnan(values[t])
    if np.isnan(values[lagged]).any() or not o.any():
        return None
    h, nu = np.append(values[lagged].ravel(), 1), float(emission.degrees)
    shapes = (emission.scale_tril @ emission.scale_tril.mT).numpy()
    means = [weights @ h for weights in emission.weights.numpy()]
    if o.all():
        squares = [(values[t] - m) @ np.linalg.solve(S, values[t] - m) for m, S in zip(means, shapes, strict=True)]
        weighed[t] = min(1.0, (nu + D) / (nu + min(squares)))
    v = min(weighed.get(u, 1.0) for u in lagged)
    return [
        stats.multivariate_t(m[o], S[np.ix_(o, o)] / v, df=nu).logpdf(values[t][o])
        for m, S in zip(means, shapes, strict=True)
    ]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 2), st.integers(1, 2), st.integers(1, 40))
def test_rows_are_inflated_by_the_weight_of_their_lags_for_every_block_size(seed, lags, stride, block_rows):
    values, steps = spiked(seed, 60, 2)
    source, emission = lagged_rows(values, steps, lags=lags, stride=stride), heavy(seed, 2, 2, lags)
    blocks = list(source.blocks(block_rows))
    result = torch.cat([log_likelihoods(rows.y, emission, rows.partial, rows.lag_index) for rows in blocks], dim=1)
    usable, weighed = torch.cat([rows.usable for rows in blocks]), {}
    for t in range(60):
        expected = expected_row(values, steps, emission, t, source.model, weighed)
        assert bool(usable[t]) == (expected is not None)
        if expected is not None:
            np.testing.assert_allclose(result[:, t], expected, rtol=1e-9)


def test_stretches_keep_the_past_that_they_had():
    values, _ = spiked(5, 90, 2)
    source, emission = lagged_rows(values, lags=2, stride=2), heavy(5, 2, 2, 2)
    whole, stretches = source.rows(0, 90), source.pieces([(10, 40), (55, 80)])
    joined = log_likelihoods(stretches.y, emission, stretches.partial, stretches.lag_index)
    scores = log_likelihoods(whole.y, emission, whole.partial, whole.lag_index)
    torch.testing.assert_close(joined, torch.cat([scores[:, 10:40], scores[:, 55:80]], dim=1))
    middle = stretches.rows(20, 50)
    torch.testing.assert_close(log_likelihoods(middle.y, emission, middle.partial, middle.lag_index), joined[:, 20:50])
    plain = log_likelihoods(stretches.y, emission, stretches.partial)
    assert float((joined - plain)[:, stretches.usable].abs().max()) > 1, "some lag was an outlier"


def test_a_value_beyond_all_numbers_is_an_outlier():
    y = torch.tensor([[1e30, 0.0], [0.0, 1e30], [1.0, 1.0]])
    scores = log_likelihoods(
        y, heavy(0, 2, 1, 1).to(y), lag_index=LagIndex.of(y, torch.ones(2, dtype=torch.bool), 1, 1)
    )
    assert bool(torch.isfinite(scores).all())


# --- weights and updates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nu", "D", "square", "lag_inflation"), [(3.0, 1, 0.5, 1.0), (1.5, 3, 40.0, 4.0), (50.0, 2, 9.0, 2.0)]
)
def test_weights_are_the_moments_of_a_scale_mixture(nu, D, square, lag_inflation):
    """E[w] by integration over w; slope and curvature in nu by differences of scipy's density."""

    def joint(w):
        return stats.gamma(nu / 2, scale=2 / nu).pdf(w) * w ** (D / 2) * np.exp(-0.5 * w * square / lag_inflation)

    def log_density(degrees):
        where = np.r_[np.sqrt(square / lag_inflation), np.zeros(D - 1)]
        return stats.multivariate_t(np.zeros(D), np.eye(D), df=degrees).logpdf(where)

    result = student_t.row_weights(
        torch.tensor([[square]], dtype=torch.float64),
        torch.tensor([nu], dtype=torch.float64),
        D,
        torch.tensor([lag_inflation], dtype=torch.float64),
    )
    mean = integrate.quad(lambda w: w * joint(w), 0, np.inf)[0] / integrate.quad(joint, 0, np.inf)[0]
    step = 1e-3 * nu
    low, middle, high = (log_density(nu + shift) for shift in (-step, 0, step))
    assert float(result.mean) == pytest.approx(mean, rel=1e-6)
    assert float(result.total) == pytest.approx(mean / lag_inflation, rel=1e-6)
    assert float(result.slope) == pytest.approx((high - low) / (2 * step), rel=1e-4)
    assert float(result.curvature) == pytest.approx((high - 2 * middle + low) / step**2, rel=1e-3)


@pytest.mark.parametrize("truth", [1.2, 4.0, 40.0])
def test_newton_steps_reach_the_degrees_that_scipy_fits(truth):
    draws = stats.t(truth).rvs(20_000, random_state=1)
    squares, degrees = torch.as_tensor(draws**2)[None], torch.tensor([5.0], dtype=torch.float64)
    for _ in range(12):
        result = student_t.row_weights(squares, degrees, 1, None)
        degrees = student_t.update_degrees(degrees, result.slope.sum(-1), result.curvature.sum(-1))
    expected, *_ = stats.t.fit(draws, floc=0, fscale=1)
    assert float(degrees) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("slope", "curvature", "expected"),
    [
        pytest.param(0.005, -0.01, 4.8, id="to the top of the parabola in 1 / nu"),
        pytest.param(0.015, -0.01, 8.0, id="at most twice as many"),
        pytest.param(-0.001, 0.01, 2.0, id="downhill where there is no top"),
    ],
)
def test_a_step_from_four_degrees_worked_by_hand(slope, curvature, expected):
    """In u = 1 / nu: L' = -16 slope and L'' = 256 curvature + 128 slope, at u = 0.25."""
    tensors = (torch.tensor([value], dtype=torch.float64) for value in (4.0, slope, curvature))
    assert float(student_t.update_degrees(*tensors)) == pytest.approx(expected, rel=1e-12)


def test_lags_that_are_unusable_or_before_the_first_row_are_not_indexed():
    usable = torch.tensor([True, False, True, True, True])
    index = LagIndex.of(torch.zeros(3, 5), usable, 2, 1)
    assert index.rows.tolist() == [[-1, 0, -1, 2, 3], [-1, -1, 0, -1, 2]]
    assert index.history.shape == (3, 0)


def test_light_tails_end_at_the_upper_bound():
    squares, degrees = torch.ones(1, 100, dtype=torch.float64), torch.tensor([5.0], dtype=torch.float64)
    for _ in range(12):
        result = student_t.row_weights(squares, degrees, 1, None)
        degrees = student_t.update_degrees(degrees, result.slope.sum(-1), result.curvature.sum(-1))
    assert float(degrees) == student_t.DEGREES[1]


@pytest.mark.parametrize("shared", [True, False])
def test_an_update_never_lowers_the_likelihood_while_no_lag_is_an_outlier(shared):
    """Over partly observed rows with heavy tails, from random parameters."""
    rng = np.random.default_rng(7)
    y = context(torch.as_tensor(rng.standard_t(2, size=(3, 400))), 1, 1, True)
    observed = random_observed(rng, 3, y.shape[1])
    usable = observed.any(0)
    y[:3] = torch.where(observed, y[:3], 0)
    steps = np.minimum(np.arange(y.shape[1]), 1)
    pooled = weighted_moments(y, torch.ones(1, y.shape[1], dtype=y.dtype))[0] / y.shape[1]
    law = torch.full((1, 2), 0.5, dtype=torch.float64)
    emission, chain, path = heavy(7, 2, 3, 1, 10.0, shared)[None], Chain(law, law.expand(1, 2, 2)), []
    rows, scale = Rows(y, usable, observed, steps), torch.ones(1)
    for _ in range(15):
        result = collect(rows, Parameters(emission, chain, scale), iid_prior=True).statistics
        path.append(float(result.log_marginal))
        degrees = student_t.update_degrees(emission.degrees, result.slope, result.curvature)
        emission = update_emission(result.moments, result.weight, pooled, 3, shared, pooled_rows=1e-6)
        emission = Emission(emission.weights, emission.scale_tril, degrees)
    assert all(b > a - 1e-6 for a, b in itertools.pairwise(path))
    assert path[-1] > path[0] + 50


def test_one_regime_is_the_maximum_that_scipy_finds():
    """Weights, scale and degrees of x_t = 0.6 x_t-1 + 1 + t noise with spikes; lag inflation as in the answer."""
    rng = np.random.default_rng(2)
    x = np.zeros(3_000)
    noise = 0.5 * rng.standard_t(4, size=3_000)
    for t in range(1, 3_000):
        x[t] = 0.6 * x[t - 1] + 1 + noise[t]
    x[rng.random(3_000) < 0.01] += 30
    source = lagged_rows(x[:, None], regimes=1)
    rows = source.rows(0, 3_000)
    em = EM.over(rows, source.model, 1, None)
    certain = torch.ones(1, dtype=torch.float64)
    begun = Emission(torch.zeros(1, 1, 2, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64))
    begun = with_noise(em, Parameters(begun, Chain(certain, certain[None]))[None])
    result = em.run_em(rows, begun, 100)[0][0].emission
    weights, scale, nu = result.weights[0, 0].numpy(), float(result.scale_tril), float(result.degrees)
    r = np.r_[0, x[1:] - weights[0] * x[:-1] - weights[1]] / scale
    v = np.minimum(1, (nu + 1) / (nu + r**2))
    v[0] = 1

    def loss(parameters):
        a, b, log_scale, log_nu = parameters
        residuals, scales = x[1:] - a * x[:-1] - b, np.exp(log_scale) / np.sqrt(v[:-1])
        return -stats.t(np.exp(log_nu), scale=scales).logpdf(residuals).mean()

    best = optimize.minimize(loss, [0.0, 0.0, 0.0, 1.0], method="BFGS").x
    assert best[0] == pytest.approx(0.6, abs=0.05)
    np.testing.assert_allclose([*weights, np.log(scale), np.log(nu)], best, atol=0.01)


# --- what outliers do ------------------------------------------------------------------------------------------------


def test_robust_moments_stay_where_outliers_move_the_plain_ones():
    rng = np.random.default_rng(3)
    factor = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [0.3, -0.5, 0.8]])
    y = np.vstack([factor @ rng.normal(size=(3, 4_000)) + 0.3, np.ones((1, 4_000))])
    hit = rng.random(4_000) < 0.05
    dirty = np.where(hit & (np.arange(4) == 1)[:, None], 40.0, y)
    every = torch.ones(4_000, dtype=torch.bool)
    clean, robust = (robust_moments(torch.as_tensor(rows), every, True) for rows in (y, dirty))
    assert float((robust - clean).abs().max()) < 0.15
    assert np.abs((dirty @ dirty.T / 4_000) - (y @ y.T / 4_000)).max() > 50
    kept = inliers(torch.as_tensor(dirty), robust, True).numpy()
    assert not kept[hit].any()
    assert kept[~hit].mean() > 0.99


@pytest.mark.slow
def test_spikes_cost_few_labels_under_student_noise():
    """Seed 0, 2,000 rows, Pi = 0.9 or 0.3, 1 % of spikes: ARI about 0.8 as without them; Normal noise finds nothing."""
    rng = np.random.default_rng(0)
    values, true = recovery.twenty_segments(recovery.two_regimes(1, 0.9, 0.3), rng)
    series = simulation.add_spikes(values, 0.01, np.ones(1), rng)
    series[777, 0] = 1e12
    scores = {}
    for noise in ("normal", "student"):
        result, _ = recovery.trained(series, TrainConfig(model=ModelConfig(regimes=2, noise=noise)))
        judged = recovery.judged(series, result)
        assert np.isfinite(judged.log_likelihood)
        scores[noise] = recovery.ari(true, judged.regimes)
    assert scores["student"] > 0.7
    assert scores["normal"] < 0.1


@pytest.mark.slow
def test_spikes_cost_at_most_two_hundredths_of_the_ari():
    """The limit of `make recovery`, mean over the four pairs and seeds 0 to 9."""
    mean = recovery.averaged([recovery.outliers(seed) for seed in range(10)])
    assert all(check.passed for check in mean.checks), [str(check) for check in mean.checks]
