"""The column of outputs that holds the names of regimes."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.regime_names import NAME_COLUMN, UNKNOWN, shown


class NameColumn:
    """Names of the K regimes of a model, and which of their numbers are used: of regimes with one name, the smallest.

    Args:
        unknown: whether rows may be of no regime, number -1.
    Attributes:
        used: numbers in use, in order.
    """

    def __init__(self, checkpoint: Checkpoint, unknown: bool = False) -> None:
        self.used: list[int] = np.unique(checkpoint.merged).tolist()
        self._texts = pa.array([*shown(checkpoint.names, checkpoint.model.regimes), UNKNOWN])
        self._is_wanted = unknown or any(checkpoint.names)

    def add_to(self, table: pa.Table, regimes: NDArray[np.int64]) -> pa.Table:
        """Append the names of regimes (n,) to a table; nothing where no regime has one."""
        if not self._is_wanted:
            return table
        return table.append_column(NAME_COLUMN, self._texts.take(pa.array(regimes % len(self._texts))))
