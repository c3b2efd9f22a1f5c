"""Files at URLs, on this machine: the same as local files, and nothing half-written."""

import json
import os
import shutil
from pathlib import Path

import pytest

from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files.atomic import atomic, require_apart, require_no_input
from gmvae_cli.files.inputs import expand
from gmvae_cli.system import storage


@pytest.fixture
def series(run, tmp_path, monkeypatch):
    """A folder, the working one, with t.csv of 300 rows and the model.safetensors that drew it."""
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "t.csv", "--steps", 300, "--truth", "model.safetensors", "--quiet").exit_code == 0
    return tmp_path


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder of files in folders."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "days/log_2.csv",
        "days/log_12.csv",
        "days/log_2.parquet",
        "days/note.txt",
        "days/_tmp/x.csv",
        "days/.hidden/x.csv",
        "days/.log.csv",
        "days/site=A/city=S%C3%A3o/b.csv",
        "days/a b/c#1 %20.csv",
        "days/a b/deep/[1].tsv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def url_of(path):
    return f"file://{os.path.abspath(path)}"


@pytest.mark.parametrize("path", ["C:x.csv", "a:b.csv", "file:x.csv", "dir/x.csv", "-", "/s3://", "://x"])
def test_what_is_no_url(path):
    assert not storage.is_url(path)
    assert storage.without_options(path) == storage.decoded(path) == path


@pytest.mark.parametrize(
    "pattern",
    [
        "days",
        "days/",
        "days/*.csv",
        "days/**/*.csv",
        "days/*/*.csv",
        "days/**/*",
        "days/**",
        "*/log_[0-9].*",
        "days/log_2.csv",
        "days/**/deep/*",
        "days/.*",
        "days/s*/c*/*",
    ],
)
def test_a_url_lists_what_a_path_lists(tree, pattern):
    local = expand([pattern])
    remote = expand([url_of(pattern) + ("/" if pattern.endswith("/") else "")])
    assert [(file.relative, file.folder_columns) for file in remote] == [
        (file.relative, file.folder_columns) for file in local
    ]
    assert [storage.local_name(file.path) for file in remote] == [os.path.abspath(file.path) for file in local]


def test_inputs_may_be_several_urls_and_paths(tree):
    files = expand([url_of("days/log_12.csv"), url_of("days/log*.csv"), url_of("days/site=A")])
    assert [file.relative for file in files] == ["log_2.csv", "log_12.csv", "site=A/city=S%C3%A3o/b.csv"]
    assert files[2].folder_columns == (("site", "A"), ("city", "São"))
    assert len(expand([url_of("days"), "days/log_2.csv"])) == 7


def test_a_folder_or_pattern_without_a_table(tree):
    for url in (url_of("days/_tmp/none*"), url_of("nothing/*.csv"), url_of("days/**/x*.txt")):
        with pytest.raises(SeriesError, match="holds or matches no"):
            expand([url])


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet", ".arrow", ".jsonl"])
def test_results_have_the_bytes_of_local_ones(run, series, suffix):
    assert run("infer", "t.csv", "--model", "model.safetensors", "--output", f"in{suffix}").exit_code == 0
    local = ("--model", "model.safetensors", "--output", f"local{suffix}", "--segments", f"local_segments{suffix}")
    assert run("infer", f"in{suffix}", *local).exit_code == 0
    names = ("--output", url_of(f"out{suffix}"), "--segments", url_of(f"segments{suffix}"))
    result = run("infer", url_of(f"in{suffix}"), "--model", url_of("model.safetensors"), *names, "--manifest")
    assert result.exit_code == 0, result.output
    assert (series / f"out{suffix}").read_bytes() == (series / f"local{suffix}").read_bytes()
    if suffix == ".csv":
        segments = (series / "segments.csv").read_text().replace(url_of("in.csv"), "in.csv")  # names the series
        assert segments == (series / "local_segments.csv").read_text()
    manifest = json.loads((series / f"out{suffix}.meta.json").read_text())
    assert manifest["inputs"][0]["path"] == url_of(f"in{suffix}")
    assert manifest["outputs"][0]["bytes"] == (series / f"out{suffix}").stat().st_size


def test_every_command_takes_urls(run, series):
    shutil.copy("t.csv", "raw.csv")
    names = ("--segments", url_of("s.csv"), "--plot", url_of("p.png"), "--model", url_of("m.safetensors"))
    commands = [
        ("segment", url_of("raw.csv"), "--output", url_of("o.parquet"), *names, "--regimes", 2),
        ("train", url_of("raw.csv"), "--model", url_of("m2.safetensors"), "--steps", 5, "--restarts", 1, "--resume"),
        ("train", "raw.csv", "--model", "m3.safetensors", "--steps", 5, "--init", url_of("m2.safetensors")),
        ("inspect", url_of("m2.safetensors")),
        ("evaluate", url_of("t.csv"), "--model", url_of("m2.safetensors")),
        ("plot", url_of("o.parquet"), "--output", url_of("p.svg")),
        ("select", url_of("raw.csv"), "--regimes", "1", "--restarts", 1, "--model", url_of("m4.safetensors")),
        ("simulate", url_of("sim.csv"), "--steps", 50, "--truth", url_of("sim.safetensors")),
    ]
    for arguments in commands:
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    written = {"s.csv", "p.png", "m.safetensors", "o.parquet", "m2.safetensors", "p.svg", "m4.safetensors", "sim.csv"}
    assert written < set(os.listdir(series))
    assert not [name for name in os.listdir(series) if name.startswith(".") or name.endswith(".resume")]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    (tmp_path / "x.csv").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(url_of(tmp_path / "x.csv")) as local, open(local, "w") as file:
        file.write(f"half {1 / (len(os.listdir(tmp_path)) - 2)}")  # .x.csv.part is there
    assert os.listdir(tmp_path) == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "old"
    assert not os.path.exists(local)


def test_an_upload_that_is_cut_publishes_nothing(tmp_path, monkeypatch):
    def cut(source, target, length):
        target.write(source.read()[:3])

    monkeypatch.setattr(storage.shutil, "copyfileobj", cut)
    with (
        pytest.raises(SeriesError, match=r"x.csv: cannot be written \(3 of 5 bytes arrived\)"),
        atomic(url_of(tmp_path / "x.csv")) as local,
        open(local, "w") as file,
    ):
        file.write("whole")
    assert os.listdir(tmp_path) == []


def test_a_download_that_is_cut_is_an_error(tmp_path, monkeypatch):
    class Cut:
        def __init__(self, file):
            self.file, self.size = file, file.size

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def read(self, nbytes):
            return self.file.read(3) if self.file.tell() == 0 else b""

    (tmp_path / "x.csv").write_text("t,x\n0,1\n")
    whole = storage.open_native
    monkeypatch.setattr(storage, "open_native", lambda path: Cut(whole(path)))
    with pytest.raises(SeriesError, match=r"x.csv: only 3 of 8 bytes came; try again"):
        storage.LocalCopy(url_of(tmp_path / "x.csv"))


def test_a_copy_lives_as_long_as_it_is_used(tmp_path):
    (tmp_path / "x.csv").write_text("t,x\n")
    copy = storage.LocalCopy(url_of(tmp_path / "x.csv"))
    path = copy.path
    assert Path(path).read_text() == "t,x\n"
    del copy
    assert not os.path.exists(path)


def test_a_temporary_folder_that_cannot_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(SeriesError, match=r"x.csv: cannot be kept in .*absent \(No such file.*\); set TMPDIR"):
        storage.require_writable(url_of(tmp_path / "x.csv")) or atomic(url_of(tmp_path / "x.csv")).__enter__()


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("ftp://host/x.csv", 2, "ftp:// is none of s3://, gs://, hdfs://, file://"),
        ("https://host/x.csv", 2, "download the file"),
        ("s3://key:secret@bucket/x.csv", 2, "s3://bucket/x.csv: a URL is no place for a password"),
        ("s3://bucket/x.csv?colour=red", 1, "Unexpected query parameter"),
        ("file:///absent/x.csv", 1, "file:///absent/x.csv: there is no such file"),
        ("file:///absent/*.csv", 1, "holds or matches no"),
        ("file:///etc/hosts", 1, "ends in none of"),
    ],
)
def test_inputs_that_cannot_be_read(rejection, series, url, status, words):
    line = rejection("infer", url, "--model", "model.safetensors", "--output", "o.csv", status=status)
    assert words in line
    assert "secret" not in line
    assert not os.path.exists("o.csv")


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--output", "http://host/o.csv"), 2, "http:// is none of"),
        (("--output", "file:///absent/o.csv"), 1, "file:///absent/o.csv: there is no such folder"),
        (("--output", "HERE/folder.csv"), 1, "is a folder, not a file"),
        (("--output", "HERE/t.csv"), 2, "--output would replace the input"),
        (("--output", "HERE/o.csv", "--segments", "o.csv"), 2, "the same file"),
        (("--output", "o.csv", "--segments", "HERE/%6F.csv"), 2, "the same file"),
        (("--output", "o.csv", "--model", "HERE/absent.safetensors"), 1, "no such model file"),
        (("--output", "o.csv", "--model", "HERE/t.csv"), 1, "not a gmvae model"),
        (("--output", "o.csv", "--log-file", "HERE/log"), 2, "name a local file"),
        (("--output", "HERE/log", "--log-file", "log"), 2, "a file that the command reads or writes"),
        (("--output", "HERE/o"), 2, "the format is unknown"),
    ],
)
def test_outputs_and_models_that_cannot_be_used(rejection, series, options, status, words):
    (series / "folder.csv").mkdir()
    options = [option.replace("HERE", url_of(series)) for option in options]
    assert words in rejection("infer", "t.csv", "--model", "model.safetensors", *options, status=status)
    assert sorted(os.listdir(series)) == ["folder.csv", "model.safetensors", "t.csv"]


def test_two_ways_to_write_one_object():
    require_apart({"--segments": "s3://b/x.csv"}, ["s3://c/x.csv", "gs://b/x.csv", "x.csv"])
    with pytest.raises(ConfigError, match="the same file as --plot"):
        require_apart({"--plot": "s3://b/a%20b.png", "--segments": "S3://b/a b.png?region=eu-west-1"})
    with pytest.raises(ConfigError, match="would replace the input"):
        require_no_input(["s3://b/x.csv"], ["s3://b/%78.csv"])


def test_names_beside_a_url_keep_its_options():
    assert storage.beside("s3://b/out/?region=x", ".meta.json") == "s3://b/out.meta.json?region=x"
    assert storage.joined("s3://b/out?region=x", "day=1/a b.csv") == "s3://b/out/day=1/a%20b.csv?region=x"
    assert storage.parent("s3://b/out/x.csv?region=x") == "s3://b/out?region=x"


def test_a_folder_of_results_ends_with_success(run, series):
    (series / "in" / "a b").mkdir(parents=True)
    shutil.copy("t.csv", "in/1.csv")
    shutil.copy("t.csv", "in/a b/2.csv")
    out = series / "out"
    arguments = ("infer", url_of("in"), "--model", url_of("model.safetensors"), "--output", url_of(out))
    assert run(*arguments).exit_code == 0
    assert json.loads((out / "_SUCCESS.json").read_text()) == {"files": 2, "rows": 600, "skipped": 0}
    assert sorted(os.listdir(out)) == ["1.csv", "_SUCCESS.json", "a b"]
    (series / "in" / "3.csv").write_text("t,x0\n0,oops\n")
    result = run(*arguments, "--skip-existing", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["skipped"] == 2
    assert sorted(os.listdir(out)) == ["1.csv", "3.csv.failed", "a b"]  # not complete
    again = json.loads(run(*arguments, "--skip-existing", "--json").stdout)
    assert again["failed_before"] and not (out / "_SUCCESS.json").exists()
    shutil.copy("t.csv", "in/3.csv")
    os.utime("in/1.csv", (4e9, 4e9))
    once_more = json.loads(run(*arguments, "--skip-existing", "--json").stdout)
    assert (once_more["skipped"], once_more["files"], once_more["redone"]) == (1, 2, 1)
    assert json.loads((out / "_SUCCESS.json").read_text()) == {"files": 2, "rows": 600, "skipped": 1}
    assert sorted(os.listdir(out)) == ["1.csv", "3.csv", "_SUCCESS.json", "a b"]


def test_segment_into_a_folder(run, series):
    (series / "in").mkdir()
    shutil.copy("t.csv", "in/1.csv")
    shutil.copy("t.csv", "in/2.csv")
    assert run("segment", url_of("in"), "--output", url_of("out"), "--regimes", 2).exit_code == 0
    assert sorted(os.listdir("out")) == ["1.csv", "2.csv", "_SUCCESS.json"]
    assert json.loads((series / "out" / "_SUCCESS.json").read_text()) == {"files": 2, "rows": 600}


def test_a_dry_run_writes_nothing(run, series):
    for command in ("infer", "segment"):
        model = ("--model", url_of("model.safetensors")) if command == "infer" else ()
        result = run(command, url_of("t.csv"), *model, "--output", url_of("out/o.csv"), "--dry-run", "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["rows"] == 300
    assert sorted(os.listdir(series)) == ["model.safetensors", "t.csv"]


def test_training_goes_on_from_a_resume_file_at_a_url(run, series, monkeypatch):
    from gmvae_cli.training.resume import ResumeFile

    arguments = ("train", url_of("t.csv"), "--model", url_of("m.safetensors"), "--steps", 5, "--restarts", 1)
    assert run(*arguments).exit_code == 0
    expected = (series / "m.safetensors").read_bytes()
    (series / "m.safetensors").unlink()
    record = ResumeFile.record

    def interrupted(self, phase, state, generator=None, *, finished=True):
        result = record(self, phase, state, generator, finished=finished)
        if finished:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(ResumeFile, "record", interrupted)
    result = run(*arguments)
    assert result.exit_code == 130
    assert f"{url_of('m.safetensors')}.resume keeps what is done" in result.stderr
    assert sorted(os.listdir(series)) == ["m.safetensors.resume", "model.safetensors", "t.csv"]
    monkeypatch.setattr(ResumeFile, "record", record)
    resumed = run(*arguments, "--resume", "--json")
    assert json.loads(resumed.stdout)["resumed"]
    assert (series / "m.safetensors").read_bytes() == expected
    assert not (series / "m.safetensors.resume").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation", "s3://b/x: there is no such bucket"),
        ("AWS Error ACCESS_DENIED during HeadObject operation", "s3://b/x: cannot be read (access is denied; check"),
        ("AWS Error UNKNOWN (HTTP status 301)", "s3://b/x: cannot be read (the bucket is in another region; set"),
        ("When reading 'TOKEN': AWS Error NETWORK_CONNECTION", "s3://b/x: cannot be read (no connection"),
        ("AWS Error UNKNOWN (HTTP status 503)", "s3://b/x: cannot be read (the server is busy or fails"),
        ("AWS Error EXPIRED_TOKEN during HeadObject", "s3://b/x: cannot be read (access is denied"),
        ("AWS Error NETWORK_CONNECTION\nduring HeadObject", "s3://b/x: cannot be read (no connection, after several"),
        ("Unable to load libjvm\ndlopen(...)", "s3://b/x: cannot be read (hdfs:// needs Java"),
        ("odd " * 50, "s3://b/x: cannot be read (odd odd"),
        ("Bad. Detail: [errno 5] Input/output error", "s3://b/x: cannot be read (Bad.)"),
    ],
)
def test_what_file_systems_say_in_one_line(text, sentence):
    line = str(storage.problem("s3://b/x", OSError(text)))
    assert line.startswith(sentence)
    assert len(line) < 200
    assert "\n" not in line
