"""The files to read: paths, URLs, globs, folders, `key=value` folders as columns, stdin for several passes."""

import codecs
import contextlib
import glob
import gzip
import io
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.recognition.text_encoding import recognised_encoding
from gmvae_cli.system.storage import LocalCopy, decoded, is_url, listing, without_options

_SPOOL_BYTES = 1 << 20  # copied at once
_HEAD_BYTES = 1 << 16  # that show the layout of a file
_TAIL_BYTES = 1 << 12  # in which a total or a comment below the table is looked for
_MAGIC = {
    b"PAR1": "is Parquet; name it .parquet",
    b"ARROW1": "is Arrow; name it .arrow",
    b"\x1f\x8b": "is gzip; name it .csv.gz",
    b"PK\x03\x04": "is a zip archive or a spreadsheet, not text; save the sheet as CSV",
}
TEXT_SUFFIXES = (".csv", ".csv.gz", ".tsv")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".arrow", ".feather", ".jsonl", ".ndjson")


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file to read.

    Args:
        path: as the user wrote it, a URL as well; "-" is standard input.
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
    name = without_options(path).lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def expand(inputs: Sequence[str]) -> list[InputFile]:
    """List the files that paths, globs and folders name, each once, in order of their names.

    Args:
        inputs: paths, globs or folders, local ones or URLs, or "-" alone. A folder stands for the tables in it and
            below; names that start with `.` or `_` are skipped.
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
            path_of.setdefault(os.path.abspath(decoded(path)), path)
    base = os.path.commonpath(roots)
    return [
        InputFile(path=path, relative=os.path.relpath(absolute, base), folder_columns=_folder_columns(decoded(path)))
        for absolute, path in sorted(path_of.items(), key=lambda item: natural_key(decoded(item[1])))
    ]


def natural_key(path: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts names as people do: a number in a name by its value, so log_2 comes before log_12."""
    parts = (part for part in re.split(r"(\d+)", path) if part)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def is_one_file(files: Sequence[InputFile], inputs: Sequence[str]) -> bool:
    """Return whether inputs name one file, not a folder or pattern that happens to hold a single file."""
    return len(files) == 1 and files[0].path == inputs[0]


def in_utf8(path: str) -> str:
    """Return a path as text that can be written, whatever bytes are in it."""
    return path.encode("utf-8", "backslashreplace").decode()


def would_be_read(path: str, inputs: Sequence[str]) -> bool:
    """Return whether the folders and globs among inputs would name a file of this path, if it were there."""
    if suffix_of(path) is None or is_url(path):
        return False
    target = os.path.realpath(path)
    for text in inputs:
        if os.path.isdir(text) and Path(target).is_relative_to(os.path.realpath(text)):
            return _is_table(Path(target).relative_to(os.path.realpath(text)))
        if glob.has_magic(text) and Path(target).match(os.path.abspath(text)):
            return True
    return False


def require_file(file: InputFile) -> None:
    """Check that a file is there and has a name that tells its format; standard input always is.

    Raises:
        SeriesError: no such file, a folder, an unknown suffix, or a name that is no text.
    """
    if file.path == "-":
        return
    if in_utf8(file.path) != file.path:
        raise SeriesError(f"{in_utf8(file.path)}: the name is not UTF-8, which no table can be opened by; rename it")
    if not is_url(file.path) and not os.path.exists(file.path):  # of a URL its opening says so, at no cost
        raise SeriesError(f"{file.path}: there is no such file")
    if os.path.isdir(file.path):
        raise SeriesError(f"{file.path}: is a folder, not a file")
    if suffix_of(file.path) is None:
        raise SeriesError(
            f"{file.path}: the name ends in none of {', '.join(SUFFIXES)}; rename a table of text to .csv, whatever "
            "separates its cells; convert other files"
        )


def _expand_input(text: str) -> tuple[str, list[str]]:
    """Return the folder from which relative paths start, and the files of one input."""
    if is_url(text):
        return _expand_url(text)
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


def _expand_url(url: str) -> tuple[str, list[str]]:
    """Do the same for a URL."""
    found = listing(url)
    if found is None:
        return os.path.dirname(decoded(url)), [url]
    folder, paths = found
    if decoded(url).rstrip("/") == folder:
        paths = [path for path in paths if _is_table(Path(os.path.relpath(decoded(path), folder)))]
    paths = [path for path in paths if suffix_of(path)]
    if not paths:
        raise SeriesError(f"{url}: holds or matches no {', '.join(SUFFIXES)} file")
    return folder, paths


def _is_table(path: Path) -> bool:
    """Return whether a path below a folder is data; tools keep their own files under names with `.` or `_` in front."""
    return suffix_of(path.name) is not None and not any(part.startswith((".", "_")) for part in path.parts)


def _folder_columns(path: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.partition("=") for part in Path(path).parent.parts)
    return tuple({unquote(key): unquote(value) for key, equals, value in pairs if equals and key}.items())


class TextSource:
    """The text of a file or of standard input, as UTF-8, from its start any number of times.

    Args:
        encoding: of the text; None: UTF-8, or what its first bytes show. comment: character that begins lines to
            leave out.
    Attributes:
        encoding_note: a sentence about an encoding that was recognised, without its subject; None: UTF-8, or given.
    Raises:
        SeriesError: no text, or bytes that the encoding does not have.
    """

    def __init__(self, file: InputFile, encoding: str | None, comment: str | None) -> None:
        self._file, self._path = file, file.path
        self._spool = Spool() if file.path == "-" else None
        if is_url(file.path):
            self._download = LocalCopy(file.path)
            self._path = self._download.path
        with self.open() as stream:
            start = stream.read(_HEAD_BYTES)
        for magic, cause in _MAGIC.items():
            if start.startswith(magic):
                raise SeriesError(f"{file.name}: {cause}")
        found = recognised_encoding(start) if encoding is None else None
        self.encoding_note = None if found is None else found.sentence
        encoding = encoding or (found.name if found is not None else "utf-8")
        if comment is not None or encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig", "ascii"):
            self._copy(encoding, None if comment is None else partial(_comment_lines(comment).sub, ""))

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Change the text, which is given in portions of whole lines."""
        self._copy("utf-8", change)

    def _copy(self, encoding: str, change: Callable[[str], str] | None) -> None:
        with self.open() as stream:
            try:
                spool = Spool(stream, encoding, change)
            except UnicodeDecodeError as error:
                raise SeriesError(f"{self._file.name}: {self._not_text(encoding)}") from error
        self._spool = spool

    @property
    def nbytes(self) -> int:
        """Length in bytes; of a compressed file as it lies on the disk."""
        return os.path.getsize(self._path) if self._spool is None else self._spool.nbytes

    @property
    def _is_compressed(self) -> bool:
        return self._spool is None and without_options(self._file.path).lower().endswith(".gz")

    def open(self) -> io.BufferedReader:
        """Open it from its start."""
        if self._spool is not None:
            return self._spool.open()
        if self._is_compressed:
            return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(self._path)))
        return open(self._path, "rb")

    def _not_text(self, encoding: str) -> str:
        """Describe the first line that is not text in an encoding."""
        decoder, number = codecs.getincrementaldecoder(encoding)(), 1
        with self.open() as stream, contextlib.suppress(UnicodeDecodeError):
            for line in stream:
                decoder.decode(line)
                number += 1
        return f"line {number} is not text in the encoding {encoding}; --encoding names another"

    def open_native(self, below: int) -> Any:
        """Open it for Arrow, whose threads read ahead, without the last `below` bytes.

        Arrow gets no Python file and no Python function: a thread of its own that waits for Python's lock when the
        reading is abandoned would hang or abort the process.
        """
        import pyarrow as pa  # not above: asking for help would load it

        path = self._path if self._spool is None else self._spool.own_path
        if path is None:  # on macOS, where only a Python file reads standard input again
            return self.open()
        if self._is_compressed:
            return pa.CompressedInputStream(pa.OSFile(path), "gzip")
        return pa.OSFile(path).get_stream(0, self.nbytes - below) if below else pa.OSFile(path)

    def head(self) -> str:
        """Return the first lines, whole ones.

        Raises:
            UnicodeError: no UTF-8.
        """
        with self.open() as stream:
            head = stream.read(_HEAD_BYTES)
            if len(head) == _HEAD_BYTES:
                end = max(head.rfind(b"\n"), head.rfind(b"\r", 0, -1)) + 1
                head = head[:end] if end else head + stream.readline()
        return head.decode("utf-8-sig")

    def tail(self) -> bytes:
        """Return the last bytes; none of a compressed file."""
        if self._is_compressed:
            return b""
        start = max(0, self.nbytes - _TAIL_BYTES)
        if self._spool is not None:
            return self._spool.read(start, _TAIL_BYTES)
        with open(self._path, "rb") as stream:
            stream.seek(start)
            return stream.read()


class Spool:
    """A file, copied to a temporary one as UTF-8, so that it can be read any number of times by the system's means.

    Args:
        source: to copy; None takes standard input. encoding: of its text; None copies the bytes.
        change: of its lines, given in portions of whole ones.
    Raises:
        SeriesError: no temporary file can be made or filled. UnicodeError: bytes that the encoding does not have.
    """

    def __init__(
        self,
        source: BinaryIO | None = None,
        encoding: str | None = None,
        change: Callable[[str], str] | None = None,
    ) -> None:
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            weakref.finalize(self, self._file.close)
            if encoding is None:
                shutil.copyfileobj(source or sys.stdin.buffer, self._file, _SPOOL_BYTES)
            else:
                text = io.TextIOWrapper(source or sys.stdin.buffer, encoding, newline="")
                for portion in _portions(text):
                    self._file.write((portion if change is None else change(portion)).encode())
                text.detach()  # the caller closes its file
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

    def read(self, start: int, nbytes: int) -> bytes:
        """Return some of its bytes."""
        return os.pread(self._file.fileno(), nbytes, start)

    @property
    def own_path(self) -> str | None:
        """A path that opens it from its start, independently of other readers; None where the system has none."""
        path = f"/proc/self/fd/{self._file.fileno()}"
        return path if os.path.exists(path) else None


def _comment_lines(mark: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t]*{re.escape(mark)}[^\r\n]*(\r\n|\r|\n|\Z)", re.MULTILINE)


def _portions(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield text in portions of whole lines, without a mark at its start."""
    waiting = ""
    while portion := text.read(_SPOOL_BYTES):
        portion = waiting + portion
        end = max(portion.rfind("\n"), portion.rfind("\r", 0, -1)) + 1
        portion, waiting = portion[:end], portion[end:]
        yield portion.removeprefix("\ufeff")
    yield waiting


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
