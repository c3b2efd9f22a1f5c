"""How far the work is, on stderr: one bar on a terminal, else one plain line every few seconds, or silence."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from gmvae_cli.errors import GmvaeError, SeriesError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 5.0


class Progress(Protocol):
    """What a job calls to say how far it is."""

    def __call__(self, stage: str, done: float, total: float | None, note: str = "") -> None:
        """`done` of `total` (None: nobody knows) of this stage are through; `note` is a word on how it goes."""


def silent(stage: str, done: float, total: float | None, note: str = "") -> None:
    """Progress that nobody watches."""


def plain(stream: TextIO) -> bool:
    """Whether the stream gets bare text: it is no terminal, or NO_COLOR is set."""
    return bool(os.environ.get("NO_COLOR")) or not stream.isatty()


def one_line(sentence: str) -> str:
    """A sentence without line breaks and control codes, whatever a file's name or its content put into it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(sentence.split()))


def console(stream: TextIO) -> "Console":
    """A rich console on the stream; bare text where `plain` says so, whatever FORCE_COLOR and its like ask for."""
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:
            """Pass the error up: rich itself would exit with status 1."""
            raise  # the BrokenPipeError that is being handled

    if plain(stream):
        return Pipe(file=stream, force_terminal=False, color_system=None, highlight=False, markup=False, emoji=False)
    return Pipe(file=stream, highlight=False, markup=False, emoji=False)


class Terminal:
    """Progress and notes for people, on stderr, with a copy of every line in the log file.

    Calling it is `Progress`. The bar, or the clock of the plain lines, starts at the first call. `quiet` silences all
    but errors.
    """

    def __init__(
        self, *, quiet: bool, log: TextIO | None, seconds_between_lines: float = SECONDS_BETWEEN_LINES
    ) -> None:
        self.quiet = quiet
        self._log = log
        self._noted: set[str] = set()
        self._seconds_between_lines = seconds_between_lines
        self._stage: str | None = None
        self._started = self._last_line = time.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __call__(self, stage: str, done: float, total: float | None, note: str = "") -> None:
        """Say how far the stage is; lines that come too soon after the last one are left out."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage = stage
            self._started = now
        if not self.quiet and not plain(sys.stderr):
            self._move_bar(stage, done, total, note)
        if now - self._last_line < self._seconds_between_lines:
            return
        self._last_line = now
        line = progress_line(stage, done, total, note, now - self._started)
        self._write_log(line)
        if not self.quiet and self._bar is None:
            print(line, file=sys.stderr, flush=True)

    def note(self, sentence: str) -> None:
        """One line for the user to read, once: a warning, or what was left out. `--quiet` silences it."""
        if sentence in self._noted:
            return
        self._noted.add(sentence)
        self._write_log(one_line(sentence))
        if not self.quiet:
            self._print(one_line(sentence))

    def error(self, sentence: str) -> None:
        """One line that `--quiet` does not silence."""
        self._write_log(one_line(sentence))
        self._print(one_line(sentence))

    def log_error(self, error: BaseException) -> None:
        """Keep a copy of an error or an interruption whose line the boundary is about to print."""
        word = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        self._write_log(one_line("; ".join([word, *getattr(error, "__notes__", ())])))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _move_bar(self, stage: str, done: float, total: float | None, note: str) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self._bar = Bar(*columns, console=console(sys.stderr), transient=True, redirect_stdout=False)
            self._task = self._bar.add_task(stage, total=total, note=note)
            self._bar.start()
        assert self._task is not None
        if self._bar.tasks[0].description != stage:
            self._bar.reset(self._task, description=stage, total=total)
        self._bar.update(self._task, completed=done, total=total, note=note)

    def _print(self, sentence: str) -> None:
        from rich.text import Text

        target = self._bar.console if self._bar is not None else console(sys.stderr)
        target.print(Text(sentence), soft_wrap=True)

    def _write_log(self, line: str) -> None:
        if self._log is not None:
            self._log.write(line + "\n")
            self._log.flush()


def progress_line(stage: str, done: float, total: float | None, note: str, seconds: float) -> str:
    """The plain line, for example "train: anneal 80 of 150 (53 %), 12 s, elbo -1.31"."""
    count = f"{done:,.0f}" if total is None else f"{done:,.0f} of {total:,.0f}"
    share = f" ({100 * done / total:.0f} %)" if total else ""
    return f"{stage} {count}{share}, {seconds:.0f} s" + (f", {note}" if note else "")


@contextmanager
def show(*, quiet: bool, log_file: str | None) -> Iterator[Terminal]:
    """Progress for the time of one command.

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
        terminal = Terminal(quiet=quiet, log=log)
        stack.callback(terminal.close)
        try:
            yield terminal
        except BaseException as error:
            if isinstance(error, GmvaeError) or not isinstance(error, Exception):
                terminal.log_error(error)
            raise
