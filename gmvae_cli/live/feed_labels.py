"""The labels of a feed: its lines in, the same lines with labels out, and the state between two runs."""

import math
from collections.abc import Sequence

from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.data.steps import TimeUnit, duration_rows
from gmvae_cli.errors import ConfigError, Note, SeriesError
from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.live.cells import Clock, LineError
from gmvae_cli.live.feed import LONGEST_LINE
from gmvae_cli.live.feed_lines import CsvLines, JsonLines
from gmvae_cli.live.label_text import LabelText, NumberText
from gmvae_cli.live.series_labels import SeriesLabels
from gmvae_cli.live.state_file import FeedState, usable
from gmvae_cli.live_config import LiveConfig
from gmvae_cli.recognition import names


class FeedLabels:
    """Labels of the lines of a feed.

    Args:
        model_path: for messages. state: to go on from.
    Attributes:
        out: text of the lines that are done; whoever writes them clears it. header: its first line.
        line: number of the line taken last. rows, written: as in `FeedState`, `out` counted as written.
    """

    def __init__(
        self,
        model: FilterModel,
        model_path: str,
        live: LiveConfig,
        inference: InferConfig,
        files: SeriesConfig,
        state: FeedState | None = None,
    ) -> None:
        self._model, self._model_path, self._live, self._inference = model, model_path, live, inference
        self._files, _ = files.reading_as(model.training.get("reading") or {})
        self._lines: CsvLines | JsonLines = (CsvLines if live.format == "csv" else JsonLines)(
            model, self._files, inference
        )
        self._series = SeriesLabels(model, inference, live.lag)
        self._has_begun = False
        self.out: list[str] = []
        self.header, self._unwritten = "", ""
        self.line = self.rows = self.written = 0
        self._above = self._files.skip_rows
        self._step, self._unit = model.training.get("step"), model.training.get("time_unit")
        if state is not None:
            self._restore(state)

    def take(self, data: bytes) -> None:
        """Take the next line, without its end.

        Raises:
            LineError: it cannot be used, and changes nothing.
        """
        self.line += 1
        if self.line <= self._above:
            return
        if len(data) > LONGEST_LINE:
            raise LineError("is longer than a megabyte; does each row end with a line break?")
        try:
            line = data.decode(self._files.encoding or "utf-8").removesuffix("\r")
        except UnicodeDecodeError:
            raise LineError("is not UTF-8 text; name its encoding, for example --encoding windows-1252") from None
        comment = self._files.comment
        is_nothing = (not line.strip() and not self._lines.reads_blank) or (
            comment is not None and line.startswith(comment)
        )
        if is_nothing:
            self.skip()
            return
        if not self._has_begun and self._begin(line):
            return
        row = self._lines.read(line)
        if row is not None:
            self._give(self._series.label(row, self.rows))
            self.rows += 1

    def skip(self) -> None:
        """Count the line taken last as one that is left out."""
        self.rows += self._has_begun or self._live.format == "ndjson"

    def note_on_step(self) -> Note | None:
        """Return a note, once, if most rows come behind a hole."""
        clock = self._series.clock
        return None if clock is None else clock.note_on_step(self.rows)

    def finish(self) -> None:
        """Give out the rows that wait for later ones, in the order in which they came."""
        if self._has_begun:
            self._give(self._series.rest())

    def state(self, unwritten: str = "") -> FeedState:
        """Return what has to be known of the rows so far; `unwritten` is text that nobody took."""
        unwritten = unwritten.removeprefix(self.header) + self._unwritten
        has_times = self._series.clock is not None or not self._has_begun
        return FeedState(
            rows=self.rows,
            written=self.written - unwritten.count("\n"),
            step=self._step if has_times else None,
            unit=self._unit if has_times else None,
            newest=self._series.newest,
            format=self._live.format,
            unwritten=unwritten,
            series=self._series.store.to_json(),
        )

    # --- the first line --------------------------------------------------------------------------------------------

    def _begin(self, line: str) -> bool:
        """Begin the feed with its first line; return whether that is a header."""
        header = self._lines.begin(line)
        self._set_clock()
        numbers = NumberText(self._files.digits, self._lines.decimal, self._lines.delimiter)
        self._series.text = LabelText(
            self._model, self._inference, numbers, self._lines.delimiter, is_json=self._live.format == "ndjson"
        )
        if header is not None:
            self.header = self._lines.delimiter.join([header, *self._series.text.columns]) + "\n"
        self.out += [text for text in (self.header, self._unwritten) if text]
        self._unwritten, self._has_begun = "", True
        return header is not None

    def _set_clock(self) -> None:
        """Set how times are read, and how long a series may stay away."""
        assert self._lines.roles is not None
        times, files, step, unit_seconds = self._lines.roles.times, self._files, self._step, None
        if times and step is None and files.time is not None:
            raise SeriesError(
                f"{self._model_path}: was trained without times, so the usual time between rows is unknown; leave "
                "--time out, and rows count as equally spaced"
            )
        step = step if times else None
        if step is not None:
            unit_seconds = 1.0 if self._unit == "seconds" else names.unit_seconds(times[0])
        gap, after = files.max_gap, self._live.forget
        longest = math.inf if gap is None else duration_rows(gap, step, unit_seconds)
        if step is not None:
            unit: TimeUnit = "seconds" if self._unit == "seconds" else "units"
            self._series.clock = Clock(times, files, unit, step, longest)
        if after is not None:
            self._series.store.after = duration_rows(after, step, unit_seconds, "forget")
            self._series.store.by_time = after.strip()[-1:].isalpha()
            if self._series.store.by_time and step is not None and self._series.clock is not None:
                self._series.store.after *= step * self._series.clock.per_unit

    def _give(self, texts: Sequence[str]) -> None:
        """Give out lines that are done."""
        self.out += texts
        self.written += len(texts)

    def _restore(self, state: FeedState) -> None:
        """Go on from a state."""
        with usable(str(self._live.state)):
            self._series.store.restore(state.series)
            self.rows, self._unwritten, self._series.newest = state.rows, state.unwritten, state.newest
            self.written = state.written + state.unwritten.count("\n")
        if state.unit is not None:
            self._step, self._unit = state.step, state.unit
        waits = state.unwritten or any(series.waiting for series in self._series.store.all())
        if waits and state.format != self._live.format:
            raise ConfigError(
                f"--state {self._live.state}: holds rows that wait to be written as {state.format}, but --format is "
                f"{self._live.format}; go on with --format {state.format}"
            )
