import numpy as np
import pytest
import recovery
import torch

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import Chain, persistent
from gmvae_cli.model.moments import weighted_moments, window_moments
from gmvae_cli.system.progress import silent
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import collect, smoothed_labels
from gmvae_cli.training.initialization import (
    best_start,
    cluster_levels,
    cluster_windows,
    reinitialize_empty,
    short_runs,
    start_from_labels,
)


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


def test_window_moments_are_sums_over_usable_rows():
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


def wide_levels(channels, T, seed=0):
    """Three levels in so many channels, visits of 25 rows, unit noise: values (T, D) and regimes (T,)."""
    rng = np.random.default_rng(seed)
    regimes = np.repeat(rng.integers(0, 3, T // 25), 25)
    return rng.normal(0, 1.5, (3, channels))[regimes] + rng.normal(size=(T, channels)), regimes


def test_windows_are_clustered_by_their_levels_in_units_of_the_noise():
    """The second channel is a hundred times larger than the first, and says nothing."""
    rng = np.random.default_rng(2)
    regimes = np.repeat(rng.integers(0, 3, 40), 25)
    x = np.stack([5.0 * regimes + rng.normal(size=1000), 500 * rng.normal(size=1000)])
    y = torch.as_tensor(np.concatenate([x, x, np.ones((1, 1000))]))
    flat, counts = window_moments(y, torch.ones(1000, dtype=torch.bool), 5)
    em = EM(ModelConfig(), pooled(y), 2)
    labels = cluster_levels(em, flat, counts, 8, torch.Generator().manual_seed(0))
    assert recovery.ari(regimes[::5], labels.numpy()) > 0.97


def test_a_switch_within_whose_windows_nothing_moves_is_not_all_that_counts(generator):
    """Two levels of a load beside a category of four that has nothing to do with them, windows of ten rows."""
    regimes = np.repeat(np.arange(20) % 2, 100)
    other = np.repeat(np.cumsum(generator.integers(1, 4, size=34)) % 4, 60)[:2_000]
    values = np.column_stack([3 * regimes + generator.normal(size=2_000), np.eye(4)[other]])
    with SeriesData.from_arrays(values) as data:
        rows = LaggedRows(data, ModelConfig(regimes=2), data.mean, data.scale).rows(0, 2_000)
    flat, counts = window_moments(rows.y, rows.fully_observed, 10)
    em = EM.over(rows, ModelConfig(regimes=2), 5, None)
    labels = cluster_levels(em, flat, counts, 8, torch.Generator().manual_seed(0))
    assert recovery.ari(regimes[::10], labels.numpy()) > 0.9


@pytest.mark.parametrize(("channels", "T"), [(24, 1_000), (60, 400)])
def test_starts_find_levels_in_many_channels(channels, T):
    """Also where a regression on the lags has half as many entries as a regime has rows."""
    values, regimes = wide_levels(channels, T)
    with SeriesData.from_arrays(values) as data:
        rows = LaggedRows(data, ModelConfig(), data.mean, data.scale).rows(0, T)
    em = EM.over(rows, ModelConfig(), channels, None)
    start = best_start(em, rows, TrainConfig(), torch.Generator().manual_seed(0), silent)
    assert recovery.ari(regimes, smoothed_labels(rows, start, False)) > 0.98


@pytest.fixture
def levels(generator):
    """300 rows at level 0, 300 at 8 and 300 at 0: the EM of two regimes over them, the rows, and their true regimes."""
    true = np.repeat([0, 1, 0], 300)
    model = ModelConfig(regimes=2)
    with SeriesData.from_arrays(8.0 * true[:, None] + generator.normal(size=(900, 1))) as data:
        rows = LaggedRows(data, model, np.zeros(1), np.ones(1), torch.float64).rows(0, 900)
    return EM.over(rows, model, 1, None), rows, true


def constant(levels):
    """Regimes at these levels, without lags, of unit noise; visits last 100 rows. One restart."""
    weights = torch.tensor([[[0.0, level]] for level in levels]).double()
    chain = Chain(torch.full((2,), 0.5).double(), persistent(2, 100))
    return Parameters(Emission(weights, torch.ones(2, 1, 1).double()), chain)[None]


def test_an_empty_regime_takes_the_rows_that_are_explained_worst(levels):
    """Regime 0 explains the rows at level 0; regime 1 lies where there is no row, and none of its rows comes back."""
    em, rows, true = levels
    lost = constant([0.0, 1e6])
    assert float(collect(rows, lost, False).statistics.occupancy[0, 1]) < 1e-6
    assert set(smoothed_labels(rows, lost[0], False)) == {0}
    assert recovery.ari(true, smoothed_labels(rows, reinitialize_empty(em, rows, lost)[0], False)) > 0.99


def test_regimes_that_have_rows_stay_as_they_are(levels):
    em, rows, _ = levels
    started = constant([0.0, 8.0])
    assert reinitialize_empty(em, rows, started) is started


def test_starts_find_regimes_that_only_other_channels_tell_apart():
    """Three reflections of the plane, of which two predict nearly all of a channel, but from the other one."""
    reflected = np.array([[-0.59, -0.18], [0.13, -0.96], [0.25, -0.90]])
    rng = np.random.default_rng(5)
    regimes = np.repeat(rng.integers(0, 3, 40), 50)
    values = np.zeros((2000, 2))
    for t in range(1, 2000):
        a, b = reflected[regimes[t]]
        values[t] = np.array([[a, b], [b, -a]]) @ values[t - 1] + 0.9 * rng.normal(size=2)
    with SeriesData.from_arrays(values) as data:
        rows = LaggedRows(data, ModelConfig(), data.mean, data.scale).rows(0, 2000)
    em = EM.over(rows, ModelConfig(), 2, None)
    start = best_start(em, rows, TrainConfig(), torch.Generator().manual_seed(0), silent)
    fitted, known = (em.run_em(rows, one[None], 50)[0] for one in (start, start_from_labels(em, rows, regimes)))
    assert float(em.score(rows, fitted)[0]) > float(em.score(rows, known)[0]) - 1e-3


def test_the_likeliest_start_on_all_rows_is_taken():
    """Five levels in six channels, visits of 30 rows: the first tenth of the rows prefers a wrong start."""
    rng = np.random.default_rng(3)
    regimes = np.repeat(np.cumsum(rng.integers(1, 5, size=50)) % 5, 30)
    values = rng.normal(0, 1.2, (5, 6))[regimes] + rng.normal(size=(1_500, 6))
    model = ModelConfig(regimes=5)
    with SeriesData.from_arrays(values) as data:
        rows = LaggedRows(data, model, data.mean, data.scale).rows(0, 1_500)
    em = EM.over(rows, model, 6, None)
    start = best_start(em, rows, TrainConfig(model=model), torch.Generator().manual_seed(0), silent)
    assert recovery.ari(regimes, smoothed_labels(rows, start, False)) > 0.95
