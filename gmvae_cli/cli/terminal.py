"""Progress, notes and errors on stderr: a bar on a terminal, else a plain line every few seconds, or silence."""

import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

from gmvae_cli.errors import ConfigError, GmvaeError, Note, SeriesError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 4.0


def plain(stream: TextIO) -> bool:
    """Return whether the stream gets bare text: it is no terminal, or NO_COLOR is set."""
    return bool(os.environ.get("NO_COLOR")) or not stream.isatty()


def width() -> int:
    """Return the columns of a line: COLUMNS if it is set, else those of the terminal, else 80."""
    return shutil.get_terminal_size().columns


def wrapped(text: str, columns: int, indent: str = "") -> str:
    """Break text between words into lines of at most so many columns, all but the first indented.

    A word longer than a line has a line of its own, unbroken, so that a path can be copied.
    """
    return textwrap.fill(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def for_stream(text: str, stream: TextIO, indent: str = "") -> str:
    """Break a line between words where the stream is a terminal; a pipe gets it in one piece."""
    return wrapped(text, width(), indent) if stream.isatty() else text


def printable(text: str) -> str:
    """Spell out control codes, whatever a file's name or its content put into the text."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def one_line(sentence: str) -> str:
    """Join a sentence into one line without control codes."""
    return printable(" ".join(sentence.split()))


def print_error(sentence: str) -> None:
    """Print one line on stderr."""
    print(for_stream(one_line(sentence), sys.stderr), file=sys.stderr, flush=True)


def console(stream: TextIO) -> "Console":
    """Open a rich console on the stream; bare text where `plain` says so, whatever FORCE_COLOR and its like ask for."""
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:
            """Pass the error up: rich itself would exit with status 1."""
            raise  # the BrokenPipeError that is being handled

    if plain(stream):
        return Pipe(file=stream, force_terminal=False, color_system=None, highlight=False, markup=False, emoji=False)
    return Pipe(file=stream, highlight=False, markup=False, emoji=False)


class Terminal:
    """Progress and notes for people on stderr, and a copy of every line in the log file.

    It is called as `system.progress.Progress`. The bar starts at the first call. Work that does not report for a while
    is not silent: where lines are printed, a thread repeats the last state, until `close`.

    Args:
        quiet: print errors only. as_json: results are printed as JSON. log: gets every line, `quiet` or not.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False, log: TextIO | None = None) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._log = log
        self._noted: set[str] = set()
        self._state: tuple[str, float, float | None, str] | None = None
        self._started = self._last_line = time.monotonic()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        if log is not None or not quiet:
            threading.Thread(target=self._repeat, daemon=True).start()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, stage: str, done: float, total: float | None, note: str = "") -> None:
        """Report how far the stage is; a line that comes too soon after the last one is left out."""
        now = time.monotonic()
        if self._state is None or stage != self._state[0]:
            self._started = now
        self._state = stage, done, total, note
        if not self.quiet and not plain(sys.stderr):
            self._move_bar(stage, done, total, note)
        self._print_state(now)

    def _repeat(self) -> None:
        """Print the last state again whenever no line has come for a while."""
        while not self._closed.wait(SECONDS_BETWEEN_LINES / 4):
            self._print_state(time.monotonic())

    def _print_state(self, now: float) -> None:
        with self._lock:
            if now - self._last_line < SECONDS_BETWEEN_LINES or self._closed.is_set():
                return
            self._last_line = now
            seconds = now - self._started
            line = progress_line(*self._state, seconds) if self._state else f"starting, {seconds:.0f} s"
            self._write_log(line)
            if not self.quiet and self._bar is None:
                print(line, file=sys.stderr, flush=True)

    def note(self, sentence: str) -> None:
        """Print a note or a warning, unless it was printed before."""
        if sentence in self._noted:
            return
        self._noted.add(sentence)
        self._write_log(one_line(sentence))
        if not self.quiet:
            self._print(one_line(sentence))

    def warning(self, warning: Note) -> None:
        """Print a warning, unless it was printed before."""
        self.note(f"warning: {warning.sentence}")

    def note_on_feed(self, warning: Note) -> None:
        """Print a warning about rows that go on for ever: to a person at a terminal alone, and in the log file."""
        self.quiet = self.quiet or not sys.stderr.isatty()
        self.warning(warning)

    def error(self, sentence: str) -> None:
        """Print one line that `quiet` does not silence."""
        self._write_log(one_line(sentence))
        self._print(one_line(sentence))

    def log_error(self, error: BaseException) -> None:
        """Keep a copy of an error or an interruption whose line the error boundary is about to print."""
        word = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        self._write_log(one_line("; ".join([word, *getattr(error, "__notes__", ())])))

    def require_free_stdout(self, output: str) -> None:
        """Reject an output to stdout beside a result there as JSON.

        Raises:
            ConfigError: both are asked for.
        """
        if output == "-" and self.as_json:
            raise ConfigError("--json and the output - both go to stdout; name a file for the output")

    def close(self) -> None:
        """End all progress, and remove the bar."""
        self._closed.set()
        with self._lock:  # a line that is being printed comes before all that follows
            pass
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _move_bar(self, stage: str, done: float, total: float | None, note: str) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self._bar = Progress(*columns, console=console(sys.stderr), transient=True, redirect_stdout=False)
            self._task = self._bar.add_task(stage, total=total, note=note)
            self._bar.start()
        assert self._task is not None
        if ended(done, total):  # a bar that is full would stand still
            stage, done, total = f"{stage} done", 0, None
        if self._bar.tasks[0].description != stage:
            self._bar.reset(self._task, description=stage, total=total)
        self._bar.update(self._task, completed=done, total=total, note=note)

    def _print(self, sentence: str) -> None:
        line = for_stream(sentence, sys.stderr)
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, soft_wrap=True)  # above the bar

    def _write_log(self, line: str) -> None:
        if self._log is not None:
            self._log.write(line + "\n")
            self._log.flush()


def ended(done: float, total: float | None) -> bool:
    """Return whether a stage has reached its end."""
    return total is not None and done >= total > 0


def progress_line(stage: str, done: float, total: float | None, note: str, seconds: float) -> str:
    """Describe how far the work is, for example "anneal 80 of 150 (53 %), 12 s, elbo -1.31".

    Work after the end of a stage belongs to the next one, which has not reported yet.
    """
    if ended(done, total):
        return f"{stage} done, next step, {seconds:.0f} s"
    count = f"{done:,.0f}" if total is None else f"{done:,.0f} of {total:,.0f}"
    share = f" ({100 * done / total:.0f} %)" if total else ""
    return f"{stage} {count}{share}, {seconds:.0f} s" + (f", {note}" if note else "")


@contextmanager
def show(*, quiet: bool = False, as_json: bool = False, log_file: str | None = None) -> Iterator[Terminal]:
    """Open the terminal and the log file for the time of one command.

    Raises:
        SeriesError: the log file cannot be written; said before any work.
    """
    with ExitStack() as stack:
        log = None
        if log_file is not None:
            try:
                log = stack.enter_context(open(log_file, "w", encoding="utf-8"))
            except OSError as error:
                raise SeriesError(
                    f"{log_file}: cannot be written ({error.strerror}); choose another --log-file"
                ) from None
        terminal = Terminal(quiet=quiet, as_json=as_json, log=log)
        stack.callback(terminal.close)
        try:
            yield terminal
        except BaseException as error:
            if isinstance(error, GmvaeError) or not isinstance(error, Exception):
                terminal.log_error(error)
            raise
