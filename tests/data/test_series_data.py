import itertools
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data import series_data
from gmvae_cli.data.series_data import ChannelSummary, SeriesData
from gmvae_cli.data.steps import StepCounter, StepRule, duration_rows
from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files import csv_table, row_blocks
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.files.validation import SeriesBuilder
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.recognition.names import unit_seconds
from gmvae_cli.system.scratch import Scratch

anywhere = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def cut(table, borders):
    """The table in pieces between the borders."""
    stops = sorted({*(border % (table.num_rows + 1) for border in borders), 0, table.num_rows})
    return [table.slice(start, stop - start) for start, stop in itertools.pairwise(stops)]


def record(pieces, time="t", ids="series", channels=("x0", "x1"), **options):
    layout = Layout(time=time, series=ids, channels=channels, columns=())
    builder = SeriesBuilder(layout, Scratch(len(channels) + 1, memory_bytes=64))
    for index, piece in enumerate(pieces):
        builder.add(piece, lambda row: f"row {row + 1}", new_file=index == 0)
    return builder.finish("a", **{"max_gap": None, "regular": False, "keep_constant": True, **options})


@st.composite
def recordings(draw):
    """(table, values, steps): several series with holes and missing cells, and what a reading row by row gives."""
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    T = sum(lengths)
    gaps = np.array(draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 5]), min_size=T, max_size=T)))
    cells = st.one_of(st.none(), st.floats(-1e9, 1e9))
    values = [draw(st.lists(cells, min_size=T, max_size=T)) for _ in range(2)]
    ids = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.append(True, ids[1:] != ids[:-1])
    times = np.concatenate([np.cumsum(gaps[ids == index]) for index in range(len(lengths))])
    within = gaps[~starts]
    median = np.sort(within)[(len(within) - 1) // 2] if len(within) else 1
    steps = [
        0 if start else round(gap / median) if gap > 1.5 * median else 1
        for start, gap in zip(starts, gaps, strict=True)
    ]
    table = pa.table(
        {
            "series": ids.astype(str),
            "t": times,
            "x0": pa.array(values[0], pa.float64()),
            "x1": pa.array(values[1], pa.float64()),
        }
    )
    return table, np.array(values, float).T, np.array(steps)


@given(recordings(), st.lists(st.integers(0, 99), max_size=5), st.integers(1, 9))
@settings(deadline=None)
def test_reading_is_the_same_for_any_block_layout(drawn, borders, rows):
    table, values, steps = drawn
    with record(cut(table, borders)) as whole:
        parts = [whole.read(start, min(start + rows, whole.rows)) for start in range(0, whole.rows, rows)]
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), values)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), steps)
        assert whole.holes == (steps > 1).sum()
        assert whole.num_series == (steps == 0).sum()
        assert whole.observed.tolist() == (~np.isnan(values)).sum(0).tolist()
        np.testing.assert_array_equal(whole.missing, whole.rows - whole.observed)


@given(recordings(), st.lists(st.integers(0, 99), max_size=5))
@settings(deadline=None)
def test_arrays_and_files_make_the_same_recording(drawn, borders):
    table, values, steps = drawn
    with record(cut(table, borders)) as ours, SeriesData.from_arrays(values, steps) as theirs:
        for left, right in zip(ours.read(0, ours.rows), theirs.read(0, theirs.rows), strict=True):
            np.testing.assert_array_equal(left, right)
        np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-9, atol=1e-6)
        assert (ours.channels, ours.num_series, ours.holes) == (theirs.channels, theirs.num_series, theirs.holes)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e12])
def test_mean_and_scale_are_stable_far_from_zero(offset):
    values = np.random.default_rng(0).standard_normal(100_000)
    summary = ChannelSummary(("x0",))
    for part in np.array_split(values + offset, 37):
        summary.add([part])
    assert summary.mean[0] - offset == pytest.approx(values.mean(), abs=1e-16 * offset + 1e-12)
    assert summary.scale[0] == pytest.approx((values + offset - offset).std(), rel=1e-12)


def test_a_channel_never_observed_has_no_mean_of_its_own():
    summary = ChannelSummary(("x0", "x1"))
    summary.add([np.array([np.nan, np.nan]), np.array([0.1, np.nan])])
    assert summary.constant.all()
    assert (summary.mean.tolist(), summary.scale.tolist()) == ([0, 0.1], [1, 1])


def column_table(times):
    return pa.table({"t": times, "x0": np.arange(float(len(times)))})


def steps_of(times, **options):
    with record([column_table(times)], ids=None, channels=("x0",), **options) as whole:
        return whole.read(0, whole.rows)[1].tolist(), whole


def test_holes_and_breaks_in_a_jittered_clock():
    times = [0.0, 1.01, 1.99, 3.0, 4.4, 5.4, 8.5, 9.5, 30.0]
    steps, whole = steps_of(times)
    assert steps == [0, 1, 1, 1, 1, 1, 3, 1, 20]
    assert (whole.holes, whole.breaks, whole.time_unit) == (2, 0, "units")
    steps, whole = steps_of(times, max_gap="5")
    assert steps == [0, 1, 1, 1, 1, 1, 3, 1, 0]
    assert (whole.holes, whole.breaks) == (1, 1)
    steps, whole = steps_of(times, regular=True, max_gap="1")
    assert steps == [0] + [1] * 8
    assert (whole.holes, whole.breaks) == (0, 0)
    assert steps_of(times, max_gap="1")[0] == [0, 1, 1, 1, 1, 1, 0, 1, 0]


def test_dates_step_in_seconds_and_business_days_are_noted():
    steps, whole = steps_of(pd.bdate_range("2024-01-01", periods=20).values)
    assert (whole.step, whole.time_unit) == (86400, "seconds")
    assert steps == [0, 1, 1, 1, 1, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1]
    ((code, sentence),) = whole.notes
    assert code == "equal_holes"
    assert sentence == (
        "15.8 % of the time steps are 3 usual steps long, as over weekends; --regular takes the rows as equally spaced"
    )
    assert steps_of(pd.bdate_range("2024-01-01", periods=20).values, regular=True)[1].notes == []
    assert steps_of(pd.bdate_range("2024-01-01", periods=20).values, max_gap="2d")[1].breaks == 3


def test_holes_of_one_length_are_weekends_where_they_last_as_long():
    ((code, sentence),) = steps_of(np.arange(40) + 2 * (np.arange(40) // 5))[1].notes
    assert code == "equal_holes"
    assert sentence == "17.9 % of the time steps are 3 usual steps long; --regular takes the rows as equally spaced"


def test_many_different_steps_have_a_sampled_median_and_exact_holes(monkeypatch):
    monkeypatch.setattr(series_data, "READ_ROWS", 999)
    steps = np.random.default_rng(0).uniform(0.9, 1.1, 200_000)
    steps[::1000] = 4
    counted, whole = steps_of(np.cumsum(steps))
    assert whole.step == pytest.approx(1, abs=0.002)
    assert whole.holes == sum(step > 1 for step in counted) == 199


@given(st.lists(st.lists(st.integers(1, 9), max_size=30), max_size=8))
@settings(deadline=None)
def test_median_of_few_lengths_is_exact(blocks):
    counter = StepCounter()
    for block in blocks:
        counter.add(np.array(block, float))
    flat = sorted(itertools.chain(*blocks))
    assert counter.median() == (flat[(len(flat) - 1) // 2] if flat else None)


def test_a_step_beyond_counting_is_still_a_number():
    assert StepRule(median=1e-300).steps(np.array([np.nan, 1.0, 1e-300])).tolist() == [0, 2**62, 1]


@pytest.mark.parametrize(
    ("text", "rows"),
    [("30", 30), ("2.5", 2.5), ("10min", 10), ("2h", 120), ("1 d", 1440), ("90S", 1.5), ("600ms", 0.01)],
)
def test_durations_in_rows_of_a_minute(text, rows):
    assert duration_rows(text, 60, 1.0) == pytest.approx(rows)


@pytest.mark.parametrize("text", ["", "soon", "-3", "0", "10 parsecs", "min", "1e3", "nan"])
def test_nonsense_is_no_duration(text):
    with pytest.raises(ConfigError, match=f"--expect-dwell is '{text}', but must be rows above 0 or a duration like"):
        duration_rows(text, 60, 1.0, "expect-dwell")


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        *(
            ("Time (s)", 1),
            ("time [ms]", 1e-3),
            ("t_ms", 1e-3),
            ("time_us", 1e-6),
            ("Zeit in min", 60),
            ("hours", 3600),
        ),
        *(("seconds_elapsed", 1), ("Time (min:sec)", None), ("t", None), ("gps_tow", None), ("elapsed", None)),
    ],
)
def test_the_name_of_a_time_may_tell_its_unit(name, seconds):
    assert unit_seconds(name) == seconds


def test_durations_need_dates():
    with pytest.raises(
        SeriesError, match="--max-gap is '2h', but the time column holds numbers, not dates; name their unit"
    ):
        steps_of([0, 1, 2], max_gap="2h")
    with pytest.raises(SeriesError, match="--max-gap is '2h', but there is no time column"):
        record([column_table([0, 1])], time=None, ids=None, channels=("x0",), max_gap="2h")


@pytest.mark.parametrize(
    "kind", ["date32", "date64", "timestamp[s]", "timestamp[ns]", "time32[s]", "time64[ns]", "duration[ms]"]
)
def test_every_kind_of_time_counts_seconds(kind):
    ticks = {"date32": 1, "date64": 86_400_000, "timestamp[s]": 60, "timestamp[ns]": 60 * 10**9, "time32[s]": 60}
    ticks |= {"time64[ns]": 60 * 10**9, "duration[ms]": 60_000}
    kinds = {"time32[s]": pa.time32("s"), "time64[ns]": pa.time64("ns"), "duration[ms]": pa.duration("ms")}
    arrow = kinds.get(kind) or pa.type_for_alias(kind)
    width = pa.int32() if arrow.bit_width == 32 else pa.int64()
    steps, whole = steps_of(pa.array([0, ticks[kind], 3 * ticks[kind]], width).cast(arrow))
    assert (steps, whole.step) == ([0, 1, 2], 86400 if "date" in kind else 60)


def test_clocks_of_two_files_may_tick_in_different_units(tmp_path):
    for name, unit, rows in (("a", "ns", [0, 60]), ("b", "s", [120, 240])):
        times = pa.array([row * (10**9 if unit == "ns" else 1) for row in rows]).cast(pa.timestamp(unit))
        pq.write_table(pa.table({"series": ["u", "u"], "time": times, "x0": [1.0, 2.0]}), tmp_path / f"{name}.parquet")
    with open_series([str(tmp_path)], SeriesConfig()).read_data() as whole:
        assert whole.read(0, 4)[1].tolist() == [0, 1, 1, 2]


@given(rows=st.integers(1, 400), block_rows=st.integers(1, 50), bytes_read=st.integers(64, 512))
@anywhere
def test_files_read_alike_in_blocks_of_any_size(tmp_path, rows, block_rows, bytes_read):
    generator = np.random.default_rng(rows)
    table = pa.table(
        {"t": np.arange(rows) * 0.5, "x0": generator.standard_normal(rows), "x1": generator.integers(0, 9, rows)}
    )
    frame = table.to_pandas()
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_table, "CSV_BLOCK_BYTES", bytes_read)
        patch.setattr(row_blocks, "BLOCK_ROWS", block_rows)
        reader = open_series([str(tmp_path / "a.csv")], SeriesConfig())
        sizes = [part.num_rows for part in reader.tables(block_rows)]
        with reader.read_data(keep_constant=True) as whole:
            values, steps = whole.read(0, whole.rows)
    np.testing.assert_array_equal(values, frame[["x0", "x1"]])
    assert steps.tolist() == [0] + [1] * (rows - 1)
    assert sizes[:-1] == [block_rows] * (len(sizes) - 1)
    assert sum(sizes) == rows
    assert math.ceil(rows / block_rows) == len(sizes)
