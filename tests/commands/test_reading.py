"""What commands do around the reading: outputs that are inputs, files of earlier runs, models that remember, digits."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gmvae_cli.cli import app


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).normal(size=(400, 2)) + np.repeat([[0.0, 0], [4, -4]], 200, axis=0)


def semicolons(path, values, seconds=60):
    """Semicolons, a decimal comma, dates with the day in front, NA and a code for missing."""
    stamps = pd.date_range("2024-02-28 22:00", periods=len(values), freq=f"{seconds}s").strftime("%d/%m/%Y %H:%M:%S")
    cells = [[f"{value:.3f}".replace(".", ",") for value in row] for row in values]
    cells[5] = ["-999", "NA"]
    path.write_text("\n".join(["when;a;b", *(";".join([at, *row]) for at, row in zip(stamps, cells, strict=True)), ""]))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory, values):
    """A file, the model that was trained on it, and what `train` said; made once."""
    folder = tmp_path_factory.mktemp("trained")
    path, model = semicolons(folder / "a.csv", values), folder / "m"
    options = [
        "--decimal",
        ",",
        "--na-values",
        "-999",
        "--regimes",
        "2",
        "--steps",
        "5",
        "--restarts",
        "1",
        "--polish",
        "3",
        "--json",
    ]
    result = CliRunner().invoke(app, ["train", str(path), "--model", str(model), *options])
    assert result.exit_code == 0, result.output
    return path, model, json.loads(result.stdout)


@pytest.fixture
def trained(made, tmp_path):
    """Copies of that file and model, and what `train` said."""
    path, model, said = made
    return Path(shutil.copy(path, tmp_path)), Path(shutil.copy(model, tmp_path)), said


def test_the_result_says_what_each_column_is(trained):
    assert trained[2]["columns"] == [
        {"name": "when", "role": "time", "reason": ""},
        {"name": "a", "role": "channel", "reason": "", "missing": 1},
        {"name": "b", "role": "channel", "reason": "", "missing": 1},
    ]


def test_a_model_remembers_how_its_file_was_read(run, tmp_path, trained, values):
    path, model, _ = trained
    out, listed = tmp_path / "out.csv", tmp_path / "segments.csv"
    result = run("infer", path, "--model", model, "--output", out, "--segments", listed, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (note,) = [entry["sentence"] for entry in found["warnings"] if entry["code"] == "read_as_trained"]
    assert "--decimal ','" in note and "--na-values -999" in note
    assert (found["output"], found["segments_file"], found["manifest"]) == (str(out), str(listed), None)
    other = semicolons(tmp_path / "other.csv", values[:9])  # in which day and month could be exchanged
    other.write_text(other.read_text().replace("28/02/2024", "03/02/2024"))
    assert run("infer", other, "--model", model, "--output", out).exit_code == 0
    assert run("train", other, "--model", tmp_path / "n", "--decimal", ",").exit_code == 1, "nothing settles it there"


def test_a_decimal_comma_that_was_recognised_is_written_and_settles_what_is_open(run, tmp_path, values):
    path, model, out = semicolons(tmp_path / "a.csv", values), tmp_path / "m", tmp_path / "out.csv"
    options = ("--na-values", "-999", "--regimes", 2, "--steps", 5, "--restarts", 1, "--polish", 3)
    assert run("train", path, "--model", model, *options).exit_code == 0
    stamps = [f"2024-05-01 10:{minute:02d}" for minute in range(9)]
    open_marks = "\n".join(["when;a;b", *(f"{at};1,{row}25;-2,{row}25" for row, at in enumerate(stamps)), ""])
    for text, decimal in ((open_marks, ","), (open_marks.replace(",", ".").replace("25", ""), ".")):
        other = tmp_path / "other.csv"
        other.write_text(text)
        result = run("infer", other, "--model", model, "--output", out)
        assert result.exit_code == 0, result.output
        written = pd.read_csv(out, sep=";", decimal=decimal)
        assert written["a"][1] == (1.125 if decimal == "," else 1.1)
        assert written["prob_0"].between(0, 1).all()
    other.write_text(open_marks)
    assert run("train", other, "--model", tmp_path / "n").exit_code == 1, "nothing settles it there"


def test_rows_at_another_rate_than_in_training_are_noted(run, tmp_path, trained, values):
    _, model, _ = trained
    other = semicolons(tmp_path / "slow.csv", values, seconds=600)
    result = run("infer", other, "--model", model, "--output", tmp_path / "out.csv", "--json")
    (note,) = [entry["sentence"] for entry in json.loads(result.stdout)["warnings"] if entry["code"] == "other_step"]
    assert "600 s apart, but the model was trained on rows 60 s apart" in note


@pytest.mark.parametrize("way", ["same", "dotted", "absent", "linked", "hard"])
@pytest.mark.parametrize("command", ["infer", "segment"])
def test_an_output_is_never_an_input(rejection, tmp_path, monkeypatch, trained, command, way):
    path, model, _ = trained
    monkeypatch.chdir(tmp_path)
    before, other = (
        path.read_bytes(),
        {"same": "a.csv", "dotted": "./x/../a.csv", "absent": "./y/../a.csv"}.get(way, "b.csv"),
    )
    Path("x").mkdir()
    if way in ("linked", "hard"):
        {"linked": os.symlink, "hard": os.link}[way]("a.csv", "b.csv")
    extra = ("--model", model) if command == "infer" else ()
    line = rejection(command, "a.csv", *extra, "--output", other, status=2)
    assert "--output would replace the input 'a.csv'" in line
    assert path.read_bytes() == before


def test_a_folder_is_no_output_for_its_own_files(rejection, tmp_path, trained, values):
    _, model, _ = trained
    folder = tmp_path / "in"
    folder.mkdir()
    semicolons(folder / "b.csv", values)
    assert "--output would replace the input" in rejection(
        "infer", folder, "--model", model, "--output", folder, status=2
    )


def test_skipping_redoes_what_is_older_and_tells_old_failures_from_new_ones(run, tmp_path, trained, values):
    _, model, _ = trained
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("good.csv", "other.csv"):
        semicolons(folder / name, values)
    (folder / "bad.csv").write_text("when;a;b\nno rows\n")
    arguments = ("infer", folder, "--model", model, "--output", out, "--skip-existing", "--json")

    def counts():
        result = run(*arguments)
        found = json.loads(result.stdout)
        return result.exit_code, found["files"], found["skipped"], found["redone"], len(found["failed_before"])

    assert counts() == (1, 2, 0, 0, 0), "a new failure"
    assert counts() == (0, 0, 2, 0, 1), "the same failure as before"
    os.utime(folder / "good.csv", (2e9, 2e9))
    assert counts() == (0, 1, 1, 1, 1)
    os.utime(folder / "bad.csv", (2e9, 2e9))
    assert counts()[0] == 1, "it has changed, and fails again"
    semicolons(folder / "bad.csv", values)
    os.utime(folder / "bad.csv", (2.1e9, 2.1e9))
    assert counts()[:2] == (0, 2), "it is mended; good.csv is still newer than its output"
    assert not list(out.glob("*.failed"))


def test_digits_are_significant_ones_of_probabilities_and_likelihoods_alone(run, tmp_path, trained):
    path, model, _ = trained
    tables = {}
    for digits in (3, 6, 17):
        out = tmp_path / f"out{digits}.csv"
        assert run("infer", path, "--model", model, "--output", out, "--digits", digits).exit_code == 0
        tables[digits] = pd.read_csv(out, sep=";", decimal=",", dtype={"a": str})
    plain = tmp_path / "plain.csv"
    run("infer", path, "--model", model, "--output", plain)
    assert plain.read_bytes() == (tmp_path / "out6.csv").read_bytes(), "six is the default"
    for name in ("prob_0", "prob_1", "log_likelihood"):
        np.testing.assert_allclose(tables[3][name], tables[17][name], rtol=0.006, atol=1e-21)
        np.testing.assert_allclose(tables[6][name], tables[17][name], rtol=6e-6, atol=1e-21)
        assert (tables[3][name] != tables[17][name]).any()
    assert tables[3]["a"].equals(tables[17]["a"])
    assert plain.stat().st_size < 0.7 * (tmp_path / "out17.csv").stat().st_size


def test_names_of_files_are_ordered_as_people_order_them(run, tmp_path):
    for number in (1, 2, 10, 12):
        rows = "".join(f"{number * 100 + row},{row % 7},a\n" for row in range(20))
        (tmp_path / f"log_{number}.csv").write_text("t,x0,series\n" + rows)
    shown = run("train", tmp_path, "--model", tmp_path / "m", "--dry-run", "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["series"] == 1


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".jsonl"])
def test_arrow_and_json_lines_go_in_and_out(run, tmp_path, trained, values, suffix):
    _, model, _ = trained
    whole = tmp_path / "a.parquet"
    when = pd.date_range("2024-02-28", periods=len(values), freq="60s")
    pq.write_table(pa.table({"when": when, "a": values[:, 0], "b": values[:, 1], "note": ["x"] * len(values)}), whole)
    out, again = tmp_path / f"out{suffix}", tmp_path / "again.parquet"
    assert run("infer", whole, "--model", model, "--output", out).exit_code == 0
    result = run("infer", out, "--model", model, "--output", again)
    assert result.exit_code == 0, result.output
    direct = tmp_path / "direct.parquet"
    run("infer", whole, "--model", model, "--output", direct)
    for name in ("regime", "prob_0", "a", "note"):
        assert pq.read_table(again)[name].to_pylist() == pq.read_table(direct)[name].to_pylist()


def test_epochs_become_dates_in_the_list_of_segments(run, tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{1709539200 + 60 * row},{rng.normal() + 9 * (row >= 150):.3f}" for row in range(300)]
    (tmp_path / "a.csv").write_text("\n".join(["epoch,x0", *rows, ""]))
    model, listed = tmp_path / "m", tmp_path / "s.csv"
    run("train", tmp_path / "a.csv", "--model", model, "--regimes", 2, "--restarts", 2, "--quiet")
    out = tmp_path / "o.csv"
    result = run("infer", tmp_path / "a.csv", "--model", model, "--output", out, "--segments", listed, "--quiet")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(listed)["start_time"][0] == "2024-03-04 08:00:00"
    assert pd.read_csv(out)["epoch"][0] == 1709539200, "cells come back as they were"
