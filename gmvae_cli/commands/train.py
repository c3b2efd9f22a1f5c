"""`gmvae train`: learn the regimes of a recording and save a model."""

import hashlib
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

import torch

from gmvae_cli.checkpoint import Checkpoint, load, write
from gmvae_cli.cluster.fitting import train_dealt
from gmvae_cli.commands.dry_run import READ_ROWS_PER_SECOND, TRAIN_ROWS_PER_SECOND, TRAIN_SECONDS, Plan, plan
from gmvae_cli.config import SeriesConfig, TrainConfig
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData, fingerprint
from gmvae_cli.engine_config import PASS_ROWS, STRETCH_ROWS, EngineConfig
from gmvae_cli.errors import ConfigError, Note
from gmvae_cli.files.atomic import atomic, require_apart
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.selection.search import data_notes, make_choices
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.engine import engine_of
from gmvae_cli.system.progress import Progress
from gmvae_cli.system.storage import absolute, beside, open_binary
from gmvae_cli.training.given_labels import KnownSummary
from gmvae_cli.training.resume import ResumeFile
from gmvae_cli.training.sampling import require_rows
from gmvae_cli.training.trained_model import PACKAGES, TrainedModel, initial_of, require_channels, train_model


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Figures of a training run. Log-likelihood and ELBO are nats per usable row, in standardised units."""

    rows: int
    regimes: int
    channels: list[str]
    elbo_per_row: float | None
    log_likelihood_per_row: float | None
    log_likelihood_per_row_data_units: float | None
    amortisation_gap: float | None
    evaluated_on: str
    shares: list[float]
    expected_dwell: list[float]
    names: list[str]
    evidence_scale: float
    stride: int
    summarize: int
    agreement: float | None
    steps: int
    seconds: float
    rows_per_second: float
    converged: bool
    warnings: list[Note]
    model: str
    series: int
    holes: int
    breaks: int
    missing: int
    known: KnownSummary | None = None
    columns: list[dict[str, Any]] = field(default_factory=list)
    resumed: bool


def train(
    inputs: Sequence[str],
    model_path: str,
    config: TrainConfig,
    series: SeriesConfig,
    resume: bool,
    progress: Progress,
    engine: EngineConfig = EngineConfig(),
) -> TrainResult:
    """Train on one table and write the model, whole or not at all.

    Finished work is kept in a resume file beside the model, which is removed at success.

    Args:
        resume: go on from the resume file, if there is one. engine: says who does the work.
    Raises:
        SeriesError: the table cannot be used. CheckpointError: a model of --init or --align-to does not fit it.
    """
    started = time.perf_counter()
    configure_process()
    require_apart({"--model": model_path}, inputs)
    device = device_of(config.device)
    older = load(config.init) if config.init else None
    reference = load(config.align_to) if config.align_to else None
    reader = open_series(inputs, series)
    if not engine.is_plain:
        return _deal(reader, model_path, config, engine, resume, (older, reference), progress, started)
    with atomic(model_path) as temporary, reader.read_data(None, progress) as data:
        columns = reader.columns(data)
        resume_log = ResumeFile(beside(model_path, ".resume"), _identity(data, config, series, device))
        config, start = make_choices(config, data, progress)
        if older is not None:
            start = replace(start, initial=initial_of(older, config, data), names=older.names)
        if reference is not None:
            require_channels(config.align_to, reference, data.channels)
        resumed = resume and resume_log.load()
        with resume_log:
            notes = [*data.notes, *data_notes(data, config)]
            trained = train_model(data, reader.layout, config, start, progress, notes, resume_log, reference)
            write(temporary, trained.checkpoint)
    resume_log.remove()
    notes = list(trained.notes)
    if resume_log.problem:
        sentence = f"an interrupted run would have been lost: {resume_log.problem}"
        notes.append(Note("no_resume_file", sentence))
    seconds = time.perf_counter() - started
    return TrainResult(
        **_facts(data, config, trained),
        agreement=start.agreement,
        seconds=seconds,
        rows_per_second=data.rows / seconds,
        warnings=notes,
        model=model_path,
        columns=columns,
        resumed=resumed,
    )


def _deal(
    reader: SeriesReader,
    model_path: str,
    config: TrainConfig,
    options: EngineConfig,
    resume: bool,
    others: tuple[Checkpoint | None, Checkpoint | None],
    progress: Progress,
    started: float,
) -> TrainResult:
    """Train by the workers of an engine; others: the models of --init and --align-to."""
    if reader.layout.known is not None:
        raise ConfigError("--known has its labels read in one process; leave out --engine and --workers")
    if resume:
        raise ConfigError("--resume goes on with a run in one process; leave it out")
    if reader.paths == ("-",):
        raise ConfigError("- (stdin) can be read once only, so it cannot be dealt out; name a file")
    if options.engine != "local":  # workers may have started elsewhere
        files = [replace(file, path=absolute(file.path)) for file in reader.files]
        reader = open_series(files, reader.layout.config)
    limit, pass_rows = options.stretch_rows or STRETCH_ROWS, options.train_rows or PASS_ROWS
    with atomic(model_path) as temporary, engine_of(options) as engine:
        dealt = train_dealt(engine, reader, config, limit, pass_rows, progress, *others)
        write(temporary, dealt.trained.checkpoint)
    data, seconds = dealt.data, time.perf_counter() - started
    return TrainResult(
        **_facts(data, dealt.config, dealt.trained),
        agreement=None,
        seconds=seconds,
        rows_per_second=data.rows / seconds,
        warnings=list(dealt.trained.notes),
        model=model_path,
        columns=reader.columns(data),
        resumed=False,
    )


def dry_run(inputs: Sequence[str], config: TrainConfig, files: SeriesConfig, progress: Progress) -> Plan:
    """Plan a training run: read all rows, and raise the errors that training would raise about them."""
    configure_process()
    device = device_of(config.device)
    reader = open_series(inputs, files)
    with reader.read_data(None, progress) as data:
        if config.search is None or config.search.time_scale is not None:  # the comparison takes as long as training
            config, _ = make_choices(config, data, progress)
        require_rows(training_rows(data, config.model, device), config)
        features = 2 * len(data.channels) + 1  # of a block: mean and spread of each channel, and its step
        needed = 0 if config.model.summarize == 1 else 8 * features * (data.rows // config.model.summarize)
        seconds = TRAIN_SECONDS + data.rows * (1 / READ_ROWS_PER_SECOND + 1 / TRAIN_ROWS_PER_SECOND)
        return plan(data, needed, None, seconds=seconds, columns=reader.columns(data))


def _facts(data: SeriesData, config: TrainConfig, trained: TrainedModel) -> dict[str, Any]:
    """Collect the part of the result that two runs with the same input and options share."""
    return {
        "rows": data.rows,
        "regimes": config.model.regimes,
        "channels": list(data.channels),
        "names": list(trained.checkpoint.names),
        "evidence_scale": float(trained.fit.parameters.evidence_scale),
        "stride": config.model.stride,
        "summarize": config.model.summarize,
        "steps": trained.fit.steps,
        "converged": trained.fit.converged,
        "series": data.num_series,
        "holes": data.holes,
        "breaks": data.breaks,
        "missing": int(data.missing.sum()),
        "known": trained.known,
        **trained.scores,
    }


def _identity(data: SeriesData, config: TrainConfig, series: SeriesConfig, device: torch.device) -> dict[str, Any]:
    """Collect all that determines the trained model; a run with another identity cannot go on from this one."""
    options = asdict(config) | asdict(series)
    open_choices = [name for name, value in (options.pop("search") or {}).items() if value is None]
    options |= options.pop("model") | {"device": str(device)} | dict.fromkeys(open_choices, "auto")
    return {
        "the input": f"{data.rows:,} rows, digest {fingerprint(data)}",
        **{f"--{name.replace('_', '-')}": value for name, value in options.items()},
        **{
            f"the content of --{name}": _content(path)
            for name, path in (("init", config.init), ("align-to", config.align_to))
        },
        **{f"the version of {name}": version(name) for name in ("gmvae", *PACKAGES)},
        "the processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
    }


def _content(path: str | None) -> str | None:
    """Compute a digest of a file; None without a file."""
    if path is None:
        return None
    with open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
