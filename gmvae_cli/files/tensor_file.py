"""Tensors and a JSON header in a safetensors file, checked before they are used: nothing in a file can run code."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from safetensors import SafetensorError, safe_open

from gmvae_cli.errors import CheckpointError
from gmvae_cli.system.storage import LocalCopy, is_url, size

if TYPE_CHECKING:  # torch takes seconds to import, and live labels do without it
    from torch import Tensor

_LARGEST_FILE = 1 << 30  # bytes; a model of 1,000 channels, 10 lags and 10 regimes has 0.8 of them
_LARGEST_HEADER = 16 << 20  # bytes; room for 100,000 channel names of 150 characters


def content(tensors: "Mapping[str, Tensor]", header: Any, key: str) -> bytes:
    """Return the bytes of a file: the same for the same tensors and header.

    Args:
        tensors: name -> tensor of any shape.
        header: JSON-able, without NaN or infinity; it is stored under `key`, which says what kind of file it is.
    """
    from safetensors.torch import save

    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(copies, metadata={key: json.dumps(header, sort_keys=True, allow_nan=False)})


class TensorFile:
    """An open file.

    Attributes:
        header: value out of JSON. shapes: name -> shape of each tensor, to check before `read`.
    """

    def __init__(self, file: Any, header: Any) -> None:
        self._file, self.header = file, header
        self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def read(self) -> dict[str, Any]:
        """Return all tensors by name, in memory of their own, as torch or numpy has them."""
        tensors = {name: self._file.get_tensor(name) for name in self.shapes}
        return {name: tensor.clone() if hasattr(tensor, "clone") else tensor for name, tensor in tensors.items()}


@contextmanager
def opened(path: str, key: str, kind: str, framework: Literal["pt", "np"] = "pt") -> Iterator[TensorFile]:
    """Open a file for the block; its size and the length of its header are checked before anything is read.

    Args:
        key: under which `content` stored the header. kind: of file in messages, for example "gmvae model".
        framework: that the tensors are of, torch or numpy.
    Raises:
        CheckpointError: no such file, or none that `content` wrote under this key; also in place of a SafetensorError,
            OSError, KeyError, TypeError, ValueError or RecursionError in the block.
    """
    nbytes = size(path)
    if nbytes is None:
        raise CheckpointError(f"{path}: no such {kind.split()[-1]} file")
    try:
        _require_credible_size(nbytes)
        copy = LocalCopy(path) if is_url(path) else None
        local = path if copy is None else copy.path
        _require_credible_header(local, nbytes)
        with safe_open(local, framework=framework) as file:
            header = json.loads((file.metadata() or {})[key], parse_constant=_reject_constant)
            yield TensorFile(file, header)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise CheckpointError(f"{path}: not a {kind}, or a damaged one ({reason[:200]})") from problem


def _require_credible_size(nbytes: int) -> None:
    if nbytes > _LARGEST_FILE:
        raise ValueError(f"it has {nbytes:,} bytes, but no model has more than {_LARGEST_FILE:,}")


def _require_credible_header(path: str, nbytes: int) -> None:
    with open(path, "rb") as file:
        announced = int.from_bytes(file.read(8), "little")
    if announced > min(_LARGEST_HEADER, nbytes):
        raise ValueError(f"it announces a header of {announced:,} bytes")


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"its header holds {name}")


def require_finite(path: str, tensors: "Mapping[str, Tensor]") -> None:
    """Raise a CheckpointError if a tensor, of any shape, holds NaN or infinity."""
    import torch

    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: tensor '{name}' holds NaN or infinity")


def is_number(value: Any) -> bool:
    """Return whether a value out of JSON is a finite number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def without_nan(value: Any) -> Any:
    """Replace every float that is not finite, which JSON cannot hold, by None in a JSON-able value."""
    if isinstance(value, Mapping):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
