"""How often the 95 % intervals of changes hold: `python tests/intervals.py`, a few minutes.

Regimes of one channel that differ in their level alone, by so many standard deviations of the noise, are drawn and
labelled by the true model and by one trained on another series. A true change from i to j counts where the labels have
a change from i to j as well, so near that neither middle of the visits beside it lies between, and no other true change
from i to j is there too; the others are missed changes, and are counted.
"""

import sys

import numpy as np
from recovery import Checkpoint, Process, counts, drawn, trained, truth_of

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.data import simulation
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.inference import apply
from gmvae_cli.metrics import partition
from gmvae_cli.metrics.segments import runs
from gmvae_cli.outputs.change_intervals import ChangeIntervals

CHANGES = 1_000
SETTINGS = ((2, 0.5, 200), (3, 0.7, 200), (3, 1.0, 100), (3, 1.5, 100), (3, 2.0, 50), (3, 3.0, 50))  # K, distance, rows


def levels(regimes: int, distance: float, dwell: float) -> Process:
    """Unit noise around levels, visits of `dwell` rows."""
    return Process(
        ar_weights=np.zeros((regimes, 1, 1, 1)),
        ar_bias=distance * np.arange(regimes)[:, None],
        scale_tril=np.eye(1)[None],
        initial_probs=np.full(regimes, 1 / regimes),
        transition_matrix=simulation.transition_matrix(regimes, dwell),
    )


def judge(values: np.ndarray, true: np.ndarray, model: Checkpoint) -> tuple[int, int, int, float]:
    """True changes, those that are found, those inside their intervals, and the mean rows of these."""
    found = ChangeIntervals()
    labels = []
    with SeriesData.from_arrays(values) as data, apply.infer(data, model, "smooth") as inferred:
        for block in inferred.blocks():
            labels.append(block.regimes)
            found.add(block)
    found.finish()
    regimes = np.concatenate(labels)
    to_true = np.argsort(partition.match_labels(counts(true, regimes)))
    regimes = to_true[regimes]
    visits, changes = runs(regimes), 1 + np.flatnonzero(np.diff(true))
    matched = inside = width = 0
    for at in range(1, len(visits)):
        start = int(visits.start[at])
        first, last = (visits.start[at - 1] + start) // 2, (start + visits.stop[at]) // 2
        near = changes[(changes > first) & (changes <= last)]
        same = near[(true[near - 1] == regimes[start - 1]) & (true[near] == regimes[start])]
        if len(same) == 1:
            low, high = found.ended[at]
            matched += 1
            inside += start + low <= same[0] <= start + high
            width += high - low + 1
    return len(changes), matched, inside, width / matched


def main(seeds: int) -> None:
    """Print a line for each setting and model, and one for all of them."""
    for name in ("true model", "trained model"):
        total = np.zeros(3, int)
        for regimes, distance, dwell in SETTINGS:
            figures = np.zeros(4)
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                process = levels(regimes, distance, dwell)
                values, true = drawn(process, CHANGES * dwell // seeds, rng)
                config = TrainConfig(model=ModelConfig(regimes=regimes, covariance="shared"), seed=seed)
                model = truth_of(process, config.model)
                if name != "true model":
                    model, _ = trained(drawn(process, len(values), rng)[0], config)
                figures += judge(values, true, model)
            total += figures[:3].astype(int)
            print(
                f"{name:<14} {regimes} levels {distance} apart, visits of {dwell} rows: {figures[0]:.0f} changes, "
                f"{figures[1]:.0f} found, {figures[2] / figures[1]:.1%} inside, {figures[3] / seeds:.1f} rows wide",
                flush=True,
            )
        print(f"{name:<14} all: {total[0]} changes, {total[1]} found, {total[2] / total[1]:.1%} inside", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
