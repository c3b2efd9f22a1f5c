"""Features of blocks of rows: of each channel the mean of a block, and the log of its standard deviation.

Where a regime is a waveform or an activity rather than a level, the mean of a block hides it and the standard deviation
shows it. The features are a series again, with two channels for each, and the same model is fitted to them.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.series_data import READ_ROWS, ChannelSummary, SeriesData
from gmvae_cli.system.scratch import MEMORY_BYTES, Scratch, require_free

Ranges = list[tuple[int, int]]

SHORTEST_BLOCK = 4  # rows, of blocks that a search makes; the standard deviation of fewer says nothing
_COMPARED_ROWS = 2_000  # by which labellings are compared
STD_EPSILON = 1e-3  # of a channel's standard deviation; keeps the log of a constant block finite, about 7 below usual


def feature_names(channels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the features of these channels: all means, then all log standard deviations."""
    return tuple(f"{feature} {name}" for feature in ("mean", "log_spread") for name in channels)


def block_features(
    data: SeriesData, block_rows: int, std_epsilon: NDArray[np.float64], directory: str | None = None
) -> SeriesData:
    """Compute the features of blocks of `block_rows` rows as a series of their own.

    The last block of each unbroken series has half to one and a half times as many rows; a series shorter than that is
    one block. The step between two blocks is the time between their first rows, in blocks. Memory stays flat; scratch
    space is freed when the result is closed or no longer referenced.

    Args:
        data: T rows of D channels. std_epsilon: (D,) added to standard deviations, in the channels' units.
        directory: of the scratch file; None takes TMPDIR.
    Returns:
        B rows of 2 D channels, with `edges` (B + 1,), `std_epsilon` and `blocks_of` set.
    """
    edges, steps = block_edges(data, block_rows)
    summary = ChannelSummary(feature_names(data.channels))
    scratch = Scratch(len(summary.channels) + 1, np.float64, directory)
    nbytes = len(steps) * 8 * scratch.num_columns
    if nbytes > MEMORY_BYTES:
        require_free(directory, nbytes)
    for start, stop in _portions(len(steps), block_rows):
        values = data.read(int(edges[start]), int(edges[stop]))[0]
        features = summarize_blocks(values, edges[start : stop + 1], std_epsilon)
        summary.add([np.ascontiguousarray(column) for column in features.T])
        elapsed = np.where(steps[start:stop] == 0, np.nan, steps[start:stop])
        scratch.append(np.column_stack([features, elapsed]))
    blocks = SeriesData(data.name, scratch, summary, int((steps == 0).sum()), edges, std_epsilon)
    blocks.blocks_of = data
    blocks.known = None if data.known is None else data.known.of_blocks(edges)
    return blocks


def _portions(blocks: int, block_rows: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of blocks that together have about as many rows as are read at once."""
    portion = max(1, READ_ROWS // block_rows)
    return ((start, min(start + portion, blocks)) for start in range(0, blocks, portion))


def summarize_blocks(
    values: NDArray[np.float64], edges: NDArray[np.int64], std_epsilon: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute means and log standard deviations of blocks of rows.

    Args:
        values: (n, D), NaN is missing. edges: (B + 1,) first row of each block and end of the last; edges[0] is row 0.
        std_epsilon: (D,) added to standard deviations, in the channels' units.
    Returns:
        (B, 2 D); NaN for a channel of which half of the block's rows or more are missing.
    """
    first, lengths = edges[:-1] - edges[0], np.diff(edges)
    observed = ~np.isnan(values)
    counts = np.add.reduceat(observed, first, axis=0, dtype=np.int64)  # (B, D)
    known = 2 * counts > lengths[:, None]
    divisor = np.where(known, counts, 1)
    mean = np.add.reduceat(np.where(observed, values, 0), first) / divisor
    differences = np.where(observed, values - np.repeat(mean, lengths, axis=0), 0)
    std = np.sqrt(np.add.reduceat(differences * differences, first) / divisor)
    return np.where(np.tile(known, 2), np.concatenate([mean, np.log(std + std_epsilon)], axis=1), np.nan)


def block_edges(data: SeriesData, block_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide every unbroken series into blocks of `block_rows` rows.

    Returns:
        edges: (B + 1,) first row of each block, end of the last. steps: (B,) from block to block, as in a series.
    """
    starts, holes, missing = _irregular_rows(data)
    rows = np.diff(starts, append=data.rows)
    counts = np.maximum(1, (rows + block_rows // 2) // block_rows)
    first = np.cumsum(counts) - counts  # first block of each series
    edges = np.repeat(starts, counts) + block_rows * (np.arange(counts.sum()) - np.repeat(first, counts))
    elapsed = np.diff(edges, prepend=edges[:1])  # rows, those missing added below
    block = np.searchsorted(edges, holes, side="left")  # the first block that begins behind the hole
    inside = block < len(edges)
    np.add.at(elapsed, block[inside], missing[inside])
    steps = np.maximum(1, (elapsed + block_rows // 2) // block_rows)
    steps[first] = 0
    return np.append(edges, data.rows), steps


def _irregular_rows(data: SeriesData) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the rows that start a series, the rows behind a hole, and how many rows each hole lacks."""
    starts: list[NDArray[np.int64]] = []
    holes: list[NDArray[np.int64]] = []
    missing: list[NDArray[np.int64]] = []
    for row in range(0, data.rows, READ_ROWS):
        steps = data.read(row, min(row + READ_ROWS, data.rows))[1]
        starts.append(row + np.flatnonzero(steps == 0))
        holes.append(row + np.flatnonzero(steps > 1))
        missing.append(steps[steps > 1] - 1)
    return np.concatenate(starts), np.concatenate(holes), np.concatenate(missing)


# --- samples of blocks -----------------------------------------------------------------------------------------------


def pieces(rows: int, count: int, length: int) -> Ranges:
    """List so many evenly spaced ranges of `length` rows, or all rows in one range where these are not more.

    Ranges of other lengths have the same middles.
    """
    span = rows / count
    if length >= span:
        return [(0, rows)]
    starts = [round((index + 0.5) * span - length / 2) for index in range(count)]
    return [(start, start + length) for start in starts]


def compared_rows(ranges: Ranges) -> NDArray[np.int64]:
    """Choose the rows by which labellings are compared, evenly spaced in the ranges that all of them know."""
    start, stop = np.array(ranges).T
    ends = np.cumsum(stop - start)
    position = np.linspace(0, ends[-1] - 1, min(int(ends[-1]), _COMPARED_ROWS)).astype(int)
    chosen: NDArray[np.int64] = (stop - ends)[np.searchsorted(ends, position, side="right")] + position
    return chosen


def in_recording(edges: NDArray[np.int64], ranges: Ranges) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first rows, and last rows + 1, each (n,), of blocks with these edges (n + 1,) in the joined ranges."""
    start, stop = np.array(ranges).T
    ends = np.cumsum(stop - start)
    shift = (stop - ends)[np.searchsorted(ends, edges[:-1], side="right")]
    return edges[:-1] + shift, edges[1:] + shift
