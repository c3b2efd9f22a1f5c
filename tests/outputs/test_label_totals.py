"""The short profile that `infer` ends with: the same figures as of `profile` of its output, however the work is cut."""

import json
import re

import pandas as pd
import pytest


@pytest.fixture
def drawn(run, tmp_path):
    """A drawn series of three regimes, its model, and the folder."""
    path, model = tmp_path / "drawn.csv", tmp_path / "truth.safetensors"
    assert run("simulate", path, "--truth", model, "--steps", 3_000, "--missing", 0.1).exit_code == 0
    return path, model


def labelled(run, *arguments):
    result = run("infer", *arguments, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def require_same(short, entry):
    for key in ("regime", "name", "rows", "visits", "total_time", "longest_time", "tells_apart"):
        assert short[key] == entry[key], key
    for name, figures in short["channels"].items():
        assert figures == pytest.approx({key: entry["channels"][name][key] for key in figures}, rel=1e-12), name


def test_the_short_profile_is_that_of_the_output(run, drawn, tmp_path):
    path, model = drawn
    found = labelled(run, path, "--model", model, "--output", tmp_path / "out.csv")
    described = json.loads(run("profile", tmp_path / "out.csv", "--json", "--quiet").stdout)
    assert found["time_unit"] == described["time_unit"] == "units"
    for short, entry in zip(found["profile"], described["regimes"], strict=True):
        require_same(short, entry)


def test_a_series_that_is_cut_among_workers_has_the_same_profile(run, drawn, tmp_path):
    path, model = drawn
    whole = labelled(run, path, "--model", model, "--output", tmp_path / "out.csv")
    cut = labelled(run, path, "--model", model, "--output", tmp_path / "parts", "--stretch-rows", 700, "--workers", 1)
    assert cut["time_unit"] == whole["time_unit"]
    for short, entry in zip(cut["profile"], whole["profile"], strict=True):
        require_same(short, entry)


def test_times_of_files_with_different_units_have_no_sum(run, drawn, tmp_path):
    path, model = drawn
    (tmp_path / "logs").mkdir()
    table = pd.read_csv(path).drop(columns="true_regime")
    table.to_csv(tmp_path / "logs" / "a.csv", index=False)
    dates = table.assign(t=pd.date_range("2024-05-01", periods=len(table), freq="10s"))
    dates.to_csv(tmp_path / "logs" / "b.csv", index=False)
    found = labelled(run, tmp_path / "logs", "--model", model, "--output", tmp_path / "out")
    assert found["time_unit"] is None
    assert {entry["mean_time"] for entry in found["profile"]} == {None}
    assert sum(entry["rows"] for entry in found["profile"]) == 6_000


def test_what_is_printed_says_how_long_and_what_tells_apart(run, drawn, tmp_path):
    path, model = drawn
    shown = run("infer", path, "--model", model, "--output", tmp_path / "out.csv", "--quiet").stdout
    assert "mean time" in shown and "told apart by" in shown
    table = pd.read_csv(tmp_path / "out.csv")
    values = table.groupby("regime")["x0"].agg(["mean", "std"])
    printed = re.findall(r"^(\d)\s.*\bx0 (-?[\d.]+) ± ([\d.]+)", shown, re.M)
    assert printed
    for regime, mean, deviation in printed:
        expected = values.loc[int(regime)]
        assert float(deviation) == pytest.approx(expected["std"], rel=0.06)  # two digits
        assert float(mean) == pytest.approx(expected["mean"], abs=0.06 * expected["std"])
