"""Counts over the labels of tables, and warnings about labels that may mean little."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import InferConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import Note
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.metrics.regime_profile import ProfilePart, RegimeProfile, channel_figures, described
from gmvae_cli.metrics.segments import Ribbon, runs

# Nats per row below training from which rows are called unlike it: in a channel with Normal noise, the cost of a shift
# by sqrt(2) standard deviations of the noise (delta^2 / 2).
_UNLIKE_TRAINING = 1.0

_NO_ROW = -2  # in place of the regime of the row before; -1 is a row of no regime
NOVEL = 6.0  # rows of the training kind exceed it once in a million
_OTHER_STEP = 1.5  # times the step in training, half way to every second row; as for holes


class LabelCounts(NamedTuple):
    """Counts over some consecutive rows of a table, as plain numbers that travel and can be kept beside the rows.

    Args:
        counts: (K,) rows of each regime. segments: if a new one begins at the first row. usable_rows, log_likelihood,
            unknown, novel, judged, novel_since: as in `LabelTotals`. first, last: regimes of the first and last row.
        continues: whether the first row goes on with the chain of the row before. profile: as `RegimeProfile.part`.
    """

    counts: list[int]
    segments: int
    usable_rows: int
    log_likelihood: float
    first: int
    last: int
    continues: bool
    profile: ProfilePart
    unknown: int = 0
    novel: int = 0
    judged: int = 0
    novel_since: str | None = None


class LabelTotals:
    """Counts over labelled rows, of one table or of many.

    Attributes:
        counts: (K,) rows of each regime. segments: one that goes on in the next file of a table counts once.
        log_likelihood: sum over the `usable_rows`, nats in data units. unknown: rows of no regime.
        novel: rows above `NOVEL`, among `judged` ones, whose novelty is known. novel_since: where the first of them is.
        ribbon: regimes along the rows, for a terminal; given, it goes on with that of earlier rows.
        notes: warnings about the tables, in order. profile: visits, and values of the channels, of each regime.
        time_units: of the tables, "seconds" or "units", None without a time.
    """

    def __init__(self, num_regimes: int, channels: Sequence[str] = (), ribbon: Ribbon | None = None) -> None:
        self.counts = np.zeros(num_regimes, np.int64)
        self.segments = self.usable_rows = self.unknown = self.novel = self.judged = 0
        self.novel_since: str | None = None
        self.log_likelihood = 0.0
        self.ribbon = ribbon or Ribbon(num_regimes)
        self.notes: list[Note] = []
        self.profile = RegimeProfile(num_regimes, channels)
        self.time_units: set[str | None] = set()
        self._last_regime = _NO_ROW
        self._first: tuple[int, bool] | None = None

    def start_table(self) -> None:
        """Begin another table, whose first segment continues none."""
        self._last_regime = _NO_ROW
        self.profile.start_table()

    def of_part(self) -> LabelCounts:
        """Return the counts of the rows that have been added, at least one, as those of a part of a table."""
        assert self._first is not None
        regime, continues = self._first
        counts, last = self.counts.tolist(), self._last_regime
        figures = self.segments, self.usable_rows, self.log_likelihood
        novelty = self.unknown, self.novel, self.judged
        profile = self.profile.part()
        return LabelCounts(counts, *figures, regime, last, continues, profile, *novelty, self.novel_since)

    def add_part(self, part: LabelCounts) -> None:
        """Count the next rows of the table, which were counted elsewhere."""
        self.counts += np.array(part.counts)
        self.log_likelihood += part.log_likelihood
        self.usable_rows += part.usable_rows
        self.unknown += part.unknown
        self.novel += part.novel
        self.judged += part.judged
        self.novel_since = self.novel_since or part.novel_since
        if self._first is None:
            self._first = part.first, part.continues
        self.segments += part.segments - (part.continues and part.first == self._last_regime)
        self._last_regime = part.last
        self.profile.add_part(ProfilePart(*part.profile))

    def add_table(self, parts: "Sequence[LabelTotals]") -> None:
        """Count the rows of another table, whose consecutive parts were counted on their own."""
        self.start_table()
        for part in parts:
            if part.rows:
                self.add_part(part.of_part())
            self.notes += part.notes
            self.time_units |= part.time_units

    def add(self, block: LabelledRows, values: NDArray[np.float64], row_time: float) -> None:
        """Count the next n rows of the table; values: (n, D) of the channels; row_time: usual time to the next row."""
        self.profile.add(block.regimes, block.starts, values, row_time)
        if self._first is None and len(block):
            self._first = int(block.regimes[0]), not bool(block.starts[0])
        unknown, *counts = np.bincount(block.regimes + 1, minlength=1 + len(self.counts)).tolist()
        self.counts += np.array(counts)
        self.unknown += unknown
        if block.novelty is not None:
            self.novel += int((block.novelty > NOVEL).sum())
            self.judged += int((~np.isnan(block.novelty)).sum())
        self.log_likelihood += float(np.nansum(block.log_likelihood))
        self.usable_rows += int((~np.isnan(block.log_likelihood)).sum())
        self.ribbon.add(block.regimes)
        self.segments += len(runs(block.regimes, block.starts, self._last_regime).begun)
        self._last_regime = int(block.regimes[-1])

    def described(self, checkpoint: Checkpoint) -> tuple[list[dict[str, Any]], str | None]:
        """Describe each regime of a model that is in use by its rows, and name the unit of the times."""
        figures, names = channel_figures(self.profile), checkpoint.names
        used = np.unique(checkpoint.merged).tolist()  # of regimes with one name the smallest number
        label = [{"regime": number, "name": (names[number] or None) if names else None} for number in used]
        regimes = [entry | described(self.profile, figures, entry["regime"]) for entry in label]
        unit = next(iter(self.time_units)) if len(self.time_units) == 1 else None
        if len(self.time_units) > 1:  # times of several units have no sum
            regimes = [entry | dict.fromkeys(("total_time", "mean_time", "longest_time")) for entry in regimes]
        return regimes, unit

    @property
    def rows(self) -> int:
        """Number of labelled rows, T."""
        return int(self.counts.sum()) + self.unknown

    @property
    def shares(self) -> list[float]:
        """(K,) shares of the rows; 0 where there is no row."""
        shares: list[float] = (self.counts / max(self.rows, 1)).tolist()
        return shares

    @property
    def log_likelihood_per_row(self) -> float | None:
        """Mean over the usable rows, nats in data units; None where no row is usable."""
        return self.log_likelihood / self.usable_rows if self.usable_rows else None

    @property
    def novel_share(self) -> float | None:
        """Share of the rows above `NOVEL`; None where the novelty of none is known."""
        return self.novel / self.judged if self.judged else None

    def novelty_figures(self, config: InferConfig) -> dict[str, Any]:
        """Collect the figures of novelty, as far as they are asked for."""
        return {
            "unknown_share": self.unknown / max(self.rows, 1) if config.unknown is not None else None,
            "novel_share": self.novel_share,
            "novel_since": self.novel_since,
        }

    def notes_on_fit(self, checkpoint: Checkpoint) -> list[Note]:
        """Warn of rows that say nothing about the regimes, or are unlike those that the model was trained on."""
        mean, training = self.log_likelihood_per_row, training_log_likelihood(checkpoint)
        if mean is None:
            sentence = (
                "no row has a value together with the earlier values that the model predicts it from, so the labels "
                "only follow the model's transition probabilities; look for empty cells and for series that are too "
                "short"
            )
            return [Note("no_evidence", sentence)] if self.rows else []
        if training is not None and mean < training - _UNLIKE_TRAINING:
            sentence = (
                f"the rows are unlike those that the model was trained on (log-likelihood {mean:.2f} per row, in "
                f"training {training:.2f}), so the labels may mean little; check units and columns, or train on such "
                "rows"
            )
            return [Note("unlike_training", sentence)]
        return []


def training_log_likelihood(checkpoint: Checkpoint) -> float | None:
    """Return the log-likelihood per row in training, nats in data units; None of a model that was not trained."""
    value: float | None = checkpoint.training.get("log_likelihood_per_row_data_units")
    return value


def note_on_step(data: SeriesData, checkpoint: Checkpoint) -> list[Note]:
    """Warn of rows that lie farther apart in time, or closer together, than those that the model was trained on."""
    step, unit = checkpoint.training.get("step"), checkpoint.training.get("time_unit")
    if not step or not data.step or unit != data.time_unit or 1 / _OTHER_STEP < data.step / step < _OTHER_STEP:
        return []
    name = "s" if unit == "seconds" else "units of time"
    sentence = (
        f"the rows are {data.step:g} {name} apart, but the model was trained on rows {step:g} {name} apart, so what "
        "it says of lags and durations does not hold; train on such rows, or take every so-many-th row"
    )
    return [Note("other_step", sentence)]
