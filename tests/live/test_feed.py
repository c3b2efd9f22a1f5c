"""The program in the middle of a pipe: what ends it, and what is left then."""

import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from live.feeds import body, follow_text, model_file, table

SECONDS = 30  # after which a row will not come any more


class Piped:
    """The program between two pipes, read and written line by line."""

    def __init__(self, model, *options):
        command = [sys.executable, "-m", "gmvae_cli", "infer", "-", "--follow", "--model", model, "--output", "-"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [str(part) for part in [*command, *options]],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            cwd=model.parent,
        )
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def send(self, *lines):
        self.process.stdin.write("".join(lines).encode())

    def lines(self, count):
        """The next lines of the output, which must come without the input going on."""
        while self.rest.count(b"\n") < count:
            assert select.select([self.process.stdout], [], [], SECONDS)[0]
            data = self.process.stdout.read(1 << 16)
            assert data, self.process.stderr.read()
            self.rest += data
        *lines, self.rest = self.rest.split(b"\n", count)
        return "".join(f"{line.decode()}\n" for line in lines)

    def end(self):
        """Status and stderr, once the program has ended by itself."""
        status = self.process.wait(SECONDS)
        return status, self.process.stderr.read().decode()

    def left(self):
        """All output that nobody has read."""
        return (self.rest + self.process.stdout.read()).decode()


@pytest.fixture
def rows():
    return table(1, 600).splitlines(keepends=True)


def test_rows_are_out_before_the_feeder_goes_on(rows, tmp_path):
    model = model_file(tmp_path)
    with Piped(model) as piped:
        piped.send(*rows[:500])
        early = piped.lines(500)
        piped.send(rows[500])
        assert piped.lines(1).startswith(rows[500].strip())
        piped.send(*rows[501:])
        piped.process.stdin.close()
        assert piped.end() == (0, "")
        assert early.count("\n") == 500
        assert piped.left().count("\n") == len(rows) - 501


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_writes_the_state_and_nothing_is_lost(number, status, rows, tmp_path):
    model, state = model_file(tmp_path), tmp_path / "state.json"
    with Piped(model, "--state", state) as piped:
        piped.send(*rows[:300], rows[300][:4])  # the last one is no line yet
        first = piped.lines(300)
        piped.process.send_signal(number)
        assert piped.end() == (status, {130: "interrupted\n", 143: "terminated\n"}[status])
        assert piped.left() == ""
    assert json.loads(state.read_text())["rows"] == 299
    second = follow_text("".join([rows[0], *rows[300:]]), model, state=str(state))
    assert first + body(second) == follow_text("".join(rows), model)


def test_the_state_is_there_while_no_row_comes(rows, tmp_path):
    model, state = model_file(tmp_path), tmp_path / "state.json"
    with Piped(model, "--state", state) as piped:
        for count in (50, 120):
            piped.send(*rows[:1], *rows[1:51]) if count == 50 else piped.send(*rows[51:121])
            deadline = time.monotonic() + SECONDS
            while not state.exists() or json.loads(state.read_text())["rows"] < count:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        piped.process.kill()
    assert json.loads(state.read_text())["rows"] == 120


def test_a_reader_that_goes_away_ends_it_in_silence(rows, tmp_path):
    model, state = model_file(tmp_path), tmp_path / "state.json"
    with Piped(model, "--state", state) as piped:
        piped.send(*rows[:100])
        piped.lines(100)
        piped.process.stdout.close()
        assert piped.end() == (0, "")  # without one more row
    assert json.loads(state.read_text())["rows"] == 99


@pytest.mark.parametrize("lag", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_rows_that_nobody_takes_are_in_the_state(lag, tmp_path):
    """A reader that stands still fills the pipe; a signal then still ends the program, and no row is lost."""
    model, state = model_file(tmp_path), tmp_path / "state.json"
    rows = table(2, 3000).splitlines(keepends=True)
    with Piped(model, "--state", state, "--lag", lag) as piped:
        piped.send(rows[0], *rows[1:9])
        early = piped.lines(1)  # it runs
        os.set_blocking(piped.process.stdin.fileno(), False)
        data, deadline = "".join(rows[9:]).encode(), time.monotonic() + SECONDS
        while time.monotonic() < deadline and select.select([], [piped.process.stdin], [], 2)[1]:
            data = data[os.write(piped.process.stdin.fileno(), data[:4096]) :]
        assert data, "the pipes held all rows"
        piped.process.send_signal(signal.SIGTERM)
        assert piped.end()[0] == 143
        first = early + piped.left()
    content = json.loads(state.read_text())
    assert content["unwritten"]
    assert content["written"] == first.count("\n") - 1
    second = follow_text("".join([rows[0], *rows[1 + content["rows"] :]]), model, state=str(state), lag=lag)
    whole = follow_text("".join(rows), model, lag=lag)
    assert whole.startswith(first + body(second))
    assert (whole == first + body(second)) == (not lag)


def killed_somewhere(command, rows, chance, output):
    """Feed the program some rows at a time and kill it at a random moment, if chance will; return its status."""
    with (
        open(output, "wb") as target,
        subprocess.Popen(
            [*map(str, command)], stdin=subprocess.PIPE, stdout=target, bufsize=0, cwd=output.parent
        ) as process,
        suppress(BrokenPipeError),
    ):
        for start in range(0, len(rows), 20):
            process.stdin.write("".join(rows[start : start + 20]).encode())
            if chance is not None and chance.random() < 0.15:
                time.sleep(chance.random() * (0.01 if output.stat().st_size else 0.6))
                process.kill()
    return process.returncode


@pytest.mark.slow
def test_killed_at_any_moment_no_row_is_lost_or_doubled(tmp_path):
    model, state, output = model_file(tmp_path), tmp_path / "state.json", tmp_path / "part.csv"
    rows = table(3, 3000, series=3).splitlines(keepends=True)
    program = [sys.executable, "-m", "gmvae_cli", "infer", "-", "--follow", "--model", model, "--output", "-"]
    command = [*program, "--series", "id", "--state", state, "--state-every", 40]
    out, chance, kills = [], random.Random(0), 0
    while True:
        content = json.loads(state.read_text()) if state.exists() else {"rows": 0, "written": 0}
        del out[content["written"] :]  # labelled since the state was written: these rows come again
        left = [rows[0], *rows[1 + content["rows"] :]]
        status = killed_somewhere(command, left, chance if kills < 50 else None, output)
        part = output.read_text()
        out += part[: part.rfind("\n") + 1].splitlines(keepends=True)[1:]
        if status == 0:
            break
        assert status == -signal.SIGKILL
        kills += 1
    assert kills == 50
    assert "".join(out) == body(follow_text("".join(rows), model, series="id"))


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="no mosquitto on this machine")
def test_rows_go_through_a_broker(rows, tmp_path):
    """Published by one process, labelled between two topics, received by another."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (tmp_path / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    model = model_file(tmp_path)
    program = f"{sys.executable} -m gmvae_cli infer - --follow --model {model} --output -"
    at = f"-h 127.0.0.1 -p {port}"
    started = []

    def start(command, **pipes):
        started.append(
            subprocess.Popen(["bash", "-c", f"exec {command}"], start_new_session=True, cwd=tmp_path, **pipes)
        )
        return started[-1]

    try:
        start(f"mosquitto -c {tmp_path}/broker.conf", stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while not is_open(int(port)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        received = start(f"mosquitto_sub {at} -t labelled -C 600", stdout=subprocess.PIPE)
        pipeline = f"mosquitto_sub {at} -t rows -C {len(rows)} | {program} | mosquitto_pub {at} -t labelled -l"
        start(f"bash -c '{pipeline}'", stderr=subprocess.DEVNULL)
        time.sleep(2)  # for both to subscribe
        publisher = start(f"mosquitto_pub {at} -t rows -l -q 1", stdin=subprocess.PIPE)
        publisher.communicate("".join(rows).encode(), timeout=SECONDS)
        out, _ = received.communicate(timeout=SECONDS)
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    whole = follow_text("".join(rows), model).splitlines()
    assert out.decode().splitlines() == whole[:600]
