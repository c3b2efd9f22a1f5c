"""What labels of single visits are worth: `--known` beside the same runs without it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import machine_log
import numpy as np
import pyarrow.parquet as pq
from generated import another_each_time
from measure import TRUTH, Line, Score, Settings, segment, tell, train_and_infer, write

KNOWN = "known"
ROWS = 20_000
WRONG = 0.05  # of the labels, in the set of logs with contradictions
PAIRS = list(combinations(machine_log.NAMES, 2))
OVERLAP, OVERLAP_VISIT = 1.0, 60  # standard deviations between levels; rows of a visit
MANY_ROWS, MANY_VISIT, MANY_SPREAD = 6_000, 30, 2.5  # rows, rows of a visit; standard deviation of the levels
RARE_SHARE, RARE_VISIT, RARE_LEVEL = (
    0.005,
    25,
    2.0,
)  # of rows; rows of a visit; standard deviations beside another state


class Case(NamedTuple):
    """A file of one seed: its columns, and the states of which one visit each is labelled."""

    columns: dict[str, np.ndarray]
    labelled: Sequence[str]
    wrong: float = 0.0


# --- files -----------------------------------------------------------------------------------------------------------


def logs(seed: int) -> Case:
    """A log of the press, two of its states labelled; the pair is another one for each seed."""
    return Case(machine_log.columns(ROWS, seed + 1), PAIRS[seed % len(PAIRS)])


def contradicted(seed: int) -> Case:
    """The same, one label in twenty being that of the other state."""
    return logs(seed)._replace(wrong=WRONG)


def overlapping(seed: int) -> Case:
    """Four levels in two channels, a standard deviation of the noise apart, all of them labelled."""
    rng = np.random.default_rng(seed)
    state = np.repeat(another_each_time(4, ROWS // OVERLAP_VISIT + 1, rng), OVERLAP_VISIT)[:ROWS]
    level = OVERLAP * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])[state]
    return _levels(level + rng.normal(size=level.shape), state, range(4))


def many(seed: int) -> Case:
    """Twelve levels in two channels, some of them close to each other, all of them labelled."""
    rng = np.random.default_rng(seed)
    state = np.repeat(another_each_time(12, MANY_ROWS // MANY_VISIT, rng), MANY_VISIT)
    level = rng.normal(0, MANY_SPREAD, (12, 2))[state]
    return _levels(level + rng.normal(size=level.shape), state, range(12))


def rare(seed: int) -> Case:
    """Three far levels, of which one swings, and a rare state beside another one: only that is labelled."""
    rng = np.random.default_rng(seed)
    state = np.repeat(another_each_time(3, ROWS // 200 + 1, rng), 200)[:ROWS]
    for start in rng.choice(ROWS // 400, round(RARE_SHARE * ROWS / RARE_VISIT), replace=False) * 400 + 60:
        state[start : start + RARE_VISIT] = 3
    level = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [RARE_LEVEL, RARE_LEVEL]])[state]
    level[:, 0] += (state == 1) * 2 * np.sin(2 * np.pi * np.arange(ROWS) / 25)
    return _levels(level + rng.normal(size=level.shape), state, [3])


def twins(seed: int) -> Case:
    """Two states of one law, and a third: nothing but labels tells the first two apart."""
    rng = np.random.default_rng(seed)
    state = np.repeat(another_each_time(3, ROWS // 100, rng), 100)
    level = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]])[state]
    return _levels(level + rng.normal(size=level.shape), state, range(3))


def _levels(values: np.ndarray, state: np.ndarray, labelled: Sequence[int]) -> Case:
    names = np.array([f"s{number}" for number in range(state.max() + 1)])
    return Case({"x0": values[:, 0], "x1": values[:, 1], TRUTH: names[state]}, [str(names[k]) for k in labelled])


SETS: dict[str, tuple[Callable[[int], Case], Sequence[str]]] = {
    "log, 2 of 5 states": (logs, ("train", "segment")),
    "log, 5 % of labels wrong": (contradicted, ("train", "segment")),
    "overlapping levels, all 4": (overlapping, ("train",)),
    "twelve levels, all labelled": (many, ("train",)),
    "a state of 0.5 % of the rows": (rare, ("train",)),
    "two states of one law": (twins, ("train",)),
}


def labels(case: Case, seed: int) -> np.ndarray:
    """Label one visit, drawn at random, to each of the states; of these labels some are those of another state."""
    state = case.columns[TRUTH]
    rng = np.random.default_rng(1_000 + seed)
    found = np.full(len(state), "", dtype=object)
    edges = np.concatenate([[0], np.flatnonzero(state[1:] != state[:-1]) + 1, [len(state)]])
    for name in case.labelled:
        visit = rng.choice(np.flatnonzero(state[edges[:-1]] == name))
        found[edges[visit] : edges[visit + 1]] = name
    rows = np.flatnonzero(found)
    for row in rng.choice(rows, round(case.wrong * len(rows)), replace=False):
        found[row] = rng.choice([name for name in case.labelled if name != found[row]])
    return found


# --- runs ------------------------------------------------------------------------------------------------------------


def known(settings: Settings) -> Iterator[Line]:
    """Each set without labels and with them; the remark is on the labelled states, the least of all seeds."""
    path = settings.folder / "known.parquet"
    for name, (make, commands) in SETS.items():
        runs: dict[tuple[str, str], list[Score]] = {}
        for seed in range(settings.seeds):
            case = make(seed)
            write(path, case.columns | {KNOWN: labels(case, seed)})
            for command in commands:
                for mode in ("given",) if command == "train" else settings.modes:
                    for options in ((), ("--known", KNOWN)):
                        run = _run(path, case, command, mode, seed, settings, options)
                        runs.setdefault((f"{command}{' --known' * bool(options)}", mode), []).append(run)
                        notes = ", ".join(f"{key} {value:.3f}" for key, value in run.notes.items())
                        tell(f"  {name}, {command} {mode} {' '.join(options)} {seed}: ari {run.ari:.4f}, {notes}")
        for (command, mode), lines in runs.items():
            known_notes = [run.notes for run in lines if run.notes]
            remark = ", ".join(
                f"{key} {mean(note[key] for note in known_notes):.3f} ({min(note[key] for note in known_notes):.3f})"
                for key in (known_notes[0] if known_notes else ())
            )
            yield Line(f"{name}, {command}", mode, lines, remark)


def _run(
    path: Path, case: Case, command: str, mode: str, seed: int, settings: Settings, options: Sequence[str]
) -> Score:
    regimes = len(np.unique(case.columns[TRUTH]))
    others = ("--channels", ",".join(name for name in case.columns if name not in ("timestamp", TRUTH)), *options)
    if command == "train":
        run = train_and_infer(path, regimes, seed, settings.folder, *others)
    else:
        run = segment(path, regimes if mode == "given" else "auto", seed, settings.folder, *others)
    return replace(run, notes=_of_labelled(settings.folder / f"{command}.parquet", case, bool(options)))


def _of_labelled(output: Path, case: Case, has_names: bool) -> dict[str, float]:
    """Recall and precision of the labelled states, the least; without names a state is the regime that most of it has.

    Beside them the share of labels that the output keeps.
    """
    table = pq.read_table(output)
    truth, regime = case.columns[TRUTH], table["regime"].to_numpy()
    given = np.array([label or "" for label in table[KNOWN].to_pylist()])
    names = np.array(table["regime_name"].to_pylist()) if has_names else None
    recalls, precisions = [], []
    for state in case.labelled:
        own = names == state if names is not None else regime == np.bincount(regime[truth == state]).argmax()
        recalls.append(float(own[truth == state].mean()))
        precisions.append(float((truth[own] == state).mean()) if own.any() else 0.0)
    notes = {"recall": min(recalls), "precision": min(precisions)}
    return notes if names is None else notes | {"kept": float((names == given)[given != ""].mean())}
