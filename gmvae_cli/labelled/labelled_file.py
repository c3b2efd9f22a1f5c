"""A file with a column of labels, read block by block: its channels, its steps in time, and the label of each row."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.cells import label_text
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.metrics.label_counts import LabelCoder
from gmvae_cli.recognition.column_roles import require_column
from gmvae_cli.system.progress import Progress

REGIME = "regime"
NAME = "regime_name"
MOST_LABELS = 1_000  # more are no regimes, but the values of a column that was named by mistake

_BLOCK_VALUES = 1 << 20  # of a block of rows, at most; 8 MiB


class LabelledBlock(NamedTuple):
    """Consecutive rows of a file.

    Args:
        cells: Arrow table of all columns. values: (n, D), NaN is missing. steps: (n,) as `SeriesData.read` gives them.
        codes: (n,) numbers of the labels, -1 where a row has none.
    """

    cells: Any
    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    codes: NDArray[np.int64]


class LabelledFile:
    """A file with labels, of which all rows are checked first (`read`) and then given out (`blocks`).

    Args:
        labels: name of their column.
    Attributes:
        reader: of the file. channels: D columns that are measured. coder: of the labels that have been met.
        names: of regimes, by code; those of the column `regime_name`, where the labels are numbers of regimes.
    Raises:
        SeriesError: no such column, or a file that cannot be read.
    """

    def __init__(self, path: str, config: SeriesConfig, labels: str) -> None:
        reader = open_series([path], config)
        require_column(reader.name, reader.layout.columns, labels)
        channels = tuple(name for name in reader.layout.channels if name != labels)
        reader.layout = replace(reader.layout, channels=channels)
        self.reader, self.labels, self.channels = reader, labels, channels
        self.coder, self.names = LabelCoder(), dict[int, str]()
        self._has_names = labels == REGIME and NAME in reader.layout.columns

    def read(self, progress: Progress) -> SeriesData:
        """Check every cell and keep the numbers, to be closed by the caller."""
        return self.reader.read_data(None, progress, keep_constant=True)

    def blocks(self, data: SeriesData) -> Iterator[LabelledBlock]:
        """Yield all rows of `data`, which this file has been read into.

        Raises:
            SeriesError: more labels than regimes could be.
        """
        start = 0
        for cells in self.reader.tables(max(1, _BLOCK_VALUES // (len(self.channels) + 1))):
            stop = start + cells.num_rows
            codes = self._encoded(cells)
            if len(self.coder.codes) > MOST_LABELS:
                sentence = f"column '{self.labels}' has more than {MOST_LABELS:,} different labels"
                raise SeriesError(f"{self.reader.name}: {sentence}; --labels names the column of regimes")
            yield LabelledBlock(cells, *data.read(start, stop), codes)
            start = stop

    def _encoded(self, cells: Any) -> NDArray[np.int64]:
        """Number the labels of some rows (n,), and note the names of regimes that have none yet."""
        text = label_text(cells[self.labels], self.reader.layout.form)
        encoded = pa.chunked_array([text]).combine_chunks().dictionary_encode()
        indices = encoded.indices.fill_null(-1).to_numpy()
        codes = self.coder.encode(encoded.dictionary.to_pylist(), indices).astype(np.int64)
        if self._has_names:
            present, rows = np.unique(codes, return_index=True)
            new = [(code, row) for code, row in zip(present.tolist(), rows.tolist(), strict=True) if code >= 0]
            for code, row in new:
                name = cells[NAME][row].as_py()
                if code not in self.names and name:
                    self.names[code] = str(name)
        return codes
