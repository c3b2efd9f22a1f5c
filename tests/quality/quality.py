"""How well `gmvae segment` finds the regimes of recordings whose truth is known. Nothing is asserted.

    python tests/quality/quality.py FOLDER [--seeds N] [--only COLLECTION ...] [--given | --auto]

FOLDER holds a folder for each collection, with .csv or .parquet files that have a column `true_regime`. One fixed
command line runs over all: with the true number of regimes, for series that have more than one, and without.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

import pyarrow.csv
import pyarrow.parquet as pq

GMVAE = os.path.join(os.path.dirname(sys.executable), "gmvae")
SCORES = ("ari", "nmi", "ami", "covering")


def true_regimes(path):
    table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    return len(table["true_regime"].unique())


def segmented(path, regimes, seed, folder):
    """Scores, found minus true number of regimes, seconds with everything, of one run."""
    out = os.path.join(folder, "out.csv")
    options = ["--output", out, "--regimes", str(regimes), "--seed", str(seed), "--quiet", "--json"]
    started = time.perf_counter()
    found = json.loads(subprocess.run([GMVAE, "segment", path, *options], check=True, capture_output=True).stdout)
    seconds = time.perf_counter() - started
    scored = subprocess.run([GMVAE, "evaluate", out, "--quiet", "--json"], check=True, capture_output=True).stdout
    scores = json.loads(scored)
    used = sum(share > 0 for share in found["shares"])
    return {name: scores[name] for name in SCORES} | {
        "excess": used - true_regimes(path),
        "seconds": seconds,
        "agreement": found["agreement"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--given", action="store_true", help="only with the true number of regimes")
    parser.add_argument("--auto", action="store_true", help="only without it")
    options = parser.parse_args()
    modes = [mode for mode in ("given", "auto") if getattr(options, mode)] or ["given", "auto"]
    print(
        f"{'collection':<12} {'K':<6} {'runs':>4}"
        + "".join(f"{name:>10}" for name in SCORES)
        + "   found-true   s (max)"
    )
    for collection in sorted(path for path in options.folder.iterdir() if path.is_dir()):
        if options.only and collection.name not in options.only:
            continue
        files = sorted(path for path in collection.iterdir() if path.suffix in (".csv", ".parquet"))
        for mode in modes:
            report(collection.name, mode, files, options.seeds)


def report(name, mode, files, seeds):
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            true = true_regimes(path)
            if mode == "given" and true == 1:
                continue
            for seed in range(seeds):
                run = segmented(path, true if mode == "given" else "auto", seed, folder)
                runs.append(run)
                line = ", ".join(f"{score} {run[score]:.3f}" for score in SCORES)
                print(
                    f"  {path.name} {mode} seed {seed}: {line}, {run['seconds']:.1f} s, agreement {run['agreement']}",
                    file=sys.stderr,
                    flush=True,
                )
    if runs:
        scores = "".join(f"{mean(run[score] for run in runs):>10.3f}" for score in SCORES)
        excess, seconds = mean(run["excess"] for run in runs), [run["seconds"] for run in runs]
        print(
            f"{name:<12} {mode:<6} {len(runs):>4}{scores}{excess:>+13.2f}   {median(seconds):.1f} ({max(seconds):.1f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
