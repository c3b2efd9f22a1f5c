import numpy as np
import pytest
import recovery

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.data import simulation
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.selection import multiscale, row_model
from gmvae_cli.selection.views import View
from gmvae_cli.system.progress import silent
from gmvae_cli.training.expectation import smoothed_labels
from gmvae_cli.training.fit import fit

pytestmark = pytest.mark.usefixtures("one_process")


def labels_of(lagged_rows, model):
    rows = lagged_rows.rows(0, len(lagged_rows))
    return smoothed_labels(rows, model, iid_prior=False)


def waveforms(rng):
    """Two waveforms of one level and one spread, that come back; 3,000 rows and their truth."""
    true = np.repeat([0, 1, 0, 1, 0, 1], 500)
    phase = np.cumsum(2 * np.pi / 50 * np.ones(3_000))
    tooth = np.where(true == 0, np.sin(phase), np.sign(np.sin(phase)) * 0.7)
    return (tooth + 0.1 * rng.normal(size=3_000))[:, None], true


def test_waveforms_are_told_apart_by_the_views_that_agree(generator):
    """ARI above 0.9; the plain model of the rows, chosen by likelihood, divides the waveforms and gets below 0.3."""
    values, true = waveforms(generator)
    with SeriesData.from_arrays(values) as data:
        model, start = multiscale.choose(data, 2, None, TrainConfig(), silent)
        lagged_rows = training_rows(data, model)
        labels = labels_of(lagged_rows, start.initial)
        plain = training_rows(data, ModelConfig(regimes=2))
        likeliest = fit(plain, TrainConfig(model=ModelConfig(regimes=2), steps=10), None, silent).parameters
        flickering = labels_of(plain, likeliest)
    edges = getattr(lagged_rows.data, "edges", np.arange(3_001))
    assert recovery.ari(true, np.repeat(labels, np.diff(edges))) > 0.9
    assert recovery.ari(true, flickering) < 0.3


def test_a_model_that_is_right_is_left_to_likelihood():
    """Simulated regimes that last 50 rows: stride and blocks stay 1, and no view is asked."""
    rng = np.random.default_rng(0)
    process = simulation.random_process(3, 4, 1, dwell=50, shared_covariance=False, intercept=True, generator=rng)
    values, _ = recovery.drawn(process, 6_000, rng)
    with SeriesData.from_arrays(values) as data:
        model, start = multiscale.choose(data, 3, None, TrainConfig(), silent)
    assert (start.agreement, model.stride, model.summarize) == (None, 1, 1)
    assert float(start.initial.evidence_scale) == 1


def test_where_the_likeliest_regimes_are_not_found_again_the_next_are_believed(monkeypatch):
    """As where the phases of a wave are told apart by likelihood alone."""
    rng = np.random.default_rng(0)
    true = np.repeat(np.cumsum(rng.integers(1, 3, size=40)) % 3, 50)
    values = 4 * true[:, None] * [1, -1, 1] + rng.normal(size=(2_000, 3))
    asked, is_stable = [], multiscale._is_stable

    def not_at_first(row_model, task):
        asked.append(row_model.model.regimes)
        return len(asked) > 1 and is_stable(row_model, task)

    monkeypatch.setattr(multiscale, "_is_stable", not_at_first)
    monkeypatch.setattr(row_model, "_by_bic", lambda fits: [fits.get(count, fits[5]) for count in (3, 3, 4)])
    with SeriesData.from_arrays(values) as data:
        model, start = multiscale.choose(data, None, None, TrainConfig(), silent)
    assert asked == [3, 3]
    assert model.regimes == 3 and start.reason.startswith("regimes are levels and dynamics of the rows")


def test_as_many_regimes_as_asked_for_are_those_of_the_rows_where_fewer_are_found_again(monkeypatch):
    """Three are asked for, of which two are alike: from other starts they are others, but two are found again."""
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(40) % 2, 50)
    values = 4 * true[:, None] * [1, -1, 1] + rng.normal(size=(2_000, 3))
    is_stable = multiscale._is_stable
    monkeypatch.setattr(multiscale, "_is_stable", lambda fit, task: fit.model.regimes == 2 and is_stable(fit, task))
    with SeriesData.from_arrays(values) as data:
        model, start = multiscale.choose(data, 3, None, TrainConfig(), silent)
    assert model.regimes == 3 and start.reason.startswith("regimes are levels and dynamics of the rows, as asked")


@pytest.mark.slow
def test_levels_of_many_channels_are_found_again_in_windows_too_short_for_a_regression():
    """Visits of 60 rows or more of 40 channels, whose regressions have 41 columns."""
    rng = np.random.default_rng(0)
    true = np.repeat(rng.integers(0, 3, 50), 60)
    values = rng.normal(0, 1.5, (3, 40))[true] + rng.normal(size=(3_000, 40))
    with SeriesData.from_arrays(values) as data:
        task = row_model.fit_task(data, TrainConfig(model=ModelConfig(regimes=3)))
        assert multiscale._is_stable(row_model._fitted(task), task)


def test_levels_of_many_features_are_seen_at_a_time_scale(generator):
    """Three levels of 20 features, a standard deviation apart: ARI above 0.95; regressions alone get below 0.1."""
    true = np.repeat(np.cumsum(generator.integers(1, 3, 30)) % 3, 60)
    values = generator.normal(size=(3, 20))[true] + generator.normal(size=(1_800, 20))
    steps, blocks = np.append(0, np.ones(1_799, np.int64)), np.arange(1_801) * 4
    view = View("blocks", 4, values, steps, blocks[:-1], blocks[1:])
    labellings = multiscale._labellings(multiscale._Task(view, ModelConfig(regimes=3), 0, 7_200, None))
    assert max(recovery.ari(true, labels) for labels in labellings) > 0.95


def test_training_is_told_the_whole_dwell_that_the_user_expects(generator, few_counts):
    """Also where windows of half of it were clustered, and where a model of the rows is right."""
    values, _ = waveforms(generator)
    with SeriesData.from_arrays(values) as data:
        model, start = multiscale.choose(data, 2, 500, TrainConfig(), silent)
    assert start.dwell * model.summarize == 500
    rng = np.random.default_rng(0)
    process = simulation.random_process(2, 2, 1, dwell=50, shared_covariance=False, intercept=True, generator=rng)
    values, _ = recovery.drawn(process, 2_000, rng)
    with SeriesData.from_arrays(values) as data:
        _, start = multiscale.choose(data, 2, 80, TrainConfig(), silent)
    assert (start.agreement, start.dwell) == (None, 80)


def test_changes_between_blocks_are_placed_at_rows(generator, few_counts, monkeypatch):
    monkeypatch.setattr(multiscale, "_WAVEFORM_CHANNELS", 0)
    values, _ = waveforms(generator)
    with SeriesData.from_arrays(values) as data:
        model, _ = multiscale.choose(data, 2, 500, TrainConfig(), silent)
    assert model.summarize > 1
    assert model.join_passages


def test_one_autoregression_is_one_regime():
    rng = np.random.default_rng(1)
    process = simulation.random_process(1, 2, 1, dwell=50, shared_covariance=False, intercept=True, generator=rng)
    values, _ = recovery.drawn(process, 2_000, rng)
    with SeriesData.from_arrays(values) as data:
        model, _ = multiscale.choose(data, None, None, TrainConfig(), silent)
    assert model.regimes == 1


def test_an_expected_dwell_chooses_the_scales():
    """Visits have four blocks at least, and a window is half of one; where nothing is coarse enough, all goes."""
    with SeriesData.from_arrays(np.random.default_rng(0).normal(size=(80_000, 2))) as data:
        for dwell, block_rows in (
            (20, [1, 4]),
            (1_000, [4, 16, 64]),
            (30_000, [64, 256]),
            (10**6, [1, 4, 16, 64, 256]),
        ):
            tasks = multiscale._tasks(data, 1, [2], dwell, TrainConfig())
            assert [task.view.block_rows for task in tasks] == block_rows


@pytest.mark.parametrize(
    ("rows", "dwell"),
    [
        (8, 4.0),
        (8, 400_000.0),
        (60, 4.0),
        pytest.param(60, 400_000.0, marks=pytest.mark.slow),
        pytest.param(300_000, 4.0, marks=pytest.mark.slow),
        (300_000, 400_000.0),
    ],
)
def test_any_expected_dwell_meets_any_number_of_rows(rows, dwell, few_counts):
    """Levels of 10 channels, which come back 6 times."""
    true = np.arange(rows) * 6 // rows % 2
    noise = np.random.default_rng(0).uniform(size=(rows, 1 if rows < 10 else 10)) ** 4
    with SeriesData.from_arrays(noise + 3 * true[:, None]) as data:
        model, _ = multiscale.choose(data, None, dwell, TrainConfig(), silent)
        assert model.regimes <= max(1, rows // 13)
        assert rows < 100_000 or model.regimes > 1
