"""Numbers as text, tables, facts, the ribbon of regimes, and results as JSON."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gmvae_cli.cli.terminal import console, for_stream, printable, width
from gmvae_cli.errors import Note
from gmvae_cli.regime_names import UNKNOWN

if TYPE_CHECKING:
    from gmvae_cli.metrics.segments import Ribbon

COLUMN_GAP = 3
NAME_LENGTH = 30  # of a channel in a table; longer ones are clipped
DARK = 300  # of 3 * 255: a colour whose red, green and blue add up to less gets white letters


def number(value: float | None, decimals: int) -> str:
    """Format a number with so many decimals; '-' where it is undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:,.{decimals}f}"


def short_number(value: float, digits: int = 4) -> str:
    """Format a number with so many significant digits; '-' where it is undefined."""
    return "-" if not math.isfinite(value) else f"{value:.{digits}g}"


def score_number(value: float) -> str:
    """Format a log-likelihood with four decimals, and from 10 on with five digits."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.5g}"


def percent(share: float | None) -> str:
    """Format a share as a percentage; '-' where it is undefined."""
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def rare(share: float) -> str:
    """Format a share that may be small, as a percentage with two significant digits."""
    return f"{100 * share:.2g} %"


def rows(length: float | None) -> str:
    """Format a length in rows; '-' where it is undefined."""
    return "-" if length is None or not math.isfinite(length) else f"{length:,.1f} rows"


def duration(value: float | None, unit: str | None) -> str:
    """Format a time in the largest unit that it fills, or as a bare number if it is not in seconds."""
    if value is None or not math.isfinite(value):
        return "-"
    if unit != "seconds":
        return f"{value:.4g}"
    size, name = next(((s, n) for s, n in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if value >= s), (1, "s"))
    return f"{value / size:.4g} {name}"


def byte_size(size: float) -> str:
    """Format a number of bytes in MiB or GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def count(quantity: int, singular: str, plural: str) -> str:
    """Format a quantity with its noun: "1 segment", "1,200 segments"."""
    return f"{quantity:,} {singular if quantity == 1 else plural}"


def clipped(name: str, length: int = NAME_LENGTH) -> str:
    """Cut a name to this length, '...' included."""
    return name if len(name) <= length else f"{name[: length - 3]}..."


def listed(names: Sequence[str], length: int = 50) -> str:
    """Count the names and list as many as fit into so many characters: "12: a, b, c and 9 more"."""
    num_listed = len(names)
    while num_listed > 1 and len(", ".join(names[:num_listed])) > length:
        num_listed -= 1
    rest = f" and {len(names) - num_listed} more" if num_listed < len(names) else ""
    return f"{len(names)}: {', '.join(names[:num_listed])}{rest}"


def print_facts(*facts: tuple[str, str]) -> None:
    """Print named facts on stdout, one a line; on a terminal a long one goes on below itself."""
    margin = max(len(name) for name, _ in facts) + 2
    for name, fact in facts:
        print(for_stream(printable(f"{name:<{margin}}{fact}"), sys.stdout, " " * margin))


def print_table(headers: Sequence[str], lines: Iterable[Sequence[str]], *, left: Sequence[int] = ()) -> None:
    """Print a table on stdout, in as many parts, one below the other, as the width needs.

    Args:
        headers: of the columns, the first of which begins every part. left: columns of text, which are aligned left.
    """
    cells = [list(line) for line in lines]
    widths = [max(map(len, column)) + COLUMN_GAP for column in zip(headers, *cells, strict=True)]
    available = width() + COLUMN_GAP - widths[0]
    start = 1
    while start < len(headers):
        stop = start + 1
        while stop < len(headers) and sum(widths[start : stop + 1]) <= available:
            stop += 1
        _print_part([0, *range(start, stop)], headers, cells, left)
        start = stop


def _print_part(
    columns: Sequence[int], headers: Sequence[str], cells: Sequence[Sequence[str]], left: Sequence[int]
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        words = [word for text in (headers[column], *(line[column] for line in cells)) for word in text.split()]
        table.add_column(
            Text(headers[column]),
            justify="left" if column in left else "right",
            no_wrap=column == 0,
            min_width=max(map(len, words), default=1),
        )
    for line in cells:
        table.add_row(*(Text(line[column]) for column in columns))
    console(sys.stdout).print(table)
    print()


def print_ribbon(ribbon: "Ribbon", names: Sequence[str] = ()) -> None:
    """Print the rows from first to last as one line of blocks in the regimes' colours.

    Each has the name of its regime where there is room for it, or else its number.
    """
    from rich.text import Text

    from gmvae_cli.plotting.artists import colour

    target = console(sys.stdout)
    line = Text()
    for regime, run in groupby(ribbon.majority(target.width).tolist()):
        length = len(list(run))
        texts = (UNKNOWN, "?") if regime < 0 else (*names[regime : regime + 1], str(regime))
        label = next((text for text in texts if 0 < len(text) <= length - 2), "")
        back = colour(regime)
        ink = "white" if sum(int(back[i : i + 2], 16) for i in (1, 3, 5)) < DARK else "black"
        line.append(label.center(length), f"{ink} on {back}")
    target.print(line, soft_wrap=True)
    target.print()


def columns_read(columns: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """State which columns are time, series and channels, and how many values each channel lacks."""
    if not columns:
        return []
    named = {
        role: [clipped(entry["name"]) or "''" for entry in columns if entry["role"] == role]
        for role in ("time", "series")
    }
    parts = [f"{role} {' and '.join(names) or 'none'}" for role, names in named.items()]
    channels = [
        clipped(entry["name"]) + (f" ({entry['missing']:,} missing)" if entry["missing"] else "")
        for entry in columns
        if entry["role"] == "channel"
    ]
    return [("columns", f"{', '.join(parts)}, channels {listed(channels)}")]


def print_json(result: Any, leave_out: Sequence[str] = ()) -> None:
    """Print a result dataclass on stdout as one JSON object."""
    values = {field.name: getattr(result, field.name) for field in fields(result) if field.name not in leave_out}
    print(json.dumps(jsonable(values), allow_nan=False, ensure_ascii=False))


def jsonable(value: Any) -> Any:
    """Convert a value to what JSON knows: arrays to lists, undefined numbers (NaN, infinite) to null."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Note):
        return value.to_json()
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if is_dataclass(value):
        return jsonable(vars(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return value
