"""Whoever does what a note on a file suggests gets a better answer: each note, followed."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow
SEARCHED_FOR = 2  # regimes, in every file


@pytest.fixture
def scored(run, tmp_path):
    """Train on columns (text or numbers) by name, with options; return the codes of the notes and the ARI."""

    def scored(columns, true, *options, on=None):
        series, model, labelled = (tmp_path / name for name in ("in.csv", "m.safetensors", "out.csv"))
        write(series, columns, true)
        quick = ("--regimes", SEARCHED_FOR, "--steps", 5, "--restarts", 2, "--json", "--quiet")
        trained = run("train", series if on is None else on, "--model", model, *options, *quick)
        assert trained.exit_code == 0, trained.output
        sort = [option for option in options if option == "--sort"]
        inferred = run("infer", series, "--model", model, "--output", labelled, *sort, "--json", "--quiet")
        assert inferred.exit_code == 0, inferred.output
        notes = [*json.loads(trained.stdout)["warnings"], *json.loads(inferred.stdout)["warnings"]]
        return {note["code"] for note in notes}, json.loads(run("evaluate", labelled, "--json").stdout)["ari"]

    return scored


def write(path, columns, true):
    """Write columns and the true regimes (n,) as CSV; some names may be empty."""
    header = ",".join([*(name.rstrip("_") for name in columns), "true_regime"])
    rows = (",".join(map(str, row)) for row in zip(*columns.values(), true, strict=True))
    path.write_text("\n".join([header, *rows, ""]))


@pytest.fixture
def drawn(generator):
    """True regimes (n,) of visits that last 30 rows in the mean, and levels with noise: the second one says little."""

    def drawn(rows, level=3.0):
        true = np.where(generator.random(rows) < 1 / 30, 1, 0).cumsum() % 2
        noise = generator.normal(size=(2, rows))
        return true, (noise[0] + level * true).round(4), noise[1].round(4)

    return drawn


def test_weekends_and_rows_that_are_equally_spaced(scored, drawn):
    """A regime is a way in which a day follows the one before, which two days of ten have lost."""
    true, _, noise = drawn(2_000)
    values = np.zeros(2_000)
    for day in range(1, 2_000):
        values[day] = (0.95 if true[day] else -0.5) * values[day - 1] + noise[day]
    days = np.busday_offset("2015-01-05", np.arange(2_000))
    columns = {"date": days, "x": values.round(4)}
    codes, ari = scored(columns, true)
    assert "equal_holes" in codes
    codes, better = scored(columns, true, "--regular")
    assert "equal_holes" not in codes and better > ari


def test_machines_in_turn_and_a_series_for_each(scored, drawn):
    """Row by row another machine, each with regimes of its own."""
    parts = [drawn(800), drawn(800)]
    true = np.column_stack([part[0] for part in parts]).ravel()
    values = np.column_stack([part[1] for part in parts]).ravel()
    minutes = np.arange(1_600).astype("datetime64[m]")
    columns = {"timestamp": minutes, "machine": np.tile(["a", "b"], 800), "x": values}
    codes, ari = scored(columns, true)
    assert "several_series" in codes
    codes, better = scored(columns, true, "--series", "machine", "--sort")
    assert "several_series" not in codes and better > max(0.9, ari + 0.05)


def test_codes_of_quality_that_were_measured(scored, drawn):
    true, _, noise = drawn(800)
    columns = {"x": noise, "quality": np.where(true, 192, 64)}
    codes, ari = scored(columns, true)
    assert "not_a_channel" in codes and ari < 0.1
    codes, better = scored(columns, true, "--channels", "x,quality")
    assert "not_a_channel" not in codes and better > 0.9


def test_an_amount_that_has_states_of_its_own_and_no_such_channel(scored, drawn):
    true, level, _ = drawn(800)
    _, other, _ = drawn(800, 20.0)
    columns = {"x": level, "cost": [f"${value:.2f}" for value in np.abs(other)]}
    codes, ari = scored(columns, true)
    assert "number_form" in codes and ari < 0.5
    codes, better = scored(columns, true, "--channels", "x")
    assert "number_form" not in codes and better > 0.8


def test_a_column_without_a_name_and_a_name(scored, drawn):
    true, level, noise = drawn(800)
    codes, ari = scored({"": level, "x": noise}, true)
    assert "unnamed_column" in codes and ari < 0.1
    codes, better = scored({"level": level, "x": noise}, true)
    assert "unnamed_column" not in codes and better > 0.9


def test_a_name_that_occurs_twice_and_another(scored, drawn):
    true, level, noise = drawn(800)
    codes, ari = scored({"y": level, "y_": level, "x": noise}, true)
    assert "duplicate_column" in codes and ari < 0.1
    codes, better = scored({"y": level, "x": noise}, true)
    assert "duplicate_column" not in codes and better > 0.9


def test_a_value_that_is_no_measurement_and_an_empty_cell(scored, drawn):
    true, level, noise = drawn(800)
    level[300] = 1e9
    codes, ari = scored({"y": level, "x": noise}, true)
    assert "far_value" in codes and ari < 0.1
    emptied = ["" if row == 300 else value for row, value in enumerate(level)]
    codes, better = scored({"y": emptied, "x": noise}, true)
    assert "far_value" not in codes and better > 0.9


def test_whole_numbers_that_are_rounded_and_an_offset(scored, drawn):
    """Beyond 2^60 every 256th whole number is a double."""
    true, level, noise = drawn(800)
    counts = (30 * level).astype(int)
    codes, ari = scored({"y": [2**60 + int(count) for count in counts], "x": noise}, true, "--channels", "y,x")
    assert "rounded_numbers" in codes and ari < 0.5
    codes, better = scored({"y": counts, "x": noise}, true)
    assert "rounded_numbers" not in codes and better > 0.9


def test_rows_unlike_those_of_training_and_training_again(scored, drawn, tmp_path):
    before, now = drawn(800), drawn(800)
    older = tmp_path / "older.csv"
    write(older, {"x": before[1]}, before[0])
    codes, ari = scored({"x": 40 + 2 * now[1]}, now[0], on=older)
    assert "unlike_training" in codes and ari < 0.5
    codes, better = scored({"x": 40 + 2 * now[1]}, now[0])
    assert "unlike_training" not in codes and better > 0.9
