import numpy as np
import recovery
import torch

from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import Chain, persistent
from gmvae_cli.training.em import EM


def test_an_empty_regime_takes_the_rows_that_are_explained_worst(generator):
    """600 rows at level 0 and 300 at 8; regime 0 explains the first, regime 1 lies where there is no row."""
    true = np.repeat([0, 1, 0], 300)
    values = 8.0 * true[:, None] + generator.normal(size=(900, 1))
    model = ModelConfig(regimes=2)
    with SeriesData.from_arrays(values) as data:
        rows = LaggedRows(data, model, np.zeros(1), np.ones(1), torch.float64).rows(0, 900)
        em = EM.over(rows, model, 1, None)
        emission = Emission(torch.tensor([[[0.0, 0.0]], [[0.0, 1e6]]]).double(), torch.ones(2, 1, 1).double())
        lost = Parameters(emission, Chain(torch.full((2,), 0.5).double(), persistent(2, 100)))
        assert float(em.expect(rows, lost[None]).occupancy[0, 1]) < 1e-6
        assert len(set(em.labels(rows, lost).tolist())) == 1
        found = em.reinitialize_empty(rows, lost[None])[0]
        assert recovery.ari(true, em.labels(rows, found)) > 0.99


def test_regimes_that_have_rows_stay_as_they_are(generator):
    true = np.repeat([0, 1, 0], 300)
    values = 8.0 * true[:, None] + generator.normal(size=(900, 1))
    model = ModelConfig(regimes=2)
    with SeriesData.from_arrays(values) as data:
        rows = LaggedRows(data, model, np.zeros(1), np.ones(1), torch.float64).rows(0, 900)
        em = EM.over(rows, model, 1, None)
        started = em.labelled(rows, true)[None]
        assert em.reinitialize_empty(rows, started) is started
