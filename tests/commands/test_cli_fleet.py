"""`infer` over many files: one list of segments, what became of each file, and metrics of the run."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from gmvae_cli.checkpoint import load
from gmvae_cli.cluster.labelling import DealtLabelling
from gmvae_cli.cluster.whole_files import FileLabelling
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.inputs import expand
from gmvae_cli.outputs.segment_list import open_segment_list
from gmvae_cli.system.progress import silent

SIZES = {"a": 120, "b": 150, "north/c": 90}
FIGURES = ("rows", "segments", "log_likelihood_per_row", "novel_share", "unknown_share")


@pytest.fixture
def fleet(run, tmp_path, monkeypatch):
    """Three recordings in a folder, and a model whose regimes have names but for one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/north").mkdir(parents=True)
    options = ("--dwell", 20, "--truth", "m.safetensors", "--quiet")
    assert run("simulate", "a.csv", "--steps", 10, *options).exit_code == 0
    assert run("rename", "m.safetensors", "0=idle", "2=run, fast").exit_code == 0
    for seed, (name, rows) in enumerate(SIZES.items()):
        model = ("--model", "m.safetensors", "--seed", seed, "--quiet")
        assert run("simulate", f"in/{name}.csv", "--steps", rows, *model).exit_code == 0
    return tmp_path


@pytest.fixture
def infer(run, fleet):
    def infer(*options, source="in", output="out", status=0):
        model = ("--model", "m.safetensors", "--output", output)
        result = run("infer", source, *model, "--novelty", "--json", "--quiet", *options)
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

    return infer


def bad_file():
    Path("in/bad.csv").write_text("t,x0,x1\n0,1,2\n1,oops,3\n")


def age(*paths, seconds):
    """Make files older."""
    for path in paths:
        then = os.stat(path).st_mtime - seconds
        os.utime(path, (then, then))


def codes(result):
    return [warning["code"] for warning in result["warnings"]]


# --- segments --------------------------------------------------------------------------------------------------------


def test_one_list_has_the_segments_of_each_file(infer):
    bad_file()
    result = infer("--segments", "list.csv", status=1)
    assert result["segments_file"] == "list.csv"
    found = pd.read_csv("list.csv")
    assert list(found["file"].unique()) == ["a.csv", "b.csv", "north/c.csv"]
    assert len(found) == result["segments"]
    for name in SIZES:
        infer("--segments", "one.csv", source=f"in/{name}.csv", output="one_out.csv")
        mine = found[found["file"] == f"{name}.csv"].drop(columns="file").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, pd.read_csv("one.csv"))


def test_a_file_that_fails_late_has_no_segments_and_counts_nowhere(infer, monkeypatch):
    from gmvae_cli.outputs import label_table

    monkeypatch.setattr(label_table, "BLOCK_ROWS", 40)
    plain = label_table.TableLabels._labelled

    def fails(self, cells, block):
        if self._data.name == "in/b.csv" and self._row >= 80:
            raise SeriesError("in/b.csv: the disk is on fire")
        return plain(self, cells, block)

    monkeypatch.setattr(label_table.TableLabels, "_labelled", fails)
    result = infer("--segments", "list.csv", "--summary", "sum.csv", status=1)
    found, summary = pd.read_csv("list.csv"), pd.read_csv("sum.csv")
    assert list(found["file"].unique()) == ["a.csv", "north/c.csv"]
    assert (result["rows"], result["segments"]) == (SIZES["a"] + SIZES["north/c"], len(found))
    assert list(summary["status"]) == ["labelled", "failed", "labelled"]
    assert summary["reason"][1] == "in/b.csv: the disk is on fire"


def test_a_disk_that_is_full_of_waiting_segments_is_a_failure_of_the_file(infer, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gmvae_cli.outputs.segment_list.tempfile.TemporaryFile", full)
    result = infer("--segments", "list.csv", "--summary", "sum.csv", status=1)
    assert len(result["failures"]) == 3 and "No space left on device" in result["failures"][0]
    assert result["segments_file"] is None and not os.path.exists("list.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_files_left_as_they_are_keep_segments_and_figures(infer, suffix):
    names = f"list{suffix}", f"sum{suffix}"
    options = ("--segments", names[0], "--summary", names[1])
    infer(*options)
    whole = [Path(name).read_bytes() for name in names]
    os.unlink("out/north/c.csv")
    result = infer(*options, "--skip-existing")
    assert (result["files"], result["skipped"], codes(result)) == (1, 2, [])
    assert Path(names[0]).read_bytes() == whole[0] or suffix == ".parquet"
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda path: pd.read_json(path, lines=True)}
    assert list(read[suffix](names[0])["file"].unique()) == ["a.csv", "b.csv", "north/c.csv"]
    assert infer(*options, "--skip-existing")["segments_file"] == names[0]
    summary = read[suffix](names[1])
    assert list(summary["status"]) == ["skipped"] * 3
    Path(f"whole{suffix}").write_bytes(whole[1])
    pd.testing.assert_frame_equal(summary.drop(columns="status"), read[suffix](f"whole{suffix}").drop(columns="status"))


def test_what_an_earlier_table_cannot_know_is_said(infer):
    options = ("--segments", "list.csv", "--summary", "sum.csv", "--skip-existing")
    infer()
    result = infer(*options)
    assert codes(result) == ["segments_missing"]
    assert not os.path.exists("list.csv"), "no segment is known"
    summary = pd.read_csv("sum.csv")
    assert list(summary["status"]) == ["skipped"] * 3 and summary["rows"].isna().all()
    infer(*options[:-1])
    age("list.csv", "sum.csv", seconds=100)  # as if the outputs had been made again since, without them
    result = infer(*options)
    assert codes(result) == ["segments_missing"]
    assert pd.read_csv("sum.csv")["rows"].isna().all()


def test_a_list_of_other_columns_is_not_mixed(infer):
    infer("--segments", "list.csv")
    os.unlink("out/a.csv")
    table = pd.read_csv("list.csv").drop(columns="novelty")
    table.to_csv("list.csv", index=False)
    result = infer("--segments", "list.csv", "--skip-existing")
    assert codes(result) == ["segments_missing"]
    assert list(pd.read_csv("list.csv")["file"].unique()) == ["a.csv"]


def test_files_of_other_types_of_time_need_a_list_of_text(infer):
    table = pd.read_csv("in/b.csv")
    table["t"] = pd.date_range("2024-01-01", periods=len(table), freq="s")
    table.to_csv("in/b.csv", index=False)
    infer("--segments", "list.csv")
    for name in ("a", "b", "north/c"):
        part = pd.read_csv(f"in/{name}.csv", parse_dates=["t"] if name == "b" else None)
        part.to_parquet(f"in/{name}.parquet")
        os.unlink(f"in/{name}.csv")
    result = infer("--segments", "list.parquet", status=1)
    assert len(result["failures"]) == 1 and "name a .csv for --segments" in result["failures"][0]
    assert not os.path.exists("out/b.parquet"), "it failed"
    assert set(pd.read_parquet("list.parquet")["file"]) == {"a.parquet", "north/c.parquet"}


# --- summary ---------------------------------------------------------------------------------------------------------


def test_a_line_says_what_became_of_each_file(infer):
    bad_file()
    result = infer("--summary", "sum.jsonl", "--unknown", 6, status=1)
    lines = [json.loads(line) for line in Path("sum.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["a.csv", "b.csv", "bad.csv", "north/c.csv"]
    bad = lines.pop(2)
    assert (bad["status"], bad["reason"], bad["rows"]) == ("failed", result["failures"][0], None)
    assert sum(line["rows"] for line in lines) == result["rows"]
    assert sum(line["segments"] for line in lines) == result["segments"]
    for line, (name, rows) in zip(lines, SIZES.items(), strict=True):
        one = infer("--unknown", 6, source=f"in/{name}.csv", output="one.csv")
        assert (line["output"], line["status"], line["rows"]) == (f"out/{name}.csv", "labelled", rows)
        assert [line["share_idle"], line["share_1"], line["share_run, fast"]] == one["shares"]
        assert {key: line[key] for key in FIGURES} == {key: one[key] for key in FIGURES}
        assert line["novel_since"] == one["novel_since"] and line["warnings"] == " ".join(codes(one))


def test_parts_of_one_table_have_figures_of_their_own(infer, fleet):
    whole = pd.concat([pd.read_csv("in/a.csv"), pd.read_csv("in/b.csv")], ignore_index=True).assign(series="press")
    whole["t"] = range(len(whole))
    whole.loc[200, "x0"] = 1e6
    os.mkdir("parts")
    whole[:150].to_csv("parts/1.csv", index=False)
    whole[150:].to_csv("parts/2.csv", index=False)
    whole.to_csv("whole.csv", index=False)
    one = infer("--segments", "one.csv", source="whole.csv", output="whole_out.csv")
    result = infer("--segments", "list.csv", "--summary", "sum.csv", source="parts")
    found, summary = pd.read_csv("list.csv"), pd.read_csv("sum.csv")
    assert list(found.pop("file").unique()) == ["1.csv", "2.csv"]
    pd.testing.assert_frame_equal(found, pd.read_csv("one.csv"))
    assert result["segments"] == one["segments"] and result["rows"] == summary["rows"].sum() == len(whole)
    assert result["log_likelihood_per_row"] == pytest.approx(one["log_likelihood_per_row"], rel=1e-9)
    for figures, other in zip(result["profile"], one["profile"], strict=True):
        assert (figures["rows"], figures["visits"]) == (other["rows"], other["visits"])
    assert summary["novel_since"].isna()[0] and summary["novel_since"][1] == "parts/2.csv, row 51, t 200"
    labels = pd.read_csv("out/2.csv")
    assert summary["share_idle"][1] == pytest.approx((labels["regime"] == 0).mean())


def test_one_file_has_a_summary_even_if_it_fails(infer, run):
    infer("--summary", "sum.csv", source="in/a.csv", output="a_out.csv")
    infer("--summary", "sum.csv", "--skip-existing", source="in/a.csv", output="a_out.csv")
    assert pd.read_csv("sum.csv")[["file", "status", "rows"]].to_numpy().tolist() == [["a.csv", "skipped", 120]]
    bad_file()
    result = run("infer", "in/bad.csv", "--model", "m.safetensors", "--output", "o.csv", "--summary", "sum.csv")
    assert result.exit_code == 1 and result.stdout == ""
    summary = pd.read_csv("sum.csv")
    assert list(summary["status"]) == ["failed"] and summary["reason"][0] == result.stderr.strip()


def test_names_of_any_letters_are_told_apart(infer, run):
    os.rename("in/b.csv", 'in/a, "b" \u00e9\n.csv')
    Path(os.fsdecode(b"in/c\xff.csv")).write_text("t,x0,x1\n0,1,2\n")
    for suffix in ("csv", "parquet", "jsonl"):
        result = infer("--summary", f"sum.{suffix}", "--segments", f"list.{suffix}", status=1)
        assert result["failures"] == [
            "in/c\\udcff.csv: the name is not UTF-8, which no table can be opened by; rename it"
        ]
    names = ['a, "b" \u00e9\n.csv', "a.csv", "c\\udcff.csv", "north/c.csv"]
    assert list(pd.read_csv("sum.csv")["file"]) == list(pd.read_parquet("sum.parquet")["file"]) == names
    assert set(pd.read_csv("list.csv")["file"]) == set(pd.read_parquet("list.parquet")["file"]) == {*names} - {names[2]}


def test_decimal_commas_come_back(infer):
    options = ("--summary", "sum.csv", "--segments", "list.csv", "--decimal", ",")
    for name in SIZES:
        table = pd.read_csv(f"in/{name}.csv")
        table.to_csv(f"in/{name}.csv", index=False, sep=";", decimal=",")
    infer(*options)
    before = [Path(name).read_text() for name in ("sum.csv", "list.csv")]
    infer(*options, "--skip-existing")
    after = [Path(name).read_text() for name in ("sum.csv", "list.csv")]
    assert [text.replace("skipped", "labelled") for text in after] == before


@pytest.mark.parametrize("option", ["--summary", "--segments"])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("in/a.csv", "the same file as"),
        ("out/a.csv", "the same file as"),
        ("m.safetensors", "the same file as"),
        ("in/table.csv", "which the next run would read"),
        ("table.txt", "its name must end in one of"),
        ("-", "needs the name of a file"),
    ],
)
def test_a_table_that_replaces_something_is_rejected(rejection, fleet, option, path, words):
    arguments = ("infer", "in", "--model", "m.safetensors", "--output", "out", option, path)
    assert words in rejection(*arguments, status=2)
    assert not os.path.exists("out")


def test_a_pattern_that_would_name_the_summary_is_noticed(rejection, fleet):
    arguments = ("infer", "in/*.csv", "--model", "m.safetensors", "--output", "out", "--summary")
    assert "which the next run would read" in rejection(*arguments, "in/sum.csv", status=2)
    assert "there is no folder" in rejection(*arguments, "no/sum.csv", status=1)


# --- metrics ---------------------------------------------------------------------------------------------------------


def metrics(path):
    """The samples of a file: (name, labels without the run) -> value."""
    parser = pytest.importorskip("prometheus_client.parser")
    families = parser.text_string_to_metric_families(Path(path).read_text())
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels.pop("run") for sample in samples} == {"press"}
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples}


def test_metrics_say_what_the_summary_says(infer):
    pytest.importorskip("prometheus_client")
    bad_file()
    result = infer("--metrics", "press.prom", "--summary", "sum.csv", status=1)
    found, summary = metrics("press.prom"), pd.read_csv("sum.csv").set_index("file")
    assert found["gmvae_files", ("status", "labelled")] == 3 and found["gmvae_files", ("status", "failed")] == 1
    assert found["gmvae_rows",] == result["rows"] == sum(SIZES.values())
    assert found["gmvae_novel_rows",] == result["novel_share"] * found["gmvae_judged_rows",]
    assert found["gmvae_log_likelihood_per_row",] == result["log_likelihood_per_row"]
    assert found["gmvae_regime_share", ("name", "idle"), ("regime", "0")] == result["shares"][0]
    assert found["gmvae_last_run_timestamp_seconds",] > 1.7e9 and found["gmvae_run_duration_seconds",] > 0
    assert ("gmvae_unknown_rows",) not in found, "it was not asked for"
    for file, line in summary.iterrows():
        assert found["gmvae_file_failed", ("file", file)] == (line["status"] == "failed")
        if line["status"] == "labelled":
            assert found["gmvae_file_rows", ("file", file)] == line["rows"]
            share = found["gmvae_file_regime_share", ("file", file), ("name", "run, fast"), ("regime", "2")]
            assert share == line["share_run, fast"]
    assert ("gmvae_file_rows", ("file", "bad.csv")) not in found


def test_metrics_of_very_many_files_are_those_of_the_run(infer, monkeypatch):
    pytest.importorskip("prometheus_client")
    monkeypatch.setattr("gmvae_cli.outputs.metrics_file.MOST_FILES", 2)
    infer("--metrics", "press.prom")
    assert not [name for name, *_ in metrics("press.prom") if name.startswith("gmvae_file_")]


def test_metrics_need_a_name_that_the_collector_reads(rejection, fleet, monkeypatch):
    arguments = ("infer", "in", "--model", "m.safetensors", "--output", "out", "--metrics")
    assert "names that end in .prom" in rejection(*arguments, "press.txt", status=2)
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    assert "pip install 'gmvae[metrics]'" in rejection(*arguments, "press.prom", status=1)


# --- workers ---------------------------------------------------------------------------------------------------------


def test_workers_give_the_same_list_and_the_same_figures(fleet):
    from cluster.engines import FaultyEngine

    bad_file()
    checkpoint, found = load("m.safetensors"), []
    for path, dealt in (("one.csv", False), ("many.csv", True)):
        work = FileLabelling(checkpoint, "m.safetensors", InferConfig(novelty=True), SeriesConfig(), silent)
        with open_segment_list(path, SeriesConfig()) as segments:
            target = DealtLabelling(FaultyEngine(), work, 50, path) if dealt else work
            target.label_folder(expand(["in"]), "out", False, segments)
        found.append((Path(path).read_text(), work.outcomes.records.in_order(expand(["in"]))))
    assert found[0] == found[1]


def test_the_segments_of_one_table_in_parts_are_labels_of_one_process(rejection, fleet):
    for name in ("a", "b"):
        pd.read_csv(f"in/{name}.csv").assign(series=name).to_csv(f"in/{name}.csv", index=False)
    arguments = ("infer", "in/?.csv", "--model", "m.safetensors", "--output", "out", "--segments", "s.csv")
    assert "leave out --engine and --workers" in rejection(*arguments, "--workers", 1, status=2)
