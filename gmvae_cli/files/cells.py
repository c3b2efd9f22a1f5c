"""The cells of a column: as text, as numbers, and as they are spelled in messages."""

import bisect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmvae_cli.series_config import MISSING

_ALIKE = (" \u00a0\u202f\u2009", "'\u2019")  # blanks of any width, and apostrophes
MINUS = "\u2212\u2013\ufe63\uff0d"  # what stands for a minus sign, beside the hyphen of ASCII


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """The way in which the numbers of a column are written.

    Args:
        decimal: mark of text. thousands: character that groups its digits. na_values: texts or numbers that mean
            missing, beside those of `MISSING`.
        prefix, suffix: a currency in front of the numbers, a unit or percent sign behind them, in all cells or some.
        multiples: units behind numbers, of which cells have different ones, and the factor of each.
        has_parentheses: whether (20.39) is -20.39.
    """

    decimal: str = "."
    thousands: str | None = None
    na_values: tuple[str, ...] = ()
    prefix: str = ""
    suffix: str = ""
    multiples: tuple[tuple[str, float], ...] = ()
    has_parentheses: bool = False

    @cached_property
    def missing(self) -> Any:
        """The texts that mean missing, in lower case, as an Arrow array."""
        words = dict.fromkeys((*MISSING, *(text.strip().lower() for text in self.na_values)))
        # pa.array and pa.scalar would load pandas, 0.3 s of CPU
        ends = np.cumsum([0, *(len(word.encode()) for word in words)], dtype=np.int32)
        return pa.StringArray.from_buffers(len(words), pa.py_buffer(ends), pa.py_buffer("".join(words).encode()))

    @cached_property
    def missing_numbers(self) -> NDArray[np.float64]:
        """The numbers that mean missing, however they are written."""
        return np.array([float(text) for text in self.na_values if _is_finite(text)])


class Problem(NamedTuple):
    """A cell that cannot be used: its row in the block, from 0, and the sentence that says what is wrong with it.

    Several are collected, so that the message names the first row of all columns; they compare by row.
    """

    row: int
    sentence: str


def as_text(column: Any) -> Any:
    """Return a column's cells as text, nulls as they are, dictionaries spelled out.

    Raises:
        ArrowInvalid, ArrowNotImplementedError: cells of a nested or binary type.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column if pa.types.is_string(column.type) else pc.cast(column, pa.string())


def plain(column: Any) -> Any:
    """Return a column as one array, dictionaries spelled out, text in its usual type."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return pc.cast(column, pa.string()) if is_text else column


def is_numeric(kind: Any) -> bool:
    """Return whether an Arrow type is a type of numbers; booleans are not."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def numbers(column: Any, form: NumberFormat = NumberFormat()) -> NDArray[np.float64] | None:
    """Return a column's cells as (n,) numbers, NaN where a cell is missing; None where a cell is no number.

    Args:
        column: n cells of any type; text is parsed. form: in which they are written.
    """
    column = plain(column)
    kind = column.type
    values = None
    if pa.types.is_string(kind):
        values = _text_numbers(column, form)
    elif is_numeric(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        values = as_numpy(column, pa.float64())
    if values is not None and form.missing_numbers.size:
        values = np.where(np.isin(values, form.missing_numbers), np.nan, values)
    return values


def missing_cells(text: Any, form: NumberFormat) -> Any:
    """Return (n,) whether a cell of text means missing; null where it is null."""
    bare = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    return pc.if_else(pc.is_null(text), pa.nulls(len(text), pa.bool_()), pc.is_in(bare, form.missing))


def label_text(column: Any, form: NumberFormat) -> Any:
    """Return labels as text, without blanks around it and without .0 behind it; what means missing becomes null."""
    text = pc.utf8_trim_whitespace(as_text(column))
    missing = missing_cells(text, form)
    text = pc.replace_substring_regex(text, r"^([+-]?\d+)\.0*$", r"\1")
    return pc.if_else(missing, pa.scalar(None, pa.string()), text)


def label_numbers(column: Any, form: NumberFormat, names: list[str]) -> NDArray[np.int64]:
    """Return the positions (n,) of labels among the names, to which new ones are added; -1 for rows without a label."""
    text = label_text(column, form)
    encoded = (text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text).dictionary_encode()
    found = encoded.dictionary.to_pylist()
    names += [name for name in found if name not in names]
    position = np.array([names.index(name) for name in found] + [-1])
    numbers: NDArray[np.int64] = position[as_numpy(encoded.indices.fill_null(len(found)), pa.int64())]
    return numbers


def as_numpy(cells: Any, kind: Any, *, safe: bool = False) -> NDArray[Any]:
    """Convert cells to (n,) numbers of the Arrow type `kind`, read-only; nulls, only possible in floats, become NaN."""
    cells = pc.cast(cells, kind, safe=safe)
    return np.from_dlpack(pc.fill_null(cells, math.nan) if cells.null_count else cells)  # to_numpy imports pandas


def _text_numbers(column: Any, form: NumberFormat) -> NDArray[np.float64] | None:
    """Parse text; a column is searched for blanks and missing values only where it fails without that."""
    for prepare in (_unchanged, _without_missing, _bare):
        text = prepare(column, form)
        if form.decimal != ".":
            if pc.any(pc.match_substring(text, ".")).as_py():  # it would group thousands: 1.234,5
                continue
            text = pc.replace_substring(text, form.decimal, ".")
        try:
            values = as_numpy(text, pa.float64())
        except pa.ArrowInvalid:
            continue
        return values * _factors(column, form) if form.multiples else values
    return None


def _factors(text: Any, form: NumberFormat) -> NDArray[np.float64]:
    """Return (n,) factors of the units behind numbers."""
    text, factors = unquoted(text), np.ones(len(text))
    for unit, factor in form.multiples:
        has_unit = pc.match_substring_regex(text, rf"[\d.,]\s*{re.escape(unit)}\)?$")
        factors[np.asarray(pc.fill_null(has_unit, False))] = factor
    return factors


def _unchanged(text: Any, form: NumberFormat) -> Any:
    return text


def _without_missing(text: Any, form: NumberFormat) -> Any:
    """Return text without blanks around it; what means missing becomes null."""
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(missing_cells(text, form), pa.nulls(len(text), pa.string()), text)


def _bare(text: Any, form: NumberFormat) -> Any:
    """Return text without blanks, groups of digits and units; a minus sign is that of ASCII."""
    text = _without_missing(unquoted(text), form)
    text = pc.replace_substring_regex(text, f"[{MINUS}]", "-")
    if form.has_parentheses:
        text = pc.replace_substring_regex(text, r"^\(\s*([^()+\-]+?)\s*\)$", r"-\1")
    if form.prefix:
        text = pc.replace_substring_regex(text, rf"^([+-]?)\s*{re.escape(form.prefix)}\s*", r"\1")
    units = [form.suffix] if form.suffix else [unit for unit, _ in form.multiples]
    if units:
        text = pc.replace_substring_regex(text, rf"([\d.,])\s*(?:{'|'.join(map(re.escape, units))})$", r"\1")
    text = pc.replace_substring_regex(text, r"^([+-])\s+", r"\1")
    if form.thousands is not None:
        is_grouped = pc.match_substring_regex(text, rf"^[+-]?(?:{grouped_digits(form.thousands, form.decimal)})$")
        text = pc.if_else(is_grouped, pc.replace_substring_regex(text, _same(form.thousands), ""), text)
    return text


def unquoted(text: Any) -> Any:
    """Return text without blanks around it, and without quotes that are part of it: behind a blank, or single ones."""
    text = pc.utf8_trim_whitespace(text)
    return pc.replace_substring_regex(text, r"""^(?:"(.*)"|'(.*)')$""", r"\1\2")


def grouped_digits(char: str, decimal: str) -> str:
    """Return the pattern of digits in groups of three, as in 45,000.1, or of two before the last, as in 12,34,567."""
    group = _same(char)
    return rf"\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}(?:{re.escape(decimal)}\d*)?"


def _same(char: str) -> str:
    """Return the pattern of a character, with those that look like it."""
    return next((f"[{alike}]" for alike in _ALIKE if char in alike), re.escape(char))


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def first_true(mask: Any) -> int:
    """Return the row of the first true cell of a boolean array that has one."""
    return int(pc.index(mask, True).as_py())


def first_failure(rows: int, succeeds: Callable[[int], bool]) -> int:
    """Return the first row that makes a conversion of a whole column fail, by bisection.

    Args:
        rows: cells of the column. succeeds: whether the cells [0, stop) can be converted; false for all `rows` of them.
    """
    return bisect.bisect_left(range(1, rows), True, key=lambda stop: not succeeds(stop))


def spell(cell: object) -> str:
    """Return a cell as messages show it: one line of at most 40 characters, null bytes visible."""
    return shorten(str(cell).replace("\0", "\\0"))


def shorten(text: str, length: int = 40) -> str:
    """Return a text as one line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
