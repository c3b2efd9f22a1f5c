"""The project's Markdown files, and the console blocks in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "sample_data" / "README.md"])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`\n]+`")
_STEP = re.compile(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)\n", re.MULTILINE)


class Step(NamedTuple):
    """A command of a console block, and what the document shows below it."""

    command: str
    output: str

    @property
    def asks_for_help(self) -> bool:
        """A step of the command reference, which is generated."""
        return self.command.endswith("--help")


def steps(path: Path) -> Iterator[Step]:
    """The commands of a document, in order."""
    for block in _CONSOLE.findall(path.read_text()):
        parts = _STEP.split(block)
        assert not parts[0], f"{path}: a console block must begin with $, not with {parts[0]!r}"
        for command, output in zip(parts[1::2], parts[2::2], strict=True):
            yield Step(command, output)


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return _FENCED.sub("", path.read_text())


def without_code(path: Path) -> str:
    """A document without fenced blocks and code spans."""
    return _SPAN.sub("", prose(path))
