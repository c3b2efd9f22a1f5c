"""What a result was made of, as a JSON file beside it: the same inputs and options give the same bytes, so no dates."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from gmvae_cli.errors import SeriesError

FORMAT = 1
_PACKAGES = ("gmvae", "torch", "numpy", "pyarrow")


def beside(output: str) -> str:
    """The manifest of an output, a file or a folder."""
    return f"{output.rstrip(os.sep)}.meta.json"


def write(
    path: str,
    command: str,
    files: Mapping[str, Sequence[str]],
    options: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> None:
    """Write a manifest to a name that `atomic` has given.

    Args:
        files: part they play -> paths, "-" for stdin. options, figures: JSON-able; what is not finite becomes null.
    """
    content = {
        "format": FORMAT,
        "command": command,
        **{part: [_described(path) for path in paths] for part, paths in files.items()},
        "options": options,
        "versions": {name: version(name) for name in _PACKAGES},
        "figures": _defined(figures),
    }
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def _described(path: str) -> dict[str, Any]:
    """Name, size and hash of a file."""
    if path == "-":
        return {"path": path}
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"path": path, "bytes": os.fstat(file.fileno()).st_size, "sha256": digest}
    except OSError as error:
        raise SeriesError(f"{path}: cannot be read for the manifest ({error.strerror})") from error


def _defined(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _defined(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
