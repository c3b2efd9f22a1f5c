"""The boundary: however a command ends, the status says so and nothing half-written stays."""

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time

import pytest

GMVAE = [sys.executable, "-m", "gmvae_cli"]
LONG = [*GMVAE, "simulate", "out.csv", "--steps", "100000000"]


@pytest.fixture
def started(tmp_path):
    """A long simulation over an older file, once it has begun to write."""
    (tmp_path / "out.csv").write_text("the old file\n")
    process = subprocess.Popen(LONG, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(entry.stat().st_size > 0 for entry in tmp_path.glob(".out.csv*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "it never began to write"
        time.sleep(0.02)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize(
    ("sent", "status", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_the_work_and_leaves_the_old_file(started, tmp_path, sent, status, line):
    started.send_signal(sent)
    stdout, stderr = started.communicate(timeout=60)
    assert started.returncode == status
    assert (stdout, stderr.splitlines()[-1]) == ("", line)
    assert os.listdir(tmp_path) == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "the old file\n"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["simulate", "-", "--steps", "500000", "--quiet"], id="rows"),
        pytest.param(["simulate", "--help"], id="help"),
        pytest.param(["--help"], id="list of commands"),
        pytest.param(["simulate", "out.csv", "--steps", "9", "--json"], id="one object"),
        pytest.param(["simulate", "out.csv", "--steps", "9"], id="table"),
    ],
)
def test_a_closed_pipe_is_no_error(arguments, tmp_path):
    read, write = os.pipe()
    os.close(read)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*GMVAE, *arguments], stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=buffered
    )
    os.close(write)
    progress = re.compile(r"[a-z ]+, \d+ s")  # of a machine so slow that it says what it is at
    problems = [line for line in done.stderr.splitlines() if not progress.fullmatch(line)]
    assert (done.returncode, problems) == (0, [])


def test_rows_go_through_a_pipe(tmp_path):
    done = subprocess.run(
        [*GMVAE, "simulate", "-", "--steps", "3"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr.splitlines() == ["3 rows drawn, 1 series"]


@pytest.mark.parametrize("columns", [40, 80])
def test_an_error_on_a_terminal_breaks_between_words(columns):
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [*GMVAE, "simulate", "a.csv", "--regimes", "2", "--covariance", "something that is none of them"]
    done = subprocess.run(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    lines = os.read(master, 1 << 16).decode().splitlines()
    os.close(master)
    assert done.returncode == 2
    assert max(map(len, lines)) <= columns
    message = "--covariance is 'something that is none of them', but must be one of regime, shared"
    assert message.split() == " ".join(lines).split("[OPTIONS]")[1].split()


def test_a_bug_keeps_its_traceback(run, monkeypatch):
    from gmvae_cli.commands import simulate

    monkeypatch.setattr(simulate, "simulate", lambda *values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("simulate", "out.csv")


def test_messages_are_not_markup(rejection, tmp_path):
    name = "[bold]x[/bold]" + "y" * 200
    assert rejection("evaluate", tmp_path / f"{name}.csv", status=1).startswith(f"{tmp_path}/{name}.csv: ")


def test_version_is_that_of_the_project(run):
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert run("--version").stdout == f"gmvae {project['version']}\n"
