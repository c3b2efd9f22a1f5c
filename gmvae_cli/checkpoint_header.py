"""The JSON header of model files: configuration, channels, training summary, names of regimes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from gmvae_cli.config import ModelConfig
from gmvae_cli.errors import CheckpointError, ConfigError
from gmvae_cli.files.tensor_file import is_number
from gmvae_cli.regime_names import problem_with_name
from gmvae_cli.series_config import SeriesConfig

FORMAT = 3
_READ = (2, FORMAT)  # format 2 had no names
_LEFT_OUT = (("noise", "normal"), ("waveforms", 0), ("join_passages", False), ("shortest_visit", 1))


def described(model: ModelConfig) -> dict[str, Any]:
    """List the header's entries for a model, without those that older files lack and that change nothing."""
    return {name: value for name, value in asdict(model).items() if (name, value) not in _LEFT_OUT}


def header_of(path: str, header: Any) -> tuple[ModelConfig, tuple[str, ...], dict[str, Any], tuple[str, ...]]:
    """Read and check configuration, channels, training summary and names."""
    if header["format"] not in _READ:
        number = json.dumps(header["format"])[:40]
        raise CheckpointError(f"{path}: model format {number}, but this version reads format {FORMAT}; retrain")
    if set(header) - {"names"} != {"format", "model", "channels", "training"}:
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
    return model, tuple(channels), training, _names(header.get("names", []), model)


def parameter_shapes(model: ModelConfig, num_channels: int) -> dict[str, tuple[int, ...]]:
    """List the shapes of the tensors in a model file, but for those of waveforms, standard errors and the encoder."""
    blocks = model.summarize > 1
    K, P, D = model.regimes, model.lags, model.waveforms or (2 if blocks else 1) * num_channels
    floor = {"floor": (num_channels,)} if blocks else {}
    degrees = {"degrees": (1,)} if model.noise == "student" else {}
    return {
        **floor,
        **degrees,
        "ar_weights": (K, P, D, D),
        "ar_bias": (K, D),
        "scale_tril": (1 if model.covariance == "shared" else K, D, D),
        "initial_probs": (K,),
        "transition_matrix": (K, K),
        "evidence_scale": (),
        "mean": (D,),
        "scale": (D,),
    }


def _names(names: Any, model: ModelConfig) -> tuple[str, ...]:
    """Check the names of the regimes, of which there are K or none."""
    if not isinstance(names, list) or len(names) not in (0, model.regimes):
        raise ValueError(f"its names are not those of {model.regimes} regimes")
    for name in names:
        if not isinstance(name, str) or (name and problem_with_name(name) is not None):
            raise ValueError(f"its regime names have {json.dumps(name)[:40]}")
    return tuple(names) if any(names) else ()


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
    for name in ("shares", "expected_dwell", "row_means"):
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


def _is_tail(value: Any) -> bool:
    """Return whether it is a list of pairs that rise in both numbers."""
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return False
    if not all(is_number(number) for pair in value for number in pair):
        return False
    pairs = [[0, 0], *value]
    return all(now > then for before, pair in pairwise(pairs) for then, now in zip(before, pair, strict=True))


_FITS: dict[str, Callable[[Any], bool]] = {
    "reading": _is_reading,
    "novelty_tail": _is_tail,
    **dict.fromkeys(("rows", "series_count", "steps", "seed"), _is_count),
    **dict.fromkeys(("time", "series", "time_unit", "estimator"), _is_text),
    **dict.fromkeys(
        ("step", "log_likelihood_per_row", "log_likelihood_per_row_data_units", "elbo_per_row", "amortisation_gap"),
        _is_figure,
    ),
    "evaluated_on": lambda value: value in ("validation", "train"),
    "shares": lambda value: isinstance(value, list) and all(map(is_number, value)),
    "expected_dwell": lambda value: isinstance(value, list) and all(map(_is_figure, value)),
    "row_means": lambda value: (
        isinstance(value, list) and all(isinstance(means, list) and all(map(_is_figure, means)) for means in value)
    ),
    "versions": lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
    "warnings": lambda value: (
        isinstance(value, list)
        and all(
            isinstance(note, dict) and all(isinstance(note.get(key), str) for key in ("code", "sentence"))
            for note in value
        )
    ),
}
