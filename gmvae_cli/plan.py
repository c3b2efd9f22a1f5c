"""What a run would read and need, found out by reading and by nothing else."""

import shutil
import tempfile
from dataclasses import dataclass

from gmvae_cli.recording import Recording

# Rounded down from what the benchmark prints; for an estimate that a person plans by
READ_ROWS_PER_SECOND = 1_000_000
INFER_ROWS_PER_SECOND = 600_000
TRAIN_ROWS_PER_SECOND = 300_000
TRAIN_SECONDS = 4.0  # start and annealing, whatever the length
BASE_BYTES = 450 << 20  # packages and a block of rows at work


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What there is to do. Scratch space lies in `scratch_folder`; `missing` counts empty cells by channel."""

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
    warnings: list[dict[str, str]]


def plan(
    recording: Recording, scratch_bytes: int, folder: str | None, *, rows_per_second: float, seconds: float = 0.0
) -> Plan:
    """The plan for a recording.

    Args:
        scratch_bytes: beside those of the recording itself. folder: where they go, None is TMPDIR.
        rows_per_second, seconds: of the work on the rows, and of what does not depend on them.
    """
    place = folder or tempfile.gettempdir()
    numbers = recording.rows * 8 * (len(recording.channels) + 1)
    return Plan(
        rows=recording.rows,
        series=recording.num_series,
        channels=list(recording.channels),
        holes=recording.holes,
        breaks=recording.breaks,
        missing=dict(zip(recording.channels, recording.missing.tolist(), strict=True)),
        step=recording.step,
        time_unit=recording.time_unit,
        memory_bytes=BASE_BYTES + min(numbers + scratch_bytes, 192 << 20),
        scratch_bytes=numbers + scratch_bytes,
        scratch_folder=place,
        free_bytes=shutil.disk_usage(place).free,
        seconds=seconds + recording.rows / rows_per_second + recording.rows / READ_ROWS_PER_SECOND,
        warnings=[{"code": code, "sentence": sentence} for code, sentence in recording.notes],
    )
