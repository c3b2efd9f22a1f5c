"""What the data say about time: how many rows apart lags should be, and how many rows carry the evidence of one.

Recordings break the model in two ways that have a measurable remedy. Sampled too fast, every regime predicts the next
row perfectly: then lags are spaced further apart (the stride). And the errors of a wrong model are correlated in time,
so n rows carry the evidence of n / c independent ones: then log-likelihoods are divided by c, the evidence scale,
before they enter the chain, as speech recognisers do with their acoustic scale and statistics with generalised Bayes.
A correct model has stride 1 and scale 1.
"""

import math

import torch
from torch import Tensor

from gmvae_cli.model.ar_density import Emission, whitener
from gmvae_cli.model.student_t import Weights

_UNPREDICTED = 0.02  # share of the variance that one autoregression must leave for a stride to be wide enough
_LONGEST_STRIDE = 64
_ROWS_LEFT = 200
_BLOCKS, _SHORTEST_BLOCK = 600, 4
_LONGEST_LAG = 2_000
_NEGLIGIBLE = 0.05  # autocorrelations below it end the sum
_WHITE_ERRORS = 3.0  # standard errors that a first autocorrelation of nothing stays within


def predicted_share(x: Tensor, follows: Tensor, stride: int) -> float:
    """The share of the variance that one autoregression on the row `stride` rows back predicts.

    Args:
        x: (D, n) standardised rows, NaN where missing. follows: (n,) bool, rows that directly follow the one before.
    Returns:
        1 - residual variance / variance, summed over channels; 0 where too few rows have such a row behind them.
    """
    D, n = x.shape
    breaks = torch.cumsum(~follows, 0)
    whole = ~x.isnan().any(0)
    usable = whole[stride:] & whole[: n - stride] & (breaks[stride:] == breaks[: n - stride])
    if int(usable.sum()) < 4 * D + 4:
        return 0.0
    now, before = x[:, stride:][:, usable], x[:, : n - stride][:, usable]
    now, before = now - now.mean(1, keepdim=True), before - before.mean(1, keepdim=True)
    weights = torch.linalg.lstsq(before.mT, now.mT).solution
    residual = now - weights.mT @ before
    return 1.0 - float(residual.square().sum() / now.square().sum().clamp_min(1e-300))


def stride(x: Tensor, follows: Tensor) -> int:
    """The smallest power of two at which the next row is no longer foreseen almost perfectly.

    At most 64, and at least 200 rows are left at that spacing. Arguments as in `predicted_share`.
    """
    found = 1
    while (
        found < _LONGEST_STRIDE
        and x.shape[1] >= 2 * found * _ROWS_LEFT
        and 1.0 - predicted_share(x, follows, found) < _UNPREDICTED
    ):
        found *= 2
    return found


def summary_rows(rows: int) -> int:
    """Rows of a block for a recording of so many rows: about 600 blocks, but none below 4 rows; 1 is the rows."""
    block_rows = rows // _BLOCKS
    return block_rows if block_rows >= _SHORTEST_BLOCK else 1


def evidence_scale(
    y: Tensor, usable: Tensor, emission: Emission, regime_probs: Tensor, row_weights: Weights | None = None
) -> Tensor:
    """How many rows carry the evidence of one: the integrated autocorrelation time of what should be white.

    c = 1 + 2 sum_l rho_l over the residuals whitened by L_k, or over their squares, whichever is larger, weighted by
    responsibility, autocovariances summed over channels; the sum ends where rho_l falls below 0.05, and c is 1 unless
    rho_1 exceeds max(0.05, 3 / sqrt(n D)).            [Sokal, 1997, "Monte Carlo methods in statistical mechanics", 3]

    Args:
        y: (M, n) rows [x, h]. mask: (n,) rows to count. emission: with leading restarts (R, ...).
        regime_probs: (R, K, n) responsibilities.
        row_weights: of Student t noise, by which an outlier and the rows that it spoils as a lag count for little.
    Returns:
        (R,) float64, at least 1.
    """
    matrix, _ = whitener(emission)  # (D, R, K, M)
    D, R, K, M = matrix.shape
    residuals = (matrix.reshape(-1, M).to(y) @ y).view(D, R, K, -1)
    if row_weights is not None:
        residuals = residuals * (row_weights.total * row_weights.mean).sqrt()
    weights = regime_probs * usable
    expected = weights.sum(1)
    mean = (residuals * weights).sum(2)
    square = (residuals.square() * weights).sum(2) - expected
    return torch.maximum(_correlation_time(mean, usable), _correlation_time(square, usable))


def _correlation_time(signal: Tensor, usable: Tensor) -> Tensor:
    """1 + 2 sum of the first autocorrelations that are not negligible: (D, R, n) -> (R,), float64."""
    D, R, n = signal.shape
    count = usable.sum().clamp_min(1)
    centred = (signal - signal.sum(-1, keepdim=True) / count) * usable
    pairs = (usable[1:] & usable[:-1]).sum().clamp_min(1)
    first = (centred[..., 1:] * centred[..., :-1]).sum((0, 2)) / pairs
    whole = centred.square().sum((0, 2)) / count
    coloured = first > whole * max(_NEGLIGIBLE, _WHITE_ERRORS / math.sqrt(float(count) * D))
    times = torch.ones(R, dtype=torch.float64, device=signal.device)
    longest = max(1, min(n // 2, _LONGEST_LAG))
    for restart in coloured.nonzero()[:, 0].tolist():
        covariances = _autocovariances(centred[:, restart], longest).sum(0)
        together = _autocovariances(usable[None].to(centred), longest)[0].round().clamp_min(1)
        correlations = (covariances / together)[1:] * (together[0] / covariances[0])
        ends = (correlations < _NEGLIGIBLE).nonzero()[:, 0]
        kept = correlations[: int(ends[0]) if len(ends) else longest]
        times[restart] = 1.0 + 2.0 * float(kept.sum())
    return times


def _autocovariances(signal: Tensor, longest: int) -> Tensor:
    """sum_t s_t s_t+l for l = 0..longest, by Fourier transform: (D, n) -> (D, longest + 1)."""
    n = signal.shape[-1]
    size = 1 << (n + longest).bit_length()
    spectrum = torch.fft.rfft(signal, size)
    covariances: Tensor = torch.fft.irfft(spectrum.abs().square(), size)
    return covariances[..., : longest + 1]
