"""README.md cannot lie: its help blocks are the commands' own, and every console block runs.

`python tests/test_readme.py` writes the help blocks anew.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gmvae_cli import cli

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks():
    """(command, the output shown below it) of every console block, in order."""
    for block in BLOCK.findall(README.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def is_help(command):
    return command.endswith(" --help")


def help_text(command):
    """What a help command prints on a page of 80 columns."""
    return CliRunner(env={"COLUMNS": "80"}).invoke(cli.app, shlex.split(command)[1:], prog_name="gmvae").stdout


@pytest.mark.parametrize(("command", "output"), [block for block in blocks() if is_help(block[0])])
def test_help_blocks_equal_help(command, output):
    assert output == help_text(command), "run `python tests/test_readme.py` to write it anew"


def test_every_command_has_its_help_block():
    shown = {command for command, _ in blocks()}
    for name in typer.main.get_command(cli.app).commands:
        assert f"gmvae {name} --help" in shown


def test_console_blocks_run(run, tmp_path, monkeypatch, sample_data):
    shutil.copytree(sample_data, tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    for command, output in blocks():
        if not is_help(command):
            program, *arguments = shlex.split(command)
            assert program == "gmvae"
            result = run(*arguments)
            assert result.exit_code == 0, f"{command}\n{result.output}"
            assert result.stdout.startswith(output)


def test_make_targets_are_those_of_the_makefile():
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", README.read_text()):
        assert re.search(rf"^# .+\n{target}:", makefile, re.MULTILINE), target


if __name__ == "__main__":
    text = re.sub(
        r"^\$ ([^\n]* --help)\n.*?(?=^\$ |^```$)",
        lambda found: f"$ {found[1]}\n{help_text(found[1])}",
        README.read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    README.write_text(text)
