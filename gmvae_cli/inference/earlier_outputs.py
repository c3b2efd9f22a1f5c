"""Outputs of earlier runs (`--skip-existing`): which are up to date, which inputs failed and have not changed since."""

import os
from contextlib import suppress

from gmvae_cli.errors import GmvaeError
from gmvae_cli.files.atomic import atomic


class EarlierOutputs:
    """Outputs that an earlier run left, and the reasons that it kept beside those that it could not make.

    Attributes:
        redone: outputs that were there, but older than their input or the model.
        failed_before: the reasons of an earlier run, about files that have not changed since.
    """

    def __init__(self, model_path: str) -> None:
        self.model_path = model_path
        self.redone = 0
        self.failed_before: list[str] = []

    def is_done(self, source: str, target: str) -> bool:
        """Return whether an output is there and up to date; one that is older is counted in `redone`."""
        if not os.path.exists(target):
            return False
        is_current = self._is_newer(target, source)
        self.redone += not is_current
        return is_current

    def has_failed(self, source: str, target: str) -> bool:
        """Return whether an earlier run failed to make an output; its reason is added to `failed_before`."""
        mark = _mark_of(target)
        if not os.path.exists(mark) or not self._is_newer(mark, source):
            return False
        with open(mark, encoding="utf-8") as text:
            self.failed_before.append(text.read().strip())
        return True

    def keep_failure(self, target: str, sentence: str) -> None:
        """Keep the reason why an output could not be made, in a file beside it."""
        with (
            suppress(GmvaeError),
            atomic(_mark_of(target)) as temporary,
            open(temporary, "w", encoding="utf-8") as text,
        ):
            text.write(f"{sentence}\n")

    def forget_failure(self, target: str) -> None:
        """Remove the reason of an earlier run, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(_mark_of(target))

    def _is_newer(self, path: str, source: str) -> bool:
        """Return whether a file is not older than the input and the model; standard input has no age."""
        times = [os.path.getmtime(other) for other in (source, self.model_path) if os.path.exists(other)]
        return os.path.getmtime(path) >= max(times, default=0.0)


def _mark_of(target: str) -> str:
    return f"{target}.failed"
