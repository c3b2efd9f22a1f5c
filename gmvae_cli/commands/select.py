"""`gmvae select`: how many regimes, how many lags, which covariance."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig, SelectConfig, SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import Note
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.selection import cross_validation
from gmvae_cli.system.progress import Progress

_ROWS, _PIECES = 1 << 17, 32  # a longer file is represented by so many rows, in evenly spaced pieces


@dataclass(frozen=True, kw_only=True)
class SelectResult:
    """The choice, why, and every candidate: `difference` to the best held-out score and its standard error."""

    choice: dict[str, int | str]
    reason: str
    candidates: list[dict[str, int | float | str | bool]]
    rows: int
    seconds: float
    warnings: list[Note]


def select(inputs: Sequence[str], config: SelectConfig, series: SeriesConfig, progress: Progress) -> SelectResult:
    """Score every candidate, in parallel processes, and choose."""
    started = time.perf_counter()
    with open_series(inputs, series).read_data(None, progress) as data:
        values, steps = _represented(data)
        notes, total = data.notes, data.rows
    candidates = config.candidates
    work = cross_validation.Job(data.name, values, steps, data.channels, config.restarts, config.seed, config.device)
    scored = cross_validation.score_all(work, candidates, progress)
    scores = np.stack([one.block_scores for one in scored])
    chosen, best, differences, errors = cross_validation.choose(scores, [one.num_free_parameters for one in scored])
    model = candidates[chosen]
    return SelectResult(
        choice={"regimes": model.regimes, "lags": model.lags, "covariance": model.covariance},
        reason=_reason(candidates, chosen, best, differences, errors),
        candidates=[
            {
                "regimes": one.model.regimes,
                "lags": one.model.lags,
                "covariance": one.model.covariance,
                "held_out_log_likelihood_per_row": float(one.block_scores.mean()),
                "difference": float(differences[index]),
                "standard_error": float(errors[index]),
                "parameters": one.num_free_parameters,
                "bic": one.bic,
                "agreement": one.agreement,
                "smallest_share": one.smallest_share,
                "chosen": index == chosen,
            }
            for index, one in enumerate(scored)
        ],
        rows=total,
        seconds=time.perf_counter() - started,
        warnings=notes,
    )


def _represented(data: SeriesData) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All rows of the recording, or evenly spaced pieces of a long one, each a series of its own."""
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
    lags = "1 lag" if model.lags == 1 else f"{model.lags} lags"
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
        f"{differences[chosen]:.4f} nats a row (standard error {errors[chosen]:.4f}) below {_named(candidates[best])}"
    )
