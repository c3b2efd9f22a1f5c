import numpy as np
import pytest
import torch

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import GMVAE, Parameters
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.model.ar_density import Emission, log_likelihoods
from gmvae_cli.model.chain import Chain, persistent
from gmvae_cli.system.progress import silent
from gmvae_cli.training.gradient import anneal, fit_encoder


@pytest.fixture
def rows():
    """2,000 rows of x_t = +-0.9 x_t-1 + e, the sign changing every 100 rows."""
    rng = np.random.default_rng(0)
    x = np.zeros(2_001)
    for t in range(2_000):
        x[t + 1] = (0.9, -0.9)[t // 100 % 2] * x[t] + rng.normal()
    with SeriesData.from_arrays(x[1:, None]) as data:
        yield LaggedRows(data, ModelConfig(regimes=2), data.mean, data.scale).rows(0, 2_000)


def started(weights):
    """A model of two regimes with these AR weights, unit noise and visits of 50 rows; its encoder knows nothing yet."""
    emission = Emission(torch.tensor([[[weight, 0.0]] for weight in weights]).double(), torch.ones(2, 1, 1).double())
    torch.manual_seed(0)
    return GMVAE(Parameters(emission, Chain(torch.full((2,), 0.5), persistent(2, 50))), ModelConfig(regimes=2))


def elbo_per_row(model, rows):
    with torch.no_grad():
        return float(model.elbo(rows.y, rows.usable[None], rows.observed, rows.steps[None]).sum() / rows.usable.sum())


@pytest.mark.parametrize("estimator", ["gumbel", "exact"])
def test_annealing_raises_the_elbo(rows, estimator):
    """From weights of +-0.2 to the truth: the optimum gains some 0.6 nats a row, and the encoder follows."""
    model, generator = started([0.2, -0.2]), torch.Generator().manual_seed(0)
    before = elbo_per_row(model, rows)
    anneal(model, rows, TrainConfig(estimator=estimator, lr=0.03), 150, generator, silent)
    np.testing.assert_allclose(model.emission().weights[:, 0, 0], [0.9, -0.9], atol=0.1)
    assert elbo_per_row(model, rows) > before + 0.4


def test_the_encoder_learns_the_exact_posterior(rows):
    """Row by row, of a decoder that stands still: the mean error of a probability falls below 0.05."""
    model = started([0.9, -0.9])
    emission = model.emission()
    exact = log_likelihoods(rows.y, emission.to(rows.y)).softmax(0).mT[rows.usable]

    def error():
        with torch.no_grad():
            guess = model.encoder(rows.y, rows.observed).softmax(-1)[rows.usable]
        return float((guess - exact).abs().mean())

    before = error()
    fit_encoder(model, rows, 150, torch.Generator().manual_seed(0), silent)
    assert error() < 0.05 < 0.2 < before
    for name, tensor in vars(model.emission()).items():
        assert tensor is None or torch.equal(tensor, getattr(emission, name)), f"{name} moved"
