"""`segment` over several files: one search, one model, one numbering, a folder of labelled files."""

import json

import numpy as np
import pandas as pd
import pytest

from gmvae_cli.checkpoint import load


def recording(seed, states, visit=150):
    """One channel has a level, and another a noise, for each visit's state."""
    rng = np.random.default_rng(seed)
    true = np.repeat(states, visit)
    noise = rng.normal(size=(2, len(true)))
    columns = {"x0": 4 * true + noise[0], "x1": (1 + 2 * true) * noise[1]}
    return pd.DataFrame({"t": np.arange(len(true)), **columns, "true_regime": true})


@pytest.fixture
def fleet(tmp_path, monkeypatch, few_counts):
    """Three recordings of one machine in a folder; the second never leaves one of its two states."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fleet/north").mkdir(parents=True)
    tables = {"a": recording(0, [0, 1, 0]), "north/b": recording(1, [1, 1]), "north/c": recording(2, [1, 0, 1])}
    for name, table in tables.items():
        table.to_csv(f"fleet/{name}.csv", index=False)
    return tables


def test_files_share_one_model_and_one_numbering(run, fleet, tmp_path):
    options = ["--regimes", 2, "--model", "m.safetensors", "--segments", "list.csv", "--plot", "p.png"]
    result = run("segment", "fleet", "--output", "out", *options, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["files"], found["rows"], found["output"]) == (3, 1200, "out")
    assert load("m.safetensors").model.regimes == 2
    whole = pd.concat(pd.read_csv(f"out/{name}.csv") for name in fleet)
    agreement = pd.crosstab(whole["true_regime"], whole["regime"]).to_numpy()
    assert max(np.trace(agreement), np.trace(agreement[::-1])) > 0.98 * len(whole), "a state has one number everywhere"
    assert run("infer", "fleet", "--model", "m.safetensors", "--output", "again", "--quiet").exit_code == 0
    for name in fleet:
        pd.testing.assert_frame_equal(pd.read_csv(f"again/{name}.csv"), pd.read_csv(f"out/{name}.csv"))
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    visits = pd.read_csv("list.csv")
    assert len(visits) == found["segments"] and list(visits["segment"]) == list(range(len(visits)))
    for name, table in fleet.items():
        mine = visits[visits["series"] == f"fleet/{name}.csv"]
        assert mine["start"].iloc[0] == 0 and mine["stop"].iloc[-1] == mine["rows"].sum() == len(table), name


def test_the_picture_names_each_file(run, fleet, monkeypatch):
    drawn = []
    monkeypatch.setattr("gmvae_cli.plotting.figure.save", lambda target, kind, plot: drawn.append(plot))
    assert run("segment", "fleet", "--output", "out", "--regimes", 2, "--plot", "p.png").exit_code == 0
    assert [panel.name for panel in drawn[0].panels] == [f"fleet/{name}.csv" for name in fleet]


def test_a_series_goes_on_in_the_next_file(run, fleet, tmp_path):
    """The list of segments is that of the same rows in one file."""
    whole = pd.concat([fleet["a"], fleet["north/c"]]).assign(series="press")
    whole["t"] = np.arange(len(whole))
    (tmp_path / "in").mkdir()
    whole.to_csv("whole.csv", index=False)
    whole[:500].to_csv("in/1.csv", index=False)
    whole[500:].to_csv("in/2.csv", index=False)
    for source, out in (("whole.csv", "whole_out.csv"), ("in", "out")):
        options = ["--output", out, "--segments", f"{source}.list.csv", "--regimes", 2, "--quiet"]
        assert run("segment", source, *options).exit_code == 0
    visits = pd.read_csv("in.list.csv")
    assert visits.columns[0] == "file" and (visits["start"].between(400, 499)).any(), "one goes on"
    assert list(visits.pop("file")) == ["1.csv" if start < 500 else "2.csv" for start in visits["start"]]
    pd.testing.assert_frame_equal(visits, pd.read_csv("whole.csv.list.csv"))
    parts = pd.concat([pd.read_csv("out/1.csv"), pd.read_csv("out/2.csv")], ignore_index=True)
    pd.testing.assert_frame_equal(parts, pd.read_csv("whole_out.csv"))
    sorting = run("segment", "in", "--output", "out", "--regimes", 2, "--sort", "--quiet")
    assert sorting.exit_code == 2 and "--sort would move rows from file to file" in sorting.stderr


def test_a_pattern_of_one_file_writes_into_a_folder(run, fleet, tmp_path):
    assert run("segment", "fleet/*.csv", "--output", "out", "--regimes", 2, "--quiet").exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.csv"]


@pytest.mark.parametrize("output", ["out.csv", "-"])
def test_several_inputs_need_a_folder(rejection, fleet, output):
    line = rejection("segment", "fleet", "--output", output, status=2)
    assert f"--output is '{output}', but several inputs need a folder to write to" in line


def test_one_bad_file_ends_the_search_before_it_begins(rejection, fleet, tmp_path):
    (tmp_path / "fleet/d.csv").write_text("t,x0,x1\n0,1,oops\n1,2,3\n")
    assert "d.csv" in rejection("segment", "fleet", "--output", "out", "--quiet", status=1)
    assert not list((tmp_path / "out").rglob("*.csv"))


def test_an_output_that_cannot_be_written_is_reported_first(rejection, fleet, tmp_path):
    (tmp_path / "out").write_text("")
    assert "out" in rejection("segment", "fleet", "--output", "out", "--quiet", status=1)
    (tmp_path / "fleet/d.csv").write_text("t,x0,x1\n0,1,oops\n1,2,3\n")
    assert "the same file as" in rejection(
        "segment", "fleet", "--output", "o", "--plot", "m.png", "--model", "m.png", status=2
    )


def test_a_dry_run_plans_all_files(run, fleet, tmp_path):
    result = run("segment", "fleet", "--output", "out", "--dry-run", "--json")
    planned = json.loads(result.stdout)
    assert (planned["rows"], planned["series"]) == (1200, 3)
    assert not (tmp_path / "out").exists()
