"""A labelled file, read for a picture of it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.files.cells import as_text
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.plotting.downsampling import Array
from gmvae_cli.plotting.plot_data import MOST_CHANNELS, MOST_REGIMES, PlotData, PlotDataBuilder
from gmvae_cli.recognition.column_reasons import listed
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.regime_names import NAME_COLUMN, shown
from gmvae_cli.system.progress import Progress

_BLOCK_ROWS = 1 << 16


def read(path: str, config: SeriesConfig, progress: Progress) -> PlotData:
    """Read a labelled file: once to check every cell, once to draw.

    Raises:
        SeriesError: no column `regime`, or cells in it that `infer` does not write; or rows that no command accepts.
    """
    notes: list[Note] = []
    reader, channels, numbers = _open(path, config, notes)
    with reader.read_data(None, progress, keep_constant=True) as data:
        num_regimes = 1 + max(_largest_regime(data), *numbers, 0)
        builder = PlotDataBuilder(reader.name, reader.layout, channels, shown((), num_regimes))
        for cells, values, steps in _blocks(reader, data):
            column = data.channels.index("regime")
            regimes = values[:, column].astype(np.int64)
            probs = None
            if numbers:
                probs = np.zeros((len(values), num_regimes))
                probs[:, numbers] = values[:, column + 1 :]
            if NAME_COLUMN in cells.column_names:
                _find_names(builder.names, regimes, cells[NAME_COLUMN])
            builder.add(cells, values[:, : len(channels)], steps, regimes, probs)
            progress("plot", builder.rows, data.rows)
        return builder.build(data, notes)


def _find_names(names: list[str], regimes: NDArray[np.int64], cells: Any) -> None:
    """Set the names of regimes to what stands beside their first rows. regimes: (n,). cells: Arrow column of n rows."""
    numbers, rows = np.unique(regimes, return_index=True)
    for number, text in zip(numbers.tolist(), as_text(cells.take(rows)).to_pylist(), strict=True):
        if number >= 0:
            names[number] = text or names[number]


def _blocks(reader: SeriesReader, data: SeriesData) -> Iterator[tuple[Any, Array, NDArray[np.int64]]]:
    """Yield blocks of cells with their values and steps."""
    start = 0
    for cells in reader.tables(_BLOCK_ROWS):
        stop = start + cells.num_rows
        yield cells, *data.read(start, stop)
        start = stop


def _open(path: str, config: SeriesConfig, notes: list[Note]) -> tuple[SeriesReader, tuple[str, ...], list[int]]:
    """Open the channels to draw, `regime`, and probabilities; return those channels, and whose probabilities."""
    reader = open_series([path], config)
    layout = reader.layout
    if "regime" not in layout.columns:
        raise SeriesError(
            f"{reader.name}: no column 'regime'; give a file that infer wrote; columns are: {listed(layout.columns)}"
        )
    numbers = [number for number in range(MOST_REGIMES) if f"prob_{number}" in layout.columns]
    probs = [f"prob_{number}" for number in numbers]
    drawn = [name for name in drawn_channels(layout, notes) if name != "regime" and name not in probs]
    wanted = (*drawn, "regime", *probs)
    parts = replace(config, channels=wanted, time=layout.time, series=layout.series, no_time=layout.time is None)
    return reader.using(parts), tuple(drawn) or ("regime",), numbers


def drawn_channels(layout: Layout, notes: list[Note]) -> tuple[str, ...]:
    """Return the channels for which there is room, with a note where that is not all."""
    if len(layout.channels) > MOST_CHANNELS:
        sentence = f"of {len(layout.channels)} channels the first {MOST_CHANNELS} are drawn; --channels names others"
        notes.append(Note("many_channels", sentence))
    return layout.channels[:MOST_CHANNELS]


def _largest_regime(data: SeriesData) -> int:
    """Return the largest regime, having checked them all."""
    largest, column = 0, data.channels.index("regime")
    for start in range(0, data.rows, _BLOCK_ROWS):
        regimes = data.read(start, min(start + _BLOCK_ROWS, data.rows))[0][:, column]
        valid = (regimes >= -1) & (regimes < MOST_REGIMES) & (regimes == np.floor(regimes))
        if not valid.all():
            row = int(valid.argmin())
            content = "is empty" if np.isnan(regimes[row]) else f"holds '{regimes[row]:g}'"
            raise SeriesError(
                f"{data.name}: row {start + row + 1}: column 'regime' {content}; expected a whole number from -1 to "
                f"{MOST_REGIMES - 1}, as infer writes"
            )
        largest = max(largest, int(regimes.max()))
    return largest
