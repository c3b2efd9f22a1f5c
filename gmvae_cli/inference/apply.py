"""A model applied to a file: the file opened with the model's columns, labelled, and scored."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.config import InferConfig, Posterior, SeriesConfig
from gmvae_cli.data.block_features import block_features
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.data.steps import shortest_visit
from gmvae_cli.data.waveform_features import with_projection
from gmvae_cli.errors import CheckpointError, Note
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.inference.posterior import Inference
from gmvae_cli.inference.scored_rows import BLOCK_ROWS
from gmvae_cli.recognition.column_roles import time_columns
from gmvae_cli.regime_names import shown
from gmvae_cli.system.device import device_of
from gmvae_cli.system.progress import Progress, silent


def open_for(
    inputs: Sequence[str] | Sequence[InputFile], config: SeriesConfig, checkpoint: Checkpoint, model_path: str
) -> SeriesReader:
    """Open a table with the channels of a model, and the time and series columns of its training where none are named.

    Args:
        inputs: paths or files. model_path: for messages.
    Raises:
        CheckpointError: --channels names others, or the table lacks a channel that the model was trained on.
    """
    trained, training = checkpoint.channels, checkpoint.training
    if config.channels is not None and set(config.channels) != set(trained):
        raise CheckpointError(
            f"{model_path}: trained on {len(trained)} channels ({', '.join(trained)}), but --channels names "
            f"{', '.join(config.channels)}; leave the option out"
        )
    config, remembered = config.reading_as(training.get("reading", {}))
    time, series = config.time or training.get("time"), config.series or training.get("series")
    plain = open_series(inputs, replace(config, channels=None, time=None, no_time=True, series=None))
    columns = plain.layout.columns
    if not set(trained) <= set(columns):
        present = plain.layout.channels
        raise CheckpointError(
            f"{model_path}: trained on {len(trained)} channels ({', '.join(trained)}), but {plain.name} has "
            f"{len(present)} ({', '.join(present)})"
        )
    if config.time is None and not set(time_columns(time, columns)) <= set(columns):
        time = None
    if config.series is None and series not in columns:
        series = None
    reader = plain.using(replace(config, channels=trained, time=None if config.no_time else time, series=series))
    told = {name: value for name, value in remembered.items() if not name.startswith("usual_")}
    if told:
        options = " ".join(f"--{name.replace('_', '-')} {_typed(value)}".strip() for name, value in told.items())
        reader.notes.append(Note("read_as_trained", f"{reader.name} is read as in training, with {options}"))
    return reader


def _typed(value: object) -> str:
    """Return a value as it is typed behind its option."""
    if value is True:
        return ""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return text if text.replace("-", "").isalnum() else f"'{text}'"


def with_shortest_visit(checkpoint: Checkpoint, config: InferConfig, data: SeriesData) -> tuple[Checkpoint, list[Note]]:
    """Return a model whose shortest visit is that of the options, or else its own, and a note where it is its own.

    Raises:
        ConfigError: the option is no duration. SeriesError: it needs a unit of the time, which is unknown.
    """
    model = checkpoint.model
    if config.min_dwell is not None:
        rows = shortest_visit(config.min_dwell, data.step, data.unit_seconds)
        return replace(checkpoint, model=replace(model, shortest_visit=rows)), []
    if model.shortest_visit == 1:
        return checkpoint, []
    if config.posterior == "filter":
        sentence = "knows no later row, so visits may be shorter than in training"
        return checkpoint, [Note("min_dwell_dropped", f"--posterior filter {sentence} ({model.shortest_visit} rows)")]
    sentence = f"as in training, no visit is shorter than {model.shortest_visit} rows; --min-dwell 1 allows any"
    return checkpoint, [Note("min_dwell_as_trained", sentence)]


def infer(
    data: SeriesData,
    checkpoint: Checkpoint,
    posterior: Posterior,
    device: str = "cpu",
    *,
    model_path: str = "model",
    directory: str | None = None,
    progress: Progress = silent,
    block_rows: int = BLOCK_ROWS,
    evidence_scale: float | None = None,
    clamp_known: bool = False,
    novelty: bool = False,
    unknown: float | None = None,
) -> Inference:
    """Infer the posterior of a series, in float64.

    Args:
        data: T rows of the model's channels. model_path: for messages. device: as `--device` names it.
        directory, progress, block_rows, evidence_scale, novelty, unknown: as in `Inference.over`.
        clamp_known: rows with a known label, which is the name of a regime, are of that regime.
    Returns:
        the posterior after its sweep over all rows, to be closed by the caller.
    Raises:
        CheckpointError: the posterior is "encoder", and the model has none. GmvaeError: no such device, or disk full.
    """
    if checkpoint.waveforms is not None:
        data = with_projection(data, checkpoint.model.summarize, checkpoint.waveforms)
    elif checkpoint.std_epsilon is not None:
        data = block_features(data, checkpoint.model.summarize, checkpoint.std_epsilon.numpy(), directory)
    mean, scale = checkpoint.mean.numpy(), checkpoint.scale.numpy()
    known = None
    if clamp_known and data.known is not None:
        known = data.known.positions_in(checkpoint.names)
    lagged_rows = LaggedRows(data, checkpoint.model, mean, scale, torch.float64, device_of(device), known=known)
    return Inference.over(
        lagged_rows,
        checkpoint,
        posterior,
        checkpoint.build_encoder(model_path) if posterior == "encoder" else None,
        directory=directory,
        progress=progress,
        block_rows=block_rows,
        evidence_scale=evidence_scale,
        novelty=novelty,
        unknown=unknown,
    )


@dataclass(frozen=True)
class Judged:
    """Labels and likelihoods that a model gives a file.

    Args:
        reader: of the file. rows: T. names: K texts that differ, of the regimes.
        blocks: yields the smoothed labels of all rows in order.
        log_likelihood, elbo: nats per usable row, data units; None without a usable row. The ELBO of a model without
            an encoder is None, too.
    """

    reader: SeriesReader
    rows: int
    names: list[str]
    blocks: Callable[[], Iterator[LabelledRows]]
    log_likelihood: float | None
    elbo: float | None


@contextmanager
def judge(
    inputs: Sequence[str], config: SeriesConfig, model_path: str, device: str, progress: Progress
) -> Iterator[Judged]:
    """Label a file by a model and compute how well the model explains it; the labels are read within the block."""
    checkpoint = load(model_path)
    reader = open_for(inputs, config, checkpoint, model_path)
    with reader.read_data(None, progress, keep_constant=True) as data:
        kind: Posterior = "filter" if checkpoint.encoder is None else "encoder"
        log_likelihood = elbo = None
        with infer(data, checkpoint, kind, device, progress=progress, evidence_scale=1.0) as exact:
            if exact.usable_rows:
                log_likelihood = (exact.log_likelihood - exact.log_volume) / exact.usable_rows
                total = exact.elbo()
                elbo = None if total is None else (total - exact.log_volume) / exact.usable_rows
        K = checkpoint.model.regimes
        names = shown(checkpoint.names, K) if checkpoint.names else [str(regime) for regime in range(K)]
        with infer(data, checkpoint, "smooth", device, progress=progress) as smoothed:
            yield Judged(reader, data.rows, names, smoothed.blocks, log_likelihood, elbo)
