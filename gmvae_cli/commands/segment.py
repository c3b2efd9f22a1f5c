"""`gmvae segment`: what one command from a raw file to labels adds to train, infer and plot, which do the work."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from gmvae_cli.errors import ConfigError, Note, SeriesError
from gmvae_cli.files.atomic import require_apart, require_writable
from gmvae_cli.files.inputs import SUFFIXES, suffix_of
from gmvae_cli.metrics.segments import Ribbon
from gmvae_cli.plotting.figure import format_of


class Paths(NamedTuple):
    """Files that may be read more than once, or go when the command ends."""

    input: str
    model: str


@dataclass(frozen=True, kw_only=True)
class SegmentResult:
    """What was found, and how the recording was seen.

    Args:
        stride, summarize: rows between lags, and rows in a block that stands for them (1: the rows themselves).
        agreement: of the consensus with the labellings of all views, as in `views`; None: likelihood decides alone.
    """

    rows: int
    channels: list[str]
    regimes: int
    shares: list[float]
    expected_dwell: list[float]
    segments: int
    stride: int
    summarize: int
    evidence_scale: float
    agreement: float | None
    log_likelihood_per_row: float | None
    seconds: float
    warnings: list[Note]
    output: str
    model: str | None
    plot: str | None
    ribbon: Ribbon | None


@contextmanager
def prepared(
    input_file: str, output: str, model: str | None, plot: str | None, segments: str | None
) -> Iterator[Paths]:
    """The input as a file that can be read twice, and a place for the model if it is not to be kept.

    Raises:
        ConfigError: an output of no known format, or two that are one. SeriesError: an output cannot be made, or stdin
            cannot be kept.
    """
    if plot is not None and output == "-":
        raise ConfigError("--plot draws the labelled file, but --output is -; name a file for the output")
    if output != "-":
        require_apart({"--output": output})
        if suffix_of(output) is None:
            raise ConfigError(f"{output}: the name ends in none of {', '.join(SUFFIXES)}, so the format is unknown")
    if plot is not None:
        format_of(plot)
    require_apart({"--model": model, "--plot": plot, "--segments": segments}, [input_file, output])
    for path in (output, model, plot, segments):
        if path is not None:
            require_writable(path)
    with tempfile.TemporaryDirectory() as folder:
        if input_file == "-":
            input_file = os.path.join(folder, "stdin.csv")
            try:
                with open(input_file, "wb") as spool:
                    shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
            except OSError as error:
                raise SeriesError(f"stdin: cannot be kept in {folder} ({error.strerror}); set TMPDIR") from error
        yield Paths(input_file, os.path.join(folder, "model.safetensors") if model is None else model)


def summary(trained: Any, labelled: Any, model: str | None, plot: str | None) -> SegmentResult:
    """One result from those of `train` and `infer`."""
    known = {note.code for note in trained.warnings}
    later = [note for note in labelled.warnings if note.code not in known]
    return SegmentResult(
        rows=labelled.rows,
        channels=trained.channels,
        regimes=trained.regimes,
        shares=labelled.shares,
        expected_dwell=labelled.expected_dwell,
        segments=labelled.segments,
        stride=trained.stride,
        summarize=trained.summarize,
        evidence_scale=trained.evidence_scale,
        agreement=trained.agreement,
        log_likelihood_per_row=labelled.log_likelihood_per_row,
        seconds=trained.seconds + labelled.seconds,
        warnings=[*trained.warnings, *later],
        output=labelled.output,
        model=model,
        plot=plot,
        ribbon=labelled.ribbon,
    )
