"""Mean and standard deviation of every row ahead, without simulation.

Rows a stride s apart form a lane: row h depends on h - s, h - 2s and so on, and on the regime of its own row. So each
lane is carried by itself, with A^s from row to row.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.forecasting.regime_moments import Decoder, RegimeMoments, chain_matrix
from gmvae_cli.forecasting.series_state import SeriesState

Array = NDArray[np.float64]


class Moments(NamedTuple):
    """The law of the regime, and mean and standard deviation of the channels, in each of H rows ahead.

    Args:
        probs: (H, K). mean, std: (H, D) standardised units; NaN where Student t noise has none, or no row is complete.
    """

    probs: Array
    mean: Array
    std: Array


def forecast_moments(model: FilterModel, state: SeriesState, horizon: int, inflation: Array | None = None) -> Moments:
    """Compute the moments of the next H rows of a series.

    Args:
        inflation: (H, K) E[1 / v_t | z_t = k] of Student t noise, as `paths` finds it; None: 1.
    """
    D, stride, matrix = len(model.channels), model.config.stride, chain_matrix(model)
    moments = Moments(_laws(state.law, matrix, horizon), *(np.full((horizon, D), np.nan) for _ in range(2)))
    if not state.lanes:
        return moments
    decoder = Decoder.of(model)
    across = np.linalg.matrix_power(matrix, stride)
    has_mean = model.degrees is None or model.degrees > 1
    for first, (mean, covariance) in enumerate(state.lanes[:horizon]):
        lags = RegimeMoments(state.law, mean, covariance).moved(np.linalg.matrix_power(matrix, first + 1))
        for step in range(first, horizon, stride):
            row = lags.predicted(decoder, 1.0 if inflation is None else inflation[step])
            expected, variance = row.total(D)
            moments.mean[step], moments.std[step] = expected if has_mean else np.nan, np.sqrt(variance)
            lags = row.moved(across)
    return moments


def _laws(law: Array, matrix: Array, horizon: int) -> Array:
    """Return (H, K) the law of the regime in the next H rows, law A^h."""
    laws = np.empty((horizon, len(law)))
    for step in range(horizon):
        law = laws[step] = law @ matrix
    return laws
