import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def simulated(run, tmp_path):
    """A simulated file and its true model."""
    path, truth = tmp_path / "a.csv", tmp_path / "truth.safetensors"
    assert run("simulate", path, "--steps", "600", "--truth", truth, "--dwell", "20").exit_code == 0
    return path, truth


def test_rows_come_back_with_their_cells_and_regimes(run, simulated):
    path, truth = simulated
    out = path.parent / "out.csv"
    assert run("infer", path, "--model", truth, "--output", out, "--digits", 17).exit_code == 0
    lines, labelled = path.read_text().splitlines(), out.read_text().splitlines()
    assert labelled[0] == lines[0] + ",regime,prob_0,prob_1,prob_2,log_likelihood"
    assert all(after.startswith(before + ",") for before, after in zip(lines, labelled, strict=True))
    table = pd.read_csv(out)
    probs = table[["prob_0", "prob_1", "prob_2"]].to_numpy()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-9)
    assert (probs.argmax(1) == table["regime"]).all()
    assert np.isnan(table["log_likelihood"][0])
    assert np.isfinite(table["log_likelihood"][1:]).all()


def test_the_true_model_gives_the_bayes_optimal_labels(run, simulated):
    """As many rows right as the posterior itself expects."""
    path, truth = simulated
    out = path.parent / "out.csv"
    run("infer", path, "--model", truth, "--output", out)
    table = pd.read_csv(out)
    expected = table[["prob_0", "prob_1", "prob_2"]].max(axis=1)
    right = (table["regime"] == table["true_regime"]).mean()
    assert right == pytest.approx(expected.mean(), abs=4 * np.sqrt((expected * (1 - expected)).sum()) / 600 + 0.02)
    assert right > 0.85


def test_posteriors_differ_where_they_should(run, simulated):
    path, truth = simulated
    labels = {}
    for posterior in ("smooth", "viterbi", "filter"):
        out = path.parent / f"{posterior}.csv"
        assert run("infer", path, "--model", truth, "--output", out, "--posterior", posterior).exit_code == 0
        labels[posterior] = pd.read_csv(out)
    assert (labels["smooth"]["prob_0"] != labels["filter"]["prob_0"]).any()
    assert (labels["smooth"]["prob_0"] == labels["viterbi"]["prob_0"]).all()
    assert len({tuple(table["regime"]) for table in labels.values()}) == 3


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_formats_carry_the_same_labels(run, simulated, suffix):
    path, truth = simulated
    out = path.parent / f"out{suffix}"
    assert run("infer", path, "--model", truth, "--output", out, "--digits", 17).exit_code == 0
    read = {".parquet": pd.read_parquet, ".tsv": lambda p: pd.read_csv(p, sep="\t")}.get(suffix, pd.read_csv)
    plain = path.parent / "plain.csv"
    run("infer", path, "--model", truth, "--output", plain, "--digits", 17)
    found = read(out).astype({"true_regime": int})  # text that rides along stays text in Parquet
    pd.testing.assert_frame_equal(found, pd.read_csv(plain), check_dtype=False, rtol=1e-12)


def test_a_pipe_carries_csv(run, simulated):
    path, truth = simulated
    out = path.parent / "out.csv"
    run("infer", path, "--model", truth, "--output", out)
    piped = run("infer", "-", "--model", truth, "--output", "-", stdin=path.read_text())
    assert piped.exit_code == 0, piped.output
    assert piped.stdout == out.read_text()


def test_only_regimes(run, simulated):
    path, truth = simulated
    out = path.parent / "out.csv"
    assert run("infer", path, "--model", truth, "--output", out, "--only-regimes").exit_code == 0
    assert out.read_text().splitlines()[0] == "t,regime"


def test_columns_of_our_names_are_replaced_with_a_note(run, simulated):
    path, truth = simulated
    once, twice = path.parent / "once.csv", path.parent / "twice.csv"
    run("infer", path, "--model", truth, "--output", once)
    result = run("infer", once, "--model", truth, "--output", twice, "--json")
    assert twice.read_text() == once.read_text()
    assert [warning["code"] for warning in json.loads(result.stdout)["warnings"]] == ["replaced_columns"]


def test_json_adds_up(run, simulated):
    path, truth = simulated
    out, listed = path.parent / "out.csv", path.parent / "segments.csv"
    result = run("infer", path, "--model", truth, "--output", out, "--segments", listed, "--json", "--quiet")
    figures, table = json.loads(result.stdout), pd.read_csv(out)
    assert figures["rows"] == 600
    assert figures["shares"] == [(table["regime"] == k).mean() for k in range(3)]
    assert figures["segments"] == len(pd.read_csv(listed)) == 1 + (table["regime"].diff()[1:] != 0).sum()
    assert figures["log_likelihood_per_row"] == pytest.approx(table["log_likelihood"].mean())


def test_segments_list_every_visit(run, tmp_path, simulated):
    """Two series in one file: rows count from 0 in each, times are those of the file, durations in its step."""
    _, truth = simulated
    path, out, listed = tmp_path / "two.csv", tmp_path / "out.csv", tmp_path / "segments.csv"
    assert run("simulate", path, "--steps", "150", "--series", "2", "--dwell", "20").exit_code == 0
    table = pd.read_csv(path)
    table["t"] *= 10
    table.to_csv(path, index=False)
    assert run("infer", path, "--model", truth, "--output", out, "--segments", listed).exit_code == 0
    found, rows = pd.read_csv(listed), pd.read_csv(out)
    assert list(found.columns) == [
        "series", "segment", "start", "stop", "start_time", "end_time", "regime", "rows", "duration", "mean_prob",
        "start_low", "start_high",
    ]  # fmt: skip
    first = found["start"] == 0
    assert (found["start_low"] <= found["start"]).all() and (found["start"] <= found["start_high"]).all()
    assert (found["start_low"][first] == 0).all() and (found["start_high"][first] == 0).all()
    assert (found["start_high"] - found["start_low"] > 0).any(), "some change is not sure to a row"
    assert (
        run("infer", path, "--model", truth, "--output", out, "--segments", listed, "--posterior", "filter").exit_code
        == 0
    )
    assert pd.read_csv(listed)[["start_low", "start_high"]].isna().all(axis=None), "a filter knows no later row"
    assert found["segment"].tolist() == list(range(len(found)))
    for series, visits in found.groupby("series"):
        mine = rows[rows["series"] == series].reset_index(drop=True)
        assert visits["start"].iloc[0] == 0
        assert visits["stop"].iloc[-1] == 150
        assert (visits["start"].to_numpy()[1:] == visits["stop"].to_numpy()[:-1]).all()
        for visit in visits.itertuples():
            part = mine.iloc[visit.start : visit.stop]
            assert set(part["regime"]) == {visit.regime}
            assert (part["t"].iloc[0], part["t"].iloc[-1]) == (visit.start_time, visit.end_time)
            assert (visit.rows, visit.duration) == (len(part), 10 * len(part))
            assert visit.mean_prob == pytest.approx(part[f"prob_{visit.regime}"].mean())


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(0, 10_000))
def test_segments_do_not_depend_on_the_block_size(run, simulated, monkeypatch, block_rows, seed):
    from gmvae_cli.inference import apply

    path, truth = simulated
    outputs = []
    for size in (block_rows, 1 << 17):
        listed, out = path.parent / "s.csv", path.parent / "o.csv"
        monkeypatch.setitem(apply.infer.__kwdefaults__, "block_rows", size)
        assert run("infer", path, "--model", truth, "--output", out, "--segments", listed).exit_code == 0
        outputs.append((pd.read_csv(out), pd.read_csv(listed)))
    for cut, whole in zip(*outputs, strict=True):
        pd.testing.assert_frame_equal(cut, whole, rtol=1e-7)


def test_several_files_go_to_a_folder(run, tmp_path, simulated):
    _, truth = simulated
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for index, name in enumerate(("a.csv", "deep/b.csv", "deep/broken.csv")):
        run("simulate", tmp_path / "in" / name, "--steps", "50", "--seed", index)
    (tmp_path / "in/deep/broken.csv").write_text("t,x0,x1\n0,1,2\n1,oops,3\n")
    result = run("infer", tmp_path / "in", "--model", truth, "--output", tmp_path / "out", "--quiet", "--json")
    assert result.exit_code == 1
    assert "broken.csv: row 2: column 'x0' holds 'oops'" in result.stderr
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.csv")) == [
        "a.csv",
        "deep/b.csv",
    ]
    before = (tmp_path / "out/a.csv").stat().st_mtime_ns
    (tmp_path / "in/deep/broken.csv").write_text("t,x0,x1\n0,1,2\n1,2,3\n")
    again = run("infer", tmp_path / "in", "--model", truth, "--output", tmp_path / "out", "--skip-existing", "--json")
    assert again.exit_code == 0, again.output
    figures = json.loads(again.stdout)
    assert (figures["files"], figures["skipped"]) == (1, 2)
    assert (tmp_path / "out/a.csv").stat().st_mtime_ns == before


def test_a_series_shorter_than_the_lags_gets_rows_back(run, tmp_path, simulated):
    _, truth = simulated
    path, out = tmp_path / "short.csv", tmp_path / "out.csv"
    path.write_text("series,x0,x1\na,1,2\nb,1,2\nb,2,3\n")
    assert run("infer", path, "--model", truth, "--output", out, "--digits", 17).exit_code == 0
    table = pd.read_csv(out)
    assert table["log_likelihood"].isna().tolist() == [True, True, False]
    np.testing.assert_allclose(table[["prob_0", "prob_1", "prob_2"]].to_numpy()[0], 1 / 3)


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        pytest.param(("missing.csv",), 1, "missing.csv: there is no such file", id="missing file"),
        pytest.param(("few.csv",), 1, "trained on 2 channels (x0, x1), but few.csv has 1 (x0)", id="channels"),
        pytest.param(("ok.csv", "--model", "broken"), 1, "not a gmvae model", id="model"),
        pytest.param(("ok.csv", "--posterior", "encoder"), 1, "this model has no encoder", id="encoder"),
        pytest.param(("ok.csv", "--output", "no/where.csv"), 1, "cannot be written", id="output"),
        pytest.param(("ok.csv", "--output", "out.xls"), 2, "so the format is unknown", id="format"),
        pytest.param(("ok.csv", "few.csv"), 2, "several inputs need a folder", id="several"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(rejection, simulated, monkeypatch, arguments, status, expected):
    path, truth = simulated
    monkeypatch.chdir(path.parent)
    path.rename("ok.csv")
    (path.parent / "few.csv").write_text("t,x0\n0,1\n1,2\n")
    (path.parent / "broken").write_bytes(truth.read_bytes()[:100])
    before = sorted(path.parent.iterdir())
    given_options = {"--model": truth, "--output": "out.csv"}
    options = [part for name, value in given_options.items() if name not in arguments for part in (name, value)]
    assert expected in rejection("infer", *arguments, *options, "--quiet", status=status)
    assert sorted(path.parent.iterdir()) == before


def test_rows_unlike_training_are_warned_about(run, tmp_path):
    path, model, odd = tmp_path / "a.csv", tmp_path / "m.safetensors", tmp_path / "odd.csv"
    run("simulate", path, "--steps", "800", "--regimes", "2")
    assert run("train", path, "--model", model, "--regimes", "2", "--steps", "5", "--restarts", "2").exit_code == 0
    table = pd.read_csv(path)

    def codes():
        table.to_csv(odd, index=False)
        result = run("infer", odd, "--model", model, "--output", tmp_path / "o.csv", "--json", "--quiet")
        return [warning["code"] for warning in json.loads(result.stdout)["warnings"]]

    assert codes() == []
    table["x0"] = table["x0"].sample(frac=1, random_state=0).to_numpy() * 5
    assert codes() == ["unlike_training"]
    table["x0"] = np.nan
    table["x1"] = np.nan
    assert codes() == ["no_evidence"]


def test_channels_other_than_the_models_are_rejected(rejection, simulated):
    path, truth = simulated
    line = rejection("infer", path, "--model", truth, "--output", "o.csv", "--channels", "x0", status=1)
    assert "trained on 2 channels (x0, x1), but --channels names x0" in line


def test_segments_are_laid_out_like_the_rows(run, simulated):
    path, truth = simulated
    listed = path.parent / "s.csv"
    arguments = ("--model", truth, "--output", path.parent / "o.csv", "--segments", listed)
    semicolons = path.parent / "semicolons.csv"
    semicolons.write_text(path.read_text().replace(",", ";").replace(".", ","))
    assert run("infer", semicolons, *arguments, "--decimal", ",").exit_code == 0
    assert ";" in listed.read_text().splitlines()[0]
    assert pd.read_csv(listed, sep=";", decimal=",")["mean_prob"].between(0.3, 1).all()


def test_a_series_that_is_one_segment_is_labelled(run, tmp_path, simulated):
    path, model = tmp_path / "short.csv", simulated[1]
    path.write_text("series,t,x0,x1\n" + "".join(f"a,{t},0.1,0.2\n" for t in range(5)))
    listed = tmp_path / "segments.csv"
    result = run("infer", path, "--model", model, "--output", tmp_path / "o.csv", "--segments", listed)
    assert result.exit_code == 0, result.output
    assert len(listed.read_text().splitlines()) == 2


def test_min_dwell_is_heeded_remembered_and_overruled(run, tmp_path):
    """Rows of two levels with single rows of the other level among them, one a minute."""
    rng = np.random.default_rng(0)
    level = np.repeat(np.arange(8) % 2, 60)
    level[rng.choice(480, 30, replace=False)] ^= 1
    stamps = [f"2024-01-01 {t // 60:02d}:{t % 60:02d}:00" for t in range(480)]
    cells = 3 * level + 0.5 * rng.normal(size=480)
    series, model = tmp_path / "series.csv", tmp_path / "model.safetensors"
    series.write_text("\n".join(["time,x", *(f"{a},{b:.4f}" for a, b in zip(stamps, cells, strict=True)), ""]))
    fast = ("--regimes", 2, "--steps", 10, "--restarts", 2, "--evidence-scale", 1)
    assert run("train", series, "--model", model, *fast).exit_code == 0

    def labelled(*options, model=model):
        out, segments = tmp_path / "out.csv", tmp_path / "segments.csv"
        result = run("infer", series, "--model", model, "--output", out, "--segments", segments, "--json", *options)
        assert result.exit_code == 0, result.stderr
        codes = {warning["code"] for warning in json.loads(result.stdout)["warnings"]}
        table = pd.read_csv(out)
        return table, pd.read_csv(segments)["rows"], codes

    plain, rows, codes = labelled()
    assert rows.min() < 5 and not codes & {"min_dwell_as_trained", "min_dwell_dropped"}
    lasting, rows, _ = labelled("--min-dwell", "5")
    assert rows.min() >= 5
    assert lasting["prob_0"].tolist() == plain["prob_0"].tolist()
    for options in (("--min-dwell", "5min"), ("--min-dwell", "241s"), ("--min-dwell", "5", "--posterior", "viterbi")):
        assert labelled(*options)[0]["regime"].tolist() == lasting["regime"].tolist()
    remembers = tmp_path / "remembers.safetensors"
    assert run("train", series, "--model", remembers, *fast, "--min-dwell", "5min").exit_code == 0
    _, rows, codes = labelled(model=remembers)
    assert rows.min() >= 5 and "min_dwell_as_trained" in codes
    _, rows, codes = labelled("--min-dwell", "1", model=remembers)
    assert rows.min() < 5 and "min_dwell_as_trained" not in codes
    _, rows, codes = labelled("--posterior", "filter", model=remembers)
    assert rows.min() < 5 and "min_dwell_dropped" in codes
    wrong = run(
        "infer", series, "--model", model, "--output", tmp_path / "o.csv", "--min-dwell", 5, "--posterior", "filter"
    )
    assert wrong.exit_code == 2 and "filter" in wrong.stderr
    for text, status in (("0", 2), ("soon", 2), ("2000000", 2)):
        assert (
            run("infer", series, "--model", model, "--output", tmp_path / "o.csv", "--min-dwell", text).exit_code
            == status
        )
