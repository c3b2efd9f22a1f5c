"""The command: a row for each series and step, whatever the file; and clear words where there is no forecast."""

import json

import numpy as np
import pandas as pd
import pytest

from gmvae_cli.checkpoint import load, save
from gmvae_cli.filtering import filter_model


@pytest.fixture
def series(run, tmp_path):
    """A simulated file and its true model, of three regimes and two channels."""
    path, truth = tmp_path / "a.csv", tmp_path / "truth.safetensors"
    assert run("simulate", path, "--steps", "300", "--truth", truth, "--dwell", "20").exit_code == 0
    return path, truth


@pytest.fixture
def forecast(run, series):
    """Forecast a file and return the table."""

    def forecast(*inputs, horizon=4, name="ahead.csv", options=("--digits", 17)):
        out = series[0].parent / name
        result = run(
            "forecast", *inputs, "--model", series[1], "--output", out, "--horizon", horizon, "--paths", 500, *options
        )
        assert result.exit_code == 0, result.stderr
        return pd.read_parquet(out) if name.endswith("parquet") else pd.read_csv(out)

    return forecast


def test_the_law_of_the_regime_goes_on_from_that_of_the_last_row(run, series, forecast):
    table = forecast(series[0])
    assert list(table.columns) == ["t", "step", "prob_0", "prob_1", "prob_2"] + [
        f"{channel}_{figure}" for channel in ("x0", "x1") for figure in ("mean", "std", "q05", "q50", "q95")
    ]
    assert list(table["t"]) == [300, 301, 302, 303]
    labelled = series[0].parent / "labelled.csv"
    arguments = ("--model", series[1], "--output", labelled, "--posterior", "filter", "--digits", 17)
    assert run("infer", series[0], *arguments).exit_code == 0
    law = pd.read_csv(labelled).filter(like="prob_").to_numpy()[-1]
    matrix = load(str(series[1])).parameters.chain.transition_matrix.numpy()
    for step in range(4):
        found = table.filter(like="prob_").to_numpy()[step]
        np.testing.assert_allclose(found, law @ np.linalg.matrix_power(matrix, step + 1), rtol=0, atol=1e-12)


def test_the_first_mean_is_the_regression_on_the_last_row(series, forecast):
    table, model = forecast(series[0], name="ahead.parquet"), filter_model.load(str(series[1]))
    last = (pd.read_csv(series[0])[["x0", "x1"]].to_numpy()[-1] - model.mean) / model.scale
    probs = table.filter(like="prob_").to_numpy()[0]
    expected = model.mean + model.scale * (probs @ (model.weights[..., :2] @ last))
    np.testing.assert_allclose(table[["x0_mean", "x1_mean"]].to_numpy()[0], expected, rtol=1e-10)


def test_a_seed_gives_the_same_bytes_and_another_seed_other_quantiles(series, forecast):
    first, again = forecast(series[0]), forecast(series[0], name="again.csv")
    pd.testing.assert_frame_equal(first, again)
    other = forecast(series[0], options=("--digits", 17, "--seed", 1))
    assert (other["x0_q05"] != first["x0_q05"]).all()
    assert (other["x0_mean"] == first["x0_mean"]).all()


def test_many_series_are_each_as_if_alone(run, series, forecast):
    both = series[0].parent / "both.csv"
    one = pd.read_csv(series[0])
    two = one.assign(t=one["t"] + 5, x0=one["x0"][::-1].to_numpy())
    pd.concat([one.assign(series="one"), two.assign(series="two")]).to_csv(both, index=False)
    table = forecast(both)
    assert list(table["series"]) == ["one"] * 4 + ["two"] * 4
    assert list(table["t"]) == [*range(300, 304), *range(305, 309)]
    alone = forecast(series[0])
    exact = [name for name in alone.columns if "_q" not in name]
    pd.testing.assert_frame_equal(table[exact].head(4), alone[exact])
    folder = series[0].parent / "files"
    folder.mkdir()
    for name, part in (("a.csv", one), ("b.csv", two)):
        part.to_csv(folder / name, index=False)
    files = forecast(folder)
    assert list(files["series"].map(lambda path: path[-5:])) == ["a.csv"] * 4 + ["b.csv"] * 4
    np.testing.assert_array_equal(files[exact[1:]], table[exact[1:]])


def test_regimes_of_one_name_are_one(run, series, forecast):
    apart = forecast(series[0])
    assert run("rename", series[1], "0=busy", "2=busy").exit_code == 0
    merged = forecast(series[0])
    np.testing.assert_allclose(merged["prob_0"], apart["prob_0"] + apart["prob_2"], rtol=1e-14)
    assert (merged["prob_2"] == 0).all()
    assert (merged["x0_mean"] == apart["x0_mean"]).all()


def test_a_series_that_ends_in_missing_cells_is_forecast_with_a_note(run, series, forecast):
    table = pd.read_csv(series[0])
    table.loc[298:, "x0"] = np.nan
    table.to_csv(series[0], index=False)
    ahead = forecast(series[0])
    assert ahead.notna().all(axis=None)
    out = series[0].parent / "json.csv"
    result = run("forecast", series[0], "--model", series[1], "--output", out, "--horizon", 1, "--json")
    content = json.loads(result.stdout)
    assert (content["gap_series"], content["empty_series"]) == (1, 0)
    assert "ends_in_gap" in [warning["code"] for warning in content["warnings"]]


def test_a_series_without_a_complete_row_has_regimes_alone(run, series, forecast):
    table = pd.read_csv(series[0])
    table["x0"] = np.nan
    table.to_csv(series[0], index=False)
    ahead = forecast(series[0])
    assert ahead[["prob_0", "prob_1", "prob_2"]].notna().all(axis=None)
    assert ahead.filter(regex="^x").isna().all(axis=None)
    result = run("forecast", series[0], "--model", series[1], "--output", "-", "--horizon", 1)
    assert "no complete row" in result.stderr
    assert result.stdout.splitlines()[1].endswith(",,,,,,,,,,")


def test_people_get_a_table_and_pipes_the_rows(run, series):
    arguments = ("forecast", series[0], "--model", series[1], "--horizon", 30)
    out = series[0].parent / "ahead.csv"
    printed = run(*arguments, "--output", out).stdout
    assert max(len(line) for line in printed.splitlines() if not line.startswith("written to")) <= 80
    assert "90 % within" in printed
    piped = run(*arguments, "--output", "-").stdout
    assert piped == out.read_text()


def test_what_cannot_be_is_rejected_in_a_line(run, rejection, series):
    path, truth = series
    out = path.parent / "ahead.csv"
    common = ("forecast", path, "--model", truth, "--output")
    assert "--horizon is 0, but must be from 1" in rejection(*common, out, "--horizon", 0, status=2)
    assert "--paths is 0" in rejection(*common, out, "--horizon", 1, "--paths", 0, status=2)
    assert "would replace the input" in rejection(*common, path, "--horizon", 1, status=2)
    assert "the same file as the input" in rejection(*common, truth, "--horizon", 1, status=2)
    model = load(str(truth))
    model.parameters.emission.weights[..., :2] *= 1000
    save(str(truth), model)
    assert "grow without bound within 200 steps" in rejection(*common, out, "--horizon", 200, "--paths", 9, status=1)
    assert not out.exists()
    blocks = path.parent / "blocks.safetensors"
    arguments = ("--regimes", 2, "--summarize", 10, "--steps", 1, "--restarts", 1, "--polish", 1)
    assert run("train", path, "--model", blocks, *arguments).exit_code == 0
    line = rejection("forecast", path, "--model", blocks, "--output", out, "--horizon", 1, status=1)
    assert "describes blocks of 10 rows, so it cannot forecast rows; train without --summarize" in line
