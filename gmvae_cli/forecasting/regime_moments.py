"""Mean and covariance of the last rows in each regime, carried from row to row: exact under Normal noise.

Letters of the shapes: K regimes, D channels, n = P D entries of the lags of a row, lag 1 first (D where P is 0).
"""

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel

Array = NDArray[np.float64]


class Decoder(NamedTuple):
    """The regression of each regime as one of order 1 of its lags v: v_t = F_k v_t-1 + b_k + [noise, 0].

    Args:
        companion: (K, n, n) F. bias: (K, n) b, 0 beyond the first D. noise: (K, D, D) covariance of the noise at lag
            inflation 1; NaN where Student t noise has none.
    """

    companion: Array
    bias: Array
    noise: Array

    @classmethod
    def of(cls, model: FilterModel) -> Self:
        """Arrange the weights of a model."""
        (K, D, _), P = model.weights.shape, model.config.lags
        n = max(P, 1) * D
        companion, bias = np.zeros((K, n, n)), np.zeros((K, n))
        companion[:, :D, : P * D] = model.weights[..., : P * D]
        companion[:, D:, : n - D] = np.eye(n - D)
        if model.config.intercept:
            bias[:, :D] = model.weights[..., -1]
        factor = noise_factor(model.degrees)
        return cls(companion, bias, factor * model.scale_tril @ model.scale_tril.transpose(0, 2, 1))


def noise_factor(degrees: float | None) -> float:
    """Return the covariance of noise over its scale matrix: 1 if Normal (None), nu / (nu - 2), NaN up to nu = 2."""
    if degrees is None:
        return 1.0
    return degrees / (degrees - 2) if degrees > 2 else math.nan


def chain_matrix(model: FilterModel) -> Array:
    """Return (K, K) the matrix by which the chain moves from a row to the next, row = from."""
    if model.config.prior == "iid":
        return np.broadcast_to(model.initial_probs, model.transition_matrix.shape)
    return model.transition_matrix


class RegimeMoments(NamedTuple):
    """Moments of the lags v of a row that is to come, given the regime of a row.

    Args:
        probs: (K,) p(z = k). mean: (K, n) E[v | z = k]. covariance: (K, n, n) Cov[v | z = k].
    """

    probs: Array
    mean: Array
    covariance: Array

    def moved(self, matrix: Array) -> "RegimeMoments":
        """Return the moments of the same lags given the regime to which a matrix (K, K), row = from, moves the chain.

        E[v | z' = j] = sum_i p(z = i | z' = j) E[v | z = i], and the law of total covariance
        """
        joint = self.probs[:, None] * matrix  # (K, K) from i to j
        probs = joint.sum(0)
        share = np.where(probs > 0, joint, self.probs[:, None]) / np.where(probs > 0, probs, self.probs.sum())
        mean = share.T @ self.mean  # (K, n)
        apart = self.mean[:, None] - mean  # (K, K, n)
        covariance = np.einsum("ij,iab->jab", share, self.covariance)
        return RegimeMoments(probs, mean, covariance + np.einsum("ij,ija,ijb->jab", share, apart, apart))

    def predicted(self, decoder: Decoder, inflation: Array | float = 1.0) -> "RegimeMoments":
        """Return the moments of the lags that begin with the row itself, given its regime.

        Args:
            inflation: E[1 / v | z = k] (K,) of Student t noise, as in `model.student_t`.
        """
        D = decoder.noise.shape[-1]
        mean = np.einsum("kab,kb->ka", decoder.companion, self.mean) + decoder.bias
        covariance = decoder.companion @ self.covariance @ decoder.companion.transpose(0, 2, 1)
        covariance[:, :D, :D] += decoder.noise * np.reshape(inflation, (-1, 1, 1))
        return RegimeMoments(self.probs, mean, covariance)

    def given(self, values: Array) -> "RegimeMoments":
        """Return the moments given the known cells (D,) of the first row, NaN is missing; as of Normal laws."""
        known = np.flatnonzero(~np.isnan(values))
        if not known.size:
            return self
        if np.isnan(self.covariance).any():  # Student t noise without a covariance: nothing is known of its size
            return self
        cross = self.covariance[:, :, known]  # (K, n, o)
        gain = np.linalg.solve(cross[:, known], cross.transpose(0, 2, 1)).transpose(0, 2, 1)
        mean = self.mean + np.einsum("kao,ko->ka", gain, values[known] - self.mean[:, known])
        covariance = self.covariance - gain @ cross.transpose(0, 2, 1)
        mean[:, known], covariance[:, known], covariance[:, :, known] = values[known], 0.0, 0.0
        return RegimeMoments(self.probs, mean, covariance)

    def total(self, num_channels: int) -> tuple[Array, Array]:
        """Return mean and variance (D,) of the first row, whatever its regime."""
        first = self.mean[:, :num_channels]
        mean = self.probs @ first
        within = np.diagonal(self.covariance, axis1=1, axis2=2)[:, :num_channels]
        return mean, self.probs @ (within + (first - mean) ** 2)
