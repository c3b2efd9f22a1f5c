"""Whether the novelty of a row is what it says, and what `infer --unknown` finds. Nothing is asserted; minutes.

python tests/quality/novelty.py [FOLDER] [--only PART ...] [--rows N] [--seeds N]

law         rows that the model itself draws, N of them: how many exceed a, as a multiple of the nominal 10^-a
trained     the same of rows of the training kind, by models that were trained on other rows of it
recordings  FOLDER's recordings: models trained on the first half of each, and the novelty of the second half
jams        logs of a press without jams for training; then one with jams, and one without, for `infer --unknown 6`
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import machine_log
import numpy as np
import pyarrow.parquet as pq
import recordings
import torch
from measure import TRUTH, Settings, channels_of, gmvae, read, tell, truth_of, write

sys.path.append(str(Path(__file__).resolve().parent.parent))
import recovery

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data import simulation
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.data.simulation import Process
from gmvae_cli.inference import apply
from gmvae_cli.system.device import configure_process

LEVELS = np.arange(1, 7)
LANES, LANE_ROWS = 1_000, 1_000  # series that are drawn and judged at once, and the rows of each
FEW = 1_000  # nominal rows from which the multiple says more than the rows
JAM_LOG_ROWS = 40_000
GATE = 0.999  # share of known rows


class Kind(NamedTuple):
    """A random process of K regimes in D channels."""

    regimes: int
    channels: int
    degrees: float | None = None
    missing: float = 0.0  # share of the cells

    def process(self, generator: np.random.Generator) -> Process:
        """Draw the process."""
        shape = {"dwell": 50, "shared_covariance": False, "intercept": True, "generator": generator}
        return replace(simulation.random_process(self.regimes, self.channels, 1, **shape), degrees=self.degrees)

    def __str__(self) -> str:
        noise = "Normal" if self.degrees is None else f"Student t{self.degrees:g}"
        return f"{noise}, K {self.regimes}, D {self.channels}" + f", {self.missing:.0%} empty" * bool(self.missing)


KINDS = (
    Kind(3, 1),
    Kind(4, 4),
    Kind(1, 2, degrees=3),
    Kind(4, 4, degrees=5),
    Kind(4, 4, missing=0.1),
    Kind(4, 4, degrees=5, missing=0.1),
)
TRAINED: tuple[tuple[Kind, int, tuple[object, ...]], ...] = (  # process, rows to train, options of `train`
    (Kind(4, 4), 20_000, ()),
    (Kind(4, 4), 200_000, ()),
    (Kind(4, 4, degrees=5), 200_000, ("--noise", "student")),
    (Kind(4, 4, missing=0.1), 200_000, ()),
    (Kind(3, 2), 400_000, ("--summarize", 20)),
)


# --- tails -----------------------------------------------------------------------------------------------------------


class Tail(NamedTuple):
    """Rows (6,) whose novelty exceeds each of LEVELS, among so many whose novelty is known."""

    above: np.ndarray
    known: int

    @classmethod
    def of(cls, novelty: np.ndarray) -> "Tail":
        """Count the rows of (n,) novelties, NaN where unknown."""
        return cls((novelty[:, None] > LEVELS).sum(0), int((~np.isnan(novelty)).sum()))

    def __str__(self) -> str:
        nominal = self.known * 10.0**-LEVELS
        cells = [
            f"{above / rows:.2f}" + (f" ({above} of {rows:.1f})" if rows < FEW else "")
            for above, rows in zip(self.above, nominal, strict=True)
        ]
        return f"{self.known:>11,} rows   " + "   ".join(cells)


def tail(model: Checkpoint, parts: Iterator[np.ndarray]) -> Tail:
    """Count the novelty of series, LANES of them in each part (LANES * LANE_ROWS, D)."""
    configure_process()
    total = Tail(np.zeros(len(LEVELS), int), 0)
    steps = np.tile(np.minimum(np.arange(LANE_ROWS), 1), LANES)
    for values in parts:
        with (
            SeriesData.from_arrays(values, steps, channels=model.channels) as data,
            apply.infer(data, model, "filter", novelty=True) as inferred,
        ):
            for block in inferred.blocks():
                part = Tail.of(block.novelty)
                total = Tail(total.above + part.above, total.known + part.known)
    return total


def lanes(kind: Kind, process: Process, generator: np.random.Generator) -> np.ndarray:
    """Draw LANES series row by row from the model's law, lag inflation of `model/student_t.py` included.

    Returns:
        (LANES * LANE_ROWS, D), one series behind the other.
    """
    weights, bias = process.ar_weights[:, 0], process.ar_bias
    tril = np.broadcast_to(process.scale_tril, weights.shape)
    inverse = np.linalg.inv(tril)
    K, D, nu = kind.regimes, kind.channels, kind.degrees
    regime = generator.choice(K, LANES, p=process.initial_probs)
    x = generator.standard_normal((LANES, D))
    empty = generator.random((LANE_ROWS, LANES, D)) < kind.missing
    inflation, complete = np.ones(LANES), ~empty[0].any(1)
    rows = [x]
    for row in range(1, LANE_ROWS):
        moved = process.transition_matrix.cumsum(1)[regime] < generator.random((LANES, 1))
        regime = np.minimum(moved.sum(1), K - 1)
        noise = generator.standard_normal((LANES, D))
        if nu is not None:
            noise *= np.sqrt(inflation / (generator.chisquare(nu, LANES) / nu))[:, None]
        means = np.einsum("kde,re->krd", weights, x) + bias[:, None]
        x = means[regime, np.arange(LANES)] + np.einsum("rde,re->rd", tril[regime], noise)
        if nu is not None:
            squares = (np.einsum("kde,krd->kre", inverse.transpose(0, 2, 1), x - means) ** 2).sum(2).min(0)
            usable, complete = complete, ~empty[row].any(1)
            inflation = np.where(usable & complete, np.maximum((nu + squares) / (nu + D), 1), 1)
        rows.append(x)
    drawn = np.where(empty, np.nan, np.stack(rows))
    return drawn.transpose(1, 0, 2).reshape(-1, D)


def parts(kind: Kind, process: Process, rows: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw at least so many rows, part by part."""
    for _ in range(-(-rows // (LANES * LANE_ROWS))):
        yield lanes(kind, process, generator)


def law(settings: Settings, rows: int) -> Iterator[str]:
    """Rows of the model's own law."""
    for number, kind in enumerate(KINDS):
        generator = np.random.default_rng(number)
        process = kind.process(generator)
        model = recovery.truth_of(process, ModelConfig(regimes=kind.regimes))
        if kind.degrees is not None:
            degrees = torch.tensor([kind.degrees], dtype=torch.float64)
            emission = replace(model.parameters.emission, degrees=degrees)
            config = ModelConfig(regimes=kind.regimes, noise="student")
            model = replace(model, model=config, parameters=Parameters(emission, model.parameters.chain))
        yield f"{kind!s:<60} {tail(model, parts(kind, process, rows, generator))}"


def trained(settings: Settings, rows: int) -> Iterator[str]:
    """Rows of the training kind."""
    path, model = settings.folder / "rows.parquet", settings.folder / "trained.safetensors"
    for number, (kind, training_rows, options) in enumerate(TRAINED):
        generator = np.random.default_rng(number)
        process = kind.process(generator)
        values = np.concatenate(list(parts(kind, process, training_rows, generator)))[:training_rows]
        lane = np.arange(training_rows) // LANE_ROWS
        write(path, {"series": lane} | {f"x{channel}": column for channel, column in enumerate(values.T)})
        gmvae("train", path, "--model", model, "--regimes", kind.regimes, *options)
        name = f"{kind}, trained on {training_rows:,} rows {' '.join(map(str, options))}"
        yield f"{name:<60} {tail(load(str(model)), parts(kind, process, rows, generator))}"


def of_recordings(settings: Settings, rows: int) -> Iterator[str]:
    """The second half of each recording by a model of its first half, with the regimes that the first half has."""
    halves = [settings.folder / name for name in ("first.parquet", "second.parquet")]
    model, out = settings.folder / "half.safetensors", settings.folder / "half.parquet"
    for collection in recordings.collections(settings):
        for path in recordings.files(collection):
            table = read(path)
            middle, truth = len(table) // 2, truth_of(table)
            for half, part in zip(halves, (table[:middle], table[middle:]), strict=True):
                pq.write_table(part, half)
            regimes = len(np.unique(truth[:middle]))
            new = ~np.isin(truth[middle:], truth[:middle])
            gmvae(
                "train", halves[0], "--model", model, "--regimes", regimes, "--channels", ",".join(channels_of(table))
            )
            if new.all() or gmvae("infer", halves[1], "--model", model, "--output", out, "--novelty").result is None:
                continue
            novelty = pq.read_table(out)["novelty"].to_numpy()
            remark = f"; {new.sum()} rows of {len(new)} are of regimes that the first half lacks" * bool(new.any())
            yield f"{collection.name + '/' + path.name:<60} {Tail.of(novelty[~new])}{remark}"


# --- jams ------------------------------------------------------------------------------------------------------------


def jams(settings: Settings, rows: int) -> Iterator[str]:
    """Recall of the rows of jams, other rows that are called unknown, and whether the gate of known rows trips."""
    model, out = settings.folder / "press.safetensors", settings.folder / "unknown.parquet"
    path = settings.folder / "log.parquet"
    for seed in range(settings.seeds):
        write(path, machine_log.columns(JAM_LOG_ROWS, 3 * seed, jams=0.0))
        gmvae("train", path, "--model", model, "--regimes", 4, "--seed", seed)
        figures = []
        for kind, share in (("with jams", machine_log.JAM_SHARE), ("without", 0.0)):
            columns = machine_log.columns(JAM_LOG_ROWS, 3 * seed + 1 + (share == 0), jams=share)
            write(path, columns)
            done = gmvae("infer", path, "--model", model, "--output", out, "--unknown", 6)
            assert done.result is not None
            unknown, jam = pq.read_table(out)["regime"].to_numpy() == -1, columns[TRUTH] == "jam"
            known_share = 1 - done.result["novel_share"]
            recall = f"recall {(unknown & jam).sum() / jam.sum():.4f} of {jam.sum()}, " if jam.any() else ""
            figures.append(
                f"{kind}: {recall}{(unknown & ~jam).sum()} others unknown, known share {known_share:.5f}, "
                f"the gate {'trips' if known_share < GATE else 'holds'}"
            )
        yield f"seed {seed}   " + "   ".join(figures)


PARTS = {"law": law, "trained": trained, "recordings": of_recordings, "jams": jams}


def main() -> None:
    """Print the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of the collections of recordings")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--rows", type=int, default=10_000_000, metavar="N")
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), options.folder, options.seeds)
        for name in options.only:
            tell(f"{name}: multiples of the nominal number of rows above {', '.join(map(str, LEVELS))}")
            for line in PARTS[name](settings, options.rows):
                print(line, flush=True)


if __name__ == "__main__":
    main()
