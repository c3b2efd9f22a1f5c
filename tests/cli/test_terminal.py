"""Progress: plain lines in time, silence on request, and a bar on a terminal only."""

import io
import itertools
import time

import pytest

from gmvae_cli.cli import terminal
from gmvae_cli.errors import SeriesError


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is two seconds after the last."""
    seconds = itertools.count(0.0, 2.0)
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(seconds))


def work(terminal, steps=10):
    for step in range(steps):
        terminal("anneal", step, steps, f"elbo -{step}")


def test_plain_lines_come_every_few_seconds(clock, capsys):
    with terminal.show() as shown:
        work(shown)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "anneal 1 of 10 (10 %), 2 s, elbo -1",
        "anneal 3 of 10 (30 %), 6 s, elbo -3",
        "anneal 5 of 10 (50 %), 10 s, elbo -5",
        "anneal 7 of 10 (70 %), 14 s, elbo -7",
        "anneal 9 of 10 (90 %), 18 s, elbo -9",
    ]


@pytest.mark.parametrize("quiet", [False, True])
def test_work_that_does_not_report_is_not_silent(monkeypatch, tmp_path, capsys, quiet):
    """Neither before the first report nor in a long step, on stderr and in the log; nothing follows the end."""
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.02)
    path = tmp_path / "run.log"
    with terminal.show(quiet=quiet, log_file=str(path)) as shown:
        time.sleep(0.2)
        shown("views", 3, 14)
        time.sleep(0.2)
        shown("views", 14, 14)
        time.sleep(0.2)
        shown.close()
        time.sleep(0.05)
        shown.note("a result")
    lines = path.read_text().splitlines()
    states = {line.rpartition(", ")[0] for line in lines}
    assert states == {"starting", "views 3 of 14 (21 %)", "views done, next step", ""}
    assert len(lines) > 6 and lines[-1] == "a result"
    assert capsys.readouterr().err.splitlines() == ([] if quiet else lines)


def test_quiet_silences_progress_and_notes_but_no_error(clock, capsys):
    with terminal.show(quiet=True) as shown:
        work(shown)
        shown.note("a note")
        shown.error("an error")
    assert capsys.readouterr().err == "an error\n"


def test_log_file_keeps_a_copy_of_everything(clock, tmp_path, capsys):
    path = tmp_path / "run.log"

    def fail():
        with terminal.show(quiet=True, log_file=str(path)) as shown:
            work(shown, steps=4)
            shown.note("a note")
            raise SeriesError("a.csv: is empty")

    with pytest.raises(SeriesError):
        fail()
    assert path.read_text().splitlines() == [
        "anneal 1 of 4 (25 %), 2 s, elbo -1",
        "anneal 3 of 4 (75 %), 6 s, elbo -3",
        "a note",
        "a.csv: is empty",
    ]


def test_a_log_file_that_cannot_be_written_is_rejected(tmp_path):
    with pytest.raises(SeriesError, match="cannot be written"), terminal.show(quiet=True, log_file=str(tmp_path)):
        pass


@pytest.mark.parametrize("no_color", [False, True])
def test_bar_is_for_terminals_with_colour(monkeypatch, clock, no_color):
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", stream)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal.show() as shown:
        work(shown)
        shown.note("[x1, x2]")
    written = stream.getvalue()
    assert ("\x1b" in written) == (not no_color)
    assert "[x1, x2]" in written


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE"])
def test_no_control_codes_in_a_pipe_whatever_is_forced(monkeypatch, capsys, variable):
    monkeypatch.setenv(variable, "1")
    with terminal.show() as shown:
        shown("read", 1, 2)
        shown.note("a note")
    assert capsys.readouterr().err == "a note\n"


def test_long_lines_are_not_wrapped(capsys):
    with terminal.show() as shown:
        shown.note("word " * 60)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_total_that_nobody_knows():
    assert terminal.progress_line("read", 65536, None, "", 3.2) == "read 65,536, 3 s"
