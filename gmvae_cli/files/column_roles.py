"""The roles of columns: which is the time, which the series id, which are channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import ConfigError, Note, SeriesError
from gmvae_cli.files.cells import NumberFormat, is_numeric, missing_cells, plain
from gmvae_cli.files.table_reader import CsvTable, ParquetTable

TIME_NAMES = ("time", "timestamp", "date", "t")
RESERVED = ("series", "regime", "true_regime", "segment", "log_likelihood")
_UNNAMED = ("", "__index_level_0__")  # a data frame's row numbers, saved by habit
_NUMBER = r"^\s*[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:nan|inf|infinity)\s*$"
_NUMERIC_SHARE = 0.5  # a CSV column with more numbers than that among its cells is a channel; other cells are errors
_LISTED_COLUMNS = 20  # more names than that make no message clearer


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The roles of a table's columns.

    Args:
        time, series: names, or None. channels: D names. columns: all of the file's, in order.
    """

    time: str | None
    series: str | None
    channels: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that the series data are made of: time, series, channels."""
        return (*(name for name in (self.time, self.series) if name is not None), *self.channels)


def is_reserved(name: str) -> bool:
    """Return whether a column of this name is a channel only if the user says so."""
    return name.lower() in TIME_NAMES or name in RESERVED or name.startswith("prob_")


def find_layout(table: CsvTable | ParquetTable, config: SeriesConfig) -> tuple[Layout, list[Note]]:
    """Assign the roles that the options name, and the usual ones where they name none.

    Returns:
        the layout, and notes about columns that look like channels but are none.
    Raises:
        SeriesError: a named column is absent or there twice. ConfigError: a column is named for two roles.
    """
    columns, named = table.columns, config.channels or ()
    time = config.time or (None if config.no_time else _default_time(columns, named))
    series = config.series or ("series" if "series" in columns and "series" not in named else None)
    for name in (config.time, config.series, *named, time, series):
        if name is not None:
            require_column(table.name, columns, name)
    if time is not None and time == series:
        raise ConfigError(f"'{time}' is named as --time and as --series; a column has one role")
    for name in named:
        if name in (time, series):
            raise ConfigError(f"--channels names '{name}', which is the time or series column; a column has one role")
    notes: list[Note] = []
    channels = config.channels or _default_channels(table, {time, series}, config, notes)
    return Layout(time=time, series=series, channels=channels, columns=columns), notes


def require_column(file: str, columns: Sequence[str], name: str) -> None:
    """Raise a SeriesError unless exactly one column of the file has this name."""
    if name not in columns:
        raise SeriesError(f"{file}: no column '{name}'; columns are: {listed(columns)}")
    if columns.count(name) > 1:
        raise SeriesError(f"{file}: {columns.count(name)} columns are named '{name}'; rename all but one")


def listed(columns: Sequence[str]) -> str:
    """Return the names of columns as messages list them."""
    more = len(columns) - _LISTED_COLUMNS
    return ", ".join(columns[:_LISTED_COLUMNS]) + (f" and {more} more" if more > 0 else "")


def _default_time(columns: Sequence[str], channels: Sequence[str]) -> str | None:
    free = [name for name in columns if name not in channels]
    return next((name for wanted in TIME_NAMES for name in free if name.lower() == wanted), None)


def _default_channels(
    table: CsvTable | ParquetTable, taken: set[str | None], config: SeriesConfig, notes: list[Note]
) -> tuple[str, ...]:
    """Return the numeric columns that are neither taken nor reserved; adds to `notes`."""
    first, form = table.first_block, NumberFormat(na_values=config.na_values)
    folders = {key for key, _ in table.file.folder_columns}
    channels: list[str] = []
    for position, name in enumerate(table.columns):
        if name in taken or is_reserved(name) or name in folders or name in table.columns[:position]:
            continue
        column = plain(first.column(position))
        if pa.types.is_string(column.type):
            column = column.drop_null()
            column = column.filter(pc.invert(missing_cells(column, form)))
        if table.columns.count(name) > 1:
            sentence = f"the name '{name}' occurs more than once, so it is no channel; rename all but one"
            notes.append(Note("duplicate_column", sentence))
        elif pa.types.is_string(column.type) and not len(column):
            sentence = f"column '{name}' is empty at the start, so it is no channel unless --channels names it"
            notes.append(Note("empty_column", sentence))
        elif _holds_numbers(column):
            if name in _UNNAMED:
                sentence = "a column without a name, perhaps row numbers, is no channel; if it is one, name it"
                notes.append(Note("unnamed_column", sentence))
            else:
                channels.append(name)
    return tuple(channels)


def _holds_numbers(column: Any) -> bool:
    """Judge a column by its type, text by the share of numbers among its cells, none of which is missing."""
    if not pa.types.is_string(column.type):
        return is_numeric(column.type)
    share = pc.mean(pc.match_substring_regex(column, _NUMBER)).as_py()
    return share is not None and share > _NUMERIC_SHARE
