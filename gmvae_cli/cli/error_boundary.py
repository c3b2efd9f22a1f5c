"""The error boundary: a failure becomes one line on stderr and an exit status."""

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

from gmvae_cli.cli.help import (
    COMPLETION_VARIABLE,
    HELP_NAMES,
    help_text,
    register_completion,
    usage,
    usage_problem,
    with_shell,
)
from gmvae_cli.cli.terminal import print_error
from gmvae_cli.errors import GmvaeError

_UNWINDING_SECONDS = 5.0  # in which a second Ctrl-C is ignored


class _Terminated(BaseException):
    """The arrival of SIGTERM; temporary files are removed while it passes up, as at Ctrl-C."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C raise an exception in the work inside, so that nothing half-written stays behind.

    A library that is interrupted may raise an error of its own instead; that counts as the interruption. Signals that
    follow within seconds are ignored, so that the files are removed undisturbed.
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
        for number, handler in before.items():  # after a signal the process ends undisturbed; Python's own end would
            signal.signal(number, signal.SIG_IGN if arrived else handler)  # let the next signal kill it, status and all


@contextmanager
def _boundary() -> Iterator[None]:
    """Turn every failure that a user can cause into one line on stderr (wrong usage: two) and an exit status."""
    try:
        yield
    except GmvaeError as error:
        print_error(str(error))
        raise typer.Exit(error.exit_status) from None
    except TyperException as error:
        context = getattr(error, "ctx", None)
        if context is not None:
            print_error(usage(context))
        print_error(usage_problem(error))
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # at exit Python would flush stdout once more
        raise typer.Exit(0) from None
    except OSError as error:  # of stdout on a full disk; other files raise a SeriesError
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print_error(f"{error.filename or 'stdout'}: cannot be written ({error.strerror or error})")
        raise typer.Exit(1) from None
    except MemoryError as error:
        print_error(
            f"there is not enough memory ({str(error) or 'allocation failed'}); use fewer rows, channels or --regimes"
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt as interruption:
        print_error(_with_notes("interrupted", interruption))
        raise typer.Exit(130) from None
    except _Terminated as interruption:
        print_error(_with_notes("terminated", interruption))
        raise typer.Exit(143) from None


def _with_notes(word: str, interruption: BaseException) -> str:
    """Join what happened and the notes that the interrupted work added, for example how to resume."""
    return "; ".join([word, *getattr(interruption, "__notes__", ())])


class Commands(TyperGroup):
    """The group of all commands, run inside the error boundary."""

    def get_help_option_names(self, ctx: Any) -> list[str]:
        """Return the names of the help option, always in the same order."""
        return list(HELP_NAMES)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the list of commands."""
        commands = [(name, command.get_short_help_str(1000)) for name, command in self.commands.items()]
        formatter.write(help_text(ctx, commands))

    def make_context(self, info_name: str | None, args: list[str], *others: Any, **extra: Any) -> Any:
        """Parse what stands before the command; nothing at all, from a person, asks for help."""
        asked = [] if extra.get("resilient_parsing") else ["--help"]
        with _boundary():
            return super().make_context(info_name, with_shell(args) or asked, *others, **extra)

    def main(self, *arguments: Any, **extra: Any) -> Any:
        """Answer a shell that asks for completions, or run the command."""
        if COMPLETION_VARIABLE in os.environ:
            register_completion()
        return super().main(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _boundary(), _terminable():
            value = super().invoke(ctx)
            sys.stdout.flush()
            return value
