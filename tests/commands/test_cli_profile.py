"""`gmvae profile`: what the rows of a labelled file show of each regime, against pandas."""

import json

import numpy as np
import pandas as pd
import pytest


def described(run, *arguments, stdin=None):
    result = run("profile", *arguments, "--json", "--quiet", stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def by_regime(found):
    return {regime["regime"]: regime for regime in found["regimes"]}


@pytest.fixture
def log(tmp_path, generator):
    """A log of 600 rows, one every ten seconds, of the states 0, 1 and 2; a third channel never changes."""
    states = np.repeat([0, 1, 0, 2, 1, 0], 100)
    table = pd.DataFrame(
        {
            "timestamp": pd.date_range("2024-05-01", periods=600, freq="10s"),
            "temperature": np.round(20 + 10 * states + generator.standard_normal(600), 2),
            "load": np.round(generator.standard_normal(600), 2),
            "zero": 0.0,
            "regime": states,
        }
    )
    table.loc[::7, "temperature"] = np.nan
    path = tmp_path / "log.csv"
    table.to_csv(path, index=False)
    return path, table


def test_figures_equal_those_of_pandas(run, log):
    path, table = log
    found = described(run, path)
    assert (found["rows"], found["unlabelled"], found["segments"]) == (600, 0, 6)
    assert (found["step"], found["time_unit"]) == (10, "seconds")
    for regime, rows in table.groupby("regime"):
        entry = by_regime(found)[regime]
        assert (entry["rows"], entry["share"]) == (len(rows), len(rows) / 600)
        for name in ("temperature", "load", "zero"):
            figures, column = entry["channels"][name], rows[name]
            assert figures["values"] == column.count()
            assert figures["mean"] == pytest.approx(column.mean(), abs=1e-12)
            assert figures["standard_deviation"] == pytest.approx(column.std(ddof=0), abs=1e-12)
            assert (figures["minimum"], figures["maximum"]) == (column.min(), column.max())
            for key, level in (("quartile_1", 0.25), ("median", 0.5), ("quartile_3", 0.75)):
                assert figures[key] == pytest.approx(column.quantile(level), abs=1e-12)


def test_visits_times_and_followers(run, log):
    found = by_regime(described(run, log[0]))
    assert [found[k]["visits"] for k in range(3)] == [3, 2, 1]
    assert [found[k]["total_time"] for k in range(3)] == [3000, 2000, 1000]
    assert {found[k]["mean_time"] for k in range(3)} == {found[k]["longest_time"] for k in range(3)} == {1000}
    assert [found[k]["followed_by"] for k in range(3)] == [{"1": 1, "2": 1}, {"0": 2}, {"1": 1}]
    assert (found[1]["first"], found[1]["last"]) == ("2024-05-01 00:16:40", "2024-05-01 01:23:10")


def test_the_channel_that_tells_a_regime_apart_comes_first(run, log):
    for entry in described(run, log[0])["regimes"]:
        assert entry["tells_apart"][0] == "temperature"
        assert "zero" not in entry["tells_apart"]


def test_formats_and_stdin_agree(run, log, tmp_path):
    path, table = log
    table.to_parquet(tmp_path / "log.parquet")
    expected = described(run, path)["regimes"]
    assert described(run, tmp_path / "log.parquet")["regimes"] == expected
    assert described(run, "-", stdin=path.read_text())["regimes"] == expected


def test_other_labels_may_be_text_and_lack_in_some_rows(run, tmp_path):
    labels = ["up", "up", "", "up", "down", "down"]
    pd.DataFrame({"x": range(6), "regime": 0, "state": labels}).to_csv(tmp_path / "a.csv", index=False)
    found = described(run, tmp_path / "a.csv", "--labels", "state", "--channels", "x")
    assert (found["rows"], found["unlabelled"]) == (6, 1)
    entries = by_regime(found)
    assert list(entries) == ["down", "up"]
    assert (entries["up"]["rows"], entries["up"]["visits"], entries["up"]["longest_time"]) == (3, 2, 2)
    assert entries["up"]["followed_by"] == {"down": 1}
    assert entries["up"]["channels"]["x"]["mean"] == pytest.approx(4 / 3)


def test_the_column_of_labels_is_no_channel(run, tmp_path):
    table = pd.DataFrame({"x": np.sin(np.arange(50)), "state": np.arange(50) % 3 + 0.0})
    table.to_csv(tmp_path / "a.csv", index=False)
    found = described(run, tmp_path / "a.csv", "--labels", "state")
    assert found["channels"] == ["x"]
    assert [entry["regime"] for entry in found["regimes"]] == [0, 1, 2]


def test_series_and_breaks_end_visits_and_holes_do_not(run, tmp_path):
    table = pd.DataFrame({"series": list("aaaaaabb"), "t": [0, 1, 2, 5, 6, 20, 0, 1], "x": range(8), "regime": 0})
    table.to_csv(tmp_path / "a.csv", index=False)
    entry = described(run, tmp_path / "a.csv", "--max-gap", "5")["regimes"][0]
    assert (entry["visits"], entry["longest_time"], entry["followed_by"]) == (3, 5, {})


def test_labels_alone_are_described_by_their_times(run, tmp_path):
    pd.DataFrame({"t": range(4), "regime": [0, 0, 1, 0]}).to_csv(tmp_path / "a.csv", index=False)
    found = described(run, tmp_path / "a.csv")
    assert found["channels"] == []
    assert [entry["visits"] for entry in found["regimes"]] == [2, 1]
    assert "told apart" not in run("profile", tmp_path / "a.csv", "--quiet").stdout


def test_names_of_regimes_are_shown(run, log, tmp_path):
    table = log[1].assign(regime_name=log[1]["regime"].map({0: "idle", 1: "running", 2: ""}))
    table.to_csv(tmp_path / "named.csv", index=False)
    assert [entry["name"] for entry in described(run, tmp_path / "named.csv")["regimes"]] == ["idle", "running", None]
    shown = run("profile", tmp_path / "named.csv", "--quiet").stdout
    assert "0 idle" in shown and "1 running" in shown


def test_a_line_fits_into_80_columns_with_many_channels(run, tmp_path, generator):
    names = [f"a channel of a long name, number {number}" for number in range(40)]
    table = pd.DataFrame(generator.standard_normal((300, 40)) * 10, columns=names)
    dates = pd.date_range("2024-05-01", periods=300, freq="s")
    table = table.assign(timestamp=dates, regime=np.repeat(range(6), 50), regime_name="a name that is long")
    table.to_csv(tmp_path / "wide.csv", index=False)
    shown = run("profile", tmp_path / "wide.csv", "--quiet").stdout
    tables = shown[: shown.index("rows  ")]
    assert max(map(len, tables.splitlines())) <= 80
    assert len(tables.splitlines()) < 60


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_table_has_a_row_for_each_regime(run, log, tmp_path, suffix):
    output = tmp_path / f"profile.{suffix}"
    found = described(run, log[0], "--output", output)
    table = pd.read_csv(output) if suffix == "csv" else pd.read_parquet(output)
    assert found["output"] == str(output)
    for regime, (_, row) in zip(found["regimes"], table.iterrows(), strict=True):
        assert (row["regime"], row["rows"], row["longest_time"]) == (regime["regime"], regime["rows"], 1000)
        assert row["then_0"] == regime["followed_by"].get("0", 0)
        figures = regime["channels"]["temperature"]
        assert row["temperature_q50"] == figures["median"] and row["temperature_std"] == figures["standard_deviation"]
        assert str(row["first"]) == regime["first"]


def test_what_cannot_be_described_is_one_line(rejection, run, tmp_path, log):
    path = tmp_path / "a.csv"
    path.write_text("x,regime,other\n1,,1\n2,,2\n")
    assert rejection("profile", path, status=1) == (
        f"{path}: column 'regime' is empty, so there is no regime to describe; --labels names another column"
    )
    assert "no column 'state'; columns are: x, regime, other" in rejection(
        "profile", path, "--labels", "state", status=1
    )
    many = tmp_path / "many.csv"
    pd.DataFrame({"x": np.arange(1_100) % 7, "y": np.arange(1_100)}).to_csv(many, index=False)
    line = rejection("profile", many, "--labels", "y", "--channels", "x", "--quiet", status=1)
    assert "column 'y' has more than 1,000 different labels" in line
    assert "input" in rejection("profile", log[0], "--output", log[0], status=2)
