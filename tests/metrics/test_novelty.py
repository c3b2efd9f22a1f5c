"""Novelty against its own definition: uniform tails under the model, and Mahalanobis for one regime."""

import numpy as np
import pytest
from scipy import integrate, stats

from gmvae_cli.metrics.novelty import novelty
from gmvae_cli.metrics.novelty_tail import calibrated, larger, tail_of


def drawn(rng, rows, channels, regimes, degrees=None, apart=2.0, inflation=None):
    """Rows of a mixture, as `novelty` takes them: residuals, scales, weights."""
    factors = np.stack(
        [np.linalg.cholesky(a @ a.T + 0.2 * np.eye(channels)) for a in rng.normal(size=(regimes, channels, channels))]
    )
    means = rng.normal(size=(regimes, channels)) * apart
    weights = rng.dirichlet(np.full(regimes, 0.5), size=rows)
    z = (rng.random(rows)[:, None] > weights.cumsum(1)).sum(1).clip(0, regimes - 1)
    noise = rng.normal(size=(rows, channels))
    if degrees is not None:
        noise /= np.sqrt(rng.chisquare(degrees, size=rows) / degrees)[:, None]
    if inflation is not None:
        noise *= np.sqrt(inflation)[:, None]
    x = means[z] + np.einsum("nij,nj->ni", factors[z], noise)
    residuals = np.stack([np.linalg.solve(factors[k], (x - means[k]).T) for k in range(regimes)], 1)
    return residuals, np.stack([np.diag(factor) for factor in factors], 1), weights


@pytest.mark.parametrize("degrees", [None, 4.0])
@pytest.mark.parametrize(
    ("channels", "regimes", "apart"), [(1, 1, 0.0), (1, 3, 1.0), (1, 3, 6.0), (3, 2, 1.0), (2, 4, 4.0)]
)
def test_rows_of_the_model_exceed_a_novelty_as_often_as_it_says(channels, regimes, apart, degrees):
    """Within 4.5 standard deviations of the count, at each of five levels."""
    rows, rng = 100_000, np.random.default_rng(channels * 10 + regimes)
    values = novelty(*drawn(rng, rows, channels, regimes, degrees, apart), degrees)
    for level in (0.3, 1, 2, 3, 4):
        nominal = 10**-level
        assert (values > level).mean() == pytest.approx(nominal, abs=4.5 * np.sqrt(nominal / rows))


def test_inflation_after_outliers_is_heeded():
    rows, rng = 100_000, np.random.default_rng(0)
    inflation = rng.uniform(1, 30, size=rows)
    values = novelty(*drawn(rng, rows, 2, 2, 5.0, inflation=inflation), 5.0, inflation)
    for level in (1, 2, 3):
        assert (values > level).mean() == pytest.approx(10**-level, abs=4.5 * np.sqrt(10**-level / rows))


def test_one_regime_is_mahalanobis():
    residuals, scales, weights = drawn(np.random.default_rng(1), 200, 3, 1)
    expected = -stats.chi2.logsf((residuals[:, 0] ** 2).sum(0), 3) / np.log(10)
    np.testing.assert_allclose(novelty(residuals, scales, weights), expected, rtol=1e-9)


def test_a_value_between_two_levels_is_novel():
    """In the middle of two narrow levels 20 standard deviations apart, though its rank is that of the median."""
    residuals = np.array([[[10.0], [-10.0]]])
    assert novelty(residuals, np.ones((1, 2)), np.array([[0.5, 0.5]]))[0] > 20


def test_one_channel_is_the_integral_of_what_is_less_likely():
    """By quadrature over the values whose most likely component is no more likely than that of the row."""
    means, scales, weights = np.array([0.0, 2.0, 9.0]), np.array([1.0, 0.3, 2.0]), np.array([0.6, 0.3, 0.1])
    grid = np.linspace(-30, 50, 2_000_001)
    parts = weights[:, None] * stats.norm.pdf(grid, means[:, None], scales[:, None])
    for x in (-3.0, 1.2, 2.0, 5.5, 16.0):
        level = (weights * stats.norm.pdf(x, means, scales)).max()
        expected = integrate.trapezoid(np.where(parts.max(0) <= level, parts.sum(0), 0), grid)
        found = novelty(((x - means) / scales)[None, :, None], scales[None], weights[None])[0]
        assert 10**-found == pytest.approx(expected, rel=1e-3)


def test_values_beyond_all_numbers_stay_finite():
    residuals = np.full((2, 3, 4), 1e200)
    values = novelty(residuals, np.ones((2, 3)), np.full((4, 3), 1 / 3))
    assert (values == 300).all()


def test_the_tail_of_rows_that_are_the_models_is_left_alone():
    for seed in range(20):
        assert tail_of(np.random.default_rng(seed).exponential(1 / np.log(10), 5000)) == []


def test_a_heavy_tail_is_calibrated_on_other_rows_of_its_kind():
    """At most three times the nominal number exceed a level, beyond those that the tail was learned at as well."""

    def rows(seed):
        rng = np.random.default_rng(seed)
        return rng.exponential(1 / np.log(10), 20_000) * np.where(rng.random(20_000) < 0.02, 4, 1)

    tail = tail_of(rows(0))
    values = np.concatenate([rows(seed) for seed in range(1, 11)])
    raw, mapped = ((part[:, None] > [2, 3, 4]).mean(0) for part in (values, calibrated(values, tail)))
    assert raw[2] > 10 * 1e-4
    assert (mapped <= 3 * np.array([1e-2, 1e-3, 1e-4])).all()
    assert (mapped >= np.array([1e-2, 1e-3, 1e-4]) / 3).all()
    assert (np.diff(calibrated(np.linspace(0, 300, 1000), tail)) > 0).all()


def test_of_two_tails_the_larger_novelty_counts_at_each_level():
    few, all_rows = [[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]], [[1.0, 1.0], [2.0, 3.5], [4.0, 9.0]]
    expected = [[1.0, 2.0], [2.0, 3.5], [3.0, 6.25], [4.0, 9.0]]
    assert larger(few, all_rows) == larger(all_rows, few) == expected
    assert larger(few, []) == larger([], few) == few
    assert larger([], []) == []
    assert larger([[1.0, 5.0]], all_rows) == [[1.0, 5.0], [4.0, 9.0]], "a level that is no higher is left out"
