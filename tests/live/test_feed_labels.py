"""A feed gets the labels that a file of its rows gets, whatever is cut, repeated, broken or forgotten."""

import csv
import io
import json
from itertools import pairwise

import numpy as np
import pytest
from filtering.models import KINDS
from live.feeds import as_json, block_file, body, follow_text, model_file, table

from gmvae_cli.errors import CheckpointError, ConfigError, GmvaeError, SeriesError
from gmvae_cli.live import series_store
from gmvae_cli.live.cells import LineError


def columns(text, *names):
    rows = list(csv.DictReader(io.StringIO(text)))
    return [np.array([float(row[name] or "nan") for row in rows]) for name in names]


def batch(run, tmp_path, text, model, *options):
    """The labels of a file with the same rows, one series after the other."""
    source, output = tmp_path / "rows.csv", tmp_path / "labelled.csv"
    header, *rows = text.splitlines()
    rows.sort(key=lambda row: row.split(",")[1])  # of a series in order
    source.write_text("\n".join([header, *rows, ""]))
    result = run("infer", source, "--model", model, "--output", output, "--posterior", "filter", "--quiet", *options)
    assert result.exit_code == 0, result.output
    return output.read_text()


@pytest.mark.parametrize("kind", ["one lag", "three lags", "Student noise", "an evidence scale"])
def test_a_feed_of_several_series_has_the_bytes_of_a_file(kind, run, tmp_path):
    model = model_file(tmp_path, **KINDS[kind])
    text = table(1, 240, series=3)
    options = ("--series", "id", "--max-gap", "4", "--novelty")
    expected = batch(run, tmp_path, text, model, *options)
    labelled = follow_text(text, model, series="id", max_gap="4", novelty=True)
    header, *rows = labelled.splitlines()
    assert [header, *sorted(rows, key=lambda row: row.split(",")[1])] == expected.splitlines()


def test_json_gets_the_same_labels_behind_its_own_keys(tmp_path):
    model = model_file(tmp_path)
    text = table(2, 60)
    labelled = follow_text(as_json(text), model, format="ndjson", digits=17)
    expected = list(csv.DictReader(io.StringIO(follow_text(text, model, digits=17))))
    sources = as_json(text).splitlines()
    for line, source, row in zip(labelled.splitlines(), sources, expected, strict=True):
        assert line.startswith(source[:-1] + ", ")
        found = json.loads(line)
        for name in ("regime", "prob_0", "prob_1", "prob_2", "log_likelihood"):
            assert (found[name] is None and row[name] == "") or found[name] == float(row[name])


@pytest.mark.parametrize("kind", ["a stride", "Student noise, a stride and a scale"])
@pytest.mark.parametrize("lag", [0, 4])
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_sessions_with_a_state_have_the_bytes_of_one(kind, lag, form, tmp_path):
    model = model_file(tmp_path, names=("idle", "", "idle"), **KINDS[kind])
    text = table(3, 150, series=3)
    lines = (text if form == "csv" else as_json(text)).splitlines(keepends=True)
    head, rows = (lines[:1], lines[1:]) if form == "csv" else ([], lines)
    options = {"series": "id", "format": form, "lag": lag, "novelty": True, "unknown": 3.0, "digits": 17}
    state, out, cuts = tmp_path / "state.json", "", [0, 1, 7, 8, 60, 61, 150]
    for start, stop in pairwise(cuts):
        part = follow_text("".join([*head, *rows[start:stop]]), model, state=str(state), **options)
        out += body(part) if form == "csv" else part
        content = json.loads(state.read_text())
        assert content["rows"] == stop
        assert content["written"] == out.count("\n")
    whole = follow_text("".join([*head, *rows]), model, **options)
    whole = body(whole) if form == "csv" else whole
    assert whole.startswith(out)
    assert whole.count("\n") - out.count("\n") == 3 * lag


def test_a_lag_writes_every_row_at_the_end_in_its_own_series_order(tmp_path):
    model = model_file(tmp_path)
    text = table(4, 60, series=2)
    labelled = body(follow_text(text, model, series="id", lag=5)).splitlines()
    assert sorted(line.rsplit(",", 5)[0] for line in labelled) == sorted(body(text).splitlines())
    assert [line.rsplit(",", 5)[0] for line in labelled[-10:]] == body(text).splitlines()[-10:]


def test_a_state_may_be_gone_on_from_without_its_lag(tmp_path):
    model, state = model_file(tmp_path), str(tmp_path / "state.json")
    lines = table(5, 30).splitlines(keepends=True)
    out = body(follow_text("".join(lines[:21]), model, state=state, lag=8))
    out += body(follow_text("".join([lines[0], *lines[21:]]), model, state=state))
    assert [line.rsplit(",", 5)[0] for line in out.splitlines()] == [line.strip() for line in lines[1:]]


def test_a_model_of_blocks_goes_on_inside_a_block_and_says_that_it_labels_from_those_before(tmp_path):
    model, state, notes = block_file(tmp_path), str(tmp_path / "state.json"), []
    lines = table(5, 130, series=2).splitlines(keepends=True)
    options = {"series": "id", "novelty": True, "digits": 17}
    out = "".join(
        body(follow_text("".join([lines[0], *lines[start:stop]]), model, notes=notes, state=state, **options))
        for start, stop in pairwise([1, 4, 20, 21, 22, 70, 131])
    )
    assert out == body(follow_text("".join(lines), model, **options))
    assert set(notes) == {"blocks_before"}
    with pytest.raises(ConfigError, match="--lag carries rows back, but this model labels rows from the blocks before"):
        follow_text("".join(lines), model, lag=1)


# --- lines -----------------------------------------------------------------------------------------------------------


def test_headers_that_come_again_and_blank_lines_change_nothing(tmp_path):
    model, text = model_file(tmp_path), table(6, 40)
    header, *rows = text.splitlines()
    again = "\r\n".join([header, *rows[:9], header, "", *rows[9:20], header, *rows[20:], ""])
    assert follow_text(again, model) == follow_text(text, model)
    other = "note,x1,x0,id,t"
    moved = [",".join(reversed(row.split(","))) for row in rows[20:]]
    moved = [",".join([note, x1, x0, name, time]) for note, x1, x0, name, time in (row.split(",") for row in moved)]
    turned = "\n".join([header, *rows[:20], other, *moved, ""])
    assert follow_text(turned, model) == follow_text(text, model)
    with pytest.raises(SeriesError, match="a new header 't,x0,x1' has other columns"):
        follow_text("\n".join([header, *rows[:20], "t,x0,x1", "50,1,2"]), model, on_error="skip")


BROKEN = {
    "5,m0,1.0,abc,a": "column 'x1' holds 'abc', not a number; an empty cell means missing",
    "5,m0,1.0,1_0,a": "column 'x1' holds '1_0', not a number; an empty cell means missing",
    "5,m0,1.0,inf,a": "column 'x1' holds 'inf'; expected a finite number or an empty cell",
    "5,m0,1.0,-1e200,a": "column 'x1' holds '-1e200'; expected a finite number or an empty cell",
    "5,m0,1.0,2.0": "4 cells, but the header names 5 columns ('t,id,x0,x1,note')",
    "5,m0,1.0,2.0,a,b": "6 cells, but the header names 5 columns ('t,id,x0,x1,note')",
    '5,m0,1.0,2.0,"a': "'5,m0,1.0,2.0,\"a' cannot be read; is a quote left open?",
    "later,m0,1.0,2.0,a": "column 't' holds 'later', not a number, as the times in training are",
    ",m0,1.0,2.0,a": "column 't' is empty; every row needs a time (--no-time takes rows as they come)",
    "4,m0,1.0,2.0,a": (
        "the time in column 't' repeats that of the row before of its series; --on-error skip leaves it out"
    ),
    "3.5,m0,1.0,2.0,a": (
        "the time in column 't' is earlier than that of the row before of its series; --on-error skip leaves it out"
    ),
    "5,,1.0,2.0,a": "column 'id' is empty; every row needs a series id",
    "5,m0,1.0,\xff,a": "is not UTF-8 text; name its encoding, for example --encoding windows-1252",
}
GOOD = "\n".join(["t,id,x0,x1,note", *(f"{row},m0,{row / 2},{-row},a" for row in range(5)), ""])


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_stops_or_is_skipped_with_one_sentence(line, tmp_path):
    model = model_file(tmp_path)
    text = GOOD.encode() + line.encode("latin-1") + b"\n5,m0,1,2,a\n"
    state = tmp_path / "state.json"
    with pytest.raises(LineError) as caught:
        follow_text(text, model, series="id", state=str(state))
    assert str(caught.value) == f"stdin: line 7: {BROKEN[line]}"
    before = follow_text.written
    assert before == follow_text(GOOD, model, series="id")
    assert json.loads(state.read_text())["rows"] == 5
    said = []
    labelled = follow_text(text, model, said, series="id", on_error="skip")
    assert said == [str(caught.value)]
    assert labelled == follow_text(GOOD + "5,m0,1,2,a\n", model, series="id")


def test_broken_objects_are_named(tmp_path):
    model, said = model_file(tmp_path), []
    lines = [
        '{"x0": 1}',
        '{"t": 0, "x0": 1}',
        "[1]",
        "{",
        '{"t": 1, "y": 2}',
        '{"t": 1, "x0": [1]}',
        '{"t": true, "x1": 1}',
        "{}",
    ]
    out = follow_text("\n".join(lines), model, said, format="ndjson", on_error="skip")
    assert out.count("\n") == 1
    assert said == [
        "stdin: line 1: column 't' is empty; every row needs a time (--no-time takes rows as they come)",
        "stdin: line 3: '[1]' is no JSON object",
        "stdin: line 4: '{' is no JSON",
        "stdin: line 5: none of the channels x0, x1 is among its keys",
        "stdin: line 6: column 'x0' holds '[1]', not a number; an empty cell means missing",
        "stdin: line 7: column 't' holds 'True', not a number, as the times in training are",
        "stdin: line 8: none of the channels x0, x1 is among its keys",
    ]


def test_cells_are_read_as_the_options_say_and_come_back_as_they_were(tmp_path):
    model = model_file(tmp_path)
    plain = "t,x0,x1,note\n0,1.5,-2,a\n1,1234.5,,b\n2,3,0.25,c\n"
    spelled = '# feed\nt;x0;x1;note\n0;1,5;-2;a\n# pause\n1;1.234,5;?;"b;b"\n2; 3 ;0,25;c\n'
    out = follow_text(spelled, model, decimal=",", thousands=".", comment="#")
    assert out.splitlines()[2].startswith('1;1.234,5;?;"b;b";')
    assert out.splitlines()[1].startswith("0;1,5;-2;a;")
    expected = columns(follow_text(plain, model), "prob_0", "log_likelihood")
    found = columns(out.replace(",", ".").replace(";", ","), "prob_0", "log_likelihood")
    np.testing.assert_array_equal(found, expected)
    na = follow_text(plain.replace("1,1234.5,,", "1,1234.5,-999,"), model, na_values=("-999.0",))
    np.testing.assert_array_equal(columns(na, "prob_0", "log_likelihood"), expected)


def test_labels_of_an_earlier_run_are_replaced_and_only_regimes_leaves_the_rest_out(tmp_path):
    model = model_file(tmp_path, names=("a,b", "", ""))
    text = 't,regime,x0,x1,prob_0,note\n0,7,1,2,0.5,"say ""hi"""\n1,7,1,2,0.5,b\n'
    out = follow_text(text, model)
    assert out.splitlines()[0] == "t,x0,x1,note,regime,regime_name,prob_0,prob_1,prob_2,log_likelihood"
    assert out.splitlines()[1].startswith('0,1,2,"say ""hi""",')
    assert '"a,b"' in out
    assert follow_text(text, model, only_regimes=True).splitlines()[0] == "t,regime,regime_name"


@pytest.mark.parametrize("missing", ["x0", "t2", "id"])
def test_a_header_without_a_column_is_an_error_that_names_it(missing, tmp_path):
    text = GOOD.replace("x0", "y0") if missing == "x0" else GOOD
    options = {"t2": {"time": "t2"}, "id": {"series": "nr"}}.get(missing, {})
    wanted = {"id": "nr"}.get(missing, missing)
    with pytest.raises(SeriesError, match=f"stdin: no column '{wanted}'; columns are: t, id, "):
        follow_text(text, model_file(tmp_path), **options)


# --- times -----------------------------------------------------------------------------------------------------------


def dated(tmp_path, form=None, step=60.0):
    reading = {} if form is None else {"usual_time_format": form}
    return model_file(tmp_path, training={"time": "t", "step": step, "time_unit": "seconds", "reading": reading})


@pytest.mark.parametrize(
    ("form", "cells"),
    [
        (None, ["2024-03-01", "2024-03-01T00:01", "2024-03-01 00:02:00.0", "2024-03-01 00:07:00"]),
        (None, ["2024-03-01T00:00Z", "2024-03-01T01:01+01:00", "2024-03-01T00:02Z", "2024-03-01T00:07Z"]),
        ("%d.%m.%Y %H:%M", ["01.03.2024 00:00", "01.03.2024 00:01", "01.03.2024 00:02", "01.03.2024 00:07"]),
        ("%d. %b %Y %H:%M", ["1. März 2024 00:00", "1. März 2024 00:01", "1. März 2024 00:02", "1. März 2024 00:07"]),
        (None, [f"2024-03-01 00:0{minute}:00 CET" for minute in (0, 1, 2, 7)]),
        ("clock", ["23:58", "23:59", "00:00", "00:05"]),
        ("unix-s", ["1709251200", "1709251260.0", "1709251320", "1709251620"]),
        ("unix-ms", ["1709251200000", "1709251260000", "1709251320000", "1709251620000"]),
    ],
)
def test_dates_say_where_rows_are_missing(form, cells, tmp_path):
    rows = [f"{cell},{index},{-index}" for index, cell in enumerate(cells)]
    out = follow_text("\n".join(["t,x0,x1", *rows]), dated(tmp_path, form))
    plain = [f"{time},{index},{-index}" for index, time in enumerate([0, 1, 2, 7])]
    expected = follow_text("\n".join(["t,x0,x1", *plain]), model_file(tmp_path, name="units.safetensors"))
    names = ("prob_0", "prob_1", "log_likelihood")
    np.testing.assert_array_equal(columns(out, *names), columns(expected, *names))
    assert np.isnan(columns(out, "log_likelihood")[0]).tolist() == [True, False, False, True]


def test_the_hour_that_comes_twice_is_read_in_the_order_of_the_rows(tmp_path):
    stamps = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    text = "\n".join(["t,x0,x1", *(f"2024-10-27 {stamp},1,2" for stamp in stamps)])
    out = follow_text(text, dated(tmp_path, step=1800.0), timezone="Europe/Berlin")
    assert np.isnan(columns(out, "log_likelihood")[0]).tolist() == [True] + [False] * 5


def test_numbers_in_place_of_dates_ask_for_their_form(tmp_path):
    with pytest.raises(LineError, match=r"line 2: column 't' holds '1709251200', not a date.*unix-s or unix-ms"):
        follow_text("t,x0,x1\n1709251200,1,2\n", dated(tmp_path))


def test_a_leap_of_ages_is_a_broken_line(tmp_path):
    with pytest.raises(LineError, match="line 3: the time in column 't' is more than 50 years"):
        follow_text("t,x0,x1\n1970-01-01,1,2\n2024-01-01,1,2\n", dated(tmp_path))


def test_rows_at_another_rate_are_noted_once_and_may_count_as_regular(tmp_path):
    model, notes = model_file(tmp_path), []
    text = "\n".join(["t,x0,x1", *(f"{5 * row},{row % 3},{row % 2}" for row in range(100))])
    out = follow_text(text, model, notes=notes)
    assert notes == ["other_step"]
    assert np.isnan(columns(out, "log_likelihood")[0]).all()
    out = follow_text(text, model, notes=notes, regular=True)
    assert notes == ["other_step"]
    assert np.isnan(columns(out, "log_likelihood")[0]).sum() == 1


def test_rows_count_as_equally_spaced_without_times_in_training(tmp_path):
    model = model_file(tmp_path, training={})
    text = table(8, 40)
    every = "\n".join(line.split(",", 1)[1] for line in text.splitlines())
    found, expected = (columns(follow_text(rows, model), "prob_0")[0] for rows in (text, every))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(SeriesError, match="was trained without times, so the usual time between rows is unknown"):
        follow_text(text, model, time="t")


# --- series that stay away -------------------------------------------------------------------------------------------


def starts(text, model, **options):
    """Whether each row is labelled as the first of a series."""
    return np.isnan(columns(follow_text(text, model, series="id", **options), "log_likelihood")[0]).tolist()


def test_series_that_stay_away_are_forgotten_by_rows_or_by_time(tmp_path):
    model = model_file(tmp_path)
    rows = ["0,a", "0,b", "1,b", "2,b", "1,a", "3,b"]
    text = "\n".join(["t,id,x0,x1", *(f"{row},1,1" for row in rows)])
    assert starts(text, model) == [True, True, False, False, False, False]
    assert starts(text, model, forget="3") == [True, True, False, False, True, False]
    assert starts(text, model, forget="4") == [True, True, False, False, False, False]
    stamps = [f"2024-01-01 00:0{row}" for row in rows]
    text = "\n".join(["t,id,x0,x1", *(f"{row},1,1" for row in stamps)])
    assert starts(text, dated(tmp_path), forget="1min") == [True, True, False, False, True, False]
    assert starts(text, dated(tmp_path), forget="2min") == [True, True, False, False, False, False]


def test_rows_of_a_forgotten_series_wait_no_longer(tmp_path):
    model = model_file(tmp_path)
    text = "\n".join(["t,id,x0,x1", "0,a,1,1", "1,a,1,1", *(f"{row},b,1,1" for row in range(9))])
    out = body(follow_text(text, model, series="id", forget="5", lag=3)).splitlines()
    assert len(out) == 11
    assert [line.split(",")[1] for line in out[:6]] == ["b", "b", "a", "a", "b", "b"]


def test_of_too_many_series_the_one_that_stayed_away_longest_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(series_store, "MOST_SERIES", 2)
    text = "\n".join(["t,id,x0,x1", *(f"{row},1,1" for row in ["0,a", "0,b", "1,a", "0,c", "2,a", "1,b", "1,c"])])
    state = tmp_path / "state.json"
    assert starts(text, model_file(tmp_path), state=str(state)) == [True, True, False, True, False, True, True]
    assert list(json.loads(state.read_text())["series"]) == ["b", "c"]


# --- state files -----------------------------------------------------------------------------------------------------


def test_a_state_of_another_model_or_a_damaged_one_is_an_error(tmp_path):
    model, state = model_file(tmp_path), tmp_path / "state.json"
    follow_text(GOOD, model, state=str(state))
    good = json.loads(state.read_text())
    renamed = model_file(tmp_path, name="renamed.safetensors", names=("a", "b", "c"))
    follow_text("t,id,x0,x1,note\n9,m0,1,1,a\n", renamed, state=str(state))  # names change no probability
    other = model_file(tmp_path, seed=4, name="other.safetensors")
    with pytest.raises(CheckpointError, match=r"state.json: is the state of another model than .*other.safetensors"):
        follow_text(GOOD, other, state=str(state))
    damaged = [
        "",
        "{",
        "[]",
        "{}",
        json.dumps(good | {"rows": "1"}),
        json.dumps(good | {"series": {"": {}}}),
        json.dumps(good | {"series": {"": good["series"][""] | {"law": [1.0]}}}),
        json.dumps(good | {"series": {"": good["series"][""] | {"law": [None, 1, 1]}}}),
        json.dumps(good | {"series": {"": good["series"][""] | {"recent": [[1, 2.0]]}}}),
        json.dumps(good | {"series": {"": good["series"][""] | {"time": "x"}}}),
        json.dumps(good | {"extra": 1}),
        "\udcff",
    ]
    for text in damaged:
        state.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(CheckpointError, match=r"state.json: (not a state of gmvae|cannot be read)"):
            follow_text(GOOD, model, state=str(state))
    state.write_text(json.dumps(good | {"gmvae_state": 2}))
    with pytest.raises(CheckpointError, match="is a state of another version"):
        follow_text(GOOD, model, state=str(state))


def test_a_state_that_holds_rows_keeps_their_format(tmp_path):
    model, state = model_file(tmp_path), str(tmp_path / "state.json")
    follow_text(GOOD, model, state=state, lag=2)
    with pytest.raises(ConfigError, match="holds rows that wait to be written as csv, but --format is ndjson"):
        follow_text(as_json(GOOD), model, state=state, format="ndjson")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"posterior": "viterbi"}, "--follow labels rows by --posterior filter, but it is viterbi"),
        ({"fail_under": ("known_share=0.9",)}, "--fail-under is for whole files"),
        ({"sort": True}, "--sort is for whole files"),
        ({"encoding": "utf-16"}, "--encoding is 'utf-16', in which lines cannot be told apart"),
        ({"forget": "soon"}, "--forget is 'soon', but must be rows above 0 or a duration"),
        ({"forget": "1d"}, "--forget is '1d', but the time column holds numbers"),
    ],
)
def test_options_that_rows_cannot_follow_are_rejected(options, sentence, tmp_path):
    with pytest.raises(GmvaeError) as caught:
        follow_text(GOOD, model_file(tmp_path), **options)
    assert str(caught.value).startswith(sentence)
