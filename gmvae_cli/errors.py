"""Errors that become one line and an exit status, and notes that warn without ending the work."""

from typing import NamedTuple


class GmvaeError(Exception):
    """The work failed and the message says why: one line that names where, what was found and what to do."""

    exit_status = 1


class ConfigError(GmvaeError):
    """An option has a value that is impossible whatever the file, or two options contradict each other."""

    exit_status = 2


class SeriesError(GmvaeError):
    """A series file, or a place to write to, cannot be used."""


class CheckpointError(GmvaeError):
    """A model file cannot be used, or does not fit the data."""


class Note(NamedTuple):
    """A warning: the code is for scripts and never changes, the sentence says what was found and what to do."""

    code: str
    sentence: str

    def to_json(self) -> dict[str, str]:
        """As printed by `--json` and kept in a model."""
        return {"code": self.code, "sentence": self.sentence}
