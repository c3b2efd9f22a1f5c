"""The options of labelling rows as they arrive, checked when they are given; `config` has those of the commands."""

from dataclasses import dataclass
from typing import Literal, get_args

from gmvae_cli.errors import ConfigError

LiveFormat = Literal["csv", "ndjson"]
OnError = Literal["stop", "skip"]

_MOST_LAG = 10_000  # rows that wait for later ones; each new row is carried back over all of them


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """Options of labelling rows one by one, and of going on where an earlier run stopped.

    Args:
        follow: whether each row is labelled as it arrives. format: of the rows that arrive and are written.
        lag: later rows of its series that a row waits for. on_error: what happens at a line that cannot be used.
        forget: rows of the feed, or a duration, after which a series that stays away is forgotten; None: never.
        state: file that keeps what has to be known of the rows before. state_every: rows from writing to writing.
    """

    follow: bool = False
    format: LiveFormat = "csv"
    lag: int = 0
    state: str | None = None
    state_every: int = 10_000
    forget: str | None = None
    on_error: OnError = "stop"

    def __post_init__(self) -> None:
        for option, value, choices in (
            ("format", self.format, get_args(LiveFormat)),
            ("on-error", self.on_error, get_args(OnError)),
        ):
            if value not in choices:
                raise ConfigError(f"--{option} is '{value}', but must be one of {', '.join(choices)}")
        if not 0 <= self.lag <= _MOST_LAG:
            raise ConfigError(f"--lag is {self.lag}, but must be from 0 to {_MOST_LAG:,}")
        if self.state_every < 1:
            raise ConfigError(f"--state-every is {self.state_every}, but must be at least 1")
        if self.state == "-":
            raise ConfigError("--state is '-', but needs the name of a file")
        if self.follow:
            return
        for option in ("format", "lag", "state_every", "forget", "on_error"):
            if getattr(self, option) != getattr(LiveConfig, option):
                raise ConfigError(f"--{option.replace('_', '-')} is for rows that arrive one by one; give --follow too")
