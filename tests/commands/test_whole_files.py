"""Files appear whole or not at all: two runs at once, what a killed run left, full disks, read-only folders."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from gmvae_cli.errors import SeriesError
from gmvae_cli.files.atomic import atomic
from gmvae_cli.files.table_writer import writer

HOLD = """
import sys, time
from gmvae_cli.files.atomic import atomic
with atomic(sys.argv[1]) as path:
    open(path, "w").write("half")
    print("holding", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(path):
    """Another process in the middle of writing `path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "holding\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    return path


def fill(path, text="new"):
    with atomic(str(path)) as temporary:
        Path(temporary).write_text(text)


def test_of_two_runs_with_one_target_the_second_is_rejected_and_the_first_wins_whole(target):
    with atomic(str(target)) as first:
        Path(first).write_text("first")
        with pytest.raises(SeriesError, match=r"a.csv: another run is writing it; wait until it ends, or name"):
            fill(target)
        assert Path(first).read_text() == "first"
    assert target.read_text() == "first"
    fill(target)
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["a.csv"]


def test_a_killed_run_leaves_the_old_file_and_the_next_run_removes_its_rest(target):
    with holder(target) as process:
        with pytest.raises(SeriesError, match="another run is writing it"):
            fill(target)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert target.read_text() == "old"
    assert sorted(os.listdir(target.parent)) == [".a.csv.part", "a.csv"]
    fill(target)
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["a.csv"]


def test_a_link_under_the_temporary_name_is_not_written_through(target, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".a.csv.part").symlink_to(victim)
    with pytest.raises(SeriesError, match=r"a.csv: cannot be written"):
        fill(target)
    os.unlink(tmp_path / ".a.csv.part")
    os.link(victim, tmp_path / ".a.csv.part")
    fill(target)
    assert victim.read_text() == "precious"
    assert target.read_text() == "new"


def test_without_locks_a_rest_is_left_to_the_user(target, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    fill(target)
    assert target.read_text() == "new"
    rest = target.with_name(".a.csv.part")
    rest.touch()
    with pytest.raises(SeriesError, match=r"is writing it, or was killed; if none is, remove '.*\.a\.csv\.part'"):
        fill(target)
    assert rest.exists()


@contextmanager
def largest_file(nbytes):
    """The system rejects to let a file grow beyond this, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_disk_that_fills_is_one_line_and_the_old_file_stays(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")
    table = pa.table({"x": [index * 0.1 for index in range(20_000)]})

    def fill_table():
        with writer(str(path)) as output:
            output.write(table)
            output.write(table)

    with largest_file(10_000), pytest.raises(SeriesError, match=rf"{name}: cannot be written \(File too large\)"):
        fill_table()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("nbytes", [0, 3_000])
def test_commands_on_a_full_disk(run, rejection, tmp_path, nbytes):
    data, model = tmp_path / "d.csv", tmp_path / "m.safetensors"
    assert run("simulate", data, "--steps", "300", "--truth", model).exit_code == 0
    figure, labelled = tmp_path / "f.png", tmp_path / "o.csv"
    assert run("infer", data, "--model", model, "--output", labelled).exit_code == 0
    figure.write_text("old")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with largest_file(nbytes):
        for arguments, target in (
            (("simulate", data), data),
            (("train", data, "--model", model, "--steps", "5", "--restarts", "1"), model),
            (("infer", data, "--model", model, "--output", labelled), labelled),
            (("plot", labelled, "--output", figure), figure),
        ):
            assert rejection(*arguments, "--quiet", status=1) == f"{target}: cannot be written (File too large)"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture
def read_only():
    """A folder that this process cannot write to, whoever runs it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.csv").write_text("t,x\n1,2\n2,3\n3,5\n")
        os.chmod(folder, 0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o755)


def test_a_read_only_folder_is_one_line(rejection, read_only):
    for arguments in (
        ("simulate", read_only / "a.csv"),
        ("train", read_only / "a.csv", "--model", read_only / "m.safetensors"),
    ):
        assert "cannot be written (Permission denied)" in rejection(*arguments, status=1)
    assert os.listdir(read_only) == ["a.csv"]
