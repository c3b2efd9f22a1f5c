"""`gmvae select`: how many regimes, how many lags, which covariance."""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_cli import compare
from gmvae_cli.config import ModelConfig, SelectConfig, SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.fit import SAMPLE_ROWS
from gmvae_cli.progress import Progress
from gmvae_cli.recording import Recording
from gmvae_cli.runtime import resolve
from gmvae_cli.series import open_series

_PIECES = 40  # a longer file is represented by so many evenly spaced pieces


@dataclass(frozen=True, kw_only=True)
class SelectResult:
    """The choice, why, and every candidate: `difference` to the best held-out score and its standard error."""

    choice: dict[str, int | str]
    reason: str
    candidates: list[dict[str, int | float | str | bool]]
    rows: int
    seconds: float
    warnings: list[dict[str, str]]


def select(inputs: Sequence[str], config: SelectConfig, series: SeriesConfig, progress: Progress) -> SelectResult:
    """Score every candidate, in parallel processes, and choose."""
    started = time.perf_counter()
    with open_series(inputs, series).recording(None, progress) as recording:
        values, steps = _represented(recording)
        notes, total = recording.notes, recording.rows
    candidates = config.candidates
    gap = max(model.context_rows for model in candidates)
    needed = compare.BLOCKS * max(
        model.regimes * (gap + values.shape[1] * (model.lags + 1) + 2) for model in candidates
    )
    if len(values) < needed:
        raise SeriesError(
            f"{recording.name}: {len(values):,} rows, but comparing up to {candidates[-1].regimes} regimes in "
            f"{compare.BLOCKS} blocks needs at least {needed:,}; give fewer --regimes or --lags, or use train"
        )
    scored = _score_all(values, steps, recording.channels, config, gap, progress)
    scores = np.stack([one.block_scores for one in scored])
    chosen, best, differences, errors = compare.choose(scores, [one.free for one in scored])
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
                "parameters": one.free,
                "bic": one.bic,
                "agreement": one.agreement,
                "smallest_share": one.smallest_share,
                "chosen": index == chosen,
            }
            for index, one in enumerate(scored)
        ],
        rows=total,
        seconds=time.perf_counter() - started,
        warnings=[{"code": code, "sentence": sentence} for code, sentence in notes],
    )


def _represented(recording: Recording) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All rows of the recording, or evenly spaced pieces of a long one, each a series of its own."""
    if recording.rows <= SAMPLE_ROWS:
        return recording.read(0, recording.rows)
    length = SAMPLE_ROWS // _PIECES
    starts = np.linspace(0, recording.rows - length, _PIECES).astype(int)
    parts = [recording.read(start, start + length) for start in starts.tolist()]
    for _, steps in parts:
        steps[0] = 0
    return np.concatenate([values for values, _ in parts]), np.concatenate([steps for _, steps in parts])


def _score(
    values: NDArray[np.float64],
    steps: NDArray[np.int64],
    channels: tuple[str, ...],
    model: ModelConfig,
    gap: int,
    config: SelectConfig,
) -> compare.Scored:
    resolve(config.device)
    with Recording.from_arrays(values, steps, channels) as recording:
        return compare.score(recording, model, gap, config.restarts, config.seed)


def _numbered(work: tuple[Any, ...]) -> tuple[int, compare.Scored]:
    return work[0], _score(*work[1:])


def _leave_interrupts_alone() -> None:
    """Ctrl-C reaches every process of the terminal; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _score_all(
    values: NDArray[np.float64],
    steps: NDArray[np.int64],
    channels: tuple[str, ...],
    config: SelectConfig,
    gap: int,
    progress: Progress,
) -> list[compare.Scored]:
    """The candidates' scores, in their order; the large ones, which take longest, begin first."""
    candidates = config.candidates
    workers = min(len(candidates), os.cpu_count() or 1)
    if workers == 1:
        return [_score(values, steps, channels, model, gap, config) for model in candidates]
    found: dict[int, compare.Scored] = {}
    work = [
        (index, values, steps, channels, candidates[index], gap, config) for index in reversed(range(len(candidates)))
    ]
    with multiprocessing.get_context("spawn").Pool(workers, _leave_interrupts_alone) as pool:
        for index, scored in pool.imap_unordered(_numbered, work):
            found[index] = scored
            progress("select", len(found), len(candidates))
    return [found[index] for index in range(len(candidates))]


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
        return f"{_named(candidates[chosen])}: no smaller model comes within one standard error of its held-out score"
    return (
        f"{_named(candidates[chosen])}: the smallest model within one standard error of the best; it is "
        f"{differences[chosen]:.4f} nats a row (standard error {errors[chosen]:.4f}) below {_named(candidates[best])}"
    )
