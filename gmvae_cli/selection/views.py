"""A recording at several time scales: its rows, and blocks of several lengths in their place."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.block_features import STD_EPSILON, block_edges, block_features, roughness
from gmvae_cli.data.series_data import READ_ROWS, SeriesData
from gmvae_cli.training.sampling import SAMPLE_ROWS

# Blocks that a recording is cut into. 600 alone lose 0.03 ARI on waveforms, where one length or another shows the
# regimes. docs/design.md, "Where `segment` is wrong", says what they miss in long files.
_BLOCK_COUNTS = (300, 600, 1200)
_SHORTEST_BLOCK = 4  # rows; the standard deviation of fewer says nothing
_ROUGH_CHANNELS = 6  # up to which blocks are also seen with roughness, 3 features a channel; chosen, not measured
_EXTRA_ROWS = 3  # a regime of D channels needs D + 3 rows, as in training


class View(NamedTuple):
    """Rows or blocks of a recording.

    Args:
        kind: "rows", "blocks", or "rough": blocks with the log standard deviation of their differences as well, which
            only vote.
        block_rows: rows of the recording that each row of the view stands for.
        values: (n, D). steps: (n,) as `SeriesData.read` gives them.
        edges: (n + 1,) first rows, and where the last one ends.
    """

    kind: str
    block_rows: int
    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    edges: NDArray[np.int64]

    def supports(self, regimes: int) -> bool:
        """Return whether the view has the complete rows that training needs; of blocks twice as many."""
        missing = np.isnan(self.values).sum(axis=1)
        usable = int(np.count_nonzero((missing[1:] + missing[:-1] == 0) & (self.steps[1:] == 1)))
        factor = 1 if self.kind == "rows" else 2
        return usable >= factor * regimes * (len(self.values.T) + _EXTRA_ROWS)


def views(data: SeriesData, spacing: int) -> list[View]:
    """Return every `spacing`-th row, unless these are very many, and blocks of each length that has rows enough."""
    all_views = [view_of_rows(data, spacing)] if data.rows <= SAMPLE_ROWS * spacing else []
    for count in _BLOCK_COUNTS:
        block_rows = data.rows // count
        if block_rows < _SHORTEST_BLOCK:
            continue
        std_epsilon = STD_EPSILON * data.scale
        with block_features(data, block_rows, std_epsilon) as features:
            values, steps = features.read(0, features.rows)
            edges = features.edges
        assert edges is not None
        all_views.append(View("blocks", block_rows, values, steps, edges))
        if len(data.channels) <= _ROUGH_CHANNELS:
            rough = np.concatenate([values, roughness(data, block_rows, edges, std_epsilon)], axis=1)
            all_views.append(View("rough", block_rows, rough, steps, edges))
    return all_views


def view_of_rows(data: SeriesData, spacing: int) -> View:
    """Return every `spacing`-th row of each series."""
    edges, steps = block_edges(data, spacing)
    parts = []
    for start in range(0, data.rows, READ_ROWS):
        stop = min(start + READ_ROWS, data.rows)
        first = edges[:-1][(edges[:-1] >= start) & (edges[:-1] < stop)]
        parts.append(data.read(start, stop)[0][first - start])
    return View("rows", spacing, np.concatenate(parts), steps, edges)
