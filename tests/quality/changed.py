"""Changes of a file that should not change its labels, and the CPU seconds of wide and long files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import machine_log
import numpy as np
from measure import Line, Score, Settings, ari, channels_of, gmvae, read, segment, tell, truth_of, write
from recordings import collections, files

SIZES = ((40_000, 10), (20_000, 60), (300_000, 4), (3_000_000, 4))  # rows, channels
RISE = 1.0  # of the trend over the file, in standard deviations of the channel; chosen, not measured
EMPTIED = 0.05  # of the cells

Columns = dict[str, Any]


def doubled(columns: Columns, generator: np.random.Generator) -> Columns | None:
    """The one channel of a file twice."""
    (name, values), *more = columns.items()
    return None if more else {name: values, f"{name}_again": values.copy()}


def in_other_units(columns: Columns, generator: np.random.Generator) -> Columns:
    """The last channel times 1,000."""
    name = list(columns)[-1]
    return columns | {name: columns[name] * 1000.0}


def with_trend(columns: Columns, generator: np.random.Generator) -> Columns:
    """A steady rise of the first channel."""
    name, values = next(iter(columns.items()))
    return columns | {name: values + RISE * np.nanstd(values) * np.linspace(-0.5, 0.5, len(values))}


def with_gaps(columns: Columns, generator: np.random.Generator) -> Columns:
    """Some cells emptied."""
    return {name: np.where(generator.random(len(values)) < EMPTIED, np.nan, values) for name, values in columns.items()}


CHANGES: dict[str, Callable[[Columns, np.random.Generator], Columns | None]] = {
    "a channel twice": doubled,
    "a channel times 1000": in_other_units,
    "a trend": with_trend,
    "5 % of cells empty": with_gaps,
}


def invariance(settings: Settings) -> Iterator[Line]:
    """ARI between the labels of a file and those of its changed copy, K given by the truth or not at all."""
    for mode in settings.modes:
        runs: dict[str, list[Score]] = {name: [] for name in CHANGES}
        unlike: dict[str, set[str]] = {name: set() for name in CHANGES}
        for path in _originals(settings):
            table = read(path)
            truth, channels = truth_of(table), {name: table[name].to_numpy() for name in channels_of(table)}
            regimes = len(np.unique(truth)) if mode == "given" else "auto"
            if regimes == 1:
                continue
            for seed in range(settings.seeds):
                before = _labels(write(settings.folder / "before.parquet", channels), regimes, seed, settings)
                for name, change in CHANGES.items():
                    changed = change(channels, np.random.default_rng(seed))
                    if changed is None:
                        continue
                    after = _labels(write(settings.folder / "after.parquet", changed), regimes, seed, settings)
                    agreed = 0.0 if before is None or after is None else ari(before, after)
                    tell(f"  {path.stem} {mode} seed {seed}, {name}: ari {agreed:.3f}")
                    runs[name].append(Score(ari=agreed))
                    unlike[name] |= {path.stem} if agreed < 0.95 else set()
        for name, lines in runs.items():
            yield Line(
                f"unchanged by {name}", mode, lines, "below 0.95: " + (", ".join(sorted(unlike[name])) or "none")
            )


def _originals(settings: Settings) -> list[Path]:
    """A log, and the first three recordings of each collection."""
    log = write(settings.folder / "log_of_5000_rows.parquet", machine_log.columns(5_000, 1))
    return [log, *(path for collection in collections(settings) for path in files(collection)[:3])]


def _labels(path: Path, regimes: int | str, seed: int, settings: Settings) -> np.ndarray | None:
    out = settings.folder / "labelled.parquet"
    done = gmvae("segment", path, "--output", out, "--regimes", regimes, "--seed", seed)
    return None if done.result is None else read(out)["regime"].to_numpy()


def cpu_seconds(settings: Settings) -> Iterator[Line]:
    """What wide and long files cost, and what reading and labelling alone cost."""
    path = settings.folder / "long.parquet"
    model = settings.folder / "long.safetensors"
    for rows, channels in SIZES:
        if not settings.sizes(rows):
            continue
        for mode in settings.modes:
            runs, labelling = [], []
            for seed in range(settings.seeds):
                gmvae("simulate", path, "--steps", rows, "--channels", channels, "--seed", seed)
                runs.append(segment(path, 3 if mode == "given" else "auto", seed, settings.folder, "--model", model))
                labelling.append(gmvae("infer", path, "--model", model, "--output", settings.folder / "i.parquet").cpu)
                tell(f"  {rows:,} x {channels} {mode} {seed}: {runs[-1].cpu:.1f} CPU s, ari {runs[-1].ari:.3f}")
            remark = f"reading and labelling alone {max(labelling):.1f} CPU s"
            yield Line(f"{rows:,} rows x {channels} channels", mode, runs, remark)
