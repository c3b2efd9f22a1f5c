"""The options of reading a series file, checked when they are given; `config` has those of the commands."""

import codecs
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gmvae_cli.errors import ConfigError

MOST_DIGITS = 17  # a double has no more
_READING = (  # what a model remembers of how its file was read, beside the names of columns
    *(
        "delimiter",
        "decimal",
        "usual_decimal",
        "thousands",
        "na_values",
        "time_format",
        "usual_time_format",
        "timezone",
    ),
    *("skip_rows", "comment", "encoding", "max_gap", "regular"),
)
# What pandas takes as missing in CSV, in any case, and the marks of other programs that are no number either; MySQL
# and PostgreSQL write \N
MISSING = (
    *("", "na", "n/a", "nan", "-nan", "null", "none", "nil", "nat", "<na>"),
    *("#n/a", "#n/a n/a", "#na", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    *("?", "-", "--", "---", ".", "\\n"),
)
TIME_FORMATS = ("unix-s", "unix-ms", "unix-us", "unix-ns", "excel", "week", "clock", "number")  # or strftime codes


@dataclass(frozen=True, kw_only=True)
class SeriesConfig:
    """Options of reading a series file: the roles of its columns, and the layout of its text.

    Args:
        time, series, channels: names of columns; None takes those that are named or typed as such.
        known: column of labels that some rows have; None: there is none.
        delimiter: None takes a tab in .tsv, ';' beside a decimal comma, ',' in all others.
        max_gap: rows or a duration; a longer step in time ends the series. regular: time stamps are ignored.
        time_format: strftime codes, or unix-s, unix-ms, unix-us, unix-ns. timezone: of stamps without an offset.
        digits: significant ones of probabilities and log-likelihoods that are written as text.
        decimal: None takes a comma where it is certain, else a point.
        usual_decimal, usual_time_format: of an earlier file, taken where the cells leave several open.
        na_values: texts or numbers that mean missing, beside those of `MISSING`.
    """

    time: str | None = None
    no_time: bool = False
    series: str | None = None
    known: str | None = None
    channels: tuple[str, ...] | None = None
    delimiter: str | None = None
    decimal: str | None = None
    na_values: tuple[str, ...] = ()
    thousands: str | None = None
    time_format: str | None = None
    timezone: str | None = None
    skip_rows: int = 0
    comment: str | None = None
    encoding: str | None = None
    digits: int = 6
    usual_decimal: str | None = None
    usual_time_format: str | None = None
    sort: bool = False
    max_gap: str | None = None
    regular: bool = False

    def __post_init__(self) -> None:
        if self.time is not None and self.no_time:
            raise ConfigError("--time and --no-time exclude each other; give one of them")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ConfigError(f"--delimiter is '{self.delimiter}', but must be a single character")
        for mark in (self.decimal, self.usual_decimal):
            if mark not in (None, ".", ","):
                raise ConfigError(f"--decimal is '{mark}', but must be . or ,")
        self._check_text()
        if self.channels is not None and not self.channels:
            raise ConfigError("--channels names no column; give their names, separated by commas")
        if self.channels is not None and len(set(self.channels)) != len(self.channels):
            raise ConfigError("--channels names a column twice; name each once")

    def _check_text(self) -> None:
        """Check the options that say how text is written."""
        if not 1 <= self.digits <= MOST_DIGITS:
            raise ConfigError(f"--digits is {self.digits}, but must be from 1 to {MOST_DIGITS}, which gives all")
        if self.skip_rows < 0:
            raise ConfigError(f"--skip-rows is {self.skip_rows}, but must be at least 0")
        for option in ("comment", "thousands"):
            value = getattr(self, option)
            if value is not None and (len(value) != 1 or value.isalnum()):
                raise ConfigError(f"--{option} is '{value}', but must be a single character, no letter and no digit")
        if self.thousands is not None and self.thousands == self.decimal:
            raise ConfigError(f"--thousands and --decimal are both '{self.thousands}'; one character has one meaning")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ConfigError(
                    f"--encoding is '{self.encoding}', which is unknown; try utf-8, utf-16, windows-1252 or latin-1"
                ) from None
        if self.timezone is not None and self.timezone not in zoneinfo.available_timezones():
            raise ConfigError(f"--timezone is '{self.timezone}', but must be a name like Europe/Berlin or UTC")
        if self.time_format is not None and "%" not in self.time_format and self.time_format not in TIME_FORMATS:
            raise ConfigError(
                f"--time-format is '{self.time_format}', but must hold codes like %Y-%m-%d %H:%M:%S, or be one of "
                f"{', '.join(TIME_FORMATS)}"
            )

    def reading(self) -> dict[str, Any]:
        """Return the options that were given, of those that say how cells are read, by name."""
        defaults = SeriesConfig()
        return {name: getattr(self, name) for name in _READING if getattr(self, name) != getattr(defaults, name)}

    def reading_as(self, earlier: Mapping[str, Any]) -> tuple["SeriesConfig", dict[str, Any]]:
        """Return the options completed by those of an earlier run, and which ones were taken from it."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in earlier.items()
        }
        told = self.reading()
        taken = {name: value for name, value in known.items() if name in _READING and name not in told}
        return replace(self, **taken), taken
