from itertools import combinations

import numpy as np
import pytest
import recovery

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.selection.discrimination import discrimination
from gmvae_cli.selection.period import common_period, period_of
from gmvae_cli.selection.waveform_search import choose_waveforms, divide, join
from gmvae_cli.training.expectation import smoothed_labels

COUNTS = range(2, 10)


def oscillation(rng, true, period=40):
    """One period and one spread for all regimes; regime k has the k-th shape."""
    phase = 2 * np.pi * np.arange(len(true)) / period
    shapes = [np.sqrt(2) * np.sin(phase), np.sign(np.sin(phase)), np.sin(phase) + np.cos(2 * phase)]
    return (np.choose(true, shapes) + 0.2 * rng.normal(size=len(true)))[:, None]


@pytest.mark.parametrize("count", [2, 3])
def test_kinds_of_oscillation_are_found_and_counted(generator, count):
    true = np.repeat([*range(count), *range(count)], 1_200)
    with SeriesData.from_arrays(oscillation(generator, true)) as data:
        model, start = choose_waveforms(data, None, COUNTS, None, TrainConfig())
        lagged_rows = training_rows(data, model)
        rows = lagged_rows.rows(0, len(lagged_rows))
        labels = np.repeat(smoothed_labels(rows, start.initial, False), np.diff(lagged_rows.data.edges))
    assert model.regimes == count
    assert model.summarize >= 40, "a block holds a period"
    assert recovery.ari(true, labels) > 0.95


def test_levels_that_waveforms_do_not_show_are_found(generator):
    """Coloured noise at three levels: its waveforms are the same."""
    true = np.repeat([0, 1, 2, 0, 1, 2], 400)
    noise = np.zeros(len(true))
    for row in range(1, len(true)):
        noise[row] = 0.8 * noise[row - 1] + 0.6 * generator.normal()
    with SeriesData.from_arrays((noise + 3 * true)[:, None]) as data:
        model, start = choose_waveforms(data, 3, COUNTS, None, TrainConfig())
        lagged_rows = training_rows(data, model)
        labels = smoothed_labels(lagged_rows.rows(0, len(lagged_rows)), start.initial, False)
        labels = np.repeat(labels, np.diff(lagged_rows.data.edges))
    assert recovery.ari(true, labels) > 0.9


def test_one_kind_of_oscillation_is_one_regime(generator):
    with SeriesData.from_arrays(oscillation(generator, np.zeros(4_000, np.int64))) as data:
        assert choose_waveforms(data, None, COUNTS, None, TrainConfig())[0] == ModelConfig(regimes=1)


def test_a_recording_too_short_has_no_waveforms(generator):
    with SeriesData.from_arrays(generator.normal(size=(60, 1))) as data:
        assert choose_waveforms(data, None, COUNTS, None, TrainConfig()) is None


def test_divisions_are_the_best_of_all(generator):
    features = generator.normal(size=(9, 2))

    def cost(cuts):
        return sum(np.square(part - part.mean(axis=0)).sum() for part in np.split(features, cuts))

    for number, segments in enumerate(divide(features, 3)):
        possible = [
            cuts for cuts in combinations(range(1, 9), number) if min(np.diff([0, *cuts, 9])) >= 2
        ]  # two blocks at least
        found = tuple(np.flatnonzero(np.diff(segments)) + 1)
        assert found in possible
        assert cost(found) == pytest.approx(min(map(cost, possible)))


def test_segments_of_like_means_are_joined(generator):
    segments = np.repeat([0, 1, 2, 3], 10)
    features = np.choose(segments, [0.0, 5.0, 0.3, 9.0])[:, None] + 0.1 * generator.normal(size=(40, 1))
    np.testing.assert_array_equal(join(features, segments, 3), np.repeat([0, 1, 0, 2], 10))


def test_discrimination_is_high_for_regimes_and_low_within_one(generator):
    labels = np.repeat([0, 1, 0, 1], 30)
    noise = generator.normal(size=(120, 3))
    assert discrimination(noise + 6 * labels[:, None], labels) == pytest.approx(0.5)
    assert discrimination(noise, labels) < 0.15
    many = generator.normal(size=(48, 40))  # so many that means of the blocks themselves would tell them apart
    assert discrimination(many, np.repeat([0, 1, 0, 1], 12)) < 0.2


@pytest.mark.parametrize("period", [12, 50])
def test_the_period_is_found(generator, period):
    wave = np.sin(2 * np.pi * np.arange(2_000) / period)[:, None] + 0.3 * generator.normal(size=(2_000, 1))
    wave[generator.random(2_000) < 0.05] = np.nan
    with SeriesData.from_arrays(wave) as data:
        assert common_period(data) == pytest.approx(period, abs=1)


def test_noise_has_no_period(generator):
    assert period_of(generator.normal(size=2_000)) is None
    assert period_of(np.full(100, np.nan)) is None
    assert period_of(np.zeros(100)) is None


def labels_of(data, model, start):
    lagged_rows = training_rows(data, model)
    rows = lagged_rows.rows(0, len(lagged_rows))
    return np.repeat(smoothed_labels(rows, start.initial, False), np.diff(lagged_rows.data.edges))


@pytest.mark.slow
def test_a_long_recording_has_blocks_as_short_as_a_short_one(generator):
    """300,000 rows in visits of 900: a thousandth of them are 7 periods of 40 rows."""
    lengths = generator.integers(600, 1_200, size=330)
    true = np.repeat(np.arange(330) % 2, lengths)
    with SeriesData.from_arrays(oscillation(generator, true)) as data:
        model, start = choose_waveforms(data, 2, COUNTS, None, TrainConfig())
        labels = labels_of(data, model, start)
    assert model.summarize == 40
    assert recovery.ari(true, labels) > 0.85


@pytest.mark.parametrize("dwell", [600, 1_200, 2_400])
def test_half_and_double_the_dwell_do_no_harm(generator, dwell):
    true = np.repeat([0, 1, 2, 0, 1, 2, 0, 1], 1_200)
    with SeriesData.from_arrays(oscillation(generator, true)) as data:
        model, start = choose_waveforms(data, 3, COUNTS, dwell, TrainConfig())
        labels = labels_of(data, model, start)
    assert recovery.ari(true, labels) > 0.95
    assert start.dwell * model.summarize == pytest.approx(dwell)


def test_an_expected_dwell_finds_visits_that_are_many(generator):
    """Forty visits: more than the fifteen segments that are looked for where nothing is known."""
    true = np.repeat(np.arange(40) % 2, 300)
    with SeriesData.from_arrays(oscillation(generator, true, period=20)) as data:
        labels = labels_of(data, *choose_waveforms(data, 2, COUNTS, 300, TrainConfig()))
    assert recovery.ari(true, labels) > 0.8
