"""The filter of a single series, one row at a time: the same posterior as that of whole files, in microseconds.

Letters of the shapes: D channels, K regimes. `steps` says how a row follows the one before, as in `model.lattice`.
"""

import math
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.filtering.row_density import RowDensity
from gmvae_cli.filtering.row_novelty import RowNovelty

Array = NDArray[np.float64]

_FLOOR = -650.0  # nats below the best regime, as in `model.lattice`, so that a row has a positive sum over regimes
_LIMIT = float(np.finfo(np.float64).max) ** 0.25  # of standardised values, as in `data.lagged_rows`
_TINY = float(np.finfo(np.float64).tiny)
_ROUNDING = 1e-6  # by which a law in a state file may miss one
_POWERS = 256  # of the transition matrix that are kept at hand, for holes of so many lengths


class Labels(NamedTuple):
    """Labels of a row.

    Args:
        law: (K,) p(z_t = k | rows up to this one). log_likelihood: log p(x_t | past), nats, data units; None where the
            row is not usable. novelty: as in `metrics.novelty`; None where it is not asked for or the row not usable.
        likelihoods: (K,) p(x_t | h_t, k)^(1 / c) in proportion, by which later rows are carried back; None: all equal.
    """

    law: Array
    log_likelihood: float | None
    novelty: float | None
    likelihoods: Array | None


class Memory:
    """The rows of a series that later ones depend on, and the filtered law of the last one.

    Attributes:
        law: (K,) or None before the first row. recent: the last rows, steps and values (D,), NaN is missing.
        lags: standardised rows, the last one first, None where a channel is missing. weights: 1 / w of these rows.
        unbroken: rows since the last one that did not directly follow another.
    """

    __slots__ = ("lags", "law", "recent", "unbroken", "weights")

    def __init__(self, model: FilterModel) -> None:
        self.law: Array | None = None
        self.lags: deque[list[float] | None] = deque(maxlen=model.config.context_rows)
        self.weights: deque[float] = deque(maxlen=model.config.context_rows)
        self.recent: deque[tuple[int, Sequence[float]]] = deque(maxlen=model.context_rows)
        self.unbroken = 0


class _Observed(NamedTuple):
    """A row with its lags: y = [x, h] (D + C,), channels that are missing, and the lag inflation."""

    y: Array
    missing: tuple[int, ...]
    inflation: float


class RowFilter:
    """Filter of rows by a model; the memory of each series is its caller's.

    Args:
        novelty: whether rows are judged.
    """

    def __init__(self, model: FilterModel, novelty: bool = False) -> None:
        config, self._model = model.config, model
        self._density = RowDensity(model)
        self._judge = RowNovelty(model, self._density) if novelty else None
        self._units = list(zip(model.mean.tolist(), model.scale.tolist(), strict=True))
        self._log_scale = np.log(model.scale).tolist()
        self._log_volume = math.fsum(self._log_scale)
        self._context_rows, self._one = config.context_rows, [1.0] * config.intercept
        self._lags = [lag * config.stride - 1 for lag in range(1, config.lags + 1)]
        self._matrix, self._initial = model.transition_matrix, model.initial_probs
        self._is_iid, self._scale = config.prior == "iid", model.evidence_scale
        self._power = lru_cache(_POWERS)(self._power_of)

    def predicted(self, law: Array | None, steps: int) -> Array:
        """Return (K,) p(z_t | rows before t) from the law of the row before."""
        if steps == 0 or self._is_iid or law is None:
            return self._initial
        predicted: Array = law.dot(self._matrix if steps == 1 else self._power(steps))
        return predicted

    def step(self, memory: Memory, values: Sequence[float], steps: int) -> Labels:
        """Take the next row of a series.

        Args:
            values: (D,) in the model's channels, NaN is missing.
        """
        law = self.predicted(memory.law, steps)
        observed = self.remember(memory, values, steps)
        if observed is None:
            memory.law = law
            return Labels(law, None, None, None)
        y, missing, inflation = observed
        scores, residuals = self._density.scores(y, missing, inflation)
        novelty = None if self._judge is None else self._judge.of(residuals, law, missing, inflation)
        scaled = scores if self._scale == 1 else scores / self._scale
        peak = float(scaled[scaled.argmax()])
        likelihoods = np.exp(np.maximum(scaled - peak, _FLOOR))
        joint = law * likelihoods
        total = float(joint.sum())
        memory.law = law = joint / total
        log_likelihood = peak + math.log(total)
        if self._scale != 1:
            log_likelihood += self._withheld(law, scores)
        return Labels(law, log_likelihood - self._volume(missing), novelty, likelihoods)

    def remember(self, memory: Memory, values: Sequence[float], steps: int) -> _Observed | None:
        """Put a row into the memory of its series; return what is observed of it, or None where it is not usable."""
        x = [(value - mean) / scale for value, (mean, scale) in zip(values, self._units, strict=True)]
        missing: tuple[int, ...] = ()
        if not -_LIMIT < sum(x) < _LIMIT:  # NaN, too
            missing = tuple(channel for channel, value in enumerate(x) if value != value)
            x = [0.0 if value != value else min(max(value, -_LIMIT), _LIMIT) for value in x]
        memory.unbroken = memory.unbroken + 1 if steps == 1 else 0
        lags = memory.lags
        observed = None
        if memory.unbroken >= self._context_rows and len(missing) < len(x):
            y = x.copy()
            for lag in self._lags:
                earlier = lags[lag]
                if earlier is None:
                    break
                y += earlier
            else:
                inflation = 1.0
                if self._density.degrees is not None and self._lags:
                    inflation = max(memory.weights[lag] for lag in self._lags)
                observed = _Observed(np.array(y + self._one), missing, inflation)
        if self._context_rows:
            if self._density.degrees is not None:
                memory.weights.appendleft(1.0 if observed is None else self._density.lag_weight(observed.y))
            lags.appendleft(None if missing else x)
            memory.recent.append((steps, values))
        return observed

    def matrix(self, steps: int) -> Array:
        """Return (K, K) the matrix by which the chain moves into a row."""
        return self._matrix if steps == 1 and not self._is_iid else self._power(steps)

    def new_memory(self) -> Memory:
        """Return the memory of a series without a row."""
        return Memory(self._model)

    def to_json(self, memory: Memory) -> dict[str, Any]:
        """Return what a state file holds of a memory."""
        law = None if memory.law is None else memory.law.tolist()
        return {"law": law, "recent": [[steps, *numbers_to_json(values)] for steps, values in memory.recent]}

    def from_json(self, content: Any) -> Memory:
        """Make a memory again of what `to_json` returned."""
        memory = self.new_memory()
        for index, (steps, *values) in enumerate(content["recent"]):
            self.remember(memory, numbers_of_json(values), steps if index else 0)  # of what was before nothing is known
        memory.law = self.law_of(content["law"])
        return memory

    def law_of(self, numbers: Any) -> Array | None:
        """Return a law (K,) out of JSON.

        Raises:
            ValueError: it is none.
        """
        if numbers is None:
            return None
        law = np.array(numbers, np.float64)
        if law.shape != self._initial.shape or not (law >= 0).all() or abs(law.sum() - 1) > _ROUNDING:
            raise ValueError("probabilities of regimes do not sum to one, or are not as many as the model has")
        return law

    def _withheld(self, law: Array, scores: Array) -> float:
        """Return log sum_k p(z = k | row) exp(l_k (1 - 1/c)): what the evidence scale c keeps from the likelihood."""
        terms = np.log(np.maximum(law, _TINY)) + (scores - scores / self._scale)
        peak = float(terms.max())
        return peak + math.log(float(np.exp(terms - peak).sum()))

    def _volume(self, missing: tuple[int, ...]) -> float:
        """Return the sum of log scale over the observed channels."""
        if not missing:
            return self._log_volume
        return math.fsum(volume for channel, volume in enumerate(self._log_scale) if channel not in missing)

    def _power_of(self, steps: int) -> Array:
        """Return (K, K) the matrix that moves the chain by so many steps, 0: to the first row of a series."""
        if steps == 0 or self._is_iid:
            return np.broadcast_to(self._initial, self._matrix.shape)
        power: Array = np.linalg.matrix_power(self._matrix, steps)
        return power


def numbers_to_json(values: Sequence[float]) -> list[float | None]:
    """Return numbers as JSON knows them, NaN as null."""
    return [None if value != value else value for value in values]


def numbers_of_json(values: Sequence[float | None]) -> list[float]:
    """Return numbers out of JSON, null as NaN."""
    return [math.nan if value is None else float(value) for value in values]
