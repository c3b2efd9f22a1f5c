"""The roles of columns: which is the time, which the series id, which are channels, and why the others are none."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import ConfigError, Note, SeriesError
from gmvae_cli.files.cells import NumberFormat, as_text, plain
from gmvae_cli.files.csv_table import CsvTable
from gmvae_cli.files.table_reader import TypedTable
from gmvae_cli.files.time_column import TimeReader
from gmvae_cli.recognition import names
from gmvae_cli.recognition.column_facts import (
    HEAD_ROWS,
    ColumnFacts,
    comes_in_turn,
    facts_of,
)
from gmvae_cli.recognition.column_reasons import (
    TIME_NAMES,
    ColumnRole,
    Reason,
    Role,
    enumerated,
    is_reserved,
    listed,
    notes_on_unused,
    shown_reason,
    why_no_channel,
)
from gmvae_cli.recognition.number_forms import decimal_mark
from gmvae_cli.recognition.time_choice import choose_time, form_of_time, is_measured

_MARKS = {"week": "W", "quarter": "Q"}  # between a year and its parts


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The roles of a table's columns.

    Args:
        time: a name, or two with a comma between (date and clock); None. series: a name, or None. channels: D names.
        known: the column of known labels, or None.
        columns: all of the file's, in order. roles: of each of them.
        forms: of the numbers of channels that are text. time_form: as in `time_forms`, where it is settled.
        config: the options that the table is read with.
    """

    time: str | None
    series: str | None
    channels: tuple[str, ...]
    columns: tuple[str, ...]
    known: str | None = None
    roles: tuple[ColumnRole, ...] = ()
    forms: Mapping[str, NumberFormat] = field(default_factory=dict)
    form: NumberFormat = field(default_factory=NumberFormat)
    time_form: str | None = None
    config: SeriesConfig = field(default_factory=SeriesConfig)

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that the series data are made of: time, series, channels, known labels."""
        others = [name for name in (self.series, self.known) if name is not None]
        return (*self.time_columns, *others, *self.channels)

    @property
    def time_columns(self) -> tuple[str, ...]:
        """The column or columns of the time."""
        return time_columns(self.time, self.columns)

    def described(self, missing: Mapping[str, int]) -> list[dict[str, Any]]:
        """Return name, role and reason of each column for `--json`.

        Args:
            missing: numbers of missing values of the channels that are kept; others do not vary.
        """
        described: list[dict[str, Any]] = []
        for name, role, reason in self.roles:
            if role == "channel" and name not in missing:
                role, reason = "unused", "constant"
            counted = {"missing": missing[name]} if role == "channel" else {}
            described.append({"name": name, "role": role, "reason": reason, **counted})
        return described

    @property
    def listed(self) -> str:
        """The columns as messages list them, with the reason why one is not used, unless it is plain text."""
        reasons = {role.name: shown_reason(role.name, role.reason) for role in self.roles}
        return listed(
            [f"{name} ({reason})" if reason not in ("", "text") else name for name, reason in reasons.items()]
        )

    def time_cells(self, table: Any) -> Any:
        """Return the cells of the time (n,) as one array; those of two columns with a blank between them."""
        parts = [plain(table[name]) for name in self.time_columns]
        return parts[0] if len(parts) == 1 else joined_cells(parts, self.time_columns)

    def reading(self) -> dict[str, Any]:
        """Return how the table was read, for `SeriesConfig.reading_as`."""
        config, usual = self.config, dict[str, str]()
        if self.form.decimal != "." and config.decimal is None:
            usual["usual_decimal"] = self.form.decimal
        if self.time_form is not None and config.time_format is None:
            usual["usual_time_format"] = self.time_form
        return config.reading() | usual

    def form_of(self, channel: str) -> NumberFormat:
        """Return the form of a channel's numbers, where they are text."""
        return self.forms.get(channel, self.form)

    def time_reader(self) -> TimeReader:
        """Return a parser of the time column."""
        return TimeReader(self.form, self.time_form, self.config.timezone, self.config.usual_time_format)


def time_columns(time: str | None, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a time names: one, or several with commas between where no column has that name."""
    if time is None:
        return ()
    return (time,) if time in columns else tuple(name.strip() for name in time.split(","))


def joined_cells(parts: Sequence[Any], columns: Sequence[str]) -> Any:
    """Join the cells of a date and of a clock column to text, or those of year, month, day, hour and so on.

    Args:
        parts: of each column, (n,) cells. columns: their names, which tell a day of the year from a month.
    """
    texts = [pc.utf8_trim_whitespace(as_text(part)) for part in parts]
    kinds = [names.calendar_part(column) for column in columns]
    if "hour" in kinds[1:]:
        days = kinds.index("hour")
    elif len(texts) == 2:
        days = 2 if kinds[1] in ("month", "day of the year", *_MARKS) else 1
    else:
        days = 3
    if kinds[1] == "day of the year":
        texts[1] = pc.utf8_lpad(texts[1], 3, "0")
    elif kinds[1] in _MARKS:
        texts[1] = pc.binary_join_element_wise(_MARKS[kinds[1]], texts[1], "")
    date, clock = pc.binary_join_element_wise(*texts[:days], "-"), texts[days:]
    if not clock:
        return date
    clock = [pc.replace_substring_regex(clock[0], r"^(\d{1,2})$", r"\1:00")] if len(clock) == 1 else clock
    return pc.binary_join_element_wise(date, pc.binary_join_element_wise(*clock, ":"), " ")


def find_layout(table: CsvTable | TypedTable, config: SeriesConfig) -> tuple[Layout, list[Note]]:
    """Assign the roles that the options name, and those that names and content show where they name none.

    Returns:
        the layout, and notes about columns that were taken for something, or are not used.
    Raises:
        SeriesError: a named column is absent or there twice, or two columns could be the time. ConfigError: a column is
            named for two roles.
    """
    columns, named = table.columns, config.channels or ()
    series = config.series or ("series" if "series" in columns and "series" not in named else None)
    given = time_columns(config.time, columns)
    for name in (*given, config.series, *named, series, config.known):
        if name is not None:
            require_column(table.name, columns, name)
    if series in given:
        raise ConfigError(f"'{series}' is named as --time and as --series; a column has one role")
    if config.known is not None and config.known in (*given, *named, series):
        raise ConfigError(f"--known names '{config.known}', which has another role; a column has one role")
    notes: list[Note] = []
    decimal = config.decimal or _decimal(table, config, notes)
    form = NumberFormat(decimal=decimal, thousands=config.thousands, na_values=config.na_values)
    facts = facts_of(table.first_block, form, columns)
    free = [name for name in dict.fromkeys(columns) if name not in (*named, series, config.known)]
    time = config.time
    if time is None and not config.no_time:
        time = _default_time(table, free, facts, notes)
    chosen = time_columns(time, columns)
    for name in chosen:
        require_column(table.name, columns, name)
    for name in named:
        if name in (*chosen, series):
            raise ConfigError(f"--channels names '{name}', which is the time or series column; a column has one role")
    roles = _roles(table, chosen, series, config, facts)
    if config.channels is None:
        notes += notes_on_unused(roles)
    channels = config.channels or tuple(role.name for role in roles if role.role == "channel")
    if series is None and chosen:
        others = [name for name in columns if name not in (*named, config.known)]
        notes += [_note_on_series(name) for name in others if comes_in_turn(name, facts[name])]
    forms = {name: facts[name].form for name in channels}
    notes += [_note_on_form(name, forms[name]) for name in channels if forms[name] != form]
    time_form = config.time_format
    if len(chosen) == 1:
        time_form = form_of_time(chosen[0], facts[chosen[0]], config, notes)
    layout = Layout(
        time=time,
        series=series,
        known=config.known,
        channels=channels,
        columns=columns,
        roles=tuple(roles),
        forms=forms,
        form=form,
        time_form=None if time_form == "number" else time_form,
        config=config,
    )
    return layout, notes


def require_column(file: str, columns: Sequence[str], name: str) -> None:
    """Raise a SeriesError unless exactly one column of the file has this name."""
    if name not in columns:
        raise SeriesError(f"{file}: no column '{name}'; columns are: {listed(columns)}")
    if columns.count(name) > 1:
        raise SeriesError(f"{file}: {columns.count(name)} columns are named '{name}'; rename all but one")


def _decimal(table: CsvTable | TypedTable, config: SeriesConfig, notes: list[Note]) -> str:
    """Return the decimal mark of text that no option names; adds a note where it is a comma."""
    if config.thousands in (".", ","):
        return "," if config.thousands == "." else "."
    found = decimal_mark(table.first_block.slice(0, HEAD_ROWS).columns)
    if found == ",":
        sentence = f"numbers of {table.name} have a decimal comma; --decimal . says that they have a point"
        notes.append(Note("decimal", sentence))
    return found or config.usual_decimal or "."


def _default_time(
    table: CsvTable | TypedTable, free: Sequence[str], facts: Mapping[str, ColumnFacts], notes: list[Note]
) -> str | None:
    """Return the time column by its name, else by name and content; adds a note where content decided."""
    reserved = [name for wanted in TIME_NAMES for name in free if name.strip().lower() == wanted]
    measured = [name for name in reserved if is_measured(name, facts)]
    reserved = [name for name in reserved if name not in measured]
    for name in measured:
        what = "numbers" if facts[name].kind == "numbers" else "durations"
        sentence = f"column '{name}' holds {what} that rise and fall, so it is not taken as the time"
        notes.append(Note("time_column", f"{sentence}; --time {shlex.quote(name)} takes it all the same"))
    own = [name for name in free if not is_reserved(name) or name in reserved]
    time = choose_time(table.name, own, reserved, table.columns, facts)
    if time is not None and time not in reserved:
        sentence = f"column '{time}' is taken as the time; --time names another one, --no-time none"
        parts = time_columns(time, table.columns)
        if len(parts) > 1:
            sentence = f"columns {enumerated(parts)} are taken as date and time; --time names others, --no-time none"
        notes.append(Note("time_column", sentence))
    return time


def _roles(
    table: CsvTable | TypedTable,
    time: Sequence[str],
    series: str | None,
    config: SeriesConfig,
    facts: Mapping[str, ColumnFacts],
) -> list[ColumnRole]:
    """Return the role of each column."""
    roles: list[ColumnRole] = []
    folders = {key for key, _ in table.file.folder_columns}
    for position, name in enumerate(table.columns):
        if name in time:
            role: tuple[Role, str] = ("time", "")
        elif name == series:
            role = ("series", "")
        elif name == config.known:
            role = ("known", "")
        elif config.channels is not None:
            role = ("channel", "") if name in config.channels else ("unused", Reason.NOT_NAMED)
        elif name in folders and position >= len(table.columns) - len(folders):
            role = ("unused", Reason.FOLDER)
        elif table.columns.count(name) > 1:
            role = ("unused", Reason.REPEATED)
        else:
            reason = why_no_channel(name, facts[name], time)
            role = ("channel", "") if reason is None else ("unused", reason)
        roles.append(ColumnRole(name, *role))
    return roles


def _note_on_series(name: str) -> Note:
    """Describe a column whose values come in turn, as those of machines do in one log."""
    sentence = f"the values of column '{name}' come in turn; if each has a series of its own"
    return Note("several_series", f"{sentence}, give --series {shlex.quote(name)} --sort")


def _note_on_form(name: str, form: NumberFormat) -> Note:
    """Describe numbers that are written with a unit, as multiples of one, in groups of digits or in parentheses."""
    changes = [f"'{unit}' as {factor:,g}" for unit, factor in form.multiples]
    changes += ["'(20.39)' as -20.39"] if form.has_parentheses else []
    reading = f" with {' and '.join(changes)}" if changes else ""
    parts = [f"'{mark}'" for mark in (form.prefix, form.suffix) if mark]
    found = [f"the unit {' and '.join(parts)}"] if parts else []
    found += [f"digits in groups with '{form.thousands}'"] if form.thousands else []
    reading += f" without {' and '.join(found)}" if found else ""
    return Note("number_form", f"channel '{name}' is read{reading}; --channels leaves it out")
