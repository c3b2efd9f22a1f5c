"""The house: imports only go down, modules are small, docstrings name what exists, and help costs next to nothing."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import gmvae_cli

PACKAGE = Path(gmvae_cli.__file__).parent
FLOOR_OF = {  # of a folder, or of a module at the top
    "cli": 10,
    "__main__": 10,
    "commands": 9,
    "labelled": 9,
    "forecasting": 9,
    "selection": 8,
    "cluster": 8,
    "training": 7,
    "outputs": 6,
    "inference": 6,
    "live": 7,
    "filtering": 6,
    "plotting": 5,
    "checkpoint": 5,
    "checkpoint_header": 5,
    "files": 4,
    "recognition": 4,
    "core": 3,
    "data": 3,
    "metrics": 3,
    "config": 2,
    "series_config": 2,
    "engine_config": 2,
    "live_config": 2,
    "forecast_config": 2,
    "gate_config": 2,
    "regime_names": 2,
    "system": 2,
    "model": 1,
    "errors": 1,
    "__init__": 0,
}
MATHEMATICS = {"model", "core", "metrics"}
LONGEST = {ast.Module: 400, ast.FunctionDef: 60, ast.ClassDef: 150}  # lines
NOT_A_VERB = re.compile(r"(the|a|an|what|where|how|whether|which|one|as|of|all|each|every|log|mean|share) ", re.I)
QUESTION = re.compile(r"(how|what|where|which|whether|when|from) ", re.I)
OUTSIDE_WORLD = {"pandas", "pyarrow", "rich", "typer", "os", "pathlib", "sys", "tempfile", "matplotlib"}


@cache
def parsed(path):
    """The syntax tree of a module."""
    return ast.parse(path.read_text())


def modules(*folders):
    """All modules, or those of some folders."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if not folders or folder(path) in folders]


def folder(path):
    """The name that FLOOR_OF knows: the folder of a module, or the module itself at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """The module named in every import, inside functions and for type checking as well."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "gmvae_cli":
                yield from (f"gmvae_cli.{alias.name}" for alias in node.names)
            else:
                yield node.module


def imported_folders(path):
    """The folders of this package that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("gmvae_cli.")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path):
    floor = FLOOR_OF[folder(path)]
    for name in imported_folders(path):
        assert FLOOR_OF[name] <= floor, f"{path.name} imports {name} from a floor above"


def test_commands_never_import_each_other():
    commands = {path.stem for path in PACKAGE.glob("commands/*.py")} - {"__init__", "dry_run", "gates"}
    assert "train" in commands
    for name in commands:
        others = {f"gmvae_cli.commands.{other}" for other in commands - {name}}
        assert not others & set(imports(PACKAGE / "commands" / f"{name}.py")), name


@pytest.mark.parametrize("path", modules(*MATHEMATICS), ids=lambda path: path.name)
def test_the_mathematics_touches_no_file(path):
    assert not {name.split(".")[0] for name in imports(path)} & OUTSIDE_WORLD, path.name
    called = {
        node.func.id
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"print", "open"}, path.name


@pytest.mark.parametrize("path", modules("files", "recognition", "data"), ids=lambda path: path.name)
def test_files_know_no_training(path):
    assert not imported_folders(path) & {"core", "checkpoint", "training", "inference", "selection"}, path.name


# --- size and docstrings ---------------------------------------------------------------------------------------------


def definitions(path):
    """Every (name, node) that may have a docstring: the module, its classes and functions, methods too."""
    tree = parsed(path)
    name = path.relative_to(PACKAGE)
    yield str(name), tree
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield f"{name}:{node.name}", node


def test_folders_hold_a_few_modules():
    folders = [path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]
    assert len(folders) >= 10
    for path in folders:
        assert 4 <= len(list(path.glob("*.py"))) - 1 <= 12, path.name


def test_everything_is_small():
    for path in modules():
        for name, node in definitions(path):
            last = len(path.read_text().splitlines()) if isinstance(node, ast.Module) else node.end_lineno
            lines = last - getattr(node, "lineno", 1) + 1
            assert lines <= LONGEST[type(node)], f"{name}: {lines} lines"


def used_words(path):
    """All identifiers of a module, and the words of its short texts, such as the values of an option."""
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Constant(value=str(text)) if len(text) < 40:
                yield from re.findall(r"\w+", text)


def quoted(path):
    """Where a module quotes names in backticks, in docstrings and comments: (place, names)."""
    for name, node in definitions(path):
        yield name, re.findall(r"`([^`]+)`", ast.get_docstring(node) or "")
    comments = [line[line.index("#") :] for line in path.read_text().splitlines() if "#" in line]
    yield f"{path.name}: a comment", re.findall(r"`([^`]+)`", "\n".join(comments))


def test_quoted_names_exist():
    known = {word for path in modules() for word in used_words(path)}
    known |= {word for path in modules() for word in path.relative_to(PACKAGE.parent).with_suffix("").parts}
    assert "smooth" in known and "no_such_name" not in known
    for path in modules():
        for place, texts in quoted(path):
            for text in texts:
                if not text.startswith(("make ", "python ", "gmvae ")):  # a command line
                    assert set(re.findall(r"[^\W\d]\w*", text)) <= known, f"{place}: `{text}`"


def test_docstrings_of_functions_begin_with_a_verb():
    for path in modules():
        for name, node in definitions(path):
            decorators = {ast.unparse(part) for part in getattr(node, "decorator_list", ())}
            if isinstance(node, ast.FunctionDef) and not decorators & {"property", "cached_property"}:
                assert not NOT_A_VERB.match(ast.get_docstring(node) or ""), name


def test_docstrings_of_classes_and_modules_begin_with_a_noun():
    for path in modules():
        for name, node in definitions(path):
            if not isinstance(node, ast.FunctionDef):
                assert not QUESTION.match(ast.get_docstring(node) or ""), name


# --- cost ------------------------------------------------------------------------------------------------------------


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
