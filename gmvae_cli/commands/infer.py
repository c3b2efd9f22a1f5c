"""`gmvae infer`: label every row of a file with a trained model."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gmvae_cli.checkpoint import load
from gmvae_cli.cluster.labelling import DealtLabelling
from gmvae_cli.cluster.whole_files import FileLabelling
from gmvae_cli.commands.dry_run import INFER_ROWS_PER_SECOND, READ_ROWS_PER_SECOND, Plan, existing_folder, joined, plan
from gmvae_cli.commands.gates import missed
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.engine_config import STRETCH_ROWS, EngineConfig
from gmvae_cli.errors import ConfigError, GmvaeError, Note
from gmvae_cli.files import manifest
from gmvae_cli.files.atomic import atomic, require_apart, require_no_input
from gmvae_cli.files.inputs import InputFile, expand, is_one_file, suffix_of
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.inference import posterior
from gmvae_cli.inference.apply import with_shortest_visit
from gmvae_cli.metrics.segments import Ribbon
from gmvae_cli.outputs.label_table import scratch_folder
from gmvae_cli.outputs.label_totals import training_log_likelihood
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.engine import engine_of
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.storage import absolute
from gmvae_cli.system.storage import joined as joined_path

_NOT_IN_MANIFEST = (
    "seconds",
    "output",
    "segments_file",
    "manifest",
    "skipped",
    "redone",
    "failed_before",
    "ribbon",
    "missed",
)


@dataclass(frozen=True, kw_only=True)
class InferResult:
    """Figures of the labels.

    Log-likelihoods are nats per row that has a value and all its lags, in data units; None where no row has, or where
    the model was not trained. `profile` describes each regime by its rows, with times in `time_unit`, else in rows.
    `failures` has a sentence for each file that could not be labelled, `failed_before` for each that could not in an
    earlier run and has not changed, `missed` for each gate; `ribbon` is for a terminal.
    """

    rows: int
    shares: list[float]
    expected_dwell: list[float]
    names: list[str]
    log_likelihood_per_row: float | None
    training_log_likelihood_per_row: float | None
    log_likelihood_above_training: float | None
    profile: list[dict[str, Any]]
    time_unit: str | None
    segments: int
    unknown_share: float | None = None
    novel_share: float | None = None
    novel_since: str | None = None
    seconds: float
    warnings: list[Note]
    output: str
    segments_file: str | None = None
    manifest: str | None = None
    columns: list[dict[str, Any]] = field(default_factory=list)
    files: int = 1
    skipped: int = 0
    redone: int = 0
    failures: list[str] = field(default_factory=list)
    failed_before: list[str] = field(default_factory=list)
    ribbon: Ribbon | None = None
    missed: tuple[str, ...] = ()

    @property
    def known_share(self) -> float | None:
        """Share of the rows that are not novel, for gates."""
        return None if self.novel_share is None else 1 - self.novel_share


def infer(
    inputs: Sequence[str],
    model_path: str,
    output: str,
    config: InferConfig,
    series: SeriesConfig,
    segments_path: str | None,
    skip_existing: bool,
    progress: Progress,
    engine: EngineConfig = EngineConfig(),
) -> InferResult:
    """Label a file, or each of several files into a folder that mirrors their paths.

    A file among several that cannot be labelled is reported in `failures`; the others are labelled.

    Args:
        engine: says who labels the files, and how long a series is cut.
    """
    started = time.perf_counter()
    configure_process()
    if config.manifest and output == "-":
        raise ConfigError("--manifest describes a file, but --output is -; name a file for the output")
    manifest_path = manifest.beside(output) if config.manifest else None
    require_apart({"--segments": segments_path, "--manifest": manifest_path}, [*inputs, model_path, output])
    if output != "-":
        require_apart({"--output": output}, [model_path])
    files = expand(inputs)
    single = is_one_file(files, inputs)
    outputs = [output] if single else [joined_path(output, file.relative) for file in files]
    require_no_input(outputs, [file.path for file in files])
    checkpoint = load(model_path)
    if config.posterior == "encoder":
        checkpoint.build_encoder(model_path)
    labelling = FileLabelling(checkpoint, model_path, config, series, progress)
    if not single:
        _require_folder(output, segments_path)
    if not engine.is_plain:
        _deal(labelling, files, output, single, segments_path, skip_existing, engine)
    elif single:
        if skip_existing and labelling.earlier.is_done(files[0].path, output):
            labelling.skipped = 1
        else:
            labelling.label_file(files[0], output, segments_path)
    else:
        labelling.label_folder(files, output, skip_existing)
    result = _result(labelling, output, time.perf_counter() - started)
    if manifest_path is not None and labelling.written:
        with atomic(manifest_path) as temporary:
            _write_manifest(temporary, labelling, result, segments_path)
        result = replace(result, manifest=manifest_path)
    if labelling.written:
        result = replace(result, segments_file=segments_path)
    return replace(result, missed=missed(config.gates, result) if result.files else ())


def _require_folder(output: str, segments_path: str | None) -> None:
    """Check that the outputs of several inputs can be told apart."""
    if segments_path is not None:
        raise ConfigError("--segments goes with a single input; several inputs need one run each")
    if output == "-" or suffix_of(output) is not None:
        raise ConfigError(f"--output is '{output}', but several inputs need a folder to write to")


def _deal(
    labelling: FileLabelling,
    files: Sequence[InputFile],
    output: str,
    single: bool,
    segments_path: str | None,
    skip_existing: bool,
    config: EngineConfig,
) -> None:
    """Label files by the workers of an engine."""
    if segments_path is not None:
        raise ConfigError("--segments is for labels of one process; leave out --engine, --workers and --stretch-rows")
    if output == "-":
        raise ConfigError("--output is -, but rows that are dealt out go into files; name a file or a folder")
    if files[0].path == "-":
        raise ConfigError("- (stdin) can be read once only, so it cannot be dealt out; name a file")
    if config.engine != "local":  # workers may have started elsewhere
        files, output = [replace(file, path=absolute(file.path)) for file in files], absolute(output)
    with engine_of(config) as engine:
        dealt = DealtLabelling(engine, labelling, config.stretch_rows or STRETCH_ROWS)
        if not single:
            dealt.label_folder(files, output, skip_existing)
        elif skip_existing and labelling.earlier.is_done(files[0].path, output):
            labelling.skipped = 1
        else:
            dealt.label_file(files[0], output)


def dry_run(
    inputs: Sequence[str],
    model_path: str,
    output: str,
    config: InferConfig,
    series: SeriesConfig,
    progress: Progress,
) -> Plan:
    """Plan the same work: read all rows, label none, write nothing.

    As in the run, a file among several that cannot be labelled is reported in `failures`, and the others are planned.
    """
    configure_process()
    checkpoint = load(model_path)
    device_of(config.device)
    files = expand(inputs)
    folder = existing_folder(scratch_folder(output) if is_one_file(files, inputs) else output)
    labelling = FileLabelling(checkpoint, model_path, config, series, progress)
    if len(files) == 1:
        return _plan_table(labelling, labelling.open(files), folder, progress)
    return _plan_folder(labelling, files, folder)


def _result(labelling: FileLabelling, output: str, seconds: float) -> InferResult:
    """Summarise all rows that were labelled."""
    totals = labelling.totals
    mean, training = totals.log_likelihood_per_row, training_log_likelihood(labelling.checkpoint)
    profile, time_unit = totals.described(labelling.checkpoint)
    return InferResult(
        rows=totals.rows,
        profile=profile,
        time_unit=time_unit,
        shares=totals.shares,
        expected_dwell=labelling.checkpoint.expected_dwell,
        names=list(labelling.checkpoint.names),
        log_likelihood_per_row=mean,
        training_log_likelihood_per_row=training,
        log_likelihood_above_training=None if mean is None or training is None else mean - training,
        segments=totals.segments,
        **totals.novelty_figures(labelling.config),
        seconds=seconds,
        warnings=[*totals.notes, *totals.notes_on_fit(labelling.checkpoint)],
        output=output,
        columns=labelling.columns,
        files=len({source for source, _ in labelling.written}),
        skipped=labelling.skipped,
        redone=labelling.earlier.redone,
        failures=labelling.failures,
        failed_before=labelling.earlier.failed_before,
        ribbon=totals.ribbon,
    )


def _write_manifest(path: str, labelling: FileLabelling, result: InferResult, segments_path: str | None) -> None:
    """Write what was read, the model, the options, what was written, and its figures."""
    inputs, outputs = (list(dict.fromkeys(paths)) for paths in zip(*labelling.written, strict=True))
    files: dict[str, Sequence[str]] = {"inputs": inputs, "model": [labelling.model_path], "outputs": outputs}
    if segments_path is not None:
        files["segments"] = [segments_path]
    options = asdict(labelling.config) | asdict(labelling.series)
    figures = {name: value for name, value in vars(result).items() if name not in _NOT_IN_MANIFEST}
    figures["warnings"] = [note.to_json() for note in result.warnings]
    manifest.write(path, "infer", files, options, figures)


def _plan_table(labelling: FileLabelling, reader: SeriesReader, folder: str | None, progress: Progress) -> Plan:
    with reader.read_data(None, progress, keep_constant=True) as data:
        checkpoint, _ = with_shortest_visit(labelling.checkpoint, labelling.config, data)
        model, kind = checkpoint.model, labelling.config.posterior
        needed = posterior.scratch_bytes(data.rows, model.regimes, kind, model.shortest_visit)
        seconds = data.rows * (1 / READ_ROWS_PER_SECOND + 1 / INFER_ROWS_PER_SECOND)
        return plan(data, needed, folder, seconds=seconds, columns=reader.columns(data))


def _plan_folder(labelling: FileLabelling, files: Sequence[InputFile], folder: str | None) -> Plan:
    """Plan several files, grouped into tables as in `label_folder`."""
    plans: list[Plan] = []
    parts: list[InputFile] = []
    for done, file in enumerate(files):
        try:
            reader = labelling.open([file])
            alone = _plan_table(labelling, reader, folder, silent)
            if reader.layout.series is None:
                plans.append(alone)
            else:
                parts.append(file)
        except GmvaeError as error:
            labelling.failures.append(str(error))
        labelling.progress("read", done + 1, len(files), labelling.failed())
    if parts:
        try:
            plans.append(_plan_table(labelling, labelling.open(parts), folder, silent))
        except GmvaeError as error:
            labelling.failures.append(str(error))
    return joined(plans, labelling.checkpoint.channels, folder, len(files), labelling.failures)
