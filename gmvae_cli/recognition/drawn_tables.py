"""Tables drawn for the eye: columns set apart by blanks, or by bars and rules as databases and Markdown have them."""

import csv
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gmvae_cli.recognition.number_forms import is_quantity, is_value
from gmvae_cli.recognition.text_footer import COMMENTS
from gmvae_cli.series_config import MISSING

_LINES = 60  # of the first ones that show the columns
_FEWEST_ROWS = 2
_FEWEST_VALUES = 0.6  # share of cells that are numbers, dates or missing; a label such as "state 1" has half
_RULE = re.compile(r"^[ \t]*[|+]?[ \t]*[-=:]{2,}[-=:+| \t]*[|+]?[ \t]*\r?$\n?", re.MULTILINE)
_BOX = str.maketrans(  # characters that draw boxes, as their counterparts in ASCII
    dict.fromkeys("│┃┆┊║", "|") | dict.fromkeys("─━═╌", "-") | dict.fromkeys("┌┐└┘├┤┬┴┼╞╡╪╔╗╚╝╠╣╦╩╬╭╮╰╯", "+")
)
_SHAPE = re.compile(r"^shape: \(.*\)\s*$\n?", re.MULTILINE)  # that Polars writes above
_COUNT = re.compile(r"^\(\d+ rows?\b.*\)\s*$\n?", re.MULTILINE)  # that databases write below
_OUTER_BARS = re.compile(r"^[ \t]*\|[ \t]*|[ \t]*\|[ \t\r]*$", re.MULTILINE)
_OUTER_BLANKS = re.compile(r"^[ \t]+|[ \t\r]+$", re.MULTILINE)
_INNER_BARS = re.compile(r"[ \t]*\|[ \t]*")
_BEHIND_MARK = re.compile(r"^(#|%|!|//)[ \t]+", re.MULTILINE)  # of a header in a comment
_BLANKS = (  # between columns: two at least, as names and dates may hold one; any but those in a date; any
    "[ \t]{2,}",
    r"(?:(?<=[ \t])|(?<!\d)|(?![ \t]\d\d?:\d\d))[ \t]+",
    "[ \t]+",
)
_OTHER_SEPARATORS = re.compile(r"[;\t|]|,(?!\d)|(?<!\d),")


class DrawnTable(NamedTuple):
    """A drawn table: what sets its columns apart, and the function that puts tabs there in whole lines of it."""

    how: str
    redraw: Callable[[str], str]


def drawn_table(text: str) -> DrawnTable | None:
    """Return how a table is drawn; None where it is separated by characters, or nothing is certain.

    Args:
        text: the first lines, whole ones.
    """
    lines = [line for line in _SHAPE.sub("", text).translate(_BOX).splitlines() if line.strip()][:_LINES]
    rules = [line for line in lines if _RULE.match(line)]
    rows = [line for line in lines if not line.startswith(COMMENTS)]
    if rules and any(mark in rules[0] for mark in "|+"):
        has_outer_bars = any(line.lstrip().startswith("|") for line in lines if line not in rules)
        drawn = [DrawnTable("bars and rules", partial(_without_bars, has_outer_bars=has_outer_bars))]
    elif any(map(_OTHER_SEPARATORS.search, rows)) or all(map(is_quantity, rows[1:])):  # 12 345 is one number
        return None
    else:
        drawn = [DrawnTable("blanks", partial(_without_blanks, blanks=blanks)) for blanks in _BLANKS]
    best = max(drawn, key=lambda table: _share_of_values(table.redraw("\n".join(lines))))
    return best if _share_of_values(best.redraw("\n".join(lines))) >= _FEWEST_VALUES else None


def _without_bars(text: str, *, has_outer_bars: bool) -> str:
    text = _RULE.sub("", _SHAPE.sub("", text).translate(_BOX))
    text = (_OUTER_BARS if has_outer_bars else _OUTER_BLANKS).sub("", text)
    return _INNER_BARS.sub("\t", text)


def _without_blanks(text: str, *, blanks: str) -> str:
    """Put a tab in place of blanks that fit a pattern, apart from those in quotes."""
    text = _BEHIND_MARK.sub(r"\1", _OUTER_BLANKS.sub("", _COUNT.sub("", text)))
    return re.sub(rf'("[^"\n]*")|{blanks}', lambda match: match[1] or "\t", text)


def _share_of_values(text: str) -> float:
    """Return the share of numbers, dates and missing cells below a header; 0 unless each row has as many cells.

    A column of names or numbers of rows may stand in front, which the header does not name.
    """
    lines = [line for line in text.split("\n") if line]
    first = next((row for row, line in enumerate(lines) if not line.startswith(COMMENTS)), 0)
    records = [cells for cells in csv.reader(lines, delimiter="\t") if not cells[0].startswith(COMMENTS)]
    if first and records and all(map(is_value, records[0])):  # the comment above is the header
        records.insert(0, lines[first - 1].split("\t"))
    header, *body = records or [[""]]
    while body and len(body[-1]) == 1:  # below the table
        body.pop()
    widths = {len(cells) for cells in body}
    if len(body) < _FEWEST_ROWS or len(header) < 2 or len(widths) > 1 or not widths <= {len(header), len(header) + 1}:
        return 0
    cells: Sequence[str] = [cell for row in body for cell in row]
    return sum(is_value(cell) or cell.strip().lower() in MISSING for cell in cells) / len(cells)
