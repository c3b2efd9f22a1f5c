from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.outputs.name_column import NameColumn
from gmvae_cli.outputs.segment_table import SegmentTable
from gmvae_cli.recognition.column_roles import Layout

NO_NAMES = NameColumn(SimpleNamespace(names=(), merged=np.arange(3), model=SimpleNamespace(regimes=3)))


def recorded(step, unit):
    data = SeriesData.from_arrays(np.zeros((1, 1)))
    data.step, data.time_unit = step, unit
    return data


def segments_by_hand(regimes, probs, starts, ids, times, step):
    """Row after row in plain Python; a new id begins a series, a start within it only a segment."""
    segments, origin = [], 0
    for row, regime in enumerate(regimes):
        if row == 0 or ids[row] != ids[row - 1]:
            origin = row
        if row == 0 or starts[row] or regime != regimes[row - 1]:
            segments.append({"series": ids[row], "start": row - origin, "start_time": times[row], "regime": regime})
            segments[-1] |= {"segment": len(segments) - 1, "rows": 0, "mean_prob": 0.0}
        segment = segments[-1]
        segment |= {"rows": segment["rows"] + 1, "stop": row + 1 - origin, "end_time": times[row]}
        segment["mean_prob"] += probs[row, regime]
    for segment in segments:
        segment["mean_prob"] = pytest.approx(segment["mean_prob"] / segment["rows"])
        segment |= {"start_low": None, "start_high": None}
        segment["duration"] = pytest.approx(segment["rows"] * step)
    return segments


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_segments_are_those_found_row_by_row_whatever_the_blocks(seed, T, block_rows, with_series):
    rng = np.random.default_rng(seed)
    regimes, probs = rng.integers(2, size=T), rng.random((T, 2))
    ids = np.sort(rng.integers(3, size=T)) if with_series else np.zeros(T, int)
    starts = (np.diff(ids, prepend=-1) != 0) | (rng.random(T) < 0.1)
    cells = pa.table({"series": [f"s{number}" for number in ids], "time": np.arange(T) * 0.5})
    layout = Layout(time="time", series="series" if with_series else None, channels=(), columns=("series", "time"))
    segments = SegmentTable(layout, recorded(0.5, "seconds"), NO_NAMES, False)
    parts = []
    for start in range(0, T, block_rows):
        part = slice(start, start + block_rows)
        block = LabelledRows(regimes[part], probs[part], np.zeros(len(regimes[part])), starts[part])
        parts.append(segments.add(cells.slice(start, block_rows), block, start, "a.csv"))
    parts.append(segments.finish())
    names = cells["series"].to_pylist() if with_series else ["a.csv"] * T
    times = cells["time"].to_pylist()
    assert pa.concat_tables(parts).to_pylist() == segments_by_hand(regimes, probs, starts, names, times, 0.5)


def test_without_a_time_column_durations_are_rows():
    layout = Layout(time=None, series=None, channels=(), columns=())
    segments = SegmentTable(layout, recorded(None, None), NO_NAMES)
    block = LabelledRows(np.array([1, 1, 0]), np.eye(2)[[1, 1, 0]], np.zeros(3), np.array([True, False, False]))
    ended = segments.add(pa.table({"x": [1, 2, 3]}), block, 0, "a.csv").to_pylist()
    assert [(part["rows"], part["duration"], part["start_time"], part["end_time"]) for part in ended] == [
        (2, 2.0, None, None)
    ]
