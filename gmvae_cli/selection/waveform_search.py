"""Regimes of a recording as kinds of waveform, and how many: what several divisions of its blocks agree on.

Blocks hold a period or two and are described by slow features (`data.waveform_features`). The series of blocks is
divided at changes of their mean, the best division into a number of segments being found exactly, and segments of like
means are joined until K regimes are left. Block lengths, features and numbers of segments vary; the answer is the
consensus of all these labellings. K is the number for which labellings agree best and unseen blocks are told apart.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.data.block_features import SHORTEST_BLOCK, STD_EPSILON, compared_rows, in_recording
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.data.waveform_features import LAG, describe_blocks, measure_thresholds, sampled_rows, slow_projection
from gmvae_cli.metrics.segments import runs
from gmvae_cli.selection.consensus import Consensus, consensus
from gmvae_cli.selection.discrimination import discrimination
from gmvae_cli.selection.period import common_period
from gmvae_cli.selection.views import EXTRA_ROWS
from gmvae_cli.training.em import EM, SEARCH_ROWS
from gmvae_cli.training.initialization import start_from_labels
from gmvae_cli.training.trained_model import Start

FEATURES = 8  # of a block; 4 lose 0.02 ARI on 70 one-channel recordings, 15 and 30 give 0.01 less
_FEWEST_FEATURES = 2  # chosen, not measured
_LENGTHS = (1, 2)  # block lengths, in periods
_LAGS = (1, LAG, 8)  # blocks over which change counts as noise
_SEGMENTS = (6, 10, 15)  # numbers of segments; more lose 0.05, and fewer 0.03
_SEGMENTS_OF_A_PIECE = (3, 5, 8)  # the same in each piece of a long recording; chosen, not measured
_SEGMENTS_PER_VISIT = (1, 2, 3)  # where it is known how long one lasts: segments too many are joined again, few are not
_MOST_SEGMENTS = 100  # a division costs 10 ms for each
_FEWEST_BLOCKS = 60  # 240 at least lose 0.02 ARI
_BLOCKS_PER_VISIT = 4  # an expected visit is seen in no fewer blocks; chosen, not measured
_BLOCKS_WITHOUT_PERIOD = 300  # where the recording has no period; chosen, not measured
_FEWEST_ROWS = 2 * LAG * SHORTEST_BLOCK * 4  # below, there is nothing to learn features from; chosen, not measured
# Stability below which there is one regime: 9 of 11 recordings of one regime lie below, 66 of 66 others above 0.63.
_ONE_REGIME = 0.6


class Blocks(NamedTuple):
    """Blocks of rows with slow features, of a long recording those of some pieces.

    Args:
        rows: in a block. steps, first, stop: (B,) as of a `View`. pieces: in which the blocks lie.
        features: (B, F) for each lag. known: (B,) as of `SeriesData.from_arrays`.
    """

    rows: int
    steps: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    pieces: int
    features: list[NDArray[np.float64]]
    known: NDArray[np.int64] | None = None


def choose_waveforms(
    data: SeriesData, regimes: int | None, counts: Sequence[int], dwell: float | None, config: TrainConfig
) -> tuple[ModelConfig, Start] | None:
    """Return a model of waveforms and where its training starts; None for a recording too short for it.

    Args:
        regimes: K, None if the labellings shall say. counts: the numbers of regimes that labellings have.
        dwell: rows that a visit is expected to last, if known: it decides how many segments there are.
    """
    if data.rows < _FEWEST_ROWS or (data.known is not None and data.known.shortest <= SHORTEST_BLOCK):
        return None
    all_blocks = [_blocks(data, length) for length in _block_lengths(data, dwell)]
    blocks = all_blocks[0]
    compared = compared_rows(sampled_rows(data.rows, blocks.rows))
    numbers, labels = _labellings(all_blocks, compared, counts, dwell)
    if not len(numbers):
        return None
    candidates = [regimes] if regimes else sorted(set(numbers.tolist()))
    candidates = [count for count in candidates if _num_features(blocks, count) >= _FEWEST_FEATURES]
    if not candidates:
        return None
    agreed = [consensus(labels, [count], int(labels.max()) + 1, config.seed) for count in candidates]
    stability = np.array([_stability(result, numbers) for result in agreed])
    if regimes is None and stability.max() < _ONE_REGIME and (data.known is None or len(data.known.names) < 2):
        return replace(config.model, regimes=1), Start()
    nearest = np.searchsorted(compared, (blocks.first + blocks.stop) // 2).clip(0, len(compared) - 1)
    by_blocks = [result.labels(labels)[nearest] for result in agreed]
    features = blocks.features[_LAGS.index(LAG)]
    merit = [
        max(stable, 0) ** 2 * max(discrimination(features, np.unique(by_block, return_inverse=True)[1]), 0)
        for stable, by_block in zip(stability, by_blocks, strict=True)
    ]
    chosen = int(np.argmax(merit))
    model = replace(config.model, regimes=agreed[chosen].regimes)
    return _start_from(blocks, by_blocks[chosen], dwell, model, max(float(stability[chosen]), 0.0))


def _start_from(
    blocks: Blocks, labels: NDArray[np.int64], expected_dwell: float | None, model: ModelConfig, agreement: float
) -> tuple[ModelConfig, Start]:
    """Fit a start for training to labels (B,) of blocks, in the features that training will learn again."""
    num_features = _num_features(blocks, model.regimes)
    dwell = len(labels) / len(runs(labels))
    if expected_dwell is not None:
        dwell = max(1.0, expected_dwell / blocks.rows)
    values = blocks.features[_LAGS.index(LAG)][:, :num_features]
    with SeriesData.from_arrays(values, blocks.steps, known=blocks.known) as features:
        lagged_rows = training_rows(features, model)
        rows = lagged_rows.rows(0, len(lagged_rows))
        em = EM.over(rows, model, num_features, dwell, pooled_rows=SEARCH_ROWS)
        start = start_from_labels(em, rows, labels)
    return replace(model, summarize=blocks.rows, waveforms=num_features), Start(start, dwell, agreement)


def _num_features(blocks: Blocks, regimes: int) -> int:
    """Return the features that training has blocks enough for: a regime of D features needs D + 3."""
    return min(FEATURES, (len(blocks.first) - 1) // regimes - EXTRA_ROWS)


def _stability(agreed: Consensus, numbers: NDArray[np.int64]) -> float:
    """Average the ARI of a consensus of K regimes with the labellings that have K regimes as well."""
    same = numbers == agreed.regimes
    return float(agreed.agreed[same].mean()) if same.any() else 0.0


def divide(features: NDArray[np.float64], most: int) -> list[NDArray[np.int64]]:
    """Divide a series of blocks at changes of its mean, by least squares: features (B, F).

    Returns:
        for 1, 2, ... up to `most` segments of two blocks at least, the segment of each block, (B,).
    """
    B = len(features)
    sums = np.concatenate([np.zeros((1, features.shape[1])), np.cumsum(features, axis=0)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(features).sum(axis=1))])
    products = sums @ sums.T
    norms = np.diagonal(products)
    position = np.arange(B + 1)
    lengths = position - position[:, None]  # (from, to)
    between = (norms + norms[:, None] - 2 * products) / np.maximum(lengths, 1)
    costs = np.where(lengths >= 2, squares - squares[:, None] - between, np.inf)
    best, origins, divisions = costs[0], [], [np.zeros(B, np.int64)]
    for _ in range(1, most):
        totals = best[:, None] + costs
        origins.append(totals.argmin(axis=0))
        best = totals.min(axis=0)
        if not np.isfinite(best[B]):
            break
        cuts = [B]
        for origin in reversed(origins):
            cuts.append(int(origin[cuts[-1]]))
        divisions.append(np.searchsorted(np.array(cuts[::-1]), np.arange(B), side="right"))
    return divisions


def join(features: NDArray[np.float64], segments: NDArray[np.int64], regimes: int) -> NDArray[np.int64]:
    """Join segments (B,) of like means until so many regimes are left, each time at the least cost in squares."""
    labels = np.unique(segments, return_inverse=True)[1]
    sizes = np.bincount(labels).astype(np.float64)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(len(sizes))])
    while np.count_nonzero(sizes) > regimes:
        present = np.flatnonzero(sizes)
        weight = sizes[present]
        distances = np.square(means[present][:, None] - means[present]).sum(axis=-1)
        costs = distances * weight * weight[:, None] / (weight + weight[:, None])
        np.fill_diagonal(costs, np.inf)
        first, second = present[list(np.unravel_index(costs.argmin(), costs.shape))]
        share = sizes[second] / (sizes[first] + sizes[second])
        means[first] += share * (means[second] - means[first])
        sizes[first], sizes[second] = sizes[first] + sizes[second], 0
        labels[labels == second] = first
    return np.unique(labels, return_inverse=True)[1]


def _block_lengths(data: SeriesData, dwell: float | None) -> list[int]:
    period = common_period(data) or data.rows / _BLOCKS_WITHOUT_PERIOD
    longest = data.rows // _FEWEST_BLOCKS
    if dwell is not None:
        longest = min(longest, int(dwell / _BLOCKS_PER_VISIT))
    if data.known is not None:
        longest = min(longest, data.known.shortest - 1)
    longest = max(SHORTEST_BLOCK, longest)
    return sorted({round(min(max(periods * period, SHORTEST_BLOCK), longest)) for periods in _LENGTHS})


def _blocks(data: SeriesData, block_rows: int) -> Blocks:
    ranges = sampled_rows(data.rows, block_rows)
    with data.pieces(ranges) as sample:
        thresholds = measure_thresholds(sample, block_rows)
        described, steps, edges = describe_blocks(sample, block_rows, thresholds, STD_EPSILON * data.scale)
        labels = None if sample.known is None else sample.known.of_blocks(edges).read(0, len(edges) - 1)
    missing = np.isnan(described)
    means = np.where(missing, 0, described).sum(axis=0) / np.maximum((~missing).sum(axis=0), 1)
    known = np.where(missing, means, described)
    projections = [slow_projection(described, len(data.channels), FEATURES, lag) for lag in _LAGS]
    features = [known @ projection for projection in projections]
    return Blocks(block_rows, steps, *in_recording(edges, ranges), len(ranges), features, labels)


def _labellings(
    all_blocks: Sequence[Blocks], compared: NDArray[np.int64], counts: Sequence[int], dwell: float | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label the compared rows (n,): numbers of regimes (C,), and labels (C, n)."""
    numbers: list[int] = []
    labels: list[NDArray[np.int64]] = []
    for blocks in all_blocks:
        block_of = np.searchsorted(blocks.first, compared, side="right") - 1
        segment_counts = _segment_counts(blocks, dwell)
        for features in blocks.features:
            divisions = divide(features - features.mean(axis=0), max(segment_counts))
            for most in segment_counts:
                segments = divisions[min(most, len(divisions)) - 1]
                for count in counts:
                    if count <= len(np.unique(segments)):
                        numbers.append(count)
                        labels.append(join(features, segments, count)[block_of])
    return np.array(numbers), np.array(labels)


def _segment_counts(blocks: Blocks, dwell: float | None) -> list[int]:
    """Choose the numbers of segments that blocks are divided into."""
    wanted: Sequence[float] = _SEGMENTS
    if dwell is not None:
        visits = float((blocks.stop - blocks.first).sum() / dwell)
        wanted = [min(max(2.0, share * visits), _MOST_SEGMENTS) for share in _SEGMENTS_PER_VISIT]
    elif blocks.pieces > 1:
        wanted = [count * blocks.pieces for count in _SEGMENTS_OF_A_PIECE]
    return sorted({round(count) for count in wanted})
