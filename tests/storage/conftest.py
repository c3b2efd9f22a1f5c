"""An S3 server on loopback, from .venv-s3; without one the tests that need it are skipped."""

import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from gmvae_cli.system import storage

SERVER = Path(__file__).parents[2] / ".venv-s3" / "bin" / "moto_server"


class Server:
    """A running server: every request is a line in its log."""

    def __init__(self, log):
        self.log = log
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with log.open("w") as lines:
            command = [os.environ.get("MOTO_SERVER", SERVER), "-H", "127.0.0.1", "-p", str(self.port)]
            self.process = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT)
        self.address = f"http://127.0.0.1:{self.port}"

    def wait(self):
        """Wait until it answers."""
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
        raise AssertionError("the server does not answer")

    def put(self, name):
        """Make a bucket, or an empty object in one."""
        request = urllib.request.Request(f"{self.address}/{name}", method="PUT")
        urllib.request.urlopen(request).close()

    def requests(self):
        """The requests so far, as `GET /bucket?list-type=2`."""
        lines = self.log.read_text().splitlines()
        return [line.split('"')[1].removesuffix(" HTTP/1.1") for line in lines if " HTTP/1.1" in line]

    def stop(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="session")
def running_server(tmp_path_factory):
    if not Path(os.environ.get("MOTO_SERVER", SERVER)).exists():
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
