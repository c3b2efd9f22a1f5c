"""Real recordings with known regimes: a folder for each collection, as they are and as copies of the same kind."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
from copies import copies, joined
from measure import Line, Score, Settings, ari, read, segment, tell, truth_of


def collections(settings: Settings) -> list[Path]:
    """The folders that hold recordings with a truth."""
    folders = [] if settings.data is None else [path for path in settings.data.iterdir() if path.is_dir()]
    return sorted(folder for folder in folders if files(folder))


def files(collection: Path) -> list[Path]:
    """Its recordings, in order."""
    return sorted(path for path in collection.iterdir() if path.suffix in (".csv", ".parquet"))


def originals(collection: Path, settings: Settings) -> Iterator[Line]:
    """Every recording; with K given those that have more than one regime."""
    for mode in settings.modes:
        runs = []
        for path in files(collection):
            for seed in range(settings.seeds):
                run = _segmented(path, mode, seed, settings, path.name)
                runs += [] if run is None else [run]
        yield Line(collection.name, mode, runs)


def as_copies(collection: Path, settings: Settings) -> Iterator[Line]:
    """Every recording re-spliced, re-sampled and repeated, and pairs of recordings end to end.

    Two recordings end to end are scored half by half, since labels of two recordings need not mean the same; K is not
    given, since it is not known.
    """
    runs: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for path in files(collection):
        for seed in range(settings.seeds):
            for name, copy, _ in copies(path, seed, settings.folder):
                for mode in settings.modes:
                    run = _segmented(copy, mode, seed, settings, f"{path.name}, {name}")
                    runs[name, mode] += [] if run is None else [run]
    if "auto" in settings.modes:
        for name, copy, parts in joined(files(collection), settings.folder):
            for seed in range(settings.seeds):
                run = replace(segment(copy, "auto", seed, settings.folder), excess=None)
                run = replace(run, ari=_mean_ari(settings.folder / "segment.parquet", parts))
                tell(f"  {collection.name}, {name}, seed {seed}: ari {run.ari:.3f}, {run.cpu:.1f} s")
                runs[name, "auto"].append(run)
    for name in dict.fromkeys(name for name, _ in runs):
        for mode in settings.modes:
            yield Line(f"{collection.name}, {name}", mode, runs[name, mode])


def _segmented(path: Path, mode: str, seed: int, settings: Settings, name: str) -> Score | None:
    """Segment one file; None where K = 1 would be given."""
    regimes = len(np.unique(truth_of(read(path))))
    if mode == "given" and regimes == 1:
        return None
    run = segment(path, regimes if mode == "given" else "auto", seed, settings.folder)
    figures = f"ari {run.ari:.3f}, covering {run.covering:.3f}, {run.segments} segments of {run.true_segments}"
    tell(f"  {name} {mode} seed {seed}: {figures}, found-true {run.excess}, {run.cpu:.1f} s")
    return run


def _mean_ari(labelled: Path, parts: tuple[tuple[int, int], ...]) -> float:
    """Mean ARI of the parts of a file that was labelled as one."""
    if not labelled.exists():
        return 0.0
    table = read(labelled)
    true, found = np.unique(truth_of(table), return_inverse=True)[1], table["regime"].to_numpy()
    return mean(ari(true[start:stop], found[start:stop]) for start, stop in parts)
