"""Whoever does what a warning suggests gets a better answer: each warning that names an option, followed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
# Notes that say how a file was read or a model made, and name the option for those who know better: a test of what they
# do. All others that name an option are followed here or in test_advice_on_files.py, but for those of UNFOLLOWED
READ_OTHERWISE = {
    "decimal": "commands/test_reading.py::test_a_decimal_comma_that_was_recognised_is_written_and_settles_what_is_open",
    "delimiter": "files/test_cells_come_back.py::test_cells_of_an_odd_file_come_back",
    "empty_column": "files/test_series_reader.py::test_columns_have_their_roles",
    "encoding": "odd/test_dialects.py::test_a_table_reads_back_whatever_its_dialect",
    "header": "odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused",
    "lines_above": "odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused",
    "many_channels": "commands/test_cli_plot.py::test_more_than_twelve_series_or_channels_are_said",
    "min_dwell_as_trained": "commands/test_cli_infer.py::test_min_dwell_is_heeded_remembered_and_overruled",
    "other_names": "commands/test_cli_compare.py::test_regimes_of_one_name_are_one",
    "other_numbers": "commands/test_cli_train.py::test_align_to_keeps_the_numbers_of_an_older_model",
    "sampled": "cluster/test_fitting.py::test_a_model_of_stretches_is_that_of_the_whole",
    "segments_missing": "commands/test_cli_fleet.py::test_what_an_earlier_table_cannot_know_is_said",
    "time_column": "files/test_series_reader.py::test_columns_have_their_roles",
    "time_format": "odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused",
    "unused_columns": "files/test_series_reader.py::test_columns_have_their_roles",
}
UNFOLLOWED = {"little_agreement"}  # no series is known in which --expect-dwell alone mends it


@pytest.fixture
def result_of(run, tmp_path):
    """Label a series (n, D), true regimes beside it, by a command with options: its JSON and the ARI."""

    def result_of(command, values, true, *options, posterior="smooth"):
        quick = [] if command == "segment" or "--steps" in options else ["--steps", 5, "--restarts", 2]
        series, model, labelled = (tmp_path / name for name in ("in.csv", "m.safetensors", "out.csv"))
        header = ",".join(["t", *(f"x{index}" for index in range(values.shape[1])), "true_regime"])
        table = np.column_stack([np.arange(len(values)), values, true])
        np.savetxt(series, table, delimiter=",", header=header, comments="", fmt="%.7g")
        ends = ["--output", labelled] if command == "segment" else []
        made = run(command, series, *ends, "--model", model, *options, *quick, "--json", "--quiet")
        assert made.exit_code == 0, made.output
        if command == "train":
            inferred = run("infer", series, "--model", model, "--output", labelled, "--posterior", posterior)
            assert inferred.exit_code == 0, inferred.output
        scores = json.loads(run("evaluate", labelled, "--json").stdout)
        return json.loads(made.stdout), scores["ari"]

    return result_of


@pytest.fixture
def chain(generator):
    """Draw regimes (n,) that last `dwell` rows in the mean."""

    def chain(rows, regimes, dwell):
        moves = np.where(generator.random(rows) < 1 / dwell, generator.integers(1, regimes, size=rows), 0)
        return moves.cumsum() % regimes

    return chain


@pytest.fixture
def noise(generator):
    """Draw autoregressive noise (n, D) of variance 1."""

    def noise(rows, channels, weight=0.3):
        drawn = generator.normal(size=(rows, channels))
        for row in range(1, rows):
            drawn[row] = weight * drawn[row - 1] + np.sqrt(1 - weight**2) * drawn[row]
        return drawn

    return noise


def codes(result):
    return [warning["code"] for warning in result["warnings"]]


def sentence(result, code):
    return next(warning["sentence"] for warning in result["warnings"] if warning["code"] == code)


def test_spikes_and_student_noise(result_of, chain, noise, generator):
    true = chain(3_000, 2, 60)
    values = noise(3_000, 2) + 2 * true[:, None] * [1, -1]
    spiked = generator.random(values.shape) < 0.01
    values[spiked] += 40 * generator.normal(size=spiked.sum())
    before, ari = result_of("train", values, true, "--regimes", 2)
    assert "heavy_tails" in codes(before) and ari < 0.1
    after, better = result_of("train", values, true, "--regimes", 2, "--noise", "student")
    assert "heavy_tails" not in codes(after) and better > 0.9


def test_a_few_spikes_that_make_a_rare_regime_and_student_noise(result_of, chain, noise):
    true = chain(2_000, 2, 50)
    values = noise(2_000, 2) + 3 * true[:, None]
    values[700] += 60
    before, ari = result_of("train", values, true, "--regimes", 2)
    assert {"rare_regime", "short_visits"} <= set(codes(before)) and ari < 0.1
    assert "use --noise student" in sentence(before, "rare_regime")
    after, better = result_of("train", values, true, "--regimes", 2, "--noise", "student")
    assert "rare_regime" not in codes(after) and better > 0.9


def test_a_missing_code_and_na_values(result_of, chain, noise, generator):
    true = chain(2_000, 2, 50)
    values = noise(2_000, 2) + 3 * true[:, None]
    values[generator.random(values.shape) < 0.005] = -9999
    before, ari = result_of("train", values, true, "--regimes", 2)
    assert "--na-values -9999" in sentence(before, "missing_code") and ari < 0.1
    after, better = result_of("train", values, true, "--regimes", 2, "--na-values=-9999")
    assert "missing_code" not in codes(after) and better > 0.9


def test_too_many_regimes_and_fewer(result_of, chain, noise):
    true = chain(3_000, 2, 50)
    values = noise(3_000, 1) + 3 * true[:, None]
    before, ari = result_of("train", values, true, "--regimes", 8)
    assert {"same_regimes", "rare_regime"} & set(codes(before))
    assert any("try fewer --regimes" in warning["sentence"] for warning in before["warnings"])
    _, better = result_of("train", values, true, "--regimes", 2)
    assert better > ari + 0.02


def test_short_visits_and_expected_dwell(result_of, chain, generator):
    """A fast flicker stands out more than the slow regimes that are looked for."""
    true, flicker = chain(3_000, 2, 80), chain(3_000, 2, 3)
    values = np.column_stack([true + 6 * flicker, 0.7 * true]) + [0.5, 1] * generator.normal(size=(3_000, 2))
    before, ari = result_of("train", values, true, "--regimes", 2)
    assert "set --expect-dwell" in sentence(before, "short_visits") and ari < 0.1
    after, better = result_of("train", values, true, "--regimes", 2, "--expect-dwell", 80)
    assert "short_visits" not in codes(after) and better > 0.6


def test_few_rows_and_fewer_channels(result_of, generator):
    true = np.repeat(np.arange(6) % 2, 12)
    values = generator.normal(size=(72, 8))
    values[:, :2] += 3 * true[:, None]
    before, ari = result_of("train", values, true, "--regimes", 3)
    assert "or fewer --regimes or --channels" in sentence(before, "too_short")
    after, better = result_of("train", values, true, "--regimes", 2, "--channels", "x0,x1")
    assert "too_short" not in codes(after) and better > max(0.9, ari)


def test_channels_that_are_one_and_one_of_them_left_out(result_of, chain, noise, generator):
    true = chain(2_000, 2, 50)
    values = noise(2_000, 2) + 2 * true[:, None]
    values = np.column_stack([values, 3 * values[:, 0] + 0.01 * generator.normal(size=2_000)])
    before, ari = result_of("train", values, true, "--regimes", 2)
    assert {"duplicate_channels", "same_channels"} <= set(codes(before)) and ari < 0.1
    after, better = result_of("train", values, true, "--regimes", 2, "--channels", "x0,x1")
    assert codes(after) == [] and better > 0.8


def test_regimes_that_drift_away_and_fewer_lags(result_of, noise):
    true = np.repeat(np.arange(12) % 3, 15)
    values = noise(180, 2, 0.5) + 2 * np.column_stack([true, true * (2 - true)])
    before, ari = result_of("train", values, true, "--regimes", 3, "--lags", 10)
    assert "fewer --lags" in sentence(before, "unstable_regime")
    _, better = result_of("train", values, true, "--regimes", 3, "--lags", 1)
    assert better > ari


@pytest.mark.slow
def test_values_far_from_zero_and_an_intercept(result_of, chain, noise):
    true = chain(2_000, 2, 50)
    values = 5_000 + noise(2_000, 1) + 3 * true[:, None]
    before, ari = result_of("train", values, true, "--regimes", 2, "--no-intercept")
    assert "leave that option out" in sentence(before, "far_from_zero") and ari < 0.1
    after, better = result_of("train", values, true, "--regimes", 2)
    assert "far_from_zero" not in codes(after) and better > 0.9


def test_training_that_stopped_early_and_more_polish(result_of, chain, noise):
    true = chain(1_500, 4, 20)
    values = noise(1_500, 1, 0.5) + true[:, None]
    options = ("--regimes", 4, "--restarts", 1, "--steps", 1)
    before, _ = result_of("train", values, true, *options, "--polish", 2)
    assert "train with more --polish" in sentence(before, "not_converged")
    after, _ = result_of("train", values, true, *options, "--polish", 400)
    assert after["converged"] and before["evaluated_on"] == after["evaluated_on"] == "train"
    assert after["log_likelihood_per_row"] > before["log_likelihood_per_row"]


def test_an_encoder_that_falls_short_and_the_exact_posterior(result_of, chain, generator):
    """A walk is far wider than its steps, which alone tell the regimes apart."""
    true = chain(3_000, 2, 100)
    values = (np.where(true, 2.0, 0.5)[:, None] * generator.normal(size=(3_000, 1))).cumsum(0)
    before, ari = result_of("train", values, true, "--regimes", 2, posterior="encoder")
    assert "less accurate than by smooth" in sentence(before, "amortisation_gap")
    _, better = result_of("train", values, true, "--regimes", 2, posterior="smooth")
    assert better > ari + 0.05


@pytest.mark.slow
def test_rows_that_are_nearly_equal_and_a_stride(result_of, chain, noise):
    """One row in sixteen is a step of the regimes' own dynamics; those between them are interpolated."""
    interpolate = pytest.importorskip("scipy.interpolate").CubicSpline
    gains = []
    for _ in range(3):
        coarse = chain(500, 2, 30)
        drawn = noise(500, 2, 0)
        for row in range(1, 500):
            drawn[row] += np.array([[0.9, 0.2], [-0.4, 0.8]])[coarse[row]] * drawn[row - 1]
        values = interpolate(np.arange(500), drawn)(np.minimum(np.arange(8_000) / 16, 499))
        true = np.repeat(coarse, 16)
        before, ari = result_of("train", values, true, "--regimes", 2)
        stride = sentence(before, "oversampled").rpartition("--stride ")[2]
        after, better = result_of("train", values, true, "--regimes", 2, "--stride", stride)
        assert "oversampled" not in codes(after)
        gains.append(better - ari)
    assert min(gains) > 0


@pytest.mark.slow
def test_a_trend_and_its_channel_left_out(result_of, chain, noise):
    true = chain(2_000, 2, 50)
    values = np.column_stack([noise(2_000, 1)[:, 0] + 3 * true, noise(2_000, 1)[:, 0] + 0.02 * np.arange(2_000)])
    before, ari = result_of("segment", values, true, "--regimes", 2)
    assert "leave the channel out" in sentence(before, "trend")
    after, better = result_of("segment", values, true, "--regimes", 2, "--channels", "x0")
    assert "trend" not in codes(after) and better > max(0.9, ari)


@pytest.mark.slow
def test_a_wandering_channel_and_its_changes(result_of, chain, generator):
    """The regimes are in the steps of a walk, smoothed over five rows, which its level hides."""
    true = chain(1_500, 2, 150)
    steps = np.where(true, 1.0, 0.4) * np.convolve(generator.normal(size=1_504), np.ones(5) / 5, "valid")
    walk = (steps - steps.mean()).cumsum()  # ends where it began: no trend
    before, ari = result_of("segment", walk[:, None], true, "--regimes", 2)
    assert "its changes from row to row" in sentence(before, "unit_root")
    after, better = result_of("segment", steps[:, None], true, "--regimes", 2)
    assert "unit_root" not in codes(after) and better > ari + 0.05


@pytest.mark.slow
def test_few_rows_and_one_covariance(result_of, generator):
    true = np.repeat(np.arange(8) % 2, 12)
    values = generator.normal(size=(96, 8)) + 1.5 * true[:, None]
    before, ari = result_of("train", values, true, "--regimes", 2, "--lags", 2)
    assert "too_short" in codes(before)
    _, better = result_of("train", values, true, "--regimes", 2, "--lags", 2, "--covariance", "shared")
    assert better >= ari


def test_every_note_that_names_an_option_is_followed_somewhere():
    page = (HERE.parents[1] / "docs/reference/json.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", page[page.index("## Warning codes") :], re.MULTILINE)
    advising = {code for code, advice in rows if "--" in advice or "gmvae" in advice}
    tested = "".join((HERE / name).read_text() for name in ("test_advice.py", "test_advice_on_files.py"))
    assert len(advising) > 25
    untested = {code for code in advising - READ_OTHERWISE.keys() - UNFOLLOWED if f'"{code}"' not in tested}
    assert not untested
    for test in READ_OTHERWISE.values():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (HERE.parent / path).read_text(), test
