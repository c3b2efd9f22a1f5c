"""Rows of a series as tensors: standardised, with their lags beside them, never across a gap or two series.

Letters of the shapes: n rows, D channels, M = D (P + 1) + 1 entries of a row x_t, its P lags and the intercept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.config import ModelConfig
from gmvae_cli.data.block_features import STD_EPSILON, block_features
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.data.waveform_features import waveform_features
from gmvae_cli.model.ar_density import Pattern, context, patterns
from gmvae_cli.model.known_regimes import UNKNOWN
from gmvae_cli.model.student_t import LagIndex

_LARGEST_POWER = 0.25  # values are limited to (largest number of the dtype)^0.25: products of four stay finite
_CPU = torch.device("cpu")
SAMPLED_ROWS = 1 << 18  # of a long file, for its quartiles; their error is about 0.003 standard deviations
_PIECES = 64  # evenly spread stretches that the sample consists of
_NORMAL_QUARTILES = 1.349  # distance of the quartiles of a Normal distribution, in standard deviations

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Rows:
    """Consecutive rows in memory.

    Args:
        y: (M, n) columns [x_t, h_t]: the standardised row and its lags; 0 where not observed.
        usable: (n,) bool, rows that can be scored: all lags are known, and some channel of the row.
        observed: (D, n) bool, known channels of x_t.
        steps: (n,) int64, 0 where a series starts, 1 for the next row, m > 1 where m - 1 rows are missing before it.
        lag_index: positions of the lags among the rows; only for Student t noise.
        known: (n,) int64, the regime of a row, -1 where it is not known; None: it is known of none.
    """

    y: Tensor
    usable: Tensor
    observed: Tensor
    steps: np.ndarray
    lag_index: LagIndex | None = None
    known: Tensor | None = None

    def __len__(self) -> int:
        return self.y.shape[1]

    def rows(self, start: int, stop: int) -> "Rows":
        """Return rows [start, stop)."""
        lag_index = None if self.lag_index is None else self.lag_index.cut(self.y, start, stop)
        return Rows(
            self.y[:, start:stop],
            self.usable[start:stop],
            self.observed[:, start:stop],
            self.steps[start:stop],
            lag_index,
            None if self.known is None else self.known[start:stop],
        )

    @cached_property
    def partial(self) -> list[Pattern]:
        """Usable rows with some channels missing, by the pattern of missing channels."""
        return patterns(self.observed | ~self.usable)

    @cached_property
    def fully_observed(self) -> Tensor:
        """(n,) bool, usable rows with all channels known."""
        return self.usable & self.observed.all(0)

    @cached_property
    def counted(self) -> Tensor:
        """(n,) bool, rows that the likelihood counts: usable ones, and those of a known regime."""
        return self.usable if self.known is None else self.usable | (self.known >= 0)

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Concatenate stretches of rows; the chain restarts at the first row of each."""
        steps = np.concatenate([part.steps for part in parts])
        starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
        steps[starts] = 0
        indices = [part.lag_index for part in parts if part.lag_index is not None]
        known = [part.known for part in parts if part.known is not None]
        return cls(
            torch.cat([part.y for part in parts], dim=1),
            torch.cat([part.usable for part in parts]),
            torch.cat([part.observed for part in parts], dim=1),
            steps,
            LagIndex.joined(indices) if indices else None,
            torch.cat(known) if known else None,
        )


def training_rows(
    data: SeriesData, model: ModelConfig, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
) -> "LaggedRows":
    """Prepare a series for training: as block features if the model has them, standardised.

    Normal noise: by mean and standard deviation; Student t noise: by median and quartiles. Without an intercept the
    mean is not subtracted. Labels that are known number the first regimes.
    """
    if model.waveforms:
        data = waveform_features(data, model.summarize, model.waveforms)
    elif model.summarize > 1:
        data = block_features(data, model.summarize, STD_EPSILON * data.scale)
    mean, scale = (data.mean, data.scale) if model.noise == "normal" else quartile_standard(data)
    known = None if data.known is None else np.arange(len(data.known.names))
    return LaggedRows(data, model, mean if model.intercept else np.zeros_like(mean), scale, dtype, device, known=known)


def quartile_standard(data: SeriesData) -> tuple[np.ndarray, np.ndarray]:
    """Compute (D,) medians and (D,) quartile distances / 1.349 of a sample of rows, which outliers hardly change.

    A channel whose quartiles are equal keeps its mean and standard deviation.
    """
    length = min(data.rows, SAMPLED_ROWS // _PIECES)
    starts = np.linspace(0, data.rows - length, _PIECES if length < data.rows else 1).astype(int)
    columns = np.concatenate([data.read(start, start + length)[0] for start in starts.tolist()]).T
    mean, scale = data.mean.copy(), data.scale.copy()
    for index, values in enumerate(columns):
        values = values[~np.isnan(values)]
        low, middle, high = np.percentile(values, (25, 50, 75)) if values.size else (0.0, 0.0, 0.0)
        if high > low:
            mean[index], scale[index] = middle, (high - low) / _NORMAL_QUARTILES
    return mean, scale


@dataclass(frozen=True)
class LaggedRows:
    """A series as a model sees it: any rows with their lags, on request.

    Args:
        data: the rows, or the features of their blocks.
        mean, scale: (D,) standardised = (value - mean) / scale.
        dtype, device: of the tensors returned.
        ranges: rows to return, one range after another; the chain restarts at each range. None: all rows.
        restarts: False: the chain goes on at the first row of a range, if the series does.
        known: (L,) the regime of each of the data's known labels; None: labels are not looked at.
    """

    data: SeriesData
    model: ModelConfig
    mean: np.ndarray
    scale: np.ndarray
    dtype: torch.dtype = torch.float32
    device: torch.device = _CPU
    ranges: Ranges | None = None
    restarts: bool = True
    known: np.ndarray | None = None

    def __len__(self) -> int:
        return self.data.rows if self.ranges is None else sum(stop - start for start, stop in self.ranges)

    def rows(self, start: int, stop: int) -> Rows:
        """Return rows [start, stop) with their lags, which at the start of a range lie before it in the series."""
        if self.ranges is None:
            return self._lagged(start, stop)
        located = self._located(start, stop)
        parts = [self._lagged(low, high) for low, high in located]
        joined = Rows.joined(parts)
        if not self.restarts or located[0][0] not in {first for first, _ in self.ranges}:
            joined.steps[0] = parts[0].steps[0]  # the chain goes on
        return joined

    def file_rows(self, start: int, stop: int) -> np.ndarray | None:
        """Return (n,) rows of the file in each of the blocks [start, stop); None where rows are not blocks."""
        edges = self.data.edges
        if edges is None:
            return None
        return np.concatenate([np.diff(edges[low : high + 1]) for low, high in self._located(start, stop)])

    @property
    def known_counts(self) -> Callable[[Ranges], np.ndarray] | None:
        """A function that counts the rows (R, L) of each known label in R ranges of the series; None without labels."""
        labels = self.data.known
        return None if self.known is None or labels is None else labels.counts_in

    def _located(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the ranges of the series that rows [start, stop) are."""
        if self.ranges is None:
            return [(start, stop)]
        located, offset = [], 0
        for first, last in self.ranges:
            low, high = first + max(start - offset, 0), min(first + stop - offset, last)
            if low < high:
                located.append((low, high))
            offset += last - first
        return located

    def _lagged(self, start: int, stop: int) -> Rows:
        """Return rows [start, stop) of the series, with a `lag_index` if the model has Student t noise."""
        if self.model.noise == "normal":
            return self._standardised(start, stop)
        first = max(0, start - self.model.context_rows)
        wide = self._standardised(first, stop)
        lag_index = LagIndex.of(wide.y, wide.usable, self.model.lags, self.model.stride)
        return replace(wide, lag_index=lag_index).rows(start - first, stop - first)

    def _standardised(self, start: int, stop: int) -> Rows:
        """Read rows [start, stop) and those of their lags, standardise them and mark the usable ones."""
        lost = self.model.context_rows
        first = max(0, start - lost)
        values, steps = self.data.read(first, stop)
        x = self._tensor(values, lost - (start - first))
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
        y = y if bool(usable.all()) else torch.where(usable, y, 0)
        return Rows(y, usable, observed, steps[start - first :], known=self._known(start, stop))

    def _known(self, start: int, stop: int) -> Tensor | None:
        """Return the known regimes (n,) of rows [start, stop) of the series."""
        if self.known is None or self.data.known is None:
            return None
        regimes = np.append(self.known, UNKNOWN)[self.data.known.read(start, stop)]
        return torch.as_tensor(regimes, dtype=torch.int64, device=self.device)

    def _tensor(self, values: np.ndarray, unknown: int) -> Tensor:
        """Standardise values (n, D) to (D, unknown + n), the first `unknown` of them NaN."""
        standard = np.full((values.shape[1], unknown + len(values)), np.nan)
        for row, column, mean, scale in zip(standard[:, unknown:], values.T, self.mean, self.scale, strict=True):
            np.subtract(column, mean, out=row)
            with np.errstate(over="ignore"):
                row /= scale
        limit = torch.finfo(self.dtype).max ** _LARGEST_POWER
        return torch.as_tensor(standard).to(self.device, self.dtype).clamp_(-limit, limit)

    def blocks(self, block_rows: int = 1 << 18, first: int = 0) -> Iterator[Rows]:
        """Yield all rows from `first` on, in blocks of `block_rows` rows."""
        for start in range(first, len(self), block_rows):
            yield self.rows(start, min(start + block_rows, len(self)))

    def pieces(self, ranges: Ranges) -> Rows:
        """Return the rows of several ranges, one after another; the chain restarts at each."""
        return Rows.joined([self._lagged(start, stop) for start, stop in ranges])
