"""The Typer app: one short function per command, which builds nothing, computes nothing and prints nothing itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer

from gmvae_cli.cli import model_report, options, paths, regime_report, report
from gmvae_cli.cli.error_boundary import Commands
from gmvae_cli.cli.help import HELP_NAMES, Command, InstallCompletion, ShowCompletion
from gmvae_cli.cli.splicing import with_options

app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    add_completion=False,  # `help` has it, at no cost before it is asked for
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP_NAMES)},
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command, its options in the place of the configs that they build."""
    return app.command(cls=Command)(with_options(function))


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
    install_completion: InstallCompletion = None,
    show_completion: ShowCompletion = None,
) -> None:
    """Find the regimes of a time series: when each holds, how sure that is, and how each behaves."""


@command
def segment(
    inputs: options.Inputs,
    output: options.Output,
    config: options.Segmentation,
    labels: options.Labels,
    files: options.FilesToSegment,
    *,
    plot: options.FigureToo = None,
    model: options.ModelOfSegment = None,
    segments: options.SegmentsToo = None,
    dry_run: options.DryRun = False,
    display: options.Display,
) -> None:
    """Find the regimes of raw files and label their rows, in one step."""
    labels = replace(labels, min_dwell=config.min_dwell, device=config.device)
    with display as terminal:
        terminal.require_free_stdout(output)
        paths.require_inputs(inputs)
        paths.require_outputs(output if paths.is_one_file(inputs) else None, plot, model, segments)
        from gmvae_cli.commands import segment

        if dry_run:
            report.plan(segment.dry_run(inputs, output, config, labels, files, terminal), terminal)
        else:
            targets = segment.Targets(output=output, segments=segments, plot=plot, model=model)
            result = segment.segment(inputs, targets, config, labels, files, terminal, terminal.warning)
            report.segment(result, terminal)


@command
def train(
    inputs: options.Inputs,
    model: options.ModelOut,
    config: options.Training,
    files: options.FilesToLearn,
    *,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    engine: options.EngineToTrain,
    display: options.Display,
) -> None:
    """Learn the regimes of one or more series, and save a model."""
    with display as terminal:
        paths.require_models(config.init, config.align_to)
        paths.require_inputs(inputs)
        paths.require_outputs(None if dry_run else model)
        from gmvae_cli.commands import train

        if dry_run:
            report.plan(train.dry_run(inputs, config, files, terminal), terminal)
        else:
            report.train(train.train(inputs, model, config, files, resume, terminal, engine), terminal)


@command
def infer(
    inputs: options.Inputs,
    model: options.ModelIn,
    output: options.Output,
    config: options.Inference,
    files: options.FilesToLabel,
    *,
    segments: options.SegmentsToo = None,
    summary: options.SummaryToo = None,
    metrics: options.MetricsToo = None,
    skip_existing: options.SkipExisting = False,
    dry_run: options.DryRun = False,
    engine: options.EngineToLabel,
    live: options.Live,
    display: options.Display,
) -> None:
    """Give every row its regime and the probabilities of all regimes."""
    with display as terminal:
        terminal.require_free_stdout(output)
        paths.require_models(model)
        if live.follow:
            whole: dict[str, Any] = {"--segments": segments, "--summary": summary, "--metrics": metrics}
            whole |= {"--skip-existing": skip_existing, "--dry-run": dry_run, "--engine": not engine.is_plain}
            _follow(inputs, model, output, live, config, files, whole, terminal)
            return
        if paths.is_one_file(inputs):  # of several, each that is missing is reported and the others are labelled
            paths.require_inputs(inputs)
            if engine.is_plain and not dry_run:  # else the output may be a folder of parts
                paths.require_outputs(output)
            if not dry_run:
                paths.require_outputs(segments, summary, metrics)
        from gmvae_cli.commands import infer

        if dry_run:
            plan = infer.dry_run(inputs, model, output, config, files, terminal)
            report.plan(plan, terminal)
            _exit(plan.failures)
        else:
            targets = infer.Targets(output=output, segments=segments, summary=summary, metrics=metrics)
            result = infer.infer(inputs, model, targets, config, files, skip_existing, terminal, engine, live.state)
            report.infer(result, terminal)
            _exit(result.failures, result.missed)


@command
def forecast(
    inputs: options.Inputs,
    model: options.ModelIn,
    output: options.ForecastOut,
    config: options.Forecasting,
    files: options.FilesToLabel,
    display: options.Display,
) -> None:
    """Forecast the rows that follow: regimes, and every channel with its spread."""
    with display as terminal:
        terminal.require_free_stdout(output)
        paths.require_models(model)
        paths.require_inputs(inputs)
        paths.require_outputs(output)
        from gmvae_cli.forecasting.forecast import forecast

        model_report.forecast(forecast(inputs, model, output, config, files, terminal), terminal)


@command
def select(
    inputs: options.Inputs,
    config: options.Selection,
    files: options.Files,
    *,
    model: options.ModelOfChoice = None,
    engine: options.Engine,
    display: options.Display,
) -> None:
    """Choose the number of regimes by held-out likelihood."""
    with display as terminal:
        paths.require_inputs(inputs)
        paths.require_outputs(model)
        from gmvae_cli.commands.select import select

        report.select(select(inputs, config, files, model, terminal), terminal)


@command
def evaluate(
    input_file: options.LabelledInput,
    config: options.Evaluation,
    files: options.Files,
    *,
    model: options.ModelToScore = None,
    display: options.Display,
) -> None:
    """Judge labels against the truth, and a model by its likelihood."""
    with display as terminal:
        paths.require_inputs([input_file])
        paths.require_models(model)
        from gmvae_cli.commands.evaluate import evaluate

        result = evaluate(input_file, config, files, model, terminal)
        report.evaluate(result, terminal)
        _exit((), result.missed)


@command
def compare(
    model_a: options.ModelBefore,
    model_b: options.ModelAfter,
    inputs: options.Inputs,
    config: options.Comparison,
    files: options.Files,
    *,
    output: options.MovedToo = None,
    display: options.Display,
) -> None:
    """Label the same rows by two models, and say what would change."""
    with display as terminal:
        paths.require_models(model_a, model_b)
        paths.require_inputs(inputs)
        paths.require_outputs(output)
        from gmvae_cli.commands.compare import compare

        result = compare(model_a, model_b, inputs, output, config, files, terminal)
        regime_report.compare(result, terminal)
        _exit((), result.missed)


@command
def inspect(model: options.ModelArgument, display: options.Display) -> None:
    """Describe the regimes of a model, in the units of its data."""
    with display as terminal:
        paths.require_models(model)
        from gmvae_cli.commands.inspect import inspect

        model_report.inspect(inspect(model, terminal), terminal)


@command
def rename(
    model: options.ModelArgument,
    assignments: options.Assignments,
    *,
    output: options.RenamedModel = None,
    display: options.Display,
) -> None:
    """Give the regimes of a model names; those of one name are one regime from then on."""
    with display as terminal:
        paths.require_models(model)
        paths.require_outputs(output or model)
        from gmvae_cli.commands.rename import rename

        model_report.rename(rename(model, assignments, output, terminal), terminal)


@command
def profile(
    input_file: options.LabelledInput,
    config: options.Profile,
    files: options.Files,
    *,
    output: options.ProfileOut = None,
    display: options.Display,
) -> None:
    """Describe each regime by its rows: how long, how often, what follows, and every channel."""
    with display as terminal:
        paths.require_inputs([input_file])
        paths.require_outputs(output)
        from gmvae_cli.labelled.profile import profile

        regime_report.profile(profile(input_file, output, config, files, terminal), terminal)


@command
def plot(
    input_file: options.InferredInput,
    output: options.Figure,
    files: options.FilesToDraw,
    display: options.Display,
) -> None:
    """Draw a labelled series over time, shaded by regime."""
    with display as terminal:
        paths.require_inputs([input_file])
        paths.require_outputs(output)
        from gmvae_cli.commands.plot import plot

        report.plot(plot(input_file, output, files, terminal), terminal)


@command
def simulate(
    output: options.SimulatedOutput,
    config: options.Simulation,
    *,
    truth: options.TruthOut = None,
    display: options.Display,
) -> None:
    """Draw a switching autoregressive series with its true regimes."""
    with display as terminal:
        terminal.require_free_stdout(output)
        paths.require_models(config.model)
        paths.require_outputs(output, truth)
        from gmvae_cli.commands.simulate import simulate

        report.simulate(simulate(output, config, truth, terminal), terminal)


def _follow(
    inputs: Any, model: str, output: str, live: Any, config: Any, files: Any, whole: Any, terminal: Any
) -> None:
    """Label rows as they arrive, without progress; whole: options that are for whole files, with what was given."""
    from gmvae_cli.live.follow import follow

    terminal.close()
    says = {"on_error": terminal.error, "on_note": terminal.note_on_feed}
    follow(inputs, model, output, live, config, files, not_possible=whole, **says)


def _exit(failures: Any, missed: Any = ()) -> None:
    """End with status 1 if files failed, and with 3 if gates were missed."""
    if failures or missed:
        raise typer.Exit(1 if failures else 3)
