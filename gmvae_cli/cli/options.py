"""The options that commands share, each declared once as a type; defaults come from `config`."""

from typing import Annotated

import typer

from gmvae_cli.config import Anneal, Covariance, Estimator, Noise, Posterior, Prior

# Files
Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT", help="Series files, globs or folders; - is CSV from stdin.", show_default=False),
]
Input = Annotated[
    str, typer.Argument(metavar="INPUT", help="A labelled series file; - is CSV from stdin.", show_default=False)
]
SimulatedFile = Annotated[
    str, typer.Argument(metavar="OUT", help=".csv, .csv.gz, .tsv or .parquet; - is CSV to stdout.", show_default=False)
]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        metavar="OUT",
        help="The labelled file; a folder for several inputs; - is stdout.",
        show_default=False,
    ),
]
ModelOut = Annotated[str, typer.Option("--model", metavar="OUT", help="The model file to write.", show_default=False)]
ModelIn = Annotated[str, typer.Option("--model", metavar="CKPT", help="The trained model.", show_default=False)]
ModelToScore = Annotated[
    str | None, typer.Option("--model", metavar="CKPT", help="A model that labels INPUT and gets its likelihoods.")
]
ModelToDrawFrom = Annotated[str | None, typer.Option("--model", metavar="CKPT", help="Draw from this trained model.")]
TruthOut = Annotated[str | None, typer.Option("--truth", metavar="CKPT_OUT", help="Save the generating model here.")]
Segments = Annotated[
    str | None, typer.Option("--segments", metavar="OUT", help="Write the list of segments here as well.")
]
Manifest = Annotated[
    bool, typer.Option("--manifest", help="Write what the output was made of to OUT.meta.json as well.")
]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that are there as they are.")]

InferredFile = Annotated[
    str, typer.Argument(metavar="INFERRED", help="A file that infer wrote; - is CSV from stdin.", show_default=False)
]
Picture = Annotated[
    str, typer.Option("--output", metavar="FIG", help="The picture: .png, .svg or .pdf.", show_default=False)
]
ModelToInspect = Annotated[str, typer.Argument(metavar="CKPT", help="The model file.", show_default=False)]

# How a series file is read
Time = Annotated[
    str | None, typer.Option("--time", metavar="NAME", help="The time column; else time, timestamp, date or t.")
]
NoTime = Annotated[bool, typer.Option("--no-time", help="There is no time column.")]
Series = Annotated[str | None, typer.Option("--series", metavar="NAME", help="The series id column; else series.")]
Channels = Annotated[
    str | None, typer.Option("--channels", metavar="A,B,C", help="The columns to model; else every other numeric one.")
]
Delimiter = Annotated[
    str | None, typer.Option("--delimiter", metavar="CHAR", help="What separates CSV cells; else , (tab in .tsv).")
]
Decimal = Annotated[str, typer.Option("--decimal", metavar="CHAR", help="The decimal mark of CSV numbers.")]
Sort = Annotated[bool, typer.Option("--sort", help="Sort rows by series and time, in memory.")]
MaxGap = Annotated[
    str | None,
    typer.Option("--max-gap", metavar="ROWS_OR_DURATION", help="A longer step in time ends the series: 20, 10min, 2h."),
]
Regular = Annotated[bool, typer.Option("--regular", help="Take rows as equally spaced, whatever the time column says.")]
ChannelsToDraw = Annotated[
    str | None, typer.Option("--channels", metavar="A,B,C", help="The columns to draw; else every other numeric one.")
]
RegularRows = Annotated[bool, typer.Option("--regular", help="Join rows across holes in time.")]

# The model
RegimesToFind = Annotated[
    str, typer.Option("--regimes", metavar="K|auto", help="Number of regimes; auto: the data say.")
]
FigureOut = Annotated[
    str | None, typer.Option("--plot", metavar="FIG", help="Draw a picture as well: .png, .svg or .pdf.")
]
ModelOfSegment = Annotated[str | None, typer.Option("--model", metavar="CKPT", help="Keep the model here.")]
OneInput = Annotated[
    str, typer.Argument(metavar="INPUT", help="A series file; - is CSV from stdin.", show_default=False)
]
OneOutput = Annotated[
    str, typer.Option("--output", metavar="OUT", help="The labelled file; - is stdout.", show_default=False)
]
Regimes = Annotated[int, typer.Option("--regimes", metavar="K", help="Number of regimes.")]
Lags = Annotated[int, typer.Option("--lags", metavar="P", help="Autoregressive order.")]
Stride = Annotated[
    str,
    typer.Option(
        "--stride", metavar="S|auto", help="Rows between one lag and the next; auto: more if sampled too fast."
    ),
]
Summarize = Annotated[
    str,
    typer.Option(
        "--summarize",
        metavar="none|auto|ROWS",
        help="Model blocks of so many rows, by their mean and spread; auto: some 600 blocks.",
    ),
]
PriorOption = Annotated[Prior, typer.Option("--prior", help="markov: regimes persist; iid: each row on its own.")]
CovarianceOption = Annotated[
    Covariance, typer.Option("--covariance", help="One noise covariance per regime, or one shared.")
]
NoiseOption = Annotated[Noise, typer.Option("--noise", help="student: heavy tails, for series with outliers.")]
Intercept = Annotated[
    bool, typer.Option("--intercept/--no-intercept", help="Whether regimes have a level of their own.")
]
FixedPrior = Annotated[bool, typer.Option("--fixed-prior", help="Keep regimes equally likely (prior iid).")]
Hidden = Annotated[int, typer.Option("--hidden", metavar="N", help="Width of the encoder.")]
Layers = Annotated[int, typer.Option("--layers", metavar="N", help="Hidden layers of the encoder.")]

# Training
EstimatorOption = Annotated[
    Estimator, typer.Option("--estimator", help="How annealing takes the expectation over regimes.")
]
TemperatureStart = Annotated[
    float, typer.Option("--temperature-start", metavar="X", help="Gumbel temperature at the first step.")
]
TemperatureEnd = Annotated[
    float, typer.Option("--temperature-end", metavar="X", help="Gumbel temperature at the last step.")
]
AnnealOption = Annotated[Anneal, typer.Option("--anneal", help="How the temperature falls.")]
TrainingSteps = Annotated[int, typer.Option("--steps", metavar="N", help="Annealing steps; fewer below 20,000 rows.")]
BatchRows = Annotated[int, typer.Option("--batch-rows", metavar="N", help="Rows in a minibatch.")]
LearningRate = Annotated[float, typer.Option("--lr", metavar="X", help="Learning rate of Adam.")]
Restarts = Annotated[
    int, typer.Option("--restarts", metavar="N", help="Starts of which the best on held-out rows goes on.")
]
Polish = Annotated[int, typer.Option("--polish", metavar="N", help="At most so many closed-form passes.")]
EvidenceScale = Annotated[
    str,
    typer.Option(
        "--evidence-scale", metavar="auto|X", help="How many rows carry the evidence of one; auto: the residuals say."
    ),
]
ExpectDwell = Annotated[
    str | None,
    typer.Option(
        "--expect-dwell", metavar="ROWS_OR_DURATION", help="How long a regime lasts, if known: 50, 10min, 2h."
    ),
]
Validation = Annotated[
    float, typer.Option("--validation", metavar="SHARE", help="Share of rows held out to choose the start.")
]
Init = Annotated[str | None, typer.Option("--init", metavar="CKPT", help="Start from this model.")]
AlignTo = Annotated[
    str | None, typer.Option("--align-to", metavar="CKPT", help="Number the regimes like those of this model.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from where an interrupted run stopped.")]

# Selection
RegimesToTry = Annotated[str, typer.Option("--regimes", metavar="K", help="Numbers to try: 1:6 or 2,4.")]
LagsToTry = Annotated[str, typer.Option("--lags", metavar="P", help="Autoregressive orders to try: 1,2.")]
CovarianceToTry = Annotated[
    str, typer.Option("--covariance", metavar="NAMES", help="regime, shared or both: regime,shared.")
]
ModelToKeep = Annotated[
    str | None, typer.Option("--model", metavar="OUT", help="Train the choice on all rows and save it here.")
]

# Inference and evaluation
PosteriorOption = Annotated[
    Posterior,
    typer.Option(
        "--posterior", help="smooth: all rows; viterbi: best path; filter: no later row; encoder: amortised, all rows."
    ),
]
OnlyRegimes = Annotated[bool, typer.Option("--only-regimes", help="Write time, series and regime alone.")]
TruthColumn = Annotated[str, typer.Option("--truth", metavar="NAME", help="The column of true labels.")]
PredictedColumn = Annotated[str, typer.Option("--predicted", metavar="NAME", help="The column of predicted labels.")]
Tolerance = Annotated[int, typer.Option("--tolerance", metavar="ROWS", help="How far off a change point may be.")]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-under", metavar="NAME=VALUE", help="Exit with status 3 if this figure is worse; may be repeated."
    ),
]

# Simulation
SimulatedSteps = Annotated[int, typer.Option("--steps", metavar="N", help="Rows of each series.")]
SimulatedChannels = Annotated[int, typer.Option("--channels", metavar="D", help="Number of channels.")]
Dwell = Annotated[float, typer.Option("--dwell", metavar="ROWS", help="Mean length of a visit (prior markov).")]
NumSeries = Annotated[int, typer.Option("--series", metavar="N", help="Number of series.")]
Missing = Annotated[float, typer.Option("--missing", metavar="SHARE", help="Share of cells left empty.")]
Outliers = Annotated[float, typer.Option("--outliers", metavar="SHARE", help="Share of rows with a spike of 20 sigma.")]

# Every command that works on series
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be read and needed; write nothing.")]

# Every command
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, auto, cuda, cuda:N or mps.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Governs all chance.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no notes; errors only.")]
LogFile = Annotated[
    str | None, typer.Option("--log-file", metavar="FILE", help="Keep a copy of progress, notes and errors.")
]


def names(text: str | None) -> tuple[str, ...] | None:
    """Column names out of "a,b,c"; None stays None."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
