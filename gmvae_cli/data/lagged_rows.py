"""Rows of a recording as tensors: standardised, with their lags beside them, never across a gap or two series."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.config import ModelConfig
from gmvae_cli.data.block_features import STD_EPSILON, BlockFeatures
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.model.ar_density import Pattern, context, patterns
from gmvae_cli.model.student_t import LagIndex

_LARGEST_POWER = 0.25  # of the largest number of a dtype: beyond it, a value is as far out as it can count
_CPU = torch.device("cpu")
SAMPLED_ROWS = 1 << 18  # of a long file, for its quartiles
_PIECES = 64


@dataclass(frozen=True)
class Rows:
    """Consecutive rows.

    Args:
        y: (M, n) rows [x, h] as columns, standardised; 0 where nothing was observed.
        mask: (n,) bool, rows with evidence: every lag is there, and some channel.
        observed: (D, n) bool, the channels of x. steps: (n,) int64 as in `markov`.
        past: where the rows of their lags are; only Student t noise asks.
    """

    y: Tensor
    usable: Tensor
    observed: Tensor
    steps: np.ndarray
    lag_index: LagIndex | None = None

    def __len__(self) -> int:
        return self.y.shape[1]

    def rows(self, start: int, stop: int) -> "Rows":
        """Rows [start, stop)."""
        lag_index = None if self.lag_index is None else self.lag_index.cut(self.y, start, stop)
        return Rows(
            self.y[:, start:stop],
            self.usable[start:stop],
            self.observed[:, start:stop],
            self.steps[start:stop],
            lag_index,
        )

    def steps_of(self, start: int, stop: int) -> np.ndarray:
        """How rows [start, stop) follow one another."""
        return self.steps[start:stop]

    @property
    def device(self) -> torch.device:
        """Of the tensors."""
        return self.y.device

    @cached_property
    def partial(self) -> list[Pattern]:
        """The rows with evidence that are partly observed."""
        return patterns(self.observed | ~self.usable)

    @cached_property
    def fully_observed(self) -> Tensor:
        """(n,) bool, rows with evidence that are wholly observed."""
        return self.usable & self.observed.all(0)

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Several stretches after one another; the chain restarts at each."""
        steps = np.concatenate([part.steps for part in parts])
        starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
        steps[starts] = 0
        pasts = [part.lag_index for part in parts if part.lag_index is not None]
        return cls(
            torch.cat([part.y for part in parts], dim=1),
            torch.cat([part.usable for part in parts]),
            torch.cat([part.observed for part in parts], dim=1),
            steps,
            LagIndex.joined(pasts) if pasts else None,
        )


def training_rows(
    data: SeriesData, model: ModelConfig, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
) -> "LaggedRows":
    """A recording as a model to be trained will see it: in blocks if it says so, standardised, centred if it can be."""
    seen: SeriesData | BlockFeatures = data
    if model.summarize > 1:
        seen = BlockFeatures(data, model.summarize, STD_EPSILON * data.scale)
    mean, scale = (seen.mean, seen.scale) if model.noise == "normal" else quartile_standard(seen)
    return LaggedRows(seen, model, mean if model.intercept else np.zeros_like(mean), scale, dtype, device)


def quartile_standard(seen: SeriesData | BlockFeatures) -> tuple[np.ndarray, np.ndarray]:
    """(D,) medians and (D,) quartile ranges / 1.349 (a Normal's standard deviation) of a sample of rows.

    Outliers hardly move them. A channel that is the same in half of its rows keeps its mean and scale.
    """
    length = min(seen.rows, SAMPLED_ROWS // _PIECES)
    starts = np.linspace(0, seen.rows - length, _PIECES if length < seen.rows else 1).astype(int)
    columns = np.concatenate([seen.read(start, start + length)[0] for start in starts.tolist()]).T
    mean, scale = seen.mean.copy(), seen.scale.copy()
    for index, values in enumerate(columns):
        values = values[~np.isnan(values)]
        low, middle, high = np.percentile(values, (25, 50, 75)) if values.size else (0.0, 0.0, 0.0)
        if high > low:
            mean[index], scale[index] = middle, (high - low) / 1.349
    return mean, scale


@dataclass(frozen=True)
class LaggedRows:
    """A recording through the eyes of a model.

    Args:
        mean, scale: (D,) standardised = (value - mean) / scale.
        dtype, device: of the tensors it gives.
    """

    data: SeriesData | BlockFeatures
    model: ModelConfig
    mean: np.ndarray
    scale: np.ndarray
    dtype: torch.dtype = torch.float32
    device: torch.device = _CPU

    def __len__(self) -> int:
        return self.data.rows

    def rows(self, start: int, stop: int) -> Rows:
        """Rows [start, stop) with their lags."""
        if self.model.noise == "normal":
            return self._rows(start, stop)
        first = max(0, start - self.model.context_rows)
        wide = self._rows(first, stop)
        lag_index = LagIndex.of(wide.y, wide.usable, self.model.lags, self.model.stride)
        return replace(wide, lag_index=lag_index).rows(start - first, stop - first)

    def _rows(self, start: int, stop: int) -> Rows:
        lost = self.model.context_rows
        first = max(0, start - lost)
        values, steps = self.data.read(first, stop)
        short = lost - (start - first)
        standard = np.full((values.shape[1], short + len(values)), np.nan)
        for row, column, mean, scale in zip(standard[:, short:], values.T, self.mean, self.scale, strict=True):
            np.subtract(column, mean, out=row)
            with np.errstate(over="ignore"):
                row /= scale
        limit = torch.finfo(self.dtype).max ** _LARGEST_POWER
        x = torch.as_tensor(standard).to(self.device, self.dtype).clamp_(-limit, limit)
        y = context(x, self.model.lags, self.model.stride, self.model.intercept)
        breaks = np.where(steps != 1, np.arange(first, stop), first)
        unbroken = np.arange(start, stop) - np.maximum.accumulate(breaks)[start - first :] >= lost
        usable = torch.as_tensor(unbroken, device=self.device)
        D, observed = x.shape[0], torch.ones_like(y[: x.shape[0]], dtype=torch.bool)
        if bool(x.sum().isnan()):
            missing = y.isnan()
            observed = ~missing[:D]
            usable = usable & ~missing[D:].any(0) & observed.any(0)
            y = torch.where(missing, 0, y)
        return Rows(y if bool(usable.all()) else torch.where(usable, y, 0), usable, observed, steps[start - first :])

    def steps_of(self, start: int, stop: int) -> np.ndarray:
        """How rows [start, stop) follow one another."""
        return self.data.read(start, stop)[1]

    def blocks(self, block_rows: int = 1 << 18, first: int = 0) -> Iterator[Rows]:
        """All rows from `first` on, a block at a time."""
        for start in range(first, len(self), block_rows):
            yield self.rows(start, min(start + block_rows, len(self)))

    def pieces(self, ranges: Sequence[tuple[int, int]]) -> Rows:
        """Several ranges of rows after one another; the chain restarts at each."""
        return Rows.joined([self.rows(start, stop) for start, stop in ranges])
