"""Whole commands on a cluster of Dask that they start, and their manners: what listens, and what is left behind."""

import ipaddress
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from cluster.test_stretches import saved, series_file
from random_models import random_checkpoint

pytestmark = pytest.mark.cluster
GMVAE = [sys.executable, "-m", "gmvae_cli"]


def gmvae(*arguments):
    done = subprocess.run([*GMVAE, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def psutil():
    return pytest.importorskip("psutil")


def test_bytes_are_those_of_one_process(tmp_path):
    pytest.importorskip("distributed")
    file, model = series_file(tmp_path / "rows.parquet", 1, 2000, time="holes"), saved(random_checkpoint(1), tmp_path)
    arguments = ("infer", file.path, "--model", model, "--stretch-rows", 300, "--quiet")
    gmvae(*arguments, "--output", tmp_path / "one", "--workers", 1)
    dealt = gmvae(*arguments, "--output", tmp_path / "two", "--engine", "dask", "--workers", 2, "--json")
    assert dealt.stderr == ""
    names = [f"part-{part:05d}.parquet" for part in range(7)]
    assert sorted(part.name for part in (tmp_path / "two").glob("part*")) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_driver_that_is_killed_leaves_no_worker_and_its_command_goes_on(tmp_path, psutil):
    pytest.importorskip("distributed")
    file, model = series_file(tmp_path / "rows.parquet", 2, 4000), saved(random_checkpoint(2), tmp_path)
    arguments = ("infer", file.path, "--model", model, "--output", tmp_path / "out", "--stretch-rows", 50, "--quiet")
    driver = subprocess.Popen([*GMVAE, *map(str, arguments), "--engine", "dask", "--workers", "2"])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/part-*")) and time.monotonic() < deadline:
        assert driver.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert workers
    assert not psutil.wait_procs(workers, timeout=60)[1]
    kept = {part.name: part.stat().st_ino for part in tmp_path.glob("out/part-*")}
    assert 0 < len(kept) < 80
    assert not (tmp_path / "out" / "_SUCCESS.json").exists()
    gmvae(*arguments, "--workers", 1)
    parts = {part.name: part.stat().st_ino for part in tmp_path.glob("out/part-*")}
    assert len(parts) == 80 and kept.items() <= parts.items()
    assert sum(pq.read_metadata(tmp_path / "out" / name).num_rows for name in parts) == 4000
    assert not list(tmp_path.glob("out/.*"))


def test_ctrl_c_is_one_line_and_leaves_no_worker(tmp_path, psutil):
    pytest.importorskip("distributed")
    file, model = series_file(tmp_path / "rows.parquet", 2, 4000), saved(random_checkpoint(2), tmp_path)
    arguments = ("infer", file.path, "--model", model, "--output", tmp_path / "out", "--stretch-rows", 50, "--quiet")
    driver = subprocess.Popen(
        [*GMVAE, *map(str, arguments), "--engine", "dask", "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/part-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = psutil.Process(driver.pid).children(recursive=True)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to all of them
    assert driver.communicate(timeout=120)[1].splitlines()[-1:] == ["interrupted"]
    assert driver.returncode == 130
    assert not psutil.wait_procs(workers, timeout=60)[1]


def test_whole_commands_on_ray_give_the_same_bytes(tmp_path, ray):
    file, model = series_file(tmp_path / "rows.parquet", 4, 2600), saved(random_checkpoint(4), tmp_path)
    for name, engine in [("one", ["--workers", 1]), ("ray", ["--engine", "ray"])]:
        how = ("--stretch-rows", 700, "--quiet", *engine)
        gmvae("infer", file.path, "--model", model, "--output", tmp_path / f"{name} parts", *how)
        training = ("--regimes", 2, "--steps", 5, "--restarts", 1, "--polish", 3)
        gmvae("train", file.path, "--model", tmp_path / f"{name} model", *training, *how)
    assert (tmp_path / "one model").read_bytes() == (tmp_path / "ray model").read_bytes()
    for part in (tmp_path / "one parts").glob("part-*"):
        assert part.read_bytes() == (tmp_path / "ray parts" / part.name).read_bytes()


def test_nothing_listens_beyond_this_machine(dask, psutil):
    own = [psutil.Process(), *psutil.Process().children(recursive=True)]
    addresses = {
        ipaddress.ip_address(connection.laddr.ip.removeprefix("::ffff:"))  # IPv4 by an IPv6 socket
        for process in own
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses and all(address.is_loopback for address in addresses)


def test_training_gives_the_same_bytes_by_one_worker_and_by_two(tmp_path):
    pytest.importorskip("distributed")
    file = series_file(tmp_path / "rows.parquet", 3, 2600)
    arguments = ("train", file.path, "--regimes", 2, "--steps", 5, "--restarts", 1, "--polish", 3, "--quiet")
    for name, engine in [("one", ["--workers", 1]), ("two", ["--engine", "dask", "--workers", 2])]:
        gmvae(*arguments, "--stretch-rows", 700, "--model", tmp_path / name, *engine)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert os.listdir(tmp_path).count("two.resume") == 0
