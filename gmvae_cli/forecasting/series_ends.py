"""The ends of all series of a table: which rows are theirs, their last times, and the laws of their last rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.files.cells import plain
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.files.validation import RowOrder
from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.forecasting.series_state import SeriesEnd, end_rows
from gmvae_cli.inference.labelled_rows import LabelledRows

TIMES = 64  # last ones of a series, from which their form and their spacing are seen


@dataclass
class SeriesRows:
    """The rows [start, stop) of a table that are one series.

    Args:
        name: its id, None where there is no series column; file: the name of its file.
        times: Arrow cells of the last rows, the last one at the end; None without times.
    """

    name: Any
    file: str
    start: int
    stop: int
    times: Any


def series_of(reader: SeriesReader, rows: int) -> list[SeriesRows]:
    """List the series of a table that has been read, T rows in all."""
    layout, order, found = reader.layout, RowOrder(reader.layout, None, 0), list[SeriesRows]()
    columns = [*layout.time_columns, *([] if layout.series is None else [layout.series])] or layout.channels[:1]
    row = 0
    for block in reader.blocks_of(columns):
        table = block.table
        starts = np.flatnonzero(order.find(table, block.new_file, [])[0]).tolist()
        ids = None if layout.series is None else plain(table[layout.series]).take(pa.array(starts)).to_pylist()
        cells = None if layout.time is None else layout.time_cells(table)
        if found and (not len(starts) or starts[0]):
            _extend(found[-1], cells, 0, starts[0] if len(starts) else table.num_rows)
        for index, (first, stop) in enumerate(zip(starts, [*starts[1:], table.num_rows], strict=True)):
            series = SeriesRows(None if ids is None else ids[index], block.name, row + int(first), 0, None)
            _extend(series, cells, first, stop)
            found.append(series)
        row += table.num_rows
    for series, stop in zip(found, [*(following.start for following in found[1:]), rows], strict=True):
        series.stop = stop
    return found


def _extend(series: SeriesRows, cells: Any, first: int, stop: int) -> None:
    """Add the times of rows [first, stop) of a block to those of a series."""
    if cells is None:
        return
    first = max(first, stop - TIMES)
    parts = [] if series.times is None else [series.times]
    joined = pa.concat_arrays([*parts, cells.slice(first, stop - first)])
    series.times = joined.slice(max(0, len(joined) - TIMES))


def ends_of(data: SeriesData, series: Sequence[SeriesRows], model: FilterModel) -> Iterator[SeriesEnd]:
    """Yield the end of each series, whose rows are of the model's channels."""
    count = end_rows(model)
    for rows in series:
        values, steps = data.read(max(rows.start, rows.stop - count), rows.stop)
        yield SeriesEnd.of(values, steps, model.config.context_rows)


def last_laws(
    blocks: Iterator[LabelledRows], series: Sequence[SeriesRows], ends: Sequence[SeriesEnd]
) -> list[NDArray[np.float64]]:
    """Collect the laws (m + 1, K) of the last m + 1 rows of each series, m rows behind its last complete one.

    Args:
        blocks: all rows of the table in order.
    """
    counts = [1 + end.rows_behind for end in ends]
    wanted = np.concatenate([np.arange(rows.stop - n, rows.stop) for rows, n in zip(series, counts, strict=True)])
    parts, row = list[NDArray[np.float64]](), 0
    for block in blocks:
        low, high = np.searchsorted(wanted, [row, row + len(block)])
        parts.append(block.probs[wanted[low:high] - row])
        row += len(block)
    return np.split(np.concatenate(parts), np.cumsum(counts)[:-1])
