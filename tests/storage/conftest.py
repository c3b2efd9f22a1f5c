"""Buckets on an S3 server; without one the tests that need it are skipped."""

import time

import pytest
from s3_server import PROGRAM, Server

from gmvae_cli.system import storage


@pytest.fixture(scope="session")
def running_server(tmp_path_factory):
    if not PROGRAM.exists():
        pytest.skip("no S3 server is installed; `make test-s3` installs one")
    server = Server(tmp_path_factory.mktemp("s3") / "log")
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def credentials(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    storage._opened.cache_clear()
    yield
    storage._opened.cache_clear()


@pytest.fixture
def server(running_server, credentials, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", running_server.address)
    return running_server


@pytest.fixture
def bucket(server, request):
    """The URL of an empty bucket."""
    name = request.node.name.partition("[")[0].replace("_", "-")[:50] + f"-{time.monotonic_ns() % 10**9}"
    server.put(name)
    return f"s3://{name}"
