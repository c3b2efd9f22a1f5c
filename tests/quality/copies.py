"""Other recordings of the same kind, made of a recording with a known truth."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from measure import TRUTH, channels_of, read, truth_of, write

_LONGER = (4, 16)  # times as many segments
_SHORTEST_PART = 0.6  # of a segment that comes again; chosen, not measured
_REPEATED = 3  # a stretch of one third of the rows comes twice


class Copy(NamedTuple):
    """A written copy; `parts` are the (start, stop) of rows whose labels mean something of their own."""

    name: str
    path: Path
    parts: tuple[tuple[int, int], ...] = ()


def copies(path: Path, seed: int, folder: Path) -> Iterator[Copy]:
    """The recording with its segments in another order, every second row, a stretch twice, and many times as long."""
    table = read(path)
    generator = np.random.default_rng(seed)
    orders = {
        "segments in another order": spliced(truth_of(table), generator),
        "every second row": np.arange(seed % 2, table.num_rows, 2),
        "a stretch twice": repeated(table.num_rows, generator),
        **{f"{times} times as long": prolonged(truth_of(table), times, generator) for times in _LONGER},
    }
    for name, order in orders.items():
        columns = _columns(table.take(pa.array(order)))
        yield Copy(name, write(folder / "copy.parquet", columns))


def joined(paths: Sequence[Path], folder: Path) -> Iterator[Copy]:
    """Every two neighbours of a collection end to end, where their channels agree, each half with its own truth."""
    for first, second in zip(paths[::2], paths[1::2], strict=False):
        tables = [read(first), read(second)]
        if channels_of(tables[0]) != channels_of(tables[1]):
            continue
        halves = [_columns(table) for table in tables]
        whole = {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
        middle, end = tables[0].num_rows, sum(table.num_rows for table in tables)
        yield Copy("two end to end", write(folder / "copy.parquet", whole), ((0, middle), (middle, end)))


def spliced(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows in the order of shuffled segments, (T,)."""
    cuts = np.flatnonzero(truth[1:] != truth[:-1]) + 1
    segments = np.split(np.arange(len(truth)), cuts)
    return np.concatenate([segments[index] for index in generator.permutation(len(segments))])


def prolonged(truth: np.ndarray, times: int, generator: np.random.Generator) -> np.ndarray:
    """Rows of all segments so many times, each time in another order and of each segment another part."""
    segments = np.split(np.arange(len(truth)), np.flatnonzero(truth[1:] != truth[:-1]) + 1)
    parts = []
    for _ in range(times):
        for index in generator.permutation(len(segments)):
            length = round(len(segments[index]) * generator.uniform(_SHORTEST_PART, 1))
            start = generator.integers(0, len(segments[index]) - length + 1)
            parts.append(segments[index][start : start + length])
    return np.concatenate(parts)


def repeated(rows: int, generator: np.random.Generator) -> np.ndarray:
    """Rows in order, with a third of them a second time behind the first."""
    length = rows // _REPEATED
    start = int(generator.integers(0, rows - length + 1))
    return np.concatenate([np.arange(start + length), np.arange(start, rows)])


def _columns(table: pa.Table) -> dict[str, Any]:
    """Channels and truth alone: the rows count as equally spaced."""
    channels = {name: table[name].to_numpy() for name in channels_of(table)}
    return channels | {TRUTH: truth_of(table)}
