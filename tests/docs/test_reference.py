"""The command reference is what the program says of itself."""

import importlib.util

import documents
import pytest

_SPEC = importlib.util.spec_from_file_location("generate_reference", documents.DOCS / "generate_reference.py")
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)

SHOWN = {step.command: step.output for step in documents.steps(reference.PAGE) if step.asks_for_help}


@pytest.mark.parametrize("command", reference.commands())
def test_every_command_has_its_help_as_printed(command):
    assert SHOWN.get(command) == reference.help_text(command), "`make reference` writes the page anew"


def test_every_help_block_is_of_a_command():
    assert set(SHOWN) == set(reference.commands())


def test_a_page_is_written_anew():
    assert reference.written_anew(reference.PAGE.read_text()) == reference.PAGE.read_text()
