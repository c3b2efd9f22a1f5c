"""An S3 server in memory on loopback, from .venv-s3, which `make test-s3` makes; MOTO_SERVER names another."""

import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

PROGRAM = Path(os.environ.get("MOTO_SERVER", Path(__file__).parents[1] / ".venv-s3" / "bin" / "moto_server"))


class Server:
    """A running server: every request is a line in its log."""

    def __init__(self, log):
        self.log = log
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with log.open("w") as lines:
            command = [PROGRAM, "-H", "127.0.0.1", "-p", str(self.port)]
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
