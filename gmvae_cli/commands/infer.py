"""`gmvae infer`: label every row of a file with a trained model."""

import time
from collections.abc import Mapping, Sequence
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
from gmvae_cli.files.atomic import atomic, make_folder, require_apart, require_no_input, require_writable
from gmvae_cli.files.inputs import SUFFIXES, InputFile, expand, is_one_file, suffix_of, would_be_read
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.inference import posterior
from gmvae_cli.inference.apply import with_shortest_visit
from gmvae_cli.live.continued import ContinuedFile
from gmvae_cli.metrics.segments import Ribbon
from gmvae_cli.outputs.label_table import scratch_folder
from gmvae_cli.outputs.label_totals import training_log_likelihood
from gmvae_cli.outputs.metrics_file import require_metrics, write_metrics
from gmvae_cli.outputs.segment_list import SegmentList, open_segment_list
from gmvae_cli.outputs.summary_table import earlier_records, write_summary
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.engine import engine_of
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.storage import absolute
from gmvae_cli.system.storage import joined as joined_path

_NOT_IN_MANIFEST = (
    "seconds",
    "output",
    "segments_file",
    "summary",
    "metrics",
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
    summary: str | None = None
    metrics: str | None = None
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


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Files to write, each whole or not at all; `output` is a folder for several inputs, the others are one for all."""

    output: str
    segments: str | None = None
    summary: str | None = None
    metrics: str | None = None

    def require(self, inputs: Sequence[str], outputs: Mapping[str, str], model: str, manifest_path: str | None) -> None:
        """Check that all can be written, and that none replaces another, an input or the model.

        Args:
            outputs: of each input file. manifest_path: None: no manifest is wanted.
        Raises:
            ConfigError: one does, or would be read by the next run. SeriesError: one cannot be written.
        """
        options = {"--segments": self.segments, "--summary": self.summary, "--metrics": self.metrics}
        require_apart(options | {"--manifest": manifest_path}, [*inputs, model, *outputs, *outputs.values()])
        if self.output != "-":
            require_apart({"--output": self.output}, [model])
        require_no_input(list(outputs.values()), list(outputs))
        if self.metrics is not None:
            require_metrics(self.metrics)
        tables = {option: path for option, path in options.items() if path is not None and path != self.metrics}
        for option, path in tables.items():
            if would_be_read(path, inputs):
                sentence = "which the next run would read as an input; name another place"
                raise ConfigError(f"{option} is '{path}', {sentence}")
            if suffix_of(path) is None:
                raise ConfigError(f"{option} is '{path}', but its name must end in one of {', '.join(SUFFIXES)}")
        if self.output not in outputs.values():  # it is the folder of several
            if self.output == "-" or suffix_of(self.output) is not None:
                raise ConfigError(f"--output is '{self.output}', but several inputs need a folder to write to")
            make_folder(self.output)
        for named in (*tables.values(), self.metrics):
            if named is not None:
                require_writable(named)


def infer(
    inputs: Sequence[str],
    model_path: str,
    targets: Targets,
    config: InferConfig,
    series: SeriesConfig,
    skip_existing: bool,
    progress: Progress,
    engine: EngineConfig = EngineConfig(),
    state: str | None = None,
) -> InferResult:
    """Label a file, or each of several files into a folder that mirrors their paths.

    A file among several that cannot be labelled is reported in `failures`; the others are labelled.

    Args:
        engine: says who labels the files, and how long a series is cut. state: file to go on from, and to keep.
    """
    started = time.perf_counter()
    configure_process()
    output = targets.output
    if config.manifest and output == "-":
        raise ConfigError("--manifest describes a file, but --output is -; name a file for the output")
    manifest_path = manifest.beside(output) if config.manifest else None
    files = expand(inputs)
    single = is_one_file(files, inputs)
    outputs = {file.path: output if single else joined_path(output, file.relative) for file in files}
    targets.require(inputs, outputs, model_path, manifest_path)
    checkpoint = load(model_path)
    if config.posterior == "encoder":
        checkpoint.build_encoder(model_path)
    continued = None
    if state is not None:
        _require_continuable(state, config, single and engine.is_plain and not skip_existing)
        require_apart({"--state": state}, [*inputs, *outputs.values()])
        continued = ContinuedFile(state, model_path)
    labelling = FileLabelling(checkpoint, model_path, config, series, progress, continued)
    try:
        has_segments = _label(labelling, files, targets, single, skip_existing, engine)
    except ConfigError:
        raise
    except GmvaeError as error:
        if single:
            labelling.outcomes.fail([(files[0], output)], str(error))
            _report(labelling, files, targets, _result(labelling, targets, time.perf_counter() - started))
        raise
    result = _result(labelling, targets, time.perf_counter() - started)
    gates = missed(config.gates, result) if result.files else ()
    result = replace(result, missed=gates, segments_file=targets.segments if has_segments else None)
    _report(labelling, files, targets, result)
    if manifest_path is not None and labelling.outcomes.written:
        with atomic(manifest_path) as temporary:
            _write_manifest(temporary, labelling, result)
        result = replace(result, manifest=manifest_path)
    return result


def _require_continuable(state: str, config: InferConfig, is_single: bool) -> None:
    """Reject options that need rows of other files than the one that goes on from a state."""
    if config.posterior != "filter":
        raise ConfigError(
            f"--state {state}: goes on with --posterior filter, but it is {config.posterior}, which needs later rows"
        )
    if config.unknown is not None:
        raise ConfigError("--unknown looks for stretches in a whole file; leave out --state, or give --follow too")
    if not is_single:
        raise ConfigError("--state goes on with one file; leave out --engine, --workers and --skip-existing")


def _label(
    labelling: FileLabelling,
    files: Sequence[InputFile],
    targets: Targets,
    single: bool,
    skip_existing: bool,
    engine: EngineConfig,
) -> bool:
    """Label the files that have no labels yet; return whether a list of segments was written."""
    output, outcomes = targets.output, labelling.outcomes
    if single and skip_existing and outcomes.earlier.is_done(files[0].path, output):
        outcomes.records.add_skipped(files[0], output)
        return False
    with open_segment_list(None if single else targets.segments, labelling.series) as segments:
        if not engine.is_plain:
            _deal(labelling, files, targets, single, skip_existing, engine, segments)
        elif single:
            labelling.label_file(files[0], output, targets.segments)
        else:
            labelling.label_folder(files, output, skip_existing, segments)
    if segments is None:
        return targets.segments is not None
    outcomes.note_missing_segments(segments)
    return segments.is_written


def _deal(
    labelling: FileLabelling,
    files: Sequence[InputFile],
    targets: Targets,
    single: bool,
    skip_existing: bool,
    config: EngineConfig,
    segments: SegmentList | None,
) -> None:
    """Label files by the workers of an engine."""
    output = targets.output
    if output == "-":
        raise ConfigError("--output is -, but rows that are dealt out go into files; name a file or a folder")
    if files[0].path == "-":
        raise ConfigError("- (stdin) can be read once only, so it cannot be dealt out; name a file")
    if targets.segments is not None and config.stretch_rows is not None:
        raise ConfigError("--segments lists the segments of whole files; leave out --stretch-rows")
    if config.engine != "local":  # workers may have started elsewhere
        files, output = [replace(file, path=absolute(file.path)) for file in files], absolute(output)
    with engine_of(config) as engine:
        dealt = DealtLabelling(engine, labelling, config.stretch_rows or STRETCH_ROWS, targets.segments)
        if single:
            dealt.label_file(files[0], output)
        else:
            dealt.label_folder(files, output, skip_existing, segments)


def _report(labelling: FileLabelling, files: Sequence[InputFile], targets: Targets, result: InferResult) -> None:
    """Write what became of each file, and metrics of the run."""
    records, checkpoint = labelling.outcomes.records, labelling.checkpoint
    if targets.summary is not None:
        earlier = earlier_records(targets.summary, checkpoint, labelling.series)
        known = labelling.outcomes.skipped_in(targets.summary)
        records.complete({file: record for file, record in earlier.items() if known.get(file)})
        write_summary(targets.summary, records.in_order(files), checkpoint, labelling.series)
    if targets.metrics is not None:
        how, totals, outcomes = labelling.config, labelling.outcomes.totals, records.in_order(files)
        write_metrics(targets.metrics, checkpoint, how, totals, outcomes, result.warnings, result.seconds)


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


def _result(labelling: FileLabelling, targets: Targets, seconds: float) -> InferResult:
    """Summarise all rows that were labelled."""
    outcomes, totals = labelling.outcomes, labelling.outcomes.totals
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
        output=targets.output,
        summary=targets.summary,
        metrics=targets.metrics,
        columns=outcomes.columns,
        files=len({source for source, _ in outcomes.written}),
        skipped=outcomes.skipped,
        redone=outcomes.earlier.redone,
        failures=outcomes.failures,
        failed_before=outcomes.earlier.failed_before,
        ribbon=totals.ribbon,
    )


def _write_manifest(path: str, labelling: FileLabelling, result: InferResult) -> None:
    """Write what was read, the model, the options, what was written, and its figures."""
    inputs, outputs = (list(dict.fromkeys(paths)) for paths in zip(*labelling.outcomes.written, strict=True))
    files: dict[str, Sequence[str]] = {"inputs": inputs, "model": [labelling.model_path], "outputs": outputs}
    if result.segments_file is not None:
        files["segments"] = [result.segments_file]
    if result.summary is not None:
        files["summary"] = [result.summary]
    options = asdict(labelling.config) | asdict(labelling.series)
    figures = {name: value for name, value in vars(result).items() if name not in _NOT_IN_MANIFEST}
    figures["warnings"] = [note.to_json() for note in result.warnings]
    manifest.write(path, "infer", files, options, figures)


def _plan_table(labelling: FileLabelling, reader: SeriesReader, folder: str | None, progress: Progress) -> Plan:
    with reader.read_data(None, progress, keep_constant=True) as data:
        checkpoint, _ = with_shortest_visit(labelling.checkpoint, labelling.config, data)
        model, kind = checkpoint.model, labelling.config.posterior
        has_unknown = labelling.config.unknown is not None
        needed = posterior.scratch_bytes(data.rows, model, kind, labelling.config.judges_rows, has_unknown)
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
            labelling.outcomes.failures.append(str(error))
        labelling.progress("read", done + 1, len(files), labelling.outcomes.failed)
    if parts:
        try:
            plans.append(_plan_table(labelling, labelling.open(parts), folder, silent))
        except GmvaeError as error:
            labelling.outcomes.failures.append(str(error))
    return joined(plans, labelling.checkpoint.channels, folder, len(files), labelling.outcomes.failures)
