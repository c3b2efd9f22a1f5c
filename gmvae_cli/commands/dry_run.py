"""What a run would read and need, found out by reading and by nothing else."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import Note

# Rounded down from what the benchmark prints; for an estimate that a person plans by
READ_ROWS_PER_SECOND = 1_000_000
INFER_ROWS_PER_SECOND = 600_000
TRAIN_ROWS_PER_SECOND = 300_000
TRAIN_SECONDS = 4.0  # start and annealing, whatever the length
BASE_BYTES = 450 << 20  # packages and a block of rows at work


def existing_folder(folder: str | None) -> str | None:
    """The folder, or the nearest one above it that is there: on the disk that a run would write to."""
    while folder is not None and not os.path.isdir(folder):
        folder = os.path.dirname(os.path.abspath(folder))
    return folder


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What there is to do. Scratch space lies in `scratch_folder`; `missing` counts empty cells by channel;
    `failures` names the files that cannot be used.
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
    files: int = 1
    failures: list[str] = field(default_factory=list)


def plan(
    data: SeriesData, scratch_bytes: int, folder: str | None, *, rows_per_second: float, seconds: float = 0.0
) -> Plan:
    """The plan for a recording.

    Args:
        scratch_bytes: beside those of the recording itself. folder: where they go, None is TMPDIR.
        rows_per_second, seconds: of the work on the rows, and of what does not depend on them.
    """
    place = folder or tempfile.gettempdir()
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
        memory_bytes=BASE_BYTES + min(numbers + scratch_bytes, 192 << 20),
        scratch_bytes=numbers + scratch_bytes,
        scratch_folder=place,
        free_bytes=shutil.disk_usage(place).free,
        seconds=seconds + data.rows / rows_per_second + data.rows / READ_ROWS_PER_SECOND,
        warnings=[Note(*note) for note in data.notes],
    )


def joined(
    plans: Sequence[Plan], channels: Sequence[str], folder: str | None, files: int, failures: Sequence[str]
) -> Plan:
    """The plan for several tables, done one after the other: what one leaves behind, the next does not need."""
    place = folder or tempfile.gettempdir()
    steps = {(one.step, one.time_unit) for one in plans}
    step, unit = steps.pop() if len(steps) == 1 else (None, None)
    return Plan(
        rows=sum(one.rows for one in plans),
        series=sum(one.series for one in plans),
        channels=list(channels),
        holes=sum(one.holes for one in plans),
        breaks=sum(one.breaks for one in plans),
        missing={name: sum(one.missing.get(name, 0) for one in plans) for name in channels},
        step=step,
        time_unit=unit,
        memory_bytes=max((one.memory_bytes for one in plans), default=BASE_BYTES),
        scratch_bytes=max((one.scratch_bytes for one in plans), default=0),
        scratch_folder=place,
        free_bytes=shutil.disk_usage(place).free,
        seconds=sum(one.seconds for one in plans),
        warnings=[warning for one in plans for warning in one.warnings],
        files=files,
        failures=list(failures),
    )
