"""Labels that some rows of a series have: the regime that a person knows a row to be of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.errors import SeriesError
from gmvae_cli.model.known_regimes import UNKNOWN
from gmvae_cli.regime_names import problem_with_name
from gmvae_cli.system.scratch import Closing, Scratch

MOST_LABELS = 100  # different ones; a column with more was hardly meant
_READ_ROWS = 1 << 18  # at once


class KnownLabels(Closing):
    """Labels of T rows in a scratch file until it is closed: small numbers, -1 where a row has none.

    Attributes:
        column: that they come from. names: (L,) texts, numbered from 0 by their first appearance.
        counts: (L,) int64 rows of each label. longest: (L,) int64 the most rows in a row that have it.
    """

    def __init__(self, column: str = "known", directory: str | None = None) -> None:
        self.column, self.names = column, list[str]()
        self.counts, self.longest = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._scratch = Scratch(1, np.int16, directory)
        self._last, self._run = UNKNOWN, 0  # label of the last row, and how many rows in a row have it

    @classmethod
    def from_array(cls, labels: NDArray[Any], names: Sequence[str] | None = None) -> "KnownLabels":
        """Make labels of an array (T,) of numbers of these names, -1 for none; names None: the numbers as text."""
        known = cls()
        known.append(labels, [str(number) for number in range(labels.max() + 1)] if names is None else names)
        return known

    @property
    def shortest(self) -> int:
        """The rows in a row that every label has at least once; a block of fewer rows can have each of them."""
        return int(self.longest.min())

    @property
    def is_complete(self) -> bool:
        """Whether every row has a label."""
        return self.labelled == self.rows

    @property
    def rows(self) -> int:
        """T, the rows that were added, with a label or without."""
        return self._scratch.rows

    @property
    def labelled(self) -> int:
        """The number of rows that have a label."""
        return int(self.counts.sum())

    def append(self, labels: NDArray[Any], names: Sequence[str]) -> None:
        """Add the next rows: labels (n,) as positions among the names, which begin with those so far; -1 for none."""
        new = len(names) - len(self.names)
        self.names = list(names)
        self.counts, self.longest = (np.append(part, np.zeros(new, np.int64)) for part in (self.counts, self.longest))
        self.counts += np.bincount(labels[labels >= 0], minlength=len(names))
        self._scratch.append(np.asarray(labels, np.int16)[:, None])
        if not len(labels):
            return
        starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
        lengths, values = np.diff(starts, append=len(labels)), labels[starts]
        if values[0] == self._last:
            lengths[0] += self._run
        self._last, self._run = int(values[-1]), int(lengths[-1])
        np.maximum.at(self.longest, values[values >= 0], lengths[values >= 0])

    def require_names(self, where: str) -> None:
        """Raise a SeriesError if a label cannot be a name, or there are more different ones than anybody would give."""
        for name in self.names:
            problem = problem_with_name(name)
            if problem is not None:
                raise SeriesError(
                    f"{where}: here or soon after it column '{self.column}' holds '{name[:40]}', which cannot be the "
                    f"name of a regime: {problem}; write another one"
                )
        if len(self.names) > MOST_LABELS:
            raise SeriesError(
                f"{where}: here or soon after it column '{self.column}' comes to more than {MOST_LABELS} different "
                "labels; --known is for the names of a few regimes"
            )

    def require_some(self, name: str) -> None:
        """Raise a SeriesError, which names the table, if no row has a label."""
        if not self.names:
            raise SeriesError(
                f"{name}: column '{self.column}' holds no label; write the regime into some of its cells, or leave out "
                "--known"
            )

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Read the labels (n,) of rows [start, stop), -1 for none."""
        return self._scratch.read(start, stop)[:, 0].astype(np.int64)

    def positions_in(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return (L,) the positions of the labels among names, which hold all of them."""
        return np.array([names.index(name) for name in self.names], np.int64)

    def counts_in(self, ranges: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Count the rows (R, L) of each label in R ranges of rows."""
        counts = np.zeros((len(ranges), len(self.names)), np.int64)
        for index, (start, stop) in enumerate(ranges):
            labels = self.read(start, stop)
            counts[index] = np.bincount(labels[labels >= 0], minlength=len(self.names))
        return counts

    def of_blocks(self, edges: NDArray[np.int64]) -> "KnownLabels":
        """Label blocks of rows: a block has a label if most of its rows have it and none has another one.

        Args:
            edges: (B + 1,) first row of each block, and the end of the last.
        """
        blocks = KnownLabels(self.column)
        portion = max(1, _READ_ROWS * (len(edges) - 1) // max(1, int(edges[-1] - edges[0])))
        for start in range(0, len(edges) - 1, portion):
            part = edges[start : start + portion + 1]
            labels = self.read(int(part[0]), int(part[-1]))
            first, lengths = part[:-1] - part[0], np.diff(part)
            labelled = np.add.reduceat(labels >= 0, first, dtype=np.int64)  # (b,)
            highest = np.maximum.reduceat(labels, first)
            lowest = np.minimum.reduceat(np.where(labels >= 0, labels, len(self.names)), first)
            agreed = (2 * labelled > lengths) & (lowest == highest)
            blocks.append(np.where(agreed, highest, UNKNOWN), self.names)
        return blocks

    def close(self) -> None:
        """Free the scratch space."""
        self._scratch.close()
