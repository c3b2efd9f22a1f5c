import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import recovery

from gmvae_cli.checkpoint import load
from gmvae_cli.files.csv_table import CsvTable
from gmvae_cli.inference import apply
from gmvae_cli.outputs.label_table import TableLabels

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recorded(tmp_path):
    """A file of 1,200 rows: two levels under slow noise, in four stretches, with the truth beside them."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 0, 1], 300)
    noise = np.convolve(rng.normal(size=1_200 + 19), np.ones(20) / 20, "valid")
    values = np.column_stack([true * 1.5 + noise, rng.normal(size=1_200) * (1 + 2 * true)])
    rows = (f"{t},{a:.5f},{b:.5f},{label}" for t, ((a, b), label) in enumerate(zip(values, true, strict=True)))
    path = tmp_path / "recorded.csv"
    path.write_text("\n".join(["t,x0,x1,true_regime", *rows, ""]))
    return path


def raised(error):
    raise error


def test_one_command_gives_labels_picture_segments_and_model(run, recorded, tmp_path):
    out, picture, model, listed = (tmp_path / name for name in ("out.csv", "out.png", "out.safetensors", "list.csv"))
    options = ["--regimes", 2, "--plot", picture, "--model", model, "--segments", listed, "--json"]
    result = run("segment", recorded, "--output", out, *options)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["rows"] == 1_200 and found["regimes"] == 2
    assert found["output"] == str(out) and found["plot"] == str(picture) and found["model"] == str(model)
    assert len(found["shares"]) == len(found["expected_dwell"]) == 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert load(str(model)).model.summarize == found["summarize"]
    assert len(pyarrow.csv.read_csv(listed)) == found["segments"]
    scores = json.loads(run("evaluate", out, "--json").stdout)
    assert scores["ari"] > 0.9


def test_an_absent_device_is_reported_before_the_file_is_read(rejection, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("t,x0\n1,no number\n")
    line = rejection("segment", path, "--output", tmp_path / "out.csv", "--device", "cuda:99", status=1)
    assert line.startswith("--device is 'cuda:99', but this machine has only: cpu")


def test_the_same_command_gives_the_same_bytes_and_tomorrow_uses_the_model(run, recorded, tmp_path):
    outputs = []
    for name in ("one", "two"):
        out, model = tmp_path / f"{name}.csv", tmp_path / f"{name}.safetensors"
        assert run("segment", recorded, "--output", out, "--model", model, "--regimes", 2).exit_code == 0
        outputs.append((out.read_bytes(), model.read_bytes()))
    assert outputs[0] == outputs[1]
    again = tmp_path / "again.csv"
    assert run("infer", recorded, "--model", tmp_path / "one.safetensors", "--output", again).exit_code == 0
    assert again.read_bytes() == outputs[0][0]


def test_rows_from_stdin_go_to_stdout(run, recorded):
    result = run("segment", "-", "--output", "-", "--regimes", 2, stdin=recorded.read_text())
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 1_201
    assert lines[0].startswith("t,x0,x1,true_regime,regime,prob_0,prob_1")
    assert "1,200 rows labelled" in result.stderr


def test_an_expected_dwell_leads(run, recorded, tmp_path):
    result = run("segment", recorded, "--output", tmp_path / "o.csv", "--regimes", 2, "--expect-dwell", 300, "--json")
    found = json.loads(result.stdout)
    assert min(found["expected_dwell"]) > 80


def test_what_misleads_is_said_before_the_search_and_once(run, recorded, tmp_path, monkeypatch, few_counts):
    recorded.write_text("\n".join(["x0", *(f"{x / 30 + x % 7:.3f}" for x in range(900)), ""]))
    whole = run("segment", recorded, "--output", tmp_path / "o.csv", "--regimes", 2).stderr

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("gmvae_cli.selection.multiscale.choose", interrupted)
    early = run("segment", recorded, "--output", tmp_path / "o.csv", "--regimes", 2).stderr
    assert "follows a trend" in early and early.endswith("interrupted\n")
    assert whole.count("follows a trend") == 1


def test_the_file_is_parsed_twice_and_labelled_once(run, recorded, tmp_path, monkeypatch):
    """Parsed to learn, and to write beside its cells; the regimes are numbered by what training knows of the rows."""
    passes, labellings = [], []
    blocks, infer = CsvTable.blocks, apply.infer

    def counted_blocks(self, columns=None, first=0):
        yield from blocks(self, columns, first)
        passes.append(columns)  # a whole pass, not a look at the first block

    def counted_infer(*arguments, **options):
        labellings.append(arguments)
        return infer(*arguments, **options)

    monkeypatch.setattr(CsvTable, "blocks", counted_blocks)
    monkeypatch.setattr(apply, "infer", counted_infer)
    options = ["--regimes", 2, "--plot", tmp_path / "o.png", "--model", tmp_path / "o.safetensors"]
    assert run("segment", recorded, "--output", tmp_path / "o.csv", *options).exit_code == 0
    assert len(passes) == 2
    assert len(labellings) == 1


def test_the_picture_is_that_of_the_labelled_file(run, recorded, tmp_path, monkeypatch):
    """A channel that never changes is drawn too, though the model leaves it out."""
    monkeypatch.chdir(tmp_path)
    header, *rows = recorded.read_text().splitlines()
    recorded.write_text("\n".join([f"constant,{header}", *(f"7.5,{row}" for row in rows), ""]))
    assert run("segment", recorded, "--output", "o.csv", "--regimes", 2, "--plot", "a.png").exit_code == 0
    assert run("plot", "o.csv", "--output", "b.png").exit_code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert run("segment", recorded, "--output", "-", "--regimes", 2, "--plot", "c.png").exit_code == 0
    assert Path("c.png").stat().st_size > 0


def test_a_reader_that_stops_early_leaves_the_model(run, recorded, tmp_path, monkeypatch):
    """`segment --output - --model M | head`: status 0, and the model that was asked for."""
    monkeypatch.setattr(TableLabels, "write", lambda *arguments: raised(BrokenPipeError))
    model = tmp_path / "m.safetensors"
    result = run("segment", recorded, "--output", tmp_path / "o.csv", "--regimes", 2, "--model", model)
    assert result.exit_code == 0
    assert load(str(model)).model.regimes == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors", "recorded.csv"]


@pytest.mark.slow
def test_spikes_are_named_and_heavy_tails_look_past_them(run, tmp_path):
    """With Normal noise likelihood spends a regime on them."""
    series, out, ari = tmp_path / "spiky.csv", tmp_path / "out.csv", {}
    options = ["--steps", 5_000, "--channels", 3, "--dwell", 100, "--outliers", 0.01, "--seed", 3]
    assert run("simulate", series, *options).exit_code == 0
    for noise in ("normal", "student"):
        result = run("segment", series, "--output", out, "--regimes", 3, "--noise", noise, "--json")
        assert result.exit_code == 0, result.stderr
        codes = [warning["code"] for warning in json.loads(result.stdout)["warnings"]]
        assert ("heavy_tails" in codes) == (noise == "normal")
        ari[noise] = json.loads(run("evaluate", out, "--json").stdout)["ari"]
    assert ari["student"] > 0.9 > ari["normal"] + 0.2, ari


@pytest.mark.slow
def test_regimes_that_no_time_scales_agree_on_are_doubted(run, recorded, tmp_path):
    """Skewed noise all through: one regime; where three are asked for, they are said to hang in the air."""
    rows = np.random.default_rng(0).exponential(size=2_000)
    recorded.write_text("\n".join(["x0", *(f"{x:.5f}" for x in rows), ""]))
    assert json.loads(run("segment", recorded, "--output", tmp_path / "o.csv", "--json").stdout)["regimes"] == 1
    result = run("segment", recorded, "--output", tmp_path / "o.csv", "--regimes", 3, "--json")
    found = json.loads(result.stdout)
    assert found["agreement"] < 0.4
    assert "little_agreement" in [one["code"] for one in found["warnings"]]


@pytest.mark.parametrize("rows", [6, 24])
def test_a_short_recording_gets_labels_or_one_line(run, recorded, tmp_path, rows):
    """24 rows are enough for some answer; 6 rows are too few for two regimes of two channels."""
    short, out = tmp_path / "short.csv", tmp_path / "o.csv"
    short.write_text("".join(recorded.read_text().splitlines(keepends=True)[: rows + 1]))
    result = run("segment", short, "--output", out, "--regimes", 2, "--quiet")
    if rows == 6:
        assert result.exit_code == 1 and "give more rows" in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not out.exists()
    else:
        assert result.exit_code == 0, result.stderr
        assert len(out.read_text().splitlines()) == rows + 1


def test_a_dry_run_writes_nothing(run, recorded, tmp_path):
    result = run("segment", recorded, "--output", tmp_path / "o.csv", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "1,200" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recorded.csv"]


@pytest.mark.parametrize(("options", "regimes"), [([], 2), (["--regimes", 2], 2)], ids=["auto", "given"])
def test_few_rows_are_labelled_without_windows(run, tmp_path, few_counts, options, regimes):
    """12 rows on two levels hold no window of 4 rows for each of two regimes, so there is no view to choose."""
    path = tmp_path / "few.csv"
    levels = np.repeat([0.0, 9.0], 6) + np.random.default_rng(0).normal(size=12)
    path.write_text("x0\n" + "\n".join(f"{x:.4f}" for x in levels) + "\n")
    result = run("segment", path, "--output", tmp_path / "o.csv", *options, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["rows"], found["regimes"], found["agreement"]) == (12, regimes, None)


def test_too_few_rows_are_rejected_before_the_search(rejection, tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("x0\n0.1\n0.5\n0.2\n")
    assert "give more rows" in rejection("segment", path, "--output", tmp_path / "o.csv", status=1)
    assert "40 regimes" in rejection("segment", path, "--output", tmp_path / "o.csv", "--regimes", 40, status=1)


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        pytest.param(["--output", "o.xyz"], 2, "ends in none of .csv", id="unknown table"),
        pytest.param(["--output", "recorded.csv", "--model", "recorded.csv"], 2, "the same file", id="one for two"),
        pytest.param(["--output", "no/o.csv"], 1, "there is no folder 'no'", id="no folder"),
        pytest.param(
            ["--output", "o.csv", "--regimes", "many"], 2, "must be auto or a whole number", id="regimes in words"
        ),
        pytest.param(["--output", "o.csv", "--regimes", "0"], 2, "must be at least 1", id="no regimes"),
        pytest.param(["--output", "o.csv", "--plot", "a.bmp"], 2, "ends in none of .png", id="unknown picture"),
    ],
)
def test_rejections(rejection, recorded, tmp_path, monkeypatch, options, status, words):
    monkeypatch.chdir(tmp_path)
    assert words in rejection("segment", recorded, *options, status=status)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recorded.csv"]


@pytest.mark.slow
def test_a_model_of_waveforms_labels_the_same_file_alike_and_is_inspected(run, tmp_path):
    """Sines and squares of one period: segment, then infer, inspect and evaluate with the model that it wrote."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 0, 1], 1_000)
    sine = np.sin(2 * np.pi * np.arange(4_000) / 40)
    values = np.where(true == 0, np.sqrt(2) * sine, np.sign(sine)) + 0.2 * rng.normal(size=4_000)
    source, labelled, again, model = (tmp_path / name for name in ("in.csv", "a.csv", "b.csv", "m.safetensors"))
    source.write_text("\n".join(["x", *(f"{value:.5f}" for value in values), ""]))
    result = run("segment", source, "--output", labelled, "--model", model, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["regimes"], found["segments"]) == (2, 4)
    assert load(str(model)).model.waveforms == 8
    assert run("infer", source, "--model", model, "--output", again).exit_code == 0
    found, repeated = (pyarrow.csv.read_csv(path)["regime"].to_numpy() for path in (labelled, again))
    np.testing.assert_array_equal(found, repeated)
    assert recovery.ari(true, found) > 0.95
    assert "waveform 0" in run("inspect", model, "--json").stdout
