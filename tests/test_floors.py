"""The house itself: imports only go down, and asking for help costs next to nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gmvae_cli

PACKAGE = Path(gmvae_cli.__file__).parent
MATHS = {
    "core",
    "density",
    "student",
    "markov",
    "viterbi",
    "chain_gradient",
    "moments",
    "start",
    "calibrate",
    "consensus",
    "data_check",
    "describe",
    "metrics",
    "segments",
    "pixels",
    "synthetic",
}
FLOORS = {
    4: {"__main__", "cli", "options", "report"},
    3: {"jobs"},
    2: {"fit", "anneal", "polish", "views", "compare", "advice", "plan", "windows"}
    | {"apply", "posterior", "relay", "checkpoint", "tensorfile", "journal"}
    | {"figures", "labelled", "picture"},
    1: MATHS
    | {
        "series",
        "recording",
        "summaries",
        "recorder",
        "tables",
        "timeline",
        "output",
        "scratch",
        "ahead",
        "parallel",
        "runtime",
        "progress",
        "manifest",
    },
    0: {"__init__", "config", "errors", "gates"},
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
WORLD = FLOORS[1] - MATHS


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room(path):
    """The name that FLOORS knows: the module, or `jobs` for all of them."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """(module, the line's node) of every import, inside functions and for type checking as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "gmvae_cli":
                yield from (f"gmvae_cli.{alias.name}" for alias in node.names)
            else:
                yield node.module


def neighbours(path):
    """The rooms of this package that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("gmvae_cli.")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path):
    assert room(path) in FLOOR_OF, f"{path.name} has no floor; give it one here and in the layout"
    floor = FLOOR_OF[room(path)]
    for name in neighbours(path):
        assert FLOOR_OF.get(name, 9) <= floor, f"{path.name} imports {name} from a floor above"


def test_jobs_never_import_each_other():
    for path in PACKAGE.glob("jobs/*.py"):
        assert "jobs" not in neighbours(path), path.name


@pytest.mark.parametrize("path", [path for path in modules() if room(path) in MATHS], ids=lambda path: path.name)
def test_maths_knows_nothing_of_the_world(path):
    assert not neighbours(path) & WORLD, path.name
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"pandas", "pyarrow", "rich", "typer", "os", "pathlib", "sys"}, path.name
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"print", "open"}, path.name


@pytest.mark.parametrize("path", [path for path in modules() if room(path) in WORLD], ids=lambda path: path.name)
def test_world_knows_no_model(path):
    assert not neighbours(path) & MATHS, path.name
    assert room(path) == "runtime" or "torch" not in {name.split(".")[0] for name in imports(path)}, path.name


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_asking_for_help_imports_nothing_heavy(argument):
    program = (
        "import sys; from gmvae_cli.cli import app\n"
        f"try: app(['{argument}'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout
    heavy = {"torch", "numpy", "scipy", "sklearn", "pandas", "pyarrow", "matplotlib"}
    assert not heavy & set(done.stderr.split())
