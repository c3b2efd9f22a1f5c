"""Files at s3://, against a server on loopback: `make test-s3`."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.fs
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from s3_server import Server

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.files import table_reader
from gmvae_cli.files.atomic import atomic
from gmvae_cli.files.inputs import InputFile, expand
from gmvae_cli.files.table_writer import writer
from gmvae_cli.system import storage

pytestmark = pytest.mark.s3


def keys(bucket):
    """The keys of a bucket, without the names of folders that Arrow leaves."""
    system, base = pyarrow.fs.FileSystem.from_uri(bucket)
    infos = system.get_file_info(pyarrow.fs.FileSelector(base, recursive=True))
    return sorted(info.path.removeprefix(f"{base}/") for info in infos if info.is_file)


def content(url):
    with storage.open_binary(url) as file:
        return file.read()


def put(url, data):
    with atomic(url) as local, open(local, "wb") as file:
        file.write(data)


@pytest.fixture
def series(run, tmp_path, bucket):
    """A folder with t.csv and model.safetensors, which lie in the bucket as well."""
    for folder in (str(tmp_path), bucket):
        truth = ("--truth", f"{folder}/model.safetensors")
        assert run("simulate", f"{folder}/t.csv", "--steps", 300, *truth, "--quiet").exit_code == 0
    return tmp_path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_results_have_the_bytes_of_local_ones(run, series, bucket, suffix):
    for place in (str(series), bucket):
        segment = ("segment", f"{place}/t.csv", "--output", f"{place}/s{suffix}", "--model", f"{place}/m.safetensors")
        train = ("train", f"{place}/s{suffix}", "--model", f"{place}/m2.safetensors", "--steps", 5, "--restarts", 1)
        infer = ("infer", f"{place}/s{suffix}", "--model", f"{place}/m2.safetensors", "--output", f"{place}/i{suffix}")
        for arguments in ((*segment, "--regimes", 2, "--plot", f"{place}/p.png"), train, infer):
            result = run(*arguments)
            assert result.exit_code == 0, result.output
    names = ["i" + suffix, "m.safetensors", "m2.safetensors", "model.safetensors", "s" + suffix, "t.csv"]
    assert keys(bucket) == sorted([*names, "p.png"])
    for name in names:
        assert content(f"{bucket}/{name}") == (series / name).read_bytes(), name


def test_a_folder_of_results(run, series, bucket):
    for name in ("in/1.csv", "in/2.csv", "in/site=A/3 #.csv"):
        put(storage.joined(bucket, name), (series / "t.csv").read_bytes())
    result = run("infer", f"{bucket}/in", "--model", f"{bucket}/model.safetensors", "--output", f"{bucket}/out")
    assert result.exit_code == 0, result.output
    written = [key for key in keys(bucket) if key.startswith("out/")]
    assert written == ["out/1.csv", "out/2.csv", "out/_SUCCESS.json", "out/site=A/3 #.csv"]
    assert json.loads(content(f"{bucket}/out/_SUCCESS.json")) == {"files": 3, "rows": 900, "skipped": 0}
    again = run("infer", f"{bucket}/in/**/*.csv", "--model", f"{bucket}/model.safetensors", "--output", f"{bucket}/out")
    assert again.exit_code == 0
    arguments = ("--model", f"{bucket}/model.safetensors", "--output", f"{bucket}/out", "--skip-existing", "--json")
    assert json.loads(run("infer", f"{bucket}/in", *arguments).stdout)["skipped"] == 3


def test_one_request_lists_a_thousand_objects(server, bucket):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(server.put, [f"{bucket[5:]}/days/{number % 3}/log_{number}.csv" for number in range(1200)]))
    for pattern, number, requests in (("days", 1200, 2), ("days/**/*.csv", 1200, 2), ("days/1/log_*.csv", 400, 1)):
        before = len(server.requests())
        files = expand([f"{bucket}/{pattern}"])
        assert len(files) == number
        made = server.requests()[before:]
        assert len([request for request in made if "max-keys=1000" in request]) == requests
        assert len(made) <= requests + 3
    assert [file.relative for file in files[:3]] == ["log_1.csv", "log_4.csv", "log_7.csv"]


def test_a_block_that_fails_publishes_nothing(bucket):
    put(f"{bucket}/a/x.parquet", b"old")
    table = pa.table({"x": range(100_000)})
    seen = []

    def write_and_fail(rows):
        rows.write(table)
        rows.write(table)
        seen.extend(keys(bucket))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), writer(f"{bucket}/a/x.parquet") as rows:
        write_and_fail(rows)
    assert seen == ["a/.x.parquet.part", "a/x.parquet"]
    assert keys(bucket) == ["a/x.parquet"]
    assert content(f"{bucket}/a/x.parquet") == b"old"


def test_an_upload_that_is_cut_publishes_nothing(bucket, monkeypatch):
    monkeypatch.setattr(storage.shutil, "copyfileobj", lambda source, target, _: target.write(source.read()[:-1]))
    with pytest.raises(SeriesError, match="2 of 3 bytes arrived"):
        put(f"{bucket}/x.csv", b"abc")
    assert keys(bucket) == []


def test_an_upload_that_is_interrupted_publishes_nothing(bucket, monkeypatch):
    def interrupt(source, target, _):
        target.write(source.read()[:-1])
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.shutil, "copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        put(f"{bucket}/x.csv", b"abc")
    assert keys(bucket) == []


def test_a_large_file_goes_in_parts(bucket):
    data = bytes(range(256)) * (60 << 10)
    put(f"{bucket}/x.bin", data)
    assert content(f"{bucket}/x.bin") == data
    assert storage.size(f"{bucket}/x.bin") == len(data)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("BUCKET/absent.csv", "there is no such file"),
        ("BUCKET/absent/*.csv", "holds or matches no"),
        ("s3://no-such-bucket/x.csv", "there is no such bucket"),
        ("s3://no-such-bucket/*.csv", "there is no such bucket"),
    ],
)
def test_inputs_that_are_not_there(rejection, series, bucket, url, words):
    url = url.replace("BUCKET", bucket)
    line = rejection("infer", url, "--model", f"{bucket}/model.safetensors", "--output", "-", status=1)
    assert line.startswith(f"{url}: {words}")


def test_outputs_that_cannot_be_written_are_errors_before_long_work(rejection, series, bucket):
    for output in ("s3://no-such-bucket/o.csv", "s3://no-such-bucket"):
        arguments = ("--model", f"{bucket}/model.safetensors", "--output", output)
        line = rejection("infer", f"{bucket}/t.csv", *arguments, status=2 if output.endswith("bucket") else 1)
        assert line.startswith(output)
    line = rejection("segment", f"{bucket}/t.csv", "--output", "-", "--model", "s3://no-such-bucket/m", status=1)
    assert line == "s3://no-such-bucket/m: there is no such bucket"


def test_a_server_that_is_gone_is_one_line(rejection, series, credentials, tmp_path, monkeypatch):
    gone = Server(tmp_path / "log")
    gone.wait()
    gone.put("data")
    monkeypatch.setenv("AWS_ENDPOINT_URL", gone.address)
    storage._opened.cache_clear()
    put("s3://data/t.csv", (series / "t.csv").read_bytes())
    gone.stop()
    arguments = ("--model", series / "model.safetensors", "--output", "-", "--quiet")
    line = rejection("infer", "s3://data/t.csv", *arguments, status=1)
    assert line.startswith("s3://data/t.csv: cannot be read (no connection, after several tries; check the network")


def test_a_server_that_goes_while_a_file_is_written(rejection, series, credentials, tmp_path, monkeypatch):
    from gmvae_cli.outputs.label_table import TableLabels

    going = Server(tmp_path / "log")
    going.wait()
    going.put("data")
    monkeypatch.setenv("AWS_ENDPOINT_URL", going.address)
    storage._opened.cache_clear()
    write = TableLabels.write

    def write_and_stop(*arguments):
        write(*arguments)
        going.stop()

    monkeypatch.setattr(TableLabels, "write", write_and_stop)
    arguments = ("--model", series / "model.safetensors", "--output", "s3://data/o.csv", "--quiet")
    line = rejection("infer", series / "t.csv", *arguments, status=1)
    assert line.startswith("s3://data/o.csv: cannot be written (no connection")


def test_only_the_columns_that_are_used_travel(bucket, tmp_path, monkeypatch):
    table = pa.table({f"x{column}": pa.array(range(column, column + 200_000)) for column in range(8)})
    read = []

    class Counted:
        """A file that counts the bytes read."""

        def __init__(self, file):
            self.file, self.closed = file, False

        def read(self, nbytes=None):
            data = self.file.read(nbytes)
            read.append(len(data))
            return data

        read_buffer = read

        def __getattr__(self, name):
            return getattr(self.file, name)

    whole = storage.open_native
    monkeypatch.setattr(table_reader, "open_native", lambda path: pa.PythonFile(Counted(whole(path)), mode="r"))
    pq.write_table(table, tmp_path / "x.parquet", use_dictionary=False, row_group_size=50_000)
    with pa.ipc.new_file(tmp_path / "x.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=50_000)
    for name in ("x.parquet", "x.arrow"):
        put(f"{bucket}/{name}", (tmp_path / name).read_bytes())
        read.clear()
        reader = table_reader.open_table(InputFile(path=f"{bucket}/{name}", relative=name), SeriesConfig())
        blocks = list(reader.blocks(["x5"]))
        assert pa.concat_tables(blocks).equals(table.select(["x5"]))
        assert sum(read) < (tmp_path / name).stat().st_size / 4, name


def test_an_option_of_a_url_names_the_server(server, bucket, monkeypatch):
    put(f"{bucket}/x.csv", b"t,x\n0,1\n")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    storage._opened.cache_clear()
    options = f"?endpoint_override=127.0.0.1:{server.port}&scheme=http&region=us-east-1"
    assert [file.path for file in expand([f"{bucket}/*.csv{options}"])] == [f"{bucket}/x.csv{options}"]
    put(f"{bucket}/y.csv{options}", b"abc")
    assert content(f"{bucket}/y.csv{options}") == b"abc"


def test_when_a_file_was_written(bucket):
    put(f"{bucket}/x.csv", b"abc")
    assert abs(storage.modified(f"{bucket}/x.csv") - time.time()) < 60
    assert storage.modified(f"{bucket}/absent") is storage.modified(bucket) is None
    storage.remove(f"{bucket}/absent")
    storage.remove(f"{bucket}/x.csv")
    assert keys(bucket) == []


def test_parts_of_an_output_that_is_cut(run, series, bucket, tmp_path):
    """They are those of a local folder, byte for byte, and go on from the parts that are there."""
    from gmvae_cli.system import storage

    model = bucket + "/m.safetensors"
    assert run("train", series / "t.csv", "--regimes", 2, "--steps", 5, "--model", model, "--quiet").exit_code == 0
    arguments = ("infer", series / "t.csv", "--model", model, "--stretch-rows", 100, "--quiet")
    for output in (f"{bucket}/labelled", tmp_path / "labelled"):
        assert run(*arguments, "--output", output).exit_code == 0, output
    names = sorted(path.name for path in (tmp_path / "labelled").glob("part-*"))
    assert len(names) > 1
    for name in names:
        with storage.open_binary(f"{bucket}/labelled/{name}") as part:
            assert part.read() == (tmp_path / "labelled" / name).read_bytes()
    assert storage.size(f"{bucket}/labelled/_SUCCESS.json")
    storage.remove(f"{bucket}/labelled/{names[1]}")
    before = storage.modified(f"{bucket}/labelled/{names[0]}")
    assert run(*arguments, "--output", f"{bucket}/labelled").exit_code == 0
    assert storage.size(f"{bucket}/labelled/{names[1]}")
    assert storage.modified(f"{bucket}/labelled/{names[0]}") == before
