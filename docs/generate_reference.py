"""The help texts in docs/reference/commands.md: `python docs/generate_reference.py` writes them anew from the program.

The text around the blocks is written by hand and stays.
"""

import re
import shlex
from pathlib import Path

import typer
from typer.testing import CliRunner

from gmvae_cli.cli import app

PAGE = Path(__file__).parent / "reference" / "commands.md"
WIDTH = 80
_BLOCK = re.compile(r"^```console\n\$ ([^\n]* --help)\n.*?^```$", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every command line whose help belongs on the page."""
    return ["gmvae --help", *(f"gmvae {name} --help" for name in typer.main.get_command(app).commands)]


def help_text(command: str) -> str:
    """What a help command prints on a terminal of 80 columns without colours."""
    runner = CliRunner(env={"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "NO_COLOR": "1"})
    printed = runner.invoke(app, shlex.split(command)[1:], prog_name="gmvae").stdout
    return "\n".join(line.rstrip() for line in printed.strip("\n").splitlines()) + "\n"


def written_anew(text: str) -> str:
    """A page with every help block replaced by what the program prints now."""
    return _BLOCK.sub(lambda block: f"```console\n$ {block[1]}\n{help_text(block[1])}```", text)


if __name__ == "__main__":
    PAGE.write_text(written_anew(PAGE.read_text()))
