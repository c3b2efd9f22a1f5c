"""`gmvae segment`: from a raw file to labels, segments, picture and model in one command."""

import time
from dataclasses import dataclass

from gmvae_cli.checkpoint import save
from gmvae_cli.config import InferConfig, SeriesConfig, TrainConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import Note
from gmvae_cli.files.atomic import atomic, require_apart, require_writable
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.inference.label_table import LabelTotals, OnRows, open_outputs, scratch_folder, table_labels
from gmvae_cli.metrics.segments import Ribbon
from gmvae_cli.plotting import figure
from gmvae_cli.plotting.plot_data import PlotDataBuilder, drawn_channels
from gmvae_cli.selection.search import OnNote, data_notes, make_choices
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.trained_model import TrainedModel, train_model


@dataclass(frozen=True, kw_only=True)
class SegmentResult:
    """Regimes of a recording, and the scale at which they were found.

    Args:
        stride, summarize: rows between lags, and rows in a block that stands for them (1: the rows themselves).
        agreement: root mean square ARI of the consensus with the labellings of all time scales; None: likelihood alone
            decided.
    """

    rows: int
    channels: list[str]
    regimes: int
    shares: list[float]
    expected_dwell: list[float]
    segments: int
    stride: int
    summarize: int
    evidence_scale: float
    agreement: float | None
    log_likelihood_per_row: float | None
    seconds: float
    warnings: list[Note]
    output: str
    model: str | None
    plot: str | None
    ribbon: Ribbon | None


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Files to write, each whole or not at all: the model as soon as it is trained, the picture last."""

    output: str
    segments: str | None = None
    plot: str | None = None
    model: str | None = None

    def check(self, input_file: str) -> None:
        """Check before long work that the targets can be written.

        Raises:
            ConfigError: two targets are one file, or a picture of unknown format. SeriesError: nothing can be written
                there.
        """
        if self.output != "-":
            require_apart({"--output": self.output})
        if self.plot is not None:
            figure.format_of(self.plot)
        others = {"--model": self.model, "--plot": self.plot, "--segments": self.segments}
        require_apart(others, [input_file, self.output])
        for path in others.values():
            if path is not None:
                require_writable(path)


def segment(
    input_file: str,
    targets: Targets,
    config: TrainConfig,
    labels: InferConfig,
    files: SeriesConfig,
    progress: Progress,
    on_note: OnNote,
) -> SegmentResult:
    """Learn the regimes of a file, label its rows, and write what is asked for.

    The file is read twice: once for its numbers, once for the cells that the labels are written beside.

    Args:
        on_note: called with each property of the rows that may mislead the search, before it starts.
    Raises:
        ConfigError: targets that contradict each other. SeriesError: the file cannot be used, or a target not written.
        GmvaeError: the device is absent.
    """
    started = time.perf_counter()
    configure_process()
    device_of(config.device)
    targets.check(input_file)
    reader = open_series([input_file], files)
    folder = scratch_folder(targets.output)
    with (
        open_outputs(reader, targets.output, targets.segments, files) as outputs,
        reader.read_data(folder, progress) as data,
    ):
        config, start = make_choices(config, data, progress, on_note)
        notes = [*data.notes, *data_notes(data, config)]
        trained = train_model(data, reader.layout, config, start, progress, notes)
        checkpoint = trained.checkpoint
        if targets.model is not None:
            save(targets.model, checkpoint)
        totals = LabelTotals(checkpoint.model.regimes)
        drawing = None if targets.plot is None else _drawing(reader, targets.output, checkpoint.model.regimes)
        with table_labels(data, checkpoint, labels, totals, directory=folder, progress=progress) as labelled:
            labelled.write(reader, outputs, None if drawing is None else _drawn(data, drawing))
        if targets.plot is not None and drawing is not None:
            progress("draw", 0, 1)
            with atomic(targets.plot) as temporary:
                figure.save(temporary, figure.format_of(targets.plot), drawing.build(data))
    return _result(data, trained, start.agreement, totals, targets, time.perf_counter() - started)


def _result(
    data: SeriesData,
    trained: TrainedModel,
    agreement: float | None,
    totals: LabelTotals,
    targets: Targets,
    seconds: float,
) -> SegmentResult:
    checkpoint = trained.checkpoint
    known = {note.code for note in trained.notes}
    later = [note for note in [*totals.notes, *totals.notes_on_fit(checkpoint)] if note.code not in known]
    return SegmentResult(
        rows=totals.rows,
        channels=list(data.channels),
        regimes=checkpoint.model.regimes,
        shares=totals.shares,
        expected_dwell=checkpoint.expected_dwell,
        segments=totals.segments,
        stride=checkpoint.model.stride,
        summarize=checkpoint.model.summarize,
        evidence_scale=float(checkpoint.parameters.evidence_scale),
        agreement=agreement,
        log_likelihood_per_row=totals.log_likelihood_per_row,
        seconds=seconds,
        warnings=[*trained.notes, *later],
        output=targets.output,
        model=targets.model,
        plot=targets.plot,
        ribbon=totals.ribbon,
    )


def _drawing(reader: SeriesReader, output: str, num_regimes: int) -> PlotDataBuilder:
    """Return a builder of the picture that `plot` would draw of the output."""
    name = reader.name if output == "-" else output
    return PlotDataBuilder(name, reader.layout, drawn_channels(reader.layout, []), num_regimes, reader.config.decimal)


def _drawn(data: SeriesData, drawing: PlotDataBuilder) -> OnRows:
    return lambda cells, rows: drawing.add_from(data, cells, rows.regimes, rows.probs)
