"""Errors that become one line and an exit status, and notes that warn without ending the work."""

from typing import NamedTuple


class GmvaeError(Exception):
    """Failure with a message for the user: one line that names where, what was found and what to do."""

    exit_status = 1


class ConfigError(GmvaeError):
    """Option whose value is impossible whatever the file, or options that contradict each other."""

    exit_status = 2


class SeriesError(GmvaeError):
    """Series file, or output path, that cannot be used."""


class CheckpointError(GmvaeError):
    """Model file that cannot be used, or does not fit the data."""


class Note(NamedTuple):
    """Warning: the code is for scripts and never changes, the sentence says what was found and what to do."""

    code: str
    sentence: str

    def to_json(self) -> dict[str, str]:
        """Convert to the object that `--json` prints and a model keeps."""
        return {"code": self.code, "sentence": self.sentence}
