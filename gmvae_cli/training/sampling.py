"""Selection of rows: the sample in memory, the rows held out for validation, and smaller subsamples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gmvae_cli.config import TrainConfig
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.errors import SeriesError

SAMPLE_ROWS = 1 << 18  # rows held in memory at most; the standard error of a mean is then 0.2 % of a deviation
_PIECE = 4_096  # rows of a piece of the sample, 64 pieces in all: long beside visits of some hundred rows
_SUBSAMPLE_PIECE, _FEWEST_PIECES = 2_000, 4  # rows of a piece of a subsample, and its pieces; chosen, not measured
_VALIDATION_FROM = 2_000  # rows; a shorter file keeps none out, since a tenth of it is too short to rank starts by
_BLOCK_ROWS = 200  # rows of a held-out block at least, and 10 blocks at most: each longer than a usual visit
_DRAWS = 8  # draws of held-out rows until one has values; then none are held out; chosen, not measured

Ranges = Sequence[tuple[int, int]]


class Sample(NamedTuple):
    """The rows that training holds in memory.

    Args:
        rows: to learn from. held_out: rows for validation, None where there are none; validation: their ranges.
    """

    rows: Rows
    held_out: Rows | None
    validation: Ranges

    @property
    def judged_on(self) -> Rows:
        """The rows by whose likelihood starts are compared: the held-out ones, if there are any."""
        return self.held_out or self.rows


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
        training, validation = split(len(lagged_rows), share, rng)
        rows = lagged_rows.pieces(training)
        if not validation:
            break
        held_out = lagged_rows.pieces(validation)
        if float(held_out.usable.float().mean()) >= 0.5 * float(rows.usable.float().mean()):
            return Sample(rows, held_out, validation)
    return Sample(rows, None, ())


def split(rows: int, validation: float, rng: np.random.Generator) -> tuple[Ranges, Ranges]:
    """Choose ranges to train on, at most `SAMPLE_ROWS` rows in all, and ranges to validate on, in contiguous blocks.

    Args:
        rows: T, of the file; none of a short one (below 2,000) are held out. validation: the share to hold out.
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
    chosen = np.sort(rng.choice(len(pieces), SAMPLE_ROWS // _PIECE, replace=False))
    return [pieces[i] for i in chosen], held


def subsample(rows: Rows, limit: int) -> Rows:
    """Keep at most about `limit` rows, in long evenly spaced pieces."""
    if len(rows) <= limit:
        return rows
    length = max(1, min(_SUBSAMPLE_PIECE, limit // _FEWEST_PIECES))
    starts = np.linspace(0, len(rows) - length, limit // length).astype(int)
    return Rows.joined([rows.rows(start, start + length) for start in starts.tolist()])
