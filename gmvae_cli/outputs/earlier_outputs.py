"""Outputs of earlier runs (`--skip-existing`): which are up to date, which inputs failed and have not changed since."""

from contextlib import suppress

from gmvae_cli.errors import GmvaeError
from gmvae_cli.files.atomic import atomic
from gmvae_cli.system.storage import beside, joined, modified, open_binary, remove, size


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
        """Return whether an output is there and up to date; one that is older is counted in `redone`.

        An output that is a folder of parts is there once it is marked as complete.
        """
        written = _written(target)
        if size(written) is None:
            return False
        is_current = self._is_newer(written, source)
        self.redone += not is_current
        return is_current

    def is_in(self, table: str, target: str) -> bool:
        """Return whether a table of an earlier run may say what an output holds: it is not older than the output."""
        return (modified(table) or 0.0) >= (modified(_written(target)) or 0.0)

    def has_failed(self, source: str, target: str) -> bool:
        """Return whether an earlier run failed to make an output; its reason is added to `failed_before`."""
        mark = _mark_of(target)
        if modified(mark) is None or not self._is_newer(mark, source):
            return False
        with open_binary(mark) as file:
            self.failed_before.append(file.read().decode().strip())
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
        remove(_mark_of(target))

    def _is_newer(self, path: str, source: str) -> bool:
        """Return whether a file is not older than the input and the model; standard input has no age."""
        times = [time for other in (source, self.model_path) if (time := modified(other)) is not None]
        return (modified(path) or 0.0) >= max(times, default=0.0)


def _written(target: str) -> str:
    """Return the file that appears last of an output."""
    return target if size(target) is not None else joined(target, "_SUCCESS.json")


def _mark_of(target: str) -> str:
    return beside(target, ".failed")
