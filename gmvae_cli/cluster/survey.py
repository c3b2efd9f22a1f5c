"""The first pass over a table that is dealt out: what only all of its rows together say, without any row."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gmvae_cli.cluster.stored_table import StoredTable, Stretch, SurveyedTable
from gmvae_cli.data.jitter import GRID_CONTEXT, grid_period, snap
from gmvae_cli.data.series_data import READ_ROWS, ChannelSummary, SeriesData
from gmvae_cli.data.steps import StepCounter
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.files.table_reader import open_table
from gmvae_cli.files.validation import SeriesBuilder
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.series_config import SeriesConfig
from gmvae_cli.system.engine import Engine, in_order
from gmvae_cli.system.progress import Progress
from gmvae_cli.system.scratch import Scratch


class Survey(NamedTuple):
    """Result of the first pass.

    Args:
        surveyed: what workers need. data: the same facts as series data without a row, for notes and figures.
    """

    surveyed: SurveyedTable
    data: SeriesData


class _Job(NamedTuple):
    """A table and the layout of the columns to read; a period of the grid to which stamps are moved, or None."""

    table: StoredTable
    layout: Layout
    period: float | None = None


def rows_beyond(reader: SeriesReader, limit: int) -> int | None:
    """Return the number of rows if it is above a limit; CSV rows are counted if they may well be, at some cost."""
    rows = reader.rows
    if rows is None and 2 * reader.likely_rows > limit:
        rows = sum(block.table.num_rows for block in reader.blocks_of(reader.layout.used))
    return rows if rows is not None and rows > limit else None


def count_rows(engine: Engine, files: Sequence[InputFile], config: SeriesConfig, progress: Progress) -> list[int]:
    """Count the rows of files, each read by a worker where its format does not say the number."""
    counts = [0] * len(files)
    for done, (index, rows) in enumerate(engine.run(_count, files, config)):
        counts[index] = rows
        progress("read", done + 1, len(files))
    return counts


def _count(config: SeriesConfig, file: InputFile) -> int:
    table = open_table(file, config)
    return sum(block.num_rows for block in table.blocks()) if table.rows is None else table.rows


def survey(
    engine: Engine,
    table: StoredTable,
    stretches: Sequence[Stretch],
    progress: Progress,
    *,
    with_channels: bool,
    keep_constant: bool,
) -> Survey:
    """Read the times and ids of a table, and its channels as well where they are asked for.

    Args:
        keep_constant: as in `SeriesReader.read_data`.
    Raises:
        SeriesError: a cell that cannot be used, or series that go on behind others. ConfigError: an impossible option.
    """
    config = table.config
    layout = table.layout if with_channels else replace(table.layout, channels=())
    builder: SeriesBuilder | None = None
    if with_channels or layout.time is not None or layout.series is not None:
        for later in in_order(engine.run(_checked, stretches, _Job(table, layout))):
            if builder is None:
                builder = later
            else:
                builder.merge(later, table.name)
            progress("read", builder.rows, table.rows)
    period = None
    if builder is not None and layout.time is not None and not config.regular:
        ((_, period),) = engine.run(_period_of, [Stretch(0, min(table.rows, READ_ROWS), 0, 0)], _Job(table, layout))
        if period is not None:
            job, counter = _Job(table, layout, period), StepCounter()
            for later_counter in in_order(engine.run(_snapped, stretches, job)):
                counter.merge(later_counter)
            builder.order.counter = counter
        if builder.order.times.time_form is not None:
            table = replace(table, layout=replace(table.layout, time_form=builder.order.times.time_form))
    if builder is None:  # nothing to read: no time, no series, and channels are checked by those who use them
        builder = SeriesBuilder(layout, None)
        builder.rows = table.rows
    data = builder.finish(
        table.name, max_gap=config.max_gap, regular=config.regular, keep_constant=keep_constant or not with_channels
    )
    summary = builder.summary if with_channels else ChannelSummary(table.layout.channels)
    kept = data.kept if with_channels else np.arange(len(summary.channels))
    surveyed = SurveyedTable(
        table=table,
        rule=data.rule,
        period=period,
        summary=summary,
        kept=kept,
        num_series=data.num_series,
        holes=data.holes,
        breaks=data.breaks,
        step=data.step,
        time_unit=data.time_unit,
        unit_seconds=data.unit_seconds,
    )
    return Survey(surveyed, data)


def _checked(job: _Job, stretch: Stretch) -> SeriesBuilder:
    return job.table.checked(stretch.start, stretch.stop, job.layout)


def _period_of(job: _Job, stretch: Stretch) -> float | None:
    with Scratch(len(job.layout.channels) + 1) as scratch:
        job.table.checked(stretch.start, stretch.stop, job.layout, scratch)
        return grid_period(scratch.read(0, scratch.rows)[:, -1])


def _snapped(job: _Job, stretch: Stretch) -> StepCounter:
    """Count the steps of a stretch on the grid that its stamps jitter about."""
    assert job.period is not None
    low, high = max(0, stretch.start - GRID_CONTEXT), min(job.table.rows, stretch.stop + GRID_CONTEXT)
    counter = StepCounter(stretch.start)
    with Scratch(len(job.layout.channels) + 1) as scratch:
        job.table.checked(low, high, job.layout, scratch)
        snap(scratch, job.period, READ_ROWS)
        for start in range(stretch.start, stretch.stop, READ_ROWS):
            rows = scratch.read(start - low, min(start + READ_ROWS, stretch.stop) - low)
            counter.add(np.ascontiguousarray(rows[:, -1]))
    return counter


def stored(files: Sequence[InputFile], config: SeriesConfig, layout: Layout, counts: Sequence[int]) -> StoredTable:
    """Put files together as one table; the layout is that of the first."""
    name = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    return StoredTable(name, tuple(files), tuple(counts), layout, config)
