"""The evidence scale c, by which log-likelihoods are divided before the chain: c rows say as much as one.

The errors of a wrong model are correlated in time, so n rows say as much about the regime as n / c independent ones,
and undivided log-likelihoods would make the posterior far too sure. Speech recognisers divide by an acoustic scale,
statistics by the learning rate of generalised Bayes; here c is measured from the residuals. Of a correct model it is 1.
"""

import math

import torch
from torch import Tensor

from gmvae_cli.model.ar_density import Emission, whitener
from gmvae_cli.model.student_t import Weights

# Measured with these, mean ARI: nine recordings of human motion 0.78 (0.63 with a fixed scale of 10, 0.43 without any),
# nine simulated ones of 20,000 rows 0.99 (0.91, 0.39); on three correct models the scale is 1.
_LONGEST_LAG = 2_000  # rows
_NEGLIGIBLE = 0.05  # autocorrelations below it end the sum
_WHITE_ERRORS = 3.0  # standard errors within which the first autocorrelation of white noise stays
_CACHED_ROWS = 1 << 10  # at a time: residuals of 10 channels, 5 regimes and 12 starts take 28 ms in place of 70


def evidence_scale(
    y: Tensor, usable: Tensor, emission: Emission, regime_probs: Tensor, row_weights: Weights | None = None
) -> Tensor:
    """Measure the integrated autocorrelation time c of the whitened residuals, which a correct model leaves white.

    c = 1 + 2 sum_l rho_l over the residuals whitened by L_k, or over their squares, whichever is larger, weighted by
    responsibility, autocovariances summed over channels; the sum ends where rho_l falls below 0.05, and c is 1 unless
    rho_1 exceeds max(0.05, 3 / sqrt(n D)).            [Sokal, 1997, "Monte Carlo methods in statistical mechanics", 3]

    Args:
        y: (M, n) rows [x, h]. usable: (n,) rows to count. emission: with leading restarts (R, ...).
        regime_probs: (R, K, n) responsibilities.
        row_weights: of Student t noise, under which an outlier, and a row with an outlier as a lag, count for little.
    Returns:
        (R,) float64, at least 1.
    """
    matrix, _ = whitener(emission)  # (D, R, K, M)
    D, R, K, M = matrix.shape
    flat = matrix.reshape(-1, M).to(y)
    weights = regime_probs * usable  # (R, K, n)
    mean, square = y.new_empty(D, R, y.shape[1]), y.new_empty(D, R, y.shape[1])
    for first in range(0, y.shape[1], _CACHED_ROWS):
        part = slice(first, first + _CACHED_ROWS)
        residuals = (flat @ y[:, part]).view(D, R, K, -1)
        if row_weights is not None:
            residuals *= (row_weights.total[..., part] * row_weights.mean[..., part]).sqrt()
        weighted = residuals * weights[..., part]
        torch.sum(weighted, 2, out=mean[..., part])
        torch.sum(weighted.mul_(residuals), 2, out=square[..., part])
    square -= weights.sum(1)  # their expectation
    return torch.maximum(_correlation_time(mean, usable), _correlation_time(square, usable))


def _correlation_time(signal: Tensor, usable: Tensor) -> Tensor:
    """Compute 1 + 2 sum_l rho_l over the first lags, up to a negligible rho_l: (D, R, n), (n,) -> (R,) float64."""
    D, R, n = signal.shape
    count = usable.sum().clamp_min(1)
    centred = (signal - signal.sum(-1, keepdim=True) / count) * usable  # (D, R, n)
    pairs = (usable[1:] & usable[:-1]).sum().clamp_min(1)
    first = (centred[..., 1:] * centred[..., :-1]).sum((0, 2)) / pairs  # (R,)
    whole = centred.square().sum((0, 2)) / count  # (R,)
    coloured = first > whole * max(_NEGLIGIBLE, _WHITE_ERRORS / math.sqrt(float(count) * D))
    times = torch.ones(R, dtype=torch.float64, device=signal.device)
    longest = max(1, min(n // 2, _LONGEST_LAG))
    for restart in coloured.nonzero()[:, 0].tolist():
        covariances = _autocovariances(centred[:, restart], longest).sum(0)  # (longest + 1,)
        together = _autocovariances(usable[None].to(centred), longest)[0].round().clamp_min(1)  # pairs of usable rows
        correlations = (covariances / together)[1:] * (together[0] / covariances[0])
        ends = (correlations < _NEGLIGIBLE).nonzero()[:, 0]
        kept = correlations[: int(ends[0]) if len(ends) else longest]
        times[restart] = 1.0 + 2.0 * float(kept.sum())
    return times


def _autocovariances(signal: Tensor, longest: int) -> Tensor:
    """Compute sum_t s_t s_t+l for l = 0..longest, by Fourier transform: (D, n) -> (D, longest + 1)."""
    n = signal.shape[-1]
    size = 1 << (n + longest).bit_length()  # padding: no row meets one from the other end
    spectrum = torch.fft.rfft(signal, size)
    covariances: Tensor = torch.fft.irfft(spectrum.abs().square(), size)
    return covariances[..., : longest + 1]


def unscaled_marginal(marginal: Tensor, filtered_probs: Tensor, withheld: Tensor) -> Tensor:
    """Compute log sum_k p(z_t = k | past) p(x_t | h_t, k) from a filter whose log-likelihoods l were divided by c.

    The filter's law is p(z_t = k | past) exp(l_t(k) / c) / exp(m_t), so only the part withheld from it is missing.

    Args:
        marginal: (..., n) the filter's m_t. filtered_probs: (..., K, n). withheld: (..., K, n) l_t (1 - 1/c).
    Returns:
        (..., n) nats.
    """
    return marginal + (filtered_probs.clamp_min(torch.finfo(filtered_probs.dtype).tiny).log() + withheld).logsumexp(-2)
