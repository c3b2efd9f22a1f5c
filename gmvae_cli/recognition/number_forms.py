"""Cells that are numbers, dates or words, and numbers with more than digits: decimal commas, thousands, units."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gmvae_cli.files.cells import MINUS, NumberFormat, grouped_digits, plain
from gmvae_cli.series_config import MISSING

_CURRENCIES = r"[$\u20AC\u00A3\u00A5\u20B9]|(?:USD|EUR|GBP|JPY|CHF|CNY|INR|SEK|NOK|DKK|PLN|AUD|CAD|BRL)(?=[\s\d])"
_GROUPS = "'\u2019\u00a0\u202f\u2009_ "  # characters that divide no number, so they group its digits
_DIGITS = (
    rf"\d{{1,3}}(?P<group>[.,{_GROUPS}])(?:\d{{2,3}}(?P=group))*\d{{3}}(?:(?!(?P=group))[.,]\d*)?|"
    r"\d+(?:[.,]\d*)?|[.,]\d+"
)
# a sign, a currency in front, digits with what may group and divide them, an exponent, a unit behind
_QUANTITY = re.compile(
    rf"[+\-{MINUS}]?\s*(?:(?P<prefix>{_CURRENCIES})\s*)?[+\-{MINUS}]?(?P<digits>(?:{_DIGITS})(?:[eE][+-]?\d+)?)"
    r"(?:\s*(?P<suffix>[^\d\s+\-.,:/#][^\d]{0,11}))?"
)
NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_NUMBER = re.compile(rf"\s*{NUMBER}\s*(?:%\s*)?")
_COMMA = rf"\d*,\d+|\d{{1,3}}(?:[.{_GROUPS}]\d{{3}})+(?:,\d+)?"  # divides, and points or blanks group
_POINT = rf"[\d,{_GROUPS}]*\.\d+|\d{{1,3}}(?:,\d{{2,3}}){{2,}}"  # divides, or commas group
_SURE_COMMA, _SURE_POINT = (  # that cannot group digits, by what stands before and behind
    rf"(?:0|[1-9]\d*)?{mark}(?:\d\d?|\d{{4,}})|(?:|0|[1-9]\d{{3,}}){mark}\d+|\d{{1,3}}(?:[{other}{_GROUPS}]\d{{3}})+{mark}\d+"
    for mark, other in ((",", "."), (r"\.", ","))
)
_STAMP = re.compile(r"\s*(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T_]\d.*)?|\d{1,2}:\d\d(:\d\d.*)?)\s*")
_IN_PARENTHESES = re.compile(r"\(\s*([^()+\-]+?)\s*\)")  # a negative number, as accountants write it
# units that are multiples of one another
_SI = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "\u00b5": 1e-6, "\u03bc": 1e-6, "m": 1e-3, "c": 1e-2} | {
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_COUNTS = {"k": 1e3, "K": 1e3, "M": 1e6}  # behind a number without a unit
_BILLIONS = ({"B": 1e9, "T": 1e12}, {"G": 1e9, "T": 1e12})
_MOST_UNITS = 5  # that a message lists
_SHARE = 0.5  # a column with more numbers than that is a channel; other cells are errors


def is_number(cell: str) -> bool:
    """Return whether a cell is a number, perhaps of percent; a point or a comma divides it."""
    return _NUMBER.fullmatch(cell) is not None


def is_quantity(cell: str) -> bool:
    """Return whether a cell is a number, with a unit or a currency or without."""
    return _QUANTITY.fullmatch(cell.strip()) is not None


def is_value(cell: object) -> bool:
    """Return whether a cell is a number or a date."""
    text = str(cell)
    return is_number(text) or _STAMP.fullmatch(text) is not None


def kind_of(cell: str) -> str:
    """Return whether a cell is a number, a stamp, a quantity with a unit, or a word; empty if it is missing."""
    if not cell.strip() or is_missing(cell):
        return ""
    if is_number(cell):
        return "number"
    return "stamp" if _STAMP.fullmatch(cell) else "quantity" if is_quantity(cell) else "word"


def is_missing(cell: str) -> bool:
    """Return whether a cell is a word that means missing; what stands for no unit is none."""
    word = cell.strip().lower()
    return word in MISSING and word not in ("", "-", "--", ".")  # a column without a unit


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
    bare = [cell.strip().strip("\"'") for cell in cells]
    negative = [match[1] for cell in bare if (match := _IN_PARENTHESES.fullmatch(cell))]
    has_parentheses = len(negative) < len(bare) and bool(_quantities(negative))
    matches = _quantities([_IN_PARENTHESES.sub(r"-\1", cell) for cell in bare] if has_parentheses else bare)
    if len(matches) <= _SHARE * len(cells):
        return None
    prefixes, suffixes = (_affixes(matches, name) for name in ("prefix", "suffix"))
    factors = multiples(suffixes)
    units = [suffix for suffix in suffixes if suffix]
    if len(set(prefixes) - {""}) > 1 or (len(units) > 1 and factors is None):
        return None
    is_multiple = factors is not None and (len(units) > 1 or (len(suffixes) > 1 and factors[units[0]] != 1))
    digits: list[str] = [match["digits"].strip() for match in matches]
    return replace(
        form,
        prefix="".join(prefixes),
        suffix="" if is_multiple else "".join(units),
        multiples=tuple(sorted(factors.items())) if is_multiple and factors is not None else (),
        thousands=form.thousands or _grouping(digits, form.decimal),
        has_parentheses=has_parentheses,
    )


def different_units(cells: Sequence[str]) -> list[str]:
    """Return the units, up to a few, of cells most of which are numbers with one; none where there are more."""
    units = [unit for unit in _affixes(_quantities([cell.strip() for cell in cells]), "suffix") if unit]
    return units if len(_quantities(cells)) > _SHARE * len(cells) and 1 < len(units) <= _MOST_UNITS else []


def _quantities(cells: Sequence[str]) -> list[re.Match[str]]:
    return [match for cell in cells if (match := _QUANTITY.fullmatch(cell))]


def _affixes(matches: Sequence[re.Match[str]], name: str) -> list[str]:
    """Return the different prefixes or suffixes of numbers, an empty one where some number has none."""
    return sorted({(match[name] or "").strip() for match in matches})


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


def multiples(suffixes: Sequence[str]) -> dict[str, float] | None:
    """Return the factor of each unit behind numbers; None where they are no multiples of one unit.

    Args:
        suffixes: different ones; an empty one stands for numbers without a unit.
    """
    units = [suffix for suffix in suffixes if suffix]
    if not units:
        return None
    shortest = min(units, key=len)
    bases = [""] if len(units) < len(suffixes) else [shortest, shortest[2:], shortest[1:], ""]
    tables: list[tuple[str, Mapping[str, float]]] = [(base, _BINARY) for base in bases]
    tables += [(base, _SI) for base in bases if base]
    tables += [("", _COUNTS | large) for large in _BILLIONS]
    for base, table in tables:
        factors = _factors(units, base, table)
        if factors is not None:
            return factors
    return None


def _factors(units: Sequence[str], base: str, prefixes: Mapping[str, float]) -> dict[str, float] | None:
    """Return the factor of each unit that is a prefix and the base; None if some unit is not."""
    known = {prefix + base: factor for prefix, factor in prefixes.items()} | ({base: 1.0} if base else {})
    return {unit: known[unit] for unit in units} if known.keys() >= set(units) else None
