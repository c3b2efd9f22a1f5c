"""Names of regimes: in the model, in every output, and regimes of one name as one."""

import json

import numpy as np
import pandas as pd
import pytest

from gmvae_cli.checkpoint import load
from gmvae_cli.plotting import figure, labelled_file
from gmvae_cli.series_config import SeriesConfig
from gmvae_cli.system.progress import silent


@pytest.fixture
def series(run, tmp_path):
    """A simulated file and its true model, of three regimes."""
    path, truth = tmp_path / "a.csv", tmp_path / "truth.safetensors"
    assert run("simulate", path, "--steps", "600", "--truth", truth, "--dwell", "20").exit_code == 0
    return path, truth


@pytest.fixture
def labelled(run, series):
    """Label the file by a model and return the table."""

    def label(model, *options, name="out.csv"):
        out = series[0].parent / name
        result = run("infer", series[0], "--model", model, "--output", out, "--digits", 17, *options)
        assert result.exit_code == 0, result.stderr
        return pd.read_csv(out)

    return label


def test_names_are_in_every_output(run, series, labelled):
    path, truth = series
    result = run("rename", truth, "0=idle", "2=night shift", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["names"] == ["idle", "", "night shift"]
    segments = path.parent / "segments.csv"
    table = labelled(truth, "--segments", segments)
    assert list(table.columns[4:6]) == ["regime", "regime_name"]
    texts = np.array(["idle", "regime 1", "night shift"])
    assert (table["regime_name"] == texts[table["regime"]]).all()
    assert table["regime"].nunique() == 3
    listed = pd.read_csv(segments)
    assert (listed["regime_name"] == texts[listed["regime"]]).all()
    shown = run("inspect", truth).stdout
    assert "0 idle" in shown
    assert "2 night shift" in shown
    assert "night shift" in run("evaluate", path, "--model", truth).stdout
    scores = json.loads(run("evaluate", path.parent / "out.csv", "--json").stdout)
    assert set(scores["labels_predicted"]) == set(texts)
    drawn = figure.draw(labelled_file.read(str(path.parent / "out.csv"), SeriesConfig(), silent))
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == list(texts)


def test_only_regimes_keeps_the_names(run, series, labelled):
    run("rename", series[1], "1=busy")
    assert list(labelled(series[1], "--only-regimes").columns) == ["t", "regime", "regime_name"]


def test_regimes_of_one_name_are_one(run, series, labelled):
    """The smaller number stands for both, its probability is the sum, and the labels follow the sums."""
    path, truth = series
    merged = path.parent / "merged.safetensors"
    apart = labelled(truth)
    assert run("rename", truth, "0=idle", "2=idle", "--output", merged).exit_code == 0
    table = labelled(merged, name="merged.csv")
    assert "prob_2" not in table
    np.testing.assert_allclose(table["prob_0"], apart["prob_0"] + apart["prob_2"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(table["prob_1"], apart["prob_1"])
    assert (table["regime"] == np.where(table["prob_0"] >= table["prob_1"], 0, 1)).all()
    assert (table["log_likelihood"].dropna() == apart["log_likelihood"].dropna()).all()
    path_apart, path_merged = labelled(truth, "--posterior", "viterbi"), labelled(merged, "--posterior", "viterbi")
    assert (path_merged["regime"] == path_apart["regime"].replace(2, 0)).all()
    assert load(str(truth)).names == ()


def test_the_dwell_of_merged_regimes_is_that_of_their_visits(run, tmp_path):
    """Mean length of the joint visits in a long simulation."""
    truth, path = tmp_path / "truth.safetensors", tmp_path / "a.parquet"
    run("simulate", path, "--steps", 200_000, "--dwell", 8, "--truth", truth, "--prior", "markov")
    run("rename", truth, "0=a", "1=a")
    joint = pd.read_parquet(path)["true_regime"].replace(1, 0).to_numpy()
    starts = np.flatnonzero(np.append(True, joint[1:] != joint[:-1]))
    lengths = np.diff(np.append(starts, len(joint)))[joint[starts] == 0]
    dwell = load(str(truth)).expected_dwell
    assert dwell[0] == pytest.approx(lengths.mean(), abs=4 * lengths.std() / np.sqrt(len(lengths)))
    assert np.isnan(dwell[1])
    assert dwell[2] == pytest.approx(8)


def test_a_retrained_model_keeps_the_names(run, series, tmp_path):
    path, truth = series
    names = ("idle", "", "fault")
    assert run("rename", truth, "0=idle", "2=fault").exit_code == 0
    old, again, begun = (str(tmp_path / f"{name}.safetensors") for name in ("old", "again", "begun"))
    assert run("train", path, "--model", old, "--align-to", truth, "--intercept").exit_code == 0
    assert load(old).names == names
    assert run("train", path, "--model", again, "--align-to", old, "--seed", 3).exit_code == 0
    assert load(again).names == names
    assert run("train", path, "--model", begun, "--init", old).exit_code == 0
    assert set(load(begun).names) == set(names)


def test_a_name_is_taken_away(run, series):
    truth = series[1]
    assert run("rename", truth, "0=idle", "1=busy").exit_code == 0
    assert run("rename", truth, "busy=working", "0=").exit_code == 0
    assert load(str(truth)).names == ("", "working", "")


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("3=x", "names regime '3', but this model has regimes 0 to 2"),
        ("-1=x", "names regime '-1'"),
        ("idle", "is no ID=NAME"),
        ("0= x", "spaces at its ends"),
        ("0=a\tb", "cannot be seen"),
        ("0=unknown", "rows that no regime explains have this name"),
        ("0=" + "x" * 61, "has 61 characters"),
    ],
)
def test_names_that_cannot_be_are_rejected(rejection, series, assignment, problem):
    before = series[1].read_bytes()
    assert problem in rejection("rename", series[1], "--", assignment, status=2)
    assert series[1].read_bytes() == before


def test_a_file_with_names_and_novelty_is_read_again(run, series, labelled):
    """What an earlier run has written is no channel, and is replaced."""
    path, truth = series
    run("rename", truth, "0=idle")
    labelled(truth)
    out = path.parent / "out.csv"
    result = run("infer", out, "--model", truth, "--output", path.parent / "twice.csv")
    assert "regime_name" in result.stderr
    assert list(pd.read_csv(path.parent / "twice.csv").columns) == list(pd.read_csv(out).columns)
