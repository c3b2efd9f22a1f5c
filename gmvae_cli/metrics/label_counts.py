"""True and predicted labels counted block by block: the contingency table, and where segments begin."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.metrics.partition import Labels, contingency
from gmvae_cli.metrics.segments import runs


class LabelCoder:
    """Coder that numbers labels 0, 1, .. in order of appearance.

    Attributes:
        codes: label -> number.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        self.codes = {label: code for code, label in enumerate(labels)}

    def encode(self, labels: Sequence[str], indices: NDArray[np.integer]) -> Labels:
        """Encode rows that hold labels[indices]; index -1 (no label) becomes -1.  (n,)"""
        known = [self.codes.setdefault(label, len(self.codes)) for label in labels]
        codes: Labels = np.array([*known, -1], dtype=np.int32)[indices]
        return codes

    def in_order(self) -> tuple[list[int], list[str]]:
        """Return the codes in the order of their labels, and those labels; whole numbers are ordered by value."""
        labels = list(self.codes)
        try:
            order = sorted(range(len(labels)), key=lambda code: int(labels[code]))
        except ValueError:
            order = sorted(range(len(labels)), key=lambda code: labels[code])
        return order, [labels[code] for code in order]


class LabelCounts:
    """Counts of rows with a true label; rows without one are left out, and the rows around them close up.

    Args:
        predicted: labels with the codes 0, 1, ..; others may follow.
    Attributes:
        true, predicted: coders of the labels.
        rows, labelled: rows added, and those of them with a true label.
        table: (true, predicted) rows of each pair of labels, as `partition.contingency` gives them.
    """

    def __init__(self, predicted: Sequence[str] = ()) -> None:
        self.true, self.predicted = LabelCoder(), LabelCoder(predicted)
        self.rows = self.labelled = 0
        self.table: Labels = np.zeros((0, 0), np.int64)
        self._starts: tuple[list[Labels], ...] = ([], [], [])
        self._last = (-1, -1, -1)  # true label, predicted label and series of the last labelled row
        self._num_series, self._last_id = 0, -1

    def add(self, true: Labels, predicted: Labels, series: Labels) -> None:
        """Count a block of rows.

        Args:
            true: (n,) codes, -1 for none. predicted: (n,) codes, at least 0 wherever there is a true label.
            series: (n,) numbers that change where another series begins.
        """
        labelled = true >= 0
        self.rows += len(true)
        columns = [column[labelled] for column in (true, predicted, self._number_series(series))]
        self._count(columns[0], columns[1])  # even if no row counts: its predicted labels are known from now on
        if not len(columns[0]):
            return
        begins = np.diff(columns[2], prepend=self._last[2]) != 0
        for starts, column, last in zip(self._starts, columns, self._last, strict=True):
            starts.append(self.labelled + runs(column, begins, last).begun)
        self.labelled += len(columns[0])
        self._last = (int(columns[0][-1]), int(columns[1][-1]), int(columns[2][-1]))

    def starts(self) -> tuple[Labels, ...]:
        """Return the first rows of true segments, of predicted segments and of series, among labelled rows."""
        return tuple(np.concatenate(starts) for starts in self._starts)

    def _number_series(self, series: Labels) -> Labels:
        """Number the series by appearance (n,): an id that comes back later is another series."""
        changed = np.diff(series, prepend=self._last_id) != 0
        numbers: Labels = self._num_series + np.cumsum(changed)
        self._num_series, self._last_id = int(numbers[-1]), int(series[-1])
        return numbers

    def _count(self, true: Labels, predicted: Labels) -> None:
        shape = len(self.true.codes), len(self.predicted.codes)
        table = contingency(true.astype(np.int64), predicted, *shape)
        table[: self.table.shape[0], : self.table.shape[1]] += self.table
        self.table = table
