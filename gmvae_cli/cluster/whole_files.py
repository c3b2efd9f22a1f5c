"""Labels of whole files, one after another: each a table of its own, or all of them one table with a series column."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.cluster.outcomes import Outcomes, Target
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import GmvaeError
from gmvae_cli.files.atomic import make_folder
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.inference import apply
from gmvae_cli.live.continued import ContinuedFile
from gmvae_cli.outputs.label_table import TableLabels, open_outputs, require_rows_stay, scratch_folder, table_labels
from gmvae_cli.outputs.label_totals import LabelTotals
from gmvae_cli.outputs.segment_list import HeldSegments, SegmentList, held_segments
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.system.storage import parent


class FileLabelling:
    """The work of labelling one table or many with one model.

    Args:
        continued: the state that one table goes on from; None: all series start with their file.
    Attributes:
        outcomes: of the files, as far as the work is done.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        model_path: str,
        config: InferConfig,
        series: SeriesConfig,
        progress: Progress,
        continued: ContinuedFile | None = None,
    ) -> None:
        self.checkpoint, self.model_path, self.config, self.series = checkpoint, model_path, config, series
        self.progress, self._continued = progress, continued
        self.outcomes = Outcomes(checkpoint, model_path, config)

    def open(self, files: Sequence[InputFile]) -> SeriesReader:
        """Open the table in some files, with the columns of the model."""
        return apply.open_for(files, self.series, self.checkpoint, self.model_path)

    def label_file(
        self, file: InputFile, output: str, segments_path: str | None = None, held: HeldSegments | None = None
    ) -> None:
        """Label a file that is a table of its own; its segments go into a file, or are held for a list of many."""
        self._label_table(self.open([file]), (file, output), segments_path, held)

    def label_folder(
        self, files: Sequence[InputFile], folder: str, skip_existing: bool, segments: SegmentList | None = None
    ) -> None:
        """Label files into a folder.

        Without a series column each file is a table of its own. With one, all files that can be read are one table,
        so that a series may go on from file to file.
        """
        targets = self.outcomes.begin_folder(files, folder, skip_existing)
        if segments is not None:
            segments.keep(self.outcomes.skipped_in(segments.path))
        progress, self.progress = self.progress, silent
        parts: list[Target] = []
        for done, (file, target) in enumerate(targets):
            try:
                make_folder(parent(target))
                reader = self.open([file])
                if reader.layout.series is None:
                    with held_segments(segments, scratch_folder(target)) as held:
                        self._label_table(reader, (file, target), None, held)
                else:
                    reader.read_data(None, keep_constant=True).close()  # a file that cannot be read is no part
                    parts.append((file, target))
            except GmvaeError as error:
                self.outcomes.fail([(file, target)], str(error), keep=skip_existing)
            else:
                self.outcomes.earlier.forget_failure(target)
            progress("infer", done + 1, len(targets), self.outcomes.failed)
        self.progress = progress
        if parts:
            try:
                self._label_parts(parts, segments)
            except GmvaeError as error:
                self.outcomes.fail(parts, str(error))
        self.outcomes.finish_folder(folder)

    def _label_table(
        self, reader: SeriesReader, target: Target, segments_path: str | None, held: HeldSegments | None
    ) -> None:
        file, output = target
        folder, totals = scratch_folder(output), self.outcomes.file_totals()
        with (
            open_outputs(reader, output, segments_path, self.series) as outputs,
            reader.read_data(folder, self.progress, keep_constant=True) as data,
            self._labels(data, folder, totals, reader) as labels,
        ):
            labels.write(reader, outputs if held is None else replace(outputs, segments=held, file=file.relative))
            columns = reader.columns(data)
        if self._continued is not None:
            self._continued.write()
        self.outcomes.add_table([target], [totals], columns)

    def _label_parts(self, parts: Sequence[Target], segments: SegmentList | None) -> None:
        """Label files that are one table, each into its own output."""
        folder = scratch_folder(parts[0][1])
        reader = self.open([file for file, _ in parts])
        require_rows_stay(reader)
        totals, whole = [self.outcomes.file_totals() for _ in parts], self.outcomes.file_totals()
        with (
            held_segments(segments, folder) as held,
            reader.read_data(folder, self.progress, keep_constant=True) as data,
            self._labels(data, folder, whole) as labels,
        ):
            labels.write_files(reader, [output for _, output in parts], self.series, held, totals=totals)
            columns = reader.columns(data)
        self.outcomes.add_table(parts, totals, columns, whole)

    def _labels(
        self, data: SeriesData, folder: str | None, totals: LabelTotals, reader: SeriesReader | None = None
    ) -> AbstractContextManager[TableLabels]:
        """Label a table; one that goes on from a state is read again by its `reader`."""
        labelled = None
        if self._continued is not None and reader is not None:
            labelled = self._continued.blocks(reader, data, self.checkpoint, self.config, folder, self.progress)
        return table_labels(
            data,
            self.checkpoint,
            self.config,
            totals,
            model_path=self.model_path,
            directory=folder,
            progress=self.progress,
            labelled=labelled,
        )
