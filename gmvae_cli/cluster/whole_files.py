"""Labels of whole files, one after another: each a table of its own, or all of them one table with a series column."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import GmvaeError
from gmvae_cli.files import manifest
from gmvae_cli.files.atomic import make_folder
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.inference import apply
from gmvae_cli.outputs.earlier_outputs import EarlierOutputs
from gmvae_cli.outputs.label_table import TableLabels, open_outputs, require_rows_stay, scratch_folder, table_labels
from gmvae_cli.outputs.label_totals import LabelTotals
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.storage import joined, parent


class FileLabelling:
    """The work of labelling one table or many with one model.

    Attributes:
        totals: over all rows labelled. skipped: outputs left as they were. failures: sentences.
        earlier: outputs of earlier runs.
        written: (input, output) paths. columns: their roles in the table labelled last.
    """

    def __init__(
        self, checkpoint: Checkpoint, model_path: str, config: InferConfig, series: SeriesConfig, progress: Progress
    ) -> None:
        self.checkpoint, self.model_path, self.config, self.series = checkpoint, model_path, config, series
        self.progress = progress
        self.totals = LabelTotals(checkpoint.model.regimes, checkpoint.channels)
        self.earlier = EarlierOutputs(model_path)
        self.skipped = 0
        self.failures: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.columns: list[dict[str, Any]] = []

    def open(self, files: Sequence[InputFile]) -> SeriesReader:
        """Open the table in some files, with the columns of the model."""
        return apply.open_for(files, self.series, self.checkpoint, self.model_path)

    # --- labels --------------------------------------------------------------------------------------------------

    def label_file(self, file: InputFile, output: str, segments_path: str | None = None) -> None:
        """Label a file that is a table of its own."""
        self._label_table(self.open([file]), file, output, segments_path)

    def label_file_into_folder(self, file: InputFile, output: str) -> None:
        """Label a file that is a table of its own, into a folder that is made if it is not there."""
        make_folder(parent(output))
        self.label_file(file, output)

    def label_folder(self, files: Sequence[InputFile], folder: str, skip_existing: bool) -> None:
        """Label files into a folder.

        Without a series column each file is a table of its own. With one, all files that can be read are one table,
        so that a series may go on from file to file.
        """
        targets = self.targets(files, folder, skip_existing)
        progress, self.progress = self.progress, silent
        parts: list[tuple[InputFile, str]] = []
        for done, (file, target) in enumerate(targets):
            try:
                make_folder(parent(target))
                reader = self.open([file])
                if reader.layout.series is None:
                    self._label_table(reader, file, target)
                else:
                    reader.read_data(None, keep_constant=True).close()  # a file that cannot be read is no part
                    parts.append((file, target))
            except GmvaeError as error:
                self.failures.append(str(error))
                if skip_existing:  # the next run will ask
                    self.earlier.keep_failure(target, str(error))
            else:
                self.earlier.forget_failure(target)
            progress("infer", done + 1, len(targets), self.failed())
        self.progress = progress
        if parts:
            try:
                self._label_parts(parts)
            except GmvaeError as error:
                self.failures.append(str(error))
        self.finish_folder(folder)

    def targets(self, files: Sequence[InputFile], folder: str, skip_existing: bool) -> list[tuple[InputFile, str]]:
        """Begin a folder of outputs; return the files to label, each with its output."""
        manifest.mark_complete(folder, None)
        targets = [(file, joined(folder, file.relative)) for file in files]
        if skip_existing:
            targets = [(file, target) for file, target in targets if not self.earlier.is_done(file.path, target)]
            self.skipped = len(files) - len(targets)
            targets = [(file, target) for file, target in targets if not self.earlier.has_failed(file.path, target)]
        return targets

    def finish_folder(self, folder: str) -> None:
        """Mark a folder of outputs as complete, if it is."""
        if not self.failures and not self.earlier.failed_before:
            counts = {"files": len(self.written), "rows": self.totals.rows, "skipped": self.skipped}
            manifest.mark_complete(folder, counts)

    def _label_table(
        self, reader: SeriesReader, file: InputFile, output: str, segments_path: str | None = None
    ) -> None:
        folder = scratch_folder(output)
        with (
            open_outputs(reader, output, segments_path, self.series) as outputs,
            reader.read_data(folder, self.progress, keep_constant=True) as data,
            self._labels(data, folder) as labels,
        ):
            labels.write(reader, outputs)
            self.columns = reader.columns(data)
        self.written.append((file.path, output))

    def _label_parts(self, parts: Sequence[tuple[InputFile, str]]) -> None:
        """Label files that are one table, each into its own output."""
        folder = scratch_folder(parts[0][1])
        reader = self.open([file for file, _ in parts])
        require_rows_stay(reader)
        with (
            reader.read_data(folder, self.progress, keep_constant=True) as data,
            self._labels(data, folder) as labels,
        ):
            labels.write_files(reader, [output for _, output in parts], self.series)
            self.columns = reader.columns(data)
        self.written += [(file.path, output) for file, output in parts]

    def _labels(self, data: SeriesData, folder: str | None) -> AbstractContextManager[TableLabels]:
        return table_labels(
            data,
            self.checkpoint,
            self.config,
            self.totals,
            model_path=self.model_path,
            directory=folder,
            progress=self.progress,
        )

    def failed(self) -> str:
        """Count the files that failed, for the progress line; empty if none did."""
        return f"{len(self.failures)} failed" if self.failures else ""
