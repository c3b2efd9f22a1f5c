"""Batch manners: the same bytes twice, manifests, gates, logs, and a place where there is next to nothing."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "batch.md").read_text()
GMVAE = [sys.executable, "-m", "gmvae_cli"]
SEVERAL = """
import sys
from gmvae_cli.cli import app
for line in sys.argv[1:]:
    try:
        app([*line.split(), "--quiet"])
    except SystemExit as end:
        assert not end.code, line
"""
OFFLINE = """
import socket
def offline(*_):
    raise OSError("there is no network")
socket.socket.connect = socket.getaddrinfo = offline
"""


@pytest.fixture
def simulated(run, tmp_path, monkeypatch):
    """The working folder, with a file of 600 rows and its true model."""
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "a.csv", "--steps", "600", "--truth", "truth.safetensors").exit_code == 0
    return tmp_path


def infer(run, *options, status=0):
    result = run("infer", "a.csv", "--model", "truth.safetensors", "--output", "o.csv", "--quiet", *options)
    assert result.exit_code == status, result.output
    return result


def block(language):
    """The block of the guide in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return found


def skewed(path):
    """A file of 900 rows of skewed noise at two levels, where no model of the rows is right."""
    rows = np.random.default_rng(0).exponential(size=900) + 2 * (np.arange(900) // 150 % 2)
    path.write_text("\n".join(["x0", *(f"{x:.4f}" for x in rows), ""]))


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "--regimes 2"])
def test_two_processes_give_the_same_bytes_whatever_the_hash_seed(tmp_path, options):
    contents = []
    lines = [
        f"segment w.csv --output w.parquet --model w.safetensors --plot w.svg {options}",
        "simulate a.csv --steps 1200 --series 2 --truth truth.safetensors",
        "train a.csv --model m.safetensors --steps 20 --restarts 1",
        "infer a.csv --model m.safetensors --output o.parquet --segments s.csv --manifest",
        "infer a.csv --model m.safetensors --output o.csv --posterior viterbi",
    ]
    for hash_seed in ("0", "4242"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        skewed(folder / "w.csv")
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", SEVERAL, *lines], cwd=folder, env=env, check=True, capture_output=True)
        contents.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert len(contents[0]) == 11
    assert contents[0] == contents[1]


def test_the_same_command_twice_gives_the_same_bytes(run, simulated):
    infer(run, "--manifest", "--segments", "s.csv")
    before = {path.name: path.read_bytes() for path in simulated.iterdir()}
    infer(run, "--manifest", "--segments", "s.csv")
    assert {path.name: path.read_bytes() for path in simulated.iterdir()} == before


def test_a_manifest_says_what_an_output_was_made_of(run, simulated):
    figures = json.loads(infer(run, "--manifest", "--segments", "s.csv", "--json").stdout)
    manifest = json.loads(Path("o.csv.meta.json").read_text())
    for part, name in (
        ("inputs", "a.csv"),
        ("model", "truth.safetensors"),
        ("outputs", "o.csv"),
        ("segments", "s.csv"),
    ):
        content = Path(name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert manifest[part] == [{"path": name, "bytes": len(content), "sha256": digest}]
    assert manifest["options"]["posterior"] == "smooth"
    assert manifest["versions"].keys() >= {"gmvae", "torch"}
    for name in ("rows", "shares", "log_likelihood_per_row", "segments", "warnings"):
        assert manifest["figures"][name] == figures[name]
    text = Path("o.csv.meta.json").read_text()
    assert "seconds" not in text
    assert not re.search(r"20\d\d-\d\d", text)


def test_a_manifest_of_many_outputs_lies_beside_their_folder(run, simulated):
    (simulated / "in").mkdir()
    for name in ("b", "c"):
        os.link("a.csv", f"in/{name}.csv")
    arguments = ("infer", "in", "--model", "truth.safetensors", "--output", "out/", "--manifest")
    assert run(*arguments).exit_code == 0
    manifest = json.loads(Path("out.meta.json").read_text())
    assert [one["path"] for one in manifest["outputs"]] == ["out/b.csv", "out/c.csv"]
    before = Path("out.meta.json").read_bytes()
    assert run(*arguments, "--skip-existing").exit_code == 0
    assert Path("out.meta.json").read_bytes() == before, "nothing was done, so nothing is described anew"


def test_a_manifest_needs_a_file_to_describe(rejection, simulated):
    arguments = ("infer", "a.csv", "--model", "truth.safetensors", "--manifest", "--output")
    assert "--manifest describes a file" in rejection(*arguments, "-", status=2)
    os.rename("a.csv", "o.csv.meta.json")
    os.symlink("o.csv.meta.json", "a.csv")
    assert "the same file as" in rejection(*arguments, "o.csv", status=2)


def test_a_gate_is_missed_after_the_result_is_written(run, simulated):
    figures = json.loads(infer(run, "--json").stdout)
    limit = figures["log_likelihood_per_row"]
    infer(run, "--fail-under", f"log_likelihood_per_row={limit - 0.001}")
    os.unlink("o.csv")
    missed = infer(run, "--fail-under", f"log_likelihood_per_row={limit + 1}", status=3)
    assert len(missed.stderr.splitlines()) == 1
    assert "missed --fail-under log_likelihood_per_row=" in missed.stderr
    assert Path("o.csv").exists()
    undefined = infer(run, "--fail-under", "log_likelihood_above_training=-1", status=3)
    assert "is undefined here" in undefined.stderr, "a truth was never trained"
    unknown = infer(run, "--fail-under", "ari=1", status=2)
    assert "must name one of log_likelihood_per_row, log_likelihood_above_training" in unknown.stderr


def test_drift_is_an_alarm_and_a_gate(run, simulated):
    fast = ("--steps", "20", "--restarts", "1", "--quiet")
    assert run("train", "a.csv", "--model", "m.safetensors", *fast).exit_code == 0
    arguments = ("--model", "m.safetensors", "--output", "o.csv", "--fail-under", "log_likelihood_above_training=-1")
    assert run("infer", "a.csv", *arguments).exit_code == 0
    lines = Path("a.csv").read_text().splitlines()
    drifted = [",".join([t, f"{float(x) + 20}", *rest]) for t, x, *rest in (line.split(",") for line in lines[1:])]
    Path("b.csv").write_text("\n".join([lines[0], *drifted, ""]))
    result = run("infer", "b.csv", *arguments, "--json")
    assert result.exit_code == 3
    figures = json.loads(result.stdout)
    assert "unlike_training" in {warning["code"] for warning in figures["warnings"]}
    above = figures["log_likelihood_per_row"] - figures["training_log_likelihood_per_row"]
    assert figures["log_likelihood_above_training"] == pytest.approx(above)


def test_logs_have_no_control_codes(simulated, monkeypatch):
    name = "two\nlines\x1b[31m.csv"
    env = os.environ | {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    arguments = ["infer", name, "--model", "truth.safetensors", "--output", "o.csv", "--log-file", "run.log"]
    done = subprocess.run([*GMVAE, *arguments], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    for text in (done.stderr, Path("run.log").read_text()):
        assert len(text.splitlines()) == 1
        assert text.startswith("two lines\\x1b[31m.csv: no ")
        assert "\x1b" not in text


def test_the_log_keeps_an_interruption(run, simulated, monkeypatch):
    from gmvae_cli.commands import infer as command

    def interrupt(*_):
        error = KeyboardInterrupt()
        error.add_note("and so on")
        raise error

    monkeypatch.setattr(command, "infer", interrupt)
    infer(run, "--log-file", "run.log", status=130)
    assert Path("run.log").read_text() == "interrupted; and so on\n"


@pytest.mark.parametrize("home", [pytest.param(None, marks=pytest.mark.slow), "/proc/none"])
def test_a_locked_down_environment_is_enough(tmp_path, home):
    folder, scratch = tmp_path / "out", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    nowhere = tmp_path / "read_only"
    nowhere.mkdir(mode=0o555)
    where = "/proc" if os.geteuid() == 0 and os.path.isdir("/proc") else nowhere  # root writes to any other folder
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2])} | ({} if home is None else {"HOME": home})
    skewed(folder / "w.csv")
    (folder / "w.csv").chmod(0o600)
    lines = [
        line.format(folder)
        for line in (
            *([] if home else ["segment {0}/w.csv --output {0}/w.parquet --regimes 2"]),  # a search takes long
            "simulate {0}/a.csv --steps 600",
            "train {0}/a.csv --model {0}/m.safetensors --steps 5 --restarts 1",
            "infer {0}/a.csv --model {0}/m.safetensors --output {0}/o.csv --segments {0}/s.csv --manifest",
            "evaluate {0}/o.csv",
            "plot {0}/o.csv --output {0}/f.svg",
        )
    ]
    command = [sys.executable, "-c", OFFLINE + SEVERAL, *lines]
    done = subprocess.run(command, cwd=where, env=env, umask=0o077, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == (8 if home is None else 7)
    assert list(scratch.iterdir()) == []


@pytest.fixture
def on_path(tmp_path):
    """A folder laid out as the guide says, and an environment in which `gmvae` is a command."""
    programs = tmp_path / "sensors" / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "gmvae").write_text(f'#!/bin/sh\nexec {" ".join(GMVAE)} "$@"\n')
    (programs / "gmvae").chmod(0o755)
    paths = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": f"{programs}:/usr/bin:/bin"}
    return programs.parent.parent, os.environ | paths | {"HOME": str(tmp_path)}


@pytest.mark.slow
def test_the_rule_for_make_works_as_printed(on_path, simulated):
    folder, env = on_path
    (folder / "Makefile").write_text(block("make"))
    os.rename("a.csv", folder / "a.csv")
    os.rename("truth.safetensors", folder / "model.safetensors")
    make = ["make", "a.labelled.csv"]
    subprocess.run(make, cwd=folder, env=env, check=True, capture_output=True)
    assert (folder / "a.labelled.csv.meta.json").exists()
    again = subprocess.run(make, cwd=folder, env=env, check=True, capture_output=True, text=True)
    assert "up to date" in again.stdout


@pytest.mark.slow
def test_the_crontab_line_works_as_printed(run, on_path, simulated):
    folder, env = on_path
    (folder / "data").mkdir()
    fast = ("--steps", "5", "--restarts", "1")
    assert run("train", "a.csv", "--model", folder / "model.safetensors", *fast).exit_code == 0
    os.rename("a.csv", folder / "data" / "a.csv")
    (line,) = block("crontab").splitlines()
    assert "%" not in line, "cron would take it for the end of the line"
    command = line.split(maxsplit=5)[5]
    shell = {"cwd": "/", "env": env | {"PATH": "/usr/bin:/bin"}, "capture_output": True, "text": True}
    for _ in range(2):
        done = subprocess.run(["/bin/sh", "-c", command], **shell)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (folder / "labelled" / "a.csv").exists()
    (folder / "data" / "b.csv").write_text("no,such\n1,2\n")
    done = subprocess.run(["/bin/sh", "-c", command], **shell)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_smoke_test_works_as_printed(on_path):
    folder, env = on_path
    (block,) = re.findall(r"^```console\n(\$ gmvae simulate smoke.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        subprocess.run(["/bin/sh", "-c", line], cwd=folder, env=env, check=True, capture_output=True)
