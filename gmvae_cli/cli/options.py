"""The options of the commands: how each is typed, in which group of the help it stands, and what it means.

Types and defaults come from the config that an option fills, so a new option is a field of a config and a line here.
Options that fill no config stand at the end.
"""

from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Annotated, Any

import typer

from gmvae_cli.cli.option_values import block_rows, names, number_or_auto, rows_auto_or_all, whole_numbers
from gmvae_cli.cli.splicing import Option, joined, options_of
from gmvae_cli.cli.terminal import Terminal, show
from gmvae_cli.config import (
    CompareConfig,
    EvaluateConfig,
    InferConfig,
    ModelConfig,
    Noise,
    ProfileConfig,
    Search,
    SelectConfig,
    SeriesConfig,
    SimulateConfig,
    TrainConfig,
)
from gmvae_cli.engine_config import EngineConfig
from gmvae_cli.forecast_config import ForecastConfig
from gmvae_cli.live_config import LiveConfig


def _training(**values: Any) -> TrainConfig:
    """Build the config of `train`: a model, and what is left to the data about it."""
    shape = {field.name: values.pop(field.name) for field in fields(ModelConfig) if field.name in values}
    search = Search(regimes=shape.pop("regimes"), stride=shape.pop("stride"), block_rows=shape.pop("summarize"))
    model = search.smallest(ModelConfig(**shape))
    return TrainConfig(model=model, search=search if search.leaves_choices else None, **values)


def _segmentation(*, regimes: int | None, noise: Noise, **values: Any) -> TrainConfig:
    """Build the training config of `segment`, which leaves everything to the data that is not given."""
    search = Search(stride=None, block_rows=None, regimes=regimes, time_scale=None)
    return TrainConfig(model=search.smallest(ModelConfig(noise=noise)), search=search, **values)


# Options that several configs have
_PRIOR = Option("model", "markov: regimes persist; iid: each row on its own.")
_COVARIANCE = Option("model", "regime: a noise covariance for each regime; shared: one for all.")
_INTERCEPT = Option("model", "Whether each regime has a level of its own.", name="--intercept/--no-intercept")
_REGIMES = Option("model", "Number of regimes.", "K")
_LAGS = Option("model", "Earlier rows from which a row is predicted; with 0 a regime is a mean and a covariance.", "P")
_NOISE = Option("model", "student: heavy tails, for series with outliers.")
_RESTARTS = Option("search", "Random starts to try; the likeliest is used.", "N")
_EXPECT_DWELL = Option("search", "How long a regime lasts, if known: 50, 10min, 2h.", "ROWS_OR_DURATION")
_MIN_DWELL = Option("model", "No visit is shorter than this: 5, 10s, 2min.", "ROWS_OR_DURATION")
_SEED = Option("search", "Seed of all random numbers.", "N")
_DEVICE = Option("expert", "Where to compute: cpu, auto, cuda, cuda:N or mps.", "NAME")
_FAIL_UNDER = Option("output", "Exit with status 3 if this figure is worse; may be repeated.", "NAME=VALUE")

_READING = {
    "channels": Option("files", "Columns to model; else every other numeric one.", "A,B,C", names),
    "time": Option("files", "Time column; else time, timestamp, date or t.", "NAME"),
    "no_time": Option("files", "There is no time column."),
    "series": Option("files", "Column that tells several series apart; else series.", "NAME"),
    "sort": Option("files", "Sort rows by series and time, in memory."),
    "max_gap": Option("files", "A longer step in time ends the series: 20, 10min, 2h.", "ROWS_OR_DURATION"),
    "regular": Option("files", "Take rows as equally spaced, whatever the time column says."),
    "delimiter": Option("files", "Character between CSV cells; else comma (tab in .tsv).", "CHAR"),
    "decimal": Option("files", "Decimal mark of CSV numbers: . or a comma.", "CHAR"),
    "thousands": Option("files", "Character that groups the digits of CSV numbers, as the comma in 45,000.", "CHAR"),
    "time_format": Option("files", "How times are written: %d/%m/%Y %H:%M, or unix-s, unix-ms and so on.", "FORMAT"),
    "timezone": Option("files", "Zone of local times, such as Europe/Berlin.", "ZONE"),
    "skip_rows": Option("files", "Lines above the header of CSV.", "N"),
    "comment": Option("files", "Character that begins lines of comment in CSV.", "CHAR"),
    "encoding": Option("files", "Encoding of CSV: utf-8, utf-16, windows-1252 and others.", "NAME"),
    "na_values": Option("files", "Values that mean missing, beside empty cells, NA, null and the like.", "A,B", names),
}
_DRAWING = {name: option for name, option in _READING.items() if name not in ("sort", "max_gap")} | {
    "channels": Option("files", "Columns to draw; else every other numeric one.", "A,B,C", names),
    "regular": Option("files", "Draw lines across gaps in time."),
}

_DIGITS = Option("output", "Digits of probabilities and log-likelihoods in CSV; 17 gives all.", "N")
_KNOWN = Option("files", "Column of regimes that are known in some rows, and empty in the others.", "COLUMN")

Files = Annotated[SeriesConfig, options_of(SeriesConfig, **_READING)]
FilesToLearn = Annotated[SeriesConfig, options_of(SeriesConfig, **_READING, known=_KNOWN)]
FilesToLabel = Annotated[
    SeriesConfig,
    options_of(
        SeriesConfig,
        **_READING,
        digits=_DIGITS,
    ),
]
FilesToSegment = Annotated[SeriesConfig, options_of(SeriesConfig, **_READING, known=_KNOWN, digits=_DIGITS)]
FilesToDraw = Annotated[SeriesConfig, options_of(SeriesConfig, **_DRAWING)]

Simulation = Annotated[
    SimulateConfig,
    options_of(
        SimulateConfig,
        regimes=_REGIMES,
        lags=_LAGS,
        prior=_PRIOR,
        dwell=Option("model", "Mean length of a visit to a regime (prior markov).", "ROWS"),
        covariance=_COVARIANCE,
        intercept=_INTERCEPT,
        model=Option("model", "Draw from this trained model instead.", "CKPT"),
        steps=Option("output", "Rows of each series.", "N"),
        channels=Option("output", "Number of channels.", "D"),
        series=Option("output", "Number of series.", "N"),
        missing=Option("output", "Share of cells left empty.", "SHARE"),
        outliers=Option("output", "Share of rows with a spike of 20 standard deviations.", "SHARE"),
        seed=Option("output", "Seed of all random numbers.", "N"),
    ),
]

Training = Annotated[
    TrainConfig,
    joined(
        _training,
        options_of(
            ModelConfig,
            regimes=_REGIMES,
            lags=_LAGS,
            covariance=_COVARIANCE,
            noise=_NOISE,
            prior=_PRIOR,
            intercept=_INTERCEPT,
            stride=Option(
                "model",
                "Rows from one lag to the next; auto: more than 1 where rows are sampled too fast.",
                "S|auto",
                number_or_auto,
                typed=str(ModelConfig.stride),
            ),
            summarize=Option(
                "model",
                "Model the mean and spread of blocks of so many rows; auto: about 600 blocks.",
                "none|auto|ROWS",
                block_rows,
                typed="none",
            ),
            fixed_prior=Option("expert", "Keep all regimes equally likely (prior iid)."),
            hidden=Option("expert", "Width of the encoder network.", "N"),
            layers=Option("expert", "Hidden layers of the encoder network.", "N"),
        ),
        options_of(
            TrainConfig,
            expect_dwell=_EXPECT_DWELL,
            min_dwell=_MIN_DWELL,
            restarts=_RESTARTS,
            validation=Option("search", "Share of rows held out to score the model.", "SHARE"),
            init=Option("search", "Start from this model.", "CKPT"),
            align_to=Option("search", "Number the regimes like those of this model.", "CKPT"),
            seed=_SEED,
            steps=Option("expert", "Gradient steps; fewer below 20,000 rows.", "N"),
            batch_rows=Option("expert", "Rows in a minibatch.", "N"),
            lr=Option("expert", "Learning rate of Adam.", "X"),
            polish=Option("expert", "EM steps at most, after the gradient steps.", "N"),
            evidence_scale=Option(
                "expert",
                "Rows that count as one, because neighbours repeat each other; auto: from the residuals.",
                "auto|X",
            ),
            estimator=Option("expert", "How gradient steps average over regimes: by samples, or exactly."),
            temperature_start=Option("expert", "Gumbel temperature at the first step.", "X"),
            temperature_end=Option("expert", "Gumbel temperature at the last step.", "X"),
            anneal=Option("expert", "How the temperature falls."),
            device=_DEVICE,
        ),
    ),
]

Segmentation = Annotated[
    TrainConfig,
    joined(
        _segmentation,
        options_of(
            ModelConfig,
            regimes=Option(
                "model", "Number of regimes; auto: the data decide.", "K|auto", number_or_auto, typed="auto"
            ),
            noise=_NOISE,
        ),
        options_of(TrainConfig, expect_dwell=_EXPECT_DWELL, min_dwell=_MIN_DWELL, seed=_SEED, device=_DEVICE),
    ),
]

Selection = Annotated[
    SelectConfig,
    options_of(
        SelectConfig,
        regimes=Option("search", "Numbers of regimes to try: 1:6 or 2,4.", "K", whole_numbers, typed="1:6"),
        lags=Option("search", "Numbers of lags to try: 0,1 or 1:3.", "P", whole_numbers, typed="1"),
        covariance=Option("search", "regime, shared or both: regime,shared.", "NAMES", names, typed="regime"),
        restarts=_RESTARTS,
        seed=_SEED,
        prior=_PRIOR,
        intercept=_INTERCEPT,
        device=_DEVICE,
    ),
]

_POSTERIOR = Option(
    "model",
    "smooth: from all rows; viterbi: the best path; filter: from earlier rows only; encoder: by the network alone.",
)
_NOVELTY = Option("output", "Say of each row how unlike the model it is: -log10 of a probability.")
_UNKNOWN = Option("output", "Stretches of rows that no regime explains get regime -1; 6 is a good level.", "LEVEL")

Inference = Annotated[
    InferConfig,
    options_of(
        InferConfig,
        posterior=_POSTERIOR,
        min_dwell=_MIN_DWELL._replace(explanation="No visit is shorter than this: 5, 10s, 2min; else as in training."),
        novelty=_NOVELTY,
        unknown=_UNKNOWN,
        only_regimes=Option("output", "Write time, series and regime alone."),
        manifest=Option("output", "Write inputs, options and figures to OUT.meta.json as well."),
        fail_under=_FAIL_UNDER,
        device=_DEVICE,
    ),
]

Labels = Annotated[InferConfig, options_of(InferConfig, posterior=_POSTERIOR, novelty=_NOVELTY, unknown=_UNKNOWN)]

Evaluation = Annotated[
    EvaluateConfig,
    options_of(
        EvaluateConfig,
        truth=Option("files", "Column of true labels.", "NAME"),
        predicted=Option("files", "Column of predicted labels.", "NAME"),
        tolerance=Option("output", "How far off a predicted change may be.", "ROWS"),
        fail_under=_FAIL_UNDER,
        device=_DEVICE,
    ),
]

Comparison = Annotated[
    CompareConfig, options_of(CompareConfig, posterior=_POSTERIOR, fail_under=_FAIL_UNDER, device=_DEVICE)
]

Profile = Annotated[
    ProfileConfig,
    options_of(ProfileConfig, labels=Option("files", "Column of labels, numbers or text.", "NAME")),
]

Forecasting = Annotated[
    ForecastConfig,
    options_of(
        ForecastConfig,
        horizon=Option("output", "Rows ahead of each series.", "H"),
        paths=Option("output", "Simulated futures behind the quantiles.", "N"),
        seed=Option("output", "Seed of all random numbers.", "N"),
        device=_DEVICE,
    ),
]

_ENGINE = {
    "engine": Option("cluster", "Who does the work: this machine, or the workers of Dask or Ray."),
    "workers": Option("cluster", "Processes of this machine that share the work.", "N"),
    "scheduler": Option("cluster", "Join this Dask scheduler: an address, or its JSON file.", "ADDRESS|FILE"),
    "trust_network": Option("cluster", "Join a scheduler without TLS, to which anyone near can send programs."),
}
_STRETCH_ROWS = Option(
    "cluster", "Rows of a series that one worker takes at once.", "N|auto", number_or_auto, typed="auto"
)

Engine = Annotated[EngineConfig, options_of(EngineConfig, **_ENGINE)]
EngineToLabel = Annotated[
    EngineConfig,
    options_of(
        EngineConfig,
        **_ENGINE,
        stretch_rows=_STRETCH_ROWS._replace(
            explanation="Rows that one worker takes; a longer input is cut, and its output is a folder of parts."
        ),
    ),
]
EngineToTrain = Annotated[
    EngineConfig,
    options_of(
        EngineConfig,
        **_ENGINE,
        stretch_rows=_STRETCH_ROWS,
        train_rows=Option(
            "cluster",
            "Workers pass over all of so many rows; of more, a sample decides.",
            "N|auto|all",
            rows_auto_or_all,
            typed="auto",
        ),
    ),
]

Live = Annotated[
    LiveConfig,
    options_of(
        LiveConfig,
        follow=Option("live", "Label each row as it arrives on stdin, and write it at once."),
        format=Option("live", "Of rows that arrive and are written: CSV, or a JSON object a line."),
        lag=Option("live", "Write a row when so many later ones of its series have come, and use them.", "N"),
        on_error=Option("live", "At a line that cannot be used: stop, or skip it with a line on stderr."),
        forget=Option("live", "Forget a series that stays away for so long: 1d, 2h; a number counts rows.", "AFTER"),
        state=Option("live", "Go on from this file, and keep in it what the next run has to know.", "FILE"),
        state_every=Option("live", "Rows after which the state is written again, beside the end.", "N"),
    ),
]

Display = Annotated[
    AbstractContextManager[Terminal],
    options_of(
        show,
        as_json=Option("output", "Print one JSON object.", name="--json"),
        quiet=Option("output", "Print errors only: no progress, no notes."),
        log_file=Option("output", "Keep a copy of progress, notes and errors.", "FILE"),
    ),
]


def _own(group: str, name: str, explanation: str, metavar: str | None = None) -> Any:
    """Declare an option that fills no config."""
    return typer.Option(name, metavar=metavar, help=explanation, rich_help_panel=group)


def _argument(group: str, metavar: str, explanation: str) -> Any:
    return typer.Argument(metavar=metavar, help=explanation, rich_help_panel=group, show_default=False)


Inputs = Annotated[list[str], _argument("files", "INPUT", "Series files, globs, folders or URLs; - is CSV from stdin.")]
LabelledInput = Annotated[str, _argument("files", "INPUT", "A labelled series file; - is CSV from stdin.")]
InferredInput = Annotated[str, _argument("files", "INFERRED", "A file that infer wrote; - is CSV from stdin.")]
ProfileOut = Annotated[
    str | None, _own("output", "--output", "Write the table of all figures as well: .csv, .parquet.", "PROFILE")
]
SimulatedOutput = Annotated[str, _argument("output", "OUT", ".csv, .parquet and others; - is CSV to stdout.")]
ModelArgument = Annotated[str, _argument("files", "CKPT", "The model file, or its URL.")]
ModelBefore = Annotated[str, _argument("files", "MODEL_A", "The model in use.")]
ModelAfter = Annotated[str, _argument("files", "MODEL_B", "The model that may replace it.")]
Assignments = Annotated[
    list[str], _argument("model", "ID=NAME", "A regime's number and its name, as in 0=idle; 0= takes it away.")
]

ModelIn = Annotated[str, _own("model", "--model", "The trained model.", "CKPT")]
ModelToScore = Annotated[str | None, _own("model", "--model", "A model to label INPUT and be scored.", "CKPT")]
ModelOut = Annotated[str, _own("output", "--model", "The model file to write.", "OUT")]
RenamedModel = Annotated[str | None, _own("output", "--output", "The model file to write; else CKPT itself.", "OUT")]
ModelOfChoice = Annotated[str | None, _own("output", "--model", "Train the choice on all rows and save it.", "OUT")]
ModelOfSegment = Annotated[str | None, _own("output", "--model", "Save the model as well.", "CKPT")]
TruthOut = Annotated[str | None, _own("output", "--truth", "Save the generating model as well.", "CKPT_OUT")]
Output = Annotated[
    str, _own("output", "--output", "The labelled file or URL; a folder for several inputs; - is stdout.", "OUT")
]
ForecastOut = Annotated[str, _own("output", "--output", "The table of the forecast; - is CSV to stdout.", "OUT")]
Figure = Annotated[str, _own("output", "--output", "The picture: .png, .svg or .pdf.", "FIG")]
FigureToo = Annotated[str | None, _own("output", "--plot", "Draw a picture as well: .png, .svg or .pdf.", "FIG")]
SegmentsToo = Annotated[str | None, _own("output", "--segments", "Write the list of segments as well.", "OUT")]
MovedToo = Annotated[
    str | None, _own("output", "--output", "Write the list of the stretches of rows that moved as well.", "OUT")
]
SummaryToo = Annotated[
    str | None, _own("output", "--summary", "Write what became of each file, with its figures, as well.", "OUT")
]
MetricsToo = Annotated[
    str | None, _own("output", "--metrics", "Write figures for Prometheus' node exporter as well: .prom.", "OUT")
]
SkipExisting = Annotated[bool, _own("output", "--skip-existing", "Leave outputs that exist as they are.")]
Resume = Annotated[bool, _own("search", "--resume", "Go on from where an interrupted run stopped.")]
DryRun = Annotated[bool, _own("output", "--dry-run", "Print what would be read and needed; write nothing.")]
