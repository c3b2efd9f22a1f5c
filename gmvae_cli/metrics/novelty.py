"""Novelty of rows: -log10 of the probability, under the model and given the past, of a row at least as unlikely.

A row is a draw from a mixture of K laws, with weights p(z_t = k | past). Its channels are taken one after the other:
given those before, x_d is again a mixture of K one-dimensional laws, whose weights and locations follow from them. An
outcome counts as unlikely by its most likely component, S(x) = max_k log w_k + log f_k(x). {S > s} is a union of K
intervals, so the probability p_d = P(S(X) <= S(x_d)) is known in closed form. Under the model the p_d are independent
and uniform (Rosenblatt 1952, Annals of Mathematical Statistics 23: each is, given those before), so that the sum of
their chi-squared quantiles is chi-squared with D degrees of freedom:

    Q = sum_d F^-1(1 - p_d; 1),    novelty = -log10 (1 - F(Q; D)),    F the law of chi-squared

With one regime and Normal noise Q is the squared Mahalanobis distance. Shapes: n rows, D channels, K regimes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

LARGEST = 300.0  # novelty of rows whose probability is below the smallest number
_FARTHEST = 1e60  # residual, so that squares of products stay finite


def novelty(
    residuals: Array, scales: Array, weights: Array, degrees: float | None = None, inflation: Array | None = None
) -> Array:
    """Compute the novelty of rows whose channels are all observed.

    Args:
        residuals: (D, K, n) whitened residuals L_k^-1 (x_t - Pi_k h_t), of which row d depends on channels 0..d.
        scales: (D, K) diagonal of L_k. weights: (n, K) p(z_t = k | past), which sum to 1.
        degrees: nu of Student t noise; None: Normal. inflation: (n,) 1 / v_t, as in `student_t`; None: 1.
    Returns:
        (n,) at most `LARGEST`.
    """
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights.T)  # (K, n)
    residuals = np.clip(residuals, -_FARTHEST, _FARTHEST)
    quantiles, squares = np.zeros(len(weights)), np.zeros_like(log_weights)
    for channel, (residual, scale) in enumerate(zip(residuals, scales, strict=True)):
        law = _Law(degrees, channel)
        widths = scale[:, None] * law.widening(squares, inflation)  # (K, n)
        distance = residual * (scale[:, None] / widths)
        peaks = log_weights - np.log(widths)
        levels = peaks + law.log_density(distance)
        beyond = _probability_beyond(peaks, levels, -residual * scale[:, None], widths, log_weights, law)
        if len(residuals) == 1:
            return _log10(beyond)
        quantiles += special.ndtri(beyond / 2) ** 2
        log_weights = levels - special.logsumexp(levels, axis=0)
        squares += residual**2 / (1 if inflation is None else inflation)
    return _log10(special.gammaincc(len(residuals) / 2, quantiles / 2))


def _log10(probability: Array) -> Array:
    """Return -log10 of probabilities, (n,), at most `LARGEST` and never -0."""
    limited: Array = np.clip(probability, 10**-LARGEST, 1)
    return np.abs(np.log10(limited))


class _Law:
    """Standard law of a channel given `before` others: Normal, or Student t with nu + before degrees of freedom."""

    def __init__(self, degrees: float | None, before: int) -> None:
        self.nu, self.before = degrees, before
        self.df = None if degrees is None else degrees + before

    def widening(self, squares: Array, inflation: Array | None) -> Array:
        """Return by how much the conditional scale is larger than L_dd, from (K, n) sums of squares before it.

        sqrt((nu + v r^2) / (nu + d) / v)                          [Kotz and Nadarajah 2004, "Multivariate t", 1.11]
        """
        if self.nu is None:
            return np.ones_like(squares)
        widening: Array = np.sqrt((self.nu + squares) / (self.nu + self.before))
        return widening if inflation is None else widening * np.sqrt(inflation)

    def log_density(self, distance: Array) -> Array:
        """Return the log density, up to a constant."""
        if self.df is None:
            return -0.5 * distance**2
        return -0.5 * (self.df + 1) * np.log1p(distance**2 / self.df)

    def distance(self, drop: Array) -> Array:
        """Return how far from its middle the log density has dropped by so much; 0 where it would have to rise."""
        drop = np.maximum(drop, 0)
        if self.df is None:
            return np.sqrt(2 * drop)
        return np.sqrt(self.df * np.expm1(np.minimum(2 * drop / (self.df + 1), 700)))

    def below(self, value: Array) -> Array:
        """Return the probability of smaller values."""
        below: Array = special.ndtr(value) if self.df is None else special.stdtr(self.df, value)
        return below

    def between(self, low: Array, high: Array) -> Array:
        """Return the probability of [low, high), precise in both tails."""
        flip = low + high > 0
        return self.below(np.where(flip, -low, high)) - self.below(np.where(flip, -high, low))


def _probability_beyond(
    peaks: Array, levels: Array, middles: Array, widths: Array, log_weights: Array, law: _Law
) -> Array:
    """Compute P(S(X) <= S(x)) of one channel, (n,), x being the origin.

    Args:
        peaks, levels: (K, n) log w_k f_k at the middle of each component, and at x. middles, widths: (K, n).
    """
    lowest = levels.max(0)
    weights = np.exp(log_weights)
    reach = law.distance(peaks - lowest) * widths  # (K, n), 0 for a component that is nowhere more likely than x
    above = peaks > lowest
    low, high = np.where(above, middles - reach, np.inf), np.where(above, middles + reach, -np.inf)
    first, last = np.minimum(low.min(0), 0), np.maximum(high.max(0), 0)
    beyond = weights * (law.below((first - middles) / widths) + law.below((middles - last) / widths))
    total: Array = beyond.sum(0)
    several = np.flatnonzero(above.sum(0) > 1)
    if len(several):
        low, high, middles, widths, weights = (part[:, several] for part in (low, high, middles, widths, weights))
        total[several] += _probability_of_gaps(low, high, middles, widths, weights, law)
    return np.clip(total, 10**-LARGEST, 1)


def _probability_of_gaps(low: Array, high: Array, middles: Array, widths: Array, weights: Array, law: _Law) -> Array:
    """Compute the probability (n,) of the gaps between intervals [low, high), (K, n); infinite ones are none."""
    order = np.argsort(low, axis=0)
    starts = np.take_along_axis(low, order, 0)[1:]
    stops = np.maximum.accumulate(np.take_along_axis(high, order, 0), 0)[:-1]
    total = np.zeros(low.shape[1])
    for start, stop in zip(starts, stops, strict=True):
        columns = np.flatnonzero((start > stop) & np.isfinite(start))
        if len(columns):
            middle, width = middles[:, columns], widths[:, columns]
            inside = law.between((stop[columns] - middle) / width, (start[columns] - middle) / width)
            total[columns] += (weights[:, columns] * inside).sum(0)
    return total
