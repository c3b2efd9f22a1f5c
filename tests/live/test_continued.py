"""A file that goes on from a state has the bytes that it has behind the earlier files, and a feed may take turns."""

import json

import pytest
from filtering.models import KINDS
from live.feeds import block_file, body, follow_text, model_file, table

OPTIONS = ("--posterior", "filter", "--quiet", "--series", "id", "--max-gap", "4")


def pieces(text, cuts):
    """The rows of a feed cut into files, in each of which every series is in one piece."""
    header, *rows = text.splitlines(keepends=True)
    parts = [rows[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    return ["".join([header, *sorted(part, key=lambda row: row.split(",")[1])]) for part in parts]


@pytest.fixture
def labelled(run, tmp_path):
    def labelled(text, model, *options, suffix="csv"):
        source, output = tmp_path / "part.csv", tmp_path / f"out.{suffix}"
        source.write_text(text)
        result = run("infer", source, "--model", model, "--output", output, *OPTIONS, *options)
        assert result.exit_code == 0, result.output
        return output.read_text()

    return labelled


def by_series(text):
    return sorted(body(text).splitlines(), key=lambda row: row.split(",")[1])


@pytest.mark.parametrize("kind", ["one lag", "a stride", "Student noise, a stride and a scale", "independent rows"])
def test_files_that_go_on_from_a_state_have_the_bytes_of_one(kind, labelled, tmp_path):
    model = model_file(tmp_path, names=("a", "", "a"), **KINDS[kind])
    text, state = table(7, 240, series=3), tmp_path / "state.json"
    whole = labelled(pieces(text, [])[0], model, "--novelty")
    out = [labelled(part, model, "--novelty", "--state", state) for part in pieces(text, [3, 9, 12, 150])]
    assert sorted("".join(map(body, out)).splitlines()) == sorted(body(whole).splitlines())
    assert by_series("\n" + "".join(map(body, out))) == body(whole).splitlines()
    assert json.loads(state.read_text())["rows"] == 240


@pytest.mark.parametrize("kind", ["three lags", "Student noise"])
def test_files_and_a_feed_take_turns(kind, labelled, tmp_path):
    model = model_file(tmp_path, **KINDS[kind])
    text, state = table(8, 200, series=2), tmp_path / "state.json"
    header = text.splitlines(keepends=True)[0]
    whole = labelled(pieces(text, [])[0], model)
    first, second, third, fourth = pieces(text, [50, 100, 150])
    out = labelled(first, model, "--state", state)
    out += body(follow_text(second, model, state=str(state), series="id", max_gap="4"))
    out += body(labelled(third, model, "--state", state))
    out += body(follow_text(fourth, model, state=str(state), series="id", max_gap="4"))
    assert by_series(out) == body(whole).splitlines()
    assert out.startswith(header.strip())


def test_series_that_are_new_or_stay_away_are_kept_apart(labelled, tmp_path):
    model, state = model_file(tmp_path), tmp_path / "state.json"
    text = table(9, 120, series=3)
    header, *rows = text.splitlines(keepends=True)
    without = "".join([header, *(row for row in rows[:60] if ",m1," not in row)])
    later = "".join([header, *rows[60:]])
    whole = labelled(pieces(without + "".join(rows[60:]), [])[0], model)
    out = [labelled(part, model, "--state", state) for part in (pieces(without, [])[0], pieces(later, [])[0])]
    assert by_series("\n" + "".join(map(body, out))) == body(whole).splitlines()
    assert sorted(json.loads(state.read_text())["series"]) == ["m0", "m1", "m2"]


def test_a_file_without_times_and_series_goes_on(run, tmp_path):
    model, state = model_file(tmp_path, training={}), tmp_path / "state.json"
    rows = ["x0,x1", *(",".join(row.split(",")[2:4]) for row in table(3, 60).splitlines()[1:])]
    out = []
    for name, lines in {"a": rows[:31], "b": [rows[0], *rows[31:]], "whole": rows}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([*lines, ""]))
        options = [] if name == "whole" else ["--state", state]
        arguments = ("infer", tmp_path / f"{name}.csv", "--model", model, "--posterior", "filter", "--quiet")
        result = run(*arguments, "--output", tmp_path / "out.csv", *options)
        assert result.exit_code == 0, result.output
        out.append((tmp_path / "out.csv").read_text())
    assert out[0] + body(out[1]) == out[2]


def test_a_file_that_was_labelled_before_is_an_error_and_changes_nothing(rejection, labelled, tmp_path):
    model, state = model_file(tmp_path), tmp_path / "state.json"
    first, _ = pieces(table(7, 60), [30])
    labelled(first, model, "--state", state)
    before = state.read_bytes()
    line = rejection(
        "infer",
        tmp_path / "part.csv",
        "--model",
        model,
        "--output",
        tmp_path / "again.csv",
        *OPTIONS,
        "--state",
        state,
        status=1,
    )
    assert f"row 1: series 'm0' is not behind the last row that {state} knows" in line
    assert state.read_bytes() == before
    assert not (tmp_path / "again.csv").exists()


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (["--posterior", "smooth"], 2, "goes on with --posterior filter, but it is smooth, which needs later rows"),
        (["--unknown", "6"], 2, "--unknown looks for stretches in a whole file"),
        (["--skip-existing"], 2, "--state goes on with one file"),
        (["--lag", "3"], 2, "--lag is for rows that arrive one by one; give --follow too"),
    ],
)
def test_options_that_cannot_go_on_are_rejected(options, status, sentence, rejection, tmp_path):
    model = model_file(tmp_path)
    (tmp_path / "part.csv").write_text(table(7, 30))
    arguments = ("infer", tmp_path / "part.csv", "--model", model, "--output", tmp_path / "out.csv")
    line = rejection(*arguments, *OPTIONS, "--state", tmp_path / "state.json", *options, status=status)
    assert sentence in line


def test_a_model_of_blocks_goes_on_with_a_feed_alone(rejection, tmp_path):
    (tmp_path / "part.csv").write_text(table(7, 30))
    arguments = ("infer", tmp_path / "part.csv", "--model", block_file(tmp_path), "--output", tmp_path / "out.csv")
    line = rejection(*arguments, *OPTIONS, "--state", tmp_path / "state.json", status=2)
    assert line.startswith("--state goes on inside a block of rows, which this model labels as a whole; give --follow")


def test_rows_that_wait_belong_to_a_feed(rejection, tmp_path):
    model, state = model_file(tmp_path), tmp_path / "state.json"
    text = table(7, 30)
    follow_text(text, model, state=str(state), lag=2)
    (tmp_path / "part.csv").write_text(text)
    arguments = ("infer", tmp_path / "part.csv", "--model", model, "--output", tmp_path / "out.csv")
    assert "holds rows that wait to be written; go on with --follow" in rejection(
        *arguments, *OPTIONS, "--state", state, status=2
    )
