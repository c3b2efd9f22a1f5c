"""The layout of a CSV file, from its first and last lines: delimiter, what stands above and below, header, units."""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

from gmvae_cli.errors import Note, SeriesError
from gmvae_cli.files.cells import MISSING, shorten
from gmvae_cli.recognition.number_forms import is_number, is_quantity

_RECORDS = 60  # of the first lines that show the layout
_DELIMITERS = (";", "\t", ",", "|")  # the likelier ones first
_FLAGS = {"\t": "$'\\t'"}  # how a shell takes a delimiter; others stand in quotes
COMMENTS = ("#", "%", "//", "!")  # that begin lines above a header
_COMPARED_ROWS = 5  # with a first line that may be a row as well
_FEWEST_VALUES = 3  # of a column, below lines of units
_MOST_UNITS = 3  # rows below a header that hold units, kinds of values, or names of another level
_STAMP = re.compile(r"\s*(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T_]\d.*)?|\d{1,2}:\d\d(:\d\d.*)?)\s*")
_TOTAL = re.compile(
    r"\W*(grand )?(total|totals|sum|summe|gesamt|average|avg|mean|mittelwert|min|minimum|max|maximum|count|anzahl|end|"
    r"eof|std|stddev|median)\b.*",
    re.IGNORECASE | re.DOTALL,
)

Records = list[tuple[list[str], int]]  # cells, and number of the line of text behind them


@dataclass(frozen=True, kw_only=True)
class TextLayout:
    """The layout of a CSV file.

    Args:
        names: of the columns. delimiter: between cells. lines_above: of text before the first row, the header's among
            them. header: the line that was taken for it.
        extra_cells: empty ones behind the last column in each row. notes: about what was recognised.
    """

    names: tuple[str, ...]
    delimiter: str
    lines_above: int
    header: str
    extra_cells: int = 0
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
        layout = _Table(name, delimiter, [(names, 0), *records], begin, notes)
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
        self.name, self.delimiter, self.records, self.first_line, self.notes = (
            name,
            delimiter,
            records,
            first_line,
            notes,
        )

    def skip_preamble(self) -> None:
        """Leave out lines above the header that are of another width than the table, if the header is beyond doubt."""
        widths = [len(cells) for cells, _ in self.records]
        body = Counter(widths[len(widths) // 2 :]).most_common(1)[0][0]
        first = max((index + 1 for index, width in enumerate(widths) if width != body), default=0)
        if first == 0 or body < 2 or len(widths) - first < 2:
            return
        headers = itertools.takewhile(_is_header, (cells for cells, _ in self.records[first:]))
        first += next((row for row, cells in enumerate(headers) if all(map(str.strip, cells))), 0)
        cells, below = self.records[first][0], self.records[first + 1 :]
        if not _is_header(cells) or not any(map(is_value, below[-1][0])):
            return
        lines, header = f"{first} {'line' if first == 1 else 'lines'}", shorten(self.delimiter.join(cells))
        sentence = f"{lines} above the header '{header}' left out; --skip-rows N says where the header stands"
        self.notes.append(Note("lines_above", sentence))
        self.records = self.records[first:]

    def recognised(self, text: str) -> TextLayout:
        """Return the layout, after checking the header."""
        header = self.records[0][0]
        names, extra_cells = [_bare(cell) for cell in header], 0
        rows = self.records[1:]
        units = _units(rows)
        body = [cells for cells, _ in rows[units:]]
        self._require_header(header, body)
        if units:
            self._note_units(rows[:units])
            if len(set(names)) < len(names) and all(len(cells) == len(names) for cells, _ in rows[:units]):
                levels = [names, *([_bare(cell) for cell in cells] for cells, _ in rows[:units])]
                names = [" ".join(dict.fromkeys(filter(None, parts))) for parts in zip(*levels, strict=True)]
        widths = {len(cells) for cells in body}
        if widths == {len(names) + 1} and not any(cells[-1].strip() for cells in body):
            extra_cells = 1
        elif widths == {len(names) + 1} and _are_row_names([cells[0] for cells in body]):
            names.insert(0, "")
        elif widths == {len(names) - 1} and not names[-1]:
            names.pop()
        return TextLayout(
            names=tuple(names),
            delimiter=self.delimiter,
            lines_above=self.first_line + self.records[units][1],
            header=self.delimiter.join(header),
            extra_cells=extra_cells,
            notes=tuple(self.notes),
        )

    def _note_units(self, rows: Records) -> None:
        shown = shorten(self.delimiter.join(rows[0][0]))
        lines = "the line" if len(rows) == 1 else f"{len(rows)} lines"
        sentence = f"{lines} below the header ('{shown}') {'is' if len(rows) == 1 else 'are'} left out as units"
        self.notes.append(Note("units_row", f"{sentence}; remove what is no unit"))

    def _require_header(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        """Reject a first line that is no header, or one that another delimiter separates."""
        if any("\0" in column for column in header):
            raise SeriesError(f"{self.name}: the header holds null bytes; is it text?")
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


def footer_bytes(tail: bytes, delimiter: str, names: Sequence[str]) -> tuple[int, str]:
    """Return the length of the lines below a table, in bytes, and the first of them; a total, or a comment.

    Args:
        tail: the last bytes of the file, UTF-8.
    """
    lines = tail.splitlines(keepends=True)[1:]  # the first may be cut
    length, found = 0, ""
    for line, before in zip(reversed(lines), reversed(lines[:-1]), strict=False):
        text, above = line.decode(errors="replace").rstrip("\r\n"), before.decode(errors="replace")
        if text.count('"') % 2 or not (not text or _is_footer(text, above, delimiter, names)):
            break
        length, found = length + len(line), text or found
    return (length, found) if found else (0, "")


def _is_footer(line: str, above: str, delimiter: str, names: Sequence[str]) -> bool:
    """Return whether a last line is no row: a comment, a total below numbers or dates, a sentence in a single cell."""
    if len(names) < 2:
        return False
    cells = next(csv.reader([line], delimiter=delimiter), [""])
    if len(cells) == len(names) and cells[0].strip().lower() in MISSING:  # such as #N/A
        return False
    if line.startswith(COMMENTS) or (len(cells) == 1 and not is_value(line)):
        return True
    first = above.split(delimiter)[0]
    return bool(_TOTAL.fullmatch(cells[0].strip())) and (bool(is_value(first)) or _TOTAL.fullmatch(first) is not None)


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
        records = [cells for cells, _ in _records(lines, candidate)]
        if not records:
            return usual
        widths = {len(cells) for cells in records[1:]} or {len(records[0])}
        if len(records[0]) > 1 and len(widths) == 1 and widths <= {len(records[0]), len(records[0]) + 1}:
            even[candidate] = records
    if not even:
        others = [mark for mark in _DELIMITERS if (usual, mark) != (";", ",")]  # a decimal comma
        return next((mark for mark in (usual, *others) if _is_even_below(lines, mark)), usual)
    if len(even) < 2:
        return next(iter(even))
    return max(even, key=lambda candidate: _share_of_values(even[candidate][1:]))


def _is_even_below(lines: Sequence[str], delimiter: str) -> bool:
    """Return whether the second half of the first records, below what a program writes above, has cells in columns."""
    records = _records(lines, delimiter)
    below = [cells for cells, _ in records[len(records) // 2 :]]
    widths = {len(cells) for cells in below}
    return len(widths) == 1 and min(widths) > 1 and all(any(map(is_value, cells)) for cells in below)


def _share_of_values(rows: Sequence[Sequence[str]]) -> float:
    cells = [cell for row in rows for cell in row]
    return sum(map(_is_measured, cells)) / max(len(cells), 1)


def _records(lines: Sequence[str], delimiter: str) -> Records:
    """Return the first records that are not empty; a broken quote ends them."""
    reader = csv.reader(lines, delimiter=delimiter)
    records: Records = []
    try:
        for cells in itertools.islice(reader, _RECORDS):
            if cells:
                records.append((cells, reader.line_num))
    except csv.Error:
        if not records:
            raise
    return records


def _units(rows: Records) -> int:
    """Return the number of rows below a header that hold no value, where values stand below them."""
    filled = {index for cells, _ in rows[_MOST_UNITS:] for index, cell in enumerate(cells) if cell.strip()}
    count = next((index for index, (cells, _) in enumerate(rows) if not _may_be_units(cells, filled)), len(rows))
    if not 0 < count <= _MOST_UNITS or count == len(rows):
        return 0
    below = [cells for cells, _ in rows[count:] if len(cells) == len(rows[count][0])]
    values = [index for index, column in enumerate(zip(*below, strict=True)) if _holds_values(column)]
    for cells, _ in rows[:count]:
        beside = [cells[index] for index in values if index < len(cells)]
        if len(cells) != len(below[0]) or not any(map(_is_word, beside)) or any(map(_is_missing, beside)):
            return 0
    return count


def _holds_values(cells: Sequence[str]) -> bool:
    """Return whether cells are numbers, with a unit or without, or dates; some may be missing."""
    present = [cell for cell in cells if cell.strip().lower() not in MISSING]
    return len(present) >= _FEWEST_VALUES and all(map(_is_measured, present))


def _may_be_units(cells: Sequence[str], filled: Set[int]) -> bool:
    """Return whether a row holds words, and values only in columns that are empty below, such as a start and a step."""
    return any(map(_is_word, cells)) and not any(
        index in filled and _is_measured(cell) for index, cell in enumerate(cells)
    )


def _bare(cell: str) -> str:
    """Return a name without blanks around it, and without quotes behind a blank, or single ones."""
    name = cell.strip()
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def is_value(cell: object) -> bool:
    """Return whether a cell is a number or a date."""
    text = str(cell)
    return is_number(text) or _STAMP.fullmatch(text) is not None


def _is_measured(cell: str) -> bool:
    return is_value(cell) or is_quantity(cell)


def _is_word(cell: str) -> bool:
    return bool(cell.strip()) and not is_value(cell)


def _is_missing(cell: str) -> bool:
    word = cell.strip().lower()
    return word in MISSING and word not in ("", "-", "--", ".")  # a column without a unit


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
    below = [{_kind(cell) for cell in column} - {""} for column in zip(*rows, strict=True)]
    valued = [(_kind(cell), kinds) for cell, kinds in zip(header, below, strict=True) if kinds and "word" not in kinds]
    return bool(valued) and all(kind in kinds for kind, kinds in valued)


def _kind(cell: str) -> str:
    if not cell.strip() or _is_missing(cell):
        return ""
    return "number" if is_number(cell) else "stamp" if _STAMP.fullmatch(cell) else "word"


def _are_row_names(cells: Sequence[str]) -> bool:
    """Return whether first cells, for which the header has no name, are names or numbers of rows."""
    if not any(map(is_value, cells)):
        return True
    return cells[0].isdigit() and cells == [str(int(cells[0]) + row) for row in range(len(cells))]


def _flag(delimiter: str) -> str:
    return _FLAGS.get(delimiter, f"'{delimiter}'")
