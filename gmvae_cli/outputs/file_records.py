"""Outcome of each file of a run: its figures, or the reason why it has none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import InferConfig
from gmvae_cli.files.inputs import InputFile, in_utf8
from gmvae_cli.outputs.label_totals import LabelTotals, training_log_likelihood

Status = Literal["labelled", "skipped", "failed"]


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """Outcome of one file; a figure that is not known, or was not asked for, is None.

    Args:
        file: its path below the folder that all inputs share. output: path. reason: a sentence, of a failure alone.
        shares: of the rows, by number of the regime. warnings: codes. Others as of `LabelTotals`.
    """

    file: str
    output: str
    status: Status
    reason: str | None = None
    rows: int | None = None
    segments: int | None = None
    shares: Mapping[int, float] = field(default_factory=dict)
    log_likelihood_per_row: float | None = None
    log_likelihood_above_training: float | None = None
    novel_share: float | None = None
    novel_since: str | None = None
    unknown_share: float | None = None
    warnings: tuple[str, ...] = ()


class FileRecords:
    """Outcomes of the files of a run, each of which has one.

    Args:
        checkpoint, config: the model, and how it labels rows.
    """

    def __init__(self, checkpoint: Checkpoint, config: InferConfig) -> None:
        self._checkpoint, self._config = checkpoint, config
        self._used = sorted(set(checkpoint.merged.tolist()))
        self._records: dict[str, FileRecord] = {}

    def add_labelled(self, file: InputFile, output: str, totals: LabelTotals) -> None:
        """Record a file that was labelled; totals: of its rows, with the notes about it."""
        mean, training = totals.log_likelihood_per_row, training_log_likelihood(self._checkpoint)
        notes = [*totals.notes, *totals.notes_on_fit(self._checkpoint)]
        shares = totals.shares
        self._records[file.relative] = FileRecord(
            file=file.relative,
            output=output,
            status="labelled",
            rows=totals.rows,
            segments=totals.segments,
            shares={regime: shares[regime] for regime in self._used},
            log_likelihood_per_row=mean,
            log_likelihood_above_training=None if mean is None or training is None else mean - training,
            **totals.novelty_figures(self._config),
            warnings=tuple(dict.fromkeys(note.code for note in notes)),
        )

    def add_failed(self, file: InputFile, output: str, reason: str) -> None:
        """Record a file that could not be labelled."""
        self._records[file.relative] = FileRecord(
            file=in_utf8(file.relative), output=in_utf8(output), status="failed", reason=in_utf8(reason)
        )

    def add_skipped(self, file: InputFile, output: str) -> None:
        """Record a file whose output was left as it is; its figures are not known yet."""
        self._records[file.relative] = FileRecord(file=file.relative, output=output, status="skipped")

    def complete(self, earlier: Mapping[str, FileRecord]) -> None:
        """Take the figures of skipped files from the records of an earlier run, as far as it has them."""
        for record in self.of_status("skipped"):
            known = earlier.get(record.file)
            if known is not None and known.rows is not None:
                self._records[record.file] = replace(known, status="skipped", output=record.output)

    def of_status(self, status: Status) -> list[FileRecord]:
        """List the files that ended so."""
        return [record for record in self._records.values() if record.status == status]

    def in_order(self, files: Sequence[InputFile]) -> list[FileRecord]:
        """List the outcomes in the order of the files."""
        return [self._records[file.relative] for file in files if file.relative in self._records]
