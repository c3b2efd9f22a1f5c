import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gmvae_cli.model import ar_dynamics


def stable_weights(seed, K, P, D):
    """Random AR weights whose companion matrices have spectral radius 0.9."""
    weights = torch.as_tensor(np.random.default_rng(seed).normal(size=(K, P, D, D)))
    factors = 0.9 / ar_dynamics.spectral_radius(weights)
    return torch.stack([weights[:, p] * factors[:, None, None] ** (p + 1) for p in range(P)], dim=1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_stationary_moments_are_the_limit_of_the_recursion(seed, K, P, D):
    """Mean and covariance of x_t, carried forward row by row, settle there."""
    rng = np.random.default_rng(seed)
    weights, bias = stable_weights(seed, K, P, D), torch.as_tensor(rng.normal(size=(K, D)))
    tril = torch.as_tensor(np.tril(rng.normal(size=(1 if seed % 2 else K, D, D))))
    mean, covariance = ar_dynamics.stationary_moments(weights, bias, tril)
    for k in range(K):
        transition, noise = np.zeros((P * D, P * D)), np.zeros((P * D, P * D))
        for p in range(P):
            transition[:D, p * D : (p + 1) * D] = weights[k, p]
        transition[D:, :-D] = np.eye((P - 1) * D)
        factor = tril[0 if len(tril) == 1 else k].numpy()
        noise[:D, :D] = factor @ factor.T
        m, c, shift = np.zeros(P * D), np.zeros((P * D, P * D)), np.pad(bias[k].numpy(), (0, (P - 1) * D))
        for _ in range(600):
            m, c = transition @ m + shift, transition @ c @ transition.T + noise
        np.testing.assert_allclose(mean[k], m[:D], rtol=1e-8, atol=1e-8 * abs(m).max())
        np.testing.assert_allclose(covariance[k], c[:D, :D], rtol=1e-8, atol=1e-8 * abs(c).max())


def test_what_never_settles_has_no_moments():
    weights = torch.tensor([[[[1.0]]], [[[1.2]]], [[[0.5]]]], dtype=torch.float64)
    mean, covariance = ar_dynamics.stationary_moments(weights, torch.ones(3, 1).double(), torch.ones(1, 1, 1).double())
    assert mean.isnan()[:, 0].tolist() == covariance.isnan()[:, 0, 0].tolist() == [True, True, False]
    assert float(mean[2]) == pytest.approx(2)
    assert float(covariance[2]) == pytest.approx(1 / (1 - 0.25))


def test_half_life_halves_a_disturbance():
    radius = torch.tensor([0.5, 0.9, 0.0, 1.0, 1.5], dtype=torch.float64)
    half_life = ar_dynamics.half_life(radius)
    np.testing.assert_allclose(radius[:2] ** half_life[:2], 0.5)
    assert half_life[2:].isnan().all()  # nothing is left to halve, or nothing fades


def rotation(radius, period):
    angle = 2 * math.pi / period
    return radius * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()


def test_dominant_period_of_rotations_and_of_what_does_not_turn():
    turning = torch.stack([rotation(0.9, 12), rotation(0.5, 3.3), torch.diag(torch.tensor([0.9, -0.3]).double())])
    period = ar_dynamics.dominant_period(turning[:, None])
    np.testing.assert_allclose(period[:2], [12, 3.3])
    assert period[2].isnan()


def test_dominant_period_of_a_second_order_oscillation():
    """x_t = 2 r cos(w) x_t-1 - r^2 x_t-2 turns once in 2 pi / w rows; a double real root (0.8, 0.8) does not turn."""
    radius, period = 0.95, 20.0
    lags = torch.tensor([[2 * radius * math.cos(2 * math.pi / period), -(radius**2)], [1.6, -0.64]]).double()
    result = ar_dynamics.dominant_period(lags[:, :, None, None])
    assert float(result[0]) == pytest.approx(period, rel=1e-6)
    assert result[1].isnan()


def test_a_double_real_root_does_not_turn_whatever_rounding_makes_of_it():
    """Of every fourth of these an eigenvalue solver makes a pair with an imaginary part near 1e-8."""
    roots = torch.linspace(0.3, 0.98, 137, dtype=torch.float64)
    lags = torch.stack([2 * roots, -roots.square()], dim=1)
    assert bool((torch.linalg.eigvals(ar_dynamics.companion(lags[:, :, None, None])).imag.abs() > 0).any())
    assert bool(ar_dynamics.dominant_period(lags[:, :, None, None]).isnan().all())


@pytest.mark.parametrize("shared", [True, False])
def test_divergence_is_the_mean_over_contexts_of_both_kullback_leibler_divergences(shared):
    """By torch.distributions, over contexts whose mean square is the identity."""
    generator = torch.Generator().manual_seed(0)
    K, D, C = 3, 2, 5
    weights = torch.randn(K, D, C, generator=generator, dtype=torch.float64)
    tril = torch.randn(1 if shared else K, D, D, generator=generator, dtype=torch.float64).tril()
    tril.diagonal(dim1=1, dim2=2).abs_().add_(0.5)
    contexts = C**0.5 * torch.eye(C, dtype=torch.float64)
    laws = [
        torch.distributions.MultivariateNormal(contexts @ weights[k].T, scale_tril=tril[0 if shared else k])
        for k in range(K)
    ]
    divergence = ar_dynamics.divergence(weights, tril)
    for i, j in itertools.product(range(K), repeat=2):
        expected = sum(
            torch.distributions.kl_divergence(*pair).mean() for pair in ((laws[i], laws[j]), (laws[j], laws[i]))
        )
        assert float(divergence[i, j]) == pytest.approx(float(expected), abs=1e-10)


def test_standard_errors_are_those_of_least_squares(generator):
    """Against the textbook formula, one equation at a time."""
    h, D = generator.normal(size=(200, 3)) * [1, 5, 0.1], 2
    x = h @ generator.normal(size=(3, D)) + generator.normal(size=(200, D)) @ np.array([[1, 0.5], [0, 2]])
    coefficients, *_ = np.linalg.lstsq(h, x, rcond=None)
    residuals = x - h @ coefficients
    covariance = residuals.T @ residuals / 200
    expected = [np.sqrt(np.diag(covariance[d, d] * np.linalg.inv(h.T @ h))) for d in range(D)]
    tril = torch.as_tensor(np.linalg.cholesky(covariance))[None]
    result = ar_dynamics.standard_errors(torch.as_tensor(h.T @ h)[None], tril)
    np.testing.assert_allclose(result[0], expected, rtol=1e-10)


@pytest.mark.parametrize("degrees", [2.1, 3.0, 100.0])
def test_covariance_factor_is_the_variance_of_scipys_t(degrees):
    assert float(ar_dynamics.covariance_factor(torch.tensor(degrees))) == pytest.approx(
        stats.t(degrees).var(), rel=1e-4
    )
    assert ar_dynamics.covariance_factor(None) == 1


def test_no_covariance_exists_up_to_two_degrees_of_freedom():
    assert math.isnan(ar_dynamics.covariance_factor(torch.tensor(2.0)))
