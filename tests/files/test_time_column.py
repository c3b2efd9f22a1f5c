import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.cells import NumberFormat
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.files.time_column import TimeReader, find_times
from gmvae_cli.recognition import time_forms
from gmvae_cli.recognition.time_forms import guess_date_formats, parse_dates

ODD = Path(__file__).parent / "odd"
UTC = datetime.UTC


def read(cells, decimal="."):
    """(ticks per second, whole list) of a column of text; an AssertionError with the sentence where there is one."""
    problems = []
    times = find_times(pa.array(cells), "when", TimeReader(NumberFormat(decimal=decimal)), problems)
    assert not problems, problems
    return times.per_unit, times.ticks.tolist()


def failure(*blocks):
    """(row, what is wrong with it) in the last of several blocks, the others being read before."""
    reader, problems = TimeReader(), []
    for block in blocks:
        assert not problems
        find_times(pa.array(block), "when", reader, problems)
    ((row, sentence),) = problems
    return row, sentence


def moment(*parts, zone=UTC):
    return int(datetime.datetime(*parts, tzinfo=zone).timestamp())


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("31.01.2024 12:00", (2024, 1, 31, 12)),
        ("31.1.2024 8:05", (2024, 1, 31, 8, 5)),
        ("01/31/2024", (2024, 1, 31)),
        ("01/31/2024 1:05 PM", (2024, 1, 31, 13, 5)),
        ("01/31/2024 12:05:09am", (2024, 1, 31, 0, 5, 9)),
        ("2024/01/31 12:00", (2024, 1, 31, 12)),
        ("2024/01/02 12:00", (2024, 1, 2, 12)),
        ("2024-1-5 3:04", (2024, 1, 5, 3, 4)),
        ("20240131T120000", (2024, 1, 31, 12)),
        ("31-Jan-2024 12:00", (2024, 1, 31, 12)),
        (" 31.01.2024 12:00 ", (2024, 1, 31, 12)),
        ("2024-01-31 12:00:00 +0200", (2024, 1, 31, 10)),
        ("31.01.2024 12:00:00Z", (2024, 1, 31, 12)),
    ],
)
def test_dates_that_are_not_iso_are_the_moments_they_name(cell, expected):
    assert read([cell]) == (10**6, [moment(*expected) * 10**6])


def test_offsets_may_change_from_row_to_row():
    _, ticks = read(["31.03.2024 01:59:00 +0100", "31.03.2024 03:00:00 +0200"])
    assert ticks == [moment(2024, 3, 31, 0, 59) * 10**6, moment(2024, 3, 31, 1) * 10**6]


def test_fractions_of_a_second_are_exact():
    assert read(["31.01.2024 12:00:00.000001"]) == (10**6, [moment(2024, 1, 31, 12) * 10**6 + 1])
    assert read(["31.01.2024 12:00:00.123456789"]) == (10**9, [moment(2024, 1, 31, 12) * 10**9 + 123456789])
    assert read(["31.01.2024 12:00:00,25"], decimal=",") == (10**6, [moment(2024, 1, 31, 12) * 10**6 + 250_000])


def test_a_later_date_settles_which_number_is_the_day():
    _, ticks = read(["01/02/2024", "12/02/2024", "13/02/2024"])
    assert ticks == [moment(2024, 2, day) * 10**6 for day in (1, 12, 13)]
    _, ticks = read(["01/02/2024", "01/13/2024"])
    assert ticks == [moment(2024, 1, day) * 10**6 for day in (2, 13)]


def test_later_blocks_keep_the_format_of_the_first():
    reader, problems = TimeReader(), []
    find_times(pa.array(["30.01.2024", "31.01.2024"]), "when", reader, problems)
    times = find_times(pa.array(["01.02.2024"]), "when", reader, problems)
    assert times.ticks.tolist() == [moment(2024, 2, 1) * 10**6]
    assert not problems
    assert failure(["30.01.2024"], ["01.02.2024", "2024-02-02"])[0] == 1
    assert failure(["2024-01-30"], ["31.01.2024"])[0] == 0
    assert failure(["1", "2"], ["31.01.2024"])[0] == 0


@pytest.mark.parametrize("word", ["now", "today", "31.02.2024", "2024-01-31", "7", "31.01.24"])
def test_a_cell_of_another_form_is_named_by_its_row(word):
    row, sentence = failure(["30.01.2024", "31.01.2024", word, "01.02.2024"])
    assert row == 2
    assert f"column 'when' holds '{word.strip()}', not a date of the form %d.%m.%Y" in sentence


@pytest.mark.parametrize("word", ["nan", "NaT", " ", "None", "NA", "?"])
def test_a_time_that_is_missing_is_named_by_its_row(word):
    row, sentence = failure(["30.01.2024", "31.01.2024", word, "01.02.2024"])
    assert row == 2
    assert f"column 'when' holds '{word.strip()}', which means missing; every row needs a time" in sentence


def test_day_and_month_that_could_be_exchanged_are_an_error_that_says_what_to_do():
    row, sentence = failure(["01/02/2024", "02/03/2024"])
    assert row == 0
    assert "'01/02/2024', in which day and month may be exchanged" in sentence
    assert "--time" in sentence
    assert "--no-time" in sentence
    assert failure(["01/02/2024", "02/03/2024", "13/14/2024"])[0] == 2


def test_a_year_in_front_is_followed_by_the_month():
    assert guess_date_formats("2024-1-5 3:04") == ["%Y-%m-%d %H:%M"]
    assert guess_date_formats("2024.31.01") == []


@pytest.mark.parametrize("word", ["n/a", "", "12:30", "31.01.2024 25:00", "PM", "31.01.2024 PM", "x5"])
def test_text_without_a_known_format_has_none(word):
    assert guess_date_formats(word) == []


def test_cells_that_are_no_dates_are_not_parsed():
    for cell in ("now", "today", "nan", ""):
        assert parse_dates(pa.array(["31.01.2024", cell]), "%d.%m.%Y") is None


def test_a_file_of_such_dates_is_read_and_written_in_both_formats(tmp_path):
    days = [(datetime.date(2023, 12, 20) + datetime.timedelta(days=row)).strftime("%d.%m.%Y") for row in range(40)]
    (tmp_path / "a.csv").write_text("date,x0\n" + "".join(f"{day},{row % 7}\n" for row, day in enumerate(days)))
    reader = open_series([str(tmp_path / "a.csv")], SeriesConfig())
    with reader.read_data() as data:
        assert (data.step, data.time_unit, data.holes) == (86400, "seconds", 0)
    (table,) = reader.tables()
    assert table["date"].to_pylist() == days
    (table,) = reader.tables(typed=True)
    assert table.schema.field("date").type == pa.timestamp("us")
    assert np.array_equal(table["date"].to_numpy(), np.datetime64("2023-12-20") + np.arange(40))
    (tmp_path / "a.csv").write_text("date,x0\n" + "".join(f"{day},{row % 7}\n" for row, day in enumerate(days[::-1])))
    with pytest.raises(SeriesError, match=r"row 2: column 'date' goes back from '28.01.2024' to '27.01.2024'"):
        open_series([str(tmp_path / "a.csv")], SeriesConfig()).read_data()
    with open_series([str(tmp_path / "a.csv")], SeriesConfig(sort=True)).read_data() as data:
        assert data.holes == 0


@pytest.mark.parametrize(
    "name", ["dates.csv", "dates_zone.csv", "spaces.csv", "cr.csv", "timestamps.parquet", "zones.parquet"]
)
def test_iso_dates_and_numbers_need_no_format(monkeypatch, name):
    monkeypatch.setattr(time_forms, "guess_date_formats", lambda cell: pytest.fail(f"a format for '{cell}'"))
    reader = open_series([str(ODD / name)], SeriesConfig())
    reader.read_data().close()
    list(reader.tables(typed=True))
