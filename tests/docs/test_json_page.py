"""docs/reference/json.md lists every warning code and every key that a command prints."""

import ast
import json
import re

import documents
import pytest

PAGE = documents.DOCS / "reference" / "json.md"
ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
SECTION = re.compile(r"^## ([^\n]+)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def sections():
    return dict(SECTION.findall(PAGE.read_text()))


def codes_of(path):
    """The codes of the warnings that a module can give: the first argument of every `Note`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Note":
            code = node.args[0]
            if not isinstance(code, ast.Starred):  # a note that was made elsewhere, or comes out of a file
                assert isinstance(code, ast.Constant), f"{path}:{node.lineno}: a code is written where it is used"
                yield code.value


def test_every_warning_code_of_the_source_is_explained():
    source = {code for path in (documents.ROOT / "gmvae_cli").rglob("*.py") for code in codes_of(path)}
    assert len(source) > 20
    assert source == set(ROW.findall(sections()["Warning codes"]))


@pytest.mark.slow
def test_every_key_is_explained(run, tmp_path, sample_data):
    series, model = sample_data / "us_gnp_growth.csv", tmp_path / "model.safetensors"
    labelled, picture = tmp_path / "labelled.csv", tmp_path / "figure.png"
    commands = {
        "simulate": [tmp_path / "drawn.csv", "--steps", 300],
        "train": [series, "--model", model, "--regimes", 2],
        "infer": [series, "--model", model, "--output", labelled],
        "select": [series, "--regimes", "1:2", "--restarts", 2],
        "segment": [series, "--output", tmp_path / "segmented.csv", "--regimes", 2],
        "evaluate": [labelled, "--model", model],
        "compare": [model, model, series],
        "inspect": [model],
        "plot": [labelled, "--output", picture],
        "profile": [labelled],
        "forecast": [series, "--model", model, "--horizon", 2, "--output", tmp_path / "ahead.csv"],
    }
    page = sections()
    for command, arguments in commands.items():
        result = run(command, *arguments, "--json", "--quiet")
        assert result.exit_code == 0, result.output
        refers_to = {"inspect": ["train"], "segment": ["infer"]}
        sections_read = [command, *refers_to.get(command, [])]
        explained = {key for name in sections_read for key in re.findall(r"`(\w+)`", page[f"gmvae {name}"])}
        for key, value in json.loads(result.stdout).items():
            inner = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
            keys = [key, *(inner if isinstance(inner, dict) and key not in ("missing", "warnings") else ())]
            assert set(keys) - {"code", "sentence"} <= explained, f"{command}: {key}"
