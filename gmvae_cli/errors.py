"""What a user can get wrong, as exceptions with one line: where, what was found, what was expected, what to do."""


class GmvaeError(Exception):
    """A failure that one line explains; the command line prints it and exits with `exit_status`."""

    exit_status = 1


class ConfigError(GmvaeError):
    """An option or a value that is impossible whatever the file holds."""

    exit_status = 2


class SeriesError(GmvaeError):
    """A series file that cannot be read, or does not hold what was asked of it."""


class CheckpointError(GmvaeError):
    """A model file that cannot be read, or does not fit the data."""
