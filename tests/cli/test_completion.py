"""Completion: each shell has its script, and a shell that asks gets commands, options and values."""

import os
import subprocess
import sys

import pytest

PROGRAM = "import sys; sys.argv[0] = 'gmvae'; from gmvae_cli.cli import app; app()"


def gmvae(*arguments, **environment):
    """What `gmvae` prints in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture
def script(run, monkeypatch):
    """The completion script of a shell."""

    def script(*arguments):
        result = run("--show-completion", *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    return script


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _gmvae_completion gmvae"),
        ("zsh", "#compdef gmvae"),
        ("fish", "complete --command gmvae "),
    ],
)
def test_each_shell_has_its_script(script, monkeypatch, shell, line):
    assert any(text.startswith(line) for text in script(shell).splitlines())
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert script() == script(shell)


@pytest.mark.parametrize(
    ("shell", "file"),
    [("bash", ".bash_completions/gmvae.sh"), ("zsh", ".zfunc/_gmvae"), ("fish", ".config/fish/completions/gmvae.fish")],
)
def test_a_script_is_installed(run, script, monkeypatch, tmp_path, shell, file):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("--install-completion", shell).exit_code == 0
    assert (tmp_path / file).read_text().strip() == script(shell).strip()


def test_an_unknown_shell_is_wrong_usage(rejection, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/dash")
    assert rejection("--show-completion", status=2) == "--show-completion is 'dash', but must be one of bash, zsh, fish"


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        (["gmvae", "se"], ["segment", "select"]),
        (["gmvae", "train", "--rest"], ["--restarts"]),
        (["gmvae", "train", "--prior", ""], ["markov", "iid"]),
        (["gmvae", "train", "a"], []),
    ],
    ids=["command", "option", "value", "file"],
)
def test_a_shell_gets_its_completions(typed, completions):
    words, position = " ".join(typed), str(len(typed) - 1)
    answer = gmvae(_GMVAE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=position)
    assert answer.split() == completions


def test_nothing_typed_lists_the_commands():
    answer = gmvae(
        _GMVAE_COMPLETE="complete_fish", _TYPER_COMPLETE_FISH_ACTION="get-args", _TYPER_COMPLETE_ARGS="gmvae "
    )
    assert {"train", "infer", "segment"} <= {line.split("\t")[0] for line in answer.splitlines()}


def test_bash_completes_with_the_script(script, tmp_path):
    program = tmp_path / "gmvae"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{PROGRAM}" "$@"\n')
    program.chmod(0o755)
    (tmp_path / "completion.sh").write_text(script("bash"))
    asked = f"source {tmp_path}/completion.sh; COMP_WORDS=(gmvae train --rest); COMP_CWORD=2; _gmvae_completion gmvae"
    done = subprocess.run(
        ["bash", "--norc", "-c", f'{asked}; echo "${{COMPREPLY[@]}}"'],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "--restarts\n"
