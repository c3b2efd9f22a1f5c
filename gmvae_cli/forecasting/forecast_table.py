"""The table of a forecast: a row for each series and step ahead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.forecasting.moments import Moments
from gmvae_cli.forecasting.paths import QUANTILES

Array = NDArray[np.float64]


def forecast_columns(channels: Sequence[str], num_regimes: int) -> list[str]:
    """Return the names of the columns behind time and series."""
    figures = ("mean", "std", *(f"q{round(100 * level):02d}" for level in QUANTILES))
    probs = [f"prob_{regime}" for regime in range(num_regimes)]
    return ["step", *probs, *(f"{channel}_{figure}" for channel in channels for figure in figures)]


def forecast_rows(
    model: FilterModel, moments: Moments, quantiles: Array | None, leading: Sequence[tuple[str, Any]]
) -> pa.Table:
    """Lay out the forecast of one series.

    Args:
        quantiles: (3, H, D) standardised units; None: there are none. leading: columns in front, with their names.
    """
    H, D = moments.mean.shape
    probs = np.zeros_like(moments.probs)
    for regime, number in enumerate(model.merged):
        probs[:, number] += moments.probs[:, regime]
    quantiles = np.full((len(QUANTILES), H, D), np.nan) if quantiles is None else quantiles
    mean = model.mean + model.scale * moments.mean
    parts = [mean, model.scale * moments.std, *(model.mean + model.scale * level for level in quantiles)]
    figures = np.stack(parts, axis=-1).reshape(H, -1)  # channel by channel
    columns = [np.arange(1, H + 1), *probs.T, *figures.T]
    arrays = [pa.array(column, from_pandas=True) for column in columns]
    names = forecast_columns(model.channels, probs.shape[1])
    return pa.Table.from_arrays([*(column for _, column in leading), *arrays], [*(name for name, _ in leading), *names])
