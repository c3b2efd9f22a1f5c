"""Outcomes of the files of a run: which were labelled, skipped or failed, and what all labels add up to."""

from collections.abc import Sequence
from typing import Any

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import InferConfig
from gmvae_cli.errors import Note
from gmvae_cli.files import manifest
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.outputs.earlier_outputs import EarlierOutputs
from gmvae_cli.outputs.file_records import FileRecords
from gmvae_cli.outputs.label_totals import LabelTotals
from gmvae_cli.outputs.segment_list import SegmentList
from gmvae_cli.system.storage import joined

Target = tuple[InputFile, str]  # a file and its output


class Outcomes:
    """Outcomes of the files that one model labels.

    Attributes:
        totals: over all rows labelled. records: one for each file. failures: sentences.
        earlier: outputs of earlier runs.
        written: (input, output) paths. columns: their roles in the table labelled last.
    """

    def __init__(self, checkpoint: Checkpoint, model_path: str, config: InferConfig) -> None:
        self._shape = checkpoint.model.regimes, checkpoint.channels
        self.totals = LabelTotals(*self._shape)
        self.records = FileRecords(checkpoint, config)
        self.earlier = EarlierOutputs(model_path)
        self.failures: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.columns: list[dict[str, Any]] = []

    @property
    def skipped(self) -> int:
        """Number of outputs left as they were."""
        return len(self.records.of_status("skipped"))

    @property
    def failed(self) -> str:
        """Number of files that failed, for the progress line; empty if none did."""
        return f"{len(self.failures)} failed" if self.failures else ""

    def begin_folder(self, files: Sequence[InputFile], folder: str, skip_existing: bool) -> list[Target]:
        """Begin a folder of outputs; return the files to label, each with its output."""
        manifest.mark_complete(folder, None)
        targets = [(file, joined(folder, file.relative)) for file in files]
        return [target for target in targets if not (skip_existing and self.is_over(target))]

    def is_over(self, target: Target) -> bool:
        """Return whether an earlier run has labelled a file, or failed to; records it as skipped, or as failed."""
        file, output = target
        if self.earlier.is_done(file.path, output):
            self.records.add_skipped(file, output)
            return True
        if self.earlier.has_failed(file.path, output):
            self.records.add_failed(file, output, self.earlier.failed_before[-1])
            return True
        return False

    def skipped_in(self, table: str) -> dict[str, bool]:
        """List the files that were skipped, and of each whether an earlier table may say what its output holds."""
        skipped = self.records.of_status("skipped")
        return {record.file: self.earlier.is_in(table, record.output) for record in skipped}

    def note_missing_segments(self, segments: SegmentList) -> None:
        """Warn of files that were skipped, and whose segments no earlier list has kept."""
        missing = sorted(segments.missing)
        if missing:
            first, rest = missing[0], f" and {len(missing) - 1:,} others" if len(missing) > 1 else ""
            sentence = f"{segments.path} lacks the segments of {first}{rest}, which an earlier run labelled without it"
            self.totals.notes.append(Note("segments_missing", f"{sentence}; without --skip-existing it has all"))

    def finish_folder(self, folder: str) -> None:
        """Mark a folder of outputs as complete, if it is."""
        if not self.failures and not self.earlier.failed_before:
            counts = {"files": len(self.written), "rows": self.totals.rows, "skipped": self.skipped}
            manifest.mark_complete(folder, counts)

    def file_totals(self) -> LabelTotals:
        """Make totals of one file, whose rows go on with the ribbon of all."""
        return LabelTotals(*self._shape, self.totals.ribbon)

    def add_table(
        self,
        parts: Sequence[Target],
        totals: Sequence[LabelTotals],
        columns: list[dict[str, Any]],
        whole: LabelTotals | None = None,
        written: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        """Add a table that was labelled.

        Args:
            parts: its files. totals: of each. whole: has the notes and the unit of all, if they are apart.
            written: as the attribute, where an output is a folder of files.
        """
        self.totals.add_table([*totals, *([] if whole is None else [whole])])
        self.columns = columns
        self.written += [(file.path, output) for file, output in parts] if written is None else written
        for (file, output), counted in zip(parts, totals, strict=True):
            counted.notes += [] if whole is None else whole.notes
            self.records.add_labelled(file, output, counted)

    def fail(self, targets: Sequence[Target], sentence: str, keep: bool = False) -> None:
        """Report files of one table that could not be labelled; keep: the reason, for the next run."""
        self.failures.append(sentence)
        for file, output in targets:
            self.records.add_failed(file, output, sentence)
            if keep:
                self.earlier.keep_failure(output, sentence)
