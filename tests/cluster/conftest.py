"""Clusters on the loopback interface, where `make test-cluster` has installed what they need."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gmvae_cli.engine_config import EngineConfig
from gmvae_cli.system.engine import engine_of


@pytest.fixture(scope="session")
def dask(worker_path):
    """An engine with two workers of Dask."""
    pytest.importorskip("distributed")
    with engine_of(EngineConfig(engine="dask", workers=2)) as engine:
        yield engine


@pytest.fixture(scope="session")
def worker_path():
    """Workers find the functions that tests send them."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), before]))
    yield
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def ray(worker_path):
    """An engine that has joined a cluster of Ray, which listens on all interfaces: so it needs a network of its own."""
    pytest.importorskip("ray")
    if not is_alone():
        pytest.skip("Ray listens on all interfaces, and this process is in no network namespace of its own")
    program = Path(sys.executable).with_name("ray")
    start = [program, "start", "--head", "--num-cpus=2", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run(start, check=True, capture_output=True, env=environment)
    os.environ["RAY_ADDRESS"] = "127.0.0.1:6379"
    try:
        with engine_of(EngineConfig(engine="ray")) as engine:
            yield engine
    finally:
        os.environ.pop("RAY_ADDRESS")
        subprocess.run([program, "stop", "--force"], check=True, capture_output=True, env=environment)


def is_alone():
    """Whether this process sees no network but loopback."""
    return [name for _, name in socket.if_nameindex()] == ["lo"]
