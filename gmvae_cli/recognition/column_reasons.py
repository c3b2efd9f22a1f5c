"""Reasons why columns are no channels, by name and content, and what notes and messages say about such columns."""

import shlex
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

import numpy as np

from gmvae_cli.errors import Note
from gmvae_cli.recognition import names
from gmvae_cli.recognition.column_facts import (
    RAMP_ROWS,
    ColumnFacts,
    ascends_mostly,
    counts,
    counts_rows,
    cycle,
    holds_short_days,
    is_flag,
    is_ramp,
)
from gmvae_cli.recognition.time_choice import calendar_columns

TIME_NAMES = ("time", "timestamp", "date", "t")
RESERVED = ("series", "regime", "true_regime", "regime_name", "segment", "log_likelihood", "novelty")
_MOST_CODES = 5  # such as 0, 64 and 192; more values are a measured quality
_UNNAMED = ("", "__index_level_0__")  # a data frame's row numbers, saved by habit
_LISTED_COLUMNS = 20  # more names than that make no message clearer

Role = Literal["time", "series", "channel", "known", "unused"]


class Reason(StrEnum):
    """Why a column is no channel, as messages say it; other reasons are told by the content of the column."""

    NOT_NAMED = "not named by --channels"
    FOLDER = "from the name of a folder"
    REPEATED = "its name occurs more than once"
    RESERVED = "reserved"
    EMPTY = "empty at the start"
    UNNAMED = "without a name"
    # what a column of numbers may be taken for
    ROW_NUMBER = "a row number"
    COUNTER = "a counter"
    CYCLE = "a counter that goes around"
    RAMP = "a ramp of equal steps"
    COUNTDOWN = "a countdown of equal steps"
    CLOCK = "a clock"
    OTHER_CLOCK = "another clock"
    ID = "an id"
    CODE = "a code of quality"
    CALENDAR = "a part of the calendar"


_TAKEN_FOR = tuple(Reason)[tuple(Reason).index(Reason.ROW_NUMBER) :]


class ColumnRole(NamedTuple):
    """Role of a column, and why it is not used where it is not."""

    name: str
    role: Role
    reason: str


def is_reserved(name: str) -> bool:
    """Return whether a column of this name is a channel only if the user says so."""
    lower = name.strip().lower()
    return lower in TIME_NAMES or lower.replace(" ", "_") in RESERVED or lower.startswith("prob_")


def why_no_channel(name: str, facts: ColumnFacts, time: Sequence[str]) -> str | None:
    """Return the reason why a column is no channel; None if it is one."""
    if is_reserved(name):
        return Reason.RESERVED
    if facts.kind == "empty":
        return Reason.EMPTY
    if facts.kind != "numbers":
        return _description(facts)
    if name in _UNNAMED:
        return Reason.UNNAMED
    if name.lower().startswith("unnamed:"):
        return Reason.ROW_NUMBER
    return _taken_for(name, facts, is_timed=bool(time))


def _description(facts: ColumnFacts) -> str:
    """Describe the cells of a column that holds no numbers."""
    if facts.units:
        return f"numbers with different units: {', '.join(facts.units)}"
    if facts.words:
        words = ",".join(facts.words)
        return f"numbers beside text; if that means missing, --na-values {shlex.quote(words)} --channels NAMES"
    if facts.holds_durations:
        return "durations"
    if facts.holds_clocks:
        return "clock times or durations"
    if facts.kind != "other":
        return facts.kind
    return "neither numbers nor text" if is_flag(facts) else "nested; write its fields as columns to model them"


def _taken_for(name: str, facts: ColumnFacts, *, is_timed: bool) -> Reason | None:
    """Return what a column of numbers is taken for instead of a channel; None if it is one."""
    if (names.is_clock(name) and ascends_mostly(facts)) or (names.is_date(name) and holds_short_days(facts)):
        return Reason.OTHER_CLOCK if is_timed else Reason.CLOCK
    if facts.is_whole and names.is_identity(name):
        return Reason.ID
    if (names.is_counter(name) or names.is_position(name)) and counts(facts.order):
        return Reason.COUNTER
    if counts_rows(facts.order):
        return Reason.ROW_NUMBER
    if is_ramp(facts.order):
        return Reason.RAMP
    if facts.order is not None and is_ramp(-facts.order):
        return Reason.COUNTDOWN
    if cycle(facts.order) >= RAMP_ROWS and names.calendar_range(name) is None:
        return Reason.CYCLE
    if facts.groups is not None and (names.is_group(name) or facts.is_beyond_doubles):
        return Reason.ID
    if facts.groups is not None and names.is_quality(name) and len(np.unique(facts.groups)) <= _MOST_CODES:
        return Reason.CODE
    span = names.calendar_range(name)
    return Reason.CALENDAR if span is not None and facts.is_within(*span) else None


def notes_on_unused(roles: Sequence[ColumnRole]) -> list[Note]:
    """Return a note for each column that might be thought a channel, and one for all others that are not used.

    Columns that this program writes are no surprise to anybody, and are left out.
    """
    notes: dict[str, Note] = {}
    others = []
    is_timed = any(role.role == "time" for role in roles)
    parts = [] if is_timed else [role.name for role in roles if role.reason == Reason.CALENDAR]
    date = calendar_columns(parts)
    for name, role, reason in roles:
        if reason == Reason.REPEATED:
            sentence = f"the name '{name}' occurs more than once, so it is no channel; rename all but one"
            notes.setdefault(name, Note("duplicate_column", sentence))
        elif reason == Reason.EMPTY and name.strip():
            sentence = f"column '{name}' is empty at the start, so it is no channel unless --channels names it"
            notes[name] = Note("empty_column", sentence)
        elif reason == Reason.UNNAMED:
            sentence = "a column without a name, perhaps row numbers, is no channel; if it is one, name it"
            notes[name] = Note("unnamed_column", sentence)
        elif name in date:
            sentence = f"columns {enumerated(date)} are taken for parts of the calendar, so they are no channels"
            notes[date[0]] = Note(
                "not_a_channel", f"{sentence}; --time {shlex.quote(','.join(date))} makes them the time"
            )
        elif reason in _TAKEN_FOR:
            series = ", and --series a column that tells series apart" if reason == Reason.ID else ""
            sentence = f"column '{name}' is taken for {reason}, so it is no channel; --channels makes it one{series}"
            notes[name] = Note("not_a_channel", sentence)
        elif role == "unused" and reason != Reason.EMPTY and (shown := shown_reason(name, reason)):
            others.append(f"'{name}' ({shown})")
    if not others:
        return list(notes.values())
    verb = "is no channel" if len(others) == 1 else "are no channels"
    sentence = f"{listed(others)} {verb}; --channels names columns to model"
    return [*notes.values(), Note("unused_columns", sentence)]


def shown_reason(name: str, reason: str) -> str:
    """Return the reason why a column is not used as messages tell it; empty for columns that surprise nobody."""
    if reason == Reason.RESERVED:
        return "a name of times" if name.strip().lower() in TIME_NAMES else ""
    return "" if reason == Reason.FOLDER else reason


def listed(columns: Sequence[str]) -> str:
    """Return the names of columns as messages list them."""
    more = len(columns) - _LISTED_COLUMNS
    return ", ".join(columns[:_LISTED_COLUMNS]) + (f" and {more} more" if more > 0 else "")


def enumerated(columns: Sequence[str]) -> str:
    """Return the names of two columns or more, quoted, as a sentence enumerates them."""
    return ", ".join(f"'{name}'" for name in columns[:-1]) + f" and '{columns[-1]}'"
