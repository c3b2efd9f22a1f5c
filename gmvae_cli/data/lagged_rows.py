"""Rows of a recording as tensors: standardised, with their lags beside them, never across a gap or two series."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.config import ModelConfig
from gmvae_cli.data.block_features import FLOOR, Summaries
from gmvae_cli.data.series_data import Recording
from gmvae_cli.model.ar_density import Pattern, context, patterns
from gmvae_cli.model.student_t import Past

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
    mask: Tensor
    observed: Tensor
    steps: np.ndarray
    past: Past | None = None

    def __len__(self) -> int:
        return self.y.shape[1]

    def rows(self, start: int, stop: int) -> "Rows":
        """Rows [start, stop)."""
        past = None if self.past is None else self.past.cut(self.y, start, stop)
        return Rows(
            self.y[:, start:stop], self.mask[start:stop], self.observed[:, start:stop], self.steps[start:stop], past
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
        return patterns(self.observed | ~self.mask)

    @cached_property
    def complete(self) -> Tensor:
        """(n,) bool, rows with evidence that are wholly observed."""
        return self.mask & self.observed.all(0)

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Several stretches after one another; the chain restarts at each."""
        steps = np.concatenate([part.steps for part in parts])
        starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
        steps[starts] = 0
        pasts = [part.past for part in parts if part.past is not None]
        return cls(
            torch.cat([part.y for part in parts], dim=1),
            torch.cat([part.mask for part in parts]),
            torch.cat([part.observed for part in parts], dim=1),
            steps,
            Past.joined(pasts) if pasts else None,
        )


def view(
    recording: Recording, model: ModelConfig, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
) -> "Windows":
    """A recording as a model to be trained will see it: in blocks if it says so, standardised, centred if it can be."""
    seen: Recording | Summaries = recording
    if model.summarize > 1:
        seen = Summaries(recording, model.summarize, FLOOR * recording.scale)
    mean, scale = (seen.mean, seen.scale) if model.noise == "normal" else quartile_standard(seen)
    return Windows(seen, model, mean if model.intercept else np.zeros_like(mean), scale, dtype, device)


def quartile_standard(seen: Recording | Summaries) -> tuple[np.ndarray, np.ndarray]:
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
class Windows:
    """A recording through the eyes of a model.

    Args:
        mean, scale: (D,) standardised = (value - mean) / scale.
        dtype, device: of the tensors it gives.
    """

    recording: Recording | Summaries
    model: ModelConfig
    mean: np.ndarray
    scale: np.ndarray
    dtype: torch.dtype = torch.float32
    device: torch.device = _CPU

    def __len__(self) -> int:
        return self.recording.rows

    def rows(self, start: int, stop: int) -> Rows:
        """Rows [start, stop) with their lags."""
        if self.model.noise == "normal":
            return self._rows(start, stop)
        first = max(0, start - self.model.context_rows)
        wide = self._rows(first, stop)
        past = Past.of(wide.y, wide.mask, self.model.lags, self.model.stride)
        return replace(wide, past=past).rows(start - first, stop - first)

    def _rows(self, start: int, stop: int) -> Rows:
        lost = self.model.context_rows
        first = max(0, start - lost)
        values, steps = self.recording.read(first, stop)
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
        mask = torch.as_tensor(unbroken, device=self.device)
        D, observed = x.shape[0], torch.ones_like(y[: x.shape[0]], dtype=torch.bool)
        if bool(x.sum().isnan()):
            missing = y.isnan()
            observed = ~missing[:D]
            mask = mask & ~missing[D:].any(0) & observed.any(0)
            y = torch.where(missing, 0, y)
        return Rows(y if bool(mask.all()) else torch.where(mask, y, 0), mask, observed, steps[start - first :])

    def steps_of(self, start: int, stop: int) -> np.ndarray:
        """How rows [start, stop) follow one another."""
        return self.recording.read(start, stop)[1]

    def blocks(self, block_rows: int = 1 << 18, first: int = 0) -> Iterator[Rows]:
        """All rows from `first` on, a block at a time."""
        for start in range(first, len(self), block_rows):
            yield self.rows(start, min(start + block_rows, len(self)))

    def pieces(self, ranges: Sequence[tuple[int, int]]) -> Rows:
        """Several ranges of rows after one another; the chain restarts at each."""
        return Rows.joined([self.rows(start, stop) for start, stop in ranges])
