"""The archives of `make dist`: what is in them, and that the wheel runs where nothing else is installed."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import documents
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel and the source archive: those in the folder that DIST names, else built anew."""
    folder = Path(os.environ["DIST"]) if "DIST" in os.environ else tmp_path_factory.mktemp("dist")
    if "DIST" not in os.environ:
        command = [sys.executable, "-m", "build", "--outdir", str(folder), str(documents.ROOT)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_wheel_has_the_package_and_nothing_else(archives):
    names = zipfile.ZipFile(archives[0]).namelist()
    assert "gmvae_cli/py.typed" in names
    modules = {str(path.relative_to(documents.ROOT)) for path in (documents.ROOT / "gmvae_cli").rglob("*.py")}
    assert modules <= set(names)
    others = {name.split("/")[0] for name in names} - {"gmvae_cli"}
    assert all(name.endswith(".dist-info") for name in others), others


def test_source_archive_has_tests_docs_and_data(archives):
    with tarfile.open(archives[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/conftest.py", "docs/index.md", "sample_data/exercise.csv", "docs/conf.py", "Makefile"} <= names


def test_wheel_runs_in_an_empty_environment(archives, tmp_path):
    place = tmp_path / "environment"
    venv.create(place, with_pip=True)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def call(program, *arguments):
        command = [str(place / "bin" / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=outside)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("python", "-m", "pip", "install", "--quiet", *os.environ.get("PIP_ARGS", "").split(),
         "--constraint", documents.ROOT / "constraints.txt", archives[0].resolve())  # fmt: skip
    version = archives[0].name.split("-")[1]
    assert call("gmvae", "--version") == f"gmvae {version}\n"
    assert call("gmvae", "--help").startswith("usage: gmvae")
    call("gmvae", "simulate", "series.csv", "--steps", 200, "--quiet")
    assert (tmp_path / "series.csv").exists()
