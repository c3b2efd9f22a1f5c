"""The table of what became of each file (`--summary`): a line for each, in the order of the files."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

import pyarrow as pa

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import GmvaeError
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.files.table_reader import open_table
from gmvae_cli.files.table_writer import writer
from gmvae_cli.outputs.file_records import FileRecord
from gmvae_cli.system.storage import size

_TYPES = {"rows": pa.int64(), "segments": pa.int64()} | dict.fromkeys(
    ("log_likelihood_per_row", "log_likelihood_above_training", "novel_share", "unknown_share"), pa.float64()
)
_SHARES, _WARNINGS = "shares", "warnings"


def write_summary(path: str, records: Sequence[FileRecord], checkpoint: Checkpoint, files: SeriesConfig) -> None:
    """Write the table: the fields of a record, with a column of the share of each regime, and warnings as one text.

    Args:
        files: how CSV is written.
    """
    shares = share_columns(checkpoint)
    columns: dict[str, Any] = {}
    for field in fields(FileRecord):
        values = [getattr(record, field.name) for record in records]
        if field.name == _SHARES:
            columns |= {
                name: pa.array([known.get(regime) for known in values], pa.float64()) for regime, name in shares.items()
            }
        elif field.name == _WARNINGS:
            columns[field.name] = pa.array([" ".join(codes) for codes in values], pa.string())
        else:
            columns[field.name] = pa.array(values, _TYPES.get(field.name, pa.string()))
    with writer(path, delimiter=files.delimiter, decimal=files.decimal) as table:
        table.write(pa.table(columns))


def share_columns(checkpoint: Checkpoint) -> dict[int, str]:
    """Return the column of the share of each regime in use, by its number: named by that, or by its name."""
    used, names = sorted(set(checkpoint.merged.tolist())), checkpoint.names
    labels = {regime: names[regime] if names and names[regime] else str(regime) for regime in used}
    if len(set(labels.values())) < len(used):  # a name that is the number of another regime
        labels = {regime: str(regime) for regime in used}
    return {regime: f"share_{label}" for regime, label in labels.items()}


def earlier_records(path: str, checkpoint: Checkpoint, files: SeriesConfig) -> dict[str, FileRecord]:
    """Read the records of a summary that an earlier run wrote, by file; none where it is no such table."""
    if size(path) is None:
        return {}
    shares = share_columns(checkpoint)
    config = SeriesConfig(delimiter=files.delimiter, decimal=files.decimal)
    records: dict[str, FileRecord] = {}
    with suppress(GmvaeError, KeyError, ValueError, TypeError):
        for table in open_table(InputFile(path=path, relative=path), config).blocks():
            for cells in table.to_pylist():
                records[str(cells["file"])] = _record(cells, shares, files.decimal)
    return records


def _record(cells: Mapping[str, Any], shares: Mapping[int, str], decimal: str | None) -> FileRecord:
    def value(name: str) -> Any:
        cell = cells[name]
        if cell in (None, ""):
            return None
        kind = _TYPES.get(name, pa.float64() if name.startswith("share_") else pa.string())
        if kind == pa.string():
            return str(cell)
        text = str(cell).replace(decimal or ".", ".")
        return int(text) if kind == pa.int64() else float(text)

    plain = {field.name: value(field.name) for field in fields(FileRecord) if field.name not in (_SHARES, _WARNINGS)}
    known = {regime: share for regime, name in shares.items() if (share := value(name)) is not None}
    return FileRecord(**plain, shares=known, warnings=tuple((value(_WARNINGS) or "").split()))
