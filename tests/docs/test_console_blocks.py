"""Every console block of the README and the manual runs, and prints what is shown below it."""

import os
import shlex
import shutil
import subprocess
import sys

import documents
import pytest

RELATIVE, ABSOLUTE = 0.02, 0.02  # of numbers: processors round differently, and a warning shows few digits
SECONDS = ("time ", "training ")  # lines that say how long something took
SHELL = "|&;<>*$\\"
SPOKEN = ("warning: ", "note: ")  # lines that go to stderr


def in_shell(command):
    """Whether it takes more than the program under test in this process."""
    return not command.startswith("gmvae ") or bool(set(command) & set(SHELL))


def is_slow(step):
    """A search, or the program in processes of its own."""
    searches = step.command.startswith(("gmvae segment", "gmvae select"))
    return searches or (in_shell(step.command) and "gmvae" in step.command)


def documents_with_blocks():
    """Each in a test of its own; those that take long are slow."""
    for path, name in zip(documents.DOCUMENTS, documents.NAMES, strict=True):
        steps = [step for step in documents.steps(path) if not step.asks_for_help]
        if steps:
            yield pytest.param(path, id=name, marks=[pytest.mark.slow] if any(map(is_slow, steps)) else [])


def number(word):
    """The number that a word of the output is, with or without a unit, or None."""
    try:
        return float(word.strip("(),;:%±s").replace(",", ""))
    except ValueError:
        return None


def same_word(shown, printed):
    """Equal, or numbers that nearly are, or rules of a table; of a row of a CSV file cell by cell."""
    if shown == printed or (set(shown) == set(printed) == {"─"}):
        return True
    left, right = number(shown), number(printed)
    cells = shown.split(","), printed.split(",")
    if left is right is None and len(cells[0]) == len(cells[1]) > 1:
        return all(map(same_word, *cells))
    return left is not None and right is not None and left == pytest.approx(right, rel=RELATIVE, abs=ABSOLUTE)


def same_line(shown, printed):
    """Word by word, whatever the blanks; of a line about time the first word counts."""
    if shown.startswith(SECONDS) and printed.startswith(SECONDS):
        return shown.split()[0] == printed.split()[0]
    words = shown.split(), printed.split()
    return len(words[0]) == len(words[1]) and all(map(same_word, *words))


def assert_shown(output, stdout, stderr):
    """What a document shows is what was printed; a line `...` stands for the rest of stdout."""
    said = [line for line in output.splitlines() if line.startswith(SPOKEN)]
    for line in said:
        assert any(same_line(line, printed) for printed in stderr.splitlines()), f"{line}\nnot in\n{stderr}"
    shown = [line for line in output.splitlines() if line.strip() and line not in said]
    printed = [line for line in stdout.splitlines() if line.strip()]
    if shown and shown[-1] == "...":
        shown, printed = shown[:-1], printed[: len(shown) - 1]
    if shown:
        assert len(shown) == len(printed), stdout
        for left, right in zip(shown, printed, strict=True):
            assert same_line(left, right), f"{left}\n{right}\nin\n{stdout}"


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Run a line of a shell, where `gmvae` is the program under test: exit status, stdout, stderr."""
    program = tmp_path / "bin" / "gmvae"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gmvae_cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(documents.ROOT), prepend=os.pathsep)
    monkeypatch.setenv("COLUMNS", "80")

    def shell(command):
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return shell


@pytest.mark.parametrize("path", list(documents_with_blocks()))
def test_console_blocks_run(path, run, shell, tmp_path, monkeypatch, sample_data):
    work = tmp_path / "work"
    shutil.copytree(sample_data, work / "sample_data")
    monkeypatch.chdir(work)
    for step in documents.steps(path):
        if step.asks_for_help:
            continue
        if in_shell(step.command):
            status, stdout, stderr = shell(step.command)
        else:
            result = run(*shlex.split(step.command)[1:])
            status, stdout, stderr = result.exit_code, result.stdout, result.stderr
        assert status == 0, f"{step.command}\n{stdout}{stderr}"
        assert_shown(step.output, stdout, stderr)  # `make examples` writes what has changed


def test_a_number_that_is_off_is_noticed():
    assert_shown("ari  0.98\n", "ari   0.981\n", "")
    with pytest.raises(AssertionError):
        assert_shown("ari  0.98\n", "ari   0.88\n", "")


def test_a_warning_that_is_not_printed_is_noticed():
    assert_shown("warning: 135 rows are few\n", "", "note: more\nwarning: 135 rows are few\n")
    with pytest.raises(AssertionError):
        assert_shown("warning: 135 rows are few\n", "", "warning: 135 rows are many\n")


def test_a_line_that_is_missing_is_noticed():
    assert_shown("rows  12\n...\n", "rows  12\ntime  1 s\n", "")
    with pytest.raises(AssertionError):
        assert_shown("rows  12\n", "rows  12\nsegments  3\n", "")
