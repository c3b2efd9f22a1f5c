"""`gmvae infer`: label every row of a file with a trained model."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.commands.dry_run import INFER_ROWS_PER_SECOND, Plan, joined, plan
from gmvae_cli.commands.gates import missed, parse
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import ConfigError, GmvaeError, SeriesError
from gmvae_cli.files import manifest
from gmvae_cli.files.inputs import InputFile, as_text, expand, suffix_of
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.files.table_writer import TableWriter, atomic, require_apart, writer
from gmvae_cli.inference import apply, posterior
from gmvae_cli.metrics.segments import Ribbon, segments
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.progress import Progress, silent

_NO_FIGURES = ("seconds", "output", "skipped", "ribbon", "missed")
_UNLIKE_TRAINING = 1.0  # nats a row below training


@dataclass(frozen=True, kw_only=True)
class InferResult:
    """What the labels say. Log-likelihoods are nats a row with evidence, in data units; `ribbon` is for a terminal."""

    rows: int
    shares: list[float]
    expected_dwell: list[float]
    log_likelihood_per_row: float | None
    training_log_likelihood_per_row: float | None
    log_likelihood_above_training: float | None
    segments: int
    seconds: float
    warnings: list[dict[str, str]]
    output: str
    files: int = 1
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    ribbon: Ribbon | None = None
    missed: tuple[str, ...] = ()


GATES = ("log_likelihood_per_row", "log_likelihood_above_training")


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

    A file among several that cannot be labelled is reported in `failures`; the others are done.
    """
    started = time.perf_counter()
    configure_process()
    gates = parse(config.fail_under, GATES)
    if config.manifest and output == "-":
        raise ConfigError("--manifest describes a file, but --output is -; name a file for the output")
    described = manifest.beside(output) if config.manifest else None
    require_apart({"--segments": segments_path, "--manifest": described}, [*inputs, model_path, output])
    if output != "-":
        require_apart({"--output": output}, [model_path])
    checkpoint = load(model_path)
    if config.posterior == "encoder":
        checkpoint.build_encoder(model_path)
    job = _Job(checkpoint, model_path, config, series, progress)
    files = expand(inputs)
    if len(files) == 1 and files[0].path == inputs[0]:
        if skip_existing and os.path.exists(output):
            job.skipped = 1
        else:
            job.label(job.open(files), files, [output], segments_path)
    else:
        if segments_path is not None:
            raise ConfigError("--segments goes with a single input; several inputs need one run each")
        if output == "-" or suffix_of(output) is not None:
            raise ConfigError(f"--output is '{output}', but several inputs need a folder to write to")
        job.label_all(files, output, skip_existing)
    result = job.result(output, started)
    if described is not None and job.written:
        with atomic(described) as temporary:
            job.describe(temporary, result, segments_path)
    return replace(result, missed=missed(gates, result) if result.files else ())


def dry_run(
    inputs: Sequence[str],
    model_path: str,
    output: str,
    config: InferConfig,
    series: SeriesConfig,
    progress: Progress,
) -> Plan:
    """What `infer` would read and need; nothing is labelled or written.

    Like the run it reports a file among several that cannot be labelled in `failures` and goes on with the others.
    """
    configure_process()
    checkpoint = load(model_path)
    device_of(config.device)
    files = expand(inputs)
    folder = _existing(_folder(output) if len(files) == 1 and files[0].path == inputs[0] else output)
    job = _Job(checkpoint, model_path, config, series, progress)

    def planned(reader: SeriesReader, progress: Progress) -> Plan:
        with reader.read_data(None, progress, keep_constant=True) as data:
            needed = posterior.scratch_bytes(data.rows, checkpoint.model.regimes, config.posterior)
            return plan(data, needed, folder, rows_per_second=INFER_ROWS_PER_SECOND)

    if len(files) == 1:
        return planned(job.open(files), progress)
    plans: list[Plan] = []
    good: list[InputFile] = []
    for done, file in enumerate(files):
        try:
            reader = job.open([file])
            one = planned(reader, silent)
            if reader.layout.series is None:
                plans.append(one)
            else:
                good.append(file)
        except GmvaeError as error:
            job.failures.append(str(error))
        progress("read", done + 1, len(files), f"{len(job.failures)} failed" if job.failures else "")
    if good:
        try:
            plans.append(planned(job.open(good), silent))
        except GmvaeError as error:
            job.failures.append(str(error))
    return joined(plans, checkpoint.channels, folder, len(files), job.failures)


class _Job:
    """One model at work on one file or many, with the totals over them."""

    def __init__(
        self, checkpoint: Checkpoint, model_path: str, config: InferConfig, series: SeriesConfig, progress: Progress
    ) -> None:
        self.checkpoint, self.model_path, self.config, self.series = checkpoint, model_path, config, series
        self.progress = progress
        self.counts = np.zeros(checkpoint.model.regimes, np.int64)
        self.rows = self.usable_rows = self.segments = self.files = 0
        self.log_likelihood, self.skipped = 0.0, 0
        self.last_regime = -1  # of the table at work
        self.ribbon = Ribbon(checkpoint.model.regimes)
        self.failures: list[str] = []
        self.warnings: list[dict[str, str]] = []
        self.written: list[tuple[str, str]] = []  # input, output

    def label_all(self, files: Sequence[InputFile], folder: str, skip_existing: bool) -> None:
        """Files into a folder. With a series column the good ones are one table, else each is a series of its own."""
        targets = [os.path.join(folder, file.relative) for file in files]
        todo = [(f, t) for f, t in zip(files, targets, strict=True) if not (skip_existing and os.path.exists(t))]
        self.skipped = len(files) - len(todo)
        progress, self.progress = self.progress, silent
        good = []
        for done, (file, target) in enumerate(todo):
            try:
                os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
                reader = self.open([file])
                if reader.layout.series is None:
                    self.label(reader, [file], [target], None)
                else:
                    reader.read_data(None, keep_constant=True).close()  # a bad one is left out in time
                    good.append((file, target))
            except GmvaeError as error:
                self.failures.append(str(error))
            except OSError as error:
                raise SeriesError(f"{folder}: cannot be written ({error.strerror})") from error
            progress("infer", done + 1, len(todo), f"{len(self.failures)} failed" if self.failures else "")
        self.progress = progress
        if good:
            try:
                together = [file for file, _ in good]
                self.label(self.open(together), together, [target for _, target in good], None)
            except GmvaeError as error:
                self.failures.append(str(error))

    def open(self, files: Sequence[InputFile]) -> SeriesReader:
        """The table in some files, in the columns of the model."""
        return apply.open_for(files, self.series, self.checkpoint, self.model_path)

    def label(
        self, reader: SeriesReader, files: Sequence[InputFile], outputs: Sequence[str], segments_path: str | None
    ) -> None:
        """The files of one table, each into its output."""
        folder = _folder(outputs[0])
        if len(outputs) > 1 and self.series.sort:
            raise ConfigError("--sort would move rows from file to file; sort the files into one first")
        self.last_regime = -1
        with ExitStack() as stack:
            if len(outputs) == 1:
                out = stack.enter_context(self._writer(reader, outputs[0]))
            listed = stack.enter_context(self._segments_writer(segments_path)) if segments_path is not None else None
            data = stack.enter_context(reader.read_data(folder, self.progress, keep_constant=True))
            inferred = stack.enter_context(
                apply.infer(
                    data,
                    self.checkpoint,
                    self.config.posterior,
                    self.config.device,
                    model_path=self.model_path,
                    directory=folder,
                    progress=self.progress,
                )
            )
            take = posterior.in_portions(inferred.blocks())
            if len(outputs) == 1:
                self._write(out, listed, reader, data, take, outputs[0], 0)
            else:
                start = 0
                for file, output in zip(files, outputs, strict=True):
                    part = open_series([file], reader.config)
                    with self._writer(part, output) as out:
                        start = self._write(out, None, part, data, take, output, start)
            self.rows += data.rows
            self.files += len(files)
            self.warnings += [{"code": code, "sentence": sentence} for code, sentence in data.notes]
        self.written += [(file.path, output) for file, output in zip(files, outputs, strict=True)]

    def _segments_writer(self, path: str) -> AbstractContextManager[TableWriter]:
        return writer(path, delimiter=self.series.delimiter, decimal=self.series.decimal)

    def _writer(self, reader: SeriesReader, output: str) -> AbstractContextManager[TableWriter]:
        delimiter = self.series.delimiter or (reader.delimiter if suffix_of(output) == ".csv" else None)
        return writer(output, schema=reader.schema, delimiter=delimiter, decimal=self.series.decimal)

    def _write(
        self,
        out: TableWriter,
        listed: TableWriter | None,
        reader: SeriesReader,
        data: SeriesData,
        take: Callable[[int], posterior.Labelled],
        output: str,
        start: int,
    ) -> int:
        """Input and posterior side by side, block by block; rows from `start` on, and where they end."""
        K = self.checkpoint.model.regimes
        new = ["regime", *(f"prob_{k}" for k in range(K)), "log_likelihood"]
        replaced = [name for name in reader.layout.columns if name in new or _is_probability(name)]
        if replaced:
            sentence = f"the columns {', '.join(replaced)} of {reader.name} are replaced"
            self.warnings.append({"code": "replaced_columns", "sentence": sentence})
        kept = [index for index, name in enumerate(reader.layout.columns) if name not in replaced]
        if self.config.only_regimes:
            parts = (reader.layout.time, reader.layout.series)
            kept, new = [index for index in kept if reader.layout.columns[index] in parts], ["regime"]
        spans = _Spans(reader, data) if listed is not None else None
        typed = reader.format == "csv" and suffix_of(output) == ".parquet"
        for table in reader.tables(posterior.BLOCK_ROWS, typed=typed):
            stop = start + table.num_rows
            block = take(table.num_rows)
            columns = [
                pa.array(block.regimes),
                *(pa.array(block.probs[:, k]) for k in range(K)),
                pa.array(block.log_likelihood, from_pandas=True),
            ]
            selected = table.select(kept)
            for name, column in zip(new, columns, strict=False):
                selected = selected.append_column(name, column)
            out.write(selected)
            self.counts += np.bincount(block.regimes, minlength=K)
            self.log_likelihood += float(np.nansum(block.log_likelihood))
            self.usable_rows += int((~np.isnan(block.log_likelihood)).sum())
            self.ribbon.add(block.regimes)
            self._count_segments(block)
            if spans is not None and listed is not None:
                done = spans.add(table, block, start)
                if len(done):
                    listed.write(done)
            self.progress("write", stop, data.rows)
            start = stop
        if spans is not None and listed is not None:
            listed.write(spans.finish())
        return start

    def _count_segments(self, block: posterior.Labelled) -> None:
        """One that goes on from an earlier block, or from an earlier file of the table, was counted there."""
        before = np.concatenate([[self.last_regime], block.regimes[:-1]])
        self.segments += int((block.starts | (block.regimes != before)).sum())
        self.last_regime = int(block.regimes[-1])

    def describe(self, path: str, result: InferResult, segments_path: str | None) -> None:
        """The manifest: what was read, with what and how, and what came out."""
        inputs, outputs = zip(*self.written, strict=True)
        files: dict[str, Sequence[str]] = {"inputs": inputs, "model": [self.model_path], "outputs": outputs}
        if segments_path is not None:
            files["segments"] = [segments_path]
        options = asdict(self.config) | asdict(self.series)
        figures = {name: value for name, value in vars(result).items() if name not in _NO_FIGURES}
        manifest.write(path, "infer", files, options, figures)

    def result(self, output: str, started: float) -> InferResult:
        """The totals."""
        rows, evidence = self.rows, self.usable_rows
        mean = self.log_likelihood / evidence if evidence else None
        training = self.checkpoint.training.get("log_likelihood_per_row_data_units")
        if rows and mean is None:
            sentence = "no row has a value with all its lags, so the labels are the chain's alone"
            self.warnings.append({"code": "no_evidence", "sentence": sentence})
        if mean is not None and training is not None and mean < training - _UNLIKE_TRAINING:
            sentence = f"rows are unlike those of training: {mean:.2f} nats a row, in training {training:.2f}"
            self.warnings.append({"code": "unlike_training", "sentence": sentence})
        return InferResult(
            rows=rows,
            shares=(self.counts / max(rows, 1)).tolist(),
            expected_dwell=self.checkpoint.expected_dwell,
            log_likelihood_per_row=mean,
            training_log_likelihood_per_row=training,
            log_likelihood_above_training=None if mean is None or training is None else mean - training,
            segments=self.segments,
            seconds=time.perf_counter() - started,
            warnings=self.warnings,
            output=output,
            files=self.files,
            skipped=self.skipped,
            failures=self.failures,
            ribbon=self.ribbon,
        )


def _folder(output: str) -> str | None:
    """Where scratch files go: beside the output, or in TMPDIR for stdout."""
    return None if output == "-" else os.path.dirname(os.path.abspath(output))


def _existing(folder: str | None) -> str | None:
    """The nearest folder above that is there already: where the disk is that will be written to."""
    while folder is not None and not os.path.isdir(folder):
        folder = os.path.dirname(os.path.abspath(folder))
    return folder


def _is_probability(name: str) -> bool:
    return name.startswith("prob_") and name[5:].isdigit()


class _Spans:
    """The segments of a file as a table, block by block; the last one stays open until it is known to end."""

    def __init__(self, reader: SeriesReader, data: SeriesData) -> None:
        self.time, self.series, self.name = reader.layout.time, reader.layout.series, reader.name
        self.step = 1.0 if data.step is None or data.time_unit is None else data.step
        self.count = self.series_start = 0
        self.carried: pa.Table | None = None
        self.last_id: str | None = None

    def add(self, table: pa.Table, block: posterior.Labelled, row: int) -> pa.Table:
        """Take in a block of rows, the first of which is `row`; the segments that have ended."""
        found = segments(block.regimes, block.starts, block.probs)
        count = len(found)
        spans = pa.table(
            {
                "series": pa.repeat(self.name, count) if self.series is None else table[self.series].take(found.first),
                "first": row + found.first,
                "last": row + found.last,
                "start_time": pa.nulls(count) if self.time is None else table[self.time].take(found.first),
                "end_time": pa.nulls(count) if self.time is None else table[self.time].take(found.last),
                "regime": found.regime,
                "begins": found.starts_series,
                "prob_sum": found.prob_sum,
            }
        )
        if self.carried is not None:
            if not found.starts_series[0] and self.carried["regime"][0].as_py() == found.regime[0]:
                spans = pa.concat_tables([_merged(self.carried, spans), spans.slice(1)])
            else:
                spans = pa.concat_tables([self.carried, spans])
        self.carried = spans.slice(len(spans) - 1)
        return self._finished(spans.slice(0, len(spans) - 1))

    def finish(self) -> pa.Table:
        """The last segment."""
        assert self.carried is not None
        return self._finished(self.carried)

    def _finished(self, spans: pa.Table) -> pa.Table:
        first, last = spans["first"].to_numpy(), spans["last"].to_numpy()
        rows = last - first + 1
        origin = np.where(self._new_series(spans, first), first, 0)
        if len(origin):
            origin = np.maximum.accumulate(np.maximum(origin, self.series_start))
            self.series_start = int(origin[-1])
        numbers = np.arange(self.count, self.count + len(spans))
        self.count += len(spans)
        return pa.table(
            {
                "series": spans["series"],
                "segment": numbers,
                "start": first - origin,
                "stop": last + 1 - origin,
                "start_time": spans["start_time"],
                "end_time": spans["end_time"],
                "regime": spans["regime"],
                "rows": rows,
                "duration": rows * self.step,
                "mean_prob": spans["prob_sum"].to_numpy() / rows,
            }
        )

    def _new_series(self, spans: pa.Table, first: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a segment is the first of its series, and not merely behind a long gap."""
        begins: NDArray[np.bool_] = spans["begins"].to_numpy().copy()
        if self.series is None:
            first_of_all: NDArray[np.bool_] = begins & (first == 0)
            return first_of_all
        ids = as_text(spans["series"]).to_pylist()
        before = [self.last_id, *ids][: len(ids)]
        self.last_id = ids[-1] if ids else self.last_id
        changed = np.array([now != then for now, then in zip(ids, before, strict=True)], dtype=np.bool_)
        new: NDArray[np.bool_] = begins & changed
        return new


def _merged(earlier: pa.Table, spans: pa.Table) -> pa.Table:
    """The open segment and the one that goes on with it, as one."""
    merged = {name: spans[name].slice(0, 1) for name in spans.column_names}
    for name in ("first", "start_time", "begins"):
        merged[name] = earlier[name]
    merged["prob_sum"] = pa.array([earlier["prob_sum"][0].as_py() + spans["prob_sum"][0].as_py()])
    return pa.table(merged)
