import numpy as np
import torch

from gmvae_cli.config import ModelConfig
from gmvae_cli.model.moments import weighted_moments, window_moments
from gmvae_cli.training.em import EM
from gmvae_cli.training.initialization import cluster_windows, short_runs


def switching(T, dwell, seed=0):
    """Two regimes, x_t = +-0.9 x_t-1 + e: rows (2, T) and labels (T,)."""
    rng = np.random.default_rng(seed)
    regimes = (np.arange(T) // dwell) % 2
    x = np.zeros(T + 1)
    for t in range(T):
        x[t + 1] = (0.9, -0.9)[regimes[t]] * x[t] + rng.normal()
    return torch.as_tensor(np.stack([x[1:], x[:-1]])), regimes


def pooled(y):
    return weighted_moments(y, torch.ones(1, y.shape[1], dtype=y.dtype))[0] / y.shape[1]


def test_window_moments_are_sums_over_rows_with_evidence():
    y = torch.arange(24.0, dtype=torch.float64).view(2, 12)
    usable = torch.ones(12, dtype=torch.bool)
    usable[4] = False
    flat, counts = window_moments(y, usable, 5)
    assert counts.tolist() == [4, 5]
    rows = [0, 1, 2, 3]
    expected = [float((y[a, rows] * y[b, rows]).sum()) for a, b in ((0, 0), (0, 1), (1, 1))]
    assert flat[0].tolist() == expected


def test_windows_are_clustered_by_their_dynamics():
    """Both regimes have the same level and spread; only their dynamics differ."""
    y, regimes = switching(4000, 100)
    flat, counts = window_moments(y, torch.ones(4000, dtype=torch.bool), 50)
    em = EM(ModelConfig(regimes=2), pooled(y), 1)
    emission, labels, total = cluster_windows(em, flat, counts, 8, torch.Generator().manual_seed(0))
    best = int(total.argmax())
    agreement = (labels[best].numpy() == regimes[::50]).mean()
    assert max(agreement, 1 - agreement) > 0.95
    np.testing.assert_allclose(np.sort(emission.weights[best, :, 0, 0]), [-0.9, 0.9], atol=0.1)


def test_short_runs_find_regimes_that_do_not_persist():
    rng = np.random.default_rng(1)
    regimes, x = rng.integers(0, 2, 3000), np.zeros(3001)
    for t in range(3000):
        x[t + 1] = (0.9, -0.9)[regimes[t]] * x[t] + 0.3 * rng.normal()
    y = torch.as_tensor(np.stack([x[1:], x[:-1]]))
    em = EM(ModelConfig(regimes=2, prior="iid", covariance="shared"), pooled(y), 1)
    emission, law, log_marginal = short_runs(em, y, 8, torch.Generator().manual_seed(0))
    best = int(log_marginal.argmax())
    np.testing.assert_allclose(np.sort(emission.weights[best, :, 0, 0]), [-0.9, 0.9], atol=0.1)
    np.testing.assert_allclose(law[best], [0.5, 0.5], atol=0.1)
