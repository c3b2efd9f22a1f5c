"""Training: start, anneal, polish. Data in, fitted model out.

Everything up to the last passes works on a sample of the rows that fits in memory, so its cost does not grow with the
file; the last polish passes see all rows, block by block.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.config import TrainConfig
from gmvae_cli.core import GMVAE, Encoder, Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.errors import SeriesError
from gmvae_cli.model.chain import Chain, persistent, stationary
from gmvae_cli.model.moments import Statistics
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.em import EM, TOLERANCE
from gmvae_cli.training.gradient import anneal, fit_encoder
from gmvae_cli.training.initialization import cluster_windows, short_runs, window_moments
from gmvae_cli.training.resume import NOTHING, ResumeLog, State, parameters_of, state_of

SAMPLE_ROWS = 1 << 18  # rows that start, anneal and the first polish passes see at most
_PIECE = 4_096  # a sample of a longer file consists of pieces of this many rows
_START_ROWS = 20_000
_SHORT_ROWS = 3_000
_VALIDATION_FROM = 2_000  # rows; a shorter file keeps none out
_FULL_STEPS_FROM = 20_000  # rows; fewer get fewer gradient steps
_WINDOWS = (10, 20, 50, 100, 200, 400)
_SHORT_DWELL = 5.0  # rows that a visit lasts, to begin with, in a start that knows nothing of persistence
_COMPETITION = ((6, 4), (12, 2), (20, 1))  # passes, and how many candidates go on
_FINAL_PASSES = 2
_DRAWS = 8
_ENCODER_STEPS = 150


Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Fit:
    """A trained model.

    Args:
        parameters, encoder: what is saved; it has seen all rows.
        validated: parameters and encoder before the last passes, which know nothing of the rows in `validation`.
        validation: ranges of rows kept out; none for a short file.
        gain: nats a row that the last polish pass gained; converged: it is below the tolerance.
        steps: gradient steps of the annealing.
        standard_errors: (K, P, D, D) of the AR weights, as in `describe`.
    """

    parameters: Parameters
    encoder: Encoder
    validated: tuple[Parameters, Encoder]
    validation: Ranges
    gain: float
    converged: bool
    steps: int
    standard_errors: Tensor


def fit(
    lagged_rows: LaggedRows,
    config: TrainConfig,
    dwell: float | None,
    progress: Progress,
    initial: Parameters | None = None,
    resume_log: ResumeLog = NOTHING,
    skip_annealing: bool = False,
) -> Fit:
    """Train on a recording.

    Args:
        dwell: rows that a visit is expected to last, None where nothing is known.
        initial: parameters to start from instead of the start's own.
        hold: stay with the initial parameters, which were chosen by more than likelihood: they are polished, and the
            encoder learns from them, but nothing is annealed.
        journal: what an interrupted run has done already, and where this one notes what it has done.
    Raises:
        SeriesError: too few rows with evidence for the model.
    """
    generator = torch.Generator().manual_seed(config.seed)
    sample, held_out, validation = _drawn(lagged_rows, config)
    _check_rows(lagged_rows, sample, config)
    em = EM.over(sample, config.model, len(lagged_rows.mean), dwell, config.fixed_evidence_scale)
    started = (
        _scaled(initial, config)
        or _kept(
            "start",
            em,
            resume_log,
            lambda: (_start(em, sample, held_out or sample, config, generator, progress), 0.0),
            generator,
        )[0]
    )
    steps = 0 if skip_annealing else round(config.steps * min(1.0, max(0.2, len(lagged_rows) / _FULL_STEPS_FROM)))
    model = _annealed(started, sample, config, steps, generator, progress, resume_log)
    best, gain = _kept(
        "sample", em, resume_log, lambda: _polished(em, model, started, sample, held_out or sample, config.polish)
    )
    model.set_parameters(best)
    fit_encoder(model, sample, _ENCODER_STEPS, generator, progress, resume_log=resume_log)
    validated = (best.map(Tensor.contiguous), deepcopy(model.encoder))
    if config.polish and (held_out is not None or len(sample) < len(lagged_rows)):
        best, gain, statistics = _last_passes(em, lagged_rows, best, config.polish, progress, resume_log)
        model.set_parameters(best)
        fit_encoder(model, sample, _ENCODER_STEPS // 3, generator, progress, 0.01, resume_log, "last encoder")
    else:
        statistics = em.expect(sample, best[None])
    parameters = best.map(Tensor.contiguous)  # sums over them depend on where their terms lie
    errors = em.standard_errors(statistics, best)
    return Fit(parameters, model.encoder, validated, validation, gain, gain < TOLERANCE, steps, errors)


def _scaled(initial: Parameters | None, config: TrainConfig) -> Parameters | None:
    """What the user starts from, with the evidence scale that the user gives, if one is given."""
    fixed = config.fixed_evidence_scale
    if initial is None or fixed is None:
        return initial
    return replace(initial, evidence_scale=torch.tensor(fixed).double())


def _kept(
    phase: str,
    em: EM,
    resume_log: ResumeLog,
    make: Callable[[], tuple[Parameters, float]],
    generator: torch.Generator | None = None,
) -> tuple[Parameters, float]:
    """The model of a phase and its last gain: out of the journal, else made and noted there."""
    state = resume_log.recall(phase, state_of(em.like()) | {"gain": torch.zeros((), dtype=torch.float64)}, generator)
    if state is None:
        model, gain = make()
        state = resume_log.record(phase, state_of(model) | {"gain": torch.tensor(gain, dtype=torch.float64)}, generator)
    return parameters_of(state), float(state["gain"])


def _polished(
    em: EM, annealed: GMVAE, started: Parameters, rows: Rows, judged_on: Rows, passes: int
) -> tuple[Parameters, float]:
    """The better one of what annealing and what the start found, updated until it gains no more; and the last gain."""
    both = Parameters.stacked([Parameters(annealed.emission(), annealed.chain(), started.evidence_scale), started])
    best, _ = _best(em, both, rows, judged_on)
    models, gain = em.fit_em_and_scale(rows, best[None], passes)
    return models[0], gain


def fit_closed(sample: Rows, config: TrainConfig, num_channels: int, seed: int, progress: Progress) -> Parameters:
    """Start and polish alone, on rows in memory: decoder and prior of maximum likelihood, without an encoder."""
    generator = torch.Generator().manual_seed(seed)
    em = EM.over(sample, config.model, num_channels, None)
    started = _start(em, sample, sample, config, generator, progress)
    return em.fit_em_and_scale(sample, started[None], config.polish)[0][0]


def _drawn(lagged_rows: LaggedRows, config: TrainConfig) -> tuple[Rows, Rows | None, Ranges]:
    """The sample, the held-out rows and their ranges; drawn again where those fall into a stretch without values."""
    rng = np.random.default_rng(config.seed)
    for share in (config.validation,) * _DRAWS + (0.0,):
        training, validation = split(len(lagged_rows), share, rng)
        sample = lagged_rows.pieces(training)
        if not validation:
            break
        held_out = lagged_rows.pieces(validation)
        if float(held_out.usable.float().mean()) >= 0.5 * float(sample.usable.float().mean()):
            return sample, held_out, validation
    return sample, None, ()


def require_rows(lagged_rows: LaggedRows, config: TrainConfig) -> None:
    """Refuse, as `fit` does, what has too few rows with evidence for the model."""
    _check_rows(lagged_rows, _drawn(lagged_rows, config)[0], config)


def _check_rows(lagged_rows: LaggedRows, sample: Rows, config: TrainConfig) -> None:
    rows, regimes = int(sample.fully_observed.sum()), config.model.regimes
    needed = regimes * (sample.y.shape[0] - len(lagged_rows.mean) + 2)
    if rows < needed:
        raise SeriesError(
            f"{lagged_rows.data.name}: {rows} rows are complete with all their lags, but {regimes} regimes of "
            f"{len(lagged_rows.mean)} channels need at least {needed}; "
            "give more rows, or fewer --regimes, --lags or --channels"
        )


def _best(em: EM, models: Parameters, rows: Rows, judged_on: Rows) -> tuple[Parameters, int]:
    """A few updates of each candidate, then the one that predicts best."""
    models, _ = em.run_em(subsample(rows, _START_ROWS), models, 2)
    index = int(em.score(judged_on, models).argmax())
    return models[index], index


def _last_passes(
    em: EM, lagged_rows: LaggedRows, model: Parameters, limit: int, progress: Progress, resume_log: ResumeLog
) -> tuple[Parameters, float, Statistics]:
    """At least two updates that see all rows, more while they gain.

    Returns:
        the model, the last gain, nats a row, and the statistics of all rows under the model.
    """
    first = _pass_state(model, 0, math.nan, math.inf)
    state = resume_log.recall("all rows", first) or first
    while True:
        state = resume_log.record("all rows", state)
        model, done, (before, gain) = parameters_of(state), int(state["done"]), state["figures"].tolist()
        statistics = em.expect_all(lagged_rows, model, progress, "polish", resume_log, done)
        now = float(statistics.log_marginal[0]) / statistics.usable_rows
        gain = gain if math.isnan(before) else abs(now - before)
        if done >= min(_FINAL_PASSES, limit) and (gain < TOLERANCE or done == limit):
            return model, gain, statistics
        state = _pass_state(em.update(statistics, model[None])[0], done + 1, now, gain)


def _pass_state(model: Parameters, done: int, before: float, gain: float) -> State:
    """Where the last passes are: the model, and what the pass before it came to."""
    return state_of(model) | {"done": torch.tensor(done), "figures": torch.tensor([before, gain], dtype=torch.float64)}


def _annealed(
    started: Parameters,
    sample: Rows,
    config: TrainConfig,
    steps: int,
    generator: torch.Generator,
    progress: Progress,
    resume_log: ResumeLog,
) -> GMVAE:
    """The encoder first, towards the start's posterior; then encoder, decoder and prior together."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = GMVAE(started, config.model)
    fit_encoder(model, sample, _ENCODER_STEPS // 2, generator, progress, resume_log=resume_log, phase="first encoder")
    anneal(model, sample, config, steps, generator, progress, resume_log)
    return model


# --- start -----------------------------------------------------------------------------------------------------------


def _start(
    em: EM,
    sample: Rows,
    judged_on: Rows,
    config: TrainConfig,
    generator: torch.Generator,
    progress: Progress,
) -> Parameters:
    """The best of many starts, by likelihood on held-out rows after a few closed-form updates."""
    rows = subsample(sample, _START_ROWS)
    candidates = _short_starts(em, rows, config.restarts, generator)
    if not em.iid_prior:
        windowed = _window_starts(em, rows, config.restarts, generator)
        candidates = windowed if windowed and em.dwell is not None else windowed + candidates
    models = em.with_noise(Parameters.stacked(candidates))
    for done, (passes, keep) in enumerate(_COMPETITION):
        models, _ = em.run_em(rows, models, passes, calibrate=True)
        models = models[em.score(judged_on, models).argsort(descending=True, stable=True)[:keep]]
        models = em.reinitialize_empty(rows, models)
        progress("start", done + 1, len(_COMPETITION))
    return models[0]


def _short_starts(em: EM, rows: Rows, restarts: int, generator: torch.Generator) -> list[Parameters]:
    """Short runs from random responsibilities on a few rows; the best ones."""
    config = em.config
    fully_observed = em.for_initialization(rows).nonzero()[:, 0]
    few = fully_observed[torch.randperm(len(fully_observed), generator=generator)[:_SHORT_ROWS]]
    emission, law, log_marginal = short_runs(
        rows.y[:, few],
        em.pooled,
        config.regimes,
        em.num_channels,
        em.shared,
        4 * restarts,
        generator,
        config.fixed_prior,
    )
    best = log_marginal.argsort(descending=True, stable=True)[: max(1, restarts // 2)].tolist()
    if em.iid_prior:
        return [Parameters(emission[i], Chain(law[i], law[i].expand(config.regimes, -1))) for i in best]
    matrix = persistent(config.regimes, em.dwell or _SHORT_DWELL)
    return [Parameters(emission[i], Chain(stationary(matrix), matrix)) for i in best]


def _window_starts(em: EM, rows: Rows, restarts: int, generator: torch.Generator) -> list[Parameters]:
    """Window clusterings of several window lengths, the best of each."""
    models = []
    lengths = _WINDOWS if em.dwell is None else (max(2, round(em.dwell / 2)),)
    for length in lengths:
        if 3 * em.config.regimes * length > len(rows):
            break
        model = start_from_windows(em, rows, length, restarts, generator)
        if model is not None:
            models.append(model)
    return models


def start_from_windows(em: EM, rows: Rows, length: int, restarts: int, generator: torch.Generator) -> Parameters | None:
    """The best of several clusterings of windows of `length` rows; None where there are fewer windows than regimes."""
    regimes = em.config.regimes
    flat, counts = window_moments(rows.y, em.for_initialization(rows), length)
    filled = counts >= 0.5 * counts[counts > 0].median()
    flat, counts = flat[filled], counts[filled]
    if len(counts) < regimes:
        return None
    emission, labels, total = cluster_windows(
        flat, counts, em.pooled, regimes, em.num_channels, em.shared, restarts, generator
    )
    best = int(total.argmax())
    visits = 1 + int((labels[best, 1:] != labels[best, :-1]).sum())
    matrix = persistent(regimes, em.dwell or length * labels.shape[1] / visits)
    return Parameters(emission[best], Chain(stationary(matrix), matrix))


# --- which rows ------------------------------------------------------------------------------------------------------


def split(rows: int, validation: float, rng: np.random.Generator) -> tuple[Ranges, Ranges]:
    """Ranges of rows to train on, at most `SAMPLE_ROWS` rows in all, and to validate on, in contiguous blocks.

    Short files (below 2,000 rows) keep nothing out.
    """
    held: list[tuple[int, int]] = []
    if rows >= _VALIDATION_FROM and validation > 0:
        count = int(np.clip(rows * validation // 200, 1, 10))
        span = rows / count
        length = max(1, int(min(rows * validation, SAMPLE_ROWS / 8) / count))
        shift = rng.uniform(0.1, 0.9, size=count) * (span - length)
        held = [(int(i * span + s), int(i * span + s) + length) for i, s in enumerate(shift)]
    edges = [0, *(edge for pair in held for edge in pair), rows]
    free = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]
    if sum(b - a for a, b in free) <= SAMPLE_ROWS:
        return free, held
    pieces = [(s, min(s + _PIECE, b)) for a, b in free for s in range(a, b, _PIECE)]
    chosen = np.sort(rng.choice(len(pieces), SAMPLE_ROWS // _PIECE, replace=False))
    return [pieces[i] for i in chosen], held


def subsample(rows: Rows, limit: int) -> Rows:
    """At most about `limit` rows, in long evenly spaced pieces."""
    if len(rows) <= limit:
        return rows
    piece = 2_000
    starts = np.linspace(0, len(rows) - piece, limit // piece).astype(int)
    return Rows.joined([rows.rows(start, start + piece) for start in starts.tolist()])
