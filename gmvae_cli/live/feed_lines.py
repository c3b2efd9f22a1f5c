"""The lines of a feed, CSV or JSON: what a line holds, and what of it is written again."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.live.cells import LARGEST, LineError, NumberCells, spell
from gmvae_cli.live.label_text import quoted
from gmvae_cli.regime_names import is_label

_DELIMITERS = (",", "\t", ";", "|")  # in this order, where no option names one


class Row(NamedTuple):
    """A line of a feed.

    Args:
        series: its id; "" without a series column. times: the cells of its time, none, one, or date and clock.
        values: (D,) of the channels, NaN is missing. text: its own cells, as they go in front of labels.
    """

    series: str
    times: list[Any]
    values: list[float]
    text: str


@dataclass(frozen=True)
class Roles:
    """The columns that a feed is read by.

    Args:
        times: of the time, none, one, or date and clock. series: None where there is one series.
        channels: those of the model.
    """

    times: tuple[str, ...]
    series: str | None
    channels: tuple[str, ...]

    @classmethod
    def among(cls, columns: Sequence[str], model: FilterModel, config: SeriesConfig) -> "Roles":
        """Choose the columns that the options name, else those of the training.

        Raises:
            SeriesError: one is absent, or is there twice.
        """
        training = model.training
        time = None if config.no_time else config.time or training.get("time")
        times = () if time is None else (time,) if time in columns else tuple(part.strip() for part in time.split(","))
        if config.time is None and not set(times) <= set(columns):
            times = ()
        series = config.series
        if series is None:
            wanted = (training.get("series"), "series")
            series = next((name for name in wanted if name in columns and name not in model.channels), None)
        roles = cls(times, series, model.channels)
        for name in (*times, *([] if series is None else [series]), *model.channels):
            if columns.count(name) != 1:
                found = "no column" if name not in columns else f"{columns.count(name)} columns"
                raise SeriesError(f"stdin: {found} '{name}'; columns are: {', '.join(columns)}")
        return roles


def _kept(columns: Sequence[str], roles: Roles, only_regimes: bool) -> list[int]:
    """List the positions of the columns that are written again: labels of an earlier run are replaced."""
    wanted = {*roles.times, roles.series}
    return [
        position for position, name in enumerate(columns) if not is_label(name) and (name in wanted or not only_regimes)
    ]


class CsvLines:
    """Lines of CSV below a header.

    Attributes:
        roles: of the columns, when the header has been read. delimiter: between cells. decimal: mark of numbers.
        reads_blank: whether a blank line is a row, as with a single column.
    """

    def __init__(self, model: FilterModel, config: SeriesConfig, inference: InferConfig) -> None:
        self._model, self._config, self._inference = model, config, inference
        self._numbers = NumberCells(config)
        self.roles: Roles | None = None
        self.delimiter, self.decimal, self.reads_blank = config.delimiter or ",", self._numbers.decimal, False

    def begin(self, line: str) -> str:
        """Read the header; return that of the columns that are written again."""
        line = line.removeprefix("\ufeff")
        self._header, wanted = line, set(self._model.channels)
        candidates = (self._config.delimiter,) if self._config.delimiter is not None else _DELIMITERS
        fitting = [mark for mark in candidates if wanted <= set(self._names(line, mark))]
        self.delimiter = fitting[0] if fitting else candidates[0]
        self._columns = columns = self._names(line, self.delimiter)
        self.roles = Roles.among(columns, self._model, self._config)
        self._channels = [(columns.index(name), name) for name in self.roles.channels]
        self._times = [columns.index(name) for name in self.roles.times]
        self._series = None if self.roles.series is None else columns.index(self.roles.series)
        self._order: list[int] | None = None  # of the columns in the cells, after a header that has another one
        kept = _kept(columns, self.roles, self._inference.only_regimes)
        self._kept = None if len(kept) == len(columns) else kept
        self.reads_blank = len(columns) == 1
        return line if self._kept is None else self._joined(self._cells(line), self._kept)

    def read(self, line: str) -> Row | None:
        """Read a line below the header; None where it is the header again.

        Raises:
            LineError: it has more or fewer cells, or one that is no number.
        """
        if line == self._header:
            return None
        cells = line.split(self.delimiter) if '"' not in line else self._cells(line)
        if len(cells) != len(self._columns):
            self._reject(cells)
        if self._order is not None:
            cells = [cells[position] for position in self._order]
        values = []
        is_plain = self._numbers.is_plain and line.isascii() and "_" not in line
        for position, name in self._channels:
            try:
                value = float(cells[position]) if is_plain else math.nan
            except ValueError:
                value = math.nan
            if not -LARGEST <= value <= LARGEST:
                if cells[position].strip() in self._columns and self._is_header(cells):
                    return None
                value = self._numbers.number(cells[position], name)
            values.append(value)
        series = "" if self._series is None else cells[self._series]
        if self._series is not None and not series:
            raise LineError(f"column '{self._columns[self._series]}' is empty; every row needs a series id")
        if self._kept is not None:
            line = self._joined(cells, self._kept)
        elif self._order is not None:
            line = self._joined(cells, range(len(cells)))
        return Row(series, [cells[index] for index in self._times], values, line or '""')

    def _is_header(self, cells: Sequence[str]) -> bool:
        """Return whether a line is a header; from then on its order of the columns holds.

        Raises:
            SeriesError: it is one of other columns, so that the lines below cannot be read.
        """
        names = [cell.strip() for cell in cells]
        if not set(self._model.channels) <= set(names):
            return False
        if sorted(names) != sorted(self._columns):
            raise SeriesError(
                f"stdin: a new header '{spell(self.delimiter.join(cells))}' has other columns than the first; start "
                "again for its rows"
            )
        self._order = [names.index(name) for name in self._columns]
        return True

    def _reject(self, cells: Sequence[str]) -> NoReturn:
        self._is_header(cells)
        count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        raise LineError(f"{count}, but the header names {len(self._columns)} columns ('{spell(self._header)}')")

    def _names(self, line: str, delimiter: str) -> list[str]:
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            return [line]

    def _cells(self, line: str) -> list[str]:
        """Split a line that has quotes."""
        try:
            return next(csv.reader([line], delimiter=self.delimiter, strict=True))
        except (csv.Error, StopIteration):
            raise LineError(f"'{spell(line)}' cannot be read; is a quote left open?") from None

    def _joined(self, cells: Sequence[str], positions: Sequence[int]) -> str:
        return self.delimiter.join(quoted(cells[position], self.delimiter) for position in positions)


class JsonLines:
    """Lines of which each is a JSON object.

    Attributes:
        roles: of the keys, when the first object has been read. delimiter, decimal, reads_blank: as in `CsvLines`.
    """

    def __init__(self, model: FilterModel, config: SeriesConfig, inference: InferConfig) -> None:
        self._model, self._config, self._inference = model, config, inference
        self._numbers = NumberCells(config)
        self.roles: Roles | None = None
        self.delimiter, self.decimal, self.reads_blank = ",", ".", False

    def begin(self, line: str) -> None:
        """Choose the keys by the first object, from which channels, the time and a named series may be absent."""
        keys = list(self._object(line))
        self._require_channels(keys)
        config = self._config
        time = None if config.no_time else config.time or self._model.training.get("time")
        times = [] if time is None else [time] if time in keys else [part.strip() for part in time.split(",")]
        known = [*self._model.channels, *times, *([] if config.series is None else [config.series])]
        self.roles = Roles.among([*keys, *(name for name in known if name not in keys)], self._model, config)

    def read(self, line: str) -> Row:
        """Read an object.

        Raises:
            LineError: it is none, it has no channel, or one of them is no number.
        """
        content = self._object(line)
        assert self.roles is not None
        values = [self._number(content.get(name), name) for name in self.roles.channels]
        if all(map(math.isnan, values)):
            self._require_channels(content)
        series = "" if self.roles.series is None else content.get(self.roles.series)
        if series is None or (series == "" and self.roles.series is not None):
            raise LineError(f"key '{self.roles.series}' is missing or empty; every row needs a series id")
        return Row(str(series), [content.get(name) for name in self.roles.times], values, self._text(line, content))

    def _object(self, line: str) -> dict[str, Any]:
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            raise LineError(f"'{spell(line)}' is no JSON") from None
        if not isinstance(content, dict):
            raise LineError(f"'{spell(line)}' is no JSON object")
        return content

    def _number(self, value: Any, name: str) -> float:
        if value is None:
            return math.nan
        if isinstance(value, int | float) and (value != value or -LARGEST <= value <= LARGEST):
            return float(value)
        return self._numbers.number(value if isinstance(value, str) else json.dumps(value), name)

    def _require_channels(self, keys: Any) -> None:
        """Check that an object has one of the channels at least."""
        if not any(name in keys for name in self._model.channels):
            raise LineError(f"none of the channels {', '.join(self._model.channels)} is among its keys")

    def _text(self, line: str, content: dict[str, Any]) -> str:
        """Return an object without its closing brace, and without labels of an earlier run."""
        assert self.roles is not None
        columns = list(content)
        kept = _kept(columns, self.roles, self._inference.only_regimes)
        if len(kept) < len(columns):
            line = json.dumps({columns[position]: content[columns[position]] for position in kept}, ensure_ascii=False)
        line = line.rstrip()[:-1].rstrip()
        return line if line.endswith("{") else f"{line}, "
