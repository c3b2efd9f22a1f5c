"""The state of a feed as a JSON file: all that later rows depend on, and how many rows were taken."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from gmvae_cli.errors import CheckpointError, ConfigError
from gmvae_cli.files.atomic import atomic, require_apart, require_writable
from gmvae_cli.system.storage import is_url

FORMAT = 1
SECONDS = 1.0  # at least, from state to state while no row comes
_SHARE = 50  # of the time, one part is spent on such states


@dataclass(kw_only=True)
class FeedState:
    """State of a feed after some of its rows.

    Args:
        rows: lines taken, but for headers: where the feed goes on. written: labelled rows among them, that were passed
            on; the others were left out, or wait for later ones.
        step, unit: usual time between rows, and its unit; None without times. newest: the latest time.
        format: of the lines, csv or ndjson. unwritten: text of rows that nobody took.
        series: id -> its content in JSON, the one that was touched last at the end.
    """

    rows: int = 0
    written: int = 0
    step: float | None = None
    unit: str | None = None
    newest: int | float | None = None
    format: str = "csv"
    unwritten: str = ""
    series: dict[str, Any] = field(default_factory=dict)


@contextmanager
def usable(path: str) -> Iterator[None]:
    """Turn what goes wrong with the content of a state file in the block into one line.

    Raises:
        CheckpointError: in place of the errors of missing entries, and of entries of other types or shapes.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as problem:
        reason = " ".join(str(problem).split())[:100] or type(problem).__name__
        raise CheckpointError(f"{path}: not a state of gmvae, or a damaged one ({reason})") from problem


def read(path: str, digest: str, model_path: str) -> FeedState | None:
    """Read a state file; None if there is none yet.

    Args:
        digest: of the model, whose path is for messages.
    Raises:
        CheckpointError: it cannot be read, is no state, or is that of another model.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    with usable(path):
        content = json.loads(text)
        if content.pop("gmvae_state") != FORMAT:
            raise CheckpointError(f"{path}: is a state of another version of gmvae; remove it to start anew")
        found = content.pop("model")
        state = FeedState(**content)
        for count in (state.rows, state.written):
            if type(count) is not int or count < 0:
                raise ValueError("its counts are none")
    if found != digest:
        raise CheckpointError(
            f"{path}: is the state of another model than {model_path}; name that one, or remove the state to start anew"
        )
    return state


def require_place(path: str, inputs: Sequence[str]) -> None:
    """Check that a state can be written there, without replacing any of the inputs.

    Raises:
        ConfigError: it is an input or a URL. SeriesError: it cannot be written.
    """
    if is_url(path):
        raise ConfigError(f"--state is '{path}', but is written again and again; name a local file")
    require_apart({"--state": path}, inputs)
    require_writable(path)


def write(path: str, state: FeedState, digest: str) -> None:
    """Write a state file: to a temporary name beside it, then renamed."""
    content: Mapping[str, Any] = {"gmvae_state": FORMAT, "model": digest, **vars(state)}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text + "\n")


class Labelled(Protocol):
    """Labels of a feed, whose state can be written."""

    rows: int

    def state(self, unwritten: str = "") -> FeedState:
        """Return what has to be known of the rows so far."""


class StateKeeper:
    """Writer of the state of a feed: every so many rows, while no row comes, and at the end.

    Args:
        path: None keeps no state. every: rows. digest: of the model. inputs: files that must not be written over.
    Raises:
        SeriesError: the file cannot be written. ConfigError: it is one of the inputs.
    """

    def __init__(self, path: str | None, every: int, digest: str, inputs: Sequence[str]) -> None:
        self.path, self._every, self._digest = path, every, digest
        self._rows, self._next = 0, 0.0  # rows in the state, and when the next one may be written between two rows
        if path is not None:
            require_place(path, inputs)

    def read(self, model_path: str) -> FeedState | None:
        """Read the state, if there is one; errors as of `read`."""
        state = None if self.path is None else read(self.path, self._digest, model_path)
        self._rows = 0 if state is None else state.rows
        return state

    def write(self, labels: Labelled, unwritten: str = "") -> None:
        """Write the state now; `unwritten` is text that nobody took."""
        if self.path is not None:
            write(self.path, labels.state(unwritten), self._digest)
            self._rows = labels.rows

    def write_if_due(self, labels: Labelled) -> None:
        """Write the state if so many rows have come since it was written last."""
        if self.path is not None and labels.rows - self._rows >= self._every:
            self.write(labels)

    def write_while_idle(self, labels: Labelled) -> None:
        """Write the state if it is old; seldom, if that takes long, since the next row may be waiting by then."""
        now = time.monotonic()
        if self.path is not None and labels.rows > self._rows and now >= self._next:
            self.write(labels)
            self._next = now + max(SECONDS, _SHARE * (time.monotonic() - now))
