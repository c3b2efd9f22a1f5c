"""Plans of runs (`--dry-run`): rows, memory, scratch space and time, found by reading alone."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import Note
from gmvae_cli.system.storage import is_url

# Rounded down from what `make bench` prints
READ_ROWS_PER_SECOND = 1_000_000
INFER_ROWS_PER_SECOND = 600_000
TRAIN_ROWS_PER_SECOND = 300_000
TRAIN_SECONDS = 4.0  # start and annealing, for any number of rows; `make bench`
# CPU seconds of `segment`: fixed, for each 1,000 values (rows x channels) that a fit sees, for each 1,000 products of
# two channels that it sees, and for each 1,000,000 cells of the file; with K left to the data, and with K given.
# Measured on nine files by `python tests/bench.py --only dry-run`: each within a factor of two.
SEGMENT_AUTO = (11.0, 0.03, 0.0015, 0.8)
SEGMENT_GIVEN = (6.3, 0.003, 0.0011, 1.0)
SEGMENT_BYTES = 16  # that a cell takes in memory beside the scratch file; the same command compares peaks
BASE_BYTES = 450 << 20  # of the imported packages and of a block of rows; peak memory in `make bench`


def existing_folder(folder: str | None) -> str | None:
    """Return the folder, or the nearest one above it that exists, which lies on the same disk; None for a URL."""
    if folder is not None and is_url(folder):
        return None
    while folder is not None and not os.path.isdir(folder):
        folder = os.path.dirname(os.path.abspath(folder))
    return folder


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Size and cost of a run.

    Args:
        holes, breaks: as of `SeriesData`. missing: empty cells by channel. memory_bytes, seconds: estimates.
        scratch_bytes: needed in `scratch_folder`, whose disk has `free_bytes`.
        columns: roles of the columns, of several tables those of the first.
        known: rows of each known label; None where no column of labels was named.
        failures: a sentence for each file that cannot be used.
    """

    rows: int
    series: int
    channels: list[str]
    holes: int
    breaks: int
    missing: dict[str, int]
    step: float | None
    time_unit: str | None
    memory_bytes: int
    scratch_bytes: int
    scratch_folder: str
    free_bytes: int
    seconds: float
    warnings: list[Note]
    columns: list[dict[str, Any]]
    known: dict[str, int] | None = None
    files: int = 1
    failures: list[str] = field(default_factory=list)


def segment_seconds(rows: int, channels: int, regimes: int | None) -> float:
    """Estimate the CPU seconds of `segment`; regimes None: left to the data."""
    costs = SEGMENT_GIVEN if regimes else SEGMENT_AUTO
    return sum(cost * count for cost, count in zip(costs, segment_counts(rows, channels), strict=True))


def segment_counts(rows: int, channels: int) -> tuple[float, float, float, float]:
    """Count what the four costs of `segment` are for."""
    from gmvae_cli.selection.row_model import fitted_rows

    fitted = fitted_rows(rows, channels)
    return 1.0, fitted * channels / 1e3, fitted * channels**2 / 1e3, rows * (channels + 2) / 1e6


def plan(
    data: SeriesData,
    scratch_bytes: int,
    folder: str | None,
    *,
    seconds: float,
    columns: list[dict[str, Any]],
    held_bytes: int = 0,
) -> Plan:
    """Plan the work on one table.

    Args:
        scratch_bytes: in addition to those of `data`. folder: of all scratch files; None takes TMPDIR.
        seconds: of the whole run. columns: as `SeriesReader.columns` gives them.
        held_bytes: in memory, beside scratch files that fit into it.
    """
    disk_folder = folder or tempfile.gettempdir()
    numbers = data.rows * 8 * (len(data.channels) + 1)
    return Plan(
        rows=data.rows,
        series=data.num_series,
        channels=list(data.channels),
        holes=data.holes,
        breaks=data.breaks,
        missing=dict(zip(data.channels, data.missing.tolist(), strict=True)),
        step=data.step,
        time_unit=data.time_unit,
        memory_bytes=BASE_BYTES + min(numbers + scratch_bytes, 192 << 20) + held_bytes,
        scratch_bytes=numbers + scratch_bytes,
        scratch_folder=disk_folder,
        free_bytes=shutil.disk_usage(disk_folder).free,
        seconds=seconds,
        warnings=data.notes,
        columns=columns,
        known=None if data.known is None else dict(zip(data.known.names, data.known.counts.tolist(), strict=True)),
    )


def joined(
    plans: Sequence[Plan], channels: Sequence[str], folder: str | None, files: int, failures: Sequence[str]
) -> Plan:
    """Join the plans of tables that are worked on in turn: memory and scratch space are those of the largest."""
    disk_folder = folder or tempfile.gettempdir()
    steps = {(table.step, table.time_unit) for table in plans}
    step, unit = steps.pop() if len(steps) == 1 else (None, None)
    return Plan(
        rows=sum(table.rows for table in plans),
        series=sum(table.series for table in plans),
        channels=list(channels),
        holes=sum(table.holes for table in plans),
        breaks=sum(table.breaks for table in plans),
        missing={name: sum(table.missing.get(name, 0) for table in plans) for name in channels},
        step=step,
        time_unit=unit,
        memory_bytes=max((table.memory_bytes for table in plans), default=BASE_BYTES),
        scratch_bytes=max((table.scratch_bytes for table in plans), default=0),
        scratch_folder=disk_folder,
        free_bytes=shutil.disk_usage(disk_folder).free,
        seconds=sum(table.seconds for table in plans),
        warnings=[warning for table in plans for warning in table.warnings],
        columns=plans[0].columns if plans else [],
        files=files,
        failures=list(failures),
    )
