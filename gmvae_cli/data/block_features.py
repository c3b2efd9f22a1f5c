"""Blocks of rows in place of rows: of each channel the mean of a block, and the log of its standard deviation.

When a regime is a waveform or an activity rather than a level, the mean of a block of rows hides it and its spread
shows it. A recording seen this way is one again, with two channels for each, and the same model goes on top.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.series_data import READ_ROWS, ChannelSummary, SeriesData

STD_EPSILON = (
    1e-3  # of a channel's standard deviation, added to that of a block: a block that never changes has a log too
)


def feature_names(channels: tuple[str, ...]) -> tuple[str, ...]:
    """What the summaries of these channels are called."""
    return tuple(f"{part} {name}" for part in ("mean", "log_spread") for name in channels)


def block_features(
    values: NDArray[np.float64], edges: NDArray[np.int64], std_epsilon: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means and log standard deviations of blocks of rows.

    Args:
        values: (n, D), NaN is missing. edges: (B + 1,) where blocks begin, and where the last one ends.
        floor: (D,) what is added to standard deviations, in the channels' units.
    Returns:
        (B, 2 D); NaN for a channel that half of a block's rows or more lack.
    """
    first, lengths = edges[:-1] - edges[0], np.diff(edges)
    there = ~np.isnan(values)
    counts = np.add.reduceat(there, first, axis=0, dtype=np.int64)
    known = 2 * counts > lengths[:, None]
    divisor = np.where(known, counts, 1)
    mean = np.add.reduceat(np.where(there, values, 0), first) / divisor
    differences = np.where(there, values - np.repeat(mean, lengths, axis=0), 0)
    std = np.sqrt(np.add.reduceat(differences * differences, first) / divisor)
    return np.where(np.tile(known, 2), np.concatenate([mean, np.log(std + std_epsilon)], axis=1), np.nan)


class BlockFeatures:
    """A recording in blocks of `block_rows` rows; the last one of a series has half to one and a half times as many.

    A series of fewer rows than that is one block. It is read as a recording is. A block follows the one before by so
    many steps as blocks fit between their beginnings.

    Attributes:
        recording: of the rows. rows: number of blocks. edges: (rows + 1,) their first rows. steps: (rows,) as a
            recording has them.
        floor: (D,) as in `block_features`. mean, scale: (2 D,) of the summaries.
    """

    def __init__(self, data: SeriesData, block_rows: int, std_epsilon: NDArray[np.float64]) -> None:
        self.data, self.block_rows, self.std_epsilon = data, block_rows, std_epsilon
        self.name = data.name
        self.edges, self.steps = block_edges(data, block_rows)
        self.rows = len(self.steps)
        summary = ChannelSummary(feature_names(data.channels))
        for start, stop in self.portions():
            values = self.read(start, stop)[0]
            summary.add([np.ascontiguousarray(column) for column in values.T])
        self.channels, self.mean, self.scale = summary.channels, summary.mean, summary.scale

    def portions(self) -> Iterator[tuple[int, int]]:
        """Ranges of blocks whose rows are no more than are read at once."""
        blocks = max(1, READ_ROWS // self.block_rows)
        return ((start, min(start + blocks, self.rows)) for start in range(0, self.rows, blocks))

    def read(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Blocks [start, stop): values (n, 2 D), NaN = missing, and steps (n,) as a recording has them."""
        edges = self.edges[start : stop + 1]
        values = self.data.read(int(edges[0]), int(edges[-1]))[0]
        return block_features(values, edges, self.std_epsilon), self.steps[start:stop]


def block_edges(data: SeriesData, block_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where blocks begin and the last one ends (B + 1,), and how each follows the one before (B,)."""
    starts: list[NDArray[np.int64]] = []
    holes: list[NDArray[np.int64]] = []
    missing: list[NDArray[np.int64]] = []
    for row in range(0, data.rows, READ_ROWS):
        steps = data.read(row, min(row + READ_ROWS, data.rows))[1]
        starts.append(row + np.flatnonzero(steps == 0))
        holes.append(row + np.flatnonzero(steps > 1))
        missing.append(steps[steps > 1] - 1)
    series = np.concatenate(starts)
    rows = np.diff(series, append=data.rows)
    counts = np.maximum(1, (rows + block_rows // 2) // block_rows)
    first = np.cumsum(counts) - counts
    edges = np.repeat(series, counts) + block_rows * (np.arange(counts.sum()) - np.repeat(first, counts))
    travelled = np.diff(edges, prepend=edges[:1])
    block = np.searchsorted(edges, np.concatenate(holes), side="left")  # the first block that begins behind the hole
    inside = block < len(edges)
    np.add.at(travelled, block[inside], np.concatenate(missing)[inside])
    steps = np.maximum(1, (travelled + block_rows // 2) // block_rows)
    steps[first] = 0
    return np.append(edges, data.rows), steps


def roughness(blocks: BlockFeatures) -> NDArray[np.float64]:
    """The log spread of the differences from row to row within each block, (B, D), beside what `read` gives."""
    found = []
    for start, stop in blocks.portions():
        edges = blocks.edges[start : stop + 1]
        values = blocks.data.read(int(edges[0]), int(edges[-1]))[0]
        differences = np.diff(values, axis=0, prepend=np.nan)
        differences[edges[:-1] - edges[0]] = np.nan
        found.append(block_features(differences, edges, blocks.std_epsilon)[:, values.shape[1] :])
    return np.concatenate(found)
