"""Novelty of rows, stretches that no regime explains, and gates on both."""

import json

import numpy as np
import pandas as pd
import pytest

from gmvae_cli.cli.formatting import rare
from gmvae_cli.training import sampling

STRANGE = slice(2000, 2040)  # rows far from every regime
SPIKE = 3000


@pytest.fixture(scope="module")
def folder(run_once, tmp_path_factory):
    """A simulated file, its true model, and the file with a strange stretch and a spike."""
    path = tmp_path_factory.mktemp("novelty")
    options = ("--steps", 4000, "--channels", 2, "--intercept", "--missing", 0.02, "--seed", 2)
    assert run_once("simulate", path / "plain.csv", "--truth", path / "truth.safetensors", *options).exit_code == 0
    table = pd.read_csv(path / "plain.csv")
    scale = table[["x0", "x1"]].std()
    rng = np.random.default_rng(0)
    table.loc[table.index[STRANGE], "x0"] = table["x0"].mean() + scale["x0"] * (12 + 4 * rng.normal(size=40))
    table.loc[SPIKE, "x1"] += 40 * scale["x1"]
    table.to_csv(path / "strange.csv", index=False)
    return path


@pytest.fixture(scope="module")
def run_once():
    """Run the command; of a module's fixtures."""
    from typer.testing import CliRunner

    from gmvae_cli.cli import app

    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def labelled(run, folder, tmp_path):
    """Label one of the files; return the table and the result."""

    def label(name, *options, status=0):
        out = tmp_path / "out.csv"
        words = ("--model", folder / "truth.safetensors", "--output", out, "--digits", 17, "--json", *options)
        result = run("infer", folder / f"{name}.csv", *words)
        assert result.exit_code == status, result.stderr
        return pd.read_csv(out), json.loads(result.stdout)

    return label


def test_novelty_is_a_column_where_it_is_asked_for(labelled):
    table, result = labelled("plain")
    assert "novelty" not in table
    assert result["novel_share"] is None
    table, result = labelled("plain", "--novelty")
    assert table.columns[-1] == "novelty"
    assert (table["novelty"].isna() == table["log_likelihood"].isna()).all()
    known = table["novelty"].dropna()
    for level in (0.5, 1, 2):
        assert (known > level).mean() == pytest.approx(10**-level, abs=4.5 * np.sqrt(10**-level / len(known)))


def test_novelty_does_not_depend_on_later_rows(labelled):
    columns = [labelled("strange", "--novelty", "--posterior", kind)[0]["novelty"] for kind in ("smooth", "filter")]
    np.testing.assert_allclose(*columns, rtol=1e-12)


def test_a_stretch_that_no_regime_explains_has_none(labelled, tmp_path):
    segments = tmp_path / "segments.csv"
    table, result = labelled("strange", "--unknown", 6, "--novelty", "--segments", segments)
    unknown = np.flatnonzero(table["regime"] == -1)
    expected = np.arange(4000)[STRANGE]
    assert set(unknown) <= set(expected)
    assert len(unknown) >= 38
    assert (table["regime_name"][unknown] == "unknown").all()
    assert (table["regime_name"][table["regime"] == 0] == "regime 0").all()
    np.testing.assert_allclose(table[["prob_0", "prob_1", "prob_2"]].sum(axis=1), 1)
    listed = pd.read_csv(segments)
    [row] = listed[listed["regime"] == -1].itertuples()
    assert (row.start, row.stop) == (unknown[0], unknown[-1] + 1)
    assert np.isnan(row.mean_prob)
    assert row.novelty == pytest.approx(table["novelty"][unknown].median())
    assert result["unknown_share"] == pytest.approx(len(unknown) / 4000)
    assert sum(result["shares"]) + result["unknown_share"] == pytest.approx(1)
    assert result["segments"] == len(listed)


def test_an_outlier_alone_is_novel_but_no_stretch(labelled):
    table, _ = labelled("strange", "--unknown", 6, "--novelty")
    assert table["novelty"][SPIKE] > 6
    assert table["regime"][SPIKE] >= 0


def test_a_gate_sees_few_novel_rows(labelled):
    _, result = labelled("strange", "--fail-under", "known_share=0.999", status=3)
    assert result["novel_share"] == pytest.approx(0.011, abs=0.003)
    assert "row 2001" in result["novel_since"]
    labelled("plain", "--fail-under", "known_share=0.999")


def test_people_are_told_how_much_is_novel_and_since_when(run, folder, tmp_path):
    words = ("--model", folder / "truth.safetensors", "--output", tmp_path / "out.csv", "--unknown", 6)
    printed = run("infer", folder / "strange.csv", *words).stdout
    assert "novelty above 6, from strange.csv, row 2001" in " ".join(printed.split()).replace(str(folder) + "/", "")
    assert "which no regime explains" in printed


def test_rows_of_no_regime_are_drawn_and_evaluated(run, labelled, tmp_path):
    labelled("strange", "--unknown", 6)
    assert run("plot", tmp_path / "out.csv", "--output", tmp_path / "out.png").exit_code == 0
    result = json.loads(run("evaluate", tmp_path / "out.csv", "--json").stdout)
    assert result["rows"] == 4000
    assert result["ari"] > 0.5


def test_blocks_have_a_novelty_too(run, folder, tmp_path):
    model, out = tmp_path / "blocks.safetensors", tmp_path / "out.csv"
    assert run("train", folder / "plain.csv", "--model", model, "--summarize", 10).exit_code == 0
    result = run("infer", folder / "strange.csv", "--model", model, "--output", out, "--novelty", "--unknown", 6)
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(out)
    assert table["novelty"][STRANGE].max() > 6
    assert (table["regime"] == -1).sum() <= 60


@pytest.mark.parametrize(("level", "problem"), [(0, "above 0"), (-1, "above 0"), (1000, "at most 100"), ("x", "")])
def test_levels_that_cannot_be_are_rejected(rejection, folder, tmp_path, level, problem):
    words = ("--model", folder / "truth.safetensors", "--output", tmp_path / "out.csv", "--unknown", level)
    assert problem in rejection("infer", folder / "plain.csv", *words, status=2)


def test_a_trained_model_keeps_the_tail_of_rows_at_switches(run, tmp_path):
    """Rows behind a switch, whose lags lie in the level that has ended, are as novel as they are rare."""
    rng = np.random.default_rng(0)

    def log(name):
        state = np.repeat(np.arange(200) % 2, rng.integers(50, 150, size=200))
        scale = np.where(state == 0, 0.01, 1.0)
        table = pd.DataFrame(
            {"x0": 5.0 * state + scale * rng.normal(size=len(state)), "x1": rng.normal(size=len(state))}
        )
        table.to_csv(tmp_path / name, index_label="t")
        return tmp_path / name

    model, out = tmp_path / "m.safetensors", tmp_path / "out.csv"
    assert run("train", log("first.csv"), "--model", model, "--regimes", 2).exit_code == 0
    assert run("infer", log("second.csv"), "--model", model, "--output", out, "--novelty").exit_code == 0
    novelty = pd.read_csv(out)["novelty"].dropna()
    for level in (2, 3):
        assert (novelty > level).mean() <= 3 * 10**-level
    assert rare(0.00012) == "0.012 %"


def test_a_kind_of_row_that_is_held_out_nowhere_is_no_novelty(run, tmp_path):
    """One row in 250 is far from all others, but none of those by which the model is judged."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 2))
    held = [np.arange(start - 2, stop + 2) for start, stop in sampling.split(4000, 0.1, np.random.default_rng(0))[1]]
    far = np.setdiff1d(np.arange(100, 4000, 250), np.concatenate(held))
    values[far] += 12
    path, model, out = tmp_path / "a.csv", tmp_path / "m.safetensors", tmp_path / "out.csv"
    pd.DataFrame(values, columns=["x0", "x1"]).to_csv(path, index=False)
    assert run("train", path, "--model", model, "--regimes", 1, "--steps", 5, "--restarts", 1).exit_code == 0
    assert run("infer", path, "--model", model, "--output", out, "--novelty").exit_code == 0
    novelty = pd.read_csv(out)["novelty"]
    assert len(far) >= 13
    assert novelty[far].min() > 2 and novelty.max() < 5


def test_a_dry_run_counts_the_scratch_space_of_novelty(run, folder):
    def planned(command, *options):
        words = () if command == "segment" else ("--model", folder / "truth.safetensors")
        result = run(
            command, folder / "plain.csv", *words, "--output", folder / "o.csv", "--dry-run", "--json", *options
        )
        return json.loads(result.stdout)["scratch_bytes"]

    for command in ("infer", "segment"):
        plain = planned(command)
        assert planned(command, "--novelty") - plain == 4000 * 16, "two numbers of eight bytes"
        assert planned(command, "--unknown", 6) - plain == 4000 * (16 + 2), "and a path of two states"
