"""The parts of an output that is cut, `part-00000.parquet` and so on, and what is known of those that are there.

A part appears whole or not at all, with its counts inside; `_job.json` beside the parts says which job they are of. So
a job that was killed goes on with the parts that are missing.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from gmvae_cli.cluster.stored_table import StoredTable, Stretch
from gmvae_cli.cluster.whole_files import FileLabelling
from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import ConfigError, Note, SeriesError
from gmvae_cli.files.atomic import atomic, make_folder
from gmvae_cli.files.inputs import suffix_of
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.files.table_writer import ParquetWriter
from gmvae_cli.outputs.label_table import Outputs, open_outputs
from gmvae_cli.outputs.label_totals import LabelCounts
from gmvae_cli.system import storage

_KEY = b"gmvae.part"
_JOB = "_job.json"


class PartRecord(NamedTuple):
    """Facts about a part: its counts, the notes about its columns, and the missing values of each channel."""

    counts: LabelCounts
    notes: tuple[Note, ...]
    missing: list[int]


class _PartWriter(ParquetWriter):
    def describe(self, record: PartRecord) -> None:
        """Keep the record in the file."""
        self.add_metadata({_KEY: json.dumps(record)})


class OpenPart(NamedTuple):
    """A part that is written. describe: keeps the record in it, once all rows have been written."""

    outputs: Outputs
    describe: Callable[[PartRecord], None]


@dataclass(frozen=True)
class PartFile:
    """A file of the output: a part, or the whole output of an input that is not cut.

    Args:
        path: of it. file: position of its input among those of the table. is_whole: whether it is no part.
    """

    path: str
    file: int
    is_whole: bool

    @contextmanager
    def opened(self, reader: SeriesReader, config: SeriesConfig) -> Iterator[OpenPart]:
        """Write the file; it appears when the block ends without an error.

        Args:
            reader: of its rows. config: the options of the output.
        """
        if self.is_whole:
            make_folder(storage.parent(self.path))
            with open_outputs(reader, self.path, None, config) as outputs:
                yield OpenPart(outputs, lambda _: None)
            return
        with atomic(self.path) as temporary, _PartWriter(temporary) as writer:
            yield OpenPart(Outputs(writer, None, typed=reader.format == "csv"), writer.describe)

    def record(self) -> PartRecord | None:
        """Read the record of a part that is there; None where it is not, or has none."""
        if self.is_whole or storage.size(self.path) is None:
            return None
        with storage.open_native(self.path) as file:
            text = (pq.read_metadata(file).metadata or {}).get(_KEY)
        if text is None:
            return None
        counts, notes, missing = json.loads(text)
        if len(counts) != len(LabelCounts._fields):
            return None  # an earlier version has written it
        return PartRecord(LabelCounts(*counts), tuple(Note(*note) for note in notes), missing)


class PartFolder:
    """The outputs of a table that is labelled in stretches.

    A file that is one stretch has the output that is named, if that is the name of a table; else its parts lie in a
    folder of that name.

    Attributes:
        parts: of the stretches. records: of those that are there, None of the others.
    Raises:
        ConfigError: a folder has parts of something else. SeriesError: it cannot be written.
    """

    def __init__(
        self, table: StoredTable, stretches: Sequence[Stretch], outputs: Sequence[str], labelling: FileLabelling
    ) -> None:
        self.parts: list[PartFile] = []
        self.records: list[PartRecord | None] = []
        self._folders: list[tuple[str, int]] = []
        for file, output in enumerate(outputs):
            own = [stretch for stretch in stretches if stretch.file == file]
            if len(own) == 1 and suffix_of(output) is not None:
                self.parts.append(PartFile(output, file, is_whole=True))
                self.records.append(None)
                continue
            is_same = self._begin(output, _identity(table, file, own, labelling))
            parts = [
                PartFile(storage.joined(output, f"part-{stretch.part:05d}.parquet"), file, is_whole=False)
                for stretch in own
            ]
            self.parts += parts
            self.records += [part.record() if is_same else None for part in parts]
            self._folders.append((output, len(parts)))

    def finish(self) -> list[PartRecord]:
        """Mark every folder as complete; return the records of all parts."""
        for folder, parts in self._folders:
            with atomic(storage.joined(folder, "_SUCCESS.json")) as temporary, open(temporary, "w") as file:
                file.write(f"{json.dumps({'parts': parts})}\n")
        records = [record for record in self.records if record is not None]
        assert len(records) == len(self.records)
        return records

    def _begin(self, folder: str, identity: str) -> bool:
        """Make a folder ready; return whether its parts are of the same job."""
        if storage.size(folder) is not None:
            raise SeriesError(f"{folder}: is a file, but the input is cut into parts, which need a folder")
        make_folder(folder)
        path = storage.joined(folder, _JOB)
        old = [name for name in _names(folder) if name.startswith("part-") or name in (_JOB, "_SUCCESS.json")]
        if storage.size(path) is not None:
            with storage.open_binary(path) as file:
                if file.read().decode() == identity:
                    return True
        elif old:
            raise ConfigError(f"{folder}: has {old[0]}, which this program did not put there; name another folder")
        for name in old:  # of a job with another input, model or options
            storage.remove(storage.joined(folder, name))
        with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as text:
            text.write(identity)
        return False


def _identity(table: StoredTable, file: int, stretches: Sequence[Stretch], labelling: FileLabelling) -> str:
    """Return all that determines the parts of an output, as text; of inputs size and time of change, not the rows."""
    with storage.open_binary(labelling.model_path) as model:
        digest = hashlib.file_digest(model, "sha256").hexdigest()  # type: ignore[arg-type]
    paths = [entry.path for entry in table.files]
    content: dict[str, Any] = {
        "gmvae": version("gmvae"),
        "model": digest,
        "inputs": [[path, storage.size(path), storage.modified(path)] for path in paths],
        "file": file,
        "stretches": [[stretch.start, stretch.stop] for stretch in stretches],
        "options": asdict(labelling.config) | asdict(table.config),
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _names(folder: str) -> list[str]:
    """List the names of the files in a folder."""
    if storage.is_url(folder):
        return [os.path.basename(path) for path in (storage.listing(f"{folder.rstrip('/')}/") or ("", []))[1]]
    return sorted(entry.name for entry in os.scandir(folder))
