"""`gmvae infer`: label every row of a file with a trained model."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.commands.dry_run import INFER_ROWS_PER_SECOND, READ_ROWS_PER_SECOND, Plan, existing_folder, joined, plan
from gmvae_cli.commands.gates import missed
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import ConfigError, GmvaeError, Note
from gmvae_cli.files import manifest
from gmvae_cli.files.atomic import atomic, make_folder, require_apart, require_no_input
from gmvae_cli.files.inputs import InputFile, expand, is_one_file, suffix_of
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.inference import apply, posterior
from gmvae_cli.inference.earlier_outputs import EarlierOutputs
from gmvae_cli.inference.label_table import (
    LabelTotals,
    TableLabels,
    open_outputs,
    require_rows_stay,
    scratch_folder,
    table_labels,
    training_log_likelihood,
)
from gmvae_cli.metrics.segments import Ribbon
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.storage import joined as joined_path
from gmvae_cli.system.storage import parent

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
    the model was not trained. `failures` has a sentence for each file that could not be labelled, `failed_before` for
    each that could not in an earlier run and has not changed, `missed` for each gate; `ribbon` is for a terminal.
    """

    rows: int
    shares: list[float]
    expected_dwell: list[float]
    log_likelihood_per_row: float | None
    training_log_likelihood_per_row: float | None
    log_likelihood_above_training: float | None
    segments: int
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


def infer(
    inputs: Sequence[str],
    model_path: str,
    output: str,
    config: InferConfig,
    series: SeriesConfig,
    segments_path: str | None,
    skip_existing: bool,
    progress: Progress,
) -> InferResult:
    """Label a file, or each of several files into a folder that mirrors their paths.

    A file among several that cannot be labelled is reported in `failures`; the others are labelled.
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
    labelling = _Labelling(checkpoint, model_path, config, series, progress)
    if single:
        if skip_existing and labelling.earlier.is_done(files[0].path, output):
            labelling.skipped = 1
        else:
            labelling.label_file(files[0], output, segments_path)
    else:
        if segments_path is not None:
            raise ConfigError("--segments goes with a single input; several inputs need one run each")
        if output == "-" or suffix_of(output) is not None:
            raise ConfigError(f"--output is '{output}', but several inputs need a folder to write to")
        labelling.label_folder(files, output, skip_existing)
    result = labelling.result(output, time.perf_counter() - started)
    if manifest_path is not None and labelling.written:
        with atomic(manifest_path) as temporary:
            labelling.write_manifest(temporary, result, segments_path)
        result = replace(result, manifest=manifest_path)
    if labelling.written:
        result = replace(result, segments_file=segments_path)
    return replace(result, missed=missed(config.gates, result) if result.files else ())


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
    labelling = _Labelling(checkpoint, model_path, config, series, progress)
    if len(files) == 1:
        return _plan_table(labelling, labelling.open(files), folder, progress)
    return _plan_folder(labelling, files, folder)


class _Labelling:
    """The work of labelling one table or many with one model.

    Attributes:
        totals: over all rows labelled. skipped: outputs left as they were. failures: sentences.
        earlier: outputs of earlier runs.
        written: (input, output) paths. columns: their roles in the table labelled last.
    """

    def __init__(
        self, checkpoint: Checkpoint, model_path: str, config: InferConfig, series: SeriesConfig, progress: Progress
    ) -> None:
        self.checkpoint, self.model_path, self.config, self.series = checkpoint, model_path, config, series
        self.progress = progress
        self.totals = LabelTotals(checkpoint.model.regimes)
        self.earlier = EarlierOutputs(model_path)
        self.skipped = 0
        self.failures: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.columns: list[dict[str, Any]] = []

    def open(self, files: Sequence[InputFile]) -> SeriesReader:
        """Open the table in some files, with the columns of the model."""
        return apply.open_for(files, self.series, self.checkpoint, self.model_path)

    # --- labels --------------------------------------------------------------------------------------------------

    def label_file(self, file: InputFile, output: str, segments_path: str | None = None) -> None:
        """Label a file that is a table of its own."""
        self._label_table(self.open([file]), file, output, segments_path)

    def label_folder(self, files: Sequence[InputFile], folder: str, skip_existing: bool) -> None:
        """Label files into a folder.

        Without a series column each file is a table of its own. With one, all files that can be read are one table,
        so that a series may go on from file to file.
        """
        manifest.mark_complete(folder, None)
        targets = [(file, joined_path(folder, file.relative)) for file in files]
        if skip_existing:
            targets = [(file, target) for file, target in targets if not self.earlier.is_done(file.path, target)]
            self.skipped = len(files) - len(targets)
            targets = [(file, target) for file, target in targets if not self.earlier.has_failed(file.path, target)]
        progress, self.progress = self.progress, silent
        parts: list[tuple[InputFile, str]] = []
        for done, (file, target) in enumerate(targets):
            try:
                make_folder(parent(target))
                reader = self.open([file])
                if reader.layout.series is None:
                    self._label_table(reader, file, target)
                else:
                    reader.read_data(None, keep_constant=True).close()  # a file that cannot be read is no part
                    parts.append((file, target))
            except GmvaeError as error:
                self.failures.append(str(error))
                if skip_existing:  # the next run will ask
                    self.earlier.keep_failure(target, str(error))
            else:
                self.earlier.forget_failure(target)
            progress("infer", done + 1, len(targets), self.failed())
        self.progress = progress
        if parts:
            try:
                self._label_parts(parts)
            except GmvaeError as error:
                self.failures.append(str(error))
        if not self.failures and not self.earlier.failed_before:
            counts = {"files": len(self.written), "rows": self.totals.rows, "skipped": self.skipped}
            manifest.mark_complete(folder, counts)

    def _label_table(
        self, reader: SeriesReader, file: InputFile, output: str, segments_path: str | None = None
    ) -> None:
        folder = scratch_folder(output)
        with (
            open_outputs(reader, output, segments_path, self.series) as outputs,
            reader.read_data(folder, self.progress, keep_constant=True) as data,
            self._labels(data, folder) as labels,
        ):
            labels.write(reader, outputs)
            self.columns = reader.columns(data)
        self.written.append((file.path, output))

    def _label_parts(self, parts: Sequence[tuple[InputFile, str]]) -> None:
        """Label files that are one table, each into its own output."""
        folder = scratch_folder(parts[0][1])
        reader = self.open([file for file, _ in parts])
        require_rows_stay(reader)
        with (
            reader.read_data(folder, self.progress, keep_constant=True) as data,
            self._labels(data, folder) as labels,
        ):
            labels.write_files(reader, [output for _, output in parts], self.series)
            self.columns = reader.columns(data)
        self.written += [(file.path, output) for file, output in parts]

    def _labels(self, data: SeriesData, folder: str | None) -> AbstractContextManager[TableLabels]:
        return table_labels(
            data,
            self.checkpoint,
            self.config,
            self.totals,
            model_path=self.model_path,
            directory=folder,
            progress=self.progress,
        )

    def failed(self) -> str:
        """Count the files that failed, for the progress line; empty if none did."""
        return f"{len(self.failures)} failed" if self.failures else ""

    # --- results -------------------------------------------------------------------------------------------------

    def result(self, output: str, seconds: float) -> InferResult:
        """Summarise all rows that were labelled."""
        mean, training = self.totals.log_likelihood_per_row, training_log_likelihood(self.checkpoint)
        return InferResult(
            rows=self.totals.rows,
            shares=self.totals.shares,
            expected_dwell=self.checkpoint.expected_dwell,
            log_likelihood_per_row=mean,
            training_log_likelihood_per_row=training,
            log_likelihood_above_training=None if mean is None or training is None else mean - training,
            segments=self.totals.segments,
            seconds=seconds,
            warnings=[*self.totals.notes, *self.totals.notes_on_fit(self.checkpoint)],
            output=output,
            columns=self.columns,
            files=len(self.written),
            skipped=self.skipped,
            redone=self.earlier.redone,
            failures=self.failures,
            failed_before=self.earlier.failed_before,
            ribbon=self.totals.ribbon,
        )

    def write_manifest(self, path: str, result: InferResult, segments_path: str | None) -> None:
        """Write what was read, the model, the options, what was written, and its figures."""
        inputs, outputs = zip(*self.written, strict=True)
        files: dict[str, Sequence[str]] = {"inputs": inputs, "model": [self.model_path], "outputs": outputs}
        if segments_path is not None:
            files["segments"] = [segments_path]
        options = asdict(self.config) | asdict(self.series)
        figures = {name: value for name, value in vars(result).items() if name not in _NOT_IN_MANIFEST}
        figures["warnings"] = [note.to_json() for note in result.warnings]
        manifest.write(path, "infer", files, options, figures)


def _plan_table(labelling: _Labelling, reader: SeriesReader, folder: str | None, progress: Progress) -> Plan:
    with reader.read_data(None, progress, keep_constant=True) as data:
        regimes, kind = labelling.checkpoint.model.regimes, labelling.config.posterior
        needed = posterior.scratch_bytes(data.rows, regimes, kind)
        seconds = data.rows * (1 / READ_ROWS_PER_SECOND + 1 / INFER_ROWS_PER_SECOND)
        return plan(data, needed, folder, seconds=seconds, columns=reader.columns(data))


def _plan_folder(labelling: _Labelling, files: Sequence[InputFile], folder: str | None) -> Plan:
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
