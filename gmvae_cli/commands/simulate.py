"""`gmvae simulate`: draw a switching autoregressive series with its true regimes, into a file."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gmvae_cli.config import ModelConfig, SimulateConfig
from gmvae_cli.data import simulation
from gmvae_cli.errors import CheckpointError
from gmvae_cli.files.atomic import atomic, require_apart
from gmvae_cli.files.table_writer import writer
from gmvae_cli.metrics.segments import runs
from gmvae_cli.system.progress import Progress

if TYPE_CHECKING:
    from gmvae_cli.checkpoint import Checkpoint

# Keys of independent random streams, so that emptying cells, say, leaves the rows as they were
_REGIMES, _ROWS, _DAMAGE = range(3)


@dataclass(frozen=True, kw_only=True)
class SimulateResult:
    """Figures of the rows drawn; shares, expected dwell and spectral radius of each regime."""

    output: str
    truth: str | None
    rows: int
    series: int
    regimes: int
    channels: list[str]
    shares: list[float]
    expected_dwell: list[float]
    spectral_radius: list[float]
    segments: int
    seconds: float
    rows_per_second: float


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A process, with the names, means and scales of its channels."""

    process: simulation.Process
    model: ModelConfig
    channels: tuple[str, ...]
    mean: simulation.Array
    scale: simulation.Array


def simulate(output: str, config: SimulateConfig, truth: str | None, progress: Progress) -> SimulateResult:
    """Draw series and write the columns series (if there are several), t, the channels and true_regime.

    Args:
        truth: path for the generating model, a checkpoint without an encoder; None: it is not written.
    """
    started = time.perf_counter()
    require_apart({"--truth": truth}, [output])
    source = _trained(config) if config.model is not None else _random(config)
    process = source.process
    counts, segments, done = np.zeros(process.num_regimes, dtype=np.int64), 0, 0
    total = config.steps * config.series
    with ExitStack() as stack:
        table = stack.enter_context(writer(output))
        truth_file = stack.enter_context(atomic(truth)) if truth is not None else None
        for block, regimes, num_changes in _blocks(source, config):
            table.write(block)
            counts += np.bincount(regimes, minlength=process.num_regimes)
            segments += num_changes
            done += len(regimes)
            progress("simulate", done, total)
        if truth_file is not None:
            _save_truth(truth_file, source, config.seed)
    seconds = time.perf_counter() - started
    staying = process.transition_matrix.diagonal()
    return SimulateResult(
        output=output,
        truth=truth,
        rows=total,
        series=config.series,
        regimes=process.num_regimes,
        channels=list(source.channels),
        shares=(counts / total).tolist(),
        expected_dwell=[1 / (1 - stay) if stay < 1 else float("inf") for stay in staying.tolist()],
        spectral_radius=simulation.spectral_radii(process.ar_weights).tolist(),
        segments=segments,
        seconds=seconds,
        rows_per_second=total / seconds,
    )


def _random(config: SimulateConfig) -> _Source:
    model = ModelConfig(
        regimes=config.regimes,
        lags=config.lags,
        prior=config.prior,
        covariance=config.covariance,
        intercept=config.intercept,
    )
    process = simulation.random_process(
        config.regimes,
        config.channels,
        config.lags,
        dwell=config.dwell if config.prior == "markov" else None,
        shared_covariance=config.covariance == "shared",
        intercept=config.intercept,
        generator=np.random.default_rng([config.seed, _REGIMES]),
    )
    D = config.channels
    channels = tuple(f"x{channel}" for channel in range(D))
    return _Source(process=process, model=model, channels=channels, mean=np.zeros(D), scale=np.ones(D))


def _trained(config: SimulateConfig) -> _Source:
    from gmvae_cli import checkpoint

    assert config.model is not None
    loaded = checkpoint.load(config.model)
    if loaded.model.summarize > 1:
        raise CheckpointError(
            f"{config.model}: describes blocks of {loaded.model.summarize} rows, so it cannot draw rows; "
            "train without --summarize"
        )
    lags, emission, chain = loaded.model.lags, loaded.parameters.emission, loaded.parameters.chain
    process = simulation.Process(
        ar_weights=emission.ar_weights(lags).contiguous().numpy(),
        ar_bias=emission.ar_bias(lags).contiguous().numpy(),
        scale_tril=emission.scale_tril.numpy(),
        initial_probs=chain.initial_probs.numpy(),
        transition_matrix=chain.transition_matrix.numpy(),
        stride=loaded.model.stride,
        degrees=None if emission.degrees is None else float(emission.degrees),
    )
    return _Source(
        process=process,
        model=loaded.model,
        channels=loaded.channels,
        mean=loaded.mean.numpy(),
        scale=loaded.scale.numpy(),
    )


def _blocks(source: _Source, config: SimulateConfig) -> Iterator[tuple[pa.Table, simulation.Regimes, int]]:
    """Yield the table of each chunk, its regimes (n,), and the number of segments that start in it."""
    process = source.process
    radius = simulation.mean_square_radius(process.ar_weights, process.transition_matrix)
    burn_in_rows = simulation.BURN_IN_ROWS if radius < 1 else 0  # without a stationary law, start at the means
    spike_scale = source.scale * np.sqrt((process.scale_tril**2).sum(axis=2).mean(axis=0))
    for series in range(config.series):
        rows = np.random.default_rng([config.seed, _ROWS, series])
        damage = np.random.default_rng([config.seed, _DAMAGE, series])
        start, last_regime = 0, -1
        for x, regimes in simulation.draw(process, config.steps, rows, burn_in_rows):
            x = source.mean + source.scale * x
            if not np.isfinite(x).all():
                raise CheckpointError(
                    f"{config.model}: its rows grow without bound (mean-square radius {radius:.4g}, above 1); "
                    "draw fewer --steps"
                )
            x = simulation.add_spikes(x, config.outliers, spike_scale, damage) if config.outliers else x
            x = simulation.empty_cells(x, config.missing, damage) if config.missing else x
            num_changes = len(runs(regimes, carry=last_regime).begun)
            yield (
                _table(x, regimes, start, series if config.series > 1 else None, source.channels),
                regimes,
                num_changes,
            )
            start, last_regime = start + len(x), int(regimes[-1])


def _table(
    x: simulation.Array, regimes: simulation.Regimes, start: int, series: int | None, channels: tuple[str, ...]
) -> pa.Table:
    n = len(x)
    columns = {} if series is None else {"series": pa.array(np.full(n, series))}
    columns["t"] = pa.array(np.arange(start, start + n))
    columns |= {name: pa.array(x[:, channel], from_pandas=True) for channel, name in enumerate(channels)}
    columns["true_regime"] = pa.array(regimes)
    return pa.table(columns)


def _save_truth(path: str, source: _Source, seed: int) -> None:
    import torch

    from gmvae_cli import checkpoint
    from gmvae_cli.core import Parameters
    from gmvae_cli.model.ar_density import Emission
    from gmvae_cli.model.chain import Chain

    process = source.process
    truth: Checkpoint = checkpoint.Checkpoint(
        model=source.model,
        channels=source.channels,
        mean=torch.from_numpy(source.mean),
        scale=torch.from_numpy(source.scale),
        parameters=Parameters(
            Emission.from_lags(
                torch.from_numpy(process.ar_weights),
                torch.from_numpy(process.ar_bias) if source.model.intercept else None,
                torch.from_numpy(process.scale_tril),
                None if process.degrees is None else torch.tensor([process.degrees], dtype=torch.float64),
            ),
            Chain(torch.from_numpy(process.initial_probs), torch.from_numpy(process.transition_matrix)),
        ),
        training={"simulated": True, "seed": seed, "time": "t", "step": 1.0, "time_unit": "units"},
    )
    checkpoint.write(path, truth)
