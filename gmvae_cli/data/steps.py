"""Time steps: the usual step between rows, holes, new starts, and durations in rows."""

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.errors import ConfigError, SeriesError

TimeUnit = Literal["seconds", "units"]
HOLE = 1.5  # medians; half way between the next row and one missing row
DISTINCT_STEPS = 4096  # up to so many lengths all are counted, and the median is exact; 64 KiB
SAMPLED_STEPS = 1 << 16  # above, the median of 2^15 or more evenly spread steps; its rank errs by about 0.3 %
BUSINESS_DAY_SHARE = 0.02  # a note above it; of business days 0.2 are 3 days apart, chance holes of one length are rare

_ROUNDING = 1e-6  # rows; of a duration divided by a step that is no binary number
_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)


class StepCounter:
    """Counts of the step lengths of a file: all lengths while they are few, else those of an even sample of rows.

    Args:
        first: number of the row that is added first.
    Attributes:
        exact: whether all lengths are counted.
    """

    def __init__(self, first: int = 0) -> None:
        self.exact = True
        self._row = first
        self._lengths = np.empty(0)
        self._counts = np.empty(0, np.int64)
        self._sample: list[NDArray[np.float64]] = []  # of the rows whose numbers `_stride` divides
        self._sampled_rows: list[NDArray[np.int64]] = []
        self._stride = 1

    def add(self, elapsed: NDArray[np.float64]) -> None:
        """Count the steps to the next rows of the file, (n,) in time units; NaN where a series starts."""
        rows = np.flatnonzero(~np.isnan(elapsed))
        steps = elapsed[rows]
        rows += self._row
        self._row += elapsed.size
        if not steps.size:
            return
        if self.exact:
            self._count(*np.unique(steps, return_counts=True) if np.ptp(steps) else (steps[:1], [steps.size]))
        self._add_sample(steps, rows)

    def merge(self, later: "StepCounter") -> None:
        """Count what another counter has counted of later rows; the counts are those of one counter of all rows."""
        self.exact = self.exact and later.exact
        if self.exact:
            self._count(later._lengths, later._counts)
        self._row = later._row
        self._thin(max(self._stride, later._stride))
        for steps, rows in zip(later._sample, later._sampled_rows, strict=True):
            self._add_sample(steps, rows)

    def _count(self, lengths: NDArray[np.float64], counts: NDArray[np.int64] | list[int]) -> None:
        self._lengths, position = np.unique(np.concatenate([self._lengths, lengths]), return_inverse=True)
        self._counts = np.bincount(position, np.concatenate([self._counts, counts])).astype(np.int64)
        self.exact = self._lengths.size <= DISTINCT_STEPS

    def _add_sample(self, steps: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        """Keep the steps of every `_stride`-th row; the stride doubles whenever the sample grows too large."""
        kept = rows % self._stride == 0
        self._sample.append(steps[kept])
        self._sampled_rows.append(rows[kept])
        while sum(map(len, self._sample)) > SAMPLED_STEPS:
            self._thin(2 * self._stride)

    def _thin(self, stride: int) -> None:
        """Keep only the steps of every `stride`-th row."""
        if stride > self._stride and self._sample:
            rows = np.concatenate(self._sampled_rows)
            kept = rows % stride == 0
            self._sample, self._sampled_rows = [np.concatenate(self._sample)[kept]], [rows[kept]]
        self._stride = stride

    def lengths(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the different lengths (L,), shortest first, and their counts (L,), in the sample unless `exact`."""
        if self.exact:
            return self._lengths, self._counts
        return np.unique(np.concatenate(self._sample), return_counts=True)

    def median(self) -> float | None:
        """Return the median step, the lower middle one of an even number; None without any step."""
        lengths, counts = self.lengths()
        if not lengths.size:
            return None
        cumulated = np.cumsum(counts)
        return float(lengths[np.searchsorted(cumulated, (cumulated[-1] + 1) // 2)])


@dataclass(frozen=True, kw_only=True)
class StepRule:
    """Rule that turns elapsed time into steps: 1 the next row, n > 1 after a hole of n - 1 rows, 0 a new start.

    Args:
        median: usual time between rows, in time units.
        max_gap: rows; a longer step breaks the chain. regular: take all rows as equally spaced.
    """

    median: float = 1.0
    max_gap: float = np.inf
    regular: bool = False

    def steps(self, elapsed: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return (n,) steps for (n,) elapsed times; NaN marks the first row of a series."""
        steps = np.ones(elapsed.shape, np.int64)
        starts = np.isnan(elapsed)
        if not self.regular:
            long = elapsed > HOLE * self.median
            rows = np.rint(np.minimum(elapsed[long] / self.median, 2.0**62))  # as a float that int64 can hold
            steps[long] = np.where(rows > self.max_gap, 0, rows)
        steps[starts] = 0
        return steps


def shortest_visit(text: str, step: float | None, unit_seconds: float | None) -> int:
    """Convert the option --min-dwell to whole rows, rounded up; arguments and errors of `duration_rows`."""
    return max(1, math.ceil(duration_rows(text, step, unit_seconds, "min-dwell") - _ROUNDING))


def duration_rows(text: str, step: float | None, unit_seconds: float | None, option: str = "max-gap") -> float:
    """Convert an option like '30', '10min', '2h' or '1d' to rows.

    Args:
        text: a number of rows, or a number with ms, s, min, h, d or w.
        step: the median time step, in units of the time; None without a time column.
        unit_seconds: seconds in such a unit; None where it is unknown.
        option: its name in messages.
    Raises:
        ConfigError: the text is no duration. SeriesError: it needs a unit of the time, which is unknown.
    """
    match = _DURATION.fullmatch(text)
    suffix = match[2].lower() if match else ""
    if match is None or (suffix and suffix not in _SECONDS) or float(match[1]) <= 0:
        raise ConfigError(f"--{option} is '{text}', but must be rows above 0 or a duration like 10min, 2h or 1d")
    if not suffix:
        return float(match[1])
    if step is None or unit_seconds is None:
        reason = "there is no time column; give it as a number of rows"
        if step is not None:
            reason = "the time column holds numbers, not dates; name their unit, as in 'time (s)', or give rows"
        raise SeriesError(f"--{option} is '{text}', but {reason}")
    return float(match[1]) * _SECONDS[suffix] / (step * unit_seconds)
