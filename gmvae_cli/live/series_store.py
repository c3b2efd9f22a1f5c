"""The series of a feed: what is remembered of each, which are forgotten, and how a state file holds them."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.block_filter import BlockFilter
from gmvae_cli.filtering.fixed_lag import Waiting
from gmvae_cli.filtering.row_filter import Labels, RowFilter
from gmvae_cli.live.cells import Time

MOST_SERIES = 100_000  # that are remembered, some 2 kB each; of more, the one that stayed away longest is forgotten


class Series:
    """A series of a feed.

    Attributes:
        memory: of the filter. time: of the last row, None without times. row: its number in the feed.
        unknown: of `UnknownRows`. waiting: rows that wait for later ones.
    """

    __slots__ = ("memory", "row", "time", "unknown", "waiting")

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.time: Time | None = None
        self.row = 0
        self.unknown: tuple[float, int] = (0.0, 0)
        self.waiting: deque[Waiting] = deque()


class SeriesStore:
    """The series of a feed by their ids, the one that was touched last at the end.

    Args:
        row_filter: of all series.
    Attributes:
        after: rows of the feed, or with `by_time` ticks of the times, after which a series that stays away is
            forgotten; None: never.
    """

    def __init__(self, row_filter: RowFilter | BlockFilter) -> None:
        self._filter = row_filter
        self._series: OrderedDict[str, Series] = OrderedDict()
        self.after: float | None = None
        self.by_time = False

    def get(self, name: str) -> Series | None:
        """Return a series; None where it is new, or forgotten."""
        return self._series.get(name)

    def touch(self, name: str, row: int) -> tuple[Series, bool]:
        """Return the series of a row of the feed, and whether it is new."""
        series = self._series.get(name)
        is_new = series is None
        if series is None:
            series = self._series[name] = Series(self._filter.new_memory())
        else:
            self._series.move_to_end(name)
        series.row = row
        return series, is_new

    def forgotten(self, name: str, row: int, newest: Time | None) -> Iterator[Series]:
        """Remove and yield the series that have stayed away for too long, or are too many.

        Args:
            name, row: of the row that comes next, its series and its number. newest: the latest time, None without.
        """
        now = newest if self.by_time else row
        most = MOST_SERIES - (name not in self._series)
        while self._series:
            first = next(iter(self._series.values()))
            last = first.time if self.by_time else first.row
            is_late = None not in (self.after, now, last) and now - last > self.after  # type: ignore[operator]
            if not is_late and len(self._series) <= most:
                return
            yield self._series.popitem(last=False)[1]

    def all(self) -> list[Series]:
        """Return all series."""
        return list(self._series.values())

    def to_json(self) -> dict[str, Any]:
        """Return what a state file holds of the series."""
        return {name: self._content(series) for name, series in self._series.items()}

    def restore(self, content: Mapping[str, Any]) -> None:
        """Take the series of a state file."""
        for name, entry in content.items():
            series = self._series[name] = Series(self._filter.from_json(entry))
            series.time, series.row = entry["time"], int(entry["row"])
            if not isinstance(series.time, int | float | None):
                raise ValueError("a time is no number")
            probability, count = entry["unknown"]
            series.unknown = float(probability), int(count)
            series.waiting.extend(_waiting_of(row) for row in entry["waiting"])

    def _content(self, series: Series) -> dict[str, Any]:
        return {
            "time": series.time,
            "row": series.row,
            "unknown": series.unknown,
            "waiting": [_content_of(row) for row in series.waiting],
            **self._filter.to_json(series.memory),
        }


def _content_of(row: Waiting) -> list[Any]:
    law, log_likelihood, novelty, likelihoods = row.labels
    evidence = None if likelihoods is None else likelihoods.tolist()
    return [row.order, row.text, law.tolist(), log_likelihood, novelty, evidence, row.steps, row.is_unknown]


def _waiting_of(content: Any) -> Waiting:
    order, text, law, log_likelihood, novelty, evidence, steps, is_unknown = content
    likelihoods = None if evidence is None else _array(evidence)
    return Waiting(int(order), str(text), Labels(_array(law), log_likelihood, novelty, likelihoods), steps, is_unknown)


def _array(numbers: Any) -> NDArray[np.float64]:
    return np.array(numbers, np.float64)
