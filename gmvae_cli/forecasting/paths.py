"""Simulated rows ahead, all paths side by side: the quantiles of every row, and the lag inflation of Student noise."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.forecasting.regime_moments import chain_matrix
from gmvae_cli.forecasting.series_state import SeriesState

Array = NDArray[np.float64]
Regimes = NDArray[np.int64]

QUANTILES = (0.05, 0.5, 0.95)


class Paths(NamedTuple):
    """Figures of the simulated rows ahead.

    Args:
        quantiles: (3, H, D) standardised units. inflation: (H, K) mean of 1 / v_t over the paths in each regime, 1
            where none is; None under Normal noise.
    """

    quantiles: Array
    inflation: Array | None


class _Lane(NamedTuple):
    """The lags of the next row of a lane in all paths: values (N or 1, P D), and 1 / w of each (N or 1, P)."""

    lags: Array
    weights: Array


def simulate(
    model: FilterModel, state: SeriesState, horizon: int, num_paths: int, generator: np.random.Generator
) -> Paths:
    """Draw N paths of the next H rows of a series, whose lags are known."""
    stride, K, D = model.config.stride, len(state.law), len(model.channels)
    cumulated = np.cumsum(chain_matrix(model), axis=1)
    regimes = _drawn(np.cumsum(state.law)[None], np.zeros(num_paths, np.int64), generator)
    lanes = [_start(model, state, lane, regimes, generator) for lane in range(min(stride, horizon))]
    rows, quantiles, inflation = _RowSampler(model), np.empty((3, horizon, D)), np.ones((horizon, K))
    for step in range(horizon):
        regimes = _drawn(cumulated, regimes, generator)
        lane = lanes[step % stride]
        x = rows.draw(lane, regimes, generator)
        quantiles[:, step] = np.quantile(x, QUANTILES, axis=0)
        if model.degrees is not None:
            inflation[step] = _by_regime(rows.inflation(lane), regimes, K)
        if step + stride < horizon:
            lanes[step % stride] = rows.followed(lane, x)
    return Paths(quantiles, None if model.degrees is None else inflation)


def _drawn(cumulated: Array, regimes: Regimes, generator: np.random.Generator) -> Regimes:
    """Draw the next regime of each path (N,), from cumulated probabilities (K, K), row = from."""
    uniforms = generator.random(len(regimes))
    drawn: Regimes = (uniforms[:, None] >= cumulated[regimes, :-1]).sum(1)
    return drawn


def _start(
    model: FilterModel, state: SeriesState, lane: int, regimes: Regimes, generator: np.random.Generator
) -> _Lane:
    """Draw the lags of a lane's first row given the last regime of each path; one row for all where they are known."""
    P, D = model.config.lags, len(model.channels)
    mean, covariance = state.lanes[lane]
    weights = state.inflation[lane][None]
    if not covariance.any():
        return _Lane(mean[:1, : P * D], weights)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))[:, None]  # (K, n, n)
    noise = generator.standard_normal((len(regimes), mean.shape[1]))
    return _Lane(mean[regimes] + np.einsum("nab,nb->na", root[regimes], noise), weights)


def _by_regime(inflation: Array, regimes: Regimes, num_regimes: int) -> Array:
    """Average 1 / v (N or 1,) over the paths in each regime: (K,), 1 where there is none."""
    counts = np.bincount(regimes, minlength=num_regimes)
    sums = np.bincount(regimes, np.broadcast_to(inflation, regimes.shape), num_regimes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)


class _RowSampler:
    """The decoder of a model, drawing the next row of all paths."""

    def __init__(self, model: FilterModel) -> None:
        self._P, self._D, self._degrees = model.config.lags, len(model.channels), model.degrees
        self._weights = model.weights[..., : self._P * self._D]  # (K, D, P D)
        self._bias = model.weights[..., -1] if model.config.intercept else np.zeros(model.weights.shape[:2])
        self._tril = model.scale_tril
        self._inverse = np.linalg.inv(model.scale_tril)

    def inflation(self, lane: _Lane) -> Array:
        """Return 1 / v_t of the next row, (N or 1,): the largest over its lags."""
        return lane.weights.max(1) if self._P else np.ones(1)

    def draw(self, lane: _Lane, regimes: Regimes, generator: np.random.Generator) -> Array:
        """Draw the next row of each path, (N, D), in its regime (N,)."""
        noise = generator.standard_normal((len(regimes), self._D))
        if self._degrees is not None:
            squares = generator.chisquare(self._degrees, len(regimes)) / self._degrees
            noise *= np.sqrt(self.inflation(lane) / squares)[:, None]
        lags = np.broadcast_to(lane.lags, (len(regimes), lane.lags.shape[1]))
        x = np.empty_like(noise)
        for regime, (weights, bias, tril) in enumerate(zip(self._weights, self._bias, self._tril, strict=True)):
            members = regimes == regime
            x[members] = lags[members] @ weights.T + bias + noise[members] @ tril.T
        return x

    def followed(self, lane: _Lane, x: Array) -> _Lane:
        """Return the lags of the row that follows x (N, D) in its lane."""
        if not self._P:
            return lane
        kept = np.broadcast_to(lane.lags[:, : -self._D], (len(x), lane.lags.shape[1] - self._D))
        weights = lane.weights
        if self._degrees is not None:
            weights = np.column_stack([self._weight(lane, x), np.broadcast_to(weights[:, :-1], (len(x), self._P - 1))])
        return _Lane(np.column_stack([x, kept]), weights)

    def _weight(self, lane: _Lane, x: Array) -> Array:
        """Return 1 / w of rows x (N, D) as lags of later ones, at least 1, as in `student_t.lag_inflation`."""
        assert self._degrees is not None
        best = np.full(len(x), np.inf)
        for weights, bias, inverse in zip(self._weights, self._bias, self._inverse, strict=True):
            residuals = (x - bias - lane.lags @ weights.T) @ inverse.T
            best = np.minimum(best, (residuals * residuals).sum(1))
        return np.maximum(1.0, (self._degrees + best) / (self._degrees + self._D))
