"""The Typer app: one short function per command."""

from typing import Annotated

import typer

from gmvae_cli.cli import options, report
from gmvae_cli.cli.error_boundary import Commands
from gmvae_cli.cli.terminal import show
from gmvae_cli.config import (
    EvaluateConfig,
    InferConfig,
    ModelConfig,
    Search,
    SelectConfig,
    SeriesConfig,
    SimulateConfig,
    TrainConfig,
    covariances,
    number_or,
    whole_numbers,
)
from gmvae_cli.errors import ConfigError

app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    subcommand_metavar="COMMAND",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"gmvae {version('gmvae')}")
        raise typer.Exit


@app.callback()
def gmvae(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Find the regimes of a time series: when each one held, how sure that is, and how each one behaves."""


@app.command()
def simulate(
    output: options.SimulatedFile,
    steps: options.SimulatedSteps = SimulateConfig.steps,
    regimes: options.Regimes = SimulateConfig.regimes,
    channels: options.SimulatedChannels = SimulateConfig.channels,
    lags: options.Lags = SimulateConfig.lags,
    prior: options.PriorOption = SimulateConfig.prior,
    dwell: options.Dwell = SimulateConfig.dwell,
    covariance: options.CovarianceOption = SimulateConfig.covariance,
    intercept: options.Intercept = SimulateConfig.intercept,
    series: options.NumSeries = SimulateConfig.series,
    missing: options.Missing = SimulateConfig.missing,
    outliers: options.Outliers = SimulateConfig.outliers,
    model: options.ModelToDrawFrom = SimulateConfig.model,
    truth: options.TruthOut = None,
    seed: options.Seed = SimulateConfig.seed,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> None:
    """Draw a switching autoregressive series with its true regimes."""
    config = SimulateConfig(
        steps=steps,
        regimes=regimes,
        channels=channels,
        lags=lags,
        prior=prior,
        dwell=dwell,
        covariance=covariance,
        intercept=intercept,
        series=series,
        missing=missing,
        outliers=outliers,
        model=model,
        seed=seed,
    )
    _one_thing_on_stdout(output, as_json)
    from gmvae_cli.commands import simulate as job

    with show(quiet=quiet, as_json=as_json, log_file=log_file) as terminal:
        result = job.simulate(output, config, truth, terminal)
        report.simulate(result, terminal)


@app.command()
def train(
    inputs: options.Inputs,
    model: options.ModelOut,
    regimes: options.Regimes = ModelConfig.regimes,
    lags: options.Lags = ModelConfig.lags,
    stride: options.Stride = str(ModelConfig.stride),
    summarize: options.Summarize = "none",
    prior: options.PriorOption = ModelConfig.prior,
    covariance: options.CovarianceOption = ModelConfig.covariance,
    noise: options.NoiseOption = ModelConfig.noise,
    intercept: options.Intercept = ModelConfig.intercept,
    fixed_prior: options.FixedPrior = ModelConfig.fixed_prior,
    estimator: options.EstimatorOption = TrainConfig.estimator,
    temperature_start: options.TemperatureStart = TrainConfig.temperature_start,
    temperature_end: options.TemperatureEnd = TrainConfig.temperature_end,
    anneal: options.AnnealOption = TrainConfig.anneal,
    hidden: options.Hidden = ModelConfig.hidden,
    layers: options.Layers = ModelConfig.layers,
    steps: options.TrainingSteps = TrainConfig.steps,
    batch_rows: options.BatchRows = TrainConfig.batch_rows,
    lr: options.LearningRate = TrainConfig.lr,
    restarts: options.Restarts = TrainConfig.restarts,
    polish: options.Polish = TrainConfig.polish,
    expect_dwell: options.ExpectDwell = TrainConfig.expect_dwell,
    evidence_scale: options.EvidenceScale = TrainConfig.evidence_scale,
    validation: options.Validation = TrainConfig.validation,
    init: options.Init = TrainConfig.init,
    align_to: options.AlignTo = TrainConfig.align_to,
    resume: options.Resume = False,
    time: options.Time = SeriesConfig.time,
    no_time: options.NoTime = SeriesConfig.no_time,
    series: options.Series = SeriesConfig.series,
    channels: options.Channels = None,
    delimiter: options.Delimiter = SeriesConfig.delimiter,
    decimal: options.Decimal = SeriesConfig.decimal,
    sort: options.Sort = SeriesConfig.sort,
    max_gap: options.MaxGap = SeriesConfig.max_gap,
    regular: options.Regular = SeriesConfig.regular,
    device: options.Device = TrainConfig.device,
    seed: options.Seed = TrainConfig.seed,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> None:
    """Learn the regimes of one or more series, and save a model."""
    search = Search(
        regimes=regimes,
        stride=number_or(stride, "stride", "auto"),
        block_rows=1 if summarize == "none" else number_or(summarize, "summarize", "auto"),
    )
    config = TrainConfig(
        model=search.smallest(
            ModelConfig(
                lags=lags,
                prior=prior,
                covariance=covariance,
                noise=noise,
                intercept=intercept,
                fixed_prior=fixed_prior,
                hidden=hidden,
                layers=layers,
            )
        ),
        search=search if search.leaves_choices else None,
        estimator=estimator,
        temperature_start=temperature_start,
        temperature_end=temperature_end,
        anneal=anneal,
        steps=steps,
        batch_rows=batch_rows,
        lr=lr,
        restarts=restarts,
        polish=polish,
        expect_dwell=expect_dwell,
        evidence_scale=evidence_scale,
        validation=validation,
        init=init,
        align_to=align_to,
        device=device,
        seed=seed,
    )
    files = SeriesConfig(
        time=time,
        no_time=no_time,
        series=series,
        channels=options.names(channels),
        delimiter=delimiter,
        decimal=decimal,
        sort=sort,
        max_gap=max_gap,
        regular=regular,
    )
    from gmvae_cli.commands import train as job

    with show(quiet=quiet, as_json=as_json, log_file=log_file) as terminal:
        if dry_run:
            plan = job.dry_run(inputs, config, files, terminal)
            report.plan(plan, terminal)
            return
        result = job.train(inputs, model, config, files, resume, terminal)
        report.train(result, terminal)


@app.command()
def infer(
    inputs: options.Inputs,
    model: options.ModelIn,
    output: options.Output,
    posterior: options.PosteriorOption = InferConfig.posterior,
    segments: options.Segments = None,
    only_regimes: options.OnlyRegimes = InferConfig.only_regimes,
    skip_existing: options.SkipExisting = False,
    manifest: options.Manifest = InferConfig.manifest,
    fail_under: options.FailUnder = None,
    time: options.Time = SeriesConfig.time,
    no_time: options.NoTime = SeriesConfig.no_time,
    series: options.Series = SeriesConfig.series,
    channels: options.Channels = None,
    delimiter: options.Delimiter = SeriesConfig.delimiter,
    decimal: options.Decimal = SeriesConfig.decimal,
    sort: options.Sort = SeriesConfig.sort,
    max_gap: options.MaxGap = SeriesConfig.max_gap,
    regular: options.Regular = SeriesConfig.regular,
    device: options.Device = InferConfig.device,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> None:
    """Give every row its regime and the probabilities of all regimes."""
    config = InferConfig(
        posterior=posterior,
        only_regimes=only_regimes,
        manifest=manifest,
        fail_under=tuple(fail_under or ()),
        device=device,
    )
    files = SeriesConfig(
        time=time,
        no_time=no_time,
        series=series,
        channels=options.names(channels),
        delimiter=delimiter,
        decimal=decimal,
        sort=sort,
        max_gap=max_gap,
        regular=regular,
    )
    _one_thing_on_stdout(output, as_json)
    from gmvae_cli.commands import infer as job

    with show(quiet=quiet, as_json=as_json, log_file=log_file) as terminal:
        if dry_run:
            plan = job.dry_run(inputs, model, output, config, files, terminal)
            report.plan(plan, terminal)
            if plan.failures:
                raise typer.Exit(1)
            return
        result = job.infer(inputs, model, output, config, files, segments, skip_existing, terminal)
        report.infer(result, terminal)
    if result.failures:
        raise typer.Exit(1)
    if result.missed:
        raise typer.Exit(3)


@app.command()
def select(
    inputs: options.Inputs,
    regimes: options.RegimesToTry = "1:6",
    lags: options.LagsToTry = "1",
    covariance: options.CovarianceToTry = "regime",
    model: options.ModelToKeep = None,
    prior: options.PriorOption = SelectConfig.prior,
    intercept: options.Intercept = SelectConfig.intercept,
    restarts: options.Restarts = SelectConfig.restarts,
    time: options.Time = SeriesConfig.time,
    no_time: options.NoTime = SeriesConfig.no_time,
    series: options.Series = SeriesConfig.series,
    channels: options.Channels = None,
    delimiter: options.Delimiter = SeriesConfig.delimiter,
    decimal: options.Decimal = SeriesConfig.decimal,
    sort: options.Sort = SeriesConfig.sort,
    max_gap: options.MaxGap = SeriesConfig.max_gap,
    regular: options.Regular = SeriesConfig.regular,
    device: options.Device = SelectConfig.device,
    seed: options.Seed = SelectConfig.seed,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> None:
    """Choose the number of regimes by held-out likelihood."""
    config = SelectConfig(
        regimes=whole_numbers(regimes, "regimes"),
        lags=whole_numbers(lags, "lags"),
        covariance=covariances(covariance),
        prior=prior,
        intercept=intercept,
        restarts=restarts,
        device=device,
        seed=seed,
    )
    files = SeriesConfig(
        time=time,
        no_time=no_time,
        series=series,
        channels=options.names(channels),
        delimiter=delimiter,
        decimal=decimal,
        sort=sort,
        max_gap=max_gap,
        regular=regular,
    )
    from gmvae_cli.commands import select as job
    from gmvae_cli.commands import train as training

    with show(quiet=quiet, as_json=as_json, log_file=log_file) as terminal:
        result = job.select(inputs, config, files, terminal)
        if model is not None:
            training.train(inputs, model, config.training(result.choice), files, None, terminal)
        report.select(result, terminal)


@app.command()
def segment(
    input_file: options.OneInput,
    output: options.OneOutput,
    regimes: options.RegimesToFind = "auto",
    plot: options.FigureOut = None,
    model: options.ModelOfSegment = None,
    segments: options.Segments = None,
    noise: options.NoiseOption = ModelConfig.noise,
    expect_dwell: options.ExpectDwell = TrainConfig.expect_dwell,
    posterior: options.PosteriorOption = InferConfig.posterior,
    time: options.Time = SeriesConfig.time,
    no_time: options.NoTime = SeriesConfig.no_time,
    series: options.Series = SeriesConfig.series,
    channels: options.Channels = None,
    delimiter: options.Delimiter = SeriesConfig.delimiter,
    decimal: options.Decimal = SeriesConfig.decimal,
    sort: options.Sort = SeriesConfig.sort,
    max_gap: options.MaxGap = SeriesConfig.max_gap,
    regular: options.Regular = SeriesConfig.regular,
    device: options.Device = TrainConfig.device,
    seed: options.Seed = TrainConfig.seed,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> None:
    """Find the regimes of a recording in one step: from a raw file to labels."""
    search = Search(stride=None, block_rows=None, regimes=number_or(regimes, "regimes", "auto"), time_scale=None)
    config = TrainConfig(
        model=search.smallest(ModelConfig(noise=noise)),
        search=search,
        expect_dwell=expect_dwell,
        device=device,
        seed=seed,
    )
    labels = InferConfig(posterior=posterior, device=device)
    files = SeriesConfig(
        time=time,
        no_time=no_time,
        series=series,
        channels=options.names(channels),
        delimiter=delimiter,
        decimal=decimal,
        sort=sort,
        max_gap=max_gap,
        regular=regular,
    )
    _one_thing_on_stdout(output, as_json)
    from gmvae_cli.commands import segment as job

    with (
        show(quiet=quiet, as_json=as_json, log_file=log_file) as terminal,
        job.prepared(input_file, output, model, plot, segments) as paths,
    ):
        from gmvae_cli.commands import infer, train
        from gmvae_cli.commands import plot as picture

        if dry_run:
            plan = train.dry_run([paths.input], config, files, terminal)
            report.plan(plan, terminal)
            return
        trained = train.train(
            [paths.input], paths.model, config, files, None, terminal, lambda note: terminal.warning(note.sentence)
        )
        labelled = infer.infer([paths.input], paths.model, output, labels, files, segments, False, terminal)
        if plot is not None:
            picture.plot(output, plot, files, terminal)
        report.segment(job.summary(trained, labelled, model, plot), terminal)


@app.command()
def evaluate(
    input_file: options.Input,
    truth: options.TruthColumn = EvaluateConfig.truth,
    predicted: options.PredictedColumn = EvaluateConfig.predicted,
    model: options.ModelToScore = None,
    tolerance: options.Tolerance = EvaluateConfig.tolerance,
    fail_under: options.FailUnder = None,
    time: options.Time = SeriesConfig.time,
    no_time: options.NoTime = SeriesConfig.no_time,
    series: options.Series = SeriesConfig.series,
    channels: options.Channels = None,
    delimiter: options.Delimiter = SeriesConfig.delimiter,
    decimal: options.Decimal = SeriesConfig.decimal,
    sort: options.Sort = SeriesConfig.sort,
    max_gap: options.MaxGap = SeriesConfig.max_gap,
    regular: options.Regular = SeriesConfig.regular,
    device: options.Device = EvaluateConfig.device,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> None:
    """Judge labels against the truth, and a model by its likelihood."""
    config = EvaluateConfig(
        truth=truth, predicted=predicted, tolerance=tolerance, fail_under=tuple(fail_under or ()), device=device
    )
    files = SeriesConfig(
        time=time,
        no_time=no_time,
        series=series,
        channels=options.names(channels),
        delimiter=delimiter,
        decimal=decimal,
        sort=sort,
        max_gap=max_gap,
        regular=regular,
    )
    from gmvae_cli.commands import evaluate as job

    with show(quiet=quiet, as_json=as_json, log_file=log_file) as terminal:
        result = job.evaluate(input_file, config, files, model, terminal)
        report.evaluate(result, terminal)
    if result.missed:
        raise typer.Exit(3)


@app.command()
def inspect(
    model: options.ModelToInspect,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> None:
    """Describe the regimes of a model, in the units of its data."""
    from gmvae_cli.commands import inspect as job

    with show(quiet=quiet, as_json=as_json, log_file=log_file) as terminal:
        result = job.inspect(model, terminal)
        report.inspect(result, terminal)


@app.command()
def plot(
    input_file: options.InferredFile,
    output: options.Picture,
    time: options.Time = SeriesConfig.time,
    no_time: options.NoTime = SeriesConfig.no_time,
    series: options.Series = SeriesConfig.series,
    channels: options.ChannelsToDraw = None,
    delimiter: options.Delimiter = SeriesConfig.delimiter,
    decimal: options.Decimal = SeriesConfig.decimal,
    regular: options.RegularRows = SeriesConfig.regular,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> None:
    """Draw a labelled series over time, shaded by regime."""
    files = SeriesConfig(
        time=time,
        no_time=no_time,
        series=series,
        channels=options.names(channels),
        delimiter=delimiter,
        decimal=decimal,
        regular=regular,
    )
    from gmvae_cli.commands import plot as job

    with show(quiet=quiet, as_json=as_json, log_file=log_file) as terminal:
        result = job.plot(input_file, output, files, terminal)
        report.plot(result, terminal)


def _one_thing_on_stdout(output: str, as_json: bool) -> None:
    if output == "-" and as_json:
        raise ConfigError("--json and the output - both want stdout; name a file for the output")
