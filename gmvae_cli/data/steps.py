"""Time columns: cells as numbers that subtract exactly, the usual step between rows, and what counts as a hole."""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.errors import ConfigError, SeriesError

TimeUnit = Literal["seconds", "units"]
HOLE = 1.5  # steps longer than this many medians are holes
DISTINCT_STEPS = 4096  # up to so many different steps are all counted, so that their median is exact
SAMPLED_STEPS = 1 << 16  # beyond that it is the median of at least half as many steps, evenly spread over the file
BUSINESS_DAY_SHARE = 0.02

_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_TEXT_TYPES = (
    pa.int64(),
    pa.float64(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
)


@dataclass(frozen=True, kw_only=True)
class Times:
    """A block of times. `ticks` are int64, or float64 where the cells are; `per_unit` ticks are a second or a unit."""

    ticks: NDArray[Any]
    per_unit: float
    unit: TimeUnit


class TimeReader:
    """Turns the cells of one time column into numbers, block by block.

    Text is a number or an ISO 8601 date (a date, or date and clock time, with or without a zone); the first block
    decides which, and `cells` answers None for a block that does not follow. Numbers count as whole until the first
    fraction, so a second reading of the same cells gives all blocks one type.
    """

    def __init__(self, decimal: str = ".") -> None:
        self._decimal = decimal
        self._text_types: tuple[Any, ...] = _TEXT_TYPES
        self.type: Any = None  # what the cells are, once some were seen

    def cells(self, column: Any) -> Any | None:
        """The column as whole numbers, floats or timestamps; None where a cell is no time of the kind seen before."""
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = self._parse(column)
        elif not _is_time(column.type):
            return None
        if column is not None:
            self.type = column.type
        return column

    def read(self, column: Any) -> Times | None:
        """The column, which has no nulls, as ticks; None where a cell is no time."""
        cells = self.cells(column)
        if cells is None:
            return None
        kind = cells.type
        if pa.types.is_integer(kind):
            return Times(ticks=as_numpy(cells, pa.int64(), safe=True), per_unit=1, unit="units")
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            ticks = as_numpy(cells, pa.float64())
            return Times(ticks=ticks, per_unit=1, unit="units") if np.isfinite(ticks).all() else None
        if pa.types.is_date(kind):
            cells, kind = pc.cast(cells, pa.timestamp("s")), pa.timestamp("s")
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        return Times(ticks=as_numpy(cells, width).astype(np.int64), per_unit=_TICKS[kind.unit], unit="seconds")

    def _parse(self, column: Any) -> Any | None:
        if self._decimal != ".":
            column = pc.replace_substring(column, self._decimal, ".")
        parsed = self._parse_bare(column)
        return self._parse_bare(pc.utf8_trim_whitespace(column)) if parsed is None else parsed

    def _parse_bare(self, column: Any) -> Any | None:
        for position, kind in enumerate(self._text_types):
            try:
                parsed = pc.cast(column, kind)
            except pa.ArrowInvalid:
                continue
            # whole numbers may turn into fractions further down, all else keeps its form
            self._text_types = (
                _TEXT_TYPES[:2] if pa.types.is_integer(kind) else self._text_types[position : position + 1]
            )
            return parsed
        return None


def _is_time(kind: Any) -> bool:
    """Whether the cells of a Parquet column are points in time: numbers, dates, clock times or durations."""
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(is_number or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind)))


def as_numpy(cells: Any, kind: Any, *, safe: bool = False) -> NDArray[Any]:
    """Cells as numbers of the Arrow type `kind`, read-only; nulls, which only floats can have, as NaN."""
    cells = pc.cast(cells, kind, safe=safe)
    return np.from_dlpack(pc.fill_null(cells, math.nan) if cells.null_count else cells)  # to_numpy imports pandas


class StepCounter:
    """How long the steps of a file are: every length counted while they are few, else an even sample of them."""

    def __init__(self) -> None:
        self.total = 0
        self.exact = True
        self._lengths = np.empty(0)
        self._counts = np.empty(0, np.int64)
        self._sample: list[NDArray[np.float64]] = []
        self._stride = 1

    def add(self, steps: NDArray[np.float64]) -> None:
        """Take in the next steps of the file."""
        if not steps.size:
            return
        self._add_sample(steps)
        self.total += steps.size
        if self.exact:
            lengths, counts = np.unique(steps, return_counts=True) if np.ptp(steps) else (steps[:1], [steps.size])
            self._lengths, position = np.unique(np.concatenate([self._lengths, lengths]), return_inverse=True)
            self._counts = np.bincount(position, np.concatenate([self._counts, counts])).astype(np.int64)
            self.exact = self._lengths.size <= DISTINCT_STEPS

    def _add_sample(self, steps: NDArray[np.float64]) -> None:
        self._sample.append(steps[-self.total % self._stride :: self._stride])
        if sum(map(len, self._sample)) > SAMPLED_STEPS:
            self._sample = [np.concatenate(self._sample)]
            while self._sample[0].size > SAMPLED_STEPS:
                self._sample, self._stride = [self._sample[0][::2].copy()], self._stride * 2

    def lengths(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Different lengths, shortest first, and how often each was seen (in the sample, unless `exact`)."""
        if self.exact:
            return self._lengths, self._counts
        return np.unique(np.concatenate(self._sample), return_counts=True)

    def median(self) -> float | None:
        """The usual step (of an even number the lower middle one); None without any."""
        lengths, counts = self.lengths()
        if not lengths.size:
            return None
        cumulated = np.cumsum(counts)
        return float(lengths[np.searchsorted(cumulated, (cumulated[-1] + 1) // 2)])


@dataclass(frozen=True, kw_only=True)
class StepRule:
    """How a row's elapsed time becomes its step: 1 the next row, n > 1 after a hole of n - 1 rows, 0 a new start."""

    median: float = 1.0
    max_gap: float = np.inf  # rows; a longer step breaks the chain
    regular: bool = False

    def steps(self, elapsed: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) steps from (n,) elapsed times; NaN is the first row of a series."""
        steps = np.ones(elapsed.shape, np.int64)
        starts = np.isnan(elapsed)
        if not self.regular:
            long = elapsed > HOLE * self.median
            rows = np.rint(np.minimum(elapsed[long] / self.median, 2.0**62))
            steps[long] = np.where(rows > self.max_gap, 0, rows)
        steps[starts] = 0
        return steps


def duration_rows(text: str, step: float | None, unit: TimeUnit | None, option: str = "max-gap") -> float:
    """Rows that an option like '30', '10min', '2h' or '1d' means.

    Args:
        text: a number of rows, or a number with ms, s, min, h, d or w.
        step: the median time step, in `unit`; None without a time column.
        option: its name in messages.
    """
    match = _DURATION.fullmatch(text)
    suffix = match[2].lower() if match else ""
    if match is None or (suffix and suffix not in _SECONDS) or float(match[1]) <= 0:
        raise ConfigError(f"--{option} is '{text}', but must be rows above 0 or a duration like 10min, 2h or 1d")
    if not suffix:
        return float(match[1])
    if step is None or unit != "seconds":
        found = "there is no time column" if step is None else "the time column holds numbers, not dates"
        raise SeriesError(f"--{option} is '{text}', but {found}; give it as a number of rows")
    return float(match[1]) * _SECONDS[suffix] / step
