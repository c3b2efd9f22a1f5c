"""The drawn series against a plain loop over rows, and its law against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from gmvae_cli.data import simulation


def example(seed=0, K=3, D=2, P=2, **options):
    defaults = {"dwell": 20.0, "shared_covariance": False, "intercept": True}
    return simulation.random_process(K, D, P, **(defaults | options), generator=np.random.default_rng(seed))


def loop_autoregression(ar_weights, inputs, regimes, past):
    """Row by row, lane by lane, as the formula says."""
    n, R, D = inputs.shape
    P = ar_weights.shape[1]
    x = np.zeros((n, R, D))
    for lane in range(R):
        for t in range(n):
            x[t, lane] = inputs[t, lane]
            for lag in range(P):
                before = x[t - 1 - lag, lane] if t - 1 - lag >= 0 else past[lane, lag - t]
                x[t, lane] += ar_weights[regimes[t, lane], lag] @ before
    return x


@pytest.mark.parametrize("P", [1, 2, 3])
@pytest.mark.parametrize(("n", "num_blocks"), [(1, None), (2, None), (57, 1), (57, 8), (57, 57), (300, None)])
def test_scan_equals_loop(P, n, num_blocks):
    generator = np.random.default_rng(n)
    process = example(P=P)
    inputs, past = generator.standard_normal((n, 2, 2)), generator.standard_normal((2, P, 2))
    regimes = generator.integers(3, size=(n, 2))
    scanned = simulation.autoregression(process.ar_weights, inputs, regimes, past, num_blocks)
    np.testing.assert_allclose(
        scanned, loop_autoregression(process.ar_weights, inputs, regimes, past), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("n", "num_blocks"), [(0, None), (1, None), (50, 1), (50, 7), (50, 50), (999, None)])
def test_regime_path_equals_loop(n, num_blocks):
    generator = np.random.default_rng(n)
    chain = generator.dirichlet(np.ones(4), size=4)
    uniforms = generator.random(n)
    regime, expected = 2, []
    for u in uniforms:
        regime = int(np.searchsorted(np.cumsum(chain[regime])[:3], u, side="right"))
        expected.append(regime)
    assert simulation.regime_path(uniforms, chain, 2, num_blocks).tolist() == expected


@pytest.mark.parametrize(("P", "stride"), [(1, 1), (2, 1), (1, 4), (2, 3)])
def test_drawn_rows_obey_the_recursion_across_chunks(monkeypatch, P, stride):
    monkeypatch.setattr(simulation, "CHUNK_ROWS", 101)
    random = example(P=P)
    process = simulation.Process(**(vars(random) | {"stride": stride, "scale_tril": random.scale_tril / 1000}))
    chunks = list(simulation.draw(process, 500, np.random.default_rng(1)))
    x, regimes = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    assert x.shape == (500, 2)
    first = P * stride
    residuals = x[first:] - process.ar_bias[regimes[first:]]
    for lag in range(1, P + 1):
        lagged = x[first - lag * stride : 500 - lag * stride]
        residuals -= np.einsum("tij,tj->ti", process.ar_weights[regimes[first:], lag - 1], lagged)
    whitened = np.linalg.solve(process.scale_tril[regimes[first:]], residuals[..., None])[..., 0]
    assert scipy.stats.kstest(whitened.ravel(), "norm").pvalue > 0.01
    assert np.abs(whitened).max() < 5  # a lag taken from elsewhere is off by a thousand of these


def test_visits_last_as_the_geometric_law_says():
    chain = simulation.transition_matrix(3, dwell=20)
    path = simulation.regime_path(np.random.default_rng(0).random(200_000), chain, 0)
    edges = np.flatnonzero(np.diff(path)) + 1
    visits = np.diff(edges)
    bins = np.array([1, 3, 6, 11, 21, 41, 81, np.inf])
    observed = np.histogram(visits, bins)[0]
    expected = np.diff(scipy.stats.geom(1 / 20).cdf(bins - 1)) * len(visits)
    assert scipy.stats.chisquare(observed, expected).pvalue > 0.01
    jumps = np.array(
        [np.sum((path[edges - 1] == i) & (path[edges] == j)) for i in range(3) for j in range(3) if i != j]
    )
    assert scipy.stats.chisquare(jumps.reshape(3, 2), axis=1).pvalue.min() > 0.01


def test_regimes_without_persistence_are_independent_of_the_row_before():
    process = example(dwell=None)
    path = simulation.regime_path(np.random.default_rng(0).random(100_000), process.transition_matrix, 0)
    pairs = np.bincount(path[:-1] * 3 + path[1:], minlength=9).reshape(3, 3)
    assert scipy.stats.chi2_contingency(pairs).pvalue > 0.01
    assert scipy.stats.chisquare(np.bincount(path), process.initial_probs * len(path)).pvalue > 0.01


@pytest.mark.parametrize("seed", range(20))
def test_no_regime_is_rare(seed):
    probs = simulation.regime_law(5, np.random.default_rng(seed))
    assert probs.sum() == pytest.approx(1, abs=1e-12)
    assert probs.min() >= 0.5 / 5


@pytest.mark.parametrize(("K", "D", "P"), [(1, 1, 1), (2, 1, 1), (3, 2, 1), (3, 2, 3), (4, 3, 2)])
def test_random_regimes_are_stable_together(K, D, P):
    for seed in range(5):
        process = example(seed, K, D, P)
        radii = simulation.spectral_radii(process.ar_weights)
        assert radii.min() >= 0.6 - 1e-9
        assert radii.max() <= 0.97 + 1e-9
        assert simulation.mean_square_radius(process.ar_weights, process.transition_matrix) < 1


def test_lags_of_random_regimes_are_scaled_orthogonal_matrices_the_further_back_the_smaller():
    """W_l = (c / 2)^l Q_l."""
    weights = example(seed=1, K=2, D=3, P=3).ar_weights
    norms = np.linalg.norm(weights, ord=2, axis=(-2, -1))
    np.testing.assert_allclose(norms, norms[:, :1] ** np.arange(1, 4), rtol=1e-9)
    orthogonal = weights / norms[..., None, None]
    np.testing.assert_allclose(
        orthogonal @ orthogonal.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (2, 3, 3, 3)), atol=1e-9
    )


def test_random_covariances_have_eigenvalues_between_a_half_and_two():
    factors = np.concatenate([example(seed, K=4, D=3, P=1).scale_tril for seed in range(20)])
    eigenvalues = np.linalg.eigvalsh(factors @ factors.swapaxes(-1, -2))
    assert 0.5 - 1e-9 < eigenvalues.min() < 0.6
    assert 1.7 < eigenvalues.max() < 2 + 1e-9


def test_orthogonal_matrices_favour_no_direction():
    """A QR factorisation alone leaves the first entry negative."""
    entries = np.array([example(seed, K=1, D=3, P=1).ar_weights[0, 0, 0, 0] for seed in range(300)])
    assert 0.35 < np.mean(entries > 0) < 0.65


def test_the_first_regime_follows_the_initial_law():
    process = replace(example(), initial_probs=np.array([0.0, 0.25, 0.75]))
    first = [int(next(simulation.draw(process, 1, np.random.default_rng(seed), 0))[1][0]) for seed in range(400)]
    np.testing.assert_allclose(np.bincount(first, minlength=3) / 400, [0, 0.25, 0.75], atol=0.07)


@pytest.mark.parametrize("seed", range(8))
def test_mean_square_radius_equals_that_of_the_operator_written_out(seed):
    generator = np.random.default_rng(seed)
    K, D, P = 3, 2, int(generator.integers(1, 4))
    ar_weights = generator.normal(scale=0.5, size=(K, P, D, D))
    chain = generator.dirichlet(np.ones(K), size=K)
    maps = [np.block([[*weights], [np.eye((P - 1) * D, P * D)]]) if P > 1 else weights[0] for weights in ar_weights]
    operator = np.block([[chain[i, j] * np.kron(maps[j], maps[j]) for i in range(K)] for j in range(K)])
    expected = np.abs(np.linalg.eigvals(operator)).max()
    assert simulation.mean_square_radius(ar_weights, chain) == pytest.approx(expected, rel=1e-6)


def test_stationary_variance_is_that_of_the_operator():
    process = example(D=1, P=1, intercept=False)
    chain, weights, noise = process.transition_matrix, process.ar_weights[:, 0, 0, 0], process.scale_tril[:, 0, 0] ** 2
    # v_j = E[x^2 1(z = j)] = w_j^2 sum_i A_ij v_i + noise_j / K
    v = np.linalg.solve(np.eye(3) - weights[:, None] ** 2 * chain.T, noise / 3)
    x = np.concatenate([rows for rows, _ in simulation.draw(process, 400_000, np.random.default_rng(0))])
    assert x.var() == pytest.approx(v.sum(), rel=0.03)
    starts = np.array([next(simulation.draw(process, 1, np.random.default_rng(seed)))[0][0, 0] for seed in range(2000)])
    assert starts.var() == pytest.approx(v.sum(), rel=0.15)


def test_student_noise_has_the_law_of_scipy():
    """Both channels of a row share their scale, so each is Student t and so is any mixture of them."""
    process = replace(example(K=1, P=1, intercept=False), degrees=3.0)
    x = np.concatenate([rows for rows, _ in simulation.draw(process, 20_000, np.random.default_rng(0))])
    residuals = x[1:] - x[:-1] @ process.ar_weights[0, 0].T
    whitened = np.linalg.solve(process.scale_tril[0], residuals.T)
    for noise in (whitened[0], whitened[1], (whitened[0] + whitened[1]) / 2**0.5):
        assert scipy.stats.kstest(noise, scipy.stats.t(3).cdf).pvalue > 0.01
        assert scipy.stats.kstest(noise, scipy.stats.norm.cdf).pvalue < 1e-6


def test_missing_cells_and_spikes_have_their_shares():
    x = np.zeros((50_000, 3))
    emptied = simulation.empty_cells(x, 0.1, np.random.default_rng(0))
    assert np.isnan(emptied).mean() == pytest.approx(0.1, abs=0.005)
    spiked = simulation.add_spikes(x, 0.02, np.array([1.0, 2.0, 3.0]), np.random.default_rng(0))
    assert np.mean((spiked != 0).any(axis=1)) == pytest.approx(0.02, abs=0.003)
    assert (spiked != 0).sum(axis=1).max() == 1
    assert np.unique(np.abs(spiked)).tolist() == [0, 20, 40, 60]
