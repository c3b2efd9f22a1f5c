"""Times ahead, as the file writes its own: the last rows of a time column are forecast from the others."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gmvae_cli.errors import SeriesError
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.forecasting.future_times import future_times
from gmvae_cli.series_config import SeriesConfig

AHEAD = 4


def stamps(start, freq, form):
    return pd.date_range(start, periods=30, freq=freq).strftime(form).tolist()


TEXTS = {
    "numbers": [str(t) for t in range(30)],
    "tenths": [f"{t / 10:.1f}" for t in range(30)],
    "days": stamps("2024-02-20", "D", "%Y-%m-%d"),
    "minutes": stamps("2024-02-28 22:00", "10min", "%Y-%m-%d %H:%M"),
    "seconds, T": stamps("2024-02-28T23:59:50", "s", "%Y-%m-%dT%H:%M:%S"),
    "UTC": stamps("2024-02-28", "h", "%Y-%m-%dT%H:%M:%SZ"),
    "an offset": stamps("2024-02-28", "h", "%Y-%m-%dT%H:%M:%S+01:00"),
    "milliseconds": [text[:-3] for text in stamps("2024-02-28", "250ms", "%Y-%m-%d %H:%M:%S.%f")],
    "months": stamps("2022-01-01", "MS", "%Y-%m-%d"),
    "ends of months": stamps("2021-11-30", "ME", "%Y-%m-%d"),
    "quarters": stamps("2010-01-01", "QS", "%Y-%m-%d"),
    "named quarters": [f"{t.year}-Q{t.quarter}" for t in pd.date_range("2010-01-01", periods=30, freq="QS")],
    "quarters before years": [f"Q{t.quarter} {t.year}" for t in pd.date_range("2010-01-01", periods=30, freq="QS")],
    "weeks": stamps("2023-10-02", "7D", "%G-W%V"),
    "year.month": stamps("2022-01-01", "MS", "%Y.%m"),
    "day first": stamps("2024-02-20", "D", "%d.%m.%Y"),
    "month first": stamps("2024-02-20", "D", "%m/%d/%Y"),
    "half days": stamps("2024-02-20", "h", "%d.%m.%Y %I:%M %p"),
    "month names": stamps("2022-01-01", "MS", "%b %Y"),
    "digits": stamps("2024-02-20", "D", "%Y%m%d"),
    "clock": stamps("2024-02-20 23:35", "min", "%H:%M:%S"),
    "unix": [str(1_700_000_000 + 60 * t) for t in range(30)],
}


@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)
def test_the_last_times_follow_from_the_others(texts, tmp_path):
    path, values = tmp_path / "a.csv", np.random.default_rng(0).normal(size=len(texts))
    rows = [f"{text},{value}" for text, value in zip(texts, values, strict=True)]
    path.write_text("\n".join(["time,x", *rows[:-AHEAD], ""]))
    reader = open_series([str(path)], SeriesConfig())
    with reader.read_data() as data:
        ahead = future_times(reader.layout, pa.array(texts[:-AHEAD]), data.step, AHEAD, regular=False)
    assert ahead.cells.cast(pa.string()).to_pylist() == texts[-AHEAD:]


def continued(values, step, **options):
    """The times behind those of a Parquet file."""
    path = options.pop("path")
    pd.DataFrame({"time": values, "x": np.arange(len(values)) % 3}).to_parquet(path)
    reader = open_series([str(path)], SeriesConfig(**options))
    with reader.read_data():
        cells = pa.table({"time": pa.array(values)})["time"].combine_chunks()
        return future_times(reader.layout, cells, step, 3, regular=reader.config.regular)


def test_typed_times_keep_their_type(tmp_path):
    times = pd.date_range("2024-01-01", periods=20, freq="h", tz="Europe/Berlin")
    ahead = continued(times, 3600.0, path=tmp_path / "a.parquet")
    assert ahead.cells.type == pa.array(times).type
    assert ahead.cells.to_pylist() == pd.date_range(times[-1], periods=4, freq="h")[1:].tolist()


def test_rows_taken_as_equally_spaced_skip_the_weekend(tmp_path):
    times = pd.bdate_range("2024-01-01", periods=20)  # ends on a Friday
    for regular, days in ((True, "2024-01-29"), (False, "2024-01-27")):
        ahead = continued(times, 86400.0, path=tmp_path / "a.parquet", regular=regular)
        assert str(ahead.cells[0].as_py())[:10] == days


def test_times_that_leave_the_calendar_are_an_error(tmp_path):
    times = pd.date_range("9990-01-01", periods=8, freq="YS", unit="s")
    with pytest.raises(SeriesError, match=r"3 steps from '9997-01-01.*' are beyond the dates that can be; shorten"):
        continued(times, 365.25 * 86400, path=tmp_path / "a.parquet")


def test_days_keep_the_hour_of_a_local_clock(tmp_path):
    times = pd.date_range("2024-03-10 08:00", "2024-03-30 08:00", tz="Europe/Berlin")
    ahead = continued(times, 86400.0, path=tmp_path / "a.parquet")
    assert [stamp.hour for stamp in ahead.cells.to_pylist()] == [8, 8, 8]
