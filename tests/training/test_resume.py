"""An interrupted training goes on where it stopped and ends with the same tensors, bit for bit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from gmvae_cli.cli.app import app
from gmvae_cli.cli.error_boundary import _Terminated
from gmvae_cli.errors import CheckpointError
from gmvae_cli.training import fit, resume
from gmvae_cli.training.resume import ResumeFile

FAST = ("--regimes", "2", "--steps", "100", "--restarts", "1", "--quiet")
PHASES = ("start", "first encoder", "anneal", "sample", "encoder", "all rows", "pass", "last encoder")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A simulated file of 2,000 rows, some cells of which are missing."""
    path = tmp_path_factory.mktemp("resume") / "a.csv"
    arguments = ["simulate", str(path), "--steps", "2000", "--regimes", "2", "--missing", "0.01"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Passes over all rows in blocks of 1,000, so that a run can stop between two; short encoder phases; a folder."""
    blocks = fit.LaggedRows.blocks
    monkeypatch.setattr(fit.LaggedRows, "blocks", lambda self, first=0: blocks(self, 1000, first))
    monkeypatch.setattr(fit, "_ENCODER_STEPS", 40)
    monkeypatch.chdir(tmp_path)


def train(run, path, *options, model="m.safetensors"):
    return run("train", path, "--model", model, *FAST, *options)


_whole = {}


def whole(run, path, *options):
    """The bytes of the model that a run without interruption gives."""
    if options not in _whole:
        assert train(run, path, *options, model="whole.safetensors").exit_code == 0
        _whole[options] = Path("whole.safetensors").read_bytes()
    return _whole[options]


@pytest.fixture
def stops(run, monkeypatch):
    """Train until the resume log has taken so many records of a phase, then have a signal arrive."""

    def stops(path, phase, records, *options, error=KeyboardInterrupt):
        record, seen = ResumeFile.record, []

        def stop(self, name, *arguments, **others):
            state = record(self, name, *arguments, **others)
            seen.append(name)
            if seen.count(phase) == records:
                raise error
            return state

        with monkeypatch.context() as context:
            context.setattr(ResumeFile, "record", stop)
            return train(run, path, *options)

    return stops


_stopped = []


@pytest.fixture
def stopped(stops, series):
    """The resume file of a run that was interrupted in the annealing."""
    path = Path("m.safetensors.resume")
    if not _stopped:
        assert stops(series, "anneal", 5).exit_code == 130
        _stopped.append(path.read_bytes())
    path.write_bytes(_stopped[0])
    return path


@pytest.mark.parametrize(
    ("phase", "records"),
    [
        ("start", 1),
        ("anneal", 7),
        ("pass", 2),
        *(pytest.param(phase, 1, marks=pytest.mark.slow) for phase in PHASES[1:]),
        *(
            pytest.param(phase, n, marks=pytest.mark.slow)
            for phase, n in (("encoder", 40), ("pass", 3), ("all rows", 3))
        ),
    ],
)
def test_a_resumed_run_ends_with_the_same_bytes(run, stops, series, phase, records):
    stopped = stops(series, phase, records)
    assert stopped.exit_code == 130
    line = "interrupted; m.safetensors.resume keeps what is done, --resume goes on from there\n"
    assert stopped.stderr == line
    assert os.listdir() == ["m.safetensors.resume"]
    done = train(run, series, "--resume", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["resumed"]
    assert os.listdir() == ["m.safetensors"]
    assert (Path("m.safetensors").read_bytes() == whole(run, series)) is True


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("--prior", "iid"), ("--covariance", "shared", "--lags", "2"), ("--estimator", "exact", "--no-intercept")],
)
def test_every_kind_of_model_resumes(run, stops, series, options):
    assert stops(series, "pass", 1, *options).exit_code == 130
    assert train(run, series, *options, "--resume").exit_code == 0
    assert (Path("m.safetensors").read_bytes() == whole(run, series, *options)) is True


def test_what_is_done_is_not_done_again(run, stops, series, monkeypatch):
    assert stops(series, "anneal", 15).exit_code == 130
    steps = []
    record = ResumeFile.record

    def count(self, name, *arguments, **others):
        steps.append(name)
        return record(self, name, *arguments, **others)

    monkeypatch.setattr(fit, "best_start", None)
    monkeypatch.setattr(ResumeFile, "record", count)
    assert train(run, series, "--resume").exit_code == 0
    assert steps.count("anneal") == 5
    assert steps.count("first encoder") == 0


def test_sigterm_saves_and_is_143(run, stops, series):
    stopped = stops(series, "anneal", 5, error=_Terminated)
    assert stopped.exit_code == 143
    assert stopped.stderr.startswith("terminated; ")
    assert train(run, series, "--resume").exit_code == 0


def test_a_signal_that_a_library_swallows_is_an_interruption_all_the_same(stops, run, series):
    class SwallowedError(AttributeError):
        def __init__(self):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    stopped = stops(series, "anneal", 5, error=SwallowedError)
    assert stopped.exit_code == 130
    assert stopped.stderr == "interrupted; m.safetensors.resume keeps what is done, --resume goes on from there\n"
    assert train(run, series, "--resume").exit_code == 0


def test_nothing_to_resume_is_a_new_run(run, series):
    result = train(run, series, "--resume", "--json")
    assert result.exit_code == 0
    assert not json.loads(result.stdout)["resumed"]


def test_without_resume_a_run_starts_anew(run, stops, series):
    assert stops(series, "encoder", 5, "--seed", "7").exit_code == 130
    result = train(run, series, "--json")
    assert result.exit_code == 0
    assert not json.loads(result.stdout)["resumed"]
    assert os.listdir() == ["m.safetensors"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(("--seed", "1"), "--seed was 0 and is 1", id="seed"),
        pytest.param(("--lags", "2"), "--lags was 1 and is 2", id="shape"),
        pytest.param(("--expect-dwell", "9"), '--expect-dwell was not given and is "9"', id="dwell"),
        pytest.param(("--channels", "x0"), "the input was", id="channels"),
    ],
)
def test_another_run_is_rejected_and_says_what_differs(stopped, rejection, series, options, expected):
    model = Path("m.safetensors")
    line = rejection("train", series, "--model", model, *FAST, *options, "--resume", status=1)
    assert expected in line
    assert "m.safetensors.resume: belongs to another run" in line
    assert stopped.exists()


def test_another_input_is_rejected(stopped, rejection, series):
    lines = series.read_text().splitlines()
    lines[1500] = lines[1500].replace(lines[1500].split(",")[1], "0.125")
    series = Path("b.csv")
    series.write_text("\n".join(lines) + "\n")
    model = Path("m.safetensors")
    assert "the input was" in rejection("train", series, "--model", model, *FAST, "--resume", status=1)


def test_another_model_to_start_from_is_rejected(run, stops, rejection, series):
    older = "older.safetensors"
    assert train(run, series, model="older.safetensors").exit_code == 0
    assert stops(series, "anneal", 5, "--init", older).exit_code == 130
    assert train(run, series, "--seed", "3", model="older.safetensors").exit_code == 0
    model = Path("m.safetensors")
    arguments = ("train", series, "--model", model, *FAST, "--init", older, "--resume")
    assert "the content of --init was" in rejection(*arguments, status=1)


def damaged(path, change):
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["gmvae_resume"])
    change(tensors, header)
    safetensors.torch.save_file(tensors, path, {"gmvae_resume": json.dumps(header)})


def with_digest(change):
    """The change with a digest that fits it, as someone would write who means harm."""

    def changed(tensors, header):
        change(tensors)
        header["digest"] = resume._digest(tensors)

    return changed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda t, h: t["anneal/mean.0"].view(-1)[:1].add_(1), "not what was written", id="number"),
        pytest.param(lambda t, h: t.pop("anneal/mean.0"), "not what was written", id="tensor gone"),
        pytest.param(lambda t, h: h.update(format=9), "format is unknown", id="format"),
        pytest.param(lambda t, h: h.update(identity=3), "what it belongs to", id="identity"),
        pytest.param(with_digest(lambda t: t.pop("anneal/mean.0")), "does not fit this run", id="missing"),
        pytest.param(
            with_digest(lambda t: t.update({"start/chain.initial_probs": torch.zeros(9)})), "does not fit", id="shape"
        ),
        pytest.param(
            with_digest(lambda t: t.update({"anneal/generator": torch.zeros(3, dtype=torch.uint8)})),
            r"damaged one \(random numbers\)",
            id="generator",
        ),
    ],
)
def test_a_damaged_resume_file_is_rejected(stopped, rejection, series, change, expected):
    damaged(stopped, change)
    model = Path("m.safetensors")
    line = rejection("train", series, "--model", model, *FAST, "--resume", status=1)
    assert expected.replace("\\", "") in line


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.99])
def test_a_truncated_resume_file_is_rejected(stopped, rejection, series, keep):
    content = stopped.read_bytes()
    stopped.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    model = Path("m.safetensors")
    line = rejection("train", series, "--model", model, *FAST, "--resume", status=1)
    assert "not a gmvae resume file, or a damaged one" in line


def test_a_resume_file_that_cannot_be_written_is_a_warning(run, series):
    Path("m.safetensors.resume").mkdir()
    result = train(run, series, "--json")
    assert result.exit_code == 0
    assert {w["code"] for w in json.loads(result.stdout)["warnings"]} >= {"no_resume_file"}
    assert Path("m.safetensors").exists()


def test_the_file_is_written_in_time(tmp_path, monkeypatch):
    path = tmp_path / "m.resume"
    resume_log = ResumeFile(str(path), {"a": 1})
    resume_log.record("one", {"x": torch.zeros(2)}, finished=False)
    assert not path.exists()
    monkeypatch.setattr(resume, "SECONDS", 0.0)
    resume_log.record("one", {"x": torch.ones(2)}, finished=False)
    again = ResumeFile(str(path), {"a": 1})
    assert again.load()
    assert again.recall("one", {"x": torch.empty(2)})["x"].tolist() == [1, 1]
    with pytest.raises(CheckpointError, match="does not fit"):
        again.recall("one", {"x": torch.empty(2, dtype=torch.float64)})
    monkeypatch.setattr(resume, "SECONDS", np.inf)
    before = path.read_bytes()
    for value in range(resume.RECORDS - 1):
        resume_log.record("one", {"x": torch.full((2,), float(value))}, finished=False)
    assert path.read_bytes() == before
    resume_log.record("one", {"x": torch.full((2,), 99.0)}, finished=False)
    assert path.read_bytes() != before


def test_what_record_returns_is_the_callers_own(tmp_path):
    resume_log = ResumeFile(str(tmp_path / "m.resume"), {})
    state = resume_log.record("one", {"x": torch.eye(2).mT[:, 1]}, torch.Generator().manual_seed(1))
    assert state["x"].is_contiguous()
    state["x"].zero_()
    assert resume_log.recall("one", {"x": torch.zeros(2)}, torch.Generator())["x"].tolist() == [0, 1]


def test_sigterm_reaches_a_run_in_a_process_of_its_own(series):
    arguments = ["train", str(series), "--model", "m.safetensors", "--steps", "1000000", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "gmvae_cli", *arguments], stderr=subprocess.PIPE, text=True)
    while not Path("m.safetensors.resume").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    for _ in range(5):  # one that follows does not disturb what the first began
        process.send_signal(signal.SIGTERM)
        time.sleep(0.003)
    _, line = process.communicate(timeout=60)
    assert process.returncode == 143
    assert line == "terminated; m.safetensors.resume keeps what is done, --resume goes on from there\n"
    assert os.listdir() == ["m.safetensors.resume"]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["segment", "few.csv", "--regimes", "2", "--output", "o.csv"], id="segment"),
        pytest.param(["select", "few.csv", "--regimes", "1"], id="select"),
    ],
)
def test_commands_that_cannot_resume_leave_nothing_to_resume(run, tmp_path, monkeypatch, few_counts, command):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gmvae_cli.training.trained_model.fit", interrupted)
    rows = np.random.default_rng(0).normal(size=300)
    Path("few.csv").write_text("x0\n" + "\n".join(f"{x:.4f}" for x in rows) + "\n")
    result = run(*command, "--model", "m.safetensors", "--quiet")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert os.listdir() == ["few.csv"]
