"""A series reduced to what a picture can show: columns of time that keep every extreme, and spans of one label."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COLUMNS = 4096  # at most, and half as many at least once there are more rows: more than a picture has pixels


@dataclass(frozen=True)
class Columns:
    """Columns of rows in order; C of them.

    Args:
        first, last: (C,) position of the first and the last row. gap: (C,) whether rows are missing before it.
        low, high: (C, D) smallest and largest value, NaN where none was observed. sums: (C, S) of whatever adds.
        rows: (C,) how many.
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
        """Every row a column of its own."""
        return cls(position, position, gap, values, values, sums, np.ones(len(position), np.int64))

    def followed_by(self, later: "Columns") -> "Columns":
        """These columns and those of later rows; what only the later ones sum is 0 before."""
        width = max(self.sums.shape[1], later.sums.shape[1])
        padded = [np.pad(part.sums, ((0, 0), (0, width - part.sums.shape[1]))) for part in (self, later)]
        joined = {
            field.name: np.concatenate([getattr(self, field.name), getattr(later, field.name)])
            for field in fields(self)
            if field.name != "sums"
        }
        return Columns(**joined, sums=np.concatenate(padded))

    def at_width(self, width: float) -> "Columns":
        """Columns no narrower than `width`, where they are."""
        starts = _starts(self.first, width)
        return self if len(starts) == len(self) else self.merged(starts)

    def merged(self, starts: NDArray[np.int64]) -> "Columns":
        """Every column from one of `starts` to the next as one."""
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
    """Takes the rows of one series block by block, in constant memory, whatever the spacing of their positions.

    Columns are equally wide; when there would be more than the limit they become twice as wide, so up to the limit
    every row has a column of its own. The blocks that rows come in change nothing.
    """

    def __init__(self, limit: int = COLUMNS) -> None:
        self.limit, self.width = limit, 0.0
        self.columns: Columns | None = None

    def add(self, rows: Columns) -> None:
        """Take in the next rows."""
        joined = rows if self.columns is None else self.columns.followed_by(rows)
        if self.width == 0 and len(joined) > self.limit:
            self.width = (joined.first[self.limit] - joined.first[0]) / self.limit
        starts = _starts(joined.first, self.width)
        while len(starts) > self.limit:
            self.width *= 2
            starts = _starts(joined.first, self.width)
        self.columns = joined if len(starts) == len(joined) else joined.merged(starts)


def _starts(position: Array, width: float) -> NDArray[np.int64]:
    """The first of each group of positions that share a stretch of this width, counted from the first one."""
    if width == 0:
        return np.arange(len(position))
    return np.flatnonzero(np.diff(np.floor((position - position[0]) / width), prepend=-1))


@dataclass(frozen=True)
class Spans:
    """Stretches of one label each; every array is (S,). A gap in the rows parts a stretch, not a segment.

    Args:
        first, last: position of the first and the last row. label: int64. gap: whether rows are missing before it.
        segment: number of the segment it belongs to.
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
        """The stretches of consecutive rows or columns, which go on where the spans `before` end."""
        if before is not None:
            first, last = np.append(before.first[-1], first), np.append(before.last[-1], last)
            label, gap = np.append(before.label[-1], label), np.append(before.gap[-1], gap)
        changed = np.append(True, label[1:] != label[:-1])
        starts = np.flatnonzero(changed | gap | (np.arange(len(label)) == 0))
        origin = 0 if before is None else int(before.segment[-1])
        segment = origin + np.cumsum(changed)[starts] - 1
        ends = np.append(starts[1:], len(label)) - 1
        found = cls(first[starts], last[ends], label[starts], gap[starts], segment)
        if before is None or len(before) == 1:
            return found
        return cls(*(np.concatenate([getattr(before, f.name)[:-1], getattr(found, f.name)]) for f in fields(cls)))

    def stops(self, step: float) -> Array:
        """(S,) where each stretch ends: where the next one starts, or a step behind its last row."""
        following = np.append(self.first[1:], np.inf)
        own = self.last + step
        return np.where(np.append(self.gap[1:], True), np.minimum(own, following), following)


class SpanList:
    """The spans of one series, block by block; given up (None) when there are too many to draw one by one."""

    def __init__(self, limit: int = COLUMNS) -> None:
        self.limit = limit
        self.spans: Spans | None = None
        self.count = 0  # segments
        self._last: Spans | None = None
        self._too_many = False

    def add(self, position: Array, label: NDArray[np.int64], gap: NDArray[np.bool_]) -> None:
        """Take in the next rows."""
        self._last = Spans.of(position, position, label, gap, self._last)
        self.count = int(self._last.segment[-1]) + 1
        if not self._too_many:
            self.spans = self._last
            self._too_many = len(self._last) > self.limit
        if self._too_many:
            self.spans = None
            self._last = Spans(*(getattr(self._last, field.name)[-1:] for field in fields(Spans)))
