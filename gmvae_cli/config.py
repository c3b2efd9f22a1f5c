"""Every default and every range check, as frozen dataclasses: for files, for the model, for each command.

A config is checked when it is made: a value that is impossible whatever the file raises a ConfigError that names the
option, what was given and what was expected.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from gmvae_cli.errors import ConfigError
from gmvae_cli.gate_config import COMPARE_GATES, EVALUATE_GATES, INFER_GATES, KNOWN_SHARE, Gate, read_gates
from gmvae_cli.series_config import SeriesConfig as SeriesConfig

Prior = Literal["markov", "iid"]
Covariance = Literal["regime", "shared"]
Noise = Literal["normal", "student"]
Estimator = Literal["gumbel", "exact"]
Anneal = Literal["exponential", "linear", "cosine"]
Posterior = Literal["smooth", "viterbi", "filter", "encoder"]

_MOST_CONTEXT_ROWS = 1_000_000  # that a prediction looks back on; more is a slip of the hand, and would fill the memory
_LONGEST_VISIT = 1_000_000  # rows, of the shortest one: 8 bytes a row and regime stay in memory
_MOST_WEIGHTS = 100_000_000  # of the encoder, 400 MB in single precision
_LARGEST_SEED = 2**63 - 1  # of torch's 64 bits, with room for the numbers that are added
_FEWEST_BATCH_ROWS = 64  # in which one minibatch in 27 has no row of a regime of 5 %

_FIXED_BY_A_MODEL = ("regimes", "channels", "lags", "prior", "dwell", "covariance", "intercept")

_LARGEST_NOVELTY = 100  # at which stretches are called unknown; rows of no regime reach 300


def _at_least(option: str, value: float, minimum: float) -> None:
    if not (math.isfinite(value) and value >= minimum):
        raise ConfigError(f"--{option} is {value:g}, but must be at least {minimum:g}")


def _positive(option: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"--{option} is {value:g}, but must be above 0")


def _below_one(option: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ConfigError(f"--{option} is {value:g}, but must be at least 0 and below 1")


def _valid_seed(seed: int) -> None:
    _at_least("seed", seed, 0)
    if seed > _LARGEST_SEED:
        raise ConfigError(f"--seed is {seed}, but must be at most {_LARGEST_SEED}")


def _one_of(option: str, value: str, choices: object) -> None:
    names = get_args(choices)
    if value not in names:
        raise ConfigError(f"--{option} is '{value}', but must be one of {', '.join(names)}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a model: its parameters, not how they are estimated.

    Args:
        regimes: K. lags: P; 0: regimes are a mean and a covariance. stride: rows, or blocks, from one lag to the next.
        summarize: rows of a block that is modelled in their place by its mean and spread, as in `data.block_features`;
            1 models the rows themselves.
        waveforms: features of a block as in `data.waveform_features`, in place of mean and spread; 0: those.
        join_passages: rows whose lags still lie in the regime that has ended are labelled as the regime that follows
            (`metrics.passages`), and between blocks that have mean and spread changes are placed at rows
            (`inference.placed_changes`); the causal posterior "filter" cannot.
        shortest_visit: rows of the file; where it is more than 1, labels are the best path without a shorter visit
            (`model.dwell_path`), of which the first rows of a visit may pass.
        fixed_prior: regimes stay equally likely. hidden, layers: width and hidden layers of the encoder.
    """

    regimes: int = 3
    lags: int = 1
    stride: int = 1
    summarize: int = 1
    waveforms: int = 0
    prior: Prior = "markov"
    covariance: Covariance = "regime"
    noise: Noise = "normal"
    intercept: bool = True
    fixed_prior: bool = False
    hidden: int = 64
    layers: int = 2
    join_passages: bool = False
    shortest_visit: int = 1

    def __post_init__(self) -> None:
        for option in ("regimes", "lags", "stride", "summarize", "hidden", "layers"):
            _at_least(option, getattr(self, option), 0 if option == "lags" else 1)
        if self.stride > 1 and not self.lags:
            raise ConfigError(f"--stride is {self.stride}, but --lags 0 has no lags to space; leave one of them out")
        _at_least("min-dwell", self.shortest_visit, 1)
        if self.shortest_visit > _LONGEST_VISIT:
            raise ConfigError(
                f"--min-dwell is {self.shortest_visit:,} rows, but may be at most {_LONGEST_VISIT:,}; shorten it"
            )
        if self.context_rows > _MOST_CONTEXT_ROWS:
            raise ConfigError(
                f"--lags {self.lags} at --stride {self.stride} look back {self.context_rows:,} rows, but may at most "
                f"{_MOST_CONTEXT_ROWS:,}"
            )
        if self.hidden**2 * self.layers > _MOST_WEIGHTS:
            raise ConfigError(
                f"--hidden {self.hidden} and --layers {self.layers} make an encoder of over {_MOST_WEIGHTS:,} weights"
            )
        _one_of("prior", self.prior, Prior)
        _one_of("covariance", self.covariance, Covariance)
        _one_of("noise", self.noise, Noise)
        if self.regimes > 1 and not self.lags and not self.intercept and self.covariance == "shared":
            raise ConfigError(
                "--lags 0, --no-intercept and --covariance shared leave regimes nothing to differ in; leave one out"
            )
        if self.fixed_prior and self.prior != "iid":
            raise ConfigError("--fixed-prior keeps the regimes equally likely, so it needs --prior iid")

    @property
    def context_rows(self) -> int:
        """Rows before a row on which its prediction depends, P * stride."""
        return self.lags * self.stride

    @property
    def longest_passage(self) -> int:
        """Rows, or blocks, that may pass between regimes; of blocks also the one in which a change lies."""
        return self.context_rows + (self.summarize > 1) if self.join_passages else 0

    def num_free_parameters(self, num_channels: int, levels: bool = False) -> int:
        """Count the free parameters of decoder and prior for D channels (with `summarize`, D is twice the columns).

        The stationary initial law has none of its own, and a fixed prior has none at all. Regimes that differ in their
        `levels` alone have one regression on the lags and one covariance.
        """
        K, P, D = self.regimes, self.lags, num_channels
        regression = (1 if levels else K) * P * D**2 + K * D * self.intercept
        covariance = (1 if levels or self.covariance == "shared" else K) * D * (D + 1) // 2
        law = 0 if self.fixed_prior else K - 1 if self.prior == "iid" else K * (K - 1)
        return regression + covariance + (self.noise == "student") + law


@dataclass(frozen=True, kw_only=True)
class Search:
    """Choices about a model, each of which is left to the data if it is None.

    Args:
        stride, regimes: as in ModelConfig. block_rows: its `summarize`.
        time_scale: "rows" looks for regimes at the scale of the model's own rows; None compares every time scale, and
            stride and block_rows follow from the one that the comparison ends at.
    """

    stride: int | None = ModelConfig.stride
    block_rows: int | None = ModelConfig.summarize
    regimes: int | None = ModelConfig.regimes
    time_scale: Literal["rows"] | None = "rows"

    def smallest(self, model: ModelConfig) -> ModelConfig:
        """Return the model with these choices, and with 1 for each that is left to the data."""
        stride, block_rows, regimes = (
            1 if size is None else size for size in (self.stride, self.block_rows, self.regimes)
        )
        return replace(model, stride=stride, summarize=block_rows, regimes=regimes)

    @property
    def leaves_choices(self) -> bool:
        """Whether any choice is left to the data."""
        return None in (self.stride, self.block_rows, self.regimes, self.time_scale)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of training.

    Args:
        model: its shape; where `search` is given, the stride, blocks and regimes named there hold instead.
        estimator: of the expectation over regimes in gradient steps. temperature_start, temperature_end, anneal: the
            Gumbel temperature at the first and the last step, and the curve between them.
        steps, batch_rows, lr: of the gradient. restarts: initial models, of which the best goes on. polish: EM steps.
        expect_dwell, min_dwell: rows or a duration. evidence_scale: "auto" or a number, as in `model.evidence_scale`.
        validation: share of rows held out. init, align_to: models to start from, and to number the regimes like.
    """

    model: ModelConfig = ModelConfig()
    search: Search | None = None
    estimator: Estimator = "gumbel"
    temperature_start: float = 1.0
    temperature_end: float = 0.1
    anneal: Anneal = "exponential"
    steps: int = 100
    batch_rows: int = 4096
    lr: float = 0.003
    restarts: int = 8
    polish: int = 50
    expect_dwell: str | None = None
    min_dwell: str | None = None
    evidence_scale: str = "auto"
    validation: float = 0.1
    init: str | None = None
    align_to: str | None = None
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("estimator", self.estimator, Estimator)
        _one_of("anneal", self.anneal, Anneal)
        _positive("temperature-start", self.temperature_start)
        _positive("temperature-end", self.temperature_end)
        if self.temperature_end > self.temperature_start:
            raise ConfigError(
                f"--temperature-end is {self.temperature_end:g}, above --temperature-start {self.temperature_start:g}; "
                "it must not rise"
            )
        for option, value in (("steps", self.steps), ("polish", self.polish)):
            _at_least(option, value, 0)
        _valid_seed(self.seed)
        _at_least("restarts", self.restarts, 1)
        _at_least("batch-rows", self.batch_rows, _FEWEST_BATCH_ROWS)
        _positive("lr", self.lr)
        _below_one("validation", self.validation)
        _ = self.fixed_evidence_scale

    @property
    def fixed_evidence_scale(self) -> float | None:
        """The evidence scale if it is given, None if it comes from the data; 1 under the iid prior."""
        if self.evidence_scale == "auto":
            return None if self.model.prior == "markov" else 1.0
        try:
            scale = float(self.evidence_scale)
        except ValueError:
            raise ConfigError(f"--evidence-scale is '{self.evidence_scale}', but must be auto or a number") from None
        _at_least("evidence-scale", scale, 1)
        if scale != 1 and self.model.prior == "iid":
            raise ConfigError("--evidence-scale is for regimes that persist; with --prior iid it is 1")
        return scale


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """Options of the comparison of models: all combinations of `regimes`, `lags` and `covariance`."""

    regimes: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    lags: tuple[int, ...] = (1,)
    covariance: tuple[Covariance, ...] = ("regime",)
    prior: Prior = "markov"
    intercept: bool = True
    restarts: int = 8
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for option in ("regimes", "lags", "covariance"):
            if not getattr(self, option):
                raise ConfigError(f"--{option} names nothing to choose from")
        for covariance in self.covariance:
            _one_of("covariance", covariance, Covariance)
        assert self.candidates, "ModelConfig has checked each"
        _at_least("restarts", self.restarts, 1)
        _valid_seed(self.seed)

    def training(self, chosen: ModelConfig) -> "TrainConfig":
        """Configure the training of a chosen candidate."""
        return TrainConfig(model=chosen, restarts=self.restarts, device=self.device, seed=self.seed)

    @property
    def candidates(self) -> tuple[ModelConfig, ...]:
        """The models to compare, smaller ones first."""
        covariances = tuple(dict.fromkeys(self.covariance))
        return tuple(
            ModelConfig(regimes=k, lags=p, covariance=covariance, prior=self.prior, intercept=self.intercept)
            for k in sorted(set(self.regimes))
            for p in sorted(set(self.lags))
            for covariance in (covariances if k > 1 else covariances[:1])  # of one regime they are the same
        )


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """Options of the simulation of a switching autoregressive series.

    Args:
        steps: rows of each series. channels: D. series: how many. dwell: expected length of a visit to a regime, rows.
        missing: share of cells left empty. outliers: share of rows with a spike. model: path of a model to draw from.
    """

    steps: int = 10_000
    regimes: int = 3
    channels: int = 2
    lags: int = 1
    prior: Prior = "markov"
    dwell: float = 50.0
    covariance: Covariance = "shared"
    intercept: bool = False
    series: int = 1
    missing: float = 0.0
    outliers: float = 0.0
    model: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for option in ("steps", "regimes", "channels", "lags", "series"):
            _at_least(option, getattr(self, option), 0 if option == "lags" else 1)
        _at_least("dwell", self.dwell, 1)
        _valid_seed(self.seed)
        _one_of("prior", self.prior, Prior)
        _one_of("covariance", self.covariance, Covariance)
        _below_one("missing", self.missing)
        _below_one("outliers", self.outliers)
        for option in _FIXED_BY_A_MODEL if self.model is not None else ():
            if getattr(self, option) != getattr(SimulateConfig, option):
                raise ConfigError(f"--model fixes --{option}; leave it out")


@dataclass(frozen=True, kw_only=True)
class InferConfig:
    """Options of labelling rows with a trained model.

    Args:
        min_dwell: rows or a duration that a visit lasts at least; None: as the model was trained.
        novelty: whether each row gets its novelty. unknown: novelty at which stretches of rows are of no regime;
            None: every row is of one.
    """

    posterior: Posterior = "smooth"
    min_dwell: str | None = None
    only_regimes: bool = False
    novelty: bool = False
    unknown: float | None = None
    manifest: bool = False
    fail_under: tuple[str, ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        _one_of("posterior", self.posterior, Posterior)
        if self.min_dwell is not None and self.posterior == "filter":
            raise ConfigError(
                "--min-dwell needs later rows, which --posterior filter does not use; leave one of them out"
            )
        if self.unknown is not None:
            _positive("unknown", self.unknown)
            if self.unknown > _LARGEST_NOVELTY:
                raise ConfigError(f"--unknown is {self.unknown:g}, but must be at most {_LARGEST_NOVELTY:g}")
        _ = self.gates

    @property
    def gates(self) -> list[Gate]:
        """The gates of `fail_under`."""
        return read_gates(self.fail_under, INFER_GATES)

    @property
    def judges_rows(self) -> bool:
        """Whether the novelty of rows has to be computed."""
        return self.novelty or self.unknown is not None or any(name == KNOWN_SHARE for name, _ in self.gates)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Options of the comparison of labels with the truth."""

    truth: str = "true_regime"
    predicted: str = "regime"
    tolerance: int = 10
    fail_under: tuple[str, ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        _at_least("tolerance", self.tolerance, 0)
        _ = self.gates

    @property
    def gates(self) -> list[Gate]:
        """The gates of `fail_under`."""
        return read_gates(self.fail_under, EVALUATE_GATES)


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """Options of the description of labelled rows; labels: name of the column of labels."""

    labels: str = "regime"


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Options of the comparison of two models."""

    posterior: Posterior = "smooth"
    fail_under: tuple[str, ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        _one_of("posterior", self.posterior, Posterior)
        _ = self.gates

    @property
    def gates(self) -> list[Gate]:
        """The gates of `fail_under`."""
        return read_gates(self.fail_under, COMPARE_GATES)
