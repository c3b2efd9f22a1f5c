"""Every `path:name` that a document gives exists in the code."""

import ast
import functools
import re

import documents
import pytest

REFERENCE = re.compile(r"`((?:gmvae_cli|tests|docs)/[\w/]+\.py):([\w.]+)`")
QUESTION = re.compile(r"^## ([^\n]+\?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
CODE_MAP = documents.DOCS / "code-map.md"


def names(body, prefix=""):
    """Qualified names of functions, classes, methods and assigned names of a module or class."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield prefix + node.target.id
        elif isinstance(node, ast.Assign):
            targets = (leaf for target in node.targets for leaf in ast.walk(target))
            yield from (prefix + leaf.id for leaf in targets if isinstance(leaf, ast.Name))


@functools.cache
def defined(path):
    return set(names(ast.parse((documents.ROOT / path).read_text()).body))


@pytest.mark.parametrize("path", documents.DOCUMENTS, ids=documents.NAMES)
def test_names_in_documents_exist(path):
    for file, name in REFERENCE.findall(path.read_text()):
        assert name in defined(file), f"{file}:{name}"


def test_a_newcomer_has_ten_questions_and_each_answer_names_code():
    questions = QUESTION.findall(CODE_MAP.read_text())
    assert len(questions) >= 10
    for question, answer in questions:
        assert REFERENCE.search(answer), question


def test_a_name_that_is_gone_is_noticed():
    assert {"GMVAE.elbo", "Parameters"} <= defined("gmvae_cli/core.py")
    assert "GMVAE.no_such_method" not in defined("gmvae_cli/core.py")
