"""`gmvae select`: how many regimes, how many lags, which covariance."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.checkpoint import write
from gmvae_cli.config import ModelConfig, SelectConfig, SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.engine_config import EngineConfig
from gmvae_cli.errors import Note
from gmvae_cli.files.atomic import atomic, require_apart
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.selection import cross_validation
from gmvae_cli.system.device import configure_process
from gmvae_cli.system.engine import engine_of
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.trained_model import Start, train_model

_ROWS, _PIECES = 1 << 17, 32  # a longer file is represented by so many rows, in even pieces; chosen, not measured


@dataclass(frozen=True, kw_only=True)
class SelectResult:
    """The choice, why, and every candidate: `difference` to the best held-out score and its standard error."""

    choice: dict[str, int | str]
    reason: str
    candidates: list[dict[str, int | float | str | bool]]
    rows: int
    seconds: float
    warnings: list[Note]
    columns: list[dict[str, Any]] = field(default_factory=list)


def select(
    inputs: Sequence[str],
    config: SelectConfig,
    series: SeriesConfig,
    model_path: str | None,
    progress: Progress,
    engine: EngineConfig = EngineConfig(),
) -> SelectResult:
    """Score every candidate, in parallel processes, and choose.

    Args:
        model_path: train the choice on all rows and write it here. engine: says whose processes score.
    """
    started = time.perf_counter()
    configure_process()
    if model_path is not None:
        require_apart({"--model": model_path}, inputs)
    reader = open_series(inputs, series)
    candidates = config.candidates
    with (
        nullcontext() if model_path is None else atomic(model_path) as target,
        reader.read_data(None, progress) as data,
    ):
        values, steps = _represented(data)
        comparison = cross_validation.ComparisonData(
            data.name, values, steps, data.channels, config.restarts, config.seed, config.device
        )
        with engine_of(engine) as workers:
            scored = cross_validation.score_all(workers, comparison, candidates, progress)
        scores = np.stack([candidate.block_scores for candidate in scored])
        sizes = [candidate.num_free_parameters for candidate in scored]
        chosen, best, differences, errors = cross_validation.choose(scores, sizes)
        if target is not None:
            training = config.training(candidates[chosen])
            write(target, train_model(data, reader.layout, training, Start(), progress, data.notes).checkpoint)
    model = candidates[chosen]
    return SelectResult(
        choice={"regimes": model.regimes, "lags": model.lags, "covariance": model.covariance},
        reason=_reason(candidates, chosen, best, differences, errors),
        candidates=[
            {
                "regimes": candidate.model.regimes,
                "lags": candidate.model.lags,
                "covariance": candidate.model.covariance,
                "held_out_log_likelihood_per_row": float(candidate.block_scores.mean()),
                "difference": float(differences[index]),
                "standard_error": float(errors[index]),
                "parameters": candidate.num_free_parameters,
                "bic": candidate.bic,
                "agreement": candidate.agreement,
                "smallest_share": candidate.smallest_share,
                "chosen": index == chosen,
            }
            for index, candidate in enumerate(scored)
        ],
        rows=data.rows,
        seconds=time.perf_counter() - started,
        warnings=list(data.notes),
        columns=reader.columns(data),
    )


def _represented(data: SeriesData) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read values (n, D) and steps (n,): all rows, or evenly spaced pieces of a long recording, each a series."""
    if data.rows <= _ROWS:
        return data.read(0, data.rows)
    length = _ROWS // _PIECES
    starts = np.linspace(0, data.rows - length, _PIECES).astype(int)
    parts = [data.read(start, start + length) for start in starts.tolist()]
    for _, steps in parts:
        steps[0] = 0
    return np.concatenate([values for values, _ in parts]), np.concatenate([steps for _, steps in parts])


def _named(model: ModelConfig) -> str:
    regimes = "1 regime" if model.regimes == 1 else f"{model.regimes} regimes"
    lags = {0: "no lags", 1: "1 lag"}.get(model.lags, f"{model.lags} lags")
    return f"{regimes}, {lags}, {'a covariance each' if model.covariance == 'regime' else 'one covariance'}"


def _reason(
    candidates: Sequence[ModelConfig],
    chosen: int,
    best: int,
    differences: NDArray[np.float64],
    errors: NDArray[np.float64],
) -> str:
    if chosen == best:
        return (
            f"{_named(candidates[chosen])}: the best held-out score, and no smaller model is within one standard error"
        )
    return (
        f"{_named(candidates[chosen])}: the smallest model within one standard error of the best; it is "
        f"{differences[chosen]:.4f} per row (standard error {errors[chosen]:.4f}) below {_named(candidates[best])}"
    )
