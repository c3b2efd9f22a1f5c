from dataclasses import replace

import numpy as np
import pytest
import recovery
import torch
from random_models import collected, random_checkpoint, random_data, random_parameters
from reference import filter_rows, random_chain
from scipy.signal import lfilter

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data import simulation
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.model.ar_density import Emission, log_likelihoods
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.evidence_scale import evidence_scale
from gmvae_cli.model.student_t import row_weights
from gmvae_cli.system.progress import silent
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import collect
from gmvae_cli.training.fit import fit


def noise_alone(values, rows=None):
    """Scale of rows (D, n) seen as noise of unit variance around zero, one regime."""
    D, n = values.shape
    y = torch.cat([torch.as_tensor(values), torch.ones(1, n, dtype=torch.float64)])
    emission = Emission(torch.zeros(1, 1, D, 1, dtype=torch.float64), torch.eye(D, dtype=torch.float64)[None, None])
    usable = torch.ones(n, dtype=torch.bool) if rows is None else torch.as_tensor(rows)
    return float(evidence_scale(y, usable, emission, torch.ones(1, 1, n, dtype=torch.float64))[0])


def coloured(rho, shape, rng):
    return lfilter([np.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=shape), axis=-1)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_white_errors_have_scale_one(channels, seed):
    assert noise_alone(np.random.default_rng(seed).normal(size=(channels, 5_000))) == 1.0


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.95])
def test_scale_of_coloured_errors_is_the_autocorrelation_time(rho):
    """(1 + rho) / (1 - rho), less what lies in autocorrelations below 0.05."""
    kept = np.arange(1, int(np.log(0.05) / np.log(rho)) + 1)
    expected = 1 + 2 * (rho**kept).sum()
    assert noise_alone(coloured(rho, (2, 200_000), np.random.default_rng(0))) == pytest.approx(expected, rel=0.1)


def test_scale_sees_spread_that_comes_in_bursts():
    """Uncorrelated values whose spread changes every 100 rows: their squares are correlated."""
    rng = np.random.default_rng(0)
    spread = np.repeat(rng.choice([0.2, 1.4], size=500), 100)
    assert noise_alone(spread * rng.normal(size=(1, 50_000))) > 5


def test_scale_ignores_rows_without_evidence():
    """Half of the rows missing at random: the same time, measured over the pairs that are there."""
    rng = np.random.default_rng(0)
    values, rows = coloured(0.9, (1, 200_000), rng), rng.random(200_000) < 0.5
    whole, half = noise_alone(values), noise_alone(np.where(rows, values, 0), rows)
    assert half == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_the_chance_autocorrelation_of_few_white_rows_is_none(seed):
    assert noise_alone(np.random.default_rng(seed).normal(size=(1, 200))) == 1.0


def by_loop(values):
    """1 + 2 sum of autocorrelations of rows (n,), lag by lag, until one is below 0.05, up to lag min(n / 2, 2000)."""
    n, centred = len(values), values - values.mean()
    total = 1.0
    for lag in range(1, min(n // 2, 2_000) + 1):
        correlation = (centred[lag:] @ centred[:-lag] / (n - lag)) / (centred @ centred / n)
        if correlation < 0.05:
            break
        total += 2 * correlation
    return total


@pytest.mark.parametrize(("rho", "rows"), [(0.9, 300), (0.9999, 100_000)], ids=["short", "longer than the longest lag"])
def test_scale_equals_a_loop_over_lags(rho, rows):
    values = coloured(rho, (1, rows), np.random.default_rng(1))
    expected = max(by_loop(values[0]), by_loop(values[0] ** 2 - 1))
    assert noise_alone(values) == pytest.approx(expected, rel=1e-9)


def test_residuals_count_in_the_regime_that_holds():
    """Two levels, white about each: the distance to the other level is no error."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1] * 10, 100)
    y = torch.as_tensor(np.stack([5.0 * true + rng.normal(size=2_000), np.ones(2_000)]))
    weights = torch.tensor([0.0, 5.0], dtype=torch.float64)[None, :, None, None]
    emission = Emission(weights, torch.ones(1, 1, 1, 1, dtype=torch.float64))
    probs = torch.as_tensor(np.eye(2)[true].T)[None]
    assert float(evidence_scale(y, torch.ones(2_000, dtype=torch.bool), emission, probs)) == 1.0
    assert float(evidence_scale(y, torch.ones(2_000, dtype=torch.bool), emission, 0 * probs + 0.5)) > 5


def test_outliers_of_heavy_tails_are_no_coloured_errors():
    """Pairs of spikes in neighbouring rows: squares are correlated, unless rows have the weights of heavy tails."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=5_000)
    spikes = rng.choice(2_500, size=25, replace=False) * 2
    values[np.concatenate([spikes, spikes + 1])] += 30
    y = torch.as_tensor(np.stack([values, np.ones(5_000)]))
    nu, every = torch.tensor([[3.0]], dtype=torch.float64), torch.ones(5_000, dtype=torch.bool)
    emission = Emission(torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64), nu)
    probs = torch.ones(1, 1, 5_000, dtype=torch.float64)
    weights = row_weights(y[None, :1].square(), nu, 1, None)
    assert float(evidence_scale(y, every, emission, probs)) > 1.5
    assert float(evidence_scale(y, every, emission, probs, weights)) == 1.0


# --- the scale at work -----------------------------------------------------------------------------------------------


def test_training_on_a_correct_model_keeps_scale_one():
    rng = np.random.default_rng(0)
    process = simulation.random_process(3, 2, 1, dwell=50, shared_covariance=False, intercept=True, generator=rng)
    values, _ = recovery.drawn(process, 4_000, rng)
    data = SeriesData.from_arrays(values)
    config = TrainConfig(model=ModelConfig(regimes=3), steps=20)
    result = fit(LaggedRows(data, config.model, data.mean, data.scale), config, None, silent)
    assert float(result.parameters.evidence_scale) == 1.0


@pytest.mark.slow
def test_training_estimates_the_scale_of_a_wrong_model():
    """Two waveforms that one lag does not describe: the scale is above 1, unless the user says 1; ARI above 0.95."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 0, 1], 1_000)
    run_backward = np.cumsum(np.where(true == 0, 2 * np.pi / 40, 2 * np.pi / 25))
    values = np.stack([np.sin(run_backward), np.sin(run_backward + 1)], 1) + 0.2 * rng.normal(size=(4_000, 2))
    data = SeriesData.from_arrays(values)
    scales = {}
    for asked in ("1", "auto"):
        config = TrainConfig(model=ModelConfig(regimes=2), steps=20, evidence_scale=asked)
        lagged_rows = LaggedRows(data, config.model, data.mean, data.scale)
        parameters = fit(lagged_rows, config, 500.0, silent).parameters
        checkpoint = replace(random_checkpoint(0, K=2), parameters=parameters)
        checkpoint = replace(checkpoint, mean=torch.as_tensor(data.mean), scale=torch.as_tensor(data.scale))
        assert recovery.ari(true, collected(data, checkpoint, "smooth", 4_000)[0]) > 0.95
        scales[asked] = float(parameters.evidence_scale)
    assert scales["1"] == 1.0
    assert scales["auto"] > 1.2


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_polish_never_lowers_the_bound_at_a_fixed_scale(scale):
    rng = np.random.default_rng(0)
    values = coloured(0.9, (2, 2_000), rng).T * np.repeat([1.0, 3.0], 1_000)[:, None]
    data = SeriesData.from_arrays(values)
    config = ModelConfig(regimes=2)
    rows = LaggedRows(data, config, data.mean, data.scale, torch.float64).rows(0, 2_000)
    em = EM.over(rows, config, 2, None, scale)
    pi, A = (torch.as_tensor(part) for part in random_chain(rng, 2))
    emission = random_parameters(rng, 2, 2, 1).emission
    model = Parameters(emission, Chain(pi, A), torch.tensor(scale, dtype=torch.float64))[None]
    reached = []
    for _ in range(15):
        reached.append(float(collect(rows, model, iid_prior=False).statistics.log_marginal[0]))
        model, _ = em.run_em(rows, model, 1)
    assert np.diff(reached).min() > -2.0  # the few pseudo-rows of the updates are all that may cost
    assert reached[-1] > reached[0] + 100


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_rows_are_predicted_unscaled_by_a_scaled_filter(scale):
    """log sum_k p_c(z_t = k | past) p(x_t | h_t, k), against the filter taken row by row."""
    checkpoint = random_checkpoint(3)
    checkpoint.parameters.evidence_scale.fill_(scale)
    data = random_data(3, 60)
    _, _, result, _, _ = collected(data, checkpoint, "smooth", 17)
    lagged_rows = LaggedRows(data, checkpoint.model, checkpoint.mean.numpy(), checkpoint.scale.numpy(), torch.float64)
    rows = lagged_rows.rows(0, 60)
    emission = checkpoint.parameters.emission
    scores = torch.where(rows.usable, log_likelihoods(rows.y, emission, rows.partial), 0).mT.numpy()
    pi, A = (part.numpy() for part in checkpoint.parameters.chain)
    filtered, _ = filter_rows(scores / scale, pi, A, rows.steps)
    predicted = np.empty_like(filtered)
    for t, step in enumerate(rows.steps):
        predicted[t] = pi if step == 0 else filtered[t - 1] @ np.linalg.matrix_power(A, step)
    volume = checkpoint.scale.log().numpy() @ rows.observed.numpy()
    expected = np.log((predicted * np.exp(scores)).sum(1)) - volume
    np.testing.assert_allclose(result, np.where(rows.usable, expected, np.nan), rtol=1e-9)
