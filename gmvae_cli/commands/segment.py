"""`gmvae segment`: from a raw file to labels, segments, picture and model in one command."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from gmvae_cli.checkpoint import Checkpoint, save
from gmvae_cli.commands.dry_run import SEGMENT_BYTES, Plan, existing_folder, plan, segment_seconds
from gmvae_cli.config import InferConfig, SeriesConfig, TrainConfig
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import ConfigError, Note
from gmvae_cli.files import manifest
from gmvae_cli.files.atomic import atomic, make_folder, require_apart, require_no_input, require_writable
from gmvae_cli.files.inputs import InputFile, expand, is_one_file, suffix_of
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.inference import posterior
from gmvae_cli.metrics.segments import Ribbon
from gmvae_cli.outputs.label_table import (
    OnRows,
    TableLabels,
    open_outputs,
    open_segments,
    require_rows_stay,
    scratch_folder,
    table_labels,
)
from gmvae_cli.outputs.label_totals import LabelTotals
from gmvae_cli.plotting import figure
from gmvae_cli.plotting.labelled_file import drawn_channels
from gmvae_cli.plotting.plot_data import PlotDataBuilder
from gmvae_cli.regime_names import shown
from gmvae_cli.selection.search import OnNote, make_choices
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.progress import Progress
from gmvae_cli.system.storage import joined, parent
from gmvae_cli.training.given_labels import KnownSummary, require_regimes
from gmvae_cli.training.sampling import require_rows
from gmvae_cli.training.trained_model import Start, TrainedModel, train_model

_TYPICAL_REGIMES = 5  # of a plan whose regimes are left to the data


@dataclass(frozen=True, kw_only=True)
class SegmentResult:
    """Regimes of a recording, and the scale at which they were found.

    Args:
        profile: of each regime what its rows show, times in `time_unit`, else rows.
        stride, summarize: rows between lags, and rows in a block that stands for them (1: the rows themselves).
        agreement: root mean square ARI of the consensus with the labellings of all time scales; None: likelihood alone
            decided. reason: one sentence that says which of the two decided, and why.
        known: as of `TrainedModel`.
    """

    rows: int
    channels: list[str]
    regimes: int
    shares: list[float]
    expected_dwell: list[float]
    names: list[str]
    profile: list[dict[str, Any]]
    time_unit: str | None
    segments: int
    unknown_share: float | None = None
    novel_share: float | None = None
    novel_since: str | None = None
    stride: int
    summarize: int
    evidence_scale: float
    agreement: float | None
    log_likelihood_per_row: float | None
    reason: str
    known: KnownSummary | None = None
    columns: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[Note]
    output: str
    model: str | None
    plot: str | None
    segments_file: str | None
    files: int
    seconds: float
    ribbon: Ribbon | None


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Files to write, each whole or not at all: the model as soon as it is trained, the picture last.

    Several inputs have one model, one list of segments and one picture; their `output` is a folder that mirrors their
    relative paths.
    """

    output: str
    segments: str | None = None
    plot: str | None = None
    model: str | None = None

    def outputs(self, files: Sequence[InputFile], single: bool) -> list[str]:
        """List the labelled file of each input, after checking that every target can be written.

        Raises:
            ConfigError: two targets are one file, a picture of unknown format, or a file or stdout as the output of
                several inputs. SeriesError: nothing can be written there.
        """
        if self.plot is not None:
            figure.format_of(self.plot)
        if not single and (self.output == "-" or suffix_of(self.output) is not None):
            raise ConfigError(f"--output is '{self.output}', but several inputs need a folder to write to")
        outputs = [self.output] if single else [joined(self.output, file.relative) for file in files]
        others = {"--model": self.model, "--plot": self.plot, "--segments": self.segments}
        require_apart(others, [*(file.path for file in files), *outputs])
        require_no_input(outputs, [file.path for file in files])
        for path in others.values():
            if path is not None:
                require_writable(path)
        if not single:
            manifest.mark_complete(self.output, None)
            for path in outputs:
                make_folder(parent(path))
                require_writable(path)
        return outputs


def segment(
    inputs: Sequence[str],
    targets: Targets,
    config: TrainConfig,
    labels: InferConfig,
    files: SeriesConfig,
    progress: Progress,
    on_note: OnNote,
) -> SegmentResult:
    """Learn the regimes of one or several files together, label their rows, and write what is asked for.

    A file is read twice: once for its numbers, once for the cells that the labels are written beside.

    Args:
        on_note: called with each property of the rows that may mislead the search, before it starts.
    Raises:
        ConfigError: targets that contradict each other. SeriesError: a file cannot be used, or a target not written.
        GmvaeError: the device is absent.
    """
    started = time.perf_counter()
    configure_process()
    device_of(config.device)
    paths = expand(inputs)
    outputs = targets.outputs(paths, is_one_file(paths, inputs))
    reader = open_series(paths, files)
    require_rows_stay(reader)
    folder = scratch_folder(outputs[0])
    with (
        _writing(reader, targets, outputs, files) as write,
        reader.read_data(folder, progress) as data,
    ):
        notes = list(data.notes)

        def tell(note: Note) -> None:
            notes.append(note)
            on_note(note)

        chosen, start = make_choices(config, data, progress, tell)
        trained = train_model(data, reader.layout, chosen, start, progress, notes)
        checkpoint = trained.checkpoint
        if targets.model is not None:
            save(targets.model, checkpoint)
        totals = LabelTotals(checkpoint.model.regimes, checkpoint.channels)
        drawing = None if targets.plot is None else _drawing(reader, targets.output, checkpoint)
        with table_labels(
            data, checkpoint, labels, totals, directory=folder, progress=progress, clamp_known=True
        ) as labelled:
            on_rows = None if drawing is None else _drawn(data, drawing)
            write(labelled, on_rows)
        if targets.plot is not None and drawing is not None:
            progress("draw", 0, 1)
            with atomic(targets.plot) as temporary:
                figure.save(temporary, figure.format_of(targets.plot), drawing.build(data))
    if outputs != [targets.output]:
        manifest.mark_complete(targets.output, {"files": len(paths), "rows": totals.rows})
    facts = {"files": len(paths), "columns": reader.columns(data), "seconds": time.perf_counter() - started}
    return _result(data, trained, start, totals, targets, labels, **facts)


def dry_run(
    inputs: Sequence[str],
    output: str,
    config: TrainConfig,
    labels: InferConfig,
    files: SeriesConfig,
    progress: Progress,
) -> Plan:
    """Plan the same work: read all rows and raise the errors that the search would raise; search and write nothing."""
    configure_process()
    device = device_of(config.device)
    paths = expand(inputs)
    folder = existing_folder(scratch_folder(output) if is_one_file(paths, inputs) else output)
    reader = open_series(paths, files)
    with reader.read_data(None, progress) as data:
        require_regimes(data, None if config.search is None else config.search.regimes)
        require_rows(training_rows(data, config.model, device), config)
        regimes = None if config.search is None else config.search.regimes
        shortest = 1 if config.min_dwell is None else 2
        model = replace(config.model, regimes=regimes or _TYPICAL_REGIMES, shortest_visit=shortest)
        return plan(
            data,
            posterior.scratch_bytes(data.rows, model, labels.posterior, labels.judges_rows, labels.unknown is not None),
            folder,
            seconds=segment_seconds(data.rows, len(data.channels), regimes),
            columns=reader.columns(data),
            held_bytes=SEGMENT_BYTES * data.rows * len(data.channels),
        )


@contextmanager
def _writing(
    reader: SeriesReader, targets: Targets, outputs: Sequence[str], files: SeriesConfig
) -> Iterator[Callable[[TableLabels, OnRows | None], None]]:
    """Open what is written, of several inputs only the list of segments; yield a function that writes the labels."""
    if outputs == [targets.output]:
        with open_outputs(reader, targets.output, targets.segments, files) as opened:
            yield lambda labels, on_rows: labels.write(reader, opened, on_rows)
    else:
        with open_segments(targets.segments, files) as segments:
            yield lambda labels, on_rows: labels.write_files(reader, outputs, files, segments, on_rows)


def _result(
    data: SeriesData,
    trained: TrainedModel,
    start: Start,
    totals: LabelTotals,
    targets: Targets,
    labels: InferConfig,
    **facts: Any,
) -> SegmentResult:
    checkpoint = trained.checkpoint
    known = {note.code for note in trained.notes}
    later = [note for note in [*totals.notes, *totals.notes_on_fit(checkpoint)] if note.code not in known]
    profile, time_unit = totals.described(checkpoint)
    return SegmentResult(
        rows=totals.rows,
        profile=profile,
        time_unit=time_unit,
        channels=list(data.channels),
        regimes=checkpoint.model.regimes,
        shares=totals.shares,
        expected_dwell=checkpoint.expected_dwell,
        names=list(checkpoint.names),
        segments=totals.segments,
        **totals.novelty_figures(labels),
        stride=checkpoint.model.stride,
        summarize=checkpoint.model.summarize,
        evidence_scale=float(checkpoint.parameters.evidence_scale),
        agreement=start.agreement,
        reason=start.reason,
        known=trained.known,
        log_likelihood_per_row=totals.log_likelihood_per_row,
        warnings=[*trained.notes, *later],
        output=targets.output,
        model=targets.model,
        plot=targets.plot,
        segments_file=targets.segments,
        ribbon=totals.ribbon,
        **facts,
    )


def _drawing(reader: SeriesReader, output: str, checkpoint: Checkpoint) -> PlotDataBuilder:
    """Return a builder of the picture that `plot` would draw of the output."""
    name = reader.name if output == "-" else output
    return PlotDataBuilder(
        name, reader.layout, drawn_channels(reader.layout, []), shown(checkpoint.names, checkpoint.model.regimes)
    )


def _drawn(data: SeriesData, drawing: PlotDataBuilder) -> OnRows:
    return lambda file, cells, rows: drawing.add_from(data, cells, rows.regimes, rows.probs, file)
