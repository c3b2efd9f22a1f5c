"""Stretches of rows to which two models give different regimes, as a table (`compare --output`)."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.files.inputs import TEXT_SUFFIXES, suffix_of
from gmvae_cli.files.table_writer import writer
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.outputs.segment_list import HeldSegments
from gmvae_cli.outputs.segment_table import SegmentTable
from gmvae_cli.recognition.column_roles import Layout

_NOT_OF_PAIRS = ("segment", "regime", "mean_prob", "start_low", "start_high")


class PairedSegments:
    """Stretches of rows with one pair of regimes, which wait in a file until it is known which pairs match.

    Args:
        file: binary. path: of the table. layout, data: of the rows. models: A and B.
    Attributes:
        typed: whether text of CSV cells is to become numbers and dates.
    """

    def __init__(self, file: Any, path: str, layout: Layout, data: SeriesData, models: Sequence[Checkpoint]) -> None:
        self._file, self._held, self._path = file, HeldSegments(file), path
        self.typed = suffix_of(path) not in TEXT_SUFFIXES
        self._columns = _PairColumns(models)
        self._table = SegmentTable(layout, data, self._columns, with_intervals=False)
        self._row = 0

    def add(self, cells: pa.Table, name: str, file: str | None, one: LabelledRows, two: LabelledRows) -> None:
        """Add the next rows: their cells, the names as of `SegmentTable.add`, and the labels of each model."""
        codes = one.regimes * self._columns.num_other + two.regimes
        unused = np.broadcast_to(np.nan, (len(codes), int(codes.max()) + 1))  # probabilities; takes no memory
        rows = LabelledRows(codes, unused, one.log_likelihood, one.starts | two.starts)
        self._held.write(self._table.add(cells, rows, self._row, name, file))
        self._row += len(codes)

    def write(self, moved: Collection[tuple[int, int]], files: SeriesConfig) -> None:
        """Write those stretches, once all rows have been added, whose pair of regimes is among these.

        Args:
            files: how CSV is written.
        """
        self._held.write(self._table.finish())
        self._held.close()
        self._file.seek(0)
        codes = pa.array([one * self._columns.num_other + two for one, two in moved], pa.int64())
        with writer(self._path, delimiter=files.delimiter, decimal=files.decimal) as target:
            for batch in pa.ipc.open_stream(self._file):
                table = pa.Table.from_batches([batch])
                table = table.filter(pc.is_in(table["regime"], codes))
                target.write(table.drop_columns(list(_NOT_OF_PAIRS)))


class _PairColumns:
    """Columns of the regimes, and names, that a pair stands for."""

    def __init__(self, models: Sequence[Checkpoint]) -> None:
        self.num_other = models[1].model.regimes
        self._names = [pa.array([name or None for name in model.names], pa.string()) for model in models]

    def add_to(self, table: pa.Table, regimes: NDArray[np.int64]) -> pa.Table:
        """Append regime_a, name_a, regime_b and name_b to a table of pairs (n,); names where a model has any."""
        for letter, names, numbers in zip("ab", self._names, divmod(regimes, self.num_other), strict=True):
            table = table.append_column(f"regime_{letter}", pa.array(numbers))
            if len(names):
                table = table.append_column(f"name_{letter}", names.take(pa.array(numbers)))
        return table
