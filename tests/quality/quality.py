"""How well `gmvae segment` finds regimes that are known, on real and on generated series. Nothing is asserted.

    python tests/quality/quality.py [FOLDER] [--only PART ...] [--seeds N] [--given | --auto] [--copies] [--rows N ...]
                                    [--channels N ...]

FOLDER holds a folder for each collection of recordings, with .csv or .parquet files that have a column `true_regime`.
A part is a collection of FOLDER or one of: logs, dwell, simulated, levels, switches, invariance, known, time. All run
the defaults, one command line. CPU seconds are those of all processes of the command. A line of the table is printed
when it is done, every run on stderr.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import recordings
from changed import cpu_seconds, invariance
from generated import dwell, logs, simulated
from known import known
from levels import levels, switches
from measure import Line, Settings, print_lines

PARTS: dict[str, Callable[[Settings], Iterator[Line]]] = {
    "logs": logs,
    "dwell": dwell,
    "simulated": simulated,
    "levels": levels,
    "switches": switches,
    "invariance": invariance,
    "known": known,
    "time": cpu_seconds,
}


def main() -> None:
    """Print the table of the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of the collections; without it only generated series")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts or collections only")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--given", action="store_true", help="only with the true number of regimes")
    parser.add_argument("--auto", action="store_true", help="only without it")
    parser.add_argument("--copies", action="store_true", help="the recordings also re-spliced and re-sampled")
    parser.add_argument("--rows", type=int, nargs="+", default=[], metavar="N", help="only generated series as long")
    parser.add_argument("--channels", type=int, nargs="+", default=[], metavar="N", help="only levels in so many")
    options = parser.parse_args()
    modes = tuple(mode for mode in ("given", "auto") if getattr(options, mode)) or ("given", "auto")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            Path(folder), options.folder, options.seeds, modes, tuple(options.rows), tuple(options.channels)
        )
        known = {*PARTS, *(collection.name for collection in recordings.collections(settings))}
        if unknown := set(options.only or ()) - known:
            sys.exit(f"no part {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        print_lines(_lines(settings, set(options.only or known), options.copies))


def _lines(settings: Settings, chosen: set[str], copied: bool) -> Iterator[Line]:
    for collection in recordings.collections(settings):
        if collection.name in chosen:
            yield from recordings.originals(collection, settings)
            if copied:
                yield from recordings.as_copies(collection, settings)
    for name, part in PARTS.items():
        if name in chosen:
            yield from part(settings)


if __name__ == "__main__":
    main()
