import csv
import datetime
import gzip
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files.atomic import atomic, require_apart
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.files.table_writer import writer

# what a cell of a CSV file can hold; NUL is left to tests/bad, a lone surrogate is no text
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
CELLS = st.one_of(st.sampled_from(["", "1", "-2.50", ",", ";", '"', "\n", "\r\n", "\r", " ", "nan", "a,b"]), TEXT)
NAMES = st.lists(TEXT.filter(str.strip), min_size=1, max_size=4)
anywhere = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path, *tables, **options):
    with writer(str(path), **options) as output:
        for table in tables:
            output.write(table)


@given(data=st.data(), delimiter=st.sampled_from([",", ";", "\t", "|"]), block_rows=st.integers(1, 5))
@anywhere
def test_what_is_written_as_csv_is_read_again(tmp_path, data, delimiter, block_rows):
    names = [f"c{index} {name}".strip() for index, name in enumerate(data.draw(NAMES))]  # as they are read
    cells = st.lists(CELLS, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(cells, min_size=1, max_size=12))
    columns = [pa.array([cell or None for cell in column], pa.string()) for column in zip(*rows, strict=True)]
    table = pa.table(columns, names)
    path = tmp_path / "a.csv"
    write(path, *(table.slice(start, block_rows) for start in range(0, len(rows), block_rows)), delimiter=delimiter)
    with open(path, newline="") as file:
        assert list(csv.reader(file, delimiter=delimiter)) == [names, *rows]  # the standard library reads the same
    again = open_series([str(path)], SeriesConfig(delimiter=delimiter, no_time=True)).tables(block_rows)
    assert pa.concat_tables(again).equals(table)


@given(rows=st.integers(1, 60), written=st.integers(1, 20), read=st.integers(1, 20), seed=st.integers(0, 99))
@anywhere
def test_what_is_written_as_parquet_is_read_again(tmp_path, rows, written, read, seed):
    generator = np.random.default_rng(seed)
    floats = pa.array(generator.standard_normal(rows), mask=generator.random(rows) < 0.2)
    text = pa.array(generator.choice(["a", "b", ""], rows)).dictionary_encode()
    dates = pa.array(generator.integers(0, 10**9, rows)).cast(pa.timestamp("us", "Europe/Zurich"))
    schema = pa.schema([("x", floats.type), ("x", text.type), ("t", dates.type)], {"owner": "a laboratory"})
    table = pa.Table.from_arrays([floats, text, dates], schema=schema)
    write(tmp_path / "a.parquet", *(table.slice(start, written) for start in range(0, rows, written)))
    again = pa.concat_tables(open_series([str(tmp_path / "a.parquet")], SeriesConfig(no_time=True)).tables(read))
    assert again.to_pydict() == table.to_pydict()
    assert again.unify_dictionaries().equals(table.unify_dictionaries())
    assert again.schema.metadata[b"owner"] == b"a laboratory"


@given(st.lists(st.floats(allow_infinity=False), min_size=2, max_size=20))
@anywhere
def test_floats_in_csv_read_back_to_the_bit(tmp_path, numbers):
    write(tmp_path / "a.csv", pa.table({"x": numbers, "y": numbers}))
    with open(tmp_path / "a.csv") as file:
        again = [float(row["x"] or "nan") for row in csv.DictReader(file)]
    np.testing.assert_array_equal(again, numbers)


def test_cells_of_every_kind_in_csv(tmp_path):
    day = datetime.date(2024, 1, 31)
    table = pa.table({"a": [1, None], "b": [0.1, np.nan], "c": [True, None], "d": [day, None], "e": ['x"', "1,5"]})
    write(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_text() == 'a,b,c,d,e\n1,0.1,true,2024-01-31,"x"""\n,,,,"1,5"\n'
    write(tmp_path / "a.csv", table, decimal=",")
    assert (tmp_path / "a.csv").read_text() == 'a;b;c;d;e\n1;0,1;true;2024-01-31;"x"""\n;;;;1,5\n'
    write(tmp_path / "a.tsv", table.slice(0, 1).select(["a", "b"]))
    assert (tmp_path / "a.tsv").read_text() == "a\tb\n1\t0.1\n"
    with pytest.raises(SeriesError, match=r"column 'z' holds struct<a: int64>, which CSV cannot; write .parquet"):
        write(tmp_path / "b.csv", pa.table({"z": [{"a": 1}]}))
    with pytest.raises(SeriesError, match=r"column 'z' holds struct"):
        write(tmp_path / "b.csv", schema=pa.schema([("z", pa.struct([("a", pa.int64())]))]))
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "a.tsv"]


def test_compressed_csv_has_the_same_bytes_each_time(tmp_path):
    for name in ("a.csv.gz", "b.csv.gz"):
        write(tmp_path / name, pa.table({"a": [1, 2]}))
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert (tmp_path / "a.csv.gz").read_bytes()[4:8] == bytes(4), "no time inside"
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == b"a\n1\n2\n"


def test_stdout_takes_csv(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdout", stream)
    write("-", pa.table({"a": ["x"]}))
    assert stream.buffer.getvalue() == b"a\nx\n"


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_failed_run_leaves_the_old_file(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")

    def fail():
        with writer(str(path)) as output:
            output.write(pa.table({"a": [1, 2]}))
            assert path.read_text() == "old"
            assert len(os.listdir(tmp_path)) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [name]


def test_impossible_targets_are_errors_before_work(tmp_path):
    for path, line in (
        (tmp_path / "no" / "a.csv", f"cannot be written \\(there is no folder '{tmp_path}/no'\\)"),
        (tmp_path, "is a folder, not a file that can be written"),
    ):
        with pytest.raises(SeriesError, match=line), atomic(str(path)):
            pytest.fail("the block was entered")
    with pytest.raises(ConfigError, match=r"a.xlsx: the name ends in none of .csv, .csv.gz, .tsv, .parquet"):
        write(tmp_path / "a.xlsx")


def test_outputs_that_are_one_file_or_an_input_are_errors_however_they_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.csv").symlink_to("a.csv")
    require_apart({"--output": "a.csv", "--segments": "b.csv", "--plot": None}, ["-", "c.csv"])
    with pytest.raises(ConfigError, match=r"--segments is './a.csv', the same file as --output; name another one"):
        require_apart({"--output": "a.csv", "--segments": "./a.csv"})
    with pytest.raises(ConfigError, match=r"--output is 'link.csv', the same file as the input 'a.csv'"):
        require_apart({"--output": "link.csv"}, ["a.csv"])
    with pytest.raises(ConfigError, match=r"--segments is '-', but needs the name of a file"):
        require_apart({"--segments": "-"})


def test_a_full_disk_is_one_line_and_a_closed_pipe_passes(tmp_path):
    line = r"a.csv: cannot be written \(No space left on device\)"
    with pytest.raises(SeriesError, match=line), atomic(str(tmp_path / "a.csv")):
        raise OSError(28, "No space left on device")
    with pytest.raises(BrokenPipeError), atomic(str(tmp_path / "a.csv")):
        raise BrokenPipeError
    assert os.listdir(tmp_path) == []


def test_the_temporary_file_that_another_run_makes_after_our_rename_is_left_alone(tmp_path, monkeypatch):
    def replace_and_start_another(source, target):
        replace(source, target)
        source.write_text("the other run's")

    replace = os.replace
    monkeypatch.setattr("gmvae_cli.files.atomic.os.replace", replace_and_start_another)
    with atomic(str(tmp_path / "a.csv")) as temporary, open(temporary, "w") as file:
        file.write("ours")
    assert (tmp_path / "a.csv").read_text() == "ours"
    assert (tmp_path / ".a.csv.part").read_text() == "the other run's"


def test_a_link_keeps_pointing_and_a_device_stays_one(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write(tmp_path / "link.csv", pa.table({"a": [1]}))
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "a\n1\n"
    with atomic("/dev/null") as path:
        assert path == "/dev/null"


def test_parquet_of_many_blocks_is_one_table(tmp_path):
    write(tmp_path / "a.parquet", *(pa.table({"a": [index], "b": [[index]]}) for index in range(3)))
    assert pq.read_table(tmp_path / "a.parquet").to_pydict() == {"a": [0, 1, 2], "b": [[0], [1], [2]]}
