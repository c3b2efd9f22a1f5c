"""Numbers with more than digits: decimal commas, groups of thousands, a unit behind, a currency in front."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gmvae_cli.files.cells import MINUS, NumberFormat, grouped_digits, plain

_CURRENCIES = r"[$\u20AC\u00A3\u00A5\u20B9]|(?:USD|EUR|GBP|JPY|CHF|CNY|INR|SEK|NOK|DKK|PLN|AUD|CAD|BRL)(?=[\s\d])"
_GROUPS = "'\u2019\u00a0\u202f\u2009_ "  # characters that divide no number, so they group its digits
_DIGITS = (
    rf"\d{{1,3}}(?P<group>[.,{_GROUPS}])(?:\d{{2,3}}(?P=group))*\d{{3}}(?:(?!(?P=group))[.,]\d*)?|"
    r"\d+(?:[.,]\d*)?|[.,]\d+"
)
# a sign, a currency in front, digits with what may group and divide them, an exponent, a unit behind
_QUANTITY = re.compile(
    rf"[+\-{MINUS}]?\s*(?:(?P<prefix>{_CURRENCIES})\s*)?[+\-{MINUS}]?(?P<digits>(?:{_DIGITS})(?:[eE][+-]?\d+)?)"
    r"(?:\s*(?P<suffix>[^\d\s+\-.,:/][^\d]{0,11}))?"
)
NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_NUMBER = re.compile(rf"\s*{NUMBER}\s*(?:%\s*)?")
_COMMA = r"\d*,\d+|\d{1,3}(?:\.\d{3})+(?:,\d+)?"  # divides, and points group
_POINT = r"[\d,]*\.\d+|\d{1,3}(?:,\d{2,3}){2,}"  # divides, or commas group
_SURE_COMMA, _SURE_POINT = (  # that cannot group digits, by what stands before and behind
    rf"\d*{mark}(?:\d\d?|\d{{4,}})|(?:|0\d*|\d{{4,}}){mark}\d+|\d{{1,3}}(?:{other}\d{{3}})+{mark}\d+"
    for mark, other in ((",", r"\."), (r"\.", ","))
)
_SHARE = 0.5  # a column with more numbers than that is a channel; other cells are errors


def is_number(cell: str) -> bool:
    """Return whether a cell is a number, perhaps of percent; a point or a comma divides it."""
    return _NUMBER.fullmatch(cell) is not None


def is_quantity(cell: str) -> bool:
    """Return whether a cell is a number, with a unit or a currency or without."""
    return _QUANTITY.fullmatch(cell.strip()) is not None


def decimal_mark(columns: Sequence[Any]) -> str | None:
    """Return the mark that certainly divides the numbers of a table; None where that is open.

    It is a comma if some number has one that cannot group digits, as in 20,53, and no number has a point that divides.

    Args:
        columns: of a table's first rows, of any type.
    """
    texts = [text.drop_null() for text in map(plain, columns) if pa.types.is_string(text.type)]
    is_comma = has_points = False
    if any(pc.any(pc.match_substring(text, ",")).as_py() for text in texts):
        for text in texts:
            marked = text.filter(pc.match_substring_regex(text, r"\d[.,]|[.,]\d"))
            if _all(marked, _COMMA) and pc.any(pc.match_substring(marked, ",")).as_py():
                is_comma |= _any(marked, _SURE_COMMA)
            else:
                has_points |= _any(marked, _POINT)
    if is_comma and not has_points:
        return ","
    return "." if any(_any(text, _SURE_POINT) for text in texts) else None


def _all(text: Any, digits: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(text, _with_unit(digits)), min_count=0).as_py())


def _any(text: Any, digits: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(text, _with_unit(digits)), min_count=0).as_py())


def _with_unit(digits: str) -> str:
    """Return the pattern of a cell that holds digits, with a sign, a currency, an exponent, a unit or without."""
    return rf"^[^\w.,:/]*(?:{digits})(?:[eE][+-]?\d+)?(?:[^\d.,:/+-][^\d.,:/+-]*)?$"


def number_form(cells: Sequence[str], form: NumberFormat) -> NumberFormat | None:
    """Return the form in which some cells are numbers; None where half of them or more are none.

    A comma or point that may divide as well as group is left as it is, so that reading the cells fails.

    Args:
        cells: without missing values. form: what the options say; it is kept, and completed by what is certain.
    """
    matches = [match for cell in cells if (match := _QUANTITY.fullmatch(cell.strip().strip("\"'")))]
    if len(matches) <= _SHARE * len(cells):
        return None
    prefix, suffix = (_only([(match[name] or "").strip() for match in matches]) for name in ("prefix", "suffix"))
    if prefix is None or suffix is None:
        return None
    digits: list[str] = [match["digits"].strip() for match in matches]
    thousands = form.thousands or _grouping(digits, form.decimal)
    return replace(form, prefix=prefix, suffix=suffix, thousands=thousands)


def _only(affixes: Sequence[str]) -> str | None:
    """Return the unit that all cells have, or some beside bare numbers; None where they differ."""
    found = sorted(set(affixes) - {""})
    return None if len(found) > 1 else "".join(found)


def _grouping(digits: Sequence[str], decimal: str) -> str | None:
    """Return the character that certainly groups digits; None where there is none, or where it may divide."""
    for char in _GROUPS + ("," if decimal == "." else "."):
        grouped = [text for text in digits if char in text]
        whole = re.compile(grouped_digits(char, decimal))
        if not grouped or not all(whole.fullmatch(text) for text in grouped):
            continue
        # a comma or point may divide, unless it comes twice or a decimal mark follows
        if char in _GROUPS or any(text.count(char) > 1 or decimal in text for text in grouped):
            return char
    return None
