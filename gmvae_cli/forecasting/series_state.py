"""The end of a series as its forecast starts from it: the law of the last regime, and what is known of the lags.

Where the last rows are complete, their values are the lags of the rows ahead. Where cells or rows are missing, the
forecast starts at the last row with all its lags, and goes on to the end with what is known in between: in each regime
the cells that are missing have the mean and covariance given those that are there, as in the filter of Kim (1994),
"Dynamic linear models with Markov-switching", which keeps one Normal law for each regime.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.filtering.row_filter import RowFilter
from gmvae_cli.forecasting.regime_moments import Decoder, RegimeMoments, chain_matrix

Array = NDArray[np.float64]

LONGEST_GAP = 1000  # rows behind the last complete one; from there on little is left of what it says


@dataclass(frozen=True)
class SeriesState:
    """State of a series at its end, from which its forecast starts; standardised units.

    Args:
        law: (K,) p(z = k) in the last row. lanes: for each of the next s rows mean (K, n) and covariance (K, n, n) of
            its lags given the last regime; none where they are not known. inflation: (s, P) 1 / w, at least 1, of the
            rows that are these lags, under Student t noise.
    """

    law: Array
    lanes: list[tuple[Array, Array]]
    inflation: Array


@dataclass(frozen=True)
class SeriesEnd:
    """The last rows of a series.

    Args:
        values: (n, D) data units, NaN is missing. steps: (n,) as in `model.lattice`, of the first row 0.
        complete: position of the last row with all its lags, from which the forecast starts; None: there is none.
    """

    values: Array
    steps: NDArray[np.int64]
    complete: int | None

    @classmethod
    def of(cls, values: Array, steps: NDArray[np.int64], context_rows: int) -> "SeriesEnd":
        """Look for the last row that is known with the rows before it, `context_rows` in all, and no start behind it.

        Args:
            values: (n, D). steps: (n,), of the first row whatever it is.
        """
        rows = np.arange(len(values))
        whole = ~np.isnan(values).any(1)
        broken = np.where(~whole, rows, np.where(steps != 1, rows - 1, -1))  # the last row that no lag reaches beyond
        known = np.flatnonzero(whole & (rows - np.maximum.accumulate(broken) >= context_rows))
        starts = np.flatnonzero(steps == 0)
        is_usable = len(known) and (not len(starts) or known[-1] >= starts[-1])
        if context_rows == 0:
            known, is_usable = rows, True
        complete = int(known[-1]) if is_usable else None
        if complete is not None and steps[complete + 1 :].sum() > LONGEST_GAP:
            complete = None
        kept = max(2 * context_rows, 1)
        first = len(values) - 1 if complete is None else max(0, complete + 1 - kept)
        steps = np.where(rows == first, 0, steps)[first:]
        return cls(values[first:].copy(), steps, None if complete is None else complete - first)

    @property
    def rows_behind(self) -> int:
        """Rows behind the last complete one, for which the filter's laws are needed."""
        return 0 if self.complete is None else len(self.values) - 1 - self.complete


def end_rows(model: FilterModel) -> int:
    """Return how many of the last rows of a series decide on its forecast."""
    return LONGEST_GAP + 2 * model.config.context_rows + 1


def state_of(end: SeriesEnd, laws: Array, model: FilterModel) -> SeriesState:
    """Compute the state at the end of a series.

    Args:
        laws: (m + 1, K) p(z = k | rows up to this one) of the last complete row and the m rows behind it; of the last
            row alone where there is no complete one.
    """
    P, stride = model.config.lags, model.config.stride
    inflation = np.ones((stride, P))
    if end.complete is None:
        return SeriesState(laws[-1], [], inflation)
    x = (end.values - model.mean) / model.scale
    if model.degrees is not None and P:
        inflation = _by_lane(_weights(end, model)[: P * stride, None], stride, P)
    if not P:
        blank = np.zeros((len(laws[-1]), len(model.channels)))
        return SeriesState(laws[-1], [(blank, blank[..., None] * blank[:, None])] * stride, inflation)
    recent = x[end.complete + 1 - P * stride : end.complete + 1][::-1]  # (P s, D), the last row first
    K, n = laws.shape[1], P * len(model.channels)
    lanes = deque(
        (np.tile(lane, (K, 1)), np.zeros((K, n, n))) for lane in _by_lane(recent, stride, P).reshape(stride, n)
    )
    if end.rows_behind:
        _go_on(lanes, x[end.complete + 1 :], end.steps[end.complete + 1 :], laws, model)
    return SeriesState(laws[-1], list(lanes), inflation)


def _by_lane(rows: Array, stride: int, num_lags: int) -> Array:
    """Arrange the last P s rows (P s, ...), the last first, as the lags of the next s rows: (s, P, ...)."""
    lag, ahead = np.arange(1, num_lags + 1), np.arange(1, stride + 1)[:, None]
    lanes: Array = rows[lag * stride - ahead].reshape(stride, num_lags * rows.shape[1])
    return lanes


def _go_on(
    lanes: deque[tuple[Array, Array]], x: Array, steps: NDArray[np.int64], laws: Array, model: FilterModel
) -> None:
    """Carry the lags over the m rows x (m, D) behind the last complete one, and over the rows that holes lack."""
    decoder, matrix, law = Decoder.of(model), chain_matrix(model), laws[0]
    missing = np.full(x.shape[1], np.nan)
    for values, step, filtered in zip(x, steps.tolist(), laws[1:], strict=True):
        for cells in [missing] * (step - 1) + [values]:
            moved = [RegimeMoments(law, *lane).moved(matrix) for lane in lanes]
            law = moved[0].probs
            row = moved[0].predicted(decoder).given(cells)
            lanes.clear()
            lanes.extend((lane.mean, lane.covariance) for lane in [*islice(moved, 1, None), row])
        law = filtered


def _weights(end: SeriesEnd, model: FilterModel) -> Array:
    """Return 1 / w of the last rows, the last first, 1 where a row is missing or not usable: at least (P s,)."""
    chain, lost = RowFilter(model), 2 * model.config.context_rows
    memory, found = chain.new_memory(), list[float]()
    rows = zip(end.values[-lost:].tolist(), end.steps[-lost:].tolist(), strict=True)
    for index, (values, step) in enumerate(rows):
        chain.remember(memory, values, step if index else 0)
        found += [1.0] * max(step - 1, 0) + [memory.weights[0]]
    found = [1.0] * lost + found
    return np.array(found[::-1])
