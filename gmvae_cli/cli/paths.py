"""Checks of the paths that a command names, before it imports torch, which takes seconds.

The command makes the same checks again, with the same messages; here an impossible path is only reported sooner. URLs
are left to the command, so that no request is made twice.
"""

import os
from collections.abc import Mapping, Sequence

from gmvae_cli.errors import CheckpointError, ConfigError, GmvaeError
from gmvae_cli.files.atomic import require_writable
from gmvae_cli.files.inputs import expand, require_file
from gmvae_cli.system.storage import is_url, local_name


def require_inputs(inputs: Sequence[str]) -> None:
    """Check that every input is there.

    Raises:
        SeriesError: a file is missing, or a folder or glob names none. ConfigError: '-' beside others.
    """
    if not any(map(is_url, inputs)):
        for file in expand(inputs):
            require_file(file)


def is_one_file(inputs: Sequence[str]) -> bool:
    """Return whether the input is one local file by its name, and not several, a folder or a glob."""
    return not any(map(is_url, inputs)) and [file.path for file in expand(inputs)] == list(inputs[:1])


def require_models(*paths: str | None) -> None:
    """Check that model files are there; None stands for a model that is not named.

    Raises:
        CheckpointError: a model file is missing.
    """
    for path in paths:
        if path is not None and not is_url(path) and not os.path.isfile(path):
            raise CheckpointError(f"{path}: no such model file")


def require_outputs(*paths: str | None) -> None:
    """Check that files can be written under these names; None stands for an output that is not named.

    Raises:
        SeriesError: there is no such folder, it is read-only, or a name is that of a folder.
    """
    for path in paths:
        if path is not None and not is_url(path):
            require_writable(path)


def require_own_log(values: Mapping[str, object]) -> None:
    """Check that --log-file names no file that another option or argument names.

    Args:
        values: of all options and arguments of a command, by name.
    Raises:
        ConfigError: it does; opening the log would have emptied that file.
    """
    log = values.get("log_file")
    if log is None:
        return
    if is_url(str(log)):
        raise ConfigError(f"--log-file is '{log}', but a log grows line by line; name a local file")
    others = [value for name, value in values.items() if name != "log_file"]
    named = [path for value in others for path in (_files(value) if isinstance(value, list) else [value])]
    local = [name for path in named if isinstance(path, str) and (name := local_name(path)) is not None]
    if os.path.realpath(str(log)) in map(os.path.realpath, local):
        raise ConfigError(f"--log-file is '{log}', a file that the command reads or writes; name another one")


def _files(inputs: list[str]) -> list[str]:
    """Expand folders and globs; what cannot be expanded is reported later, by its own check."""
    try:
        return [*inputs, *(file.path for file in expand([path for path in inputs if not is_url(path)]))]
    except GmvaeError:
        return inputs
