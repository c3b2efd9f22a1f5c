"""Tensors and one JSON header in a safetensors file, read with suspicion: nothing in such a file can run code."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gmvae_cli.errors import CheckpointError

_LARGEST_FILE = 1 << 30  # bytes; a model of 1,000 channels, 10 lags and 10 regimes has 0.8 of them
_LARGEST_HEADER = 16 << 20


def content(tensors: Mapping[str, Tensor], header: Any, key: str) -> bytes:
    """The bytes of a file: the same for the same tensors and header.

    Args:
        header: JSON-able, without NaN or infinity, filed under `key`, which says what kind of file it is.
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(copies, metadata={key: json.dumps(header, sort_keys=True, allow_nan=False)})


class TensorFile:
    """An open file: its header, and the shapes of its tensors, which are read when they have been found credible."""

    def __init__(self, file: Any, header: Any) -> None:
        self._file, self.header = file, header
        self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def read(self) -> dict[str, Tensor]:
        """All tensors, in memory of their own."""
        return {name: self._file.get_tensor(name).clone() for name in self.shapes}


@contextmanager
def opened(path: str, key: str, kind: str) -> Iterator[TensorFile]:
    """Open a file of `kind`, for example "gmvae model"; its size and its header are judged before anything is read.

    Raises:
        CheckpointError: no such file, or none that `content` wrote under this key. Likewise for a SafetensorError,
            KeyError, TypeError, ValueError or RecursionError in the block.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such {kind.split()[-1]} file")
    try:
        _require_credible_size(path)
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[key], parse_constant=_refuse_constant)
            yield TensorFile(file, header)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as problem:
        found = " ".join(str(problem).split()) or type(problem).__name__
        raise CheckpointError(f"{path}: not a {kind}, or a damaged one ({found[:200]})") from problem


def _require_credible_size(path: str) -> None:
    nbytes = os.path.getsize(path)
    if nbytes > _LARGEST_FILE:
        raise ValueError(f"it has {nbytes:,} bytes, more than any of ours")
    with open(path, "rb") as file:
        announced = int.from_bytes(file.read(8), "little")
    if announced > min(_LARGEST_HEADER, nbytes):
        raise ValueError(f"it announces a header of {announced:,} bytes")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"its header holds {name}")


def require_finite(path: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: tensor '{name}' holds NaN or infinity")


def is_number(value: Any) -> bool:
    """Whether a value out of JSON is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
