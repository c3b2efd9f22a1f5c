import numpy as np
import pytest

from gmvae_cli.config import TrainConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.metrics.partition import adjusted_rand, contingency
from gmvae_cli.selection.row_model import fit_task, row_models
from gmvae_cli.system.concurrency import Processes
from gmvae_cli.system.progress import silent

pytestmark = pytest.mark.usefixtures("one_process")


def ari(true, labels):
    table = contingency(true, labels, int(true.max()) + 1, int(labels.max()) + 1)
    return float(adjusted_rand(table[None])[0])


def row_model(values, regimes=None):
    with SeriesData.from_arrays(values) as data:
        return next(row_models(fit_task(data, TrainConfig()), regimes, silent, Processes()))


def machine(rng, cycles, visits=(50, 20, 80)):
    """Three states of a machine in turn: a level each, and a wave of nine rows in the last, so that lags count."""
    lengths = (np.tile(visits, cycles) * rng.uniform(0.5, 1.5, 3 * cycles)).astype(int)
    true = np.repeat(np.tile([0, 1, 2], cycles), lengths)
    wave = (true == 2) * 0.5 * np.sin(2 * np.pi * np.arange(len(true)) / 9)
    levels = np.array([[0.0, 3.0, 1.0], [8.0, 0.0, 4.0], [5.0, 8.0, 9.0]])[true]
    return levels + wave[:, None] * [1, 0, 0] + 0.15 * rng.normal(size=levels.shape), true


@pytest.mark.slow
def test_a_passage_from_one_regime_to_another_is_no_regime(generator):
    """All visits of three states are found, though a fourth regime for the rows at changes has a smaller BIC."""
    values, true = machine(generator, 40)
    model = row_model(values)
    assert model.model.regimes == 3
    assert ari(true, model.labels) > 0.99
    assert np.count_nonzero(np.diff(model.labels)) == np.count_nonzero(np.diff(true))


@pytest.mark.slow
def test_visits_of_one_length_are_one_regime(generator):
    """Two regimes in turn explain visits of exactly eight rows better than one, but they behave alike."""
    true = np.repeat(np.cumsum(generator.integers(1, 3, size=500)) % 3, 8)
    values = np.array([0.0, 7.0, 14.0])[true][:, None] + generator.normal(size=(4_000, 1))
    model = row_model(values)
    assert model.model.regimes == 3
    assert ari(true, model.labels) > 0.99


def test_the_rows_of_a_long_recording_are_whole_pieces_in_its_units(generator):
    """100,000 rows: ten pieces of 2,000, standardised as the whole recording."""
    values = np.cumsum(generator.normal(size=(100_000, 2)), axis=0)
    with SeriesData.from_arrays(values) as data:
        task = fit_task(data, TrainConfig())
        mean, scale = data.mean, data.scale
    starts = np.flatnonzero(task.steps == 0)
    assert starts.tolist() == list(range(0, 20_000, 2_000))
    for piece, first in enumerate(np.linspace(0, 98_000, 10).astype(int)):
        np.testing.assert_array_equal(task.values[2_000 * piece :][:2_000], values[first : first + 2_000])
    first_row = task.rows().y[:2, 0].numpy(), task.rows().y[:2, 1].numpy()
    np.testing.assert_allclose(first_row[1], (values[1] - mean) / scale, rtol=1e-4)


def test_regimes_that_are_asked_for_are_no_passages(generator):
    """With three asked for, all three states are found, and none is spent on the rows at changes."""
    values, true = machine(generator, 40, visits=(100, 8, 150))
    model = row_model(values, 3)
    assert model.model.regimes == 3
    assert ari(true, model.labels) > 0.99


@pytest.mark.slow
def test_levels_are_counted_though_covariances_of_their_own_would_cost_more(generator):
    """Three levels in six channels, 1,000 rows in visits of 25: BIC of full regimes takes two."""
    true = np.repeat(np.cumsum(generator.integers(1, 3, size=40)) % 3, 25)
    values = generator.normal(0, 1.5, size=(3, 6))[true] + generator.normal(size=(1_000, 6))
    model = row_model(values)
    assert model.model.regimes == 3
    assert ari(true, model.labels) > 0.98


def test_models_that_explain_the_rows_clearly_worse_are_left_out(generator):
    """Three clear levels: more regimes are about as good, two are not."""
    true = np.repeat(np.cumsum(generator.integers(1, 3, size=32)) % 3, 25)
    values = generator.normal(0, 4, size=(3, 3))[true] + generator.normal(size=(800, 3))
    with SeriesData.from_arrays(values) as data:
        ranked = list(row_models(fit_task(data, TrainConfig()), None, silent, Processes()))
    bics = [model.bic for model in ranked]
    assert ranked[0].model.regimes == 3 and bics == sorted(bics)
    assert min(model.model.regimes for model in ranked) == 3


@pytest.mark.slow
@pytest.mark.parametrize("regimes", [2, 8])
def test_the_number_of_regimes_is_followed_as_far_as_it_leads(generator, regimes):
    """Clear levels, far fewer or more of them than the number that is tried first."""
    true = np.repeat(np.cumsum(generator.integers(1, regimes, size=60)) % regimes, 40)
    values = 8.0 * np.array([np.arange(8) % 3, np.arange(8) // 3]).T[true] + generator.normal(size=(2_400, 2))
    model = row_model(values)
    assert model.model.regimes == regimes
    assert ari(true, model.labels) > 0.99
