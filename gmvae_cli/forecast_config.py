"""The options of a forecast, checked when they are given."""

from dataclasses import dataclass

from gmvae_cli.errors import ConfigError

_MOST_STEPS = 100_000  # ahead; a model of regimes has forgotten where it started long before
_MOST_PATHS = 10_000_000  # 80 MB for each channel and lag
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class ForecastConfig:
    """Options of a forecast.

    Args:
        horizon: H, rows ahead of each series. paths: N simulated for the quantiles; with 10,000 the share of rows below
            a 5 % quantile has a standard error of 0.2 %.
    """

    horizon: int
    paths: int = 10_000
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, most in (("horizon", self.horizon, _MOST_STEPS), ("paths", self.paths, _MOST_PATHS)):
            if not 1 <= value <= most:
                raise ConfigError(f"--{option} is {value}, but must be from 1 to {most:,}")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise ConfigError(f"--seed is {self.seed}, but must be from 0 to {_LARGEST_SEED}")
