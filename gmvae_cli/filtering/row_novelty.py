"""Novelty of rows as they arrive, and whether they lie in a stretch that no regime explains.

Files are cut into such stretches by the best path of a chain of two states (`inference.row_novelty`), which knows all
rows. Here the same chain is filtered: a row is unknown if the last rows have been, with a probability above one half,
as many as a stretch must have. So a stretch begins some rows late, and the rows behind its end that it is a lag of may
still be called unknown.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.filtering.row_density import RowDensity
from gmvae_cli.metrics.novelty_tail import calibrated

Array = NDArray[np.float64]

_LAST_ROWS = 10  # of an unknown stretch, on average, as in `inference.row_novelty`


class RowNovelty:
    """Novelty of single rows under a model."""

    def __init__(self, model: FilterModel, density: RowDensity) -> None:
        from gmvae_cli.metrics.novelty import novelty  # not above: it loads scipy, 0.2 s

        self._novelty, self._density = novelty, density
        self._tail = model.training.get("novelty_tail") or ()

    def of(self, residuals: Array, predicted: Array, missing: tuple[int, ...], inflation: float) -> float:
        """Compute the novelty of a row from (K o,) whitened residuals and (K,) p(z | past)."""
        scales = self._density.scales(missing)  # (o, K)
        columns = residuals.reshape(len(predicted), -1).T[:, :, None]  # (o, K, 1)
        degrees = self._density.degrees
        factor = None if degrees is None else np.array([inflation])
        values = self._novelty(columns, scales, predicted[None], degrees, factor)
        return float(calibrated(values, self._tail)[0])


class UnknownRows:
    """Filter of whether rows are of no regime; what it knows of a series is (probability, rows in a row).

    Args:
        level: novelty at which stretches are called unknown. fewest: rows of a stretch.
    """

    def __init__(self, level: float, fewest: int) -> None:
        self._enter, self._stay, self._fewest = 10**-level, 1 - 1 / _LAST_ROWS, fewest
        self._widest = 2 * level * math.log(10)

    def step(self, before: tuple[float, int], novelty: float | None, steps: int) -> tuple[float, int]:
        """Take the novelty of the next row of a series, None where it has no evidence."""
        unknown, count = before
        for _ in range(min(steps, 10 * _LAST_ROWS)):  # holes are as many rows without evidence
            unknown = self._enter * (1 - unknown) + self._stay * unknown
        if steps == 0:
            unknown, count = self._enter, 0
        if novelty is not None:
            evidence = math.exp(min(novelty * math.log(10), self._widest)) / self._widest
            unknown = unknown * evidence / (1 - unknown + unknown * evidence)
        return unknown, count + 1 if unknown > 0.5 else 0

    def is_unknown(self, state: tuple[float, int]) -> bool:
        """Return whether the row that was taken last is of no regime."""
        return state[1] >= self._fewest
