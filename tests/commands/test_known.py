"""`train` and `segment` with regimes that are known in some rows."""

import csv
import json
from collections import Counter

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from gmvae_cli.checkpoint import load

NAMES = ("idle", "run", "jam")
LEVELS = {"idle": 0.0, "run": 6.0, "jam": 12.0}
FAST = ("--steps", 10, "--restarts", 2)


def states():
    """The true state of 2,400 rows: visits of 40 rows in an order of their own."""
    return np.repeat(np.random.default_rng(3).choice(NAMES, size=60), 40)


def first_visits(state, *names):
    """Labels of the first visit to each of these states, "" elsewhere."""
    labels = np.full(len(state), "", dtype=object)
    for name in names:
        start = int(np.argmax(state == name))
        labels[start : start + 40] = name
    return labels


@pytest.fixture
def write(tmp_path):
    """Write a file of two channels with a column `state` of labels; return its path."""

    def write(labels, name="a.csv", state=None, column="state"):
        state = states() if state is None else state
        rng = np.random.default_rng(0)
        level = np.array([LEVELS[entry] for entry in state])
        path = tmp_path / name
        with open(path, "w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["t", "x", column, "y", "true_regime"])
            for t, (x, label, y, true) in enumerate(zip(level, labels, level, state, strict=True)):
                lines.writerow([t, f"{x + rng.normal():.4f}", label, f"{rng.normal() - y:.4f}", true])
        return path

    return write


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_names_and_numbers_of_known_regimes_reach_model_and_outputs(run, write, tmp_path):
    path, model, out = write(first_visits(states(), "jam", "idle")), tmp_path / "m.safetensors", tmp_path / "o.csv"
    result = json.loads(run("train", path, "--known", "state", "--model", model, *FAST, "--quiet", "--json").stdout)
    known = result["known"]
    assert known == {
        "column": "state", "rows": 80, "differing": 0,
        "labels": [
            {"name": name, "regime": result["names"].index(name), "rows": 40, "differing": 0}
            for name in sorted(("jam", "idle"), key=lambda name: int(np.argmax(states() == name)))
        ],
    }  # fmt: skip
    assert sorted(result["names"]) == ["", "idle", "jam"]
    assert load(str(model)).names == tuple(result["names"])
    assert {"name": "state", "role": "known", "reason": ""} in result["columns"]
    assert result["channels"] == ["x", "y"]
    assert run("infer", path, "--model", model, "--output", out, "--quiet").exit_code == 0
    labelled = read(out)
    for name in ("jam", "idle"):
        assert (labelled["regime"][labelled["true_regime"] == name] == str(result["names"].index(name))).mean() > 0.98
        assert (labelled["regime_name"][labelled["true_regime"] == name] == name).mean() > 0.98
    assert labelled["state"].tolist() == first_visits(states(), "jam", "idle").tolist()


def test_labels_that_contradict_the_rows_are_kept_and_counted(run, write, tmp_path):
    labels = first_visits(states(), "jam", "idle", "run")
    wrong = np.flatnonzero(labels)[3::8]
    labels[wrong] = ["idle" if labels[row] == "jam" else "jam" for row in wrong]
    path, out = write(labels), tmp_path / "o.csv"
    result = run("segment", path, "--known", "state", "--regimes", 3, "--output", out, "--json")
    found = json.loads(result.stdout)
    assert found["known"]["rows"] == 120
    assert found["known"]["differing"] == pytest.approx(len(wrong), abs=1)
    assert [warning["code"] for warning in found["warnings"]].count("labels_contradicted") >= 1
    assert "stay as they are labelled" in result.stderr
    written = read(out)
    rows = np.flatnonzero(labels)
    assert (written["regime_name"][rows] == labels[rows]).all()
    for row in rows[::7]:
        probs = [float(written[f"prob_{regime}"][row]) for regime in range(3)]
        assert max(probs) == 1 == sum(probs)
        assert probs.index(1) == int(written["regime"][row])
    others = np.setdiff1d(np.arange(len(labels)), rows)
    assert (written["regime_name"][others] == states()[others]).mean() > 0.97


@pytest.mark.slow
def test_segment_finds_at_least_as_many_regimes_as_are_known(run, write, tmp_path, one_process):
    """The labels tell apart two halves of one state, which the rows do not."""
    labels = first_visits(states(), "idle", "run", "jam")
    halves = np.flatnonzero(states() == "run")
    labels[halves] = np.where(np.arange(len(halves)) // 40 % 2, "run a", "run b")
    path = write(labels)
    result = run("segment", path, "--known", "state", "--output", tmp_path / "o.csv", "--quiet", "--json")
    found = json.loads(result.stdout)
    assert found["regimes"] >= 4
    assert {"idle", "jam", "run a", "run b"} <= set(found["names"])


def test_one_line_says_what_is_known(run, write, tmp_path):
    path = write(first_visits(states(), "jam"))
    printed = run("train", path, "--known", "state", "--model", tmp_path / "m", *FAST).stdout
    assert "40 rows of 1: jam (" in printed
    assert "the model alone would label 0 of them otherwise" in " ".join(printed.split())
    assert "known" not in run("train", path, "--model", tmp_path / "m", *FAST).stdout


@pytest.mark.parametrize("command", ["train", "segment"])
def test_a_plan_says_how_many_rows_are_labelled_with_what(run, write, tmp_path, command):
    target = ("--model" if command == "train" else "--output", tmp_path / "m.csv")
    path = write(first_visits(states(), "jam", "idle"))
    plan = json.loads(run(command, path, "--known", "state", *target, "--dry-run", "--json").stdout)
    assert plan["known"] == {"jam": 40, "idle": 40}
    assert "jam 40 rows" in run(command, path, "--known", "state", *target, "--dry-run").stdout
    assert "known" not in json.loads(run(command, path, *target, "--dry-run", "--json").stdout)


def test_without_known_labels_the_result_does_not_speak_of_them(run, write, tmp_path):
    path = write(first_visits(states(), "jam"))
    result = json.loads(run("train", path, "--model", tmp_path / "m", *FAST, "--quiet", "--json").stdout)
    assert "known" not in result


def test_labels_may_be_numbers_and_their_column_is_no_channel(run, write, tmp_path):
    labels = first_visits(states(), "jam", "run")
    numbers = np.array([{"": "", "jam": "7.0", "run": "2"}[label] for label in labels])
    path, parquet = write(numbers, column="z"), tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(path), parquet)
    for source in (path, parquet):
        arguments = ("--known", "z", "--model", tmp_path / "m", *FAST, "--quiet", "--json")
        result = json.loads(run("train", source, *arguments).stdout)
        assert result["channels"] == ["x", "y"]
        assert {name for name in result["names"] if name} == {"7", "2"}


def test_every_row_may_be_labelled(run, write, tmp_path):
    path = write(states())
    result = json.loads(
        run("segment", path, "--known", "state", "--output", tmp_path / "o.csv", "--quiet", "--json").stdout
    )
    assert result["regimes"] == 3
    assert sorted(result["names"]) == sorted(NAMES)
    assert (read(tmp_path / "o.csv")["regime_name"] == states()).all()


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        pytest.param(lambda: [""] * 2400, (), "a.csv: column 'state' holds no label; write", id="none"),
        pytest.param(
            lambda: states(), ("--regimes", 2),
            "a.csv: column 'state' has 3 different labels (", id="too few regimes",
        ),
        pytest.param(
            lambda: states(), ("--regimes", 5),
            "a.csv: column 'state' labels every row, with 3 different labels, so no row is left for 2 more",
            id="too many regimes",
        ),
        pytest.param(
            lambda: range(2400), (), "a.csv: row 1: here or soon after it column 'state' comes to more than 100",
            id="a mistaken column",
        ),
        pytest.param(
            lambda: ["unknown", *[""] * 2399], (),
            "a.csv: row 1: here or soon after it column 'state' holds 'unknown', which cannot be", id="no name",
        ),
        pytest.param(
            lambda: first_visits(states(), "jam", "idle"), ("--summarize", 85),
            "a.csv: no block of 85 rows has the label", id="long blocks",
        ),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_used(rejection, write, tmp_path, labels, options, expected):
    line = rejection("train", write(labels()), "--known", "state", "--model", tmp_path / "m", *options, status=1)
    assert expected in line


def test_the_column_must_be_there_in_every_file(rejection, write, tmp_path):
    one, other = write(first_visits(states(), "jam"), "a.csv"), write(states(), "b.csv", column="else")
    line = rejection("train", one, other, "--known", "state", "--model", tmp_path / "m", status=1)
    assert "b.csv: no column 'state'" in line
    write([""] * 2400, "b.csv")
    assert "no column 'stat'" in rejection("train", one, "--known", "stat", "--model", tmp_path / "m", status=1)


def test_labels_of_one_of_several_files_will_do(run, write, tmp_path):
    one, other = write(first_visits(states(), "jam"), "a.csv"), write([""] * 2400, "b.csv")
    arguments = ("--known", "state", "--model", tmp_path / "m", *FAST, "--quiet", "--json")
    assert json.loads(run("train", one, other, *arguments).stdout)["known"]["rows"] == 40


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--channels", "x,state"), "--known names 'state', which has another role"),
        (("--time", "state"), "--known names 'state', which has another role"),
        (("--workers", 2), "--known has its labels read in one process"),
    ],
)
def test_options_that_exclude_one_another(rejection, write, tmp_path, options, expected):
    path = write(first_visits(states(), "jam"))
    assert expected in rejection("train", path, "--known", "state", "--model", tmp_path / "m", *options, status=2)


def test_blocks_have_known_regimes_too(run, write, tmp_path):
    path, model, out = write(first_visits(states(), "jam", "idle")), tmp_path / "m", tmp_path / "o.csv"
    arguments = ("--known", "state", "--summarize", 8, "--model", model, "--quiet", "--json")
    names = json.loads(run("train", path, *arguments).stdout)["names"]
    run("infer", path, "--model", model, "--output", out, "--quiet")
    labelled = read(out)
    for name in ("jam", "idle"):
        assert (labelled["regime"][labelled["true_regime"] == name] == str(names.index(name))).mean() > 0.9


def test_an_older_model_gives_the_other_regimes_their_names(run, write, tmp_path):
    """Known regimes are those of the labels, wherever the older model had them."""
    state = states()
    path, older, model = write(first_visits(state, "jam")), tmp_path / "old", tmp_path / "m"
    run("train", path, "--known", "true_regime", "--model", older, *FAST, "--quiet")
    names = load(str(older)).names
    number = names.index("run")
    run("rename", older, *(f"{index}={'working' if index == number else f'old {index}'}" for index in range(3)))
    arguments = ("--init", older, "--known", "state", "--model", model, *FAST, "--quiet", "--json")
    result = json.loads(run("train", path, *arguments).stdout)
    assert "jam" in result["names"]
    assert result["known"]["differing"] == 0
    assert "working" in result["names"]
    out = tmp_path / "o.csv"
    run("infer", path, "--model", model, "--output", out, "--quiet")
    labelled = read(out)
    for name, true in (("jam", "jam"), ("working", "run")):
        assert (labelled["regime_name"][labelled["true_regime"] == true] == name).mean() > 0.98


def test_numbers_may_follow_another_model(run, write, tmp_path):
    path, older, model = write(first_visits(states(), "jam")), tmp_path / "old", tmp_path / "m"
    run("train", path, "--model", older, *FAST, "--quiet", "--seed", 5)
    run("rename", older, "0=a", "1=b", "2=c")
    arguments = ("--align-to", older, "--known", "state", "--model", model, *FAST, "--quiet", "--json")
    names = json.loads(run("train", path, *arguments).stdout)["names"]
    assert Counter(name in "abc" for name in names) == {True: 2, False: 1}
    assert "jam" in names


@pytest.mark.parametrize(
    "posterior", ["viterbi", *(pytest.param(name, marks=pytest.mark.slow) for name in ("smooth", "filter", "encoder"))]
)
def test_every_posterior_keeps_labels(run, write, tmp_path, posterior):
    labels = first_visits(states(), "jam", "idle")
    labels[labels == "jam"] = ["run" if index % 9 == 4 else "jam" for index in range(40)]
    path, out = write(labels), tmp_path / "o.csv"
    arguments = ("--known", "state", "--regimes", 3, "--output", out, "--posterior", posterior, "--quiet")
    assert run("segment", path, *arguments).exit_code == 0
    written, rows = read(out), np.flatnonzero(labels)
    assert (written["regime_name"][rows] == labels[rows]).all()


def test_likelihoods_of_rows_do_not_depend_on_whether_they_are_labelled(run, write, tmp_path):
    """Labels that agree with the rows: log p(x_t | past), not that of the label as well, which would be lower."""
    path, model, out, other = write(states()), tmp_path / "m", tmp_path / "o.csv", tmp_path / "i.csv"
    run("segment", path, "--known", "state", "--output", out, "--model", model, "--quiet", "--digits", 9)
    run("infer", path, "--model", model, "--output", other, "--quiet", "--digits", 9)
    ours, theirs = (read(name)["log_likelihood"][2:].astype(float) for name in (out, other))
    np.testing.assert_allclose(ours, theirs, atol=1e-2)
