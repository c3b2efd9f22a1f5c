"""The text of labels: as the cells of CSV, or the entries of a JSON object, in the spelling of labelled files."""

import json

import numpy as np

from gmvae_cli.config import InferConfig
from gmvae_cli.filtering.filter_model import Array, FilterModel
from gmvae_cli.filtering.row_filter import Labels
from gmvae_cli.regime_names import NAME_COLUMN, UNKNOWN, shown
from gmvae_cli.series_config import MOST_DIGITS

_LARGEST_PLAIN, _SMALLEST_PLAIN = 1e10, 1e-6  # numbers beyond have an exponent, as where Arrow writes them
_DECIMALS = 22  # at most, as in `files.table_writer`


class NumberText:
    """Spelling of numbers with so many significant digits, with their decimal mark, as cells between delimiters."""

    def __init__(self, digits: int, decimal: str, delimiter: str) -> None:
        self._all, self._decimal, self._delimiter = digits >= MOST_DIGITS, decimal, delimiter
        self._form, self._places = f"%.{digits}g", digits

    def of(self, value: float) -> str:
        """Spell a number."""
        text = repr(value) if self._all else self._form % value
        if "e" in text or text.endswith(".0"):
            text = self._spelled(value)
        return text if self._decimal == "." else quoted(text.replace(".", self._decimal), self._delimiter)

    def _spelled(self, value: float) -> str:
        """Spell a number that has an exponent, or is whole."""
        if not self._all:
            value = float(self._form % (round(value * 10**_DECIMALS) / 10**_DECIMALS if abs(value) < 1e-16 else value))
        size = abs(value)
        if size == 0:
            return "0"
        if _SMALLEST_PLAIN <= size < _LARGEST_PLAIN:
            return np.format_float_positional(value, trim="-")
        return np.format_float_scientific(value, trim="-", exp_digits=1)


class LabelText:
    """The labels of rows as text that goes behind their own cells.

    Attributes:
        columns: names. is_json: whether they are entries of an object.
    """

    def __init__(
        self, model: FilterModel, config: InferConfig, numbers: NumberText, delimiter: str, is_json: bool
    ) -> None:
        K, stands = model.config.regimes, model.merged
        self.is_json, self._delimiter, self._number = is_json, delimiter, numbers.of
        self._used = sorted(set(stands))
        self._merges = None if len(self._used) == K else np.eye(K)[stands]  # (K, K) regime, number
        self._novelty, self._only_regimes = config.novelty, config.only_regimes
        names = [*shown(model.names, K), UNKNOWN] if model.names or config.unknown is not None else []
        self._regimes = [self._regime(number, names) for number in [*range(K), -1]]
        self.columns = ["regime", *([NAME_COLUMN] if names else [])]
        if not self._only_regimes:
            self.columns += [*(f"prob_{number}" for number in self._used), "log_likelihood"]
            self.columns += ["novelty"] if self._novelty else []
        probs = [f', "prob_{number}": ' if is_json else delimiter for number in self._used]
        self._probs = list(zip(self._used, probs, strict=True))
        self._likelihood = ', "log_likelihood": ' if is_json else delimiter
        self._end, self._missing = ("}\n", "null") if is_json else ("\n", "")

    def of(self, law: Array, labels: Labels, is_unknown: bool) -> str:
        """Spell the labels of a row, with the end of its line.

        Args:
            law: (K,) probabilities of the regimes. labels: where likelihood and novelty come from.
        """
        if self._merges is not None:
            law = law.dot(self._merges)
        text = self._regimes[-1 if is_unknown else int(law.argmax())]
        if self._only_regimes:
            return text + self._end
        number, probs = self._number, law.tolist()
        for regime, before in self._probs:
            text += before + number(probs[regime])
        value = labels.log_likelihood
        text += self._likelihood + (self._missing if value is None else number(value))
        if self._novelty:
            value = labels.novelty
            before = ', "novelty": ' if self.is_json else self._delimiter
            text += before + (self._missing if value is None else number(value))
        return text + self._end

    def _regime(self, number: int, names: list[str]) -> str:
        """Spell the number of a regime and, if there are names, its name."""
        if self.is_json:
            return f'"regime": {number}' + (f', "{NAME_COLUMN}": {json.dumps(names[number])}' if names else "")
        return f"{self._delimiter}{number}" + (
            self._delimiter + quoted(names[number], self._delimiter) if names else ""
        )


def quoted(cell: str, delimiter: str) -> str:
    """Return a cell of CSV, in quotes where it needs them."""
    if '"' in cell or delimiter in cell or "\r" in cell or "\n" in cell:
        return '"' + cell.replace('"', '""') + '"'
    return cell
