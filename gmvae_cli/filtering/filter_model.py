"""Models as labelling row by row needs them: numpy arrays, read without torch, whose import takes seconds."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.checkpoint_header import described, header_of, parameter_shapes
from gmvae_cli.config import ModelConfig
from gmvae_cli.errors import CheckpointError
from gmvae_cli.files.tensor_file import opened
from gmvae_cli.regime_names import merged

Array = NDArray[np.float64]

_BESIDE = ("encoder.", "standard_errors")  # tensors that a filter does not need


@dataclass(frozen=True, kw_only=True)
class FilterModel:
    """A model's chain and decoder.

    Args:
        channels: names of the columns. mean, scale: (D,) of the modelled channels, which are features where blocks
            are modelled.
        weights: (K, D, C) Pi_k, lag 1 first, the intercept last. scale_tril: (K, D, D) L_k.
        degrees: nu of Student t noise; None: Normal.
        initial_probs: (K,). transition_matrix: (K, K), row = from. evidence_scale: at least 1.
        std_epsilon: of the features of blocks; None where rows are modelled.
        training: summary of the training. names: of the regimes, or none.
    """

    config: ModelConfig
    channels: tuple[str, ...]
    mean: Array
    scale: Array
    weights: Array
    scale_tril: Array
    initial_probs: Array
    transition_matrix: Array
    evidence_scale: float
    degrees: float | None = None
    std_epsilon: Array | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @property
    def merged(self) -> list[int]:
        """The number that stands for each of the K regimes: the smallest of its name."""
        return merged(self.names) or list(range(self.config.regimes))

    @property
    def context_rows(self) -> int:
        """Rows, or blocks, on which what is said of one depends: its lags, and under Student t noise theirs."""
        return self.config.context_rows * (1 if self.degrees is None else 2)

    @property
    def digest(self) -> str:
        """Digest of all that the probabilities of regimes depend on, which the regimes' names are not."""
        content = hashlib.blake2b(json.dumps([self.channels, described(self.config)]).encode(), digest_size=16)
        for part in (self.mean, self.scale, self.weights, self.scale_tril, self.initial_probs, self.transition_matrix):
            content.update(np.ascontiguousarray(part, np.float64).tobytes())
        content.update(repr((self.evidence_scale, self.degrees)).encode())
        if self.std_epsilon is not None:
            content.update(np.ascontiguousarray(self.std_epsilon, np.float64).tobytes())
        return content.hexdigest()


def load(path: str) -> FilterModel:
    """Read and check what a filter needs of a model file.

    Raises:
        CheckpointError: missing or damaged; or a model of waveforms in blocks, which look at later rows.
    """
    with opened(path, "gmvae", "gmvae model", "np") as file:
        config, channels, training, names = header_of(path, file.header)
        if config.waveforms:
            raise CheckpointError(
                f"{path}: describes blocks of rows by waveforms, which reach into later rows, so it cannot label rows "
                "as they arrive; train a model with --summarize ROWS"
            )
        shapes = parameter_shapes(config, len(channels))
        if {name: shape for name, shape in file.shapes.items() if not name.startswith(_BESIDE)} != shapes:
            raise CheckpointError(f"{path}: its tensors do not fit the header")
        tensors = file.read()
    _check(path, {name: tensors[name] for name in shapes})
    degrees, scale = tensors.get("degrees"), float(tensors["evidence_scale"])
    return FilterModel(
        config=config,
        channels=channels,
        mean=tensors["mean"],
        scale=tensors["scale"],
        weights=_weights(tensors["ar_weights"], tensors["ar_bias"] if config.intercept else None),
        scale_tril=np.array(np.broadcast_to(tensors["scale_tril"], (config.regimes, *tensors["scale_tril"].shape[1:]))),
        initial_probs=tensors["initial_probs"],
        transition_matrix=tensors["transition_matrix"],
        evidence_scale=scale,
        degrees=None if degrees is None else float(degrees[0]),
        std_epsilon=tensors.get("floor"),
        training=training,
        names=names,
    )


def _weights(ar_weights: Array, ar_bias: Array | None) -> Array:
    """Join weights (K, P, D, D), lag 1 first, and an intercept (K, D) into Pi_k = [W_1 .. W_P, (b)], (K, D, C)."""
    K, P, D, _ = ar_weights.shape
    joined = ar_weights.transpose(0, 2, 1, 3).reshape(K, D, P * D)
    return joined if ar_bias is None else np.concatenate([joined, ar_bias[..., None]], -1)


def _check(path: str, tensors: Mapping[str, Array]) -> None:
    """Reject other types, NaN, laws that do not sum to one, and what is no scale."""
    for name, tensor in tensors.items():
        if tensor.dtype != np.float64 or not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: tensor '{name}' is not made of finite float64 numbers")
    for name in ("initial_probs", "transition_matrix"):
        if (tensors[name] < 0).any() or not np.allclose(tensors[name].sum(-1), 1, atol=1e-6):
            raise CheckpointError(f"{path}: rows of '{name}' must be probabilities that sum to one")
    positive = {name: tensors[name] for name in ("scale", "floor", "degrees", "evidence_scale") if name in tensors}
    positive["scale_tril"] = np.diagonal(tensors["scale_tril"], axis1=-2, axis2=-1)
    for name, values in positive.items():
        if not (values > 0).all():
            raise CheckpointError(f"{path}: '{name}' must be positive")
