"""Reports of how far the work of a command is."""

from typing import Protocol


class Progress(Protocol):
    """A callable that takes the state of the work, often many times a second."""

    def __call__(self, stage: str, done: float, total: float | None, note: str = "") -> None:
        """Report `done` of `total` (None: unknown) of this stage, with a word on how it goes."""


def silent(stage: str, done: float, total: float | None, note: str = "") -> None:
    """Drop the report."""
