"""Trained models as files: safetensors with one JSON header. Nothing in such a file can run code."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Encoder, Parameters
from gmvae_cli.data.block_features import feature_names
from gmvae_cli.data.series_data import Waveforms
from gmvae_cli.data.waveform_features import thresholds_shape, waveform_names
from gmvae_cli.errors import CheckpointError, ConfigError
from gmvae_cli.files.atomic import atomic
from gmvae_cli.files.tensor_file import content, is_number, opened, require_finite, without_nan
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import Chain, expected_dwell
from gmvae_cli.model.student_t import DEGREES
from gmvae_cli.series_config import SeriesConfig

FORMAT = 2
_ENCODER = "encoder."
_LEFT_OUT = (("noise", "normal"), ("waveforms", 0), ("join_passages", False))
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

    @property
    def modelled(self) -> tuple[str, ...]:
        """Names of the tensors' channels: columns, or features of columns where blocks are modelled."""
        if self.model.waveforms:
            return waveform_names(self.model.waveforms)
        return self.channels if self.model.summarize == 1 else feature_names(self.channels)

    @property
    def expected_dwell(self) -> list[float]:
        """Expected rows of a visit to each regime; infinite where it never ends."""
        dwell: list[float] = (expected_dwell(self.parameters.chain.transition_matrix) * self.model.summarize).tolist()
        return dwell

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
        "model": _described(checkpoint.model),
        "channels": list(checkpoint.channels),
        "training": without_nan(checkpoint.training),
    }
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


def _described(model: ModelConfig) -> dict[str, Any]:
    """List the header's entries for a model, without those that older files lack and that change nothing."""
    return {name: value for name, value in asdict(model).items() if (name, value) not in _LEFT_OUT}


def _expected_shapes(model: ModelConfig, num_channels: int) -> dict[str, tuple[int, ...]]:
    blocks = model.summarize > 1
    K, P, D = model.regimes, model.lags, model.waveforms or (2 if blocks else 1) * num_channels
    if model.waveforms:
        thresholds = thresholds_shape(num_channels, model.summarize)
        waveforms = {"thresholds": thresholds, "projection": (math.prod(thresholds) + 2 * num_channels, D)}
    else:
        waveforms = {}
    extra = (
        waveforms
        | ({"floor": (num_channels,)} if blocks else {})
        | ({"degrees": (1,)} if model.noise == "student" else {})
    )
    return extra | {
        "ar_weights": (K, P, D, D),
        "ar_bias": (K, D),
        "scale_tril": (1 if model.covariance == "shared" else K, D, D),
        "initial_probs": (K,),
        "transition_matrix": (K, K),
        "evidence_scale": (),
        "mean": (D,),
        "scale": (D,),
    }


def _header(path: str, header: Any) -> tuple[ModelConfig, tuple[str, ...], dict[str, Any]]:
    if header["format"] != FORMAT:
        number = json.dumps(header["format"])[:40]
        raise CheckpointError(f"{path}: model format {number}, but this version reads format {FORMAT}; retrain")
    if set(header) != {"format", "model", "channels", "training"}:
        raise CheckpointError(f"{path}: unknown entries in the header; expected format, model, channels, training")
    channels, options, training = header["channels"], header["model"], header["training"]
    if not (isinstance(channels, list) and channels and all(isinstance(name, str) for name in channels)):
        raise ValueError("its channels are no list of names")
    if len(set(channels)) < len(channels):
        raise ValueError("two channels have one name")
    if not isinstance(options, dict):
        raise ValueError("its configuration is no object")
    for name, value in options.items():
        default = getattr(ModelConfig, name, None)
        if default is not None and type(value) is not type(default):
            raise ValueError(f"its {name} is {json.dumps(value)[:40]}")
    try:
        model = ModelConfig(**options)
    except ConfigError as problem:
        raise ValueError(str(problem)) from problem
    _check_training(training, model)
    return model, tuple(channels), training


def _check_training(training: Any, model: ModelConfig) -> None:
    """Reject a training summary that a report could not print."""
    if not isinstance(training, dict):
        raise ValueError("its training summary is no object")
    for name, value in training.items():
        fits = _FITS.get(name)
        if fits is not None and not fits(value):
            raise ValueError(f"its training summary has {name} {json.dumps(value)[:40]}")
    if "rows" in training and not {"series_count", "evaluated_on", "shares"} <= set(training):
        raise ValueError("its training summary lacks entries")
    for name in ("shares", "expected_dwell"):
        if len(training.get(name) or ()) not in (0, model.regimes):
            raise ValueError(f"its {name} are not those of {model.regimes} regimes")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_figure(value: Any) -> bool:
    return value is None or is_number(value)


def _is_reading(value: Any) -> bool:
    """Return whether it says how a file was read, in values that the options may have."""
    kinds = {"skip_rows": int, "regular": bool, "na_values": list}
    if not isinstance(value, dict) or any(type(item) is not kinds.get(name, str) for name, item in value.items()):
        return False
    if not all(isinstance(word, str) for word in value.get("na_values", ())):
        return False
    try:
        SeriesConfig().reading_as(value)
    except ConfigError:
        return False
    return True


_FITS: dict[str, Callable[[Any], bool]] = {
    "reading": _is_reading,
    **dict.fromkeys(("rows", "series_count", "steps", "seed"), _is_count),
    **dict.fromkeys(("time", "series", "time_unit", "estimator"), _is_text),
    **dict.fromkeys(
        ("step", "log_likelihood_per_row", "log_likelihood_per_row_data_units", "elbo_per_row", "amortisation_gap"),
        _is_figure,
    ),
    "evaluated_on": lambda value: value in ("validation", "train"),
    "shares": lambda value: isinstance(value, list) and all(map(is_number, value)),
    "expected_dwell": lambda value: isinstance(value, list) and all(map(_is_figure, value)),
    "versions": lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
    "warnings": lambda value: (
        isinstance(value, list)
        and all(
            isinstance(note, dict) and all(isinstance(note.get(key), str) for key in ("code", "sentence"))
            for note in value
        )
    ),
}


def load(path: str) -> Checkpoint:
    """Read and check a checkpoint. Header and shapes are judged before any tensor is read.

    Raises:
        CheckpointError: missing, truncated, of another format, or tensors that are not a model.
    """
    with opened(path, "gmvae", "gmvae model") as file:
        model, channels, training = _header(path, file.header)
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
