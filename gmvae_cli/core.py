"""The model: encoder, autoregressive mixture decoder, prior over regimes, Gumbel annealing and the ELBO.

    z_t ~ Categorical(p), or a Markov chain with A;  x_t | h_t, z_t = k ~ Normal(Pi_k h_t, Sigma_k), or Student t
    encoder: potentials l_t(k) = f_phi(x_t, h_t)[k];   q(z_1..z_T) = p(z_1..z_T) prod_t exp l_t(z_t) / Z(l)
    ELBO = sum_t E_q[log p(x_t | h_t, z_t)] - KL,      KL = sum_t sum_k q_t(k) l_t(k) - log Z(l)

One ELBO serves both priors (Dong, Seybold, Murphy, Bui, 2020, "Collapsed amortized variational inference for switching
nonlinear dynamical systems", treat the same model with the exact posterior in place of q). With potentials equal to the
decoder's log-likelihoods q is the exact posterior and the ELBO is log p(x).

Map from formulas to functions, all in `gmvae_cli`:

    encoder potentials l_t(k)                              core:Encoder.forward
    ELBO and KL                                            core:GMVAE.elbo
    E_q[log p(x | h, z)], exact or relaxed                 core:GMVAE.reconstruction
    q(z) and log Z(l) from potentials                      core:GMVAE.posterior
    their gradient, written by hand                        model.chain_autograd:chain_posterior
    Gumbel-softmax sample z~_t                             core:relaxed_regimes
    temperature tau over the steps                         core:temperature_at
    annealing: Adam on the ELBO                            training.gradient:anneal
    encoder towards the exact posterior                    training.gradient:fit_encoder
    context h_t of lags                                    model.ar_density:context
    log density, Normal or Student t                       model.ar_density:log_likelihoods
    density of partly observed rows                        model.ar_density:marginal
    Student t row weights E[w]                             model.student_t:row_weights
    lag inflation 1 / v_t                                  model.student_t:lag_inflation
    degrees of freedom                                     model.student_t:update_degrees
    filter p(z_t | x_1..x_t)                               model.forward_backward:filter
    smoother p(z_t | x_1..x_T), pair sums, log p(x)        model.forward_backward:smooth
    the same over blocks of a file                         inference.block_messages:BlockMessages
    Viterbi path                                           model.viterbi:viterbi
    stationary law pi = pi A                               model.chain:stationary
    expected dwell 1 / (1 - A_kk)                          model.chain:expected_dwell
    E-step                                                 training.expectation:collect
    scores of rows whose regime is known                   model.known_regimes:clamped
    moments of rows with missing cells                     model.moments:completed_moments
    M-step                                                 training.em:EM.update
    decoder: weighted least squares                        model.moments:update_emission
    transition matrix from expected counts                 model.moments:update_transition
    law of an iid prior                                    model.moments:update_iid
    EM passes until they gain no more                      training.em:EM.run_em
    first parameters: window clustering                    training.initialization:cluster_windows
    first parameters: clusters of levels                   training.initialization:cluster_levels
    first parameters: short runs                           training.initialization:short_runs
    empty regimes                                          training.initialization:reinitialize_empty
    evidence scale c                                       model.evidence_scale:evidence_scale
    predictive density under an evidence scale             model.evidence_scale:unscaled_marginal
    standardisation (x - mean) / scale                     data.lagged_rows:LaggedRows
    conversion between standardisations                    core:Parameters.rescaled
    numbers of regimes                                     training.numbering:number_regimes
    standard errors of the weights                         model.ar_dynamics:standard_errors
    number of free parameters                              config:ModelConfig.num_free_parameters
    BIC and held-out likelihood                            selection.cross_validation:score
    rule of one standard error                             selection.cross_validation:choose
    consensus of labellings                                selection.consensus:consensus
    adjusted Rand index                                    metrics.partition:adjusted_rand
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.model.ar_density import Emission, log_density
from gmvae_cli.model.chain import Chain, stationary
from gmvae_cli.model.chain_autograd import chain_posterior
from gmvae_cli.model.known_regimes import clamped
from gmvae_cli.model.student_t import DEGREES

SMALLEST_PROB = 1e-8  # of a regime or a transition: its logarithm stays finite, and float32 can still raise it
_LINEAR = 10.0  # standard deviations up to which the encoder sees values much as they are: beyond lie only outliers


@dataclass(frozen=True)
class Parameters:
    """Decoder and prior, for standardised columns; any number of leading dimensions (restarts), the same for all parts.

    Args:
        emission: the decoder, weights (..., K, D, C). chain: the prior over paths; prior "iid": equal rows (..., K, K).
        evidence_scale: (...) float64 at least 1, the divisor of log-likelihoods before they enter the chain.
    """

    emission: Emission
    chain: Chain
    evidence_scale: Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.float64))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Parameters":
        """Apply a function to every tensor."""
        emission = self.emission
        degrees = None if emission.degrees is None else change(emission.degrees)
        return Parameters(
            Emission(change(emission.weights), change(emission.scale_tril), degrees),
            Chain(*(change(part) for part in self.chain)),
            change(self.evidence_scale),
        )

    def __getitem__(self, index: Any) -> "Parameters":
        """Select among the restarts; None adds a leading dimension."""
        return self.map(lambda tensor: tensor[index])

    @classmethod
    def stacked(cls, models: Sequence["Parameters"]) -> "Parameters":
        """Stack parameters of one shape along a new leading dimension."""
        device = models[0].emission.weights.device
        return cls(
            Emission.stacked([model.emission for model in models]),
            Chain(*(torch.stack(parts) for parts in zip(*(model.chain for model in models), strict=True))),
            torch.stack([model.evidence_scale.to(device) for model in models]),
        )

    def permuted(self, order: Tensor) -> "Parameters":
        """Name regime order[k] k: the same model with its regimes in another order, (K,) int64."""
        emission, (initial_probs, transition_matrix) = self.emission, self.chain
        shared = emission.scale_tril.shape[-3] == 1
        return replace(
            self,
            emission=replace(
                emission,
                weights=emission.weights[..., order, :, :],
                scale_tril=emission.scale_tril if shared else emission.scale_tril[..., order, :, :],
            ),
            chain=Chain(initial_probs[..., order], transition_matrix[..., order, :][..., order]),
        )

    def with_intercept(self, num_lags: int) -> "Parameters":
        """Add an intercept of 0 to a decoder that has none."""
        if self.emission.has_intercept(num_lags):
            return self
        weights = self.emission.weights
        weights = torch.cat([weights, torch.zeros_like(weights[..., :1])], -1)
        return replace(self, emission=replace(self.emission, weights=weights))

    def rescaled(self, num_lags: int, mean: Tensor, scale: Tensor, new_mean: Tensor, new_scale: Tensor) -> "Parameters":
        """Convert from columns (x - mean) / scale to columns (x - new_mean) / new_scale: the same model of x.

        Args:
            mean, scale, new_mean, new_scale: (D,); both means are 0 where the decoder has no intercept.
        """
        emission = self.emission
        raw = scale[:, None] * emission.ar_weights(num_lags) / scale  # (..., K, P, D, D), for the columns x themselves
        bias = mean + scale * emission.ar_bias(num_lags) - raw.sum(-3) @ mean
        bias = (bias - new_mean + raw.sum(-3) @ new_mean) / new_scale
        emission = Emission.from_lags(
            raw * new_scale / new_scale[:, None],
            bias if emission.has_intercept(num_lags) else None,
            (scale / new_scale)[:, None] * emission.scale_tril,
            emission.degrees,
        )
        return replace(self, emission=emission)


def temperature_at(step: int, num_steps: int, config: TrainConfig) -> float:
    """Compute the Gumbel-softmax temperature: `temperature_start` at step 0, `temperature_end` at the last step.

    It never reaches 0, where the relaxed sample is undefined.
    """
    progress = min(step / max(num_steps - 1, 1), 1.0)
    start, end = config.temperature_start, config.temperature_end
    if config.anneal == "linear":
        return start + (end - start) * progress
    if config.anneal == "cosine":
        return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
    return float(start * (end / start) ** progress)


def relaxed_regimes(log_probs: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw a relaxed sample softmax((log q + g) / tau), g Gumbel(0, 1).               [Jang, Gu, Poole, 2017, Eq. 2]

    Args:
        log_probs: (..., K) log q, regimes last. temperature: tau > 0.
    Returns:
        (..., K), rows sum to one.
    """
    drawn = torch.empty(log_probs.shape, dtype=log_probs.dtype, device=generator.device)
    noise = -drawn.exponential_(generator=generator).log().to(log_probs.device)
    return ((log_probs + noise) / temperature).softmax(-1)


class Encoder(nn.Module):
    """A feed-forward net from rows to potentials: (n, D (P + 2)) -> (n, K) nats.

    Its inputs are the row, its lags, and D flags for the observed channels of the row; an unobserved one is 0. Under
    Student t noise inputs beyond some ten standard deviations are compressed as on a logarithmic scale.
    """

    def __init__(self, num_channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.lagged = num_channels * (1 + config.lags)
        self.compressed = config.noise == "student"
        widths = [self.lagged + num_channels] + [config.hidden] * config.layers
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], config.regimes))

    def forward(self, y: Tensor, observed: Tensor) -> Tensor:
        """Compute the potentials l_t(k) of rows y (M, n) with observed (D, n): (n, K)."""
        values = y[: self.lagged]  # (D (P + 1), n), without the 1 of the intercept
        if self.compressed:
            values = _LINEAR * (values / _LINEAR).asinh()
        potentials: Tensor = self.net(torch.cat([values, observed.to(y)]).mT)  # (n, K)
        return potentials


class GMVAE(nn.Module):
    """Encoder, decoder and prior as one module whose parameters gradient steps may move.

    The decoder keeps the inverse Cholesky factors Q_k, Sigma_k^-1 = Q_k^T Q_k, so that the whitened residuals of all
    regimes are one matrix product of the row [x, h].
    """

    def __init__(self, parameters: Parameters, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.evidence_scale = config, 1.0
        emission = parameters.emission
        _, num_channels, _ = emission.weights.shape
        self.num_channels = num_channels
        self.encoder = Encoder(num_channels, config)
        self.weights = nn.Parameter(torch.zeros_like(emission.weights, dtype=torch.float32))
        self.lower = nn.Parameter(torch.zeros_like(emission.scale_tril, dtype=torch.float32))
        self.log_diagonal = nn.Parameter(self.lower.detach()[..., 0].clone())
        law = self._law(parameters.chain)
        self.prior_logits = nn.Parameter(torch.zeros_like(law, dtype=torch.float32), not config.fixed_prior)
        self.log_degrees = None if emission.degrees is None else nn.Parameter(emission.degrees.float().log())
        self.set_parameters(parameters)

    def _law(self, chain: Chain) -> Tensor:
        """Return the part of the prior that is free: (K,) under prior "iid", else (K, K)."""
        return chain.initial_probs if self.config.prior == "iid" else chain.transition_matrix

    @torch.no_grad()
    def set_parameters(self, parameters: Parameters) -> None:
        """Set decoder, prior and evidence scale; the encoder stays."""
        emission = parameters.emission
        inverse = torch.linalg.inv(emission.scale_tril)
        self.weights.copy_(emission.weights)
        self.log_diagonal.copy_(inverse.diagonal(dim1=-2, dim2=-1).log())
        self.lower.copy_(inverse.tril(-1))
        if self.log_degrees is not None and emission.degrees is not None:
            self.log_degrees.copy_(emission.degrees.log())
        self.prior_logits.copy_(self._law(parameters.chain).clamp_min(SMALLEST_PROB).log())
        self.evidence_scale = float(parameters.evidence_scale)

    def emission(self) -> Emission:
        """Read off the decoder, in float64."""
        inverse = (self.lower.tril(-1) + torch.diag_embed(self.log_diagonal.exp())).detach().double()
        identity = torch.eye(self.num_channels, dtype=torch.float64, device=inverse.device).expand_as(inverse)
        return Emission(
            self.weights.detach().double(),
            torch.linalg.solve_triangular(inverse, identity, upper=False).tril(),
            None if self.log_degrees is None else self._degrees().detach(),
        )

    def _degrees(self) -> Tensor:
        """Return the degrees of freedom (1,), within their bounds, float64."""
        assert self.log_degrees is not None
        return self.log_degrees.double().exp().clamp(*DEGREES)

    def chain(self) -> Chain:
        """Read off the prior, in float64."""
        law = self.prior_logits.detach().double().softmax(-1)
        if self.config.prior == "iid":
            return Chain(law, law.expand(len(law), -1))
        return Chain(stationary(law), law)

    def decoder_residuals(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute whitened residuals Q_k (x_t - Pi_k h_t) of rows y (M, n), and log |L_k| + D / 2 log 2 pi.

        Returns:
            (D, K, n) and (K,).
        """
        K, D, _ = self.weights.shape
        inverse = (self.lower.tril(-1) + torch.diag_embed(self.log_diagonal.exp())).expand(K, D, D)
        matrix = torch.cat([inverse, -inverse @ self.weights], dim=-1).transpose(0, 1)  # (D, K, M)
        residuals = (matrix.reshape(D * K, -1) @ y).view(D, K, -1)  # (D, K, n)
        return residuals, 0.5 * D * math.log(2 * math.pi) - self.log_diagonal.sum(-1).expand(K)

    def posterior(self, potentials: Tensor, steps: np.ndarray | None) -> tuple[Tensor, Tensor]:
        """Compute log Z(l) (B,) and q_t(k) (B, L, K) from potentials (B, L, K) and steps (B, L) as in `lattice`."""
        log_law = self.prior_logits.log_softmax(-1)  # (K,), or (K, K)
        if self.config.prior == "iid":
            joint = log_law + potentials  # (B, L, K)
            log_z = joint.logsumexp(-1)  # (B, L)
            return log_z.sum(-1), (joint - log_z[..., None]).exp()
        start = stationary(log_law.detach().exp()).clamp_min(SMALLEST_PROB).log()  # (K,)
        return chain_posterior(potentials, start, log_law, steps)

    def elbo(
        self,
        y: Tensor,
        usable: Tensor,
        observed: Tensor,
        steps: np.ndarray | None = None,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        lag_inflation: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Compute the ELBO of chunks of rows, nats.

        With a temperature the reconstruction is the relaxed one, a training signal only: through the mean it is no
        lower bound. Without, the expectation over regimes is summed exactly. With an evidence scale c above 1 it is
        F = E_q[log p(x | h, z)] / c - KL(q || p), of q from potentials l / c.

        Args:
            y: (M, B * L) rows [x, h] as columns, chunk after chunk. usable: (B, L) bool, fully observed rows.
            observed: (D, B * L) bool. steps: (B, L) how rows follow one another, as in `lattice`.
            lag_inflation: (B * L,) of Student t noise, as in `student_t`.
            known: (B, L) regimes, -1 where not known, as in `known_regimes`; q is one there. None: none is known.
        Returns:
            (B,).
        """
        B, L = usable.shape
        potentials = self.encoder(y, observed).view(B, L, -1) * usable[..., None]  # (B, L, K)
        potentials = clamped(potentials / self.evidence_scale, known)  # (B, L, K)
        log_z, probs = self.posterior(potentials, steps)  # (B,), (B, L, K)
        kl: Tensor = (probs * potentials).sum((1, 2)) - log_z  # (B,)
        reconstruction = self.reconstruction(y, probs, usable, temperature, generator, lag_inflation)  # (B,)
        return reconstruction / self.evidence_scale - kl  # (B,)

    def reconstruction(
        self,
        y: Tensor,
        probs: Tensor,
        usable: Tensor,
        temperature: float | None,
        generator: torch.Generator | None,
        lag_inflation: Tensor | None = None,
    ) -> Tensor:
        """Sum E_q[log p(x_t | h_t, z_t)] over the rows of each chunk, exact or relaxed; arguments as in `elbo`.

        With a temperature, z~_t in place of q_t: through the mean, Normal(x; sum_k z~_k Pi_k h, Sigma), where the
        regimes share a covariance, else sum_k z~_k log Normal(x; Pi_k h, Sigma_k).

        Args:
            probs: (B, L, K) q_t(k).
        Returns:
            (B,) nats.
        """
        B, L, K = probs.shape
        residuals, log_det = self.decoder_residuals(y)  # (D, K, B * L), (K,)
        degrees = None if self.log_degrees is None else self._degrees()
        noise = (degrees, self.num_channels, lag_inflation)
        if temperature is None or generator is None:
            weights = probs.reshape(-1, K)  # (B * L, K)
        else:
            log_probs = probs.clamp_min(torch.finfo(probs.dtype).tiny).log()  # (B, L, K)
            weights = relaxed_regimes(log_probs, temperature, generator).reshape(-1, K)  # (B * L, K)
            if len(self.lower) == 1:  # Q (x - sum_k z_k Pi_k h) = sum_k z_k Q (x - Pi_k h), since sum_k z_k = 1
                mixed = (residuals * weights.mT).sum(1, keepdim=True)  # (D, 1, B * L)
                rows = log_density(mixed.square().sum(0), log_det[:1], *noise)[0]  # (B * L,)
                return (rows.view(B, L) * usable).sum(-1)
        rows = (log_density(residuals.square().sum(0), log_det, *noise).mT * weights).sum(-1)  # (B * L,)
        return (rows.view(B, L) * usable).sum(-1)  # (B,)
