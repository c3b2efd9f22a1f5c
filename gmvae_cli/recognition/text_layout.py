"""The layout of a CSV file, from its first and last lines: delimiter, what stands above and below, header, units."""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.files.cells import shorten
from gmvae_cli.recognition.number_forms import is_number, is_quantity, is_value, kind_of
from gmvae_cli.recognition.text_footer import COMMENTS

_RECORDS = 60  # of the first lines that show the layout
_DELIMITERS = (";", "\t", ",", "|")  # the likelier ones first
_FLAGS = {"\t": "$'\\t'"}  # how a shell takes a delimiter; others stand in quotes
_REMARKS = ("comment", "comments", "remark", "remarks", "note", "notes", "kommentar", "bemerkung", "commentaire")
_COMPARED_ROWS = 5  # with a first line that may be a row as well
_FEWEST_VALUES = 3  # of a column, before it is one of values
_LAST_ROWS = 10  # of the first lines, or half of them, that show which columns hold values
_MOST_UNITS = 3  # rows below a header that hold units, kinds of values, or names of another level


class Record(NamedTuple):
    """A line of a table: its cells, the number of lines of text up to its end, whether an empty line is above it."""

    cells: list[str]
    line: int
    is_behind_gap: bool = False


Records = list[Record]


@dataclass(frozen=True, kw_only=True)
class TextLayout:
    """The layout of a CSV file.

    Args:
        names: of the columns. delimiter: between cells. lines_above: of text before the first row, the header's among
            them. header: the line that was taken for it.
        extra_cells: empty ones behind the last column in each row. lacks_remarks: whether rows lack the cell of the
            last column, which holds remarks. notes: about what was recognised.
    """

    names: tuple[str, ...]
    delimiter: str
    lines_above: int
    header: str
    extra_cells: int = 0
    lacks_remarks: bool = False
    notes: tuple[Note, ...] = ()


def text_layout(name: str, text: str, delimiter: str | None, usual: str, skip_rows: int) -> TextLayout:
    """Recognise the layout of a CSV file from its first lines.

    Args:
        name: of the file, in messages. text: the first lines, whole ones. delimiter: given, or None; `usual` is the
            first choice then. skip_rows: lines to leave out.
    Raises:
        SeriesError: no header, or one that cannot be used.
    """
    lines = list(io.StringIO(text, newline=""))
    start, notes = skip_rows, list[Note]()
    while start < len(lines) and not lines[start].strip():
        start += 1
    declared = re.fullmatch(r'"?sep=(.)"?[;,]*\s*', lines[start], re.IGNORECASE) if start < len(lines) else None
    if declared:
        delimiter, start = delimiter or declared[1], start + 1
        sentence = f"the cells of {name} are separated by {_flag(delimiter)}, as its first line says"
        notes.append(Note("delimiter", sentence))
    begin, comment = _behind_comments(lines, start)
    if delimiter is None:
        delimiter = _delimiter(lines[begin:], usual)
        if delimiter != usual:
            sentence = f"the cells of {name} are separated by {_flag(delimiter)}; --delimiter names another character"
            notes.append(Note("delimiter", sentence))
    records = _records(lines[begin:], delimiter)
    if not records:
        raise SeriesError(f"{name}: is empty; expected a header line and rows")
    if comment is not None and _is_header_of(comment[1], records, delimiter):
        names = next(csv.reader([comment[1]], delimiter=delimiter))
        layout = _Table(name, delimiter, [Record(names, 0), *records], begin, notes)
        notes.append(Note("header", f"the header is the line '{shorten(comment[0])}'; --skip-rows N leaves lines out"))
    else:
        if comment is not None:
            sentence = f"lines of comment above the header are left out, the last is '{shorten(comment[0])}'"
            notes.append(Note("lines_above", sentence))
        layout = _Table(name, delimiter, records, begin, notes)
        layout.skip_preamble()
    return layout.recognised("".join(lines))


class _Table:
    """The records of a table's first lines, from its header on.

    Args:
        records: header first. first_line: lines of text above the first of them.
    """

    def __init__(self, name: str, delimiter: str, records: Records, first_line: int, notes: list[Note]) -> None:
        self.name, self.delimiter, self.notes = name, delimiter, notes
        self.records, self.first_line = records, first_line

    def skip_preamble(self) -> None:
        """Leave out lines above the header, if the header is beyond doubt."""
        first = _lines_of_words(self.records).start
        if first == 0:
            return
        lines = f"{first} {'line' if first == 1 else 'lines'}"
        header = shorten(self.delimiter.join(self.records[first].cells))
        sentence = f"{lines} above the header '{header}' left out; --skip-rows N says where the header stands"
        self.notes.append(Note("lines_above", sentence))
        self.records = self.records[first:]

    def recognised(self, text: str) -> TextLayout:
        """Return the layout, after checking the header."""
        words = _lines_of_words(self.records)
        units = len(words) - 1 if words.start == 0 else 0
        header, *levels = [cells for cells, *_ in self.records[: units + 1]]
        names, extra_cells = [_bare(cell) for cell in header], 0
        body = [cells for cells, *_ in self.records[units + 1 :]]
        self._require_header(header, body)
        if units:
            self._note_units(levels)
            index = _bare(levels.pop()[0]) if units > 1 and not any(levels[-1][1:]) else ""
            if len(set(names)) < len(names):
                rows = [names, *(map(_bare, cells) for cells in levels)]
                names = [" ".join(dict.fromkeys(filter(None, parts))) for parts in zip(*rows, strict=True)]
            names[0] = index or names[0]  # as pandas writes it, below the names of columns
        widths = {len(cells) for cells in body}
        if widths == {len(names) + 1} and not any(cells[-1].strip() for cells in body):
            extra_cells = 1
        elif widths == {len(names) + 1} and _are_row_names([cells[0] for cells in body], self.delimiter):
            names.insert(0, "")
        elif widths == {len(names) - 1} and not names[-1]:
            names.pop()
        lacks_remarks = _ends_in_remarks(names) and {len(names) - 1} <= widths <= {len(names) - 1, len(names)}
        if lacks_remarks:
            sentence = f"rows of {self.name} lack the cell of the last column '{names[-1]}', which is taken as empty"
            self.notes.append(Note("short_rows", sentence))
        return TextLayout(
            names=tuple(names),
            delimiter=self.delimiter,
            lines_above=self.first_line + self.records[units].line,
            header=self.delimiter.join(header),
            extra_cells=extra_cells,
            lacks_remarks=lacks_remarks,
            notes=tuple(self.notes),
        )

    def _note_units(self, rows: Sequence[Sequence[str]]) -> None:
        shown = shorten(self.delimiter.join(rows[0]))
        lines = "the line" if len(rows) == 1 else f"{len(rows)} lines"
        sentence = f"{lines} below the header ('{shown}') {'is' if len(rows) == 1 else 'are'} left out as units"
        self.notes.append(Note("units_row", f"{sentence}; remove what is no unit"))

    def _require_header(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        """Reject a first line that is no header, or one that another delimiter separates."""
        if any("\0" in column for column in header):
            raise SeriesError(
                f"{self.name}: the header holds null bytes; if it is text, name its encoding with --encoding"
            )
        other = next((mark for mark in _DELIMITERS if len(header) == 1 and mark in header[0]), self.delimiter)
        if other != self.delimiter:
            raise SeriesError(
                f"{self.name}: the header is one column '{shorten(header[0])}'; "
                f"if its columns are separated by {_flag(other)}, give --delimiter {_flag(other)}"
            )
        line = shorten(self.delimiter.join(header))
        row = body[0][0] if body and len(header) == 1 and len(header[0].split()) > 1 else ""
        if len(row.split()) > 1 and all(map(is_value, row.split())) and not is_quantity(row):
            raise SeriesError(
                f"{self.name}: the header is one column '{line}'; if columns are set apart by blanks, their numbers "
                "differ from row to row; save it as CSV, or fill empty cells with NA"
            )
        if all(map(is_number, header)) and not _are_numbered(header, body):
            raise SeriesError(
                f"{self.name}: the first line holds numbers ('{line}'), not column names; add a header line"
            )
        if not _is_header(header) and not all(map(is_number, header)) and _is_alike(header, body):
            raise SeriesError(
                f"{self.name}: the first line holds data ('{line}'), not column names; add a header line, or give "
                "--skip-rows if the header stands below"
            )


def _behind_comments(lines: Sequence[str], start: int) -> tuple[int, tuple[str, str] | None]:
    """Return the first line behind lines of comment and empty ones, and the last comment, with and without its mark."""
    comment = None
    begin = start
    while begin < len(lines):
        line = lines[begin].strip()
        mark = next((mark for mark in COMMENTS if line.startswith(mark)), None)
        if line and mark is None:
            break
        if mark is not None:
            if mark == "#" and re.match(r"#\s*[,;\t|]", line):  # a column named #
                break
            comment = line, line.lstrip("#%/! \t")
        begin += 1
    return (begin, comment) if begin < len(lines) else (start, None)


def _is_header_of(comment: str, records: Records, delimiter: str) -> bool:
    """Return whether a comment names the columns of the rows below it."""
    names = next(csv.reader([comment], delimiter=delimiter), [])
    width = len(records[0][0])
    return len(names) == width > 1 and _is_header(names) and not _is_header(records[0][0])


def _delimiter(lines: Sequence[str], usual: str) -> str:
    """Return the character that separates the first lines into the same number of cells, or the header into one less.

    Where several do, it is the one that leaves more numbers and dates, the usual one before others.
    """
    even: dict[str, list[list[str]]] = {}
    for candidate in dict.fromkeys((usual, *_DELIMITERS)):
        records = [cells for cells, *_ in _records(lines, candidate)]
        if not records:
            return usual
        widths = {len(cells) for cells in records[1:]} or {len(records[0])}
        if len(records[0]) > 1 and len(widths) == 1 and widths <= {len(records[0]), len(records[0]) + 1}:
            even[candidate] = records
    if not even:
        others = [mark for mark in _DELIMITERS if (usual, mark) != (";", ",")]  # a decimal comma
        below = {mark: rows for mark in dict.fromkeys((usual, *others)) if (rows := _rows_below(lines, mark))}
        return max(below, key=lambda mark: _share_of_values(below[mark]), default=usual)
    if len(even) < 2:
        return next(iter(even))
    return max(even, key=lambda candidate: _share_of_values(even[candidate][1:]))


def _rows_below(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the second half of the first records, below what a program writes above, if it has cells in columns."""
    records = _records(lines, delimiter)
    below = [cells for cells, *_ in records[len(records) // 2 :]]
    widths = {len(cells) for cells in below}
    is_even = len(widths) == 1 and min(widths) > 1 and all(any(map(is_value, cells)) for cells in below)
    return below if is_even else []


def _share_of_values(rows: Sequence[Sequence[str]]) -> float:
    cells = [cell for row in rows for cell in row]
    return sum(map(_is_measured, cells)) / max(len(cells), 1)


def _records(lines: Sequence[str], delimiter: str) -> Records:
    """Return the first records that are not empty; a broken quote ends them."""
    reader = csv.reader(lines, delimiter=delimiter)
    records, is_behind_gap = Records(), False
    try:
        for cells in itertools.islice(reader, _RECORDS):
            if cells:
                records.append(Record(cells, reader.line_num, is_behind_gap))
            is_behind_gap = not cells
    except csv.Error:
        if not records:
            raise
    return records


def _lines_of_words(records: Records) -> range:
    """Return which records hold the header and units: lines of words right above the rows of values.

    It is the first record alone where that is not certain: where no column shows values, where rows of values stand
    above the lines of words as well, where these are many, or go on upwards as names beside values.
    """
    num_last = max(_FEWEST_VALUES, min(_LAST_ROWS, len(records) // 2))
    width = Counter(len(record.cells) for record in records[len(records) // 2 :]).most_common(1)[0][0]
    last = [record.cells for record in records if len(record.cells) == width][-num_last:]
    kinds = {index: kinds for index, column in enumerate(zip(*last, strict=True)) if (kinds := _kinds(column))}
    above = records[: -len(last)]

    has_remarks = any(len(record.cells) == width + 1 and _ends_in_remarks(record.cells) for record in above)
    widths = (width, width + has_remarks)

    def found(record: Record) -> list[bool]:
        """Return whether each cell that is not missing, of the columns of values, is of their kind."""
        shown = {index: kind_of(record.cells[index]) for index in kinds} if len(record.cells) in widths else {}
        return [kind in kinds[index] for index, kind in shown.items() if kind]

    is_words = [bool(fits) and not any(fits) for fits in map(found, above)]
    stop = max(
        (row + 1 for row, record in enumerate(above) if is_words[row] or len(record.cells) not in widths), default=0
    )
    start = stop
    while start and is_words[start - 1] and (start == stop or not records[start].is_behind_gap):
        start -= 1
    is_table = [bool(fits) and all(fits) for fits in map(found, above[:start])]
    num_rows = sum(_is_row(record.cells) for record in above[:start])
    if is_table == [False] and len(records[0].cells) == width:  # names that are numbers, such as those of channels
        start = 0
    if stop - start > _MOST_UNITS + 1 or start == stop or any(is_table) or num_rows > 1 or (start and width < 2):
        return range(1)
    if start:
        start = next((row for row in range(start, stop) if all(map(str.strip, records[row].cells))), start)
        name_and_value = records[start - 1].cells
        is_apart = records[start].is_behind_gap or len(name_and_value) != width
        if not is_apart and (width == 2 or all(map(str.strip, name_and_value))):
            return range(1)
    return range(start, stop)


def _ends_in_remarks(cells: Sequence[str]) -> bool:
    return cells[-1].strip().lower() in _REMARKS


def _is_row(cells: Sequence[str]) -> bool:
    return len(cells) > 1 and all(map(is_value, cells))


def _kinds(cells: Sequence[str]) -> set[str]:
    """Return the kinds of values that cells are, some of which may be missing; none where some are words."""
    present = [kind for cell in cells if (kind := kind_of(cell))]
    return set() if "word" in present or len(present) < _FEWEST_VALUES else set(present)


def _bare(cell: str) -> str:
    """Return a name without blanks around it, and without quotes behind a blank, or single ones."""
    name = cell.strip()
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def _is_measured(cell: str) -> bool:
    return is_value(cell) or is_quantity(cell)


def _is_header(cells: Sequence[str]) -> bool:
    return not any(map(is_value, cells)) and any(cell.strip() for cell in cells)


def _are_numbered(header: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Return whether whole numbers are names of columns: they ascend, or stand above other values."""
    if not all(cell.isdigit() for cell in header):
        return False
    ascends = all(int(left) < int(right) for left, right in itertools.pairwise(header))
    return ascends or len(body) < _COMPARED_ROWS or not all(cell.isdigit() for cells in body for cell in cells)


def _is_alike(header: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Return whether a first line is a row like those below it: a value wherever they hold values of that kind."""
    if not body:
        return False
    rows = [cells for cells in body if len(cells) == len(header)][:_COMPARED_ROWS]
    if not rows:
        return False
    below = [{kind_of(cell) for cell in column} - {""} for column in zip(*rows, strict=True)]
    valued = [
        (kind_of(cell), kinds) for cell, kinds in zip(header, below, strict=True) if kinds and "word" not in kinds
    ]
    return bool(valued) and all(kind in kinds for kind, kinds in valued)


def _are_row_names(cells: Sequence[str], delimiter: str) -> bool:
    """Return whether first cells, for which the header has no name, are names, numbers or times of rows."""
    if not any(map(is_value, cells)):
        return True
    if delimiter != "," and {kind_of(cell) for cell in cells} == {"stamp"}:  # a decimal comma makes cells, too
        return True
    return cells[0].isdigit() and cells == [str(int(cells[0]) + row) for row in range(len(cells))]


def _flag(delimiter: str) -> str:
    return _FLAGS.get(delimiter, f"'{delimiter}'")
