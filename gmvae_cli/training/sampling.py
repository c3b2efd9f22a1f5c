"""Selection of rows: the sample in memory, the rows held out for validation, and smaller subsamples."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.config import TrainConfig
from gmvae_cli.data.known_labels import KnownLabels
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.errors import SeriesError

SAMPLE_ROWS = 1 << 18  # rows held in memory at most; the standard error of a mean is then 0.2 % of a deviation
_PIECE = 4_096  # rows of a piece of the sample, 64 pieces in all: long beside visits of some hundred rows
_SUBSAMPLE_PIECE, _FEWEST_PIECES = 2_000, 4  # rows of a piece of a subsample, and its pieces; chosen, not measured
_VALIDATION_FROM = 2_000  # rows; a shorter file keeps none out, since a tenth of it is too short to score a model by
_BLOCK_ROWS = 200  # rows of a held-out block at least, and 10 blocks at most: each longer than a usual visit
# Draws of held-out rows until one has values and leaves each known regime half of its labelled rows to learn from; then
# none are held out. Chosen, not measured
_DRAWS = 8
_LABELLED_SHARE = (
    0.5  # of the pieces of a sample, at most, that are chosen because they have labels; chosen, not measured
)

Ranges = Sequence[tuple[int, int]]


class Sample(NamedTuple):
    """The rows that training holds in memory.

    Args:
        rows: to learn from. validation: ranges of the rows held out, none of a short file.
    """

    rows: Rows
    validation: Ranges


def require_rows(lagged_rows: LaggedRows, config: TrainConfig) -> None:
    """Check that there are rows enough for the model.

    Raises:
        SeriesError: as in `draw`.
    """
    draw(lagged_rows, config)


def draw(lagged_rows: LaggedRows, config: TrainConfig) -> Sample:
    """Draw the sample and the held-out rows, again where the latter fall into a stretch without values.

    Raises:
        SeriesError: too few fully observed rows for the model.
    """
    sample = _drawn(lagged_rows, config)
    check_enough(lagged_rows, sample.rows)
    return sample


def check_enough(lagged_rows: LaggedRows, rows: Rows, condition: str = "") -> None:
    """Check that rows are enough for a regression in each regime, two more than the entries of its context.

    Args:
        rows: some of `lagged_rows`, to learn from. condition: how they were selected, for the message.
    Raises:
        SeriesError: too few fully observed rows for the model.
    """
    complete, regimes, D = int(rows.fully_observed.sum()), lagged_rows.model.regimes, len(lagged_rows.mean)
    needed = regimes * (rows.y.shape[0] - D + 2)
    if complete < needed:
        raise SeriesError(
            f"{lagged_rows.data.name}: {complete} rows are complete with all their lags{condition}, but {regimes} "
            f"regimes of {D} channels need at least {needed}; give more rows, or fewer --regimes, --lags or --channels"
        )


def _drawn(lagged_rows: LaggedRows, config: TrainConfig) -> Sample:
    rng = np.random.default_rng(config.seed)
    for share in (config.validation,) * _DRAWS + (0.0,):
        training, validation = split(len(lagged_rows), share, rng, lagged_rows.known_counts)
        rows = lagged_rows.pieces(training)
        if not validation:
            break
        held_out = lagged_rows.pieces(validation)
        has_values = float(held_out.usable.float().mean()) >= 0.5 * float(rows.usable.float().mean())
        if has_values and _leaves_labels(rows, held_out):
            return Sample(rows, validation)
    return Sample(rows, ())


def _leaves_labels(rows: Rows, held_out: Rows) -> bool:
    """Return whether at least as many rows of each known regime are learned from as held out."""
    if rows.known is None or held_out.known is None:
        return True
    regimes = 1 + int(torch.cat([rows.known, held_out.known]).max())
    left, lost = (torch.bincount(known[known >= 0], minlength=regimes) for known in (rows.known, held_out.known))
    return bool((left >= lost).all())


def split(
    rows: int,
    validation: float,
    rng: np.random.Generator,
    known_counts: Callable[[Ranges], NDArray[np.int64]] | None = None,
) -> tuple[Ranges, Ranges]:
    """Choose ranges to train on, at most `SAMPLE_ROWS` rows in all, and ranges to validate on, in contiguous blocks.

    Args:
        rows: T, of the file; none of a short one (below 2,000) are held out. validation: the share to hold out.
        known_counts: counts the labelled rows of each known regime in ranges; None: no row is labelled.
    """
    held: list[tuple[int, int]] = []
    if rows >= _VALIDATION_FROM and validation > 0:
        count = int(np.clip(rows * validation // _BLOCK_ROWS, 1, 10))
        span = rows / count
        length = max(1, int(min(rows * validation, SAMPLE_ROWS / 8) / count))
        shift = rng.uniform(0.1, 0.9, size=count) * (span - length)
        held = [(int(i * span + s), int(i * span + s) + length) for i, s in enumerate(shift)]
    edges = [0, *(edge for pair in held for edge in pair), rows]
    free = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]
    if sum(b - a for a, b in free) <= SAMPLE_ROWS:
        return free, held
    pieces = [(s, min(s + _PIECE, b)) for a, b in free for s in range(a, b, _PIECE)]
    count = SAMPLE_ROWS // _PIECE
    if known_counts is None:
        chosen = np.sort(rng.choice(len(pieces), count, replace=False))
        return [pieces[i] for i in chosen], held
    counts = known_counts(pieces)
    labelled = pieces_with_labels(counts, min(count, max(int(_LABELLED_SHARE * count), counts.shape[1])))
    others = np.setdiff1d(np.arange(len(pieces)), labelled)
    chosen = np.sort(np.append(labelled, rng.choice(others, count - len(labelled), replace=False)))
    return [pieces[i] for i in chosen], held


def pieces_with_labels(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Choose pieces by the labels in them: for each label in turn that which has most of it and is not chosen yet.

    Args:
        counts: (P, L) rows of each label in each piece. most: pieces at most.
    Returns:
        positions of pieces, each with a label.
    """
    order = [iter(np.argsort(-column, kind="stable")[: np.count_nonzero(column)].tolist()) for column in counts.T]
    chosen: list[int] = []
    while order and len(chosen) < most:
        for remaining in order[:]:
            piece = next((index for index in remaining if index not in chosen), None)
            if piece is None:
                order.remove(remaining)
            elif len(chosen) < most:
                chosen.append(piece)
    return np.array(chosen, np.int64)


def spread(rows: int, limit: int) -> Ranges:
    """Choose evenly spaced ranges of some thousand rows, in all at most about `limit` of so many rows."""
    if rows <= limit:
        return [(0, rows)]
    starts = np.linspace(0, rows - _SUBSAMPLE_PIECE, limit // _SUBSAMPLE_PIECE).astype(int).tolist()
    return [(start, start + _SUBSAMPLE_PIECE) for start in starts]


def subsample(rows: Rows, limit: int) -> Rows:
    """Keep at most about `limit` rows, in long evenly spaced pieces; up to half of them are chosen by their labels."""
    if len(rows) <= limit:
        return rows
    labels = 0 if rows.known is None else 1 + int(rows.known.max())
    length = max(1, min(_SUBSAMPLE_PIECE, limit // max(_FEWEST_PIECES, 2 * labels)))
    count = limit // length
    starts = np.linspace(0, len(rows) - length, count).astype(int)
    if labels and rows.known is not None:
        known = rows.known.cpu().numpy()
        starts = with_labelled(starts, len(rows), length, KnownLabels.from_array(known).counts_in)
    return Rows.joined([rows.rows(start, start + length) for start in starts.tolist()])


def with_labelled(
    starts: NDArray[np.int64], rows: int, length: int, known_counts: Callable[[Ranges], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Put pieces that have labels in the place of some of those that begin at `starts`, of `length` rows each.

    Args:
        rows: n, more than those of the pieces together. known_counts: as of `split`.
    """
    grid = np.append(np.arange(0, rows - length, length), rows - length)
    counts = known_counts([(start, start + length) for start in grid.tolist()])
    labelled = grid[pieces_with_labels(counts, int(_LABELLED_SHARE * len(starts)))]
    apart = starts[(np.abs(starts[:, None] - labelled) >= length).all(axis=1)]
    kept = apart[np.linspace(0, len(apart) - 1, min(len(apart), len(starts) - len(labelled))).astype(int)]
    return np.sort(np.append(labelled, kept))
