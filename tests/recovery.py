"""What training must find in simulated series, seed by seed, beside what the true parameters get on the same rows.

    python tests/recovery.py [SET ...] [--seeds N]

A set is named by its beginning: K4D4 runs K4D4-20k and K4D4-200k. Every criterion is a loss with a limit. One line a
seed, one a set; exit status 1 if a limit is passed.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.metrics import adjusted_rand_score as ari

from gmvae_cli import checkpoint
from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.commands.select import select
from gmvae_cli.commands.simulate import simulate
from gmvae_cli.commands.train import train
from gmvae_cli.config import ModelConfig, Posterior, SelectConfig, SeriesConfig, SimulateConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data import simulation
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.data.simulation import Process
from gmvae_cli.inference import apply
from gmvae_cli.metrics import partition
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import Chain
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.progress import silent
from gmvae_cli.training.fit import fit


class Check(NamedTuple):
    """A loss that must not pass its limit."""

    name: str
    loss: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.loss <= self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.loss:.5f}, limit {self.limit:.5f}: {'ok' if self.passed else 'FAILED'}"


@dataclass
class Outcome:
    """One seed of a set: figures for information, and the criteria."""

    figures: dict[str, float]
    checks: list[Check] = field(default_factory=list)


class RecoverySet(NamedTuple):
    """A set: what one seed gives, how many seeds, whether the limits hold for their mean, or for all but one in ten."""

    run: Callable[[int], Outcome]
    seeds: int = 10
    mean: bool = False
    nine_in_ten: bool = False


# --- series whose truth is known -------------------------------------------------------------------------------------


def rotations() -> Process:
    """Three regimes that turn the plane by 0, 120 and 240 degrees, drawn anew at every row."""
    angles = np.deg2rad([0, 120, 240])
    turns = np.array([[[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]] for angle in angles])
    law = np.array([0.5, 0.3, 0.2])
    return Process(
        ar_weights=0.97 * turns[:, None],
        ar_bias=np.zeros((3, 2)),
        scale_tril=np.eye(2)[None],
        initial_probs=law,
        transition_matrix=np.tile(law, (3, 1)),
    )


def drawn(process: Process, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values (T, D) and true regimes (T,)."""
    chunks = list(simulation.draw(process, rows, rng))
    return np.concatenate([x for x, _ in chunks]), np.concatenate([regimes for _, regimes in chunks])


def two_regimes(channels: int, first: float, second: float) -> Process:
    """Pi = first I or second I, unit noise, visits of 100 rows."""
    return Process(
        ar_weights=np.stack([first * np.eye(channels), second * np.eye(channels)])[:, None],
        ar_bias=np.zeros((2, channels)),
        scale_tril=np.eye(channels)[None],
        initial_probs=np.full(2, 0.5),
        transition_matrix=simulation.transition_matrix(2, 100),
    )


def twenty_segments(process: Process, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """2,000 rows whose two regimes take turns, 100 rows each: values and true regimes."""
    regimes = np.repeat(np.arange(20) % 2, 100)
    D = process.num_channels
    noise = rng.standard_normal((2_000, 1, D))
    x = simulation.autoregression(process.ar_weights, noise, regimes[:, None], np.zeros((1, 1, D)))
    return x[:, 0], regimes


# --- training and judging --------------------------------------------------------------------------------------------


def truth_of(process: Process, model: ModelConfig) -> Checkpoint:
    """The generating model as a checkpoint, in data units."""
    D = process.num_channels
    weights, bias, tril = (torch.as_tensor(part) for part in (process.ar_weights, process.ar_bias, process.scale_tril))
    emission = Emission.from_lags(weights, bias if model.intercept else None, tril)
    chain = Chain(torch.as_tensor(process.initial_probs), torch.as_tensor(process.transition_matrix))
    return Checkpoint(
        model=model,
        channels=tuple(f"x{d}" for d in range(D)),
        mean=torch.zeros(D, dtype=torch.float64),
        scale=torch.ones(D, dtype=torch.float64),
        parameters=Parameters(emission, chain),
    )


def trained(values: np.ndarray, config: TrainConfig, steps: np.ndarray | None = None) -> tuple[Checkpoint, float]:
    """A model of a series in memory, and the CPU-seconds it took."""
    configure_process()
    device = device_of("cpu")
    with SeriesData.from_arrays(values, steps) as data:
        started = time.process_time()
        lagged_rows = training_rows(data, config.model, device)
        result = fit(lagged_rows, config, None, silent)
        seconds = time.process_time() - started
        found = Checkpoint(
            model=config.model,
            channels=data.channels,
            mean=torch.as_tensor(lagged_rows.mean),
            scale=torch.as_tensor(lagged_rows.scale),
            parameters=result.parameters,
            encoder={name: value.detach() for name, value in result.encoder.state_dict().items()},
        )
    return found, seconds


class Judged(NamedTuple):
    """Labels (T,), log-likelihood and (posterior "encoder") ELBO in nats a row, data units."""

    regimes: np.ndarray
    log_likelihood: float
    elbo: float | None


def judged(
    values: np.ndarray, model: Checkpoint, posterior: Posterior = "smooth", steps: np.ndarray | None = None
) -> Judged:
    """What a model says of a series."""
    configure_process()
    with SeriesData.from_arrays(values, steps) as data, apply.infer(data, model, posterior) as inferred:
        regimes = np.concatenate([block.regimes for block in inferred.blocks()])
        rows = inferred.usable_rows
        total = inferred.elbo()
        elbo = None if total is None else (total - inferred.log_volume) / rows
        return Judged(regimes, (inferred.log_likelihood - inferred.log_volume) / rows, elbo)


def counts(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Rows with each pair of labels."""
    return partition.contingency(true, predicted, int(true.max()) + 1, int(predicted.max()) + 1)


def accuracy(true: np.ndarray, predicted: np.ndarray) -> float:
    """Share of rows that agree under the best matching."""
    return partition.accuracy(counts(true, predicted))


# --- the sets --------------------------------------------------------------------------------------------------------


def rotation(seed: int, rows: int = 20_000) -> Outcome:
    """Regimes without persistence: the reference model against the truth, exact labels and the encoder's."""
    process, rng = rotations(), np.random.default_rng(seed)
    values, regimes = drawn(process, rows, rng)
    unseen, _ = drawn(process, rows, rng)
    model = ModelConfig(regimes=3, prior="iid", covariance="shared", intercept=False)
    found, seconds = trained(values, TrainConfig(model=model, seed=seed))
    truth = truth_of(process, model)
    best, exact, encoder = judged(values, truth), judged(values, found), judged(values, found, "encoder")
    nats_lost = judged(unseen, truth).log_likelihood - judged(unseen, found).log_likelihood
    standard = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    pi = found.parameters.rescaled(1, found.mean, found.scale, *standard).emission.weights
    order = torch.as_tensor(partition.match_labels(counts(regimes, exact.regimes)))
    best_accuracy, exact_accuracy = accuracy(regimes, best.regimes), accuracy(regimes, exact.regimes)
    return Outcome(
        {"accuracy of the truth": best_accuracy, "trained": exact_accuracy, "CPU s": seconds},
        [
            Check("accuracy lost", best_accuracy - exact_accuracy, 0.001),
            Check("encoder", best_accuracy - accuracy(regimes, encoder.regimes), 0.004),
            Check("unseen nats lost", nats_lost, model.num_free_parameters(2) / rows),
            Check("gap to the ELBO", exact.log_likelihood - encoder.elbo, 0.03),
            Check("error of Pi", float((pi[order] - truth.parameters.emission.weights).abs().max()), 0.03),
        ],
    )


def persistent(
    seed: int, *, regimes: int, channels: int, dwell: float, shared: bool, intercept: bool, rows: int
) -> Outcome:
    """Random regimes that persist: labels and likelihood of a series that training has not seen."""
    rng = np.random.default_rng(seed)
    process = simulation.random_process(
        regimes, channels, 1, dwell=dwell, shared_covariance=shared, intercept=intercept, generator=rng
    )
    values, _ = drawn(process, rows, rng)
    unseen, true = drawn(process, rows, rng)
    model = ModelConfig(regimes=regimes, covariance="shared" if shared else "regime", intercept=intercept)
    found, seconds = trained(values, TrainConfig(model=model, seed=seed))
    best, exact = judged(unseen, truth_of(process, model)), judged(unseen, found)
    best_ari, exact_ari = ari(true, best.regimes), ari(true, exact.regimes)
    return Outcome(
        {"ARI of the truth": best_ari, "trained": exact_ari, "CPU s": seconds},
        [
            Check("ARI lost", best_ari - exact_ari, 0.01),
            Check("nats lost", best.log_likelihood - exact.log_likelihood, model.num_free_parameters(channels) / rows),
        ],
    )


def short(seed: int, *, channels: int, first: float, second: float, given: int) -> Outcome:
    """Two regimes in 2,000 rows: labels beside those of the true parameters; with K = 5 given, for information."""
    process = two_regimes(channels, first, second)
    values, true = twenty_segments(process, np.random.default_rng(seed))
    found, seconds = trained(values, TrainConfig(model=ModelConfig(regimes=given), seed=seed))
    truth = truth_of(process, ModelConfig(regimes=2, covariance="shared"))
    best_ari, exact_ari = ari(true, judged(values, truth).regimes), ari(true, judged(values, found).regimes)
    checks = [Check("ARI lost", best_ari - exact_ari, 0.02)] if given == 2 else []
    return Outcome({"ARI of the truth": best_ari, "trained": exact_ari, "CPU s": seconds}, checks)


class Damaged(NamedTuple):
    """A series with something missing: values (n, D), steps (n,), and which rows (T,) of the whole are judged."""

    values: np.ndarray
    steps: np.ndarray
    judged: np.ndarray


def damage(values: np.ndarray, kind: str, rng: np.random.Generator) -> Damaged:
    """A tenth of the rows emptied, of the cells, of the rows deleted (steps tell), or the middle third emptied."""
    T, D = values.shape
    values, steps, kept = values.copy(), np.minimum(np.arange(T), 1), np.ones(T, bool)
    if kind == "rows":
        values[rng.random(T) < 0.1] = np.nan
    elif kind == "cells":
        values[rng.random((T, D)) < 0.1] = np.nan
    elif kind == "deleted":
        kept = rng.random(T) >= 0.1
        kept[0] = True
        steps = np.diff(np.flatnonzero(kept), prepend=0)
        values = values[kept]
    elif kind == "third":
        kept[T // 3 : 2 * T // 3] = False
        values[~kept] = np.nan
    return Damaged(values, steps, kept)


def missing(seed: int, *, kind: str, channels: int, first: float, second: float) -> Outcome:
    """How much more the labels suffer from what is missing than those of the true parameters do."""
    process = two_regimes(channels, first, second)
    rng = np.random.default_rng(seed)
    values, true = twenty_segments(process, rng)
    truth = truth_of(process, ModelConfig(regimes=2, covariance="shared"))
    config = TrainConfig(model=ModelConfig(regimes=2), seed=seed)
    series = damage(values, kind, rng)
    scores = []
    for given in (damage(values, "nothing", rng), series):
        rows = np.flatnonzero(series.judged) if len(given.values) == len(true) else slice(None)
        found, _ = trained(given.values, config, given.steps)
        for model in (truth, found):
            scores.append(ari(true[series.judged], judged(given.values, model, "smooth", given.steps).regimes[rows]))
    best, exact, best_damaged, exact_damaged = scores
    figures = {"ARI of the truth": best_damaged, "trained": exact_damaged}
    return Outcome(figures, [Check("more lost", (exact - exact_damaged) - (best - best_damaged), 0.02)])


def outliers(seed: int) -> Outcome:
    """What 1 % of spikes cost the labels under Student t noise, mean of the four pairs; Normal noise for comparison."""
    figures: dict[str, float] = {}
    reached = dict.fromkeys(("clean", "spiked", "spiked, normal"), 0.0)
    for name, pair in _PAIRS.items():
        rng = np.random.default_rng(seed)
        process = two_regimes(**pair)
        values, true = twenty_segments(process, rng)
        spiked = simulation.add_spikes(values, 0.01, np.ones(process.num_channels), rng)
        for kind in reached:
            noise = "normal" if "normal" in kind else "student"
            series = values if kind == "clean" else spiked
            found, _ = trained(series, TrainConfig(model=ModelConfig(regimes=2, noise=noise), seed=seed))
            score = ari(true, judged(series, found).regimes)
            figures[f"{name} {kind}"] = score
            reached[kind] += score / len(_PAIRS)
    return Outcome(figures | reached, [Check("ARI lost", reached["clean"] - reached["spiked"], 0.02)])


def without_persistence(seed: int, rows: int = 20_000) -> Outcome:
    """Independent regimes: what the markov prior loses to the iid one on unseen rows."""
    rng = np.random.default_rng(seed)
    values, _ = drawn(rotations(), rows, rng)
    unseen, _ = drawn(rotations(), rows, rng)
    found = {}
    for prior in ("iid", "markov"):
        model, _ = trained(values, TrainConfig(model=ModelConfig(prior=prior), seed=seed))
        found[prior] = judged(unseen, model).log_likelihood
    return Outcome(found, [Check("nats lost", found["iid"] - found["markov"], 0.002)])


def units(seed: int, rows: int = 20_000) -> Outcome:
    """A column in other units, file to labels: the share of rows with another label."""
    rng = np.random.default_rng(seed)
    process = simulation.random_process(4, 4, 1, dwell=50, shared_covariance=False, intercept=True, generator=rng)
    values, _ = drawn(process, rows, rng)
    changes = {
        "x 2^20": (2.0**20, 0.0, 0.0),
        "x 2^-13": (2.0**-13, 0.0, 0.0),
        "x 1e6": (1e6, 0.0, 0.001),
        "x 1e-6": (1e-6, 0.0, 0.001),
        "+ 1e6": (1.0, 1e6, 0.001),
    }
    before = _labels_from_file(values, seed)
    checks = []
    for name, (factor, shift, limit) in changes.items():
        changed = values.copy()
        changed[:, 0] = factor * changed[:, 0] + shift
        checks.append(Check(name, float((_labels_from_file(changed, seed) != before).mean()), limit))
    return Outcome({}, checks)


def _labels_from_file(values: np.ndarray, seed: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path, model_path = os.path.join(folder, "series.parquet"), os.path.join(folder, "model.safetensors")
        pq.write_table(pa.table({f"x{d}": column for d, column in enumerate(values.T)}), path)
        config = TrainConfig(model=ModelConfig(regimes=4), seed=seed)
        train([path], model_path, config, SeriesConfig(), False, silent)
        return judged(values, checkpoint.load(model_path)).regimes


def choice(seed: int, *, regimes: int) -> Outcome:
    """How many regimes `select` finds, with its defaults, in what `simulate` draws with its own; file to answer."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "series.parquet")
        simulate(path, SimulateConfig(regimes=regimes, steps=20_000, seed=seed), None, silent)
        before = _processor_seconds()
        found = int(select([path], SelectConfig(), SeriesConfig(), silent).choice["regimes"])
    figures = {"chosen": found, "CPU s": _processor_seconds() - before}
    return Outcome(figures, [Check("regimes off", abs(found - regimes), 0)])


def _processor_seconds() -> float:
    """Of this process and of those it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


_FOUR = {"regimes": 4, "channels": 4, "dwell": 50, "shared": False, "intercept": True}
_EIGHT = {"regimes": 8, "channels": 8, "dwell": 200, "shared": True, "intercept": False}
_PAIRS = {
    "D1-opposed": {"channels": 1, "first": 0.9, "second": -0.9},
    "D1-alike": {"channels": 1, "first": 0.9, "second": 0.3},
    "D2-opposed": {"channels": 2, "first": 0.9, "second": -0.9},
    "D4-alike": {"channels": 4, "first": 0.9, "second": 0.3},
}

SETS: dict[str, RecoverySet] = {
    "rotation": RecoverySet(rotation),
    "K4D4-20k": RecoverySet(partial(persistent, **_FOUR, rows=20_000)),
    "K4D4-200k": RecoverySet(partial(persistent, **_FOUR, rows=200_000)),
    "K8D8-20k": RecoverySet(partial(persistent, **_EIGHT, rows=20_000)),
    "K8D8-200k": RecoverySet(partial(persistent, **_EIGHT, rows=200_000)),
    **{f"two-{name}": RecoverySet(partial(short, **pair, given=2), 20, True) for name, pair in _PAIRS.items()},
    **{f"five-{name}": RecoverySet(partial(short, **pair, given=5), 20, True) for name, pair in _PAIRS.items()},
    **{
        f"missing-{kind}-{name}": RecoverySet(partial(missing, kind=kind, **pair), 20, True)
        for kind in ("rows", "cells", "deleted", "third")
        for name, pair in _PAIRS.items()
    },
    "outliers": RecoverySet(outliers, 20, True),
    "iid": RecoverySet(without_persistence),
    "units": RecoverySet(units),
    **{f"select-K{K}": RecoverySet(partial(choice, regimes=K), nine_in_ten=True) for K in (1, 2, 3, 4)},
}


# --- reporting -------------------------------------------------------------------------------------------------------


def averaged(outcomes: list[Outcome]) -> Outcome:
    """The mean of every figure and loss, and of the limits."""
    figures = {name: float(np.mean([one.figures[name] for one in outcomes])) for name in outcomes[0].figures}
    columns = zip(*(one.checks for one in outcomes), strict=True)
    checks = [
        Check(column[0].name, *(float(np.mean([getattr(one, part) for one in column])) for part in ("loss", "limit")))
        for column in columns
    ]
    return Outcome(figures, checks)


def report(name: str, chosen: RecoverySet, seeds: int | None) -> Iterator[bool]:
    """Print a set, a line a seed; yields whether each criterion that counts is met."""
    outcomes = []
    for seed in range(seeds or chosen.seeds):
        outcomes.append(chosen.run(seed))
        print(f"{name:<16} seed {seed:<3}{_line(outcomes[-1], not chosen.mean)}", flush=True)
    mean = averaged(outcomes)
    if chosen.mean:
        print(f"{name:<16} mean    {_line(mean, True)}", flush=True)
        yield from (check.passed for check in mean.checks)
        return
    passed = [all(check.passed for check in outcome.checks) for outcome in outcomes]
    worst = "; ".join(
        f"{check.name} {max(one.checks[i].loss for one in outcomes):.5f}" for i, check in enumerate(mean.checks)
    )
    print(f"{name:<16} {sum(passed)} of {len(passed)} seeds pass; worst: {worst}", flush=True)
    if chosen.nine_in_ten:
        yield 10 * sum(passed) >= 9 * len(passed)
        return
    yield from passed


def _line(outcome: Outcome, with_limits: bool) -> str:
    figures = ", ".join(f"{name} {value:.4f}" for name, value in outcome.figures.items())
    checks = [str(check) if with_limits else f"{check.name} {check.loss:.4f}" for check in outcome.checks]
    return "; ".join([figures, *checks] if figures else checks)


def main() -> int:
    """Run the sets named, or all; 1 if a criterion is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help=f"the beginnings of their names; default all of {', '.join(SETS)}")
    parser.add_argument("--seeds", type=int, help="how many; default 10, 20 for sets of 2,000 rows")
    arguments = parser.parse_args()
    unknown = [wanted for wanted in arguments.sets if not any(name.startswith(wanted) for name in SETS)]
    if unknown:
        parser.error(f"no set begins with {', '.join(unknown)}; sets are: {', '.join(SETS)}")
    torch.set_num_threads(1)
    chosen = {name: one for name, one in SETS.items() if not arguments.sets or name.startswith(tuple(arguments.sets))}
    met = [passed for name, one in chosen.items() for passed in report(name, one, arguments.seeds)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
