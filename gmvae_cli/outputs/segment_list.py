"""The list of the segments of several files: those of a file all or none, and those of files that are left as they are.

A file that fails has no segments in the list, so its segments wait on the disk until its output is there.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import GmvaeError, SeriesError
from gmvae_cli.files.inputs import TEXT_SUFFIXES, InputFile, suffix_of
from gmvae_cli.files.table_reader import open_table
from gmvae_cli.files.table_writer import TableWriter, writer
from gmvae_cli.system.storage import size

_TEXT = (*TEXT_SUFFIXES, ".jsonl", ".ndjson")  # formats in which the cells of a column need no common type


class SegmentList:
    """The list of segments, which is opened when the first ones come; `open_segment_list` makes one.

    Attributes:
        path: of the list. missing: files that are left as they are, and whose segments are not in the list.
        is_written: whether there are any segments.
    """

    def __init__(self, path: str, files: SeriesConfig, opened: ExitStack) -> None:
        self.path, self._files, self._opened = path, files, opened
        self._target: TableWriter | None = None
        self._schema: Any = None
        self.missing: set[str] = set()
        self._earlier: Iterator[pa.Table] = iter(())

    @property
    def is_written(self) -> bool:
        """Whether the list has any segments."""
        return self._target is not None

    def keep(self, skipped: Mapping[str, bool]) -> None:
        """Keep the segments of files that are left as they are; of each whether the list that is there may know them.

        They come before those of other files.
        """
        self.missing = set(skipped)
        known = sorted(file for file, is_known in skipped.items() if is_known)
        if known:
            self._earlier = _segments_of(known, self.path, self._files)

    def write(self, table: pa.Table) -> None:
        """Append the segments of a file."""
        self.write_earlier(table.column_names)
        self._append(self.typed(table))

    def write_earlier(self, columns: Sequence[str] | None = None) -> None:
        """Append what is kept of an earlier list, once; nothing if it has other columns than these (None: any)."""
        for table in self._earlier:
            if columns is None or table.column_names == columns:
                self._append(table)
                self.missing -= set(table["file"].unique().to_pylist())

    def typed(self, table: pa.Table) -> pa.Table:
        """Return a table with the types of those before it, where the format needs that.

        Raises:
            SeriesError: it has cells of other kinds.
        """
        if suffix_of(self.path) in _TEXT or self._schema is None:
            return table
        if any(not _is_alike(*types) for types in zip(table.schema.types, self._schema.types, strict=True)):
            sentence = "a file has series or times of another type than those before it, which only CSV can hold"
            raise SeriesError(f"{self.path}: {sentence}; name a .csv for --segments")
        return table.cast(self._schema, safe=False)

    def _append(self, table: pa.Table) -> None:
        if self._target is None:
            how = self._files
            target = writer(self.path, delimiter=how.delimiter, decimal=how.decimal, digits=how.digits)
            self._target, self._schema = self._opened.enter_context(target), table.schema
        self._target.write(table)


def _is_alike(own: pa.DataType, other: pa.DataType) -> bool:
    """Return whether cells of one type can be those of another without a change of their meaning."""
    own, other = (kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (own, other))
    tests = (pa.types.is_temporal, pa.types.is_integer, pa.types.is_floating, pa.types.is_string)
    return pa.types.is_null(own) or [test(own) for test in tests] == [test(other) for test in tests]


class HeldSegments:
    """Segments of one table that wait in a file.

    Args:
        target: the list that they are for; None: of another process.
    """

    def __init__(self, file: Any, target: SegmentList | None = None) -> None:
        self._target, self._file = target, file
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Append segments."""
        if self._target is not None:
            table = self._target.typed(table)
        with _keeping():
            if self._writer is None:
                self._writer = pa.ipc.new_stream(self._file, table.schema)
            self._writer.write_table(table)

    def close(self) -> None:
        """End the file, of which at least one segment has been written."""
        with _keeping():
            self._writer.close()


def release(file: Any, target: SegmentList) -> None:
    """Append the segments in a file that `HeldSegments` has written to the list."""
    for batch in pa.ipc.open_stream(file):
        target.write(pa.Table.from_batches([batch]))


@contextmanager
def _keeping() -> Iterator[None]:
    """Turn an error of the operating system about waiting segments into one for the user."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise GmvaeError(f"segments cannot wait beside the output ({reason}); make room, or write elsewhere") from error


@contextmanager
def held_segments(target: SegmentList | None, directory: str | None) -> Iterator[HeldSegments | None]:
    """Hold the segments of a table until the block ends without an error; None where no list is wanted.

    Args:
        directory: of the file that they wait in; None takes TMPDIR.
    """
    if target is None:
        yield None
        return
    with _keeping():
        opened = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
    with opened as file:
        held = HeldSegments(file, target)
        yield held
        held.close()
        file.seek(0)
        release(file, target)


@contextmanager
def open_segment_list(path: str | None, files: SeriesConfig) -> Iterator[SegmentList | None]:
    """Open the list of the segments of several files, which appears when the block ends without an error.

    Args:
        path: None: no list is wanted. files: how CSV is written.
    """
    if path is None:
        yield None
        return
    with ExitStack() as opened:
        segments = SegmentList(path, files, opened)
        yield segments
        segments.write_earlier()


def _segments_of(known: Sequence[str], path: str, files: SeriesConfig) -> Iterator[pa.Table]:
    """Yield the segments of some files from an earlier list; nothing where there is none, or another table."""
    if size(path) is None:
        return
    config = SeriesConfig(delimiter=files.delimiter, decimal=files.decimal)
    with suppress(GmvaeError):
        for table in open_table(InputFile(path=path, relative=path), config).blocks():
            kept = table.filter(pc.is_in(table["file"], pa.array(known))) if "file" in table.column_names else ()
            if len(kept):
                yield kept
