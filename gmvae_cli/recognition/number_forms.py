"""Numbers with more than digits: groups of thousands, a unit or percent sign behind, a currency in front."""

import re
from collections.abc import Sequence
from dataclasses import replace

from gmvae_cli.files.cells import MINUS, NumberFormat, grouped_digits

_CURRENCIES = r"[$\u20AC\u00A3\u00A5\u20B9]|(?:USD|EUR|GBP|JPY|CHF|CNY|INR|SEK|NOK|DKK|PLN|AUD|CAD|BRL)(?=[\s\d])"
_GROUPS = "'\u2019\u00a0\u202f\u2009_ "  # characters that divide no number, so they group its digits
_DIGITS = (
    rf"\d{{1,3}}(?P<group>[.,{_GROUPS}])(?:\d{{2,3}}(?P=group))*\d{{3}}(?:(?!(?P=group))[.,]\d*)?|"
    r"\d+[.,]?\d*|[.,]\d+"
)
# a sign, a currency in front, digits with what may group and divide them, an exponent, a unit behind
_QUANTITY = re.compile(
    rf"\s*[+\-{MINUS}]?\s*(?P<prefix>{_CURRENCIES}|)\s*[+\-{MINUS}]?(?P<digits>(?:{_DIGITS})(?:[eE][+-]?\d+)?)"
    r"\s*(?P<suffix>[^\d\s+\-.,:/][^\d]{0,11}|)\s*"
)
_SHARE = 0.5  # a column with more numbers than that is a channel; other cells are errors


def number_form(cells: Sequence[str], form: NumberFormat) -> NumberFormat | None:
    """Return the form in which some cells are numbers; None where half of them or more are none.

    A comma or point that may divide as well as group is left as it is, so that reading the cells fails.

    Args:
        cells: without missing values. form: what the options say; it is kept, and completed by what is certain.
    """
    matches = [match for cell in cells if (match := _QUANTITY.fullmatch(cell.strip().strip("\"'")))]
    if len(matches) <= _SHARE * len(cells):
        return None
    prefix, suffix = (_only([match[name].strip() for match in matches]) for name in ("prefix", "suffix"))
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
    for char in _GROUPS + ("," if decimal == "." else ""):
        grouped = [text for text in digits if char in text]
        whole = re.compile(grouped_digits(char, decimal))
        if not grouped or not all(whole.fullmatch(text) for text in grouped):
            continue
        # a comma may divide, unless it comes twice or a decimal point follows
        if char in _GROUPS or any(text.count(char) > 1 or decimal in text for text in grouped):
            return char
    return None
