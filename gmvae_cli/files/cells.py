"""The cells of a column: as text, as numbers, and as they are spelled in messages."""

import bisect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


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


def numbers(column: Any, decimal: str = ".") -> NDArray[np.float64] | None:
    """Return a column's cells as (n,) numbers, NaN where a cell is null or blank; None where a cell is no number.

    Args:
        column: n cells of any type; text is parsed. decimal: the decimal sign of text.
    """
    column = plain(column)
    kind = column.type
    if pa.types.is_string(kind):
        return _text_numbers(column, decimal)
    if is_numeric(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return as_numpy(column, pa.float64())
    return None


def as_numpy(cells: Any, kind: Any, *, safe: bool = False) -> NDArray[Any]:
    """Convert cells to (n,) numbers of the Arrow type `kind`, read-only; nulls, only possible in floats, become NaN."""
    cells = pc.cast(cells, kind, safe=safe)
    return np.from_dlpack(pc.fill_null(cells, math.nan) if cells.null_count else cells)  # to_numpy imports pandas


def _text_numbers(column: Any, decimal: str) -> NDArray[np.float64] | None:
    if decimal != ".":
        if pc.any(pc.match_substring(column, ".")).as_py():  # it would group thousands: 1.234,5
            return None
        column = pc.replace_substring(column, decimal, ".")
    try:
        return as_numpy(column, pa.float64())
    except pa.ArrowInvalid:
        pass
    try:
        return as_numpy(_trimmed(column), pa.float64())
    except pa.ArrowInvalid:
        return None


def _trimmed(text: Any) -> Any:
    """Return text without blanks around it; blanks alone become null."""
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


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
