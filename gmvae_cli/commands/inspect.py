"""`gmvae inspect`: describe the regimes of a model, in the units of its data."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.model import ar_dynamics
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import stationary
from gmvae_cli.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Regime:
    """One regime. Channels are in the model's order; None or NaN is undefined.

    Student t noise has a covariance, and the channels a standard deviation, above 2 degrees of freedom.

    Args:
        name: "" where it has none. stands_for: its number in outputs, of regimes with one name the smallest.
        share: of the training rows; of a model that was not trained, the stationary probability of the chain.
        expected_dwell: mean length of a visit in rows; expected_dwell_time: in the time unit, where the step is known.
        row_mean: (D,) of the usable training rows labelled so; None where a model does not know it.
        mean, standard_deviation: (D,) of the stationary law of the regime's process.
        ar_weights: (P, D, D), lag 1 first. ar_bias: (D,). covariance: (D, D) of the noise.
        noise: (D,) standard deviations of the noise.
        standard_errors: (P, D, D) of ar_weights, given the regimes of all rows.
        half_life, dominant_period: rows.
    """

    regime: int
    name: str
    stands_for: int
    share: float
    expected_dwell: float
    expected_dwell_time: float | None
    row_mean: list[float | None] | None
    mean: Tensor
    standard_deviation: Tensor
    ar_weights: Tensor
    ar_bias: Tensor
    covariance: Tensor
    noise: Tensor
    standard_errors: Tensor | None
    spectral_radius: float
    half_life: float
    dominant_period: float


@dataclass(frozen=True, kw_only=True)
class InspectResult:
    """A model: its configuration, its regimes, how they follow one another, and how it was trained.

    Args:
        degrees_of_freedom: of Student t noise, the same in all regimes; None: Normal noise.
    """

    model: str
    configuration: dict[str, Any]
    channels: list[str]
    degrees_of_freedom: float | None
    regimes: list[Regime]
    names: list[str]
    transition_matrix: Tensor
    initial_probs: Tensor
    evidence_scale: float
    step: float | None
    time_unit: str | None
    training: dict[str, Any]


def inspect(path: str, progress: Progress) -> InspectResult:
    """Read a model and convert its parameters to the units of its data."""
    checkpoint = load(path)
    step, time_unit = checkpoint.training.get("step"), checkpoint.training.get("time_unit")
    degrees, chain = checkpoint.parameters.emission.degrees, checkpoint.parameters.chain
    return InspectResult(
        model=path,
        configuration=asdict(checkpoint.model),
        channels=list(checkpoint.modelled),
        degrees_of_freedom=None if degrees is None else float(degrees),
        names=list(checkpoint.names),
        regimes=_regimes(checkpoint, step if time_unit is not None else None),
        transition_matrix=chain.transition_matrix,
        initial_probs=chain.initial_probs,
        evidence_scale=float(checkpoint.parameters.evidence_scale),
        step=step,
        time_unit=time_unit,
        training=checkpoint.training,
    )


def _regimes(checkpoint: Checkpoint, step: float | None) -> list[Regime]:
    parameters, lags, scale = checkpoint.parameters, checkpoint.model.lags, checkpoint.scale
    stride = checkpoint.model.stride * checkpoint.model.summarize
    data = parameters.rescaled(lags, checkpoint.mean, scale, torch.zeros_like(checkpoint.mean), torch.ones_like(scale))
    raw_weights, raw_bias = data.emission.ar_weights(lags), data.emission.ar_bias(lags)
    ar_weights, ar_bias = parameters.emission.ar_weights(lags), parameters.emission.ar_bias(lags)
    inflation = ar_dynamics.covariance_factor(parameters.emission.degrees)
    covariance = inflation * _scale_matrix(data.emission)
    mean, stationary_covariance = ar_dynamics.stationary_moments(ar_weights, ar_bias, parameters.emission.scale_tril)
    radius = ar_dynamics.spectral_radius(ar_weights)
    half_life, period = (
        ar_dynamics.half_life(radius) * stride,
        ar_dynamics.dominant_period(ar_weights) * stride,
    )
    dwell = checkpoint.expected_dwell
    shares = checkpoint.training.get("shares") or stationary(parameters.chain.transition_matrix).tolist()
    errors, row_means = checkpoint.standard_errors, checkpoint.training.get("row_means")
    return [
        Regime(
            regime=k,
            name=checkpoint.names[k] if checkpoint.names else "",
            stands_for=int(checkpoint.merged[k]),
            share=shares[k],
            expected_dwell=dwell[k],
            expected_dwell_time=None if step is None else dwell[k] * step,
            row_mean=row_means[k] if row_means and len(row_means[k]) == len(mean[k]) else None,
            mean=checkpoint.mean + scale * mean[k],
            standard_deviation=scale * (inflation * stationary_covariance[k].diagonal()).sqrt(),
            ar_weights=raw_weights[k],
            ar_bias=raw_bias[k],
            covariance=covariance[k],
            noise=covariance[k].diagonal().sqrt(),
            standard_errors=None if errors is None else errors[k] * scale[:, None] / scale,
            spectral_radius=float(radius[k]),
            half_life=float(half_life[k]),
            dominant_period=float(period[k]),
        )
        for k in range(checkpoint.model.regimes)
    ]


def _scale_matrix(emission: Emission) -> Tensor:
    """Return L L^T of each regime (K, D, D), also where it is shared: the covariance of Normal noise."""
    matrix = emission.scale_tril @ emission.scale_tril.mT
    return matrix.expand(len(emission.weights), -1, -1)
