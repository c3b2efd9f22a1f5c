"""Trained models as files: safetensors with one JSON header. Nothing in such a file can run code."""

import json
import math
import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Encoder, Parameters
from gmvae_cli.errors import CheckpointError, ConfigError
from gmvae_cli.output import atomic

FORMAT = 2
_PARAMETERS = tuple(entry.name for entry in fields(Parameters))


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model and what is needed to use it on another file.

    Args:
        channels: column names, in the order of the tensors' channels.
        mean, scale: (D,) float64; standardised = (value - mean) / scale.
        encoder: its state, or None (a simulated truth has none).
        training: a JSON-able summary of how it was trained.
        standard_errors: (K, P, D, D) of the AR weights in standardised units, or None (a simulated truth is exact).
    """

    model: ModelConfig
    channels: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    parameters: Parameters
    encoder: dict[str, Tensor] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    standard_errors: Tensor | None = None

    def build_encoder(self, path: str) -> Encoder:
        """The encoder as a module; CheckpointError if the file has none."""
        if self.encoder is None:
            raise CheckpointError(f"{path}: this model has no encoder; use --posterior smooth, viterbi or filter")
        encoder = Encoder(len(self.channels), self.model)
        encoder.load_state_dict(self.encoder)
        return encoder.eval()


def save(path: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: to a temporary name beside the target, then renamed."""
    header = {
        "format": FORMAT,
        "model": asdict(checkpoint.model),
        "channels": list(checkpoint.channels),
        "training": _defined(checkpoint.training),
    }
    tensors = {name: getattr(checkpoint.parameters, name) for name in _PARAMETERS}
    tensors |= {"mean": checkpoint.mean, "scale": checkpoint.scale}
    if checkpoint.standard_errors is not None:
        tensors["standard_errors"] = checkpoint.standard_errors
    tensors |= {f"encoder.{name}": value for name, value in (checkpoint.encoder or {}).items()}
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = to_bytes(contiguous, metadata={"gmvae": json.dumps(header, sort_keys=True, allow_nan=False)})
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def _defined(value: Any) -> Any:
    """The value with null for whatever is infinite or NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _defined(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _expected_shapes(model: ModelConfig, num_channels: int) -> dict[str, tuple[int, ...]]:
    K, P, D = model.regimes, model.lags, num_channels
    return {
        "ar_weights": (K, P, D, D),
        "ar_bias": (K, D),
        "scale_tril": (1 if model.covariance == "shared" else K, D, D),
        "initial_probs": (K,),
        "transition_matrix": (K, K),
        "evidence_scale": (),
        "mean": (D,),
        "scale": (D,),
    }


def _header(path: str, metadata: dict[str, str] | None) -> tuple[ModelConfig, tuple[str, ...], dict[str, Any]]:
    try:
        header = json.loads((metadata or {})["gmvae"])
        if header["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: model format {header['format']}, but this version reads format {FORMAT}; retrain"
            )
        if set(header) != {"format", "model", "channels", "training"}:
            raise CheckpointError(f"{path}: unknown entries in the header; expected format, model, channels, training")
        channels = tuple(str(name) for name in header["channels"])
        return ModelConfig(**header["model"]), channels, dict(header["training"])
    except (KeyError, TypeError, ValueError, ConfigError) as problem:
        raise CheckpointError(f"{path}: not a gmvae model, or a damaged one ({problem})") from problem


def load(path: str) -> Checkpoint:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: missing, truncated, of another format, or tensors that are not a model.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="pt") as file:
            model, channels, training = _header(path, file.metadata())
            shapes = _expected_shapes(model, len(channels))
            if "standard_errors" in file.keys():  # noqa: SIM118 - safe_open is no mapping
                shapes["standard_errors"] = shapes["ar_weights"]
            for name, shape in shapes.items():
                found = tuple(file.get_slice(name).get_shape())
                if found != shape:
                    raise CheckpointError(f"{path}: tensor '{name}' has shape {found}, but the header says {shape}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(f"{path}: not a gmvae model, or a damaged one ({problem})") from problem
    encoder = {
        name.removeprefix("encoder."): tensors.pop(name) for name in list(tensors) if name.startswith("encoder.")
    }
    _check_values(path, tensors, set(shapes))
    return Checkpoint(
        model=model,
        channels=channels,
        mean=tensors["mean"],
        scale=tensors["scale"],
        parameters=Parameters(**{name: tensors[name] for name in _PARAMETERS}),
        encoder=_checked_encoder(path, encoder, model, len(channels)) if encoder else None,
        training=training,
        standard_errors=tensors.get("standard_errors"),
    )


def _check_values(path: str, tensors: dict[str, Tensor], names: set[str]) -> None:
    """Refuse what no training writes: other tensors, other types, NaN, laws that do not sum to one, no covariance."""
    if set(tensors) != names:
        raise CheckpointError(f"{path}: unknown tensors {sorted(set(tensors) ^ names)}")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float64:
            raise CheckpointError(f"{path}: tensor '{name}' is {tensor.dtype}, but must be float64")
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: tensor '{name}' holds NaN or infinity")
    for name in ("initial_probs", "transition_matrix"):
        law = tensors[name]
        if bool((law < 0).any()) or not torch.allclose(law.sum(-1), law.new_ones(()), atol=1e-6):
            raise CheckpointError(f"{path}: rows of '{name}' must be probabilities that sum to one")
    tril = tensors["scale_tril"]
    if bool((tril.triu(1) != 0).any()) or bool((tril.diagonal(dim1=-2, dim2=-1) <= 0).any()):
        raise CheckpointError(f"{path}: 'scale_tril' must be lower triangular with a positive diagonal")
    if "standard_errors" in tensors and bool((tensors["standard_errors"] < 0).any()):
        raise CheckpointError(f"{path}: 'standard_errors' must not be negative")
    if float(tensors["evidence_scale"]) < 1:
        raise CheckpointError(f"{path}: 'evidence_scale' must be at least 1")
    if bool((tensors["scale"] <= 0).any()):
        raise CheckpointError(f"{path}: 'scale' must be positive")


def _checked_encoder(path: str, state: dict[str, Tensor], model: ModelConfig, channels: int) -> dict[str, Tensor]:
    if model.hidden * model.layers > 1_000_000 or math.prod((model.hidden, model.hidden, model.layers)) > 1e9:
        raise CheckpointError(f"{path}: an encoder of {model.layers} layers of {model.hidden} units is not credible")
    with torch.device("meta"):
        expected = Encoder(channels, model).state_dict()
    if {name: tuple(value.shape) for name, value in expected.items()} != {k: tuple(v.shape) for k, v in state.items()}:
        raise CheckpointError(f"{path}: the encoder's tensors do not fit the header")
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise CheckpointError(f"{path}: the encoder holds NaN or infinity")
    return state
