"""The rows of several files as blocks of one table, as they stand or sorted, with their names in messages."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmvae_cli.errors import SeriesError
from gmvae_cli.files.cells import Problem, plain
from gmvae_cli.files.csv_table import CsvTable
from gmvae_cli.files.table_reader import TypedTable
from gmvae_cli.files.time_column import find_times
from gmvae_cli.recognition.column_reasons import listed
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.system.concurrency import prefetch

BLOCK_ROWS = 1 << 16

# From a row of a block, counted from 0, to its name in messages: "sensors.csv: row 1042". There rows are counted from
# 1, the header not among them, and sorting does not change them.
Where = Callable[[int], str]
Tables = Sequence[CsvTable | TypedTable]


@dataclass(frozen=True, kw_only=True)
class RowBlock:
    """Some rows of a file.

    Args:
        table: the rows. where: their names in messages. name: of the file. new_file: whether they begin a file (or,
            sorted, a group of files).
    """

    table: Any
    where: Where
    name: str
    new_file: bool


def read_in_order(
    tables: Tables, columns: Sequence[str] | None, first: int = 0, count: int | None = None
) -> Iterator[RowBlock]:
    """Yield the rows of all files as they stand, the next block read in a thread of its own.

    Args:
        columns: names; None takes all. first: row of the first file to begin with, from 0. count: rows, None: all.
    Raises:
        SeriesError: a file that cannot be read, or without a row.
    """
    left = sys.maxsize if count is None else count
    for row, table in zip((first, *(0 for _ in tables[1:])), tables, strict=True):
        blocks = table.blocks(columns, row)
        for rows in blocks if table.is_small else prefetch(blocks):
            rows = rows.slice(0, left)
            yield RowBlock(table=rows, where=_where(table.name, row), name=table.name, new_file=row == 0)
            row += rows.num_rows
            left -= rows.num_rows
            if not left:
                return
        if not row:
            raise SeriesError(f"{table.name}: holds columns but no row")


def read_sorted(tables: Tables, columns: Sequence[str] | None, layout: Layout) -> Iterator[RowBlock]:
    """Yield the rows in order of their series (as they first appear) and time; the whole table is held in memory.

    Without a series column each file is sorted by itself.

    Args:
        columns: names; None takes all.
    Raises:
        SeriesError: a file that cannot be read, without a row or with other columns than the first; a cell that is no
            time.
    """
    groups = [tables] if layout.series is not None else [[table] for table in tables]
    for group in groups:
        whole, where = _read_whole(group, columns, layout)
        order = _order(whole, where, layout)
        for start in range(0, len(order), BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS]
            block = whole.take(pa.array(rows))
            yield RowBlock(
                table=block if columns is None else block.select(list(columns)),
                where=_where_taken(where, rows),
                name=group[0].name,
                new_file=start == 0,
            )


def aligned(table: Any, schema: Any, name: str, first_name: str) -> Any:
    """Return a block of the file `name` in the columns and types of the first file.

    Raises:
        SeriesError: other columns, or types that cannot be converted.
    """
    if table.schema.equals(schema):
        return table
    if sorted(table.column_names) != sorted(schema.names):
        differing = sorted(set(table.column_names) ^ set(schema.names)) or sorted(schema.names)
        raise SeriesError(f"{name}: its columns differ from those of {first_name} in: {listed(differing)}")
    try:
        return (table if table.column_names == schema.names else table.select(schema.names)).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise SeriesError(f"{name}: its columns are of other types than those of {first_name}") from error


def _read_whole(tables: Tables, columns: Sequence[str] | None, layout: Layout) -> tuple[Any, Where]:
    """Read these columns, and those that sorting needs, of some files as one table."""
    if columns is not None:
        keys = [*layout.time_columns, *([] if layout.series is None else [layout.series])]
        columns = list(dict.fromkeys([*columns, *keys]))
    first = tables[0]
    schema = first.schema if columns is None else pa.schema([first.schema.field(name) for name in columns])
    parts, counts = [], []
    for table in tables:
        blocks = [aligned(block, schema, table.name, first.name) for block in table.blocks(columns)]
        if not blocks:
            raise SeriesError(f"{table.name}: holds columns but no row")
        parts += blocks
        counts.append((table.name, sum(block.num_rows for block in blocks)))
    return pa.concat_tables(parts).unify_dictionaries(), _where_among(counts)


def _order(table: Any, where: Where, layout: Layout) -> NDArray[np.int64]:
    """Return the (T,) rows in order of series and time; equal times stay in the order of the file."""
    keys: list[NDArray[Any]] = []  # the last one sorts first
    if layout.time is not None:
        problems: list[Problem] = []
        times = find_times(layout.time_cells(table), layout.time, layout.time_reader(), problems)
        if times is None:
            row, sentence = problems[0]
            raise SeriesError(f"{where(row)}: {sentence}")
        keys.append(times.ticks)
    if layout.series is not None:
        ids = plain(table[layout.series]).dictionary_encode().indices
        keys.append(ids.fill_null(-1).to_numpy())
    return np.lexsort(keys) if keys else np.arange(table.num_rows)


def _where(name: str, first_row: int) -> Where:
    """Name the rows of a block whose first row is the file's row `first_row`, from 0."""
    return lambda row: f"{name}: row {first_row + row + 1}"


def _where_taken(where: Where, rows: NDArray[np.int64]) -> Where:
    """Name the rows that were taken from another block at the positions `rows`."""
    return lambda row: where(int(rows[row]))


def _where_among(files: Sequence[tuple[str, int]]) -> Where:
    """Name the rows of several files, (name, number of rows) each, that follow one another."""
    stops = np.cumsum([rows for _, rows in files])

    def where(row: int) -> str:
        index = int(np.searchsorted(stops, row, side="right"))
        name, rows = files[index]
        return _where(name, int(row - (stops[index] - rows)))(0)

    return where
