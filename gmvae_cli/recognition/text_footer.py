"""Lines below the table of a CSV file that are none of its rows: comments, totals, the header once more."""

import csv
import re
from collections.abc import Sequence

from gmvae_cli.recognition.number_forms import is_value, kind_of
from gmvae_cli.series_config import MISSING

COMMENTS = ("#", "%", "//", "!")  # that begin lines above a header, or below a table
_TOTAL = re.compile(
    r"\W*(grand )?(total|totals|sum|summe|gesamt|average|avg|mean|mittelwert|min|minimum|max|maximum|count|anzahl|end|"
    r"eof|std|stddev|median)\b.*",
    re.IGNORECASE | re.DOTALL,
)


def footer_bytes(tail: bytes, delimiter: str, names: Sequence[str]) -> tuple[int, str]:
    """Return the length of the lines below a table, in bytes, and the first of them; a total, or a comment.

    Args:
        tail: the last bytes of the file, UTF-8.
    """
    lines = tail.splitlines(keepends=True)[1:]  # the first may be cut
    if len(names) < 2 or not lines:
        return 0, ""
    texts = [line.decode(errors="replace").rstrip("\r\n") for line in lines]
    first = len(texts)
    while first and _is_footer(texts[first - 1], delimiter, names):
        first -= 1
    row_above = texts[first - 1].split(delimiter)[0].strip('" ')
    is_row = [not _is_no_row(text, row_above, delimiter) for text in texts[first:]]
    first += max((row + 1 for row, is_one in enumerate(is_row) if is_one), default=0)
    found = next(filter(None, texts[first:]), "")
    return (sum(map(len, lines[first:])), found) if found else (0, "")


def _is_footer(line: str, delimiter: str, names: Sequence[str]) -> bool:
    """Return whether a last line may stand below a table: a comment, a single cell, a total, the header once more, or
    words behind an empty cell.
    """
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [""])]
    is_missing = len(cells) == len(names) and cells[0] != "" and cells[0].lower() in MISSING  # such as #N/A
    if line.count('"') % 2 or is_missing:
        return False
    if line.startswith(COMMENTS) or cells == list(names) or _TOTAL.match("".join(cells[:1])):
        return True
    return (len(cells) < 2 or not cells[0]) and not any(map(is_value, cells))


def _is_no_row(line: str, above: str, delimiter: str) -> bool:
    """Return whether a line below a table is none of its rows.

    It is empty, a comment or a sentence in a single cell, or a total or header where rows begin with values, or it
    begins with an empty cell where they begin with dates.
    """
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [""])]
    if len(cells) < 2 or line.startswith(COMMENTS):
        return True
    return kind_of(above) == "stamp" if not cells[0] else is_value(above)
