"""Machine logs and simulated series, from short to very long."""

from collections.abc import Iterator
from functools import partial

import machine_log
import numpy as np
from measure import TRUTH, Line, Score, Settings, gmvae, infer, segment, tell, train_and_infer, write

LOG_ROWS = (5_000, 20_000, 300_000, 3_000_000)
SIMULATED_ROWS = (2_000, 20_000, 200_000, 2_000_000)
LEVELS, LEVEL_ROWS, LEVEL_DWELL = 3, 12_000, 8
OTHER_LOG_ROWS, SHORTEST = 60_000, 5  # of a log that the model was not trained on; rows of a visit
CLEAR = 7.0  # standard deviations of the noise between levels


def logs(settings: Settings) -> Iterator[Line]:
    """Logs of one machine at every length and two paces, beside what a model with the true K gives."""
    path = settings.folder / "log.parquet"
    for pace, tolerance in ((1.0, 10), (0.1, 3)):
        for rows in settings.sizes(*LOG_ROWS):
            runs: dict[str, list[Score]] = {mode: [] for mode in (*settings.modes, "train")}
            for seed in range(settings.seeds):
                columns = machine_log.columns(rows, seed + 1, pace)
                regimes = len(np.unique(columns[TRUTH]))
                write(path, columns)
                for mode, lines in runs.items():
                    run = partial(train_and_infer, path, regimes)
                    if mode != "train":
                        run = partial(segment, path, regimes if mode == "given" else "auto")
                    lines.append(run(seed, settings.folder, tolerance=tolerance))
                    _tell(f"log of {rows:,} rows, pace {pace}", mode, seed, lines[-1])
            for mode, lines in runs.items():
                yield Line(f"log of {rows:,} rows, pace {pace:g}", mode, lines)


def dwell(settings: Settings) -> Iterator[Line]:
    """Logs that the model was not trained on, with visits of any length and with none below five rows."""
    path, other, model = (settings.folder / name for name in ("log.parquet", "other.parquet", "log.safetensors"))
    runs: dict[str, list[Score]] = {"": [], f"--min-dwell {SHORTEST}": []}
    for seed in range(settings.seeds):
        columns = machine_log.columns(OTHER_LOG_ROWS, 2 * seed + 1)
        write(path, columns)
        write(other, machine_log.columns(OTHER_LOG_ROWS, 2 * seed + 2))
        regimes = len(np.unique(columns[TRUTH]))
        for options, lines in runs.items():
            gmvae("train", path, "--model", model, "--regimes", regimes, "--seed", seed, *options.split())
            lines.append(infer(other, model, settings.folder))
            _tell(f"another log, train {options}", "given", seed, lines[-1])
    for options, lines in runs.items():
        yield Line(f"another log, train {options}", "given", lines)


def simulated(settings: Settings) -> Iterator[Line]:
    """Switching autoregressions beside what the parameters that drew them give, and clear levels with short visits."""
    path, truth = settings.folder / "simulated.parquet", settings.folder / "truth.safetensors"
    for rows in settings.sizes(*SIMULATED_ROWS):
        runs: dict[str, list[Score]] = {mode: [] for mode in settings.modes}
        best = []
        for seed in range(settings.seeds):
            gmvae("simulate", path, "--steps", rows, "--dwell", 50, "--seed", seed, "--truth", truth)
            best.append(infer(path, truth, settings.folder).ari)
            for mode, lines in runs.items():
                lines.append(segment(path, 3 if mode == "given" else "auto", seed, settings.folder))
                _tell(f"simulated, {rows:,} rows (truth {best[-1]:.3f})", mode, seed, lines[-1])
        for mode, lines in runs.items():
            yield Line(f"simulated, {rows:,} rows, dwell 50", mode, lines, beside(lines, best))
    for kind in ("fixed", "random"):
        for mode in settings.modes:
            lines = []
            for seed in range(settings.seeds):
                write(path, clear_levels(seed, kind == "random"))
                lines.append(segment(path, LEVELS if mode == "given" else "auto", seed, settings.folder, tolerance=1))
                _tell(f"clear levels, {kind} visits", mode, seed, lines[-1])
            yield Line(f"clear levels, {kind} visits of {LEVEL_DWELL}, {LEVEL_ROWS:,} rows", mode, lines)


def clear_levels(seed: int, random: bool) -> dict[str, np.ndarray]:
    """Three levels under unit noise, in visits of 8 rows, or of 8 rows on average (geometric)."""
    generator = np.random.default_rng(seed)
    lengths = generator.geometric(1 / LEVEL_DWELL, LEVEL_ROWS) if random else np.full(LEVEL_ROWS, LEVEL_DWELL)
    state = np.repeat(another_each_time(LEVELS, LEVEL_ROWS, generator), lengths)[:LEVEL_ROWS]
    return {"x0": CLEAR * state + generator.normal(size=LEVEL_ROWS), TRUTH: state}


def another_each_time(regimes: int, visits: int, generator: np.random.Generator) -> np.ndarray:
    """A regime for each visit, each drawn from those that differ from the last, (visits,)."""
    moves = generator.integers(1, regimes, visits)
    return np.cumsum(moves) % regimes


def beside(runs: list[Score], best: list[float]) -> str:
    """How far below the truth's ARI the runs are."""
    below = [truth - run.ari for run, truth in zip(runs, best, strict=True)]
    near = sum(loss <= 0.01 for loss in below)
    return f"truth {np.mean(best):.3f}, at most {max(below):.3f} below, within 0.01 {near}/{len(runs)}"


def _tell(name: str, mode: str, seed: int, run: Score) -> None:
    figures = f"ari {run.ari:.4f}, {run.segments} segments of {run.true_segments}, F1 {run.f1:.3f}"
    tell(f"  {name} {mode} seed {seed}: {figures}, found-true {run.excess}, {run.cpu:.1f} s")
