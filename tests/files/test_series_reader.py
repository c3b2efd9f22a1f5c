import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files.inputs import SUFFIXES, expand
from gmvae_cli.files.series_reader import open_series

BAD = Path(__file__).parent / "bad"
ODD = Path(__file__).parent / "odd"
NAN = np.nan
SEMICOLON = SeriesConfig(delimiter=";")
COMMA = SeriesConfig(decimal=",")

MESSAGES = {
    "ambiguous_time.csv": "row 1: column 'date' holds '01/02/2024', in which day and month may be exchanged; "
    "say which with --time-format, for example %d/%m/%Y; --no-time takes the rows as they come",
    "backwards_time.csv": "row 3: column 't' goes back from '2' to '1'; --sort sorts, --no-time ignores times",
    "blank_lines_only.csv": "is empty; expected a header line and rows",
    "changing_date_format.csv": "row 3: column 'date' holds '02/02/2024', not a date of the form %d.%m.%Y, which the "
    "cells before it have; --time-format FORMAT reads another form; --no-time takes the rows as they come",
    "changing_time.csv": "row 3: column 'date' holds '3', neither a number nor a date like 2024-01-31 12:30:00; "
    "--time-format FORMAT reads dates of another form; --no-time takes the rows as they come",
    "constant.csv": "no channel varies (x0); a model needs one that does",
    "decimal_comma_unsaid.csv": "row 1: column 'x0' holds '1,500', not a number; if ',' groups digits, give "
    "--thousands ,; if it is a decimal comma, give --decimal ,",
    "empty.csv": "is empty; expected a header line and rows",
    "empty_series.csv": "row 2: column 'series' is empty; every row needs a series id",
    "empty_time.csv": "row 2: column 't' is empty; every row needs a time (--no-time takes the rows as they come)",
    "gzip_named.csv": "is gzip; name it .csv.gz",
    "header_only.csv": "holds a header but no row",
    "infinite.csv": "row 2: column 'x1' holds '-inf'; expected a finite number or an empty cell",
    "infinite.parquet": "row 2: column 'x0' holds 'inf'; expected a finite number or an empty cell",
    "latin1.csv": "line 2 is not UTF-8 text; name its encoding, for example --encoding windows-1252",
    "no_header.csv": "the first line holds numbers ('0,1.5,2.5'), not column names; add a header line",
    "no_numbers.csv": "no numeric column can be a channel; columns are: t, name; name channels with --channels",
    "no_rows.parquet": "holds columns but no row",
    "not_gzip.csv.gz": "cannot be read (Not a gzipped file (b't,'))",
    "not_parquet.parquet": "cannot be read (Parquet magic bytes not found in footer. Either the file is corrupted or "
    "this is not a parquet file.)",
    "null_byte.csv": "row 2: column 'x0' holds '\\02', not a number; an empty cell means missing",
    "null_byte_header.csv": "the header holds null bytes; if it is text, name its encoding with --encoding",
    "null_time.parquet": "row 3: column 't' is empty; every row needs a time (--no-time takes the rows as they come)",
    "open_quote.csv": "row 4: column 'x0' holds a line break and what looks like rows behind it; is a quote left open?",
    "ragged_long.csv": "row 3: 4 cells, but the header names 3 columns; is there a stray or an unquoted separator?",
    "ragged_short.csv": "row 2: 2 cells, but the header names 3 columns; is there a stray or an unquoted separator?",
    "repeated_time.csv": "row 3: column 't' repeats '1'; times in a series must differ (--no-time ignores them)",
    "scattered_series.csv": "row 4: series 'a' goes on after another one; --sort puts its rows together",
    "text_in_channel.csv": "row 3: column 'x0' holds 'broken', not a number; an empty cell means missing; "
    "if this text does, give --na-values broken",
    "text_time.csv": "row 1: column 'date' holds 'Monday', neither a number nor a date like 2024-01-31 12:30:00; "
    "--time-format FORMAT reads dates of another form; --no-time takes the rows as they come",
    "thousands_whole.csv": "row 2: column 'x0' holds '1.234', not a number; if '.' groups digits, give --thousands .; "
    "if it is a decimal point, give --decimal .",
    "truncated.csv.gz": "cannot be read (Compressed file ended before the end-of-stream marker was reached)",
    "two_times.csv": "2 columns are named 't'; rename all but one",
}
CONFIGS = {
    "thousands_whole.csv": COMMA,
    "decimal_comma_unsaid.csv": SEMICOLON,
    "decimal_comma.csv": COMMA,
    "odd/semicolons.csv": SEMICOLON,
}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def record(path, config=None, **options):
    """(values, steps, recording) of a whole file."""
    with open_series([str(path)], config or SeriesConfig(**options)).read_data() as data:
        return *data.read(0, data.rows), data


def test_every_bad_file_has_its_line():
    assert sorted(MESSAGES) == sorted(os.listdir(BAD))


@pytest.mark.parametrize("name", MESSAGES)
def test_a_bad_file_is_an_error_of_one_line(name):
    with pytest.raises(SeriesError) as failure:
        record(BAD / name, CONFIGS.get(name, SeriesConfig()))
    assert str(failure.value) == f"{BAD / name}: {MESSAGES[name]}"


@pytest.mark.parametrize("name", sorted(os.listdir(ODD)))
def test_odd_file_holds_the_same_three_rows(name):
    config = (
        CONFIGS.get(f"odd/{name}", CONFIGS.get(name, SeriesConfig())) if "semi" in name or "comma" in name else None
    )
    values, steps, data = record(ODD / name, config)
    np.testing.assert_array_equal(values, [[1, 2], [NAN, 3], [4, 5]])
    np.testing.assert_array_equal(steps, [0, 1, 1])
    assert data.channels == ("x0", "x1")
    assert data.missing.tolist() == [1, 0]
    is_date = any(word in name for word in ("date", "zone", "stamp"))
    assert (data.step, data.time_unit) == ((86400, "seconds") if is_date else (1, "units"))


@pytest.mark.parametrize("name", sorted(path.name for path in ODD.glob("*.parquet")))
def test_parquet_cells_types_and_metadata_come_back(name):
    whole = pq.ParquetFile(ODD / name).read()
    tables = list(open_series([str(ODD / name)], SeriesConfig()).tables(block_rows=2))
    assert [table.num_rows for table in tables] == [2, 1]
    assert pa.concat_tables(tables).equals(whole)
    assert tables[0].schema.equals(whole.schema, check_metadata=True)


def test_csv_cells_come_back_as_text():
    reader = open_series([str(ODD / "text_beside.csv")], SeriesConfig())
    (table,) = reader.tables()
    assert table.to_pydict() == {
        "t": ["0", "1", "2"],
        "note": ['a, "b"\nc', None, "'d"],
        "x0": ["1", None, "4"],
        "x1": ["2", "3", "5"],
    }


def test_typed_tables_turn_text_into_numbers_and_dates(tmp_path):
    path = write(tmp_path / "a.csv", "date;x0;note\n2024-01-31;1,5;7\n2024-02-01;;8\n")
    reader = open_series([path], COMMA)
    (table,) = reader.tables(typed=True)
    assert [str(kind) for kind in table.schema.types] == ["timestamp[us]", "double", "double"]
    assert table["x0"].to_pylist() == [1.5, None]


def test_typed_times_are_of_one_type_though_the_first_are_whole(tmp_path):
    rows = "".join(f"{index}{'.5' if index == 150_000 else ''},{index % 7}\n" for index in range(150_001))
    reader = open_series([write(tmp_path / "a.csv", "t,x0\n" + rows)], SeriesConfig())
    with reader.read_data() as data:
        assert data.holes == 0
    tables = list(reader.tables(100_000, typed=True))
    assert {table.schema.field("t").type for table in tables} == {pa.float64()}


def test_integers_beyond_doubles_keep_their_digits(tmp_path):
    pq.write_table(pa.table({"t": [2**60, 2**60 + 1, 2**60 + 3], "x0": [2**53 + 1, 1, 2]}), tmp_path / "a.parquet")
    _, steps, _ = record(tmp_path / "a.parquet")
    assert steps.tolist() == [0, 1, 2]
    (table,) = open_series([str(tmp_path / "a.parquet")], SeriesConfig()).tables()
    assert table["x0"].to_pylist() == [2**53 + 1, 1, 2]


@pytest.mark.parametrize(
    ("header", "options", "time", "series", "channels"),
    [
        pytest.param("a,b", {}, None, None, ("a", "b"), id="plain"),
        pytest.param("date,T,a", {}, "date", None, ("a",), id="first time name wins, the other stays reserved"),
        pytest.param("t,a,Time", {}, "Time", None, ("a",), id="order of names, not of columns"),
        pytest.param("t,a", {"no_time": True}, None, None, ("a",), id="no time, yet reserved"),
        pytest.param("t,a", {"channels": ("t",)}, None, None, ("t",), id="named as a channel, so no time"),
        pytest.param("a,b,c", {"time": "a", "series": "c"}, "a", "c", ("b",), id="named"),
        pytest.param("series,a", {}, None, "series", ("a",), id="series by its name"),
        pytest.param("a,regime,true_regime,segment,prob_0,log_likelihood", {}, None, None, ("a",), id="reserved"),
        pytest.param("a,regime", {"channels": ("regime", "a")}, None, None, ("regime", "a"), id="reserved but named"),
        pytest.param(",a", {}, None, None, ("a",), id="column without a name"),
    ],
)
def test_columns_have_their_roles(tmp_path, header, options, time, series, channels):
    path = write(tmp_path / "a.csv", header + "\n" + ",".join("1" * len(header.split(","))) + "\n")
    layout = open_series([path], SeriesConfig(**options)).layout
    assert (layout.time, layout.series, layout.channels) == (time, series, channels)
    assert layout.columns == tuple(header.split(","))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"channels": ("temp",)}, SeriesError, "no column 'temp'; columns are: t, x0, x0, b"),
        ({"channels": ("x0",)}, SeriesError, "2 columns are named 'x0'; rename all but one"),
        ({"time": "when"}, SeriesError, "no column 'when'; columns are: t, x0, x0, b"),
        ({"time": "b", "series": "b"}, ConfigError, "'b' is named as --time and as --series"),
        ({"time": "b", "channels": ("b",)}, ConfigError, "--channels names 'b', which is the time or series column"),
    ],
)
def test_impossible_roles_are_errors(tmp_path, options, kind, message):
    path = write(tmp_path / "a.csv", "t,x0,x0,b\n0,1,2,3\n")
    with pytest.raises(kind, match=message):
        open_series([path], SeriesConfig(**options))


def test_named_text_and_boolean_columns_of_parquet_are_channels(tmp_path):
    pq.write_table(pa.table({"a": ["1", None, "nan"], "b": [True, None, False]}), tmp_path / "a.parquet")
    values, _, _ = record(tmp_path / "a.parquet", channels=("b",))
    np.testing.assert_array_equal(values, [[1], [NAN], [0]])
    with pytest.raises(SeriesError, match=r"no channel varies \(a\)"):
        record(tmp_path / "a.parquet", channels=("a",))


def test_text_far_below_the_first_block_is_named_by_its_row(tmp_path):
    rows = "".join(f"{index},{index % 7}\n" for index in range(300_000))
    path = write(tmp_path / "a.csv", "t,x0\n" + rows + "300000,broken\n")
    with pytest.raises(SeriesError, match=r"row 300001: column 'x0' holds 'broken'"):
        record(path)
    with pytest.raises(SeriesError, match=r"row 300002: 3 cells, but the header names 2 columns"):
        record(write(tmp_path / "b.csv", "t,x0\n" + rows + "300000,1\n1,2,3\n"))


def test_the_first_row_that_cannot_be_used_is_named_whatever_its_column(tmp_path):
    path = write(tmp_path / "a.csv", "t,x0,x1\n0,1,2\n1,2,inf\n2,broken,3\n2,4,5\n")
    with pytest.raises(SeriesError, match=r"row 2: column 'x1' holds 'inf'"):
        record(path)


def test_a_time_that_is_nan_is_empty(tmp_path):
    pq.write_table(pa.table({"t": [0.0, NAN, 2.0], "x0": [1.0, 2.0, 3.0]}), tmp_path / "a.parquet")
    with pytest.raises(SeriesError, match=r"row 2: column 't' is empty; every row needs a time"):
        record(tmp_path / "a.parquet")


def test_empty_column_is_left_aside_with_a_note(tmp_path):
    path = write(tmp_path / "a.csv", "x0,x1\n1,\n2,\n")
    _, _, data = record(path)
    assert data.channels == ("x0",)
    assert [code for code, _ in data.notes] == ["empty_column"]


def test_constant_channels_are_left_out_unless_kept(tmp_path):
    reader = open_series([write(tmp_path / "a.csv", "x0,x1,x2\n1,5.1,3\n2,5.1,4\n4,,3\n")], SeriesConfig())
    with reader.read_data() as data:
        assert data.channels == ("x0", "x2")
        assert data.notes == [("constant_channel", "channel 'x1' is constant and is left out")]
        np.testing.assert_array_equal(data.read(1, 3)[0], [[2, 4], [4, 3]])
        np.testing.assert_allclose(data.mean, [7 / 3, 10 / 3])
    with reader.read_data(keep_constant=True) as data:
        assert data.channels == ("x0", "x1", "x2")
        assert (data.mean[1], data.scale[1], data.notes) == (5.1, 1.0, [])


def test_series_restart_and_sort_puts_them_in_order(tmp_path):
    path = write(tmp_path / "a.csv", "series,t,x0\nb,2,1\na,1,2\nb,1,3\na,3,4\na,2,5\n")
    with pytest.raises(SeriesError, match=r"row 3: series 'b' goes on after another one; --sort"):
        record(path)
    values, steps, data = record(path, sort=True)
    assert values[:, 0].tolist() == [3, 1, 2, 5, 4]
    assert steps.tolist() == [0, 1, 0, 1, 1]
    assert data.num_series == 2
    (table,) = open_series([path], SeriesConfig(sort=True)).tables()
    assert table["x0"].to_pylist() == ["3", "1", "2", "5", "4"]
    (labels,) = open_series([path], SeriesConfig(sort=True)).labels(["x0"])
    assert labels.to_pydict() == {"x0": ["3", "1", "2", "5", "4"], "series": ["b", "b", "a", "a", "a"]}


def test_sorting_keeps_categories_of_several_files(tmp_path):
    for name, ids, times in (("a", ["u", "v"], [3, 2]), ("b", ["v", "u"], [1, 1])):
        ids = pa.array(ids).dictionary_encode()
        pq.write_table(pa.table({"series": ids, "t": times, "x0": [1.0 * times[0], 2.0]}), tmp_path / f"{name}.parquet")
    (table,) = open_series([str(tmp_path)], SeriesConfig(sort=True)).tables()
    assert table["series"].to_pylist() == ["u", "u", "v", "v"]
    assert table["t"].to_pylist() == [1, 3, 1, 2]
    assert pa.types.is_dictionary(table.schema.field("series").type)


def test_sorted_rows_are_named_as_in_the_file(tmp_path):
    path = write(tmp_path / "a.csv", "t,x0\n5,1\n3,2\n1,broken\n4,2\n")
    with pytest.raises(SeriesError, match=r"a.csv: row 3: column 'x0' holds 'broken'"):
        record(path, sort=True)
    path = write(tmp_path / "b.csv", "t,x0\n5,1\n3,2\n5,7\n4,2\n")
    with pytest.raises(SeriesError, match=r"b.csv: row 3: column 't' repeats '5'"):
        record(path, sort=True)


def test_files_without_series_column_are_series_of_their_own(tmp_path):
    paths = [write(tmp_path / f"{name}.csv", "t,x0\n0,1\n1,2\n") for name in "ba"]
    reader = open_series(paths, SeriesConfig())
    with reader.read_data() as data:
        assert data.read(0, 4)[1].tolist() == [0, 1, 0, 1]
        assert (data.num_series, data.rows) == (2, 4)
    assert reader.paths == tuple(sorted(paths))
    (labels,) = reader.labels(["x0"])
    assert labels["series"].to_pylist() == [path for path in sorted(paths) for _ in range(2)]


def test_an_id_goes_on_in_the_next_file_but_does_not_come_back(tmp_path):
    for name, rows in (("a", "s,0,1\n"), ("b", "s,1,2\nr,0,1\n"), ("c", "s,2,3\n")):
        write(tmp_path / "in" / f"{name}.csv", "series,t,x0\n" + rows)
    folder = tmp_path / "in"
    with open_series([str(folder / "[ab].csv")], SeriesConfig()).read_data() as data:
        assert data.read(0, 3)[1].tolist() == [0, 1, 0]
    with pytest.raises(SeriesError, match=r"c.csv: row 1: series 's' goes on after another one"):
        open_series([str(folder)], SeriesConfig()).read_data()
    with open_series([str(folder)], SeriesConfig(sort=True)).read_data() as data:
        assert data.read(0, 4)[0][:, 0].tolist() == [1, 2, 3, 1]


def test_key_value_folders_become_columns(tmp_path):
    for series in ("1", "2"):
        write(tmp_path / f"series={series}" / "site=a%20b" / "part.csv", "t,x0\n0,1\n1,2\n")
    reader = open_series([str(tmp_path)], SeriesConfig())
    assert reader.layout.columns == ("t", "x0", "series", "site")
    assert (reader.layout.series, reader.layout.channels) == ("series", ("x0",))
    (table,) = reader.tables()
    assert table["series"].to_pylist() == ["1", "1", "2", "2"]
    assert set(table["site"].to_pylist()) == {"a b"}
    with reader.read_data() as data:
        assert data.num_series == 2


def test_files_of_one_table_need_its_columns(tmp_path):
    paths = [write(tmp_path / "a.csv", "t,x0,n\n0,1,a\n1,2,b\n"), write(tmp_path / "b.csv", "x0,t\n1,0\n2,1\n")]
    reader = open_series(paths, SeriesConfig())
    with reader.read_data() as data:
        assert data.rows == 4
    with pytest.raises(SeriesError, match=r"b.csv: its columns differ from those of .*a.csv in: n"):
        list(reader.tables())
    write(tmp_path / "b.csv", "t,x1\n0,1\n")
    with pytest.raises(SeriesError, match=r"b.csv: no column 'x0'; columns are: t, x1"):
        open_series(paths, SeriesConfig())


def test_expand_names_files_in_order_and_where_results_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("d/b.csv", "d/a.parquet", "d/e/c.csv.gz", "d/.hidden.csv", "d/_log.csv", "d/notes.txt"):
        write(Path(name), "")
    assert [(file.path, file.relative) for file in expand(["d"])] == [
        ("d/a.parquet", "a.parquet"),
        ("d/b.csv", "b.csv"),
        ("d/e/c.csv.gz", "e/c.csv.gz"),
    ]
    assert [file.relative for file in expand(["d/[a-z]*.csv"])] == ["b.csv"]
    assert [file.relative for file in expand(["d/b.csv", "d/e/c.csv.gz", "./d/b.csv"])] == ["b.csv", "e/c.csv.gz"]
    for bad, line in (("d/*.tsv", "no .* file matches"), ("d/e/f", "there is no such file")):
        with pytest.raises(SeriesError, match=line):
            open_series([bad], SeriesConfig())
    with pytest.raises(SeriesError, match=r"notes.txt: the name ends in none of .csv, .csv.gz, .tsv, .parquet"):
        open_series(["d/notes.txt"], SeriesConfig())
    with pytest.raises(ConfigError, match="cannot be read beside other inputs"):
        expand(["-", "d"])
    os.mkdir("none")
    with pytest.raises(SeriesError, match=f"none: the folder holds no {', '.join(SUFFIXES)} file"):
        expand(["none"])


def test_stdin_is_read_twice_even_at_once(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"t,x0\n0,1\n1,3\n")))
    reader = open_series(["-"], SeriesConfig())
    with reader.read_data() as data:
        assert data.name == "stdin"
        assert data.rows == 2
    for left, right in zip(reader.tables(1), reader.labels(["x0"], 1), strict=True):
        assert left["x0"].to_pylist() == right["x0"].to_pylist()


def test_labels_are_text_and_empty_where_there_is_none(tmp_path):
    path = write(tmp_path / "a.csv", "series,true_regime,regime\nu,walk,0\nu,,1\nv,NaN,0\n")
    (labels,) = open_series([path], SeriesConfig()).labels(["true_regime", "regime"])
    assert labels.to_pydict() == {
        "true_regime": ["walk", None, None],
        "regime": ["0", "1", "0"],
        "series": ["u", "u", "v"],
    }
    pq.write_table(pa.table({"true_regime": [1.0, NAN], "regime": pa.array(["a", "b"]).dictionary_encode()}), path[:-3])
    os.rename(path[:-3], path := str(tmp_path / "a.parquet"))
    (labels,) = open_series([path], SeriesConfig()).labels(["true_regime", "regime"])
    assert labels.to_pydict() == {"true_regime": ["1", None], "regime": ["a", "b"], "series": [path, path]}
    with pytest.raises(SeriesError, match="no column 'truth'; columns are: true_regime, regime"):
        list(open_series([path], SeriesConfig()).labels(["truth"]))


def test_a_compressed_file_reads_as_its_text_does(tmp_path):
    text = "t,x0\n" + "".join(f"{index},{index * 7919 % 1013}\n" for index in range(200_000))
    write(tmp_path / "a.csv", text)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    for left, right in zip(record(tmp_path / "a.csv")[:2], record(tmp_path / "b.csv.gz")[:2], strict=True):
        np.testing.assert_array_equal(left, right)


def test_line_breaks_in_cells_survive_block_borders(tmp_path, monkeypatch):
    monkeypatch.setattr("gmvae_cli.files.csv_table.CSV_BLOCK_BYTES", 100)
    notes = ["line\n" * (index % 5) + str(index) for index in range(500)]
    path = write(tmp_path / "a.csv", "note,x0\n" + "".join(f'"{note}",{index}\n' for index, note in enumerate(notes)))
    (table,) = open_series([path], SeriesConfig()).tables()
    assert table["note"].to_pylist() == notes


def test_an_empty_line_of_a_single_column_is_a_missing_value(tmp_path):
    values, _, _ = record(write(tmp_path / "a.csv", "x0\n1\n\n3\n"))
    np.testing.assert_array_equal(values, [[1], [NAN], [3]])


def test_a_quote_left_open_in_a_large_file_is_named(tmp_path):
    rows = "".join(f"{index},{index % 7}\n" for index in range(400_000))
    with pytest.raises(SeriesError, match="a row is longer than a megabyte; is a quote left open"):
        record(write(tmp_path / "a.csv", "t,x0\n" + rows[:5_000_000].replace("77,0\n", '77,"0\n', 1)))


def test_text_that_is_not_utf8_is_named_wherever_it_stands(tmp_path):
    rows = "".join(f"{index},a,{index % 7}\n" for index in range(300_000))
    (tmp_path / "a.csv").write_bytes(f"t,note,x0\n{rows}300000,Köln,1\n".encode("latin1"))
    with pytest.raises(SeriesError, match="is not UTF-8 text"):
        record(tmp_path / "a.csv")


def test_a_csv_file_too_large_for_the_disk_is_an_error_before_it_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", "t,x0,x1\n" + "".join(f"{row},1.5,{row % 7}\n" for row in range(20_000)))
    reader = open_series([path], SeriesConfig())
    assert 0.8 < reader._tables[0].likely_rows / 20_000 < 1.2
    monkeypatch.setattr("gmvae_cli.files.series_reader.MEMORY_BYTES", 1)
    seen = []
    monkeypatch.setattr(
        "gmvae_cli.files.series_reader.require_free", lambda folder, nbytes: seen.append((reader.rows, nbytes))
    )
    reader.read_data(str(tmp_path)).close()
    assert seen[0][0] is None
    assert 0.6 < seen[0][1] / (20_000 * 3 * 8) <= 1, "careful: no more than what will be needed"


ABANDON = """
import sys
from gmvae_cli.config import SeriesConfig
from gmvae_cli.files.inputs import expand
from gmvae_cli.files.table_reader import open_table
table = open_table(expand(sys.argv[1:])[0], SeriesConfig())
for _ in range(5):
    assert table.first_block.num_rows  # abandons what Arrow's threads read ahead
    del table.first_block
blocks = table.blocks()
next(blocks)  # abandoned while the interpreter ends
"""


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "-"])
def test_a_reading_abandoned_early_neither_hangs_nor_aborts_the_process(tmp_path: Path, name: str) -> None:
    """Arrow reads tens of megabytes ahead in threads of its own."""
    text = b"t,x0\n" + b"".join(b"%d,0.123456\n" % row for row in range(1_000_000))
    (tmp_path / "a.csv").write_bytes(text)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text, 1))
    for _ in range(3):
        with open(tmp_path / "a.csv", "rb") as stdin:
            done = subprocess.run(
                [sys.executable, "-c", ABANDON, name], cwd=tmp_path, stdin=stdin, capture_output=True, timeout=60
            )
        assert (done.returncode, done.stderr) == (0, b"")
