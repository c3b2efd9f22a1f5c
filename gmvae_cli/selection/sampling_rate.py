"""The spacing of lags and the length of blocks that a series calls for.

Of a series that is sampled far faster than it changes, every regime predicts the next row almost perfectly, and regimes
no longer differ. Then lags are spaced further apart (the stride), or blocks of rows are summarised.
"""

import torch
from torch import Tensor

from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.training.sampling import SAMPLE_ROWS

# Measured together with the evidence scale, mean ARI: nine recordings of human motion 0.78 (a plain switching
# autoregression 0.43), nine simulated ones of 20,000 rows 0.99 (0.39).
_UNPREDICTED = 0.02  # share of the variance that one autoregression must leave for a stride to be wide enough
_LONGEST_STRIDE, _ROWS_LEFT = 64, 200
# Measured on 19 series of waveforms, mean ARI: about 600 blocks 0.65 to 0.74, an HMM of the rows 0.1. The standard
# deviation of fewer than four rows is mostly chance.
_BLOCKS, _SHORTEST_BLOCK = 600, 4


def stride(data: SeriesData) -> int:
    """Choose the stride that the first rows of a series call for, as `stride_of` does for rows."""
    values, steps = data.read(0, min(data.rows, SAMPLE_ROWS))
    standard = torch.as_tensor(((values - data.mean) / data.scale).T)
    return stride_of(standard, torch.as_tensor(steps == 1))


def stride_of(x: Tensor, follows: Tensor) -> int:
    """Choose the smallest power of two at which the next row is no longer predicted almost perfectly.

    At most 64, and at least 200 rows are left at that spacing. x (D, n) and follows (n,) are as in `predicted_share`.
    """
    spacing = 1
    while (
        spacing < _LONGEST_STRIDE
        and x.shape[1] >= 2 * spacing * _ROWS_LEFT
        and 1.0 - predicted_share(x, follows, spacing) < _UNPREDICTED
    ):
        spacing *= 2
    return spacing


def predicted_share(x: Tensor, follows: Tensor, spacing: int) -> float:
    """Compute the share of the variance that a linear autoregression on the row `spacing` rows back predicts.

    Args:
        x: (D, n) standardised rows, NaN where missing. follows: (n,) bool, rows that directly follow the one before.
    Returns:
        1 - residual variance / variance, summed over channels; 0 where too few rows have such a row behind them.
    """
    D, n = x.shape
    breaks = torch.cumsum(~follows, 0)
    whole = ~x.isnan().any(0)
    usable = whole[spacing:] & whole[: n - spacing] & (breaks[spacing:] == breaks[: n - spacing])
    if int(usable.sum()) < 4 * D + 4:
        return 0.0
    now, before = x[:, spacing:][:, usable], x[:, : n - spacing][:, usable]  # (D, usable)
    now, before = now - now.mean(1, keepdim=True), before - before.mean(1, keepdim=True)
    weights = torch.linalg.lstsq(before.mT, now.mT).solution  # (D, D)
    residual = now - weights.mT @ before
    return 1.0 - float(residual.square().sum() / now.square().sum().clamp_min(1e-300))


def rows_per_block(rows: int) -> int:
    """Choose the length of blocks for a series of so many rows: about 600 blocks of 4 rows at least, or single rows."""
    length = rows // _BLOCKS
    return length if length >= _SHORTEST_BLOCK else 1
