"""Log-likelihoods of a single row under all regimes, as `model.ar_density` computes them for many.

Letters of the shapes: D channels, K regimes, o of the channels observed, C entries of the context.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel

Array = NDArray[np.float64]

_PATTERNS = 1024  # of missing channels that are kept at hand; each takes a few kB
_LARGEST = float(np.finfo(np.float64).max)


class _Decoder(NamedTuple):
    """The decoder of some channels.

    Args:
        whitener: (K o, o + C) L_k^-1 [I, -Pi_k], regime by regime. sums: (K, K o), adds up the squares of each regime,
            halved under Normal noise. offset: (K,) log density at the mean. scales: (o, K) diagonals of L_k.
        kept: positions of [x_o, h] among [x, h]; None: all.
    """

    whitener: Array
    sums: Array
    offset: Array
    scales: Array
    kept: NDArray[np.int64] | None


class RowDensity:
    """The decoder of a model, for one row at a time."""

    def __init__(self, model: FilterModel) -> None:
        self._model = model
        self.num_regimes, self.num_channels, self._C = model.weights.shape
        self.degrees = model.degrees
        self._whole = self._decoder_of(())
        self._partial = lru_cache(_PATTERNS)(self._decoder_of)

    def scores(self, y: Array, missing: tuple[int, ...], inflation: float) -> tuple[Array, Array]:
        """Compute log p(x_o | h, z = k) of a row.

        Args:
            y: (D + C,) standardised [x, h], 0 where x is missing. missing: positions of the channels that are.
            inflation: 1 / v of Student t noise, as in `model.student_t`.
        Returns:
            (K,) nats, standardised units, and the whitened residuals (K o,), regime by regime.
        """
        decoder = self._partial(missing) if missing else self._whole
        residuals = decoder.whitener.dot(y if decoder.kept is None else y[decoder.kept])
        squares = decoder.sums.dot(residuals * residuals)  # (K,)
        if self.degrees is None:
            return decoder.offset - squares, residuals
        o = self.num_channels - len(missing)
        log_ratio = np.log1p(np.minimum(squares, _LARGEST) / (self.degrees * inflation))
        scores = decoder.offset - 0.5 * (self.degrees + o) * log_ratio
        return (scores if inflation == 1 else scores - 0.5 * o * math.log(inflation)), residuals

    def scales(self, missing: tuple[int, ...]) -> Array:
        """Return the diagonals (o, K) of L_k of the observed channels."""
        return (self._partial(missing) if missing else self._whole).scales

    def lag_weight(self, y: Array) -> float:
        """Return the 1 / w of a row that is a lag of later ones, at least 1, as in `student_t.lag_inflation`."""
        assert self.degrees is not None
        residuals = self._whole.whitener.dot(y)
        best = min(float((self._whole.sums.dot(residuals * residuals)).min()), _LARGEST)
        weight: float = (self.degrees + best) / (self.degrees + self.num_channels)
        return max(1.0, weight)

    def _decoder_of(self, missing: tuple[int, ...]) -> _Decoder:
        """Make the decoder of the channels that are not missing."""
        K, D = self.num_regimes, self.num_channels
        channels = [channel for channel in range(D) if channel not in missing]
        o = len(channels)
        factor, weights = self._model.scale_tril[:, channels], self._model.weights[:, channels]  # (K, o, D), (K, o, C)
        tril = np.linalg.cholesky(factor @ factor.transpose(0, 2, 1)) if missing else self._model.scale_tril
        residual = np.concatenate([np.broadcast_to(np.eye(o), (K, o, o)), -weights], -1)  # (K, o, o + C)
        whitener = np.linalg.solve(tril, residual).reshape(K * o, o + self._C)
        diagonal = np.diagonal(tril, axis1=-2, axis2=-1)  # (K, o)
        log_det = np.log(diagonal).sum(-1) + 0.5 * o * math.log(2 * math.pi)
        sums = np.repeat(np.eye(K), o, axis=1)
        if self.degrees is None:
            sums *= 0.5
            offset = -log_det
        else:
            half = 0.5 * self.degrees
            offset = math.lgamma(half + 0.5 * o) - math.lgamma(half) - 0.5 * o * math.log(half) - log_det
        kept = np.array([*channels, *range(D, D + self._C)]) if missing else None
        return _Decoder(np.ascontiguousarray(whitener), sums, offset, np.ascontiguousarray(diagonal.T), kept)
