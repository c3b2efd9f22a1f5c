"""Closed-form training: expectations with exact posteriors, then the decoder and the prior optimal for them."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.metrics.segments import runs
from gmvae_cli.model.ar_density import Emission, by_lag, log_likelihoods, weighted_log_likelihoods
from gmvae_cli.model.ar_dynamics import standard_errors
from gmvae_cli.model.chain import Chain, persistent, stationary
from gmvae_cli.model.evidence_scale import evidence_scale
from gmvae_cli.model.forward_backward import smooth
from gmvae_cli.model.moments import (
    Statistics,
    collect,
    symmetric,
    update_emission,
    update_iid,
    update_transition,
    weighted_moments,
)
from gmvae_cli.model.student_t import update_degrees
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.initialization import inliers, robust_moments, window_moments
from gmvae_cli.training.resume import NOTHING, ResumeLog, State

TOLERANCE = 1e-6  # nats a row: a pass that gains less has converged
_COUNTED_STARTS = 20  # series from which the initial law is counted
_DWELL_VISITS = 20  # what an expected dwell is worth: this many visits a regime
_RESEED_ROWS = 50
_FIRST_DEGREES = 5.0
_SETTLED = 0.02  # relative change of the evidence scale below which it stands
_ROUNDS = 8


@dataclass(frozen=True)
class EM:
    """The closed-form updates of one training run.

    Args:
        pooled: (M, M) second moments of all rows, a row (noise "student": robust ones).
        dwell: rows that a visit is expected to last, or None; `dwells`, instead of it, has one for each restart.
        evidence_scale: of every model, or None: it is taken from the rows.
    """

    config: ModelConfig
    pooled: Tensor
    num_channels: int
    dwell: float | None = None
    evidence_scale: float | None = None
    dwells: tuple[float, ...] = ()

    @classmethod
    def over(
        cls,
        rows: Rows,
        config: ModelConfig,
        num_channels: int,
        dwell: float | None,
        evidence_scale: float | None = None,
    ) -> "EM":
        """Take the pooled moments from the wholly observed rows."""
        if config.noise == "student":
            pooled = robust_moments(rows.y, rows.fully_observed, config.intercept)
        else:
            pooled = weighted_moments(rows.y, rows.fully_observed[None].to(rows.y))[0] / rows.fully_observed.sum()
        return cls(config, pooled, num_channels, dwell, evidence_scale)

    @property
    def shared(self) -> bool:
        """One covariance for all regimes."""
        return self.config.covariance == "shared"

    @property
    def iid_prior(self) -> bool:
        """Prior "iid"."""
        return self.config.prior == "iid"

    @property
    def student(self) -> bool:
        """Noise "student"."""
        return self.config.noise == "student"

    def for_initialization(self, rows: Rows) -> Tensor:
        """(n,) bool, wholly observed rows, under Student t noise without outliers: what a start learns from."""
        if not self.student:
            return rows.fully_observed
        return rows.fully_observed & inliers(rows.y, self.pooled, self.config.intercept)

    def with_noise(self, model: Parameters) -> Parameters:
        """Models that a start found, restarts of one, with this run's noise."""
        if not self.student:
            return model
        degrees = torch.full_like(model.emission.weights[..., :1, 0, 0], _FIRST_DEGREES)
        return replace(model, emission=replace(model.emission, degrees=degrees))

    def like(self) -> Parameters:
        """A model of the shapes and types that this run's models have."""
        K, D, M = self.config.regimes, self.num_channels, self.pooled.shape[0]
        weights = self.pooled.new_zeros(K, D, M - D)
        emission = Emission(weights, weights.new_zeros(1 if self.shared else K, D, D))
        if self.student:
            emission = replace(emission, degrees=weights.new_zeros(1))
        return Parameters(emission, Chain(weights.new_zeros(K), weights.new_zeros(K, K)))

    def expect(self, rows: Rows, model: Parameters) -> Statistics:
        """Expectations over rows held in memory."""
        return self._collect(rows, model, None)[0]

    def _collect(
        self, rows: Rows, model: Parameters, message: Tensor | None
    ) -> tuple[Statistics, Tensor | None, Tensor]:
        how = (model.emission, model.chain, self.iid_prior, message, rows.partial, rows.lag_index, model.evidence_scale)
        return collect(rows.y, rows.usable, rows.steps, *how)

    def _scale(self, rows: Rows, model: Parameters, probs: Tensor) -> Tensor:
        """What each model divides evidence by, from its own errors; prior "iid" never does. (R,)."""
        if self.iid_prior or self.evidence_scale is not None:
            return torch.full_like(model.evidence_scale, self.evidence_scale or 1.0)
        weights = (
            None if not self.student else weighted_log_likelihoods(rows.y, model.emission, lag_index=rows.lag_index)[1]
        )
        return evidence_scale(rows.y, rows.fully_observed, model.emission, probs, weights)

    def expect_all(
        self,
        lagged_rows: LaggedRows,
        model: Parameters,
        progress: Progress,
        stage: str,
        resume_log: ResumeLog = NOTHING,
        number: int = 0,
    ) -> Statistics:
        """Expectations over all rows of a recording, a block at a time; a model without restarts.

        Args:
            number: of the pass, for the journal, which keeps the sums so far.
        """
        one = model[None]
        total, message = self._recalled(lagged_rows, one, resume_log, number)
        for rows in lagged_rows.blocks(first=0 if total is None else total.rows):
            part, message, _ = self._collect(rows, one, message)
            total = part if total is None else total + part
            ended = total.rows == len(lagged_rows)
            total, message = _sums_of(resume_log.record("pass", _state_of(total, message, number), finished=ended))
            progress(stage, total.rows, len(lagged_rows))
        assert total is not None
        return total

    def _recalled(
        self, lagged_rows: LaggedRows, one: Parameters, resume_log: ResumeLog, number: int
    ) -> tuple[Statistics | None, Tensor | None]:
        """The sums over the first rows and the message behind them, if the journal has them of this pass."""
        like = _state_of(*self._collect(lagged_rows.rows(0, min(2, len(lagged_rows))), one, None)[:2], number)
        state = resume_log.recall("pass", like)
        return (None, None) if state is None or int(state["number"]) != number else _sums_of(state)

    def update(self, statistics: Statistics, model: Parameters) -> Parameters:
        """The optimum of the ELBO for given responsibilities (Student t: row weights and doubts too) of a model."""
        emission = update_emission(statistics.moments, statistics.weight, self.pooled, self.num_channels, self.shared)
        if model.emission.degrees is not None:
            degrees = update_degrees(model.emission.degrees.double(), statistics.slope, statistics.curvature)
            emission = replace(emission, degrees=degrees)
        if self.iid_prior:
            law = update_iid(statistics.occupancy, self.config.fixed_prior)
            return Parameters(
                emission, Chain(law, law[..., None, :].expand(*law.shape, law.shape[-1])), model.evidence_scale
            )
        matrix = update_transition(statistics.pair_sums, self.prior_counts())
        initial = stationary(matrix)
        if statistics.num_series >= _COUNTED_STARTS:
            initial = (statistics.first_probs + initial) / (statistics.num_series + 1)
        return Parameters(emission, Chain(initial, matrix), model.evidence_scale)

    def standard_errors(self, statistics: Statistics, model: Parameters) -> Tensor:
        """Of the AR weights (K, P, D, D), from the statistics of a model without restarts, as in `describe`."""
        D, config = self.num_channels, self.config
        gram = (statistics.moments[0] + self.pooled)[:, D:, D:]
        errors = standard_errors(gram, model.emission.scale_tril)
        if model.emission.degrees is not None:  # a row tells (nu + D) / (nu + D + 2) of what its Normal would
            errors = errors * (1 + 2 / (model.emission.degrees + D)).sqrt()[:, None, None]
        return by_lag(errors, config.lags)

    def labelled(self, rows: Rows, labels: NDArray[np.integer[Any]]) -> Parameters:
        """The model optimal for given labels (n,), with visits as long as they are expected to be."""
        regimes = self.config.regimes
        probs = (torch.as_tensor(labels) == torch.arange(regimes)[:, None])[None].to(rows.y)
        weights = probs[0] * self.for_initialization(rows)
        moments, counts = weighted_moments(rows.y, weights), weights.sum(1)
        emission = update_emission(moments[None], counts[None], self.pooled, self.num_channels, self.shared)
        matrix = persistent(regimes, self.dwell or len(labels) / len(runs(labels)))[None]
        model = self.with_noise(Parameters(emission, Chain(stationary(matrix), matrix), matrix.new_ones(1)))
        return replace(model, evidence_scale=self._scale(rows, model, probs))[0]

    def prior_counts(self) -> Tensor | None:
        """Dirichlet counts (K, K), or (R, K, K), of the transition rows: what the expected dwell says."""
        if self.dwells:
            return torch.stack([self._counts_of(dwell) for dwell in self.dwells])
        return None if self.dwell is None else self._counts_of(self.dwell)

    def _counts_of(self, dwell: float) -> Tensor:
        return persistent(self.config.regimes, dwell) * dwell * _DWELL_VISITS

    def run_em(self, rows: Rows, model: Parameters, passes: int, calibrate: bool = False) -> tuple[Parameters, float]:
        """Closed-form updates until a pass gains less than the tolerance in every restart, and the last gain.

        What is raised is log Z of the evidence as the models scale it, which stays as it is, or with `calibrate` is
        estimated anew at every pass.
        """
        before, gain = None, float("inf")
        for _ in range(passes):
            statistics, _, probs = self._collect(rows, model, None)
            now = statistics.log_marginal / statistics.usable_rows
            if before is not None:
                gain = float((now - before).abs().max())
                if gain < TOLERANCE:
                    break
            scale = model.evidence_scale
            if calibrate:
                scale = self._scale(rows, model, probs)
            before, model = now, self.update(statistics, replace(model, evidence_scale=scale))
        return model, gain

    def fit_em_and_scale(self, rows: Rows, model: Parameters, passes: int) -> tuple[Parameters, float]:
        """`polish`, and the evidence scale estimated again, in turn until that stands still; and the last gain."""
        for _ in range(_ROUNDS):
            model, gain = self.run_em(rows, model, passes)
            scale = self._scale(rows, model, self._collect(rows, model, None)[2])
            if bool(((scale / model.evidence_scale).log().abs() < _SETTLED).all()):
                break
            model = replace(model, evidence_scale=scale)
        return model, gain

    def score(self, rows: Rows, model: Parameters) -> Tensor:
        """Log-likelihood of a row with evidence given its past, the mean, of every restart: (R,) nats."""
        statistics = self.expect(rows, model)
        return statistics.predictive / max(statistics.usable_rows, 1)

    def labels(self, rows: Rows, model: Parameters) -> NDArray[np.int64]:
        """The likeliest regime of every row, smoothed; of a model without restarts. (n,)."""
        emission, chain = model.emission, Chain(*(part.to(rows.y) for part in model.chain))
        scores = torch.where(rows.usable, log_likelihoods(rows.y, emission, rows.partial, rows.lag_index), 0).mT
        if self.iid_prior:
            return (scores + chain.initial_probs.log()).argmax(-1).cpu().numpy()
        return (
            smooth(scores / model.evidence_scale.to(scores), chain, rows.steps).smoothed_probs.argmax(-1).cpu().numpy()
        )

    def reinitialize_empty(self, rows: Rows, model: Parameters) -> Parameters:
        """A regime that hardly any row visits takes the window that is explained worst; then a few updates."""
        empty = self.expect(rows, model).occupancy < rows.y.shape[0]
        if not bool(empty.any()):
            return model
        length = min(_RESEED_ROWS, len(rows))
        chosen = self.for_initialization(rows)
        flat, counts = window_moments(rows.y, chosen, length)
        best = torch.where(chosen, log_likelihoods(rows.y, model.emission, lag_index=rows.lag_index), 0).amax(-2)
        explained = best[..., : len(counts) * length].reshape(len(best), -1, length).sum(-1) / counts.clamp_min(1)
        worst = torch.where(counts > 0, explained, torch.inf).argsort(-1)
        size = rows.y.shape[0]
        weights, scale_tril = model.emission.weights.clone(), model.emission.scale_tril.clone()
        emission = replace(model.emission, weights=weights, scale_tril=scale_tril)
        for restart, regime in empty.nonzero().tolist():
            window = worst[restart, int(empty[restart, :regime].sum()) % worst.shape[1]]
            moments = symmetric(flat[window], size)[None]
            fresh = update_emission(moments, counts[window][None], self.pooled, self.num_channels, self.shared, size)
            emission.weights[restart, regime] = fresh.weights[0]
            if not self.shared:
                emission.scale_tril[restart, regime] = fresh.scale_tril[0]
        return self.run_em(rows, replace(model, emission=emission), 10)[0]


def _state_of(total: Statistics, message: Tensor | None, number: int) -> State:
    state = {name: torch.as_tensor(value) for name, value in vars(total).items()} | {"number": torch.tensor(number)}
    return state if message is None else state | {"message": message}


def _sums_of(state: State) -> tuple[Statistics, Tensor | None]:
    kinds = {field.name: field.type for field in fields(Statistics)}
    values = {name: int(state[name]) if kind is int else state[name] for name, kind in kinds.items()}
    return Statistics(**values), state.get("message")  # type: ignore[arg-type]
