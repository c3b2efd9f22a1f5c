"""Files that go on where others stopped: the state of a feed before a file, in its labels, and behind it.

A series that the state knows gets the rows before the file in front of its own. The last of them stands for all that
came before: the chain starts there, with the law that the state holds.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import InferConfig
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import READ_ROWS, ChannelSummary, SeriesData
from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files.cells import plain
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.files.time_column import Times
from gmvae_cli.files.validation import RowOrder
from gmvae_cli.filtering.filter_model import load
from gmvae_cli.filtering.row_filter import numbers_of_json, numbers_to_json
from gmvae_cli.inference.block_messages import CarriedLaws, Ends
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.inference.posterior import Inference
from gmvae_cli.live import state_file
from gmvae_cli.live.cells import Time
from gmvae_cli.live.state_file import FeedState, usable
from gmvae_cli.system.device import device_of
from gmvae_cli.system.progress import Progress
from gmvae_cli.system.scratch import Scratch

_SECOND = 1_000_000  # microseconds, in which a state holds dates


@dataclass(frozen=True)
class _Span:
    """The rows [start, stop) of a file that are one series, with its first and its last time, None without times."""

    name: str
    start: int
    stop: int
    first: Time | None
    last: Time | None


class _Place(NamedTuple):
    """The place of a span among joined rows: those of the state begin it, [start, stop) get labels.

    The first of these stands for all before, where the span goes on from the state.
    """

    begin: int
    start: int
    stop: int


class ContinuedFile:
    """The state before a file, until its labels are written, and then the one behind it.

    Args:
        path: of the state, made anew where it is not there yet. model_path: of the model.
    Raises:
        CheckpointError: the state cannot be used, or is that of another model. ConfigError: the model is one of blocks.
    """

    def __init__(self, path: str, model_path: str) -> None:
        self._path, self._model = path, load(model_path)
        if self._model.std_epsilon is not None:
            raise ConfigError(
                "--state goes on inside a block of rows, which this model labels as a whole; give --follow too, and "
                "pipe the file in"
            )
        state_file.require_place(path, [model_path])
        found = state_file.read(path, self._model.digest, model_path)
        self.state = FeedState() if found is None else found
        with usable(path):
            waits = self.state.unwritten or any(entry["waiting"] for entry in self.state.series.values())
        if waits:
            raise ConfigError(f"--state {path}: holds rows that wait to be written; go on with --follow")

    @contextmanager
    def blocks(
        self,
        reader: SeriesReader,
        data: SeriesData,
        checkpoint: Checkpoint,
        config: InferConfig,
        directory: str | None,
        progress: Progress,
    ) -> Iterator[Iterator[LabelledRows]]:
        """Label the rows of a file; when they have been taken, the state is that behind them."""
        if self.state.unit is not None and self.state.unit != data.time_unit:
            raise SeriesError(
                f"{reader.name}: its times are not of the kind that {self._path} holds; one has dates and the other "
                "has numbers or none"
            )
        if self.state.step is not None:
            data.rule = replace(data.rule, median=self.state.step)
        spans = _spans(reader, data.rows)
        with usable(self._path):
            joined, places, carried = self._joined(reader, data, spans, directory)
        mean, scale = checkpoint.mean.numpy(), checkpoint.scale.numpy()
        ranges = [(place.start, place.stop) for place in places]
        rows = LaggedRows(joined, checkpoint.model, mean, scale, torch.float64, device_of(config.device), ranges)
        unmerged = replace(checkpoint, names=())  # whose laws the state holds
        with (
            joined,
            Inference.over(
                rows,
                unmerged,
                "filter",
                directory=directory,
                progress=progress,
                ends=Ends(carried=carried),
                novelty=config.judges_rows,
            ) as inference,
        ):
            laws = _Laws(np.array([span.stop - 1 for span in spans]))
            yield _of_the_file(inference.blocks(), carried.rows, checkpoint.merged, laws)
            self.state = self._behind(data, joined, spans, places, laws.found)

    def write(self) -> None:
        """Write the state."""
        state_file.write(self._path, self.state, self._model.digest)

    # --- in front of the file --------------------------------------------------------------------------------------

    def _joined(
        self, reader: SeriesReader, data: SeriesData, spans: Sequence[_Span], directory: str | None
    ) -> tuple[SeriesData, list[_Place], CarriedLaws]:
        """Put the rows that the state holds in front of those of their series.

        Returns:
            all rows; the place of each span among them; and the laws of the rows that stand for those before.
        """
        D, positions, laws, count = len(data.channels), list[int](), list[list[float]](), 0
        scratch, places = Scratch(D + 1, np.float64, directory), list[_Place]()
        for span in spans:
            entry, begin = self.state.series.get(span.name), scratch.rows
            following = 0 if entry is None else self._steps_into(reader, data, span, entry["time"])
            if entry is not None and following:
                recent = [numbers_of_json(row) for row in entry["recent"]] or [[0.0] + [math.nan] * D]
                scratch.append(_with_steps(np.array(recent)))
                positions.append(count)
                laws.append(entry["law"])
            start = scratch.rows - bool(following)
            _copy(data, span, following, scratch)
            places.append(_Place(begin, start, scratch.rows))
            count += scratch.rows - start
        joined = SeriesData(data.name, scratch, ChannelSummary(data.channels), len(spans))
        carried = CarriedLaws(np.array(positions, np.int64), np.array(laws).reshape(-1, self._model.config.regimes))
        return joined, places, carried

    def _steps_into(self, reader: SeriesReader, data: SeriesData, span: _Span, time: Time | None) -> int:
        """Return how the first row of a span follows the last one that the state knows, as in `model.lattice`."""
        if span.first is None or time is None:
            return 1
        elapsed = (span.first - time) / (_SECOND if data.time_unit == "seconds" else 1)
        if elapsed <= 0:
            series = f"series '{span.name}'" if span.name else "the series"
            raise SeriesError(
                f"{reader.name}: row {span.start + 1}: {series} is not behind the last row that {self._path} knows; "
                "was this file labelled with it before?"
            )
        return int(data.rule.steps(np.array([elapsed]))[0])

    # --- behind the file -------------------------------------------------------------------------------------------

    def _behind(
        self,
        data: SeriesData,
        joined: SeriesData,
        spans: Sequence[_Span],
        places: Sequence[_Place],
        laws: Sequence[list[float]],
    ) -> FeedState:
        """Return the state behind the file; series that it does not hold stay as they were."""
        state, series = self.state, dict(self.state.series)
        for span, place, law in zip(spans, places, laws, strict=True):
            values, steps = joined.read(max(place.begin, place.stop - self._model.context_rows), place.stop)
            series.pop(span.name, None)
            series[span.name] = {
                "time": span.last,
                "row": state.rows + span.stop - 1,
                "unknown": [0.0, 0],
                "waiting": [],
                "law": law,
                "recent": [
                    [step, *numbers_to_json(row)] for step, row in zip(steps.tolist(), values.tolist(), strict=True)
                ],
            }
        times = [time for time in (state.newest, *(span.last for span in spans)) if time is not None]
        has_times = spans[0].last is not None
        return FeedState(
            rows=state.rows + data.rows,
            written=state.written + data.rows,
            step=(state.step or data.step) if has_times else None,
            unit=data.time_unit if has_times else None,
            newest=max(times, default=None),
            series=series,
        )


class _Laws:
    """The laws of the last rows of spans, collected from blocks of rows.

    Args:
        rows: (S,) of the file, in order.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self._rows = rows
        self.found: list[list[float]] = []

    def add(self, first: int, probs: NDArray[np.float64]) -> None:
        """Add the next rows of the file, (n, K) from row `first` on."""
        low, high = np.searchsorted(self._rows, [first, first + len(probs)])
        self.found += probs[self._rows[low:high] - first].tolist()


def _of_the_file(
    blocks: Iterable[LabelledRows], carried: NDArray[np.int64], merged: NDArray[np.int64], laws: _Laws
) -> Iterator[LabelledRows]:
    """Yield labelled rows without those that stand for earlier ones, regimes of one name merged.

    Args:
        carried: (S,) positions of the rows to leave out. merged: (K,) number that stands for each regime.
    """
    member, start, row = np.eye(len(merged))[merged], 0, 0
    for block in blocks:
        low, high = np.searchsorted(carried, [start, start + len(block)])
        start += len(block)
        kept = block.taken(np.delete(np.arange(len(block)), carried[low:high] - (start - len(block))))
        laws.add(row, kept.probs)
        row += len(kept)
        if (merged != np.arange(len(merged))).any():
            probs = kept.probs @ member
            kept = replace(kept, probs=probs, regimes=probs.argmax(1))
        yield kept


def _copy(data: SeriesData, span: _Span, following: int, scratch: Scratch) -> None:
    """Append the rows of a span, of which the first follows others in so many steps."""
    for start in range(span.start, span.stop, READ_ROWS):
        values, steps = data.read(start, min(start + READ_ROWS, span.stop))
        if start == span.start:
            steps[0] = following
        scratch.append(_with_steps(np.column_stack([steps, values])))


def _with_steps(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows with their steps behind the values, NaN where a series starts, out of rows with steps in front."""
    steps = rows[:, 0]
    return np.column_stack([rows[:, 1:], np.where(steps == 0, np.nan, steps)])


def _spans(reader: SeriesReader, rows: int) -> list[_Span]:
    """List the series of a file that has been read, with their first and last times."""
    layout, order = reader.layout, RowOrder(reader.layout, None, 0)
    columns = [*layout.time_columns, *([] if layout.series is None else [layout.series])]
    if not columns:
        return [_Span("", 0, rows, None, None)]
    names, starts, firsts, lasts, row, before = list[str](), list[int](), list[Any](), list[Any](), 0, None
    for block in reader.blocks_of(columns):
        found = np.flatnonzero(order.find(block.table, block.new_file, [])[0])
        if layout.series is None:
            names += [""] * len(found)
        else:
            names += map(str, plain(block.table[layout.series]).take(pa.array(found)).to_pylist())
        times = _times(order.last_times, block.table.num_rows)
        starts += (row + found).tolist()
        firsts += [times[at] for at in found]
        lasts += [times[at - 1] if at else before for at in found]
        row, before = row + block.table.num_rows, times[-1]
    ends = zip(names, starts, [*starts[1:], row], firsts, [*lasts[1:], before], strict=True)
    return [_Span(*end) for end in ends]


def _times(times: Times | None, rows: int) -> list[Any]:
    """Return times (n,) as a feed counts them: dates in microseconds, numbers as they are; None without times."""
    if times is None:
        return [None] * rows
    ticks: list[Any] = times.ticks.tolist()
    if times.unit == "units":
        return ticks
    return [tick * _SECOND // int(times.per_unit) for tick in ticks]
