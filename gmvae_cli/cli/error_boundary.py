"""The error boundary: however a command ends, one line at most and the exit status say so."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from gmvae_cli.cli.terminal import print_error
from gmvae_cli.errors import GmvaeError

_UNWINDING_SECONDS = 5.0


class _Terminated(BaseException):
    """SIGTERM arrived; whoever holds a temporary file removes it on the way up."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds the work inside as Ctrl-C does, so that nothing half-written stays behind.

    A library in whose midst a signal arrives may swallow it and raise an error of its own; that is an interruption too.
    Signals that follow within seconds do not disturb what unwinds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[BaseException] = []
    unwinds_until = 0.0

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        nonlocal unwinds_until
        if time.monotonic() < unwinds_until:
            return
        unwinds_until = time.monotonic() + _UNWINDING_SECONDS
        arrived.append(_Terminated("terminated") if signal_number == signal.SIGTERM else KeyboardInterrupt())
        raise arrived[-1]

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if not arrived:
            raise
        for note in getattr(error, "__notes__", ()):
            arrived[-1].add_note(note)
        raise arrived[-1] from error
    finally:
        if not arrived:  # else the process ends, and that is not to be disturbed either
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _boundary() -> Iterator[None]:
    """Every way to fail that a user can cause ends here, in at most one line on stderr."""
    try:
        yield
    except GmvaeError as error:
        print_error(str(error))
        raise typer.Exit(error.exit_status) from None
    except TyperException as error:
        print_error(usage_line(error.format_message()))
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what stdout still holds has nowhere to go, at exit either
        raise typer.Exit(0) from None
    except OSError as error:  # what a file's own room could not name: stdout, on a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print_error(f"{error.filename or 'stdout'}: cannot be written ({error.strerror or error})")
        raise typer.Exit(1) from None
    except MemoryError as error:
        print_error(
            f"there is not enough memory ({str(error) or 'the system gave none'}); take fewer rows or --regimes"
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt as interruption:
        print_error(_with_notes("interrupted", interruption))
        raise typer.Exit(130) from None
    except _Terminated as interruption:
        print_error(_with_notes("terminated", interruption))
        raise typer.Exit(143) from None


def _with_notes(word: str, interruption: BaseException) -> str:
    """What happened, and what the work that was interrupted has to say about it."""
    return "; ".join([word, *getattr(interruption, "__notes__", ())])


def usage_line(message: str) -> str:
    """Join the parser's message into one line, lower case first, no full stop."""
    line = " ".join(message.replace("Value error, ", "").split()).rstrip(".")
    return f"{line[:1].lower()}{line[1:]}; --help lists what is possible"


class Commands(TyperGroup):
    """The commands, inside the error boundary; without a command, their list."""

    def make_context(self, info_name: str | None, args: list[str], *others: Any, **extra: Any) -> Any:
        """Parse what stands before the command; nothing at all asks for help."""
        with _boundary():
            return super().make_context(info_name, args or ["--help"], *others, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _boundary(), _terminable():
            value = super().invoke(ctx)
            sys.stdout.flush()
            return value
