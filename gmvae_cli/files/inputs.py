"""The files to read: paths, globs and folders, `key=value` folders as columns, standard input for several passes."""

import glob
import io
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from gmvae_cli.errors import ConfigError, SeriesError

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file to read.

    Args:
        path: as the user wrote it; "-" is standard input.
        relative: its path below the folder that all inputs share, where its result goes in an output folder.
        folder_columns: the `key=value` folders on its path, as columns of one value each.
    """

    path: str
    relative: str
    folder_columns: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The file's name in messages."""
        return "stdin" if self.path == "-" else self.path


def suffix_of(path: str) -> str | None:
    """Return the entry of SUFFIXES in which `path` ends, in any case; None if it ends in none; '-' counts as .csv."""
    if path == "-":
        return ".csv"
    return next((suffix for suffix in SUFFIXES if path.lower().endswith(suffix)), None)


def expand(inputs: Sequence[str]) -> list[InputFile]:
    """List the files that paths, globs and folders name, each once, in order of their names.

    Args:
        inputs: paths, globs or folders, or "-" alone. A folder stands for the tables in it and below; names that start
            with `.` or `_` are skipped.
    Raises:
        ConfigError: no input, or "-" beside others. SeriesError: a folder or glob without a table.
    """
    if not inputs:
        raise ConfigError("no input is named; give files, folders, globs, or - for stdin")
    if "-" in inputs:
        if len(inputs) > 1:
            raise ConfigError("- (stdin) cannot be read beside other inputs; give it alone")
        return [InputFile(path="-", relative="stdin.csv")]
    path_of: dict[str, str] = {}  # absolute path -> path as the user would write it
    roots: list[str] = []
    for text in inputs:
        root, paths = _expand_input(text)
        roots.append(os.path.abspath(root))
        for path in paths:
            path_of.setdefault(os.path.abspath(path), path)
    base = os.path.commonpath(roots)
    return [
        InputFile(path=path, relative=os.path.relpath(absolute, base), folder_columns=_folder_columns(path))
        for absolute, path in sorted(path_of.items(), key=lambda item: item[1])
    ]


def is_one_file(files: Sequence[InputFile], inputs: Sequence[str]) -> bool:
    """Return whether inputs name one file, not a folder or pattern that happens to hold a single file."""
    return len(files) == 1 and files[0].path == inputs[0]


def require_file(file: InputFile) -> None:
    """Check that a file is there and has a name that tells its format; standard input always is.

    Raises:
        SeriesError: no such file, a folder, or an unknown suffix.
    """
    if file.path == "-":
        return
    if not os.path.exists(file.path):
        raise SeriesError(f"{file.path}: there is no such file")
    if os.path.isdir(file.path):
        raise SeriesError(f"{file.path}: is a folder, not a file")
    if suffix_of(file.path) is None:
        raise SeriesError(f"{file.path}: the name ends in none of {', '.join(SUFFIXES)}; rename or convert the file")


def _expand_input(text: str) -> tuple[str, list[str]]:
    """Return the folder from which relative paths start, and the files of one input."""
    if os.path.isdir(text):
        paths = [str(path) for path in Path(text).rglob("*") if _is_table(path.relative_to(text))]
        paths = [path for path in paths if os.path.isfile(path)]
        if not paths:
            raise SeriesError(f"{text}: the folder holds no {', '.join(SUFFIXES)} file")
        return text, paths
    if glob.has_magic(text) and not os.path.exists(text):
        paths = [path for path in glob.glob(text, recursive=True) if suffix_of(path) and os.path.isfile(path)]
        if not paths:
            raise SeriesError(f"{text}: no {', '.join(SUFFIXES)} file matches")
        fixed = text[: next(position for position, letter in enumerate(text) if letter in "*?[")]
        return os.path.dirname(fixed) or ".", paths
    return os.path.dirname(text) or ".", [text]


def _is_table(path: Path) -> bool:
    """Return whether a path below a folder is data; tools keep their own files under names with `.` or `_` in front."""
    return suffix_of(path.name) is not None and not any(part.startswith((".", "_")) for part in path.parts)


def _folder_columns(path: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.partition("=") for part in Path(path).parent.parts)
    return tuple({unquote(key): unquote(value) for key, equals, value in pairs if equals and key}.items())


class StdinSpool:
    """Standard input, copied to a temporary file, so that it can be read any number of times.

    Raises:
        SeriesError: no temporary file can be made or filled.
    """

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            weakref.finalize(self, self._file.close)
            shutil.copyfileobj(sys.stdin.buffer, self._file, 1 << 20)
            self._file.flush()
        except OSError as error:
            reason = error.strerror or str(error)
            folder = tempfile.gettempdir()
            raise SeriesError(f"stdin: cannot be kept in {folder} ({reason}); set TMPDIR") from error

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def open(self) -> io.BufferedReader:
        """Open it from its start; readers do not disturb one another."""
        return io.BufferedReader(_FileView(self._file.fileno()))

    @property
    def own_path(self) -> str | None:
        """A path that opens it from its start, independently of other readers; None where the system has none."""
        path = f"/proc/self/fd/{self._file.fileno()}"
        return path if os.path.exists(path) else None


class _FileView(io.RawIOBase):
    """An open file, read from its start at a position of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._position = descriptor, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count
