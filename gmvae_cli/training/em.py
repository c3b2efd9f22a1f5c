"""Expectation-maximisation: the M-step in closed form, and passes of E-step and M-step until they gain no more."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import Rows
from gmvae_cli.model.ar_density import Emission, by_lag, weighted_log_likelihoods
from gmvae_cli.model.ar_dynamics import standard_errors
from gmvae_cli.model.chain import Chain, persistent, stationary
from gmvae_cli.model.evidence_scale import evidence_scale
from gmvae_cli.model.moments import (
    inliers,
    robust_moments,
    rounding_variance,
    update_emission,
    update_iid,
    update_transition,
    weighted_moments,
)
from gmvae_cli.model.student_t import update_degrees
from gmvae_cli.training.expectation import Statistics, collect

TOLERANCE = 1e-6  # nats a row; a pass that gains less has converged: labels and likelihood are reported to 4 decimals
# Of the pooled data, beside those of each regime, while a number of regimes is searched for: what tells regimes apart
# must stand out from how all rows vary, or a state that comes to rest counts as two (in logs of 5,000 rows)
SEARCH_ROWS = 1.0
_COUNTED_STARTS = 20  # series; with fewer, a counted initial law would force tomorrow's file to start alike
_DWELL_VISITS = 20  # visits a regime that an expected dwell weighs as much as: the user knows it; chosen, not measured
FIRST_DEGREES = 5.0  # of freedom, to begin with: heavy tails, and still a finite covariance; EM updates them
_STANDING = 0.02  # relative change of the evidence scale below which it stands; chosen, not measured
_ROUNDS = 8  # of EM and evidence scale in turn, at most; chosen, not measured


@dataclass(frozen=True)
class EM:
    """Expectation-maximisation of one model over rows in memory. Parameters have one leading dimension, restarts R.

    Args:
        pooled: (M, M) second moments of all rows, a row (noise "student": robust ones).
        dwell: rows that a visit is expected to last, or None; `dwells`, instead of it, has one for each restart.
        evidence_scale: of all parameters, or None: from the residuals.
        unrelated_rows, levels, pooled_rows: as in `moments.update_emission`; a search takes `SEARCH_ROWS` of the last.
        rounding: (M, M) diagonal, `moments.rounding_variance` of each entry of y, or (1, 1) of none.
    """

    config: ModelConfig
    pooled: Tensor
    num_channels: int
    dwell: float | None = None
    evidence_scale: float | None = None
    dwells: tuple[float, ...] = ()
    unrelated_rows: float = 0.0
    levels: bool = False
    pooled_rows: float | None = None
    rounding: Tensor = field(default_factory=lambda: torch.zeros(1, 1))

    @classmethod
    def over(
        cls,
        rows: Rows,
        config: ModelConfig,
        num_channels: int,
        dwell: float | None,
        evidence_scale: float | None = None,
        pooled_rows: float | None = None,
    ) -> "EM":
        """Take the pooled moments from the fully observed rows."""
        if config.noise == "student":
            pooled = robust_moments(rows.y, rows.fully_observed, config.intercept)
        else:
            pooled = weighted_moments(rows.y, rows.fully_observed[None].to(rows.y))[0] / rows.fully_observed.sum()
        rounding = torch.diag(rounding_variance(rows.y, rows.fully_observed, num_channels, config.lags))
        pooled = pooled + rounding
        return cls(config, pooled, num_channels, dwell, evidence_scale, pooled_rows=pooled_rows, rounding=rounding)

    @property
    def iid_prior(self) -> bool:
        """Whether regimes of different rows are independent."""
        return self.config.prior == "iid"

    @property
    def student(self) -> bool:
        """Whether noise is Student t."""
        return self.config.noise == "student"

    def for_initialization(self, rows: Rows) -> Tensor:
        """Select the rows that a start may learn from, (n,) bool: fully observed, under Student t noise no outliers."""
        if not self.student:
            return rows.fully_observed
        return rows.fully_observed & inliers(rows.y, self.pooled, self.config.intercept)

    def like(self) -> Parameters:
        """Build parameters of this model's shapes and types, without restarts, all 0."""
        K, D, M = self.config.regimes, self.num_channels, self.pooled.shape[0]
        weights = self.pooled.new_zeros(K, D, M - D)
        degrees = weights.new_zeros(1) if self.student else None
        shared = self.config.covariance == "shared"
        emission = Emission(weights, weights.new_zeros(1 if shared else K, D, D), degrees)
        return Parameters(emission, Chain(weights.new_zeros(K), weights.new_zeros(K, K)))

    def regression(self, moments: Tensor, weight: Tensor, pooled_rows: float | None = None) -> Emission:
        """Fit Normal decoders to moments (..., K, M, M) of so many rows (..., K), as in `moments.update_emission`."""
        extra = pooled_rows or self.pooled_rows, self.unrelated_rows, self.config.intercept, self.levels
        moments, shared = moments + weight[..., None, None] * self.rounding, self.config.covariance == "shared"
        return update_emission(moments, weight, self.pooled, self.num_channels, shared, *extra)

    def update(self, statistics: Statistics, parameters: Parameters) -> Parameters:
        """Run the M-step: maximise the ELBO in decoder and prior for given responsibilities.

        Under Student t noise row weights and lag inflation are held as well; the evidence scale stays.
        """
        emission = self.regression(statistics.moments, statistics.weight)
        if parameters.emission.degrees is not None:
            degrees = update_degrees(parameters.emission.degrees.double(), statistics.slope, statistics.curvature)
            emission = replace(emission, degrees=degrees)
        return Parameters(emission, self._updated_prior(statistics), parameters.evidence_scale)

    def _updated_prior(self, statistics: Statistics) -> Chain:
        if self.iid_prior:
            law = update_iid(statistics.occupancy, self.config.fixed_prior)  # (R, K)
            return Chain(law, law[..., None, :].expand(*law.shape, law.shape[-1]))
        matrix = update_transition(statistics.pair_sums, _prior_counts(self))  # (R, K, K)
        initial = stationary(matrix)
        if statistics.num_series >= _COUNTED_STARTS:
            initial = (statistics.first_probs + initial) / (statistics.num_series + 1)
        return Chain(initial, matrix)

    def measured_scale(self, rows: Rows, parameters: Parameters, probs: Tensor) -> Tensor:
        """Measure the evidence scale (R,) under responsibilities (R, K, n); it is 1 under prior "iid"."""
        if self.iid_prior or self.evidence_scale is not None:
            return torch.full_like(parameters.evidence_scale, self.evidence_scale or 1.0)
        emission, weights = parameters.emission, None
        if self.student:
            weights = weighted_log_likelihoods(rows.y, emission, lag_index=rows.lag_index)[1]
        return evidence_scale(_with_errors(rows.y, self.rounding), rows.fully_observed, emission, probs, weights)

    def run_em(
        self, rows: Rows, parameters: Parameters, passes: int, calibrate: bool = False
    ) -> tuple[Parameters, float]:
        """Alternate E-step and M-step until a pass gains less than the tolerance in every restart.

        The objective is log Z of the log-likelihoods divided by the evidence scale, which stays as it is, or with
        `calibrate` is measured again in every pass.

        Returns:
            the parameters, and the last gain in nats a row, infinite where there was none to compare with.
        """
        before, gain = None, float("inf")
        for _ in range(passes):
            statistics, _, probs = collect(rows, parameters, self.iid_prior)
            now = statistics.log_marginal / statistics.usable_rows  # (R,)
            if before is not None:
                gain = float((now - before).abs().max())
                if gain < TOLERANCE:
                    break
            if calibrate:
                scale = self.measured_scale(rows, parameters, probs)
                parameters = replace(parameters, evidence_scale=scale)
            before, parameters = now, self.update(statistics, parameters)
        return parameters, gain

    def fit_em_and_scale(self, rows: Rows, parameters: Parameters, passes: int) -> tuple[Parameters, float]:
        """Alternate `run_em` and a new measurement of the evidence scale until that stands; return as `run_em` does."""
        for _ in range(_ROUNDS):
            parameters, gain = self.run_em(rows, parameters, passes)
            scale = self.measured_scale(rows, parameters, collect(rows, parameters, self.iid_prior).probs)
            if bool(((scale / parameters.evidence_scale).log().abs() < _STANDING).all()):
                break
            parameters = replace(parameters, evidence_scale=scale)
        return parameters, gain

    def score(self, rows: Rows, parameters: Parameters) -> Tensor:
        """Compute the mean log-likelihood of a usable row given its past, for every restart: (R,) nats."""
        statistics = collect(rows, parameters, self.iid_prior).statistics
        return statistics.predictive / max(statistics.usable_rows, 1)

    def standard_errors(self, statistics: Statistics, parameters: Parameters) -> Tensor:
        """Compute standard errors (K, P, D, D) of the AR weights, as in `ar_dynamics`; statistics have one restart."""
        D, emission = self.num_channels, parameters.emission
        moments = statistics.moments[0] + statistics.weight[0][:, None, None] * self.rounding + self.pooled
        errors = standard_errors(moments[:, D:, D:], emission.scale_tril)  # (K, D, C)
        if emission.degrees is not None:  # a row holds (nu + D) / (nu + D + 2) of the information of a Normal one
            errors = errors * (1 + 2 / (emission.degrees + D)).sqrt()[:, None, None]
        return by_lag(errors, self.config.lags)


def _prior_counts(em: EM) -> Tensor | None:
    """Compute Dirichlet counts (K, K), or (R, K, K), of the transitions from the expected dwell."""
    if em.dwells:
        return torch.stack([_dwell_counts(em.config.regimes, dwell) for dwell in em.dwells])
    return None if em.dwell is None else _dwell_counts(em.config.regimes, em.dwell)


def _dwell_counts(regimes: int, dwell: float) -> Tensor:
    return persistent(regimes, dwell) * dwell * _DWELL_VISITS


def _with_errors(y: Tensor, rounding: Tensor) -> Tensor:
    """Add errors of rounding to rows (M, n): values that stand still have no others, and would seem to repeat them."""
    if not bool(rounding.any()):
        return y
    errors = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y)
    return y + rounding.diagonal().sqrt().to(y)[:, None] * errors
