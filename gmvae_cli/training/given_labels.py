"""Known regimes in training: where a start has others first, and how many labels a model would not give itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.core import Parameters
from gmvae_cli.data.known_labels import KnownLabels
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.inference import apply
from gmvae_cli.metrics import partition
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.expectation import smoothed_labels
from gmvae_cli.training.initialization import numbers_for_known

_MANY = 0.1  # of the rows of a label: so many that the model would label otherwise are worth a warning; chosen
_TIE_BREAKER = 1e-6  # of a share: the regime that a label was held to keeps its name where nothing speaks against it
_LISTED = 20  # labels in a message


@dataclass(frozen=True)
class LabelUse:
    """One known label: its regime, its rows, and those among them that the model would give another regime."""

    name: str
    regime: int
    rows: int
    differing: int


@dataclass(frozen=True)
class KnownSummary:
    """The known labels of a recording beside what the model says of the same rows without them.

    Args:
        column: of the labels. rows: with a label. differing: those whose label the model would not give.
    """

    column: str
    rows: int
    differing: int
    labels: list[LabelUse]

    @property
    def notes(self) -> list[Note]:
        """A warning for each label that many of its rows contradict."""
        return [
            Note(
                "labels_contradicted",
                f"{label.differing:,} of the {label.rows:,} rows labelled '{label.name}' in column '{self.column}' "
                "look like another regime; they stay as they are labelled, see whether that is right",
            )
            for label in self.labels
            if label.differing > _MANY * label.rows
        ]


def require_regimes(data: SeriesData, regimes: int | None) -> None:
    """Check that a number of regimes can be had with the known labels; None, left to the data, always can.

    Raises:
        SeriesError: there are more labels, or no row without a label for further regimes.
    """
    known = data.known
    if known is None or regimes is None:
        return
    labels = len(known.names)
    if regimes < labels:
        raise SeriesError(
            f"{data.name}: column '{known.column}' has {labels} different labels ({_listed(known.names)}), but "
            f"--regimes is {regimes}; it counts known and unknown ones, so give {labels} or more"
        )
    if regimes > labels and known.is_complete:
        raise SeriesError(
            f"{data.name}: column '{known.column}' labels every row, with {labels} different labels, so no row is left "
            f"for {regimes - labels} more of --regimes {regimes}; give --regimes {labels}"
        )


def require_sampled(lagged_rows: LaggedRows, rows: Rows) -> None:
    """Check that each known label has rows, or blocks, to learn from.

    Raises:
        SeriesError: a label has none, since blocks are longer than its stretches.
    """
    known = lagged_rows.data.known
    if known is None or rows.known is None:
        return
    counts = torch.bincount(rows.known[rows.known >= 0], minlength=len(known.names)).tolist()
    missing = [name for name, count in zip(known.names, counts, strict=True) if not count]
    if missing:
        raise SeriesError(
            f"{lagged_rows.data.name}: no block of {lagged_rows.model.summarize} rows has the label "
            f"{_listed([repr(name) for name in missing])} in most of its rows; label longer stretches, or give "
            "--summarize fewer rows"
        )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def order_for_known(rows: Rows, parameters: Parameters, iid_prior: bool) -> NDArray[np.int64]:
    """Order regimes so that the first are those that the rows of the known ones look most like: (K,) old numbers."""
    regimes = len(parameters.chain.initial_probs)
    if rows.known is None:
        return np.arange(regimes)
    labels = smoothed_labels(replace(rows, known=None), parameters, iid_prior)
    return np.argsort(numbers_for_known(labels, rows.known.cpu().numpy(), regimes))


def named(known: KnownLabels | None, earlier: Sequence[str], order: Sequence[int]) -> tuple[str, ...]:
    """Return the names of K regimes of which the first are the known ones; others have those of an earlier model.

    Args:
        earlier: K names, or none. order: (K,) the numbers that the regimes had in the earlier model.
    """
    if known is None:
        return tuple(earlier)
    others = [earlier[number] if earlier else "" for number in order]
    return (*known.names, *others[len(known.names) :])


def summary_of(
    data: SeriesData, trained: Checkpoint, device: str, progress: Progress
) -> tuple[Checkpoint, KnownSummary | None]:
    """Compare known labels with those that the model gives the same rows by itself, as `infer` would; None without any.

    A name goes to the regime that the rows with this label look most like. That is the one that they were held to,
    unless wrong labels have made it so wide that another one explains the right ones better.

    Returns:
        the model with these names, and the comparison.
    Raises:
        GmvaeError: the disk is full.
    """
    known = data.known
    if known is None:
        return trained, None
    held_to = known.positions_in(trained.names)
    table = np.zeros((len(known.names), trained.model.regimes), np.int64)
    start = 0
    with apply.infer(data, trained, "smooth", device, progress=progress) as inferred:
        for block in inferred.blocks():
            labels = known.read(start, start + len(block))
            np.add.at(table, (labels[labels >= 0], block.regimes[labels >= 0]), 1)
            start += len(block)
    rows = table.sum(axis=1)
    utility = table / np.maximum(rows[:, None], 1) + _TIE_BREAKER
    utility[np.arange(len(held_to)), held_to] += _TIE_BREAKER
    numbers = partition.match(utility)
    names = np.array(["" if name in known.names else name for name in trained.names], dtype=object)
    names[numbers] = known.names
    trained = replace(trained, names=tuple(names.tolist()))
    differing = rows - table[np.arange(len(numbers)), numbers]
    uses: list[Any] = list(zip(known.names, numbers.tolist(), rows.tolist(), differing.tolist(), strict=True))
    summary = KnownSummary(known.column, int(rows.sum()), int(differing.sum()), [LabelUse(*use) for use in uses])
    return trained, summary
