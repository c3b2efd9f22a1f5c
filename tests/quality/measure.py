"""Runs of gmvae in a process of its own, scored against the truth, with the CPU seconds of all its processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gmvae_cli.commands.evaluate import evaluate
from gmvae_cli.config import EvaluateConfig, SeriesConfig
from gmvae_cli.metrics.partition import adjusted_rand, contingency
from gmvae_cli.system.progress import silent

TRUTH = "true_regime"


@dataclass(frozen=True)
class Settings:
    """What the parts of the measurement share.

    Args:
        folder: for files that are made. data: folder of collections, or None. seeds, modes ("given", "auto"): to run.
        rows, channels: of the generated files that are made; none: files of every length and width.
    """

    folder: Path
    data: Path | None = None
    seeds: int = 3
    modes: tuple[str, ...] = ("given", "auto")
    rows: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()

    def sizes(self, *rows: int) -> list[int]:
        """Those numbers of rows that are asked for."""
        return [size for size in rows if not self.rows or size in self.rows]

    def widths(self, *channels: int) -> list[int]:
        """Those numbers of channels that are asked for."""
        return [width for width in channels if not self.channels or width in self.channels]


@dataclass(frozen=True)
class Score:
    """One run beside the truth; a run that failed counts as an ARI of 0.

    Args:
        excess: number of regimes found less the true one. cpu: seconds. notes: further figures by name.
    """

    ari: float = 0.0
    covering: float = 0.0
    excess: int | None = None
    segments: int = 0
    true_segments: int = 0
    f1: float = 0.0
    cpu: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)


class Line(NamedTuple):
    """A line of the table: what was measured, with K given or not, and its runs."""

    name: str
    mode: str
    runs: Sequence[Score]
    remark: str = ""


class Done(NamedTuple):
    """A finished command: its JSON and the CPU seconds of all its processes; None where it failed."""

    result: dict[str, Any] | None
    cpu: float


# --- commands --------------------------------------------------------------------------------------------------------


def gmvae(*arguments: object) -> Done:
    """Run a command with --json, in this environment; an error is printed and not raised."""
    words = [sys.executable, "-m", "gmvae_cli", *map(str, arguments), "--quiet", "--json"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert child.stdout is not None
    output = child.stdout.read()
    child.stdout.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    if child.returncode:
        tell(f"  exit status {child.returncode} of gmvae {' '.join(words[3:])}")
        return Done(None, cpu)
    return Done(json.loads(output), cpu)


def segment(path: Path, regimes: int | str, seed: int, folder: Path, *options: object, tolerance: int = 10) -> Score:
    """Segment a file and score the labels, which stay in `folder`/segment.parquet."""
    out = folder / "segment.parquet"
    done = gmvae("segment", path, "--output", out, "--regimes", regimes, "--seed", seed, *options)
    return _scored(done, out, done.cpu, tolerance)


def train_and_infer(path: Path, regimes: int, seed: int, folder: Path, *options: object, tolerance: int = 10) -> Score:
    """Train a model, label the file with it and score the labels, which stay in `folder`/train.parquet."""
    model, out = folder / "train.safetensors", folder / "train.parquet"
    trained = gmvae("train", path, "--model", model, "--regimes", regimes, "--seed", seed, *options)
    if trained.result is None:
        return Score(cpu=trained.cpu)
    labelled = gmvae("infer", path, "--model", model, "--output", out)
    return _scored(labelled, out, trained.cpu + labelled.cpu, tolerance)


def infer(path: Path, model: Path, folder: Path, *, tolerance: int = 10) -> Score:
    """Label a file with a model, such as that which drew it, and score the labels."""
    out = folder / "infer.parquet"
    done = gmvae("infer", path, "--model", model, "--output", out)
    return _scored(done, out, done.cpu, tolerance)


def _scored(done: Done, labelled: Path, cpu: float, tolerance: int) -> Score:
    if done.result is None:
        return Score(cpu=cpu)
    scores = evaluate(str(labelled), EvaluateConfig(tolerance=tolerance), SeriesConfig(), None, silent)
    assert scores.labels_true is not None
    found = sum(share > 0 for share in done.result["shares"])
    return Score(
        ari=scores.ari or 0.0,
        covering=scores.covering or 0.0,
        excess=found - len(scores.labels_true),
        segments=scores.segments_predicted or 0,
        true_segments=scores.segments_true or 0,
        f1=scores.change_point_f1 or 0.0,
        cpu=cpu,
    )


def ari(labels: np.ndarray, others: np.ndarray) -> float:
    """Adjusted Rand index of two labellings (T,) with numbers from 0."""
    return float(adjusted_rand(contingency(labels, others, labels.max() + 1, others.max() + 1)))


# --- tables ----------------------------------------------------------------------------------------------------------


def read(path: Path) -> pa.Table:
    """Read a .csv or .parquet file."""
    return pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)


def channels_of(table: pa.Table) -> list[str]:
    """Names of the channels: all columns but time and truth."""
    return [name for name in table.column_names if name not in ("t", "timestamp", "series", TRUTH)]


def truth_of(table: pa.Table) -> np.ndarray:
    """The true regimes as text, (T,)."""
    return np.array([str(label) for label in table[TRUTH].to_pylist()])


def write(path: Path, columns: dict[str, Any]) -> Path:
    """Write a table of arrays as Parquet."""
    pq.write_table(pa.table(columns), path)
    return path


# --- the printed table -----------------------------------------------------------------------------------------------


def tell(line: str) -> None:
    """Print a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_lines(lines: Iterator[Line]) -> None:
    """Print each line as soon as its runs are done."""
    print(
        f"{'':<46} {'K':<6} {'runs':>4} {'ARI':>7} {'least':>7} {'cover':>6} {'found-true':>11} {'K right':>8} "
        f"{'segments (true)':>16} {'F1':>6} {'CPU s (most)':>14}"
    )
    for name, mode, runs, remark in lines:
        if not runs:
            continue
        aris, cpu = [run.ari for run in runs], [run.cpu for run in runs]
        known = [run.excess for run in runs if run.excess is not None]
        excess = f"{mean(known):>+11.2f} {sum(not one for one in known):>4}/{len(known):<3}" if known else f"{'':>20}"
        counts = f"{median(run.segments for run in runs):,.0f} ({median(run.true_segments for run in runs):,.0f})"
        print(
            f"{name:<46} {mode:<6} {len(runs):>4} {mean(aris):>7.3f} {min(aris):>7.3f} "
            f"{mean(run.covering for run in runs):>6.3f} {excess} {counts:>16} {mean(run.f1 for run in runs):>6.3f} "
            f"{median(cpu):>6.1f} ({max(cpu):.1f})  {remark}".rstrip(),
            flush=True,
        )
