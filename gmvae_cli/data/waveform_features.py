"""Features of blocks of rows that tell waveforms apart: how often short patterns occur, reduced to what changes slowly.

Where regimes are kinds of oscillation, their means and spreads may be equal. So each channel is convolved with fixed
kernels of 9 weights at several dilations, and a block is described by the shares of its rows whose convolution exceeds
a few thresholds                                                                    [MiniRocket, Dempster et al. 2021].
Of these some two thousand shares, and of mean and log standard deviation, the model sees the few linear combinations
whose variance is largest compared with their change from block to block: regimes last, noise does not.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.block_features import STD_EPSILON, Ranges, block_edges, pieces, summarize_blocks
from gmvae_cli.data.series_data import READ_ROWS, SeriesData, Waveforms

Array = NDArray[np.float64]

LAG = 4  # blocks over which change counts as noise: ARI 0.83 on 70 one-channel recordings; 1 gives 0.81, 8 0.82
_KERNELS = np.array(list(combinations(range(9), 3)))  # (84, 3) positions of weight 2; the others have weight -1
_QUANTILES = 4  # thresholds for each convolution, as quantiles of it
_SHARES = 2_016  # in all channels together; of more channels each is convolved with fewer kernels
_PIECES, _PIECE_BLOCKS = 8, 125  # of a long series, from which features are learned; chosen, not measured
_SAMPLE_PIECES, _SAMPLE_PIECE = 16, 4_096  # stretches of rows that thresholds are measured on; chosen, not measured
_LEVEL = 0.2  # size of mean and of log std beside the root of the summed variance of the shares; chosen, see tests
_COMPONENTS = 30  # principal components of which combinations are made; 15 lose 0.02 ARI, 60 and 100 give as much
_SHRINKAGE = 0.03  # of the covariance of the changes to a multiple of the identity; 0.01 to 0.1 give the same ARI


def waveform_names(num_features: int) -> tuple[str, ...]:
    """Return names for the features, the slowest first."""
    return tuple(f"waveform {index}" for index in range(num_features))


def thresholds_shape(num_channels: int, block_rows: int) -> tuple[int, int, int, int]:
    """Return (D, S, k, _QUANTILES) for blocks of so many rows."""
    num_dilations = len(_dilations(block_rows))
    return num_channels, num_dilations, len(_kernels(num_channels, num_dilations)), _QUANTILES


def waveform_features(data: SeriesData, block_rows: int, num_features: int) -> SeriesData:
    """Compute the features of blocks of `block_rows` rows, learned from the series itself, as a series of their own."""
    ranges = sampled_rows(data.rows, block_rows)
    with data.pieces(ranges) as sample:
        thresholds, std_epsilon = measure_thresholds(sample, block_rows), STD_EPSILON * data.scale
        described, steps, edges = describe_blocks(sample, block_rows, thresholds, std_epsilon)
    waveforms = Waveforms(thresholds, slow_projection(described, len(data.channels), num_features), std_epsilon)
    if len(ranges) > 1:
        return with_projection(data, block_rows, waveforms)
    return _as_series(data, described @ waveforms.projection, steps, edges, waveforms)


def sampled_rows(rows: int, block_rows: int) -> Ranges:
    """List the ranges of rows from which features are learned: all rows, or evenly spaced pieces of very many."""
    return pieces(rows, _PIECES, _PIECE_BLOCKS * block_rows)


def with_projection(data: SeriesData, block_rows: int, waveforms: Waveforms) -> SeriesData:
    """Compute the features of blocks of another series, or the same, as those were that a model learned from."""
    thresholds, projection, std_epsilon = waveforms
    values, steps, edges = describe_blocks(data, block_rows, thresholds, std_epsilon, projection)
    return _as_series(data, values, steps, edges, waveforms)


def _as_series(
    data: SeriesData, values: Array, steps: NDArray[np.int64], edges: NDArray[np.int64], waveforms: Waveforms
) -> SeriesData:
    """Return features (B, F) of blocks as a series of their own."""
    features = SeriesData.from_arrays(values, steps, waveform_names(values.shape[1]), data.name)
    features.edges, features.waveforms = edges, waveforms
    features.known = None if data.known is None else data.known.of_blocks(edges)
    return features


def measure_thresholds(data: SeriesData, block_rows: int) -> Array:
    """Measure quantiles of the convolutions: (D, S, k, _QUANTILES) for S dilations and k kernels."""
    dilations = _dilations(block_rows)
    kernels = _kernels(len(data.channels), len(dilations))
    length = min(data.rows, _SAMPLE_PIECE + 8 * int(dilations[-1]))
    pieces = min(_SAMPLE_PIECES, -(-data.rows // length))
    starts = np.unique(np.linspace(0, data.rows - length, pieces).astype(int))
    sample = [data.read(start, start + length) for start in starts.tolist()]
    levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    thresholds = np.zeros((len(data.channels), len(dilations), len(kernels), _QUANTILES))
    for channel in range(len(data.channels)):
        for index, dilation in enumerate(dilations):
            shifted = [_shifted(values[:, channel], steps, int(dilation)) for values, steps in sample]
            for number, kernel in enumerate(kernels):
                found = np.concatenate([_convolved(part, kernel) for part in shifted])
                found = found[~np.isnan(found)]
                if found.size:
                    thresholds[channel, index, number] = np.quantile(found[:: 1 + found.size // 4_000], levels)
    return thresholds


def describe_blocks(
    data: SeriesData, block_rows: int, thresholds: Array, std_epsilon: Array, projection: Array | None = None
) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Describe every block by shares, then by the mean and the log standard deviation of each channel.

    Convolutions see the rows before and behind a block, as far as its series reaches.

    Args:
        projection: (M, F) applied to the blocks of a portion of the rows at once, so that a long file fits into memory.
    Returns:
        (B, M), M = D S k _QUANTILES + 2 D, or (B, F), NaN for a block of which half is missing; steps (B,) and edges
        (B + 1,) of blocks.
    """
    edges, steps = block_edges(data, block_rows)
    reach = 4 * int(_dilations(block_rows)[-1])
    portion = max(1, READ_ROWS // block_rows)
    parts = []
    for start in range(0, len(steps), portion):
        part = edges[start : min(start + portion, len(steps)) + 1]
        first = max(0, int(part[0]) - reach)
        values, follows = data.read(first, min(data.rows, int(part[-1]) + reach))
        shares = _shares(values, follows, part - first, thresholds, _dilations(block_rows))
        inside = values[part[0] - first : part[-1] - first]
        described = np.concatenate([shares, summarize_blocks(inside, part, std_epsilon)], axis=1)
        parts.append(described if projection is None else described @ projection)
    return np.concatenate(parts), steps, edges


def slow_projection(described: Array, num_channels: int, num_features: int, lag: int = LAG) -> Array:
    """Find the combinations of largest variance compared with the variance of their changes over `lag` blocks.

    Args:
        described: (B, M) as `describe_blocks` returns.
    Returns:
        (M, num_features), so that changes have unit variance in each direction; columns of 0 where blocks are too few.
    """
    usable = described[~np.isnan(described).any(axis=1)]
    projection = np.zeros((described.shape[1], num_features))
    if len(usable) <= 2 * lag:
        return projection
    weights = np.ones(described.shape[1])
    levels = slice(described.shape[1] - 2 * num_channels, None)
    total = np.sqrt(usable[:, : levels.start].var(axis=0).sum())
    weights[levels] = _LEVEL * total / np.maximum(usable[:, levels].std(axis=0), 1e-12)
    centred = (usable - usable.mean(axis=0)) * weights
    squares, left = np.linalg.eigh(centred @ centred.T)
    kept = [index for index in np.argsort(-squares)[: min(_COMPONENTS, len(usable) // 4)] if squares[index] > 1e-9]
    if not kept:
        return projection
    axes = centred.T @ left[:, kept] / np.sqrt(squares[kept])  # (M, k)
    components = centred @ axes
    changes = components[lag:] - components[:-lag]
    noise = changes.T @ changes / (2 * len(changes))
    size = len(kept)
    noise = (1 - _SHRINKAGE) * noise + (_SHRINKAGE * np.trace(noise) / size + 1e-12) * np.eye(size)
    whitening = np.linalg.inv(np.linalg.cholesky(noise)).T  # (k, k)
    white = components @ whitening
    rotation = np.linalg.svd(white, full_matrices=False)[2][:num_features].T
    projection[:, : rotation.shape[1]] = weights[:, None] * (axes @ whitening @ rotation)
    return projection


def _dilations(block_rows: int) -> NDArray[np.int64]:
    """List the dilations 1, 2, 4, ... of kernels that span half a block at most."""
    return 2 ** np.arange(max(1, int(np.log2(max(block_rows, 1) / 16)) + 1))


def _kernels(num_channels: int, num_dilations: int) -> NDArray[np.int64]:
    count = min(len(_KERNELS), max(4, _SHARES // (num_channels * num_dilations * _QUANTILES)))
    chosen: NDArray[np.int64] = _KERNELS[np.linspace(0, len(_KERNELS) - 1, count).astype(int)]
    return chosen


def _shares(
    values: Array,
    steps: NDArray[np.int64],
    edges: NDArray[np.int64],
    thresholds: Array,
    dilations: NDArray[np.int64],
) -> Array:
    """Compute the shares of rows above the thresholds, (B, F).

    Args:
        values: (n, D) and steps: (n,), as of `SeriesData.read`. edges: (B + 1,) of blocks in them.
    """
    D, _, k, _ = thresholds.shape
    kernels = _kernels(D, len(dilations))
    columns = []
    for channel in range(D):
        for index, dilation in enumerate(dilations.tolist()):
            shifted = _shifted(values[:, channel], steps, dilation)[:, edges[0] : edges[-1]]
            known = np.add.reduceat(~np.isnan(shifted.sum(axis=0)), edges[:-1] - edges[0], dtype=np.int64)
            divisor = np.where(2 * known > np.diff(edges), known, np.nan)
            for number in range(k):
                convolved = _convolved(shifted, kernels[number])
                for threshold in thresholds[channel, index, number]:
                    above = np.add.reduceat(convolved > threshold, edges[:-1] - edges[0], dtype=np.int64)
                    columns.append(above / divisor)
    return np.stack(columns, axis=1)


def _shifted(column: Array, steps: NDArray[np.int64], dilation: int) -> Array:
    """Stack a column (n,) shifted by -4 to 4 dilations within each series, whose ends are repeated: (9, n)."""
    rows = np.arange(len(column))
    starts = np.flatnonzero(steps == 0)
    first = np.maximum.accumulate(np.where(steps == 0, rows, 0))
    last = np.append(starts, len(column))[np.searchsorted(starts, rows, side="right")] - 1
    shifted: Array = column[np.clip(rows + dilation * np.arange(-4, 5)[:, None], first, last)]
    return shifted


def _convolved(shifted: Array, kernel: NDArray[np.int64]) -> Array:
    """Convolve with weights 2 at the positions of the kernel and -1 elsewhere: (9, n) -> (n,)."""
    convolved: Array = 3 * shifted[kernel].sum(axis=0) - shifted.sum(axis=0)
    return convolved
