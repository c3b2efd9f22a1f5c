"""Trained models as files: safetensors with one JSON header. Nothing in such a file can run code."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmvae_cli.checkpoint_header import FORMAT, described, header_of, parameter_shapes
from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Encoder, Parameters
from gmvae_cli.data.block_features import feature_names
from gmvae_cli.data.series_data import Waveforms
from gmvae_cli.data.waveform_features import thresholds_shape, waveform_names
from gmvae_cli.errors import CheckpointError
from gmvae_cli.files.atomic import atomic
from gmvae_cli.files.tensor_file import content, opened, require_finite, without_nan
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import Chain, expected_dwell
from gmvae_cli.model.student_t import DEGREES
from gmvae_cli.regime_names import merged

_ENCODER = "encoder."
_LARGEST = 1e15  # of decoder and encoder, for standardised columns; beyond it sums overflow


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model, and all that its use on another file needs.

    Args:
        channels: column names, in the order of the tensors' channels.
        mean, scale: (D,) float64; standardised = (value - mean) / scale.
        encoder: its state, or None (a simulated truth has none).
        training: a JSON-able summary of how it was trained.
        standard_errors: (K, P, D, D) of the AR weights in standardised units, or None (a simulated truth is exact).
        std_epsilon: (columns,) as in `block_features` where blocks are modelled (D is then twice the columns), or None.
        waveforms: as in `waveform_features` where those of blocks are modelled, or None.
        names: K texts, "" for a regime without a name, or none at all. Regimes of one name are one regime.
    """

    model: ModelConfig
    channels: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    parameters: Parameters
    encoder: dict[str, Tensor] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    standard_errors: Tensor | None = None
    std_epsilon: Tensor | None = None
    waveforms: Waveforms | None = None
    names: tuple[str, ...] = ()

    @property
    def modelled(self) -> tuple[str, ...]:
        """Names of the tensors' channels: columns, or features of columns where blocks are modelled."""
        if self.model.waveforms:
            return waveform_names(self.model.waveforms)
        return self.channels if self.model.summarize == 1 else feature_names(self.channels)

    @property
    def merged(self) -> NDArray[np.int64]:
        """The number (K,) that stands for each regime: the smallest of its name."""
        numbers = merged(self.names)
        return np.array(numbers or range(self.model.regimes), dtype=np.int64)

    @property
    def expected_dwell(self) -> list[float]:
        """Expected rows of a visit to each regime; infinite where it never ends, NaN for a number not used."""
        dwell = expected_dwell(self.parameters.chain.transition_matrix, torch.as_tensor(self.merged))
        rows: list[float] = (dwell * self.model.summarize).tolist()
        return rows

    def build_encoder(self, path: str) -> Encoder:
        """Build the encoder as a module.

        Raises:
            CheckpointError: the file has none.
        """
        if self.encoder is None:
            raise CheckpointError(f"{path}: this model has no encoder; use --posterior smooth, viterbi or filter")
        encoder = Encoder(len(self.modelled), self.model)
        encoder.load_state_dict(self.encoder)
        return encoder.eval()


def save(path: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: to a temporary name beside the target, then renamed."""
    with atomic(path) as temporary:
        write(temporary, checkpoint)


def write(path: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to a name that `atomic` has given."""
    header = {
        "format": FORMAT,
        "model": described(checkpoint.model),
        "channels": list(checkpoint.channels),
        "training": without_nan(checkpoint.training),
    }
    if any(checkpoint.names):
        header["names"] = list(checkpoint.names)
    tensors = _parameter_tensors(checkpoint.parameters, checkpoint.model)
    tensors |= {"mean": checkpoint.mean, "scale": checkpoint.scale}
    if checkpoint.standard_errors is not None:
        tensors["standard_errors"] = checkpoint.standard_errors
    if checkpoint.std_epsilon is not None:
        tensors["floor"] = checkpoint.std_epsilon
    if checkpoint.waveforms is not None:
        thresholds, projection, std_epsilon = map(torch.as_tensor, checkpoint.waveforms)
        tensors |= {"thresholds": thresholds, "projection": projection, "floor": std_epsilon}
    tensors |= {f"{_ENCODER}{name}": value for name, value in (checkpoint.encoder or {}).items()}
    with open(path, "wb") as file:
        file.write(content(tensors, header, "gmvae"))


def _parameter_tensors(parameters: Parameters, model: ModelConfig) -> dict[str, Tensor]:
    """Lay out parameters as a model file holds them: lags apart, (K, P, D, D), and a bias of 0 without an intercept."""
    emission, chain = parameters.emission, parameters.chain
    tensors = {
        "ar_weights": emission.ar_weights(model.lags),
        "ar_bias": emission.ar_bias(model.lags),
        "scale_tril": emission.scale_tril,
        "initial_probs": chain.initial_probs,
        "transition_matrix": chain.transition_matrix,
        "evidence_scale": parameters.evidence_scale,
    }
    return tensors if emission.degrees is None else tensors | {"degrees": emission.degrees}


def _parameters(tensors: Mapping[str, Tensor], model: ModelConfig) -> Parameters:
    """Read parameters from the layout of `_parameter_tensors`."""
    bias = tensors["ar_bias"] if model.intercept else None
    return Parameters(
        Emission.from_lags(tensors["ar_weights"], bias, tensors["scale_tril"], tensors.get("degrees")),
        Chain(tensors["initial_probs"], tensors["transition_matrix"]),
        tensors["evidence_scale"],
    )


def _expected_shapes(model: ModelConfig, num_channels: int) -> dict[str, tuple[int, ...]]:
    shapes = parameter_shapes(model, num_channels)
    if model.waveforms:
        thresholds = thresholds_shape(num_channels, model.summarize)
        shapes["thresholds"] = thresholds
        shapes["projection"] = (math.prod(thresholds) + 2 * num_channels, model.waveforms)
    return shapes


def load(path: str) -> Checkpoint:
    """Read and check a checkpoint. Header and shapes are judged before any tensor is read.

    Raises:
        CheckpointError: missing, truncated, of another format, or tensors that are not a model.
    """
    with opened(path, "gmvae", "gmvae model") as file:
        model, channels, training, names = header_of(path, file.header)
        shapes = _expected_shapes(model, len(channels))
        if "standard_errors" in file.shapes:
            shapes["standard_errors"] = shapes["ar_weights"]
        encoder = _expected_encoder(model, shapes["mean"][0]) if any(map(_of_encoder, file.shapes)) else {}
        _check_shapes(path, file.shapes, shapes, encoder)
        tensors = file.read()
    state = {name.removeprefix(_ENCODER): tensors.pop(name) for name in encoder}
    _check_values(path, tensors)
    _check_encoder(path, state)
    return Checkpoint(
        model=model,
        channels=channels,
        mean=tensors["mean"],
        scale=tensors["scale"],
        parameters=_parameters(tensors, model),
        encoder=state or None,
        training=training,
        standard_errors=tensors.get("standard_errors"),
        std_epsilon=None if model.waveforms else tensors.get("floor"),
        waveforms=_waveforms(tensors) if model.waveforms else None,
        names=names,
    )


def _waveforms(tensors: Mapping[str, Tensor]) -> Waveforms:
    """Read the description of blocks by waveforms from a model file's tensors."""
    return Waveforms(*(tensors[name].numpy() for name in ("thresholds", "projection", "floor")))


def _of_encoder(name: str) -> bool:
    return name.startswith(_ENCODER)


def _expected_encoder(model: ModelConfig, num_channels: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = Encoder(num_channels, model).state_dict()
    return {f"{_ENCODER}{name}": tuple(value.shape) for name, value in state.items()}


def _check_shapes(
    path: str,
    present: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    encoder: Mapping[str, tuple[int, ...]],
) -> None:
    for name, shape in expected.items():
        if name in present and present[name] != shape:
            raise CheckpointError(f"{path}: tensor '{name}' has shape {present[name]}, but the header says {shape}")
    if unknown := sorted(name for name in present.keys() ^ expected.keys() if not _of_encoder(name)):
        raise CheckpointError(f"{path}: missing or unknown tensors {', '.join(map(repr, unknown[:5]))}")
    if {name: shape for name, shape in present.items() if _of_encoder(name)} != encoder:
        raise CheckpointError(f"{path}: the encoder's tensors do not fit the header")


def _check_values(path: str, tensors: Mapping[str, Tensor]) -> None:
    """Reject other types, NaN, probabilities that do not sum to one, and matrices that are no covariance."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float64:
            raise CheckpointError(f"{path}: tensor '{name}' is {tensor.dtype}, but must be float64")
    require_finite(path, tensors)
    for name in ("initial_probs", "transition_matrix"):
        law = tensors[name]
        if bool((law < 0).any()) or not torch.allclose(law.sum(-1), law.new_ones(()), atol=1e-6):
            raise CheckpointError(f"{path}: rows of '{name}' must be probabilities that sum to one")
    tril = tensors["scale_tril"]
    if bool((tril.triu(1) != 0).any()) or bool((tril.diagonal(dim1=-2, dim2=-1) <= 0).any()):
        raise CheckpointError(f"{path}: 'scale_tril' must be lower triangular with a positive diagonal")
    if bool((tril.diagonal(dim1=-2, dim2=-1) < 1 / _LARGEST).any()):
        raise CheckpointError(f"{path}: 'scale_tril' is too close to a covariance that is not positive definite")
    _require_moderate(path, {name: tensors[name] for name in ("ar_weights", "ar_bias", "scale_tril")})
    if "standard_errors" in tensors and bool((tensors["standard_errors"] < 0).any()):
        raise CheckpointError(f"{path}: 'standard_errors' must not be negative")
    if float(tensors["evidence_scale"]) < 1:
        raise CheckpointError(f"{path}: 'evidence_scale' must be at least 1")
    if "degrees" in tensors and not DEGREES[0] <= float(tensors["degrees"]) <= DEGREES[1]:
        raise CheckpointError(f"{path}: 'degrees' must lie between {DEGREES[0]:g} and {DEGREES[1]:g}")
    for name in {"scale", "floor"} & set(tensors):
        if bool((tensors[name] <= 0).any()):
            raise CheckpointError(f"{path}: '{name}' must be positive")


def _check_encoder(path: str, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.dtype != torch.float32:
            raise CheckpointError(f"{path}: tensor '{_ENCODER}{name}' is {tensor.dtype}, but must be float32")
    named = {f"{_ENCODER}{name}": tensor for name, tensor in state.items()}
    require_finite(path, named)
    _require_moderate(path, named)


def _require_moderate(path: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if bool((tensor.abs() > _LARGEST).any()):
            raise CheckpointError(f"{path}: tensor '{name}' holds numbers beyond {_LARGEST:g}")
