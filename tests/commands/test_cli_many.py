"""Many series, many files: what a chain and its lags may cross, and what they may not."""

import json

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def truth(run, tmp_path):
    path = tmp_path / "truth.safetensors"
    assert run("simulate", tmp_path / "unused.csv", "--steps", "10", "--dwell", "20", "--truth", path).exit_code == 0
    return path


@pytest.fixture
def two_series(run, tmp_path):
    path = tmp_path / "two.csv"
    assert run("simulate", path, "--steps", "120", "--series", "2", "--dwell", "20", "--seed", "2").exit_code == 0
    return pd.read_csv(path)


def labelled(run, source, truth, target):
    result = run("infer", source, "--model", truth, "--output", target, "--quiet", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_chain_restarts_at_each_series(run, tmp_path, truth, two_series):
    """Two series in one file get what each gets alone."""
    two_series.to_csv(tmp_path / "both.csv", index=False)
    labelled(run, tmp_path / "both.csv", truth, tmp_path / "out.csv")
    both = pd.read_csv(tmp_path / "out.csv")
    for series, rows in two_series.groupby("series"):
        rows.to_csv(tmp_path / "one.csv", index=False)
        labelled(run, tmp_path / "one.csv", truth, tmp_path / "alone.csv")
        alone = pd.read_csv(tmp_path / "alone.csv")
        mine = both[both["series"] == series].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, alone, rtol=1e-9)


def test_an_id_may_go_on_in_the_next_file(run, tmp_path, truth, two_series):
    """Cut within a series, the files together give what the whole gives; each keeps its own rows."""
    (tmp_path / "in").mkdir()
    two_series.to_csv(tmp_path / "whole.csv", index=False)
    two_series[:70].to_csv(tmp_path / "in/a.csv", index=False)
    two_series[70:].to_csv(tmp_path / "in/b.csv", index=False)
    labelled(run, tmp_path / "whole.csv", truth, tmp_path / "out.csv")
    figures = labelled(run, tmp_path / "in", truth, tmp_path / "out")
    parts = pd.concat([pd.read_csv(tmp_path / "out/a.csv"), pd.read_csv(tmp_path / "out/b.csv")], ignore_index=True)
    pd.testing.assert_frame_equal(parts, pd.read_csv(tmp_path / "out.csv"), rtol=1e-9)
    assert figures["files"] == 2 and figures["rows"] == 240


def test_a_bad_file_with_a_series_column_is_left_out(run, tmp_path, truth, two_series):
    (tmp_path / "in").mkdir()
    two_series[:70].to_csv(tmp_path / "in/a.csv", index=False)
    (tmp_path / "in/b.csv").write_text("series,t,x0,x1\n9,0,1,2\n9,1,oops,3\n")
    result = run("infer", tmp_path / "in", "--model", truth, "--output", tmp_path / "out", "--quiet")
    assert result.exit_code == 1
    assert "b.csv: row 2: column 'x0' holds 'oops'" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.csv"]


def test_no_lag_and_no_memory_crosses_a_break(run, tmp_path, truth, two_series):
    """Behind a step longer than --max-gap everything is as if a new series began."""
    rows = two_series[two_series["series"] == 0].drop(columns="series").reset_index(drop=True)
    rows.loc[60:, "t"] += 1000
    rows.to_csv(tmp_path / "gap.csv", index=False)
    arguments = ("--model", truth, "--output", tmp_path / "out.csv", "--quiet")
    assert run("infer", tmp_path / "gap.csv", *arguments, "--max-gap", "100").exit_code == 0
    broken = pd.read_csv(tmp_path / "out.csv")
    late = rows[60:]
    late.to_csv(tmp_path / "late.csv", index=False)
    labelled(run, tmp_path / "late.csv", truth, tmp_path / "late-out.csv")
    pd.testing.assert_frame_equal(broken[60:].reset_index(drop=True), pd.read_csv(tmp_path / "late-out.csv"), rtol=1e-9)
    assert broken["log_likelihood"].isna().sum() == 2


def test_over_a_hole_the_chain_forgets_by_as_many_rows(run, tmp_path, truth, two_series):
    """Rows deleted, with a time column that tells, give the labels of rows emptied."""
    rows = two_series[two_series["series"] == 0].drop(columns="series").reset_index(drop=True)
    emptied, kept = rows.copy(), np.ones(len(rows), bool)
    kept[40:55] = False
    emptied.loc[~kept, ["x0", "x1"]] = np.nan
    emptied.to_csv(tmp_path / "emptied.csv", index=False)
    rows[kept].to_csv(tmp_path / "deleted.csv", index=False)
    labelled(run, tmp_path / "emptied.csv", truth, tmp_path / "a.csv")
    labelled(run, tmp_path / "deleted.csv", truth, tmp_path / "b.csv")
    whole, found = pd.read_csv(tmp_path / "a.csv"), pd.read_csv(tmp_path / "b.csv")
    pd.testing.assert_frame_equal(whole[kept].reset_index(drop=True), found, rtol=1e-7)
    assert whole["regime"].notna().all()


def test_hive_folders_become_a_column_and_stay_folders(run, tmp_path, truth, two_series):
    for site in ("north", "south"):
        (tmp_path / f"in/site={site}").mkdir(parents=True)
        two_series[:50].drop(columns="series").to_parquet(tmp_path / f"in/site={site}/a.parquet")
    labelled(run, tmp_path / "in", truth, tmp_path / "out")
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.parquet"))
    assert found == ["site=north/a.parquet", "site=south/a.parquet"]


def test_dry_run_counts_and_writes_nothing(run, tmp_path, truth, two_series):
    rows = two_series.copy()
    rows.loc[5:9, "x1"] = np.nan
    rows = rows.drop(index=20)
    rows.to_csv(tmp_path / "in.csv", index=False)
    before = sorted(tmp_path.rglob("*"))
    trained = run("train", tmp_path / "in.csv", "--model", tmp_path / "m.safetensors", "--dry-run", "--json", "--quiet")
    inferred = run(
        "infer", tmp_path / "in.csv", "--model", truth, "--output", tmp_path / "o.csv", "--dry-run", "--json", "--quiet"
    )
    for result in (trained, inferred):
        figures = json.loads(result.stdout)
        assert (figures["rows"], figures["series"], figures["holes"], figures["breaks"]) == (239, 2, 1, 0)
        assert figures["missing"] == {"x0": 0, "x1": 5}
        assert figures["scratch_bytes"] >= 239 * 8 * 3 and figures["memory_bytes"] > 0 and figures["seconds"] > 0
    assert sorted(tmp_path.rglob("*")) == before
    terminal = run("train", tmp_path / "in.csv", "--model", tmp_path / "m.safetensors", "--dry-run")
    assert "239 in 2 series" in terminal.stdout and all(len(line) <= 80 for line in terminal.stdout.splitlines()[:6])


def test_dry_run_names_each_bad_file_as_the_run_would(run, tmp_path, truth, two_series):
    (tmp_path / "in").mkdir()
    rows = two_series[:70].drop(columns="series")
    for name in "abc":
        rows.to_csv(tmp_path / f"in/{name}.csv", index=False)
    (tmp_path / "in/bad.csv").write_text("t,x0,x1\n0,1,2\n1,oops,3\n")
    (tmp_path / "in/worse.csv").write_text("t,x0\n0,1\n")
    arguments = ("infer", tmp_path / "in", "--model", truth, "--output", tmp_path / "out", "--quiet", "--json")
    dry = run(*arguments, "--dry-run")
    assert not (tmp_path / "out").exists()
    real = run(*arguments)
    assert (dry.exit_code, real.exit_code) == (1, 1)
    assert dry.stderr == real.stderr and len(dry.stderr.splitlines()) == 2
    planned, done = json.loads(dry.stdout), json.loads(real.stdout)
    assert planned["failures"] == done["failures"]
    assert (planned["files"], planned["rows"], planned["series"]) == (5, done["rows"], 3)
    alone = json.loads(run("infer", tmp_path / "in/a.csv", *arguments[2:], "--dry-run").stdout)
    for name in ("scratch_bytes", "memory_bytes"):
        assert planned[name] == alone[name], "tables are worked on in turn"
    terminal = run(*arguments[:-1], "--dry-run")
    assert "5, 2 of them cannot be used" in terminal.stdout


def test_dry_run_takes_good_files_with_a_series_column_as_one_table(run, tmp_path, truth, two_series):
    (tmp_path / "in").mkdir()
    two_series[:70].to_csv(tmp_path / "in/a.csv", index=False)
    two_series[70:].to_csv(tmp_path / "in/b.csv", index=False)
    (tmp_path / "in/c.csv").write_text("series,t,x0,x1\n9,0,1,2\n9,1,oops,3\n")
    arguments = ("infer", tmp_path / "in", "--model", truth, "--output", tmp_path / "out", "--quiet", "--json")
    result = run(*arguments, "--dry-run")
    figures = json.loads(result.stdout)
    assert result.exit_code == 1 and "c.csv: row 2" in result.stderr
    assert (figures["rows"], figures["series"], figures["files"]) == (240, 2, 3)


def test_a_segment_across_files_counts_once(run, tmp_path, truth, two_series):
    (tmp_path / "in").mkdir()
    two_series.to_csv(tmp_path / "whole.csv", index=False)
    for part, start in enumerate(range(0, 240, 7)):
        two_series[start : start + 7].to_csv(tmp_path / f"in/{part:02d}.csv", index=False)
    whole = labelled(run, tmp_path / "whole.csv", truth, tmp_path / "out.csv")
    parts = labelled(run, tmp_path / "in", truth, tmp_path / "out")
    assert parts["segments"] == whole["segments"]


def test_files_without_a_series_column_are_sorted_each_by_itself(run, tmp_path, truth, two_series):
    (tmp_path / "in").mkdir()
    for name, rows in two_series.groupby("series"):
        rows = rows.drop(columns="series")
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        rows.sample(frac=1, random_state=0).to_csv(tmp_path / f"in/{name}.csv", index=False)
    arguments = ("--model", truth, "--output", tmp_path / "out", "--sort", "--quiet")
    assert run("infer", tmp_path / "in", *arguments).exit_code == 0
    for name in (0, 1):
        labelled(run, tmp_path / f"{name}.csv", truth, tmp_path / "alone.csv")
        alone = pd.read_csv(tmp_path / "alone.csv")
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"out/{name}.csv"), alone, rtol=1e-9)


def test_sorting_across_several_outputs_is_rejected(run, tmp_path, truth, two_series):
    (tmp_path / "in").mkdir()
    two_series[::2].to_csv(tmp_path / "in/a.csv", index=False)
    two_series[1::2].to_csv(tmp_path / "in/b.csv", index=False)
    arguments = ("infer", tmp_path / "in", "--model", truth, "--output", tmp_path / "out", "--quiet")
    sorting = run(*arguments, "--sort")
    assert sorting.exit_code == 1
    assert "--sort would move rows from file to file" in sorting.stderr
    conflicting = run(*arguments)
    assert conflicting.exit_code == 1
    assert "goes on after another one" in conflicting.stderr
    assert not list((tmp_path / "out").glob("*.csv"))


def test_dry_run_of_train_rejects_too_few_rows_as_train_does(run, tmp_path, two_series):
    two_series[:9].to_csv(tmp_path / "few.csv", index=False)
    arguments = ("train", tmp_path / "few.csv", "--model", tmp_path / "m.safetensors", "--regimes", "3", "--lags", "2")
    dry, real = run(*arguments, "--dry-run", "--quiet"), run(*arguments, "--quiet")
    assert dry.exit_code == real.exit_code == 1
    assert dry.stderr == real.stderr and "3 regimes of 2 channels need at least" in dry.stderr
