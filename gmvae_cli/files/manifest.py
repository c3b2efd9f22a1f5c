"""The manifest of a result: a JSON file beside it with inputs, options and versions; no dates, so runs compare."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from gmvae_cli.errors import SeriesError
from gmvae_cli.files.atomic import atomic
from gmvae_cli.files.tensor_file import without_nan
from gmvae_cli.system import storage

FORMAT = 1
_PACKAGES = ("gmvae", "torch", "numpy", "pyarrow")


def beside(output: str) -> str:
    """Return the path of the manifest of an output, a file or a folder."""
    return storage.beside(output, ".meta.json")


def write(
    path: str,
    command: str,
    files: Mapping[str, Sequence[str]],
    options: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> None:
    """Write a manifest: the same arguments and files give the same bytes.

    Args:
        path: a name that `atomic` has given. command: of gmvae, for example "infer".
        files: role -> paths of that role, "-" for stdin; each is listed with its size and hash.
        options, figures: JSON-able values; a float in `figures` that is not finite becomes null.
    Raises:
        SeriesError: a file cannot be read. ValueError: an option is not finite.
    """
    content = {
        "format": FORMAT,
        "command": command,
        **{role: [_describe(path) for path in paths] for role, paths in files.items()},
        "options": options,
        "versions": {name: version(name) for name in _PACKAGES},
        "figures": without_nan(figures),
    }
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def mark_complete(folder: str, counts: Mapping[str, int] | None) -> None:
    """Write `_SUCCESS.json`, the sign that a folder at a URL has all its files; None removes that of an earlier run."""
    if not storage.is_url(folder):
        return
    path = storage.joined(folder, "_SUCCESS.json")
    if counts is None:
        storage.remove(path)
        return
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(f"{json.dumps(counts)}\n")


def _describe(path: str) -> dict[str, Any]:
    """Return path, size in bytes and SHA-256 of a file."""
    if path == "-":
        return {"path": path}
    try:
        with storage.open_binary(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            return {"path": path, "bytes": storage.size(path), "sha256": digest}
    except OSError as error:
        raise SeriesError(f"{path}: cannot be read for the manifest ({error.strerror})") from error
