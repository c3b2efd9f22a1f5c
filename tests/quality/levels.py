"""Levels in many channels, and channels that stand still and jump."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from generated import another_each_time
from measure import TRUTH, Line, Score, Settings, ari, read, segment, tell, train_and_infer, truth_of, write

from gmvae_cli import checkpoint
from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import smoothed_labels
from gmvae_cli.training.initialization import start_from_labels

CHANNELS = (2, 6, 12, 24, 60)
REGIMES, VISIT, ROWS = 3, 25, 1_000
SPREAD = 1.5  # standard deviation of the levels, in those of the noise
SWITCH_VISIT, OTHER_VISIT = 100, 60  # rows; those of a switch that has nothing to do with the regimes
HMM_STARTS = 8


# --- levels ----------------------------------------------------------------------------------------------------------


def levels(settings: Settings) -> Iterator[Line]:
    """Three regimes, a level for each in every channel; one series of 1,000 rows, or ten of 100."""
    path = settings.folder / "levels.parquet"
    for channels in settings.widths(*CHANNELS):
        for series in (1, 10):
            runs: dict[tuple[str, str], list[Score]] = {}
            for seed in range(settings.seeds):
                write(path, level_columns(channels, series, seed))
                for command, mode in (("train", "given"), *(("segment", mode) for mode in settings.modes)):
                    run = _run(path, command, mode, seed, settings)
                    runs.setdefault((command, mode), []).append(run)
                    lead = f", {run.notes['above_truth']:+.3f} nats beside the truth" if run.notes else ""
                    tell(f"  {channels} channels, {series} series, {command} {mode} {seed}: ari {run.ari:.3f}{lead}")
            for (command, mode), lines in runs.items():
                known = [run.notes["above_truth"] for run in lines if run.notes]
                best = [run.notes["truth"] for run in lines if run.notes]
                remark = f"truth's ARI {mean(best):.3f}, log-likelihood {min(known):+.3f} nats" if known else ""
                yield Line(f"{channels} channels, {series} series, {command}", mode, lines, remark)


def level_columns(channels: int, series: int, seed: int) -> dict[str, np.ndarray]:
    """Unit noise around the level of each regime and channel, drawn from N(0, SPREAD^2)."""
    generator = np.random.default_rng(seed)
    level = generator.normal(0, SPREAD, (REGIMES, channels))
    state = np.repeat(another_each_time(REGIMES, ROWS // VISIT, generator), VISIT)
    values = level[state] + generator.normal(size=(ROWS, channels))
    ids = {"series": np.repeat(np.arange(series), ROWS // series)} if series > 1 else {}
    return ids | {f"x{index}": column for index, column in enumerate(values.T)} | {TRUTH: state}


def _run(path: Path, command: str, mode: str, seed: int, settings: Settings) -> Score:
    regimes = REGIMES if mode == "given" else "auto"
    if command == "train":
        run = train_and_infer(path, REGIMES, seed, settings.folder)
        model = settings.folder / "train.safetensors"
    else:
        model = settings.folder / "segment.safetensors"
        run = segment(path, regimes, seed, settings.folder, "--model", model)
    known = run.excess is not None if mode == "given" else run.excess == 0
    beside = beside_truth(path, model) if known else {}
    return replace(run, notes=beside)


def beside_truth(path: Path, model: Path) -> dict[str, float]:
    """Compare a model with the same model fitted to the true labels.

    Returns:
        `above_truth`: log-likelihood less that of the fitted one, nats a row; `truth`: the ARI of what that one labels.
        Nothing for a model of blocks, whose rows have no true labels.
    """
    trained = checkpoint.load(str(model))
    if trained.model.summarize > 1:
        return {}
    labels = np.unique(truth_of(read(path)), return_inverse=True)[1]
    with open_series([str(path)], SeriesConfig()).read_data() as data:
        lagged_rows = training_rows(data, trained.model)
        rows = lagged_rows.rows(0, len(lagged_rows))
        em = EM.over(rows, trained.model, len(lagged_rows.mean), None)
        units = trained.mean, trained.scale, torch.as_tensor(lagged_rows.mean), torch.as_tensor(lagged_rows.scale)
        found = trained.parameters.rescaled(trained.model.lags, *units)
        fitted = start_from_labels(em, rows, labels)
        scores = [float(em.score(rows, start[None])[0]) for start in (found, fitted)]
        best = smoothed_labels(rows, fitted, em.iid_prior)
    return {"above_truth": scores[0] - scores[1], "truth": ari(labels, best)}


# --- switches --------------------------------------------------------------------------------------------------------


def toggle(state: np.ndarray) -> dict[str, np.ndarray]:
    """A switch that is off or on."""
    return {"switch": state % 2}


def set_points(state: np.ndarray) -> dict[str, np.ndarray]:
    """Five values that an operator sets."""
    return {"set_point": np.array([10.0, 20.0, 35.0, 50.0, 80.0])[state]}


def one_hot(state: np.ndarray) -> dict[str, np.ndarray]:
    """Four columns, one of which is 1."""
    return {f"mode_{index}": (state == index).astype(int) for index in range(4)}


def square_wave(state: np.ndarray) -> dict[str, np.ndarray]:
    """A level without noise."""
    return {"wave": np.where(state % 2, 3.7, -1.2)}


# name: states, rows, columns of the state alone
SWITCHES: dict[str, tuple[int, int, Callable[[np.ndarray], dict[str, np.ndarray]]]] = {
    "0/1 switch": (2, 800, toggle),
    "five set-points": (5, 2_500, set_points),
    "one-hot of four": (4, 2_000, one_hot),
    "square wave": (2, 800, square_wave),
}


KINDS = ("alone", "noisy channels only", "beside noisy ones", "at other times, beside noisy ones")


def switches(settings: Settings) -> Iterator[Line]:
    """Switch channels alone, noisy channels alone, and both together, also where they have nothing to do."""
    if find_spec("hmmlearn") is None:
        tell("hmmlearn is not installed: no comparison with it")
    path = settings.folder / "switch.parquet"
    for name, (regimes, rows, columns) in SWITCHES.items():
        for kind in KINDS:
            runs: dict[tuple[str, str], list[Score]] = {}
            for seed in range(settings.seeds):
                generator = np.random.default_rng(seed)
                visits = -(-rows // SWITCH_VISIT)
                state = np.repeat(another_each_time(regimes, visits, generator), SWITCH_VISIT)[:rows]
                noisy = {"load": 3.0 * state, "flow": -1.0 * state}
                noisy = {key: value + generator.normal(size=rows) for key, value in noisy.items()}
                shown = state
                if kind.startswith("at other"):
                    others = another_each_time(regimes, -(-rows // OTHER_VISIT), generator)
                    shown = np.repeat(others, OTHER_VISIT)[:rows]
                table = ({} if kind.startswith("noisy") else columns(shown)) | ({} if kind == "alone" else noisy)
                write(path, table | {TRUTH: state})
                for command, mode in (("train", "given"), *(("segment", mode) for mode in settings.modes)):
                    run = _switch_run(path, command, regimes if mode == "given" else "auto", seed, settings)
                    runs.setdefault((command, mode), []).append(run)
                    tell(f"  {name} {kind}, {command} {mode} {seed}: ari {run.ari:.3f}")
                plain = gaussian_hmm(np.column_stack([*table.values()]), state, regimes)
                if plain is not None:
                    runs.setdefault(("hmmlearn", "given"), []).append(plain)
            for (command, mode), lines in runs.items():
                yield Line(f"{name}, {kind}, {command}", mode, lines)


def _switch_run(path: Path, command: str, regimes: int | str, seed: int, settings: Settings) -> Score:
    if command == "train":
        assert isinstance(regimes, int)
        return train_and_infer(path, regimes, seed, settings.folder)
    return segment(path, regimes, seed, settings.folder)


def gaussian_hmm(values: np.ndarray, truth: np.ndarray, regimes: int) -> Score | None:
    """What hmmlearn finds in the same rows, by likelihood the best of several starts; None where not installed."""
    try:
        from hmmlearn.hmm import GaussianHMM
    except ImportError:
        return None
    values = (values - values.mean(0)) / values.std(0)
    best, labels = -np.inf, np.zeros(len(values), int)
    for start in range(HMM_STARTS):
        with suppress(ValueError):  # of a start in which a state is left without rows
            model = GaussianHMM(regimes, n_iter=100, random_state=start).fit(values)
            score = model.score(values)
            if score > best:
                best, labels = score, model.predict(values)
    return Score(ari=ari(truth, labels), excess=len(np.unique(labels)) - regimes)
