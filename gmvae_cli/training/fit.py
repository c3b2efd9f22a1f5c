"""Training: start, anneal, EM. Data in, fitted model out.

    start       the best of many first parameters                                           initialization.best_start
    anneal      encoder, decoder and prior together, by gradients of the ELBO               gradient.anneal
    EM          decoder and prior in closed form, the encoder towards the exact posterior   em.EM, gradient.fit_encoder
    last passes two EM passes or more over all rows, block by block                         expectation.expect_all

All but the last passes work on a sample of the rows that fits in memory, so their cost does not grow with the file.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmvae_cli.config import TrainConfig
from gmvae_cli.core import GMVAE, Encoder, Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.em import EM, TOLERANCE
from gmvae_cli.training.expectation import RegimeCounts, Statistics, collect, count_labels, expect_all
from gmvae_cli.training.given_labels import order_for_known, require_sampled
from gmvae_cli.training.gradient import anneal, fit_encoder
from gmvae_cli.training.initialization import START_ROWS, best_start
from gmvae_cli.training.resume import NOTHING, ResumeLog, State, parameters_of, state_of
from gmvae_cli.training.sampling import Ranges, draw, subsample

# Annealing 150 steps costs 3.9 s at T = 200,000, K = D = 4, and as much for any longer file; a short one needs fewer.
_FULL_STEPS_FROM = 20_000  # rows; fewer get fewer gradient steps
_FEWEST_STEPS = 0.2  # share of the steps that the shortest file gets
_FINAL_PASSES = 2  # over all rows: held-out rows and those beyond the sample, a tenth of which is worth 0.004 ARI
_ENCODER_STEPS = 150  # 0.5 s; half of them before annealing, a third after the last passes
_LAST_ENCODER_LR = 0.01  # below the usual one, because little has changed since

Expect = Callable[[Parameters, int | None], tuple[Statistics, RegimeCounts]]  # as `run_passes` needs it


@dataclass(frozen=True)
class Fit:
    """A trained model.

    Args:
        parameters, encoder: the model to be saved; it has seen all rows.
        validated: parameters and encoder before the last passes, which know nothing of the rows in `validation`.
        validation: ranges of rows kept out; none for a short file.
        gain: nats a row that the last EM pass gained; converged: whether it is below the tolerance.
        steps: gradient steps of the annealing.
        standard_errors: (K, P, D, D) of the AR weights, as in `ar_dynamics`.
        labels: how many rows the last E-step gives each regime.
        order: (K,) the number that each regime had in the initial parameters, where these are given.
    """

    parameters: Parameters
    encoder: Encoder
    validated: tuple[Parameters, Encoder]
    validation: Ranges
    gain: float
    converged: bool
    steps: int
    standard_errors: Tensor
    labels: RegimeCounts
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class SampleFit:
    """A model fitted to the sample alone; without its rows it travels.

    Args:
        model: the encoder, with the parameters `best`. gain: as in `Fit`. steps: of the annealing.
        rows: of the sample; None: they are drawn again where they are needed. covers_all: whether they are all rows.
        validation: as in `Sample`. random_state: of the generator behind all this. order: as in `Fit`.
    """

    em: EM
    model: GMVAE
    best: Parameters
    gain: float
    steps: int
    rows: Rows | None
    covers_all: bool
    validation: Ranges
    random_state: Tensor
    order: tuple[int, ...] = ()


class Passes(NamedTuple):
    """Result of the passes over all rows.

    Args:
        parameters, gain: after them. statistics, labels: of all rows under the parameters.
        are_new: whether the parameters are others than those of the sample.
    """

    parameters: Parameters
    gain: float
    statistics: Statistics
    labels: RegimeCounts
    are_new: bool


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
        initial: parameters to start from; None: the best of many starts.
        resume_log: recalls the phases that an interrupted run has done, and records those of this one.
        skip_annealing: stay near the initial parameters, which were chosen by more than likelihood: EM improves them
            and the encoder learns from them, but nothing is annealed.
    Raises:
        SeriesError: too few fully observed rows for the model.
    """
    begun = fit_sample(lagged_rows, config, dwell, progress, initial, resume_log, skip_annealing)
    iid_prior = begun.em.iid_prior

    def expect(parameters: Parameters, number: int | None) -> tuple[Statistics, RegimeCounts]:
        log = NOTHING if number is None else resume_log
        return expect_all(lagged_rows, parameters, iid_prior, progress, log, number or 0)

    passes = run_passes(begun, config, expect, lagged_rows.file_rows(0, len(lagged_rows)), resume_log)
    return finish(begun, passes, config, progress, resume_log)


def fit_sample(
    lagged_rows: LaggedRows,
    config: TrainConfig,
    dwell: float | None,
    progress: Progress,
    initial: Parameters | None = None,
    resume_log: ResumeLog = NOTHING,
    skip_annealing: bool = False,
) -> SampleFit:
    """Train on a sample of the rows; as `fit`, but for the last passes."""
    generator = torch.Generator().manual_seed(config.seed)
    sample = draw(lagged_rows, config)
    require_sampled(lagged_rows, sample.rows)
    em = EM.over(sample.rows, config.model, len(lagged_rows.mean), dwell, config.fixed_evidence_scale)
    order = np.arange(config.model.regimes)
    if initial is None:
        start, _ = _kept(
            "start",
            em,
            resume_log,
            lambda: (_ordered(sample.rows, em, config, generator, progress), 0.0),
            generator,
        )
    else:
        order = order_for_known(sample.rows, initial, em.iid_prior)
        start = _with_fixed_scale(
            initial if lagged_rows.known is None else initial.permuted(torch.as_tensor(order)), config
        )
    steps = 0 if skip_annealing else _annealing_steps(len(lagged_rows), config)
    model = _annealed(start, sample.rows, config, steps, generator, progress, resume_log)
    best, gain = _kept("sample", em, resume_log, lambda: _improved_by_em(em, model, start, sample.rows, config.polish))
    model.set_parameters(best)
    fit_encoder(model, sample.rows, _ENCODER_STEPS, generator, progress, resume_log=resume_log)
    return SampleFit(
        em=em,
        model=model,
        best=best,
        gain=gain,
        steps=steps,
        rows=sample.rows,
        covers_all=len(sample.rows) == len(lagged_rows),
        validation=sample.validation,
        random_state=generator.get_state(),
        order=tuple(order.tolist()),
    )


def run_passes(
    begun: SampleFit,
    config: TrainConfig,
    expect: Expect,
    file_rows: NDArray[np.int64] | None = None,
    resume_log: ResumeLog = NOTHING,
) -> Passes:
    """Improve a model by EM passes over all rows, if the sample is not all of them; count the labels of all rows.

    Args:
        expect: runs the E-step over all rows, given parameters and the number of the pass; None: it is no pass that a
            resume log keeps. file_rows: as in `count_labels`, of all rows.
    """
    em, best = begun.em, begun.best
    if config.polish and (begun.validation or not begun.covers_all):
        return _last_passes(em, best, config.polish, expect, resume_log)
    if begun.rows is not None and begun.covers_all:
        statistics, _, probs = collect(begun.rows, best[None], em.iid_prior)
        labels = count_labels(probs[0], begun.rows, 0, file_rows)
    else:
        statistics, labels = expect(best, None)
    return Passes(best, begun.gain, statistics, labels, are_new=False)


def finish(
    begun: SampleFit, passes: Passes, config: TrainConfig, progress: Progress, resume_log: ResumeLog = NOTHING
) -> Fit:
    """Fit the encoder to the parameters of the last passes; begun has its rows."""
    model = begun.model
    validated = (_contiguous(begun.best), deepcopy(model.encoder))
    if passes.are_new:
        assert begun.rows is not None
        generator = torch.Generator()
        generator.set_state(begun.random_state)
        model.set_parameters(passes.parameters)
        steps_left = _ENCODER_STEPS // 3
        fit_encoder(model, begun.rows, steps_left, generator, progress, _LAST_ENCODER_LR, resume_log, "last encoder")
    return Fit(
        _contiguous(passes.parameters),
        model.encoder,
        validated,
        begun.validation,
        passes.gain,
        passes.gain < TOLERANCE,
        begun.steps,
        begun.em.standard_errors(passes.statistics, passes.parameters),
        passes.labels,
        begun.order,
    )


def fit_em_only(
    rows: Rows,
    config: TrainConfig,
    num_channels: int,
    seed: int,
    progress: Progress,
    pooled_rows: float | None = None,
) -> Parameters:
    """Fit decoder and prior to rows in memory by a start and EM alone, without an encoder; pooled_rows: as of `EM`."""
    generator = torch.Generator().manual_seed(seed)
    em = EM.over(rows, config.model, num_channels, None, pooled_rows=pooled_rows)
    start = _ordered(rows, em, config, generator, progress)
    return em.fit_em_and_scale(rows, start[None], config.polish)[0][0]


def _ordered(rows: Rows, em: EM, config: TrainConfig, generator: torch.Generator, progress: Progress) -> Parameters:
    """Find the best start; its first regimes are those that rows of known ones look like.

    A known regime may have gone to rows of another one, far more than are labelled, and left its own to a third.
    """
    start = best_start(em, rows, config, generator, progress)
    order = order_for_known(rows, start, em.iid_prior)
    return start if rows.known is None else start.permuted(torch.as_tensor(order))


def _with_fixed_scale(initial: Parameters, config: TrainConfig) -> Parameters:
    """Set the evidence scale of initial parameters to the user's, if the user gives a number."""
    fixed = config.fixed_evidence_scale
    return initial if fixed is None else replace(initial, evidence_scale=torch.tensor(fixed).double())


def _annealing_steps(rows: int, config: TrainConfig) -> int:
    """Choose the gradient steps for a file of so many rows: as configured, fewer for a short file."""
    return round(config.steps * min(1.0, max(_FEWEST_STEPS, rows / _FULL_STEPS_FROM)))


def _contiguous(parameters: Parameters) -> Parameters:
    """Copy parameters into contiguous memory: the last bits of sums over them depend on where their terms lie."""
    return parameters.map(Tensor.contiguous)


def _kept(
    phase: str,
    em: EM,
    resume_log: ResumeLog,
    run: Callable[[], tuple[Parameters, float]],
    generator: torch.Generator | None = None,
) -> tuple[Parameters, float]:
    """Recall the parameters of a phase and its last gain from the resume log, or run the phase and record them."""
    like = state_of(em.like()) | {"gain": torch.zeros((), dtype=torch.float64)}
    state = resume_log.recall(phase, like, generator)
    if state is None:
        parameters, gain = run()
        gained = {"gain": torch.tensor(gain, dtype=torch.float64)}
        state = resume_log.record(phase, state_of(parameters) | gained, generator)
    return parameters_of(state), float(state["gain"])


# --- phases ----------------------------------------------------------------------------------------------------------


def _annealed(
    start: Parameters,
    rows: Rows,
    config: TrainConfig,
    steps: int,
    generator: torch.Generator,
    progress: Progress,
    resume_log: ResumeLog,
) -> GMVAE:
    """Fit the encoder alone to the start's posterior; then anneal encoder, decoder and prior together."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = GMVAE(start, config.model)
    phase = "first encoder"
    fit_encoder(model, rows, _ENCODER_STEPS // 2, generator, progress, resume_log=resume_log, phase=phase)
    anneal(model, rows, config, steps, generator, progress, resume_log)
    return model


def _improved_by_em(em: EM, annealed: GMVAE, start: Parameters, rows: Rows, passes: int) -> tuple[Parameters, float]:
    """Run EM from the annealed parameters or the start until it gains no more; return also the last gain.

    It begins from those that explain a subsample of the rows best after two passes of EM.
    """
    candidates = [Parameters(annealed.emission(), annealed.chain(), start.evidence_scale), start]
    few = subsample(rows, START_ROWS)
    parameters, _ = em.run_em(few, Parameters.stacked(candidates), 2)
    best = int(em.score(few, parameters).argmax())
    parameters, gain = em.fit_em_and_scale(rows, parameters[best][None], passes)
    return parameters[0], gain


def _last_passes(
    em: EM,
    start: Parameters,
    limit: int,
    expect: Expect,
    resume_log: ResumeLog,
) -> Passes:
    """Run at least two EM passes over all rows, more while they gain."""
    first = _pass_state(start, 0, math.nan, math.inf)
    state = resume_log.recall("all rows", first) or first
    while True:
        state = resume_log.record("all rows", state)
        parameters, done, (before, gain) = parameters_of(state), int(state["done"]), state["figures"].tolist()
        statistics, labels = expect(parameters, done)
        now = float(statistics.log_marginal[0]) / statistics.usable_rows
        gain = gain if math.isnan(before) else abs(now - before)
        if done >= min(_FINAL_PASSES, limit) and (gain < TOLERANCE or done == limit):
            return Passes(parameters, gain, statistics, labels, are_new=True)
        state = _pass_state(em.update(statistics, parameters[None])[0], done + 1, now, gain)


def _pass_state(parameters: Parameters, done: int, before: float, gain: float) -> State:
    """Record where the last passes are: the parameters, and the objective and the gain of the pass before."""
    figures = torch.tensor([before, gain], dtype=torch.float64)
    return state_of(parameters) | {"done": torch.tensor(done), "figures": figures}
