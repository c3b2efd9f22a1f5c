"""The list of mutations keeps step with the code, and the judge tells a killed one from a survivor."""

import re
from pathlib import Path

import mutants
import pytest

TESTS = Path(__file__).parent


@pytest.mark.parametrize("mutation", mutants.MUTATIONS, ids=lambda mutation: mutation.mistake)
def test_every_mutation_changes_one_place_and_names_tests_that_exist(mutation):
    text = (mutants.ROOT / mutants.PACKAGE / mutation.module).read_text()
    assert mutants.mutated(mutation, text) != text
    assert mutation.tests
    for test in mutation.tests:
        file, *names = test.split("::")
        source = (TESTS / file).read_text()
        for name in names:
            assert re.search(rf"^def {re.escape(name.partition('[')[0])}\(", source, re.MULTILINE), test


def test_a_stale_text_is_an_error():
    stale = mutants.Mutation("", "errors.py", "no such line", "", [])
    with pytest.raises(ValueError, match="0 times, not once"):
        mutants.mutated(stale, "class GmvaeError")


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param('"iid"', "killed", id="a mistake"),
        pytest.param("'markov'", "survived", id="no mistake"),
        pytest.param("(", "not judged", id="no Python"),
    ],
)
def test_the_judge_tells_mistakes_from_changes_that_are_none(monkeypatch, tmp_path, new, expected):
    """On a package and a test of two lines."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text('PRIOR = "markov"\n')
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_prior.py").write_text(
        'import pack\n\ndef test_prior():\n    assert pack.PRIOR == "markov"\n'
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "PACKAGE", "pack")
    mutation = mutants.Mutation("another prior", "__init__.py", '"markov"', new, ["test_prior.py"])
    assert mutants.verdict(mutation)[0] == expected
