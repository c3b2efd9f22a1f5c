"""`gmvae inspect`: what a model says about its regimes, in the units of its data."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.core import Parameters
from gmvae_cli.model import ar_dynamics
from gmvae_cli.model.chain import stationary
from gmvae_cli.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Regime:
    """One regime. Values and matrices have the channels in the model's order; None or NaN is undefined.

    Student t noise has a covariance, and the channels a standard deviation, from 2 degrees of freedom on.

    Args:
        share: of the rows trained on; of a model that was not trained, the chain's own.
        expected_dwell: mean length of a visit in rows, and in the time unit where the step is known.
        mean, standard_deviation: (D,) that the channels settle to while the regime holds.
        ar_weights: (P, D, D), lag 1 first. ar_bias: (D,). covariance: (D, D) of the noise; noise: (D,) its roots.
        standard_errors: (P, D, D) of ar_weights, as if it were known which regime held when.
        half_life, dominant_period: rows.
    """

    regime: int
    share: float
    expected_dwell: float
    expected_dwell_time: float | None
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
    transition_matrix: Tensor
    initial_probs: Tensor
    evidence_scale: float
    step: float | None
    time_unit: str | None
    training: dict[str, Any]


def inspect(path: str, progress: Progress) -> InspectResult:
    """Read a model and put what it knows into the units of its data."""
    checkpoint = load(path)
    progress("inspect", 1, 1)
    step, time_unit = checkpoint.training.get("step"), checkpoint.training.get("time_unit")
    degrees = checkpoint.parameters.degrees
    return InspectResult(
        model=path,
        configuration=asdict(checkpoint.model),
        channels=list(checkpoint.modelled),
        degrees_of_freedom=None if degrees is None else float(degrees),
        regimes=_regimes(checkpoint, step if time_unit is not None else None),
        transition_matrix=checkpoint.parameters.transition_matrix,
        initial_probs=checkpoint.parameters.initial_probs,
        evidence_scale=float(checkpoint.parameters.evidence_scale),
        step=step,
        time_unit=time_unit,
        training=checkpoint.training,
    )


def _regimes(checkpoint: Checkpoint, step: float | None) -> list[Regime]:
    standard, scale, stride = (
        checkpoint.parameters,
        checkpoint.scale,
        checkpoint.model.stride * checkpoint.model.summarize,
    )
    data = standard.rescaled(checkpoint.mean, scale, torch.zeros_like(checkpoint.mean), torch.ones_like(scale))
    inflation = ar_dynamics.covariance_factor(standard.degrees)
    covariance = inflation * _scale_matrix(data)
    mean, settled = ar_dynamics.stationary_moments(standard.ar_weights, standard.ar_bias, standard.scale_tril)
    radius = ar_dynamics.spectral_radius(standard.ar_weights)
    half_life, period = (
        ar_dynamics.half_life(radius) * stride,
        ar_dynamics.dominant_period(standard.ar_weights) * stride,
    )
    dwell = checkpoint.expected_dwell
    shares = checkpoint.training.get("shares") or stationary(standard.transition_matrix).tolist()
    errors = checkpoint.standard_errors
    return [
        Regime(
            regime=k,
            share=shares[k],
            expected_dwell=dwell[k],
            expected_dwell_time=None if step is None else dwell[k] * step,
            mean=checkpoint.mean + scale * mean[k],
            standard_deviation=scale * (inflation * settled[k].diagonal()).sqrt(),
            ar_weights=data.ar_weights[k],
            ar_bias=data.ar_bias[k],
            covariance=covariance[k],
            noise=covariance[k].diagonal().sqrt(),
            standard_errors=None if errors is None else errors[k] * scale[:, None] / scale,
            spectral_radius=float(radius[k]),
            half_life=float(half_life[k]),
            dominant_period=float(period[k]),
        )
        for k in range(checkpoint.model.regimes)
    ]


def _scale_matrix(parameters: Parameters) -> Tensor:
    """(K, D, D), also where it is shared; the covariance of Normal noise."""
    matrix = parameters.scale_tril @ parameters.scale_tril.mT
    return matrix.expand(len(parameters.ar_bias), -1, -1)
