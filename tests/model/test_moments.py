import numpy as np
import pytest
import torch
from random_models import random_observed, random_parameters

from gmvae_cli.model.ar_density import patterns
from gmvae_cli.model.moments import (
    completed_moments,
    products,
    rounding_variance,
    symmetric,
    update_emission,
    update_iid,
    update_transition,
    weighted_moments,
    with_unrelated_channels,
)


def test_weighted_moments_equal_the_sum_over_rows():
    rng = np.random.default_rng(0)
    y, w = rng.normal(size=(4, 9000)), rng.random((2, 3, 9000))
    expected = np.einsum("at,bt,rkt->rkab", y, y, w)
    np.testing.assert_allclose(weighted_moments(torch.as_tensor(y), torch.as_tensor(w)), expected, rtol=1e-10)


def test_products_and_symmetric_are_the_outer_product():
    y = torch.arange(1.0, 4.0)[:, None]
    assert torch.equal(symmetric(products(y).mT, 3)[0], (y @ y.T).double())


@pytest.mark.parametrize("shared", [True, False])
def test_update_is_weighted_least_squares(shared):
    """Against numpy's lstsq on rows scaled by the root of their weight, regime by regime."""
    rng = np.random.default_rng(1)
    D, n, K = 2, 4000, 3
    y = np.concatenate([rng.normal(size=(2 * D, n)), np.ones((1, n))])
    y[:D] += 0.7 * y[D : 2 * D]
    q = rng.dirichlet(np.ones(K), size=n).T
    moments = weighted_moments(torch.as_tensor(y), torch.as_tensor(q))
    pooled = weighted_moments(torch.as_tensor(y), torch.ones(1, n, dtype=torch.float64))[0] / n
    result = update_emission(moments, torch.as_tensor(q.sum(1)), pooled, D, shared, pooled_rows=1e-9)
    covariances = []
    for k in range(K):
        root = np.sqrt(q[k])
        weights = np.linalg.lstsq((root * y[D:]).T, (root * y[:D]).T, rcond=None)[0].T
        np.testing.assert_allclose(result.weights[k], weights, atol=1e-7)
        residual = y[:D] - weights @ y[D:]
        covariances.append((q[k] * residual) @ residual.T / q[k].sum())
    if shared:
        covariances = [np.average(covariances, axis=0, weights=q.sum(1))]
    np.testing.assert_allclose(result.scale_tril @ result.scale_tril.mT, np.stack(covariances), rtol=1e-4, atol=1e-5)


def test_pooled_rows_count_beside_those_of_a_regime():
    """By least squares over both, rows of the pooled data with weight 3 / n."""
    rng = np.random.default_rng(3)
    own, pooled_rows = rng.normal(size=(5, 12)), rng.normal(size=(5, 300))
    pooled_rows[:2] += pooled_rows[2:4]
    pooled = torch.as_tensor(pooled_rows @ pooled_rows.T / 300)
    counts = torch.tensor([12.0])
    emission = update_emission(torch.as_tensor(own @ own.T)[None], counts, pooled, 2, False, pooled_rows=3)
    every = np.concatenate([own, pooled_rows / 100**0.5], axis=1)
    weights = np.linalg.lstsq(every[2:].T, every[:2].T, rcond=None)[0].T
    residual = every[:2] - weights @ every[2:]
    np.testing.assert_allclose(emission.weights[0], weights, atol=1e-8)
    covariance = emission.scale_tril[0] @ emission.scale_tril[0].T
    np.testing.assert_allclose(covariance, residual @ residual.T / 15, atol=1e-5)


def test_a_regime_sees_one_row_that_follows_the_pooled_regression():
    """By least squares over its 12 rows, and over pooled lags with weight 3 / 13, its own with the rest, and errors."""
    rng = np.random.default_rng(3)
    own, pooled_rows = rng.normal(size=(5, 12)), rng.normal(size=(5, 300))
    own[2:4] /= 100
    pooled_rows[:2] += pooled_rows[2:4]
    pooled = torch.as_tensor(pooled_rows @ pooled_rows.T / 300)
    emission = update_emission(torch.as_tensor(own @ own.T)[None], torch.tensor([12.0]), pooled, 2, False)
    of_pooled = np.linalg.lstsq(pooled_rows[2:].T, pooled_rows[:2].T, rcond=None)[0].T
    errors = pooled_rows[:2] - of_pooled @ pooled_rows[2:]
    lags = np.concatenate([(10 / 13 / 12) ** 0.5 * own[2:], (3 / 13 / 300) ** 0.5 * pooled_rows[2:]], axis=1)
    every = np.concatenate([own, np.concatenate([of_pooled @ lags, lags])], axis=1)
    weights = np.linalg.lstsq(every[2:].T, every[:2].T, rcond=None)[0].T
    residual = every[:2] - weights @ every[2:]
    np.testing.assert_allclose(emission.weights[0], weights, atol=1e-7)
    covariance = emission.scale_tril[0] @ emission.scale_tril[0].T
    np.testing.assert_allclose(covariance, (residual @ residual.T + errors @ errors.T / 300) / 13, atol=1e-5)


def test_a_regime_that_hardly_varies_keeps_its_own_regression():
    """Two still levels far apart: the row before says nothing of the next, though of all rows it nearly fixes it."""
    rng = np.random.default_rng(8)
    x = np.repeat([0.0, 100.0], 500) + rng.normal(size=1000)
    y = torch.as_tensor(np.stack([x[1:], x[:-1], np.ones(999)]))
    pooled = y @ y.T / 999
    own = y[:, :499] @ y[:, :499].T
    emission = update_emission(own[None], torch.tensor([499.0]), pooled, 1, False)
    assert abs(float(emission.weights[0, 0, 0])) < 0.1


@pytest.mark.parametrize("noise", [0.3, 0.0], ids=["pooled residual", "nothing but the pooled variance"])
def test_covariance_of_a_regime_without_errors_is_a_share_of_the_pooled_one(noise):
    rng = np.random.default_rng(4)
    h, errors = 100 * rng.normal(size=500), 100 * noise * rng.normal(size=500)
    pooled_rows, own = np.stack([h + errors, h]), np.stack([h, h])
    pooled = torch.as_tensor(pooled_rows @ pooled_rows.T / 500)
    counts = torch.tensor([500.0], dtype=torch.float64)
    emission = update_emission(torch.as_tensor(own @ own.T)[None], counts, pooled, 1, False, pooled_rows=1e-12)
    slope = (pooled_rows[0] @ h) / (h @ h)
    expected = 1e-6 * np.mean((pooled_rows[0] - slope * h) ** 2) + 1e-8 * np.mean(pooled_rows[0] ** 2)
    assert float(emission.scale_tril) ** 2 == pytest.approx(expected, rel=1e-3)


def test_an_empty_regime_gets_the_pooled_regression():
    rng = np.random.default_rng(2)
    y = torch.as_tensor(rng.normal(size=(2, 500)))
    pooled = weighted_moments(y, torch.ones(1, 500, dtype=torch.float64))[0] / 500
    empty = update_emission(torch.zeros(1, 2, 2, dtype=torch.float64), torch.zeros(1), pooled, 1, False)
    np.testing.assert_allclose(empty.weights[0, 0, 0], pooled[0, 1] / pooled[1, 1])


@pytest.mark.parametrize("intercept", [True, False])
def test_rows_of_unrelated_channels_have_the_means_and_own_lags_of_a_regime(intercept):
    """Of two channels and their lags: correlations of different channels fall, all else is as it was."""
    rng = np.random.default_rng(5)
    y = rng.normal(size=(4, 4)) @ rng.normal(size=(4, 50)) + intercept
    y = np.concatenate([y, np.ones((1, 50))]) if intercept else y
    moments, count = torch.as_tensor(y @ y.T), 30.0
    result = with_unrelated_channels(moments[None], torch.tensor([50.0]), count, 2, intercept)[0].numpy()
    mean = y.mean(1) if intercept else np.zeros(4)
    covariance = y @ y.T / 50 - np.outer(mean, mean)
    for a in range(4):
        for b in range(4):
            kept = covariance[a, b] if a % 2 == b % 2 else 0.0
            assert result[a, b] == pytest.approx(moments[a, b].item() + count * (mean[a] * mean[b] + kept))
    if intercept:
        np.testing.assert_allclose(result[4], y.sum(1) + count * y.mean(1))


@pytest.mark.parametrize("intercept", [True, False])
def test_only_channels_that_stand_still_are_rounded(intercept):
    """A switch of steps 2 and 8, noise, and a constant channel, each with two lags; the last row does not count."""
    switch = torch.tensor([0.0, 0, 0, 2, 2, 2, 2, 2, -6, -6, 7])
    x = torch.stack([switch, torch.randn(11, generator=torch.Generator().manual_seed(0)), torch.ones(11)])
    y = torch.cat([x[:, 2:], x[:, 1:-1], x[:, :-2], torch.ones(int(intercept), 9)])
    usable = torch.arange(9) < 8
    q = 6.5  # upper quartile of 2 and 8
    expected = [q**2 / 12, 0, 0] + [0.3 * q**2 / 12, 0, 0] * 2 + [0] * intercept
    np.testing.assert_allclose(rounding_variance(y, usable, 3, 2), expected, rtol=1e-6)


def test_the_intercept_beside_a_single_switch_is_exact():
    """One channel with a lag: the intercept stands where a second lag would."""
    switch = torch.tensor([0.0, 0, 0, 1, 1, 1, 1, 0, 0])
    y = torch.stack([switch[1:], switch[:-1], torch.ones(8)])
    np.testing.assert_allclose(rounding_variance(y, torch.ones(8) > 0, 1, 1), [1 / 12, 0.3 / 12, 0], rtol=1e-6)


def test_several_switches_count_as_one():
    """The error of a jump adds up over channels, that of the lags stays."""
    switch = torch.tensor([0.0, 0, 0, 1, 1, 1, 1, 0, 0])
    y = torch.stack([switch[1:], 1 - switch[1:], switch[:-1], 1 - switch[:-1], torch.ones(8)])
    expected = [2 / 12, 2 / 12, 0.3 / 12, 0.3 / 12, 0]
    np.testing.assert_allclose(rounding_variance(y, torch.ones(8) > 0, 2, 1), expected, rtol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_regimes_that_differ_in_level_alone_are_a_regression_on_lags_and_regimes(shared):
    """Two channels with a lag, three regimes: lstsq on the lags and a column for each regime."""
    rng = np.random.default_rng(6)
    x, h = rng.normal(size=(2, 60)), rng.normal(size=(2, 60)) + 3
    y = torch.as_tensor(np.concatenate([x, h, np.ones((1, 60))]))
    pooled = y @ y.T / 60
    member = np.eye(3)[rng.integers(0, 3, 60)].T  # (K, n)
    moments, rows = weighted_moments(y, torch.as_tensor(member)), torch.as_tensor(member.sum(1))
    fit = update_emission(moments[None], rows[None], pooled, 2, shared, 0.0, levels=True)
    predictors = np.concatenate([h, member])
    solved = np.linalg.lstsq(predictors.T, x.T, rcond=None)[0].T  # (D, D + K)
    for regime in range(3):
        expected = np.column_stack([solved[:, :2], solved[:, 2 + regime]])
        np.testing.assert_allclose(fit.weights[0, regime], expected, rtol=1e-6)
    errors = x - solved @ predictors
    assert fit.scale_tril.shape == (1, 1 if shared else 3, 2, 2)
    np.testing.assert_allclose((fit.scale_tril @ fit.scale_tril.mT)[0, -1], errors @ errors.T / 60, rtol=1e-4)


def test_identical_rows_leave_a_covariance():
    y = torch.ones(3, 100, dtype=torch.float64)
    moments = weighted_moments(y, torch.ones(1, 100, dtype=torch.float64))
    result = update_emission(moments, torch.full((1,), 100.0), moments[0] / 100, 1, False)
    assert bool(torch.isfinite(result.weights).all())
    assert float(result.scale_tril.min()) > 0


def test_laws_are_normalised_counts():
    counts = torch.tensor([[8.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    np.testing.assert_allclose(update_transition(counts), [[8.1 / 10.2, 2.1 / 10.2], [0.5, 0.5]])
    prior = torch.tensor([[9.0, 1.0], [1.0, 9.0]], dtype=torch.float64)
    np.testing.assert_allclose(update_transition(counts, prior), [[17.1 / 20.2, 3.1 / 20.2], [1.1 / 10.2, 9.1 / 10.2]])
    np.testing.assert_allclose(update_iid(torch.tensor([3.0, 1.0]), fixed=True), [0.5, 0.5])
    np.testing.assert_allclose(update_iid(torch.tensor([30.0, 10.0]), fixed=False), [0.75, 0.25], atol=1e-2)


@pytest.mark.parametrize("heavy", [False, True])
def test_missing_channels_enter_with_their_conditional_mean_and_covariance(heavy):
    """Row by row, by the rules for a conditional Normal in information form, which our code does not use.

    A row of weight w enters w times, but its covariance is 1 / w of what it is for others.
    """
    rng = np.random.default_rng(6)
    K, D, n = 2, 3, 50
    emission = random_parameters(rng, K, D, 1).emission
    y = np.concatenate([rng.normal(size=(2 * D, n)), np.ones((1, n))])
    observed, q = random_observed(rng, D, n), rng.dirichlet(np.ones(K), size=n).T
    weights = rng.gamma(2, size=(K, n)) if heavy else np.ones((K, n))
    expected = np.zeros((K, 7, 7))
    partial = (observed.any(0) & ~observed.all(0)).nonzero()[:, 0].tolist()
    for k in range(K):
        precision = np.linalg.inv((emission.scale_tril[k] @ emission.scale_tril[k].T).numpy())
        for t in partial:
            o = observed[:, t].numpy()
            spread = np.linalg.inv(precision[np.ix_(~o, ~o)])
            mean = emission.weights[k].numpy() @ y[D:, t]
            row = y[:, t].copy()
            row[:D][~o] = mean[~o] - spread @ precision[np.ix_(~o, o)] @ (row[:D][o] - mean[o])
            outer = np.outer(row, row)
            outer[np.ix_(np.flatnonzero(~o), np.flatnonzero(~o))] += spread / weights[k, t]
            expected[k] += q[k, t] * weights[k, t] * outer
    hidden = np.where(np.concatenate([observed.numpy(), np.ones((D + 1, n), bool)]), y, 0)
    weighted = torch.as_tensor(q * weights) if heavy else None
    result = sum(
        completed_moments(torch.as_tensor(hidden), torch.as_tensor(q), emission, pattern, weighted)
        for pattern in patterns(observed)
    )
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_without_lags_jumps_are_from_the_row_before():
    switch = torch.tensor([0.0, 0, 0, 1, 1, 1, 1, 0, 0])
    y = torch.stack([switch, torch.ones(9)])
    np.testing.assert_allclose(rounding_variance(y, torch.ones(9) > 0, 1, 0), [1 / 12, 0], rtol=1e-6)
