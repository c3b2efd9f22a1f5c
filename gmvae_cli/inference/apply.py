"""A model and a file that belong together: opened, labelled, judged."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.config import Posterior, SeriesConfig
from gmvae_cli.data.block_features import BlockFeatures
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import CheckpointError
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.inference.posterior import BLOCK_ROWS, Inference, Labelled
from gmvae_cli.system.device import device_of
from gmvae_cli.system.progress import Progress, silent


def open_for(
    inputs: Sequence[str] | Sequence[InputFile], config: SeriesConfig, checkpoint: Checkpoint, model_path: str
) -> SeriesReader:
    """The table of a model's channels; the time and series columns that training used, unless others are named.

    Raises:
        CheckpointError: the file lacks a channel that the model was trained on.
    """
    trained, training = checkpoint.channels, checkpoint.training
    if config.channels is not None and set(config.channels) != set(trained):
        raise CheckpointError(
            f"{model_path}: trained on {len(trained)} channels ({', '.join(trained)}), but --channels names "
            f"{', '.join(config.channels)}; leave the option out"
        )
    time, series = config.time or training.get("time"), config.series or training.get("series")
    plain = open_series(inputs, replace(config, channels=None, time=None, no_time=True, series=None))
    columns = plain.layout.columns
    if not set(trained) <= set(columns):
        present = plain.layout.channels
        raise CheckpointError(
            f"{model_path}: trained on {len(trained)} channels ({', '.join(trained)}), but {plain.name} has "
            f"{len(present)} ({', '.join(present)})"
        )
    if config.time is None and time not in columns:
        time = None
    if config.series is None and series not in columns:
        series = None
    return plain.using(replace(config, channels=trained, time=None if config.no_time else time, series=series))


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
) -> Inference:
    """The posterior of a recording whose channels are the model's, in float64."""
    seen: SeriesData | BlockFeatures = data
    edges = None
    if checkpoint.std_epsilon is not None:
        seen = BlockFeatures(data, checkpoint.model.summarize, checkpoint.std_epsilon.numpy())
        edges = seen.edges
    lagged_rows = LaggedRows(
        seen,
        checkpoint.model,
        checkpoint.mean.numpy(),
        checkpoint.scale.numpy(),
        torch.float64,
        device_of(device),
    )
    encoder = checkpoint.build_encoder(model_path) if posterior == "encoder" else None
    return Inference(
        lagged_rows, checkpoint, posterior, encoder, directory, progress, block_rows, evidence_scale, edges
    )


@dataclass(frozen=True)
class Judged:
    """A model's opinion of a file.

    Args:
        reader: of the file. rows: T. num_regimes: K. blocks: its smoothed labels.
        log_likelihood, elbo: nats a row with evidence, data units; None where no row has any, and the ELBO of a model
            without an encoder.
    """

    reader: SeriesReader
    rows: int
    num_regimes: int
    blocks: Callable[[], Iterator[Labelled]]
    log_likelihood: float | None
    elbo: float | None


@contextmanager
def judge(
    inputs: Sequence[str], config: SeriesConfig, model_path: str, device: str, progress: Progress
) -> Iterator[Judged]:
    """A model's labels of a file, to be read within the block, and how well it explains the file."""
    checkpoint = load(model_path)
    reader = open_for(inputs, config, checkpoint, model_path)
    with reader.read_data(None, progress, keep_constant=True) as data:
        kind: Posterior = "filter" if checkpoint.encoder is None else "encoder"
        log_likelihood = elbo = None
        with infer(data, checkpoint, kind, device, progress=progress, evidence_scale=1.0) as exact:
            if exact.usable_rows:
                log_likelihood = (exact.log_likelihood - exact.log_volume) / exact.usable_rows
                if exact.elbo is not None:
                    elbo = (exact.elbo - exact.log_volume) / exact.usable_rows
        with infer(data, checkpoint, "smooth", device, progress=progress) as smoothed:
            yield Judged(reader, data.rows, checkpoint.model.regimes, smoothed.blocks, log_likelihood, elbo)
