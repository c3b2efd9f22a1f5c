"""A series reduced to the width of a picture: columns of time that keep every extreme, and spans of one label."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.metrics.segments import runs

Array = NDArray[np.float64]

COLUMNS = 4096  # at most, and at least half as many for more rows: above the 1,800 pixels of a picture's width
_BLOCK_ROWS = 1 << 16  # rows that are reduced at once


@dataclass(frozen=True)
class Columns:
    """C columns of consecutive rows, in order.

    Args:
        first, last: (C,) positions of the first and the last row. gap: (C,) whether rows are missing before it.
        low, high: (C, D) smallest and largest value, NaN where none was observed. sums: (C, S) sums over the rows.
        rows: (C,) numbers of rows.
    """

    first: Array
    last: Array
    gap: NDArray[np.bool_]
    low: Array
    high: Array
    sums: Array
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, part: slice) -> "Columns":
        return Columns(**{field.name: getattr(self, field.name)[part] for field in fields(self)})

    @classmethod
    def of_rows(cls, position: Array, gap: NDArray[np.bool_], values: Array, sums: Array) -> "Columns":
        """Make each row a column of its own: position, gap (n,), values (n, D), sums (n, S)."""
        return cls(position, position, gap, values, values, sums, np.ones(len(position), np.int64))

    def followed_by(self, later: "Columns") -> "Columns":
        """Append the columns of later rows; sums that only those have are 0 before."""
        width = max(self.sums.shape[1], later.sums.shape[1])
        padded = [np.pad(part.sums, ((0, 0), (0, width - part.sums.shape[1]))) for part in (self, later)]
        joined = {
            field.name: np.concatenate([getattr(self, field.name), getattr(later, field.name)])
            for field in fields(self)
            if field.name != "sums"
        }
        return Columns(**joined, sums=np.concatenate(padded))

    def at_width(self, width: float) -> "Columns":
        """Merge the columns that start in one cell of a grid of this width."""
        starts = _starts(self.first, width)
        return self if len(starts) == len(self) else self.merged(starts)

    def merged(self, starts: NDArray[np.int64]) -> "Columns":
        """Merge the columns from each of `starts`, (S,) positions, to the next: S columns."""
        ends = np.append(starts[1:], len(self)) - 1
        return Columns(
            self.first[starts],
            self.last[ends],
            self.gap[starts],
            np.fmin.reduceat(self.low, starts),
            np.fmax.reduceat(self.high, starts),
            np.add.reduceat(self.sums, starts),
            np.add.reduceat(self.rows, starts),
        )


class Reduction:
    """Reduction of the rows of one series to columns, in constant memory, whatever the spacing of their positions.

    Columns are equally wide. When there would be more than `limit` they become twice as wide, so up to the limit every
    row has a column of its own. Rows are reduced in blocks of a fixed size, so the blocks that they come in change
    nothing, not even the rounding of sums.
    """

    def __init__(self, limit: int = COLUMNS) -> None:
        self.limit, self.width = limit, 0.0
        self._reduced: Columns | None = None
        self._waiting: Columns | None = None

    def add(self, rows: Columns) -> None:
        """Take in the next rows."""
        waiting = rows if self._waiting is None else self._waiting.followed_by(rows)
        while len(waiting) >= _BLOCK_ROWS:
            self._reduced = self._joined(waiting[:_BLOCK_ROWS])
            waiting = waiting[_BLOCK_ROWS:]
        self._waiting = waiting

    def columns(self) -> Columns:
        """Return the columns of all rows, of which there must be some; no rows can be added after that."""
        if self._waiting is not None and len(self._waiting):
            self._reduced, self._waiting = self._joined(self._waiting), None
        assert self._reduced is not None
        return self._reduced

    def _joined(self, rows: Columns) -> Columns:
        joined = rows if self._reduced is None else self._reduced.followed_by(rows)
        if self.width == 0 and len(joined) > self.limit:
            self.width = (joined.first[self.limit] - joined.first[0]) / self.limit
        starts = _starts(joined.first, self.width)
        while len(starts) > self.limit:
            self.width *= 2
            starts = _starts(joined.first, self.width)
        return joined if len(starts) == len(joined) else joined.merged(starts)


def _starts(position: Array, width: float) -> NDArray[np.int64]:
    """Return where each cell of a grid of this width begins, among positions in order."""
    if width == 0:
        return np.arange(len(position))
    return runs(np.floor((position - position[0]) / width)).start


@dataclass(frozen=True)
class Spans:
    """S spans of one label each, in order; every array is (S,). Where rows are missing, a segment has two spans.

    Args:
        first, last: positions of the first and the last row. gap: whether rows are missing before it.
        segment: number of the segment that a span belongs to.
    """

    first: Array
    last: Array
    label: NDArray[np.int64]
    gap: NDArray[np.bool_]
    segment: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def of(
        cls, first: Array, last: Array, label: NDArray[np.int64], gap: NDArray[np.bool_], before: "Spans | None" = None
    ) -> "Spans":
        """Append the spans of n consecutive rows or columns, all (n,), to those `before`, whose last one may go on."""
        if before is not None:
            first, last = np.append(before.first[-1], first), np.append(before.last[-1], last)
            label, gap = np.append(before.label[-1], label), np.append(before.gap[-1], gap)
        stretches = runs(label, gap)
        starts = stretches.start
        origin = 0 if before is None else int(before.segment[-1])
        segment = origin + np.cumsum(np.diff(label[starts], prepend=label[0]) != 0)
        spans = cls(first[starts], last[stretches.stop - 1], label[starts], gap[starts], segment)
        if before is None or len(before) == 1:
            return spans
        return cls(*(np.concatenate([getattr(before, f.name)[:-1], getattr(spans, f.name)]) for f in fields(cls)))

    def stops(self, step: float) -> Array:
        """Return where each span ends (S,): at the start of the next one, or a step behind its last row."""
        following = np.append(self.first[1:], np.inf)
        own = self.last + step
        return np.where(np.append(self.gap[1:], True), np.minimum(own, following), following)


class SpanList:
    """Spans of one series, collected block by block; `spans` is None once there are too many to draw each."""

    def __init__(self, limit: int = COLUMNS) -> None:
        self.limit = limit
        self.spans: Spans | None = None
        self.count = 0  # of segments
        self._last: Spans | None = None
        self._too_many = False

    def add(self, position: Array, label: NDArray[np.int64], gap: NDArray[np.bool_]) -> None:
        """Append the next rows, all arguments (n,)."""
        self._last = Spans.of(position, position, label, gap, self._last)
        self.count = int(self._last.segment[-1]) + 1
        if not self._too_many:
            self.spans = self._last
            self._too_many = len(self._last) > self.limit
        if self._too_many:
            self.spans = None
            self._last = Spans(*(getattr(self._last, field.name)[-1:] for field in fields(Spans)))
