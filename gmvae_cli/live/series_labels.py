"""The labels of rows: each row goes to the filter of its series, which gives out those that are done."""

from collections.abc import Iterator

from gmvae_cli.config import InferConfig
from gmvae_cli.filtering.block_filter import BlockFilter
from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.filtering.fixed_lag import Waiting, smoothed
from gmvae_cli.filtering.row_filter import Labels, RowFilter
from gmvae_cli.filtering.row_novelty import UnknownRows
from gmvae_cli.live.cells import Clock, Time
from gmvae_cli.live.feed_lines import Row
from gmvae_cli.live.label_text import LabelText
from gmvae_cli.live.series_store import Series, SeriesStore


class SeriesLabels:
    """Labels of the rows of all series of a feed.

    Args:
        lag: later rows of its series that a row waits for.
    Attributes:
        text: spelling of labels, set when the columns are known. clock: None where rows are equally spaced.
        store: of the series. newest: the latest time, None without times.
    """

    text: LabelText

    def __init__(self, model: FilterModel, inference: InferConfig, lag: int) -> None:
        level, is_judged = inference.unknown, inference.novelty or inference.unknown is not None
        self._lag, self._unknown = lag, None if level is None else UnknownRows(level, 2 + model.config.context_rows)
        self._filter = (BlockFilter if model.std_epsilon is not None else RowFilter)(model, is_judged)
        self.store = SeriesStore(self._filter)
        self.clock: Clock | None = None
        self.newest: Time | None = None

    def label(self, row: Row, order: int) -> list[str]:
        """Label a row; return the lines that are done, of other series only where those are forgotten.

        Args:
            order: number of the row in the feed.
        Raises:
            LineError: its time is none, or not later than that of the row before; nothing changes.
        """
        time, steps = None, 1
        if self.clock is not None:
            known = self.store.get(row.series)
            last = None if known is None else known.time
            time = self.clock.read(row.times, last)
            steps = self.clock.steps(time, last)
            self.newest = time if self.newest is None else max(self.newest, time)
        done = [
            text for series in self.store.forgotten(row.series, order, self.newest) for _, text in self._done(series, 0)
        ]
        series, is_new = self.store.touch(row.series, order)
        series.time, steps = time, 0 if is_new else steps
        labels: Labels = self._filter.step(series.memory, row.values, steps)
        is_unknown = False
        if self._unknown is not None:
            series.unknown = self._unknown.step(series.unknown, labels.novelty, steps)
            is_unknown = self._unknown.is_unknown(series.unknown)
        if not self._lag and not series.waiting:
            return [*done, row.text + self.text.of(labels.law, labels, is_unknown)]
        series.waiting.append(Waiting(order, row.text, labels, steps, is_unknown))
        return [*done, *(text for _, text in self._done(series, self._lag))]

    def rest(self) -> list[str]:
        """Return the rows that wait for later ones, in the order in which they came."""
        return [text for _, text in sorted(row for series in self.store.all() for row in self._done(series, 0))]

    def _done(self, series: Series, lag: int) -> Iterator[tuple[int, str]]:
        """Yield order and text of the rows of a series for which so many later ones have come."""
        while len(series.waiting) > lag:
            law = smoothed(series.waiting, self._filter)
            row = series.waiting.popleft()
            yield row.order, row.text + self.text.of(law, row.labels, row.is_unknown)
