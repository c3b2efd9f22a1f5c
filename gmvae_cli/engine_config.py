"""The options that say where work is done, checked when they are given; `config` has those of the commands."""

from dataclasses import dataclass
from typing import Literal, get_args

from gmvae_cli.errors import ConfigError

EngineName = Literal["local", "dask", "ray"]
STRETCH_ROWS = 1 << 23  # some 20 s of labelling: far more than a task costs, and little to do again

PASS_ROWS = 10**9  # a sample of 262,144 rows then errs by 0.2 % of a deviation, and a pass takes an hour of ten workers


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Options of where the work is done: on this machine, or by the workers of a cluster.

    Args:
        workers: processes of this machine, at most as many as it has processors; None: all work in this process, and
            under dask those of the scheduler that is named.
        scheduler: of dask, an address or a file that names one. trust_network: join one that anyone in its network can
            send programs to.
        stretch_rows: rows of a series at most that one worker takes at once; None: `STRETCH_ROWS`.
        train_rows: rows up to which training passes over all of them; None: `PASS_ROWS`.
    """

    engine: EngineName = "local"
    workers: int | None = None
    scheduler: str | None = None
    trust_network: bool = False
    stretch_rows: int | None = None
    train_rows: int | None = None

    def __post_init__(self) -> None:
        if self.engine not in get_args(EngineName):
            raise ConfigError(f"--engine is '{self.engine}', but must be one of {', '.join(get_args(EngineName))}")
        for option, value in (
            ("workers", self.workers),
            ("stretch-rows", self.stretch_rows),
            ("train-rows", self.train_rows),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"--{option} is {value}, but must be at least 1")
        if self.scheduler is not None and self.engine != "dask":
            raise ConfigError(f"--scheduler is for --engine dask, but --engine is {self.engine}")
        if self.scheduler is not None and self.workers is not None:
            raise ConfigError("--workers starts workers here, and --scheduler joins others; give one of them")
        if self.workers is not None and self.engine == "ray":
            raise ConfigError("--workers is not for --engine ray, which joins the workers of RAY_ADDRESS")

    @property
    def is_plain(self) -> bool:
        """Whether nothing is dealt out: the work is done in this process, file by file."""
        return self == EngineConfig()
