"""Paths that cannot be used are reported with the words of the commands, before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from gmvae_cli.cli import paths
from gmvae_cli.files.inputs import SUFFIXES

SUFFIX_LIST = ", ".join(SUFFIXES)
HEAVY = {"torch", "numpy", "scipy", "sklearn", "pandas", "pyarrow", "matplotlib"}
MISSING = [
    pytest.param(["train", "no.csv", "--model", "m"], "no.csv: there is no such file", id="train"),
    pytest.param(["train", "in.csv", "no.csv", "--model", "m"], "no.csv: there is no such file", id="second input"),
    pytest.param(["train", "no*.csv", "--model", "m"], f"no*.csv: no {SUFFIX_LIST} file matches", id="glob"),
    pytest.param(["train", "empty", "--model", "m"], f"empty: the folder holds no {SUFFIX_LIST} file", id="folder"),
    pytest.param(["train", "in.csv", "--model", "m", "--init", "no"], "no: no such model file", id="init"),
    pytest.param(
        ["train", "in.csv", "--model", "no/m"], "no/m: cannot be written (there is no folder 'no')", id="model to write"
    ),
    pytest.param(
        ["infer", "no.csv", "--model", "m.st", "--output", "o.csv"], "no.csv: there is no such file", id="infer"
    ),
    pytest.param(
        ["infer", "in.csv", "--model", "no", "--output", "o.csv"], "no: no such model file", id="model to read"
    ),
    pytest.param(
        ["infer", "in.csv", "--model", "m.st", "--output", "empty"],
        "empty: is a folder, not a file that can be written",
        id="output",
    ),
    pytest.param(["select", "no.csv"], "no.csv: there is no such file", id="select"),
    pytest.param(["segment", "no.csv", "--output", "o.csv"], "no.csv: there is no such file", id="segment"),
    pytest.param(
        ["segment", "in.csv", "--output", "o.csv", "--plot", "no/p.png"],
        "no/p.png: cannot be written (there is no folder 'no')",
        id="picture",
    ),
    pytest.param(["evaluate", "no.csv"], "no.csv: there is no such file", id="evaluate"),
    pytest.param(["inspect", "no"], "no: no such model file", id="inspect"),
    pytest.param(["plot", "no.csv", "--output", "p.png"], "no.csv: there is no such file", id="plot"),
    pytest.param(["simulate", "o.csv", "--model", "no"], "no: no such model file", id="simulate"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with something for every path that is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("t,x0\n0,1\n")
    (tmp_path / "m.st").write_text("")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(("arguments", "line"), MISSING)
def test_the_early_message_is_that_of_the_command(rejection, here, monkeypatch, arguments, line):
    assert rejection(*arguments, status=1) == line
    for name in ("require_inputs", "require_models", "require_outputs"):
        monkeypatch.setattr(paths, name, lambda *values: None)
    if "--model m.st" not in " ".join(arguments):  # which the command reads first, and it is none
        assert rejection(*arguments, status=1) == line


def test_a_missing_path_is_reported_without_imports(here):
    commands = [parameters.values[0] for parameters in MISSING]
    program = (
        "import sys; from gmvae_cli.cli import app\n"
        f"for command in {commands}:\n"
        "    try: app(command)\n"
        "    except SystemExit as stop: assert stop.code == 1, command\n"
        f"    assert not {HEAVY} & set(sys.modules), command\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_several_inputs_are_left_to_infer(here):
    assert not paths.is_one_file(["in.csv", "no.csv"])
    assert not paths.is_one_file(["*.csv"])
    assert not paths.is_one_file(["."])
    assert paths.is_one_file(["in.csv"])
    assert paths.is_one_file(["-"])


def test_a_device_can_be_written_to():
    paths.require_outputs("/dev/null", "-", None)


@pytest.mark.parametrize("log", ["in.csv", "./in.csv", "o.csv"])
def test_a_log_never_overwrites_a_file_of_the_command(rejection, here, log):
    Path("in.csv").write_text("t,x0\n")
    line = rejection("segment", "in.csv", "--output", "o.csv", "--log-file", log, status=2)
    assert line == f"--log-file is '{log}', a file that the command reads or writes; name another one"
    assert Path("in.csv").read_text() == "t,x0\n"


@pytest.mark.parametrize("inputs", ["folder", "folder/*.csv"])
def test_a_log_never_overwrites_a_file_of_an_input_folder(rejection, here, inputs):
    Path("folder").mkdir()
    Path("folder/a.csv").write_text("x\n1\n2\n")
    options = ["--model", "m.safetensors", "--log-file", "folder/a.csv"]
    assert "a file that the command reads or writes" in rejection("train", inputs, *options, status=2)
    assert Path("folder/a.csv").read_text() == "x\n1\n2\n"
