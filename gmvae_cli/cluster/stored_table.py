"""A table in files that every worker can read, and any ranges of its rows as series data.

Nothing of the table is held: a task names rows, and its worker reads them from the files, with those around them that
they depend on.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.jitter import GRID_CONTEXT, snap
from gmvae_cli.data.series_data import READ_ROWS, ChannelSummary, SeriesData
from gmvae_cli.data.steps import StepRule
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.files.row_blocks import Where
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.files.table_reader import open_table
from gmvae_cli.files.validation import SeriesBuilder
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.system.scratch import Scratch


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
    """

    table: StoredTable
    rule: StepRule
    period: float | None
    summary: ChannelSummary
    kept: NDArray[Any]

    def hold(self, ranges: Sequence[tuple[int, int]], context_rows: int) -> "HeldRows":
        """Read some ranges of rows, in order and apart, each with the rows before it that it depends on.

        Args:
            context_rows: rows before a row that its prediction looks back on.
        """
        table, layout = self.table, self.table.layout
        around = 0 if self.period is None else GRID_CONTEXT
        scratch = Scratch(len(layout.channels) + 1)
        held = []
        for start, stop in ranges:
            low, high = max(0, start - context_rows - around), min(table.rows, stop + around)
            table.checked(low, high, layout, scratch)
            held.append((low, high))
        if self.period is not None:
            snap(scratch, self.period, READ_ROWS)
        return HeldRows(self, scratch, held)


class HeldRows(SeriesData):
    """A series of which only some ranges of rows are held; to read others is a mistake of the caller.

    Args:
        scratch: the rows of all ranges, one range after another.
    """

    def __init__(self, surveyed: SurveyedTable, scratch: Scratch, ranges: Sequence[tuple[int, int]]) -> None:
        super().__init__(surveyed.table.name, scratch, surveyed.summary, 1, rows=surveyed.table.rows)
        self.rule, self._held = surveyed.rule, np.array(ranges)
        self._offsets = np.cumsum([0, *(stop - start for start, stop in ranges)])
        if len(surveyed.kept) < len(self.channels):
            self.keep_only(surveyed.kept)

    def read_all(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Read rows [start, stop), all of one range, as in `SeriesData`."""
        index = int(np.searchsorted(self._held[:, 0], start, side="right")) - 1
        first, end = self._held[index].tolist()
        assert first <= start <= stop <= end, f"rows {start} to {stop} of {first} to {end}"
        rows = self._scratch.read(start - first + self._offsets[index], stop - first + self._offsets[index])
        return rows[:, :-1], self.rule.steps(rows[:, -1])


def _behind(where: Where) -> Where:
    """Name the rows of a block without its first row."""
    return lambda row: where(row + 1)
