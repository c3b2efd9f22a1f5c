"""What the console blocks show below their commands: `python docs/generate_examples.py [FILE.md ...]` writes it anew.

Commands run in a folder with a copy of sample_data/. What a document leaves out stays out: a last line `...` stands for
the rest of what a command prints, and warnings are shown where the document shows warnings. A line about the time that
something took stays as it was.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
REST = "..."
SPOKEN = ("warning: ", "note: ")  # lines of stderr
TIMED = ("time ", "training ")
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STEP = re.compile(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)\n", re.MULTILINE)


def run(command: str, folder: Path) -> tuple[str, str]:
    """stdout and stderr of a line of a shell in which `gmvae` is this program, on a page of 80 columns."""
    program = folder.parent / "bin" / "gmvae"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gmvae_cli "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "80",
    }
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{command}\n{done.stderr}")
    return done.stdout, done.stderr


def shown(output: str, stdout: str, stderr: str) -> str:
    """What a document shows, brought up to date."""
    timed = {line.split()[0]: line for line in output.splitlines() if line.startswith(TIMED)}
    lines = [line.rstrip() for line in stdout.strip("\n").splitlines()] if output else []
    lines = [timed.get(line.split()[0], line) if line.startswith(TIMED) else line for line in lines]
    said = any(line.startswith(SPOKEN) for line in output.splitlines())
    warnings = [line for line in stderr.splitlines() if said and line.startswith(SPOKEN)]
    if output.rstrip("\n").endswith(REST):
        kept = sum(not line.startswith(SPOKEN) for line in output.splitlines()) - 1
        lines = [*lines[:kept], REST]
    return "".join(f"{line}\n" for line in [*warnings, *lines])


def written_anew(text: str, folder: Path) -> str:
    """A document with the output of every command but `--help` as it is now."""

    def block(match: re.Match[str]) -> str:
        parts = _STEP.split(match[1])
        steps = zip(parts[1::2], parts[2::2], strict=True)
        body = (
            f"$ {command}\n{output if command.endswith('--help') else shown(output, *run(command, folder))}"
            for command, output in steps
        )
        return f"```console\n{''.join(body)}```"

    return _CONSOLE.sub(block, text)


def main(paths: list[Path]) -> None:
    """Write documents anew, each in a folder of its own."""
    for path in paths:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "work"
            folder.mkdir()
            shutil.copytree(ROOT / "sample_data", folder / "sample_data")
            path.write_text(written_anew(path.read_text(), folder))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
