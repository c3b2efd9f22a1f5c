"""`gmvae infer - --follow`: label rows as they arrive, one line out for each line in."""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.errors import ConfigError, GmvaeError, Note, SeriesError
from gmvae_cli.filtering.filter_model import FilterModel, load
from gmvae_cli.live.cells import LineError
from gmvae_cli.live.feed import Feed, Stopped, opened
from gmvae_cli.live.feed_labels import FeedLabels
from gmvae_cli.live.state_file import SECONDS, StateKeeper
from gmvae_cli.live_config import LiveConfig

_LINES = 8  # that are labelled before they are written: a fifth of a millisecond


def follow(
    inputs: Sequence[str],
    model_path: str,
    output: str,
    live: LiveConfig,
    inference: InferConfig,
    files: SeriesConfig,
    *,
    not_possible: Mapping[str, object],
    on_error: Callable[[str], None],
    on_note: Callable[[Note], None],
    source: int = 0,
    target: int = 1,
) -> None:
    """Label the rows that arrive until they end, nobody reads them any more, or a signal comes.

    Args:
        not_possible: options that are for whole files, with what was given. on_error: is called with a sentence for
            each line that is left out. on_note: with what is worth a note.
        source, target: descriptors to read from and to write to.
    Raises:
        LineError: a line cannot be used, and none is to be left out. CheckpointError: a model or state that does not
            fit. ConfigError: options that contradict each other.
    """
    _require_possible(inputs, output, inference, files, not_possible)
    if None in (sys.stdin, sys.stdout):
        raise SeriesError("stdin or stdout is closed, but --follow reads from the one and writes to the other")
    model = load(model_path)
    if live.lag and model.std_epsilon is not None:
        raise ConfigError("--lag carries rows back, but this model labels rows from the blocks before; leave it out")
    for note in _notes(model):
        on_note(note)
    keeper = StateKeeper(live.state, live.state_every, model.digest, [model_path])
    labels = FeedLabels(model, model_path, live, inference, files, keeper.read(model_path))
    gc.disable()  # nothing here makes cycles, and looking for them takes tens of milliseconds with many series
    try:
        with opened(source, target) as feed:
            number = _run(feed, labels, live, keeper, on_error, on_note)
    finally:
        gc.enable()
    if number:
        os.kill(os.getpid(), number)  # whoever called handles it as ever


def _run(
    feed: Feed,
    labels: FeedLabels,
    live: LiveConfig,
    keeper: StateKeeper,
    on_error: Callable[[str], None],
    on_note: Callable[[Note], None],
) -> int:
    """Label lines until the feed ends; return the signal that ended it, or 0."""
    number = 0
    try:
        for lines in feed.portions(None if keeper.path is None else SECONDS):
            for start in range(0, len(lines), _LINES):
                _take(lines[start : start + _LINES], labels, live, on_error)
                _write(feed, labels)
                keeper.write_if_due(labels)
            note = labels.note_on_step()
            if note is not None:
                on_note(note)
            if not lines:
                keeper.write_while_idle(labels)
    except Stopped as stopped:
        number = stopped.number
    except (OSError, GmvaeError):  # the reader has gone, or its disk is full
        _end(feed, labels, keeper)
        raise
    _end(feed, labels, keeper)
    return number


def _take(lines: Sequence[bytes], labels: FeedLabels, live: LiveConfig, on_error: Callable[[str], None]) -> None:
    """Label some lines, of which broken ones are left out, or end the feed."""
    for line in lines:
        try:
            labels.take(line)
        except LineError as error:
            sentence = f"stdin: line {labels.line}: {error}"
            if live.on_error == "stop":
                raise LineError(sentence) from None
            labels.skip()
            on_error(sentence)


def _write(feed: Feed, labels: FeedLabels) -> None:
    """Write the lines that are done."""
    text = "".join(labels.out)
    labels.out.clear()
    feed.write(text)


def _end(feed: Feed, labels: FeedLabels, keeper: StateKeeper) -> None:
    """Write what is done, then the state; without a state, also the rows that wait for later ones."""
    if keeper.path is None:
        labels.finish()
    with suppress(Stopped, OSError):
        _write(feed, labels)
    keeper.write(labels, feed.unwritten.decode())


def _require_possible(
    inputs: Sequence[str],
    output: str,
    inference: InferConfig,
    files: SeriesConfig,
    not_possible: Mapping[str, object],
) -> None:
    """Reject options that rows cannot follow."""
    if list(inputs) != ["-"]:
        raise ConfigError(f"--follow reads rows from stdin, but the input is '{' '.join(inputs)}'; give -")
    if output != "-":
        raise ConfigError(f"--follow writes rows to stdout, but --output is '{output}'; give -, and > {output} behind")
    if inference.posterior in ("viterbi", "encoder"):
        raise ConfigError(f"--follow labels rows by --posterior filter, but it is {inference.posterior}; leave it out")
    given: dict[str, object] = {
        **not_possible,
        "--min-dwell": inference.min_dwell,
        "--manifest": inference.manifest,
        "--fail-under": inference.fail_under,
        "--sort": files.sort,
    }
    for option, value in given.items():
        if value:
            raise ConfigError(f"{option} is for whole files, not for rows that arrive one by one; leave it out")
    encoding = files.encoding or "utf-8"
    if "\n".encode(encoding) != b"\n":
        raise ConfigError(f"--encoding is '{encoding}', in which lines cannot be told apart; put iconv in front")


def _notes(model: FilterModel) -> list[Note]:
    """Say what labels of this model do not know."""
    config, notes = model.config, []
    if config.summarize > 1:
        sentence = f"rows are labelled from the blocks of {config.summarize} rows before their own"
        notes.append(
            Note("blocks_before", f"{sentence}, which holds later rows; log-likelihoods stand in its last row")
        )
    if config.shortest_visit > 1:
        sentence = "knows no later row, so visits may be shorter than in training"
        notes.append(Note("min_dwell_dropped", f"--follow {sentence} ({config.shortest_visit} rows)"))
    return notes
