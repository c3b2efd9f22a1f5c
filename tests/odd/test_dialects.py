"""A table written in any dialect reads back as the same series."""

import csv
import datetime as dt
import io

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmvae_cli.config import SeriesConfig
from gmvae_cli.files.series_reader import open_series

START = dt.datetime(2023, 12, 28, 22, 30)  # the days behind it are no months
TIMES = {  # name of the column -> how it is written; the rows are so many seconds apart
    "time": lambda row: f"{START + dt.timedelta(hours=row):%Y-%m-%d %H:%M:%S}",
    "Datum": lambda row: f"{START + dt.timedelta(hours=row):%d.%m.%Y %H:%M}",
    "DateTime": lambda row: f"{START + dt.timedelta(hours=row):%m/%d/%Y %I:%M:%S %p}",
    "ts": lambda row: f"{START + dt.timedelta(hours=row):%Y%m%dT%H%M%SZ}",
    "when": lambda row: f"{START + dt.timedelta(hours=row):%Y-%m-%d %H:%M:%S UTC}",
    "epoch": lambda row: f"{1703802600 + 3600 * row}",
    "timestamp_ms": lambda row: f"{1703802600000 + 3600000 * row}",
    "date": lambda row: f"{START + dt.timedelta(hours=row):%Y%m%d%H%M}",
    "clock": lambda row: f"{START + dt.timedelta(hours=row):%H:%M:%S}",
}
MISSING = ("", "NA", "n/a", "null", "None", "NaN", "?", "#N/A", "-")
EXTRAS = {  # name -> cells that are no channel
    "index": lambda row: row + 5,
    "device_id": lambda row: 4711,
    "note": lambda row: ("ok", "bad")[row % 3 == 0],
    "True_Regime": lambda row: row % 2,
    "Unnamed: 0": lambda row: row,
}
UNITS = ("", "%", " °C", "kWh")


@st.composite
def files(draw):
    """(content of a file, options to read it with, name of its time, values (T, D))."""
    rows, num_channels = draw(st.integers(12, 40)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    values = np.round(rng.normal(0, 30, (rows, num_channels)), 2)
    values[rng.random(values.shape) < draw(st.sampled_from([0, 0.1, 0.6]))] = np.nan
    values[:3] = [[1.5], [-2.25], [0.5]]  # every channel varies, and stands below its units
    time = draw(st.sampled_from([*TIMES, None]))
    missing = draw(st.sampled_from(MISSING))
    delimiter = draw(st.sampled_from([",", ";", "\t"]))
    decimal = draw(st.sampled_from([".", ","])) if delimiter != "," else "."
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    units = [draw(st.sampled_from(UNITS)) for _ in range(num_channels)]
    extras = draw(st.lists(st.sampled_from(list(EXTRAS)), unique=True, max_size=3))
    order = draw(st.permutations([*([] if time is None else [time]), *range(num_channels), *extras]))

    def cell(column, row):
        if column == time:
            return TIMES[time](row)
        if isinstance(column, str):
            return str(EXTRAS[column](row))
        value = values[row, column]
        return missing if np.isnan(value) else f"{value:.2f}".replace(".", decimal) + units[column]

    lines = [[f"x{column}" if isinstance(column, int) else column for column in order]]
    if draw(st.booleans()):
        lines.append([f"[u{column}]" if isinstance(column, int) else "-" for column in order])
    lines += [[cell(column, row) for column in order] for row in range(rows)]
    sink = io.StringIO()
    sink.write(draw(st.sampled_from(["", "# written by a test\n"])))
    csv.writer(sink, delimiter=delimiter, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))).writerows(lines)
    is_seen = len(order) > 1  # where no delimiter is, nothing says that the comma is none
    options = {
        "decimal": draw(st.sampled_from([None, decimal])) if is_seen else decimal,
        "delimiter": draw(st.sampled_from([None, delimiter])),
    }
    if encoding == "cp1252" and draw(st.booleans()):
        options["encoding"] = encoding
    kept = [column for column in order if isinstance(column, int)]
    return sink.getvalue().encode(encoding), options, time, values[:, kept], tuple(f"x{column}" for column in kept)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files())
def test_a_table_reads_back_whatever_its_dialect(tmp_path, drawn):
    content, options, time, values, channels = drawn
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    reader = open_series([str(path)], SeriesConfig(**options))
    with reader.read_data() as data:
        assert (reader.layout.time, data.channels, data.holes) == (time, channels, 0), data.notes
        np.testing.assert_allclose(data.read(0, data.rows)[0], values, rtol=1e-12)
        assert time is None or (data.step, data.time_unit) == (3600, "seconds")
