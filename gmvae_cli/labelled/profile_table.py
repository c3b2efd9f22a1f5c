"""The figures of all regimes as a table, a row for each regime."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

_FIGURES = {  # of a channel: key of the result, and ending of its column in the table
    "mean": "mean",
    "standard_deviation": "std",
    "minimum": "min",
    "quartile_1": "q25",
    "median": "q50",
    "quartile_3": "q75",
    "maximum": "max",
}


def profile_table(regimes: Sequence[Mapping[str, Any]]) -> Any:
    """Lay out regimes, as `ProfileResult` describes them, as an Arrow table."""
    plain = ("regime", "name", "rows", "share", "visits", "total_time", "mean_time", "longest_time", "first", "last")
    columns: dict[str, Any] = {name: [regime[name] for regime in regimes] for name in plain}
    for after in regimes:
        label = str(after["regime"])
        columns[f"then_{label}"] = [regime["followed_by"].get(label, 0) for regime in regimes]
    for channel in regimes[0]["channels"]:
        for key, ending in _FIGURES.items():
            cells = [regime["channels"][channel][key] for regime in regimes]
            columns[f"{channel}_{ending}"] = pa.array(cells, pa.float64())
    texts = {name: pa.array(columns[name], pa.string()) for name in ("name", "first", "last")}
    return pa.table(columns | texts)
