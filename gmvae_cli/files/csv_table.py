"""CSV files read as blocks of rows: every cell as its text."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.files.cells import first_failure, first_true, shorten, spell
from gmvae_cli.files.inputs import InputFile, TextSource
from gmvae_cli.recognition.drawn_tables import drawn_table
from gmvae_cli.recognition.text_footer import footer_bytes
from gmvae_cli.recognition.text_layout import text_layout
from gmvae_cli.system.storage import is_url, problem, without_options

CSV_BLOCK_BYTES = 1 << 20
_CHECKED_LINES = 20  # of a cell, that may be rows which an open quote has swallowed
_LINE_BREAK = 10
_NOT_UTF8 = "is not UTF-8 text; name its encoding, for example --encoding windows-1252"


class CsvTable:
    """A CSV file. Every column is text and comes back as its own text; an empty cell is a null.

    Attributes:
        file: to read. name: in messages. delimiter: between cells. notes: about its layout.
        columns: names, in the file's order, those of `key=value` folders behind them. rows: None, known after reading.
    """

    format = "csv"
    rows: int | None = None

    def __init__(self, file: InputFile, config: SeriesConfig) -> None:
        self.file, self.name = file, file.name
        self.notes: list[Note] = []
        with reading(self.name):
            self._source = TextSource(file, config.encoding, config.comment)
            head, delimiter = self._source.head(), config.delimiter
            drawn = None if delimiter is not None else drawn_table(head.split("\n", config.skip_rows)[-1])
            if drawn is not None:
                self._source.rewrite(drawn.redraw)
                head, delimiter = self._source.head(), "\t"
                sentence = f"the columns of {self.name} are set apart by {drawn.how}; --delimiter names a character"
                self.notes.append(Note("delimiter", sentence))
            layout = text_layout(self.name, head, delimiter, csv_delimiter(file.path, config), config.skip_rows)
            if layout.lacks_remarks:
                self._source.rewrite(partial(_with_last_cells, delimiter=layout.delimiter, width=len(layout.names)))
            below, line = footer_bytes(self._source.tail(), layout.delimiter, layout.names)
        self.delimiter, self._own, self._layout, self._below = layout.delimiter, layout.names, layout, below
        if self._source.encoding_note is not None:
            self.notes.append(Note("encoding", f"{self.name} {self._source.encoding_note}"))
        self.notes += layout.notes
        if below:
            sentence = f"the last lines of {self.name}, from '{shorten(line)}' on, are left out"
            self.notes.append(Note("lines_below", sentence))
        self.columns = (*self._own, *(key for key, _ in new_folder_columns(self._own, file)))

    @property
    def is_small(self) -> bool:
        """Whether reading takes less time than starting a thread for it."""
        return self.file.path != "-" and self._source.nbytes <= CSV_BLOCK_BYTES // 16

    @cached_property
    def schema(self) -> Any:
        """Arrow schema: every column as text."""
        return pa.schema([pa.field(name, pa.string()) for name in self.columns])

    @property
    def likely_rows(self) -> int:
        """Number of rows, estimated from their length in the first block; too small for a compressed file."""
        first = self.first_block
        cells = sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in first.columns)
        return int(self._source.nbytes * first.num_rows / (cells + first.num_rows * len(self._own)))

    @cached_property
    def first_block(self) -> Any:
        """The first megabyte of the table, which shows what its columns hold; a SeriesError if there is no row."""
        first = next(self.blocks(), None)
        if first is None:
            raise SeriesError(f"{self.name}: holds a header but no row")
        return first

    def blocks(self, columns: Sequence[str] | None = None, first: int = 0) -> Iterator[Any]:
        """Read the rows as tables of about a megabyte.

        Args:
            columns: names, in the order wanted; None takes all. The cells of all columns are parsed in any case, so a
                row of the wrong length or a cell that is not UTF-8 is found in the first pass, before long work.
            first: row to begin with, from 0; those before are parsed as well, since only that tells where rows end.
        Raises:
            SeriesError: a row or a byte that cannot be read.
        """
        layout, row = self._layout, first
        with reading(self.name, layout.lines_above, layout.header), self._source.open_native(self._below) as stream:
            try:
                for batch in behind(self._batches(stream, pa.string()), first):
                    table = self._checked(pa.Table.from_batches([batch]), row).rename_columns(list(self._own))
                    row += batch.num_rows
                    yield with_folder_columns(table, columns, self.file, self._own)
            except pa.ArrowInvalid as error:
                if "UTF8" in str(error):
                    self._require_text()
                raise

    def _batches(self, stream: Any, kind: Any) -> Iterator[Any]:
        """Yield the rows of a stream as record batches whose columns are all of the Arrow type `kind`."""
        num_columns = len(self._own) + self._layout.extra_cells
        keys = [str(index) for index in range(num_columns)]  # names may repeat, keys do not
        reader = pyarrow.csv.open_csv(
            stream,
            # one thread is as fast on text, and only then are rows counted for messages
            pyarrow.csv.ReadOptions(
                use_threads=False,
                block_size=CSV_BLOCK_BYTES,
                skip_rows=self._layout.lines_above,
                column_names=keys,
            ),
            pyarrow.csv.ParseOptions(
                delimiter=self.delimiter,
                newlines_in_values=True,
                ignore_empty_lines=num_columns > 1,  # in a single column an empty line is a missing value
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(keys, kind), strings_can_be_null=True, null_values=[""]
            ),
        )
        yield from (batch for batch in reader if batch.num_rows)

    def _require_text(self) -> None:
        """Reject the first row that is not UTF-8; the rows are read again as bytes, to name it."""
        row = 0
        with self._source.open_native(self._below) as stream:
            for batch in self._batches(stream, pa.binary()):
                wrong = [index for index, column in enumerate(batch.columns) if not _is_utf8(column)]
                if wrong:
                    at, cell = _first_not_utf8(batch.column(wrong[0]))
                    sentence = f"row {row + at + 1}: column '{self._own[wrong[0]]}' holds '{spell(cell)}', which"
                    raise SeriesError(f"{self.name}: {sentence} {_NOT_UTF8}")
                row += batch.num_rows

    def _checked(self, table: Any, row: int) -> Any:
        """Return rows without the cells behind the last column; the first of them is the file's row `row`, from 0.

        Raises:
            SeriesError: a cell behind the last column, or one that holds whole rows.
        """
        for extra in range(len(self._own), table.num_columns):
            if table.column(extra).null_count < len(table):
                where = row + first_true(pc.is_valid(table.column(extra))) + 1
                raise SeriesError(
                    f"{self.name}: row {where}: {_cells(table.num_columns)}, but the header names {len(self._own)} "
                    f"columns ('{shorten(self._layout.header)}')"
                )
        for index, column in enumerate(table.columns[: len(self._own)] if len(self._own) > 1 else ()):
            if _holds_line_break(column):
                lines = pc.split_pattern(column.combine_chunks().fill_null(""), "\n")
                for position in np.flatnonzero(np.asarray(pc.list_value_length(lines)) > 2).tolist():
                    self._require_no_rows(lines[position].as_py()[1:-1], row + position, index)
        return table.select(range(len(self._own))) if self._layout.extra_cells else table

    def _require_no_rows(self, lines: Sequence[str], row: int, index: int) -> None:
        """Reject a cell whose inner lines have as many cells as the table has columns: its quote was left open."""
        widths = [len(next(csv.reader([line], delimiter=self.delimiter), [])) for line in lines[:_CHECKED_LINES]]
        if widths and all(width == len(self._own) + self._layout.extra_cells for width in widths):
            raise SeriesError(
                f"{self.name}: row {row + 1}: column '{self._own[index]}' holds a line break and what looks like rows "
                "behind it; is a quote left open?"
            )


def _with_last_cells(text: str, *, delimiter: str, width: int) -> str:
    """Return lines of text with an empty last cell wherever just that is lacking."""
    lines = text.splitlines(keepends=True)
    is_short = [line.count(delimiter) == width - 2 and '"' not in line for line in lines]
    pattern = re.compile(r"(?=\r?\n?$)")
    return "".join(
        pattern.sub(delimiter, line, count=1) if short else line for line, short in zip(lines, is_short, strict=True)
    )


def _holds_line_break(column: Any) -> bool:
    """Return whether a cell may hold a line break; the bytes of a whole column are compared at once."""
    buffers = (chunk.buffers()[2] for chunk in column.chunks)
    return any(bool((np.frombuffer(data, np.uint8) == _LINE_BREAK).any()) for data in buffers if data is not None)


def _is_utf8(column: Any) -> bool:
    try:
        pc.cast(column, pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _first_not_utf8(column: Any) -> tuple[int, str]:
    """Return the first row of a column of bytes that is not UTF-8, and its cell."""
    row = first_failure(len(column), lambda stop: _is_utf8(column[:stop]))
    return row, column[row].as_py().decode(errors="replace")


def behind(batches: Iterable[Any], rows: int) -> Iterator[Any]:
    """Yield record batches without so many of their first rows."""
    for batch in batches:
        if rows < batch.num_rows:
            yield batch.slice(rows) if rows else batch
        rows = max(0, rows - batch.num_rows)


def csv_delimiter(path: str, config: SeriesConfig) -> str:
    """Return the separator of cells: --delimiter, else tab in .tsv, ';' beside a decimal comma, ',' in all others."""
    if config.delimiter is not None:
        return config.delimiter
    if without_options(path).lower().endswith(".tsv"):
        return "\t"
    return ";" if config.decimal == "," else ","


def new_folder_columns(own: Sequence[str], file: InputFile) -> list[tuple[str, str]]:
    """Return the `key=value` folders on a file's path whose keys are no columns of the file."""
    return [(key, value) for key, value in file.folder_columns if key not in own]


def with_folder_columns(table: Any, columns: Sequence[str] | None, file: InputFile, own: Sequence[str]) -> Any:
    """Return some columns of a block (None: all), those of `key=value` folders behind its own."""
    for key, value in new_folder_columns(own, file):
        if columns is None or key in columns:
            table = table.append_column(key, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
    return table if columns is None else table.select(list(columns))


@contextmanager
def reading(name: str, header_lines: int = 0, header: str = "") -> Iterator[None]:
    """Turn whatever the system and the libraries raise while a file is read into one line; a closed pipe passes.

    Args:
        name: of the file. header_lines: lines above the first row. header: the line that was taken for the header.
    Raises:
        SeriesError: says what is wrong with the file.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SeriesError(f"{name}: line {line} {_NOT_UTF8}") from error
    except csv.Error as error:
        raise SeriesError(f"{name}: is not a CSV file ({error})") from error
    except pa.ArrowInvalid as error:
        raise SeriesError(f"{name}: {_invalid_content(str(error), header_lines, header)}") from error
    except pa.ArrowMemoryError as error:  # a damaged length, more likely than a cell that large
        raise SeriesError(f"{name}: cannot be read, is it damaged? ({shorten(str(error), 120)})") from error
    except (OSError, EOFError) as error:
        if is_url(name):
            raise problem(name, error) from error
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise SeriesError(f"{name}: cannot be read ({shorten(reason, 120)})") from error


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _invalid_content(message: str, header_lines: int, header: str) -> str:
    wrong_length = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)(?:: (.*))?", message, re.DOTALL)
    if wrong_length:
        row, expected, actual = map(int, wrong_length.groups()[:3])
        row, line = row - header_lines, wrong_length[4] or ""
        sentence = f"row {row}: {_cells(actual)}, but the header names {expected} columns; "
        if expected == 1 and re.fullmatch(r"\s*[+-]?\d*,\d+\s*", line):
            return f"{sentence}if '{line.strip()}' is a number with a decimal comma, give --decimal ,"
        if re.match(r"[^\w\s]", line) and line[0] not in "\"'+-.,;":
            return f"{sentence}if '{shorten(line)}' is a comment, give --comment '{line[0]}'"
        is_doubtful = actual >= 2 * expected  # the header itself, which may be a line above it
        if line.count('"') % 2 and not is_doubtful:
            return f"{sentence}is a quote left open?"
        if row == 1 or is_doubtful:
            return f"{sentence}if '{shorten(header)}' is no header, give --skip-rows N, the lines above the header"
        if line and not re.search(r"\d", line):
            return f"{sentence}if '{shorten(line)}' begins another table, split the file, or give --skip-rows N"
        return f"{sentence}is there a stray or an unquoted separator?"
    if "straddl" in message or "block size" in message:
        return "a row is longer than a megabyte; is a quote left open?"
    return f"cannot be read ({shorten(message, 120)})"
