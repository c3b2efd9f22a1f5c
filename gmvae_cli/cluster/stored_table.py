"""A table in files that every worker can read, and any ranges of its rows as series data.

Nothing of the table is held: a task names rows, and its worker reads them from the files, with those around them that
they depend on.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.jitter import GRID_CONTEXT, snap
from gmvae_cli.data.series_data import READ_ROWS, ChannelSummary, SeriesData
from gmvae_cli.data.steps import StepRule, TimeUnit
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.files.row_blocks import Where
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.files.table_reader import open_table
from gmvae_cli.files.validation import SeriesBuilder
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.system.scratch import Scratch

_READ_AHEAD = 1 << 16  # rows at least that are read at once


class Stretch(NamedTuple):
    """Rows [start, stop) of a table, all in one file; `file` is its position, `part` that of the stretch in it."""

    start: int
    stop: int
    file: int
    part: int


@dataclass(frozen=True)
class StoredTable:
    """One table of one or several files.

    Args:
        name: in messages. files: in order, with paths that every worker knows. counts: rows of each.
        layout: the columns' roles. config: the options that the files are read with.
    """

    name: str
    files: tuple[InputFile, ...]
    counts: tuple[int, ...]
    layout: Layout
    config: SeriesConfig

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """(F + 1,) first row of each file, and the end of the last."""
        return np.cumsum([0, *self.counts])

    @property
    def rows(self) -> int:
        """Number of rows, T."""
        return int(self.edges[-1])

    def stretches(self, limit: int) -> list[Stretch]:
        """Cut every file into stretches of equal length, at most `limit` rows."""
        stretches: list[Stretch] = []
        for file, (first, count) in enumerate(zip(self.edges.tolist(), self.counts, strict=False)):
            cuts = np.linspace(first, first + count, -(-count // limit) + 1).astype(np.int64).tolist()
            stretches += [
                Stretch(start, stop, file, part) for part, (start, stop) in enumerate(itertools.pairwise(cuts))
            ]
        return stretches

    def reader(self, start: int, stop: int) -> SeriesReader:
        """Open the files that hold rows [start, stop), to read these rows."""
        first = int(np.searchsorted(self.edges, start, side="right")) - 1
        last = int(np.searchsorted(self.edges, stop, side="left"))
        tables = [open_table(file, self.config) for file in self.files[first:last]]
        whole = SeriesReader(tables, self.config, self.layout)
        return whole.between(start - int(self.edges[first]), stop - start)

    def checked(self, start: int, stop: int, layout: Layout, scratch: Scratch | None = None) -> SeriesBuilder:
        """Read rows [start, stop) of the columns that a layout uses, and check every cell.

        Args:
            scratch: keeps the numbers; None: none are kept.
        Raises:
            SeriesError: a cell that cannot be used.
        """
        before = start > 0  # the row before tells the first step, and whether a series begins
        reader = self.reader(start - before, stop)
        builder = SeriesBuilder(layout, scratch, reader.facts, first=start)
        for block in reader.blocks_of(layout.used):
            table, where = block.table, block.where
            if before:
                builder.order.follow(table.slice(0, 1), where)
                table, where, before = table.slice(1), _behind(where), False
            if table.num_rows:
                builder.add(table, where, new_file=block.new_file and table is block.table)
        return builder


@dataclass(frozen=True)
class SurveyedTable:
    """A table with what only all of its rows together say, which is what each worker needs to know of the others.

    Args:
        rule: of holes and breaks. period: of the grid that stamps jitter about; None: they do not.
        summary: of the channels that are read. kept: (D,) positions of those among them that are modelled.
        num_series, holes, breaks, step, time_unit, unit_seconds: as of `SeriesData`.
    """

    table: StoredTable
    rule: StepRule
    period: float | None
    summary: ChannelSummary
    kept: NDArray[Any]
    num_series: int
    holes: int
    breaks: int
    step: float | None
    time_unit: TimeUnit | None
    unit_seconds: float | None


class StoredSeries(SeriesData):
    """The rows of a table as series data, read from its files when they are asked for.

    Args:
        start, stop: rows that are read at once, and with them those before that a first row depends on.
        context_rows: how many those are.
    """

    def __init__(self, surveyed: SurveyedTable, start: int = 0, stop: int = 0, context_rows: int = 0) -> None:
        super().__init__(
            surveyed.table.name, Scratch(1), surveyed.summary, surveyed.num_series, rows=surveyed.table.rows
        )
        self.rule, self.holes, self.breaks = surveyed.rule, surveyed.holes, surveyed.breaks
        self.step, self.time_unit, self.unit_seconds = surveyed.step, surveyed.time_unit, surveyed.unit_seconds
        self._surveyed, self._start, self._stop = surveyed, 0, 0
        if len(surveyed.kept) < len(self.channels):
            self.keep_only(surveyed.kept)
        if stop:
            self._load(max(0, start - context_rows), stop)

    def read_all(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Read rows [start, stop), as in `SeriesData`; those of rows behind are read ahead."""
        if start < self._start or stop > self._stop:
            self._load(start, max(stop, min(start + _READ_AHEAD, self.rows)))
        rows = self._scratch.read(start - self._start, stop - self._start)
        return rows[:, :-1], self.rule.steps(rows[:, -1])

    def _load(self, start: int, stop: int) -> None:
        """Read rows from the files, with those around them that their steps depend on."""
        table, period = self._surveyed.table, self._surveyed.period
        around = 0 if period is None else GRID_CONTEXT
        self._start, self._stop = max(0, start - around), stop
        self._scratch.close()
        self._scratch = Scratch(len(table.layout.channels) + 1)
        table.checked(self._start, min(table.rows, stop + around), table.layout, self._scratch)
        if period is not None:
            snap(self._scratch, period, READ_ROWS)


def _behind(where: Where) -> Where:
    """Name the rows of a block without its first row."""
    return lambda row: where(row + 1)
