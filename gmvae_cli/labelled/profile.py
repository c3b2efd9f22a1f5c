"""`gmvae profile`: describe each regime of a labelled file by its rows."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gmvae_cli.config import ProfileConfig, SeriesConfig
from gmvae_cli.data.series_data import READ_ROWS, SeriesData, row_time
from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.files.atomic import require_no_input
from gmvae_cli.files.cells import as_text
from gmvae_cli.files.table_writer import writer
from gmvae_cli.labelled.labelled_file import LabelledBlock, LabelledFile
from gmvae_cli.labelled.profile_table import profile_table
from gmvae_cli.labelled.quartiles import GroupedValues, quartiles
from gmvae_cli.metrics.regime_profile import RegimeProfile, channel_figures, described
from gmvae_cli.outputs.segment_table import times_at
from gmvae_cli.system.progress import Progress
from gmvae_cli.system.scratch import Scratch

_QUARTILES = ("quartile_1", "median", "quartile_3")


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """Regimes of a labelled file as its rows show them; times are in seconds or units of the time column, else rows.

    Args:
        unlabelled: rows without a label, which count in no regime. labels: name of their column.
        step: usual time from row to row.
        regimes: of each its label (`regime`: a number where all are whole numbers, else text), its name or None, and
            what `regime_profile.described` says, with quartiles, `first` and `last` (times of rows) and `followed_by`.
    """

    rows: int
    unlabelled: int
    series: int
    segments: int
    labels: str
    channels: list[str]
    step: float | None
    time_unit: str | None
    regimes: list[dict[str, Any]]
    output: str | None
    seconds: float
    warnings: list[Note]


def profile(
    path: str, output: str | None, config: ProfileConfig, series: SeriesConfig, progress: Progress
) -> ProfileResult:
    """Describe the regimes of a labelled file, and write the table of them if an output is named.

    Raises:
        SeriesError: no column of labels, or no label in it; rows that no command accepts. ConfigError: the output is
            the input.
    """
    started = time.perf_counter()
    if output is not None:
        require_no_input([output], [path])
    file = LabelledFile(path, series, config.labels)
    with file.read(progress) as data:
        rows = _Rows(file, data, progress)
        regimes = rows.described()
        result = ProfileResult(
            rows=data.rows,
            unlabelled=data.rows - int(rows.sums.rows.sum()),
            series=data.num_series,
            segments=int(rows.sums.visits.sum()),
            labels=config.labels,
            channels=list(file.channels),
            step=data.step,
            time_unit=data.time_unit,
            regimes=regimes,
            output=output,
            seconds=time.perf_counter() - started,
            warnings=list(data.notes),
        )
    if output is not None:
        with writer(output, delimiter=series.delimiter, decimal=series.decimal) as table:
            table.write(profile_table(regimes))
    return result


class _Rows:
    """The rows of a labelled file, counted."""

    def __init__(self, file: LabelledFile, data: SeriesData, progress: Progress) -> None:
        self.file, self.data, self.progress = file, data, progress
        self.sums = RegimeProfile(0, file.channels)
        self._first, self._last = dict[int, str | None](), dict[int, str | None]()  # time of a row, by code
        self._codes = Scratch(1, np.int16)
        for block in file.blocks(data):
            self.sums.grow(len(file.coder.codes))
            self.sums.add(block.codes, block.steps == 0, block.values, row_time(data))
            self._note_times(block)
            self._codes.append(block.codes[:, None])
            progress("profile", self._codes.rows, data.rows)

    def again(self) -> Iterator[GroupedValues]:
        """Yield all rows once more."""
        for start in range(0, self.data.rows, READ_ROWS):
            stop = min(start + READ_ROWS, self.data.rows)
            codes = self._codes.read(start, stop)[:, 0].astype(np.int64)
            yield GroupedValues(codes, self.data.read(start, stop)[0])
            self.progress("quartiles", stop, self.data.rows)

    def _note_times(self, block: LabelledBlock) -> None:
        codes, first = np.unique(block.codes, return_index=True)
        last = len(block.codes) - 1 - np.unique(block.codes[::-1], return_index=True)[1]
        for code, start, end in zip(codes.tolist(), *map(self._times(block), (first, last)), strict=True):
            self._first.setdefault(code, start)
            self._last[code] = end

    def _times(self, block: LabelledBlock) -> Any:
        layout = self.file.reader.layout
        return lambda rows: _without_zeros(times_at(layout, block.cells, rows)).to_pylist()

    def described(self) -> list[dict[str, Any]]:
        """Describe each regime, in the order of their labels."""
        sums, file = self.sums, self.file
        if not sums.num_regimes:
            sentence = f"column '{file.labels}' is empty, so there is no regime to describe"
            raise SeriesError(f"{file.reader.name}: {sentence}; --labels names another column")
        order, texts = file.coder.in_order()
        labels = dict(zip(order, texts, strict=True))
        figures, numbers, regimes = channel_figures(sums), _numbers(texts), []
        found = quartiles(self.again, figures.values)
        for position, code in enumerate(order):
            entry = described(sums, figures, code)
            for channel, three in zip(file.channels, found[:, code].T, strict=True):
                known = [float(value) if np.isfinite(value) else None for value in three]
                entry["channels"][channel] |= dict(zip(_QUARTILES, known, strict=True))
            follows = {labels[after]: int(sums.follows[code, after]) for after in order if sums.follows[code, after]}
            label = {"regime": texts[position] if numbers is None else numbers[position], "name": file.names.get(code)}
            times = {"first": self._first[code], "last": self._last[code]}
            regimes.append(label | entry | times | {"followed_by": follows})
        return regimes


def _numbers(labels: list[str]) -> list[int] | None:
    """Return labels as numbers; None where one is no whole number."""
    with suppress(ValueError):
        return [int(label) for label in labels]
    return None


def _without_zeros(cells: Any) -> Any:
    """Return times as text, dates without zeros behind the second."""
    text = as_text(cells)
    return pc.replace_substring_regex(text, r"\.0+\b", "") if pa.types.is_timestamp(cells.type) else text
