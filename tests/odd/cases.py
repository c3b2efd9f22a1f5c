"""Files as loggers, phones, spreadsheets, data frames and instruments write them: what is read, or the line of refusal.

Each case builds a file of `ROWS` rows in a few words. `Read` says what must come of it, `Refused` what the one line
must hold. Names, formats and values are made up after public exports and reports.
"""

import datetime as dt
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 40
START = dt.datetime(2024, 3, 4, 8)
_RNG = np.random.default_rng(7)
X, Y = (np.round(_RNG.normal(size=ROWS), 3).tolist() for _ in range(2))
GERMAN_MONTHS = ("Jan", "Feb", "Mrz", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez")
SPANISH_MONTHS = ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic")
MONTHS = [dt.datetime(1974 + (11 + row) // 12, (11 + row) % 12 + 1, 1) for row in range(ROWS)]


@dataclass(frozen=True)
class Read:
    """What is read of a file: names, rows, missing cells, holes, breaks, the usual step in seconds or units."""

    time: str | None = "t"
    channels: tuple[str, ...] = ("x", "y")
    rows: int = ROWS
    missing: int = 0
    holes: int = 0
    breaks: int = 0
    step: float | None = None
    unit: str | None = None
    series: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """What the one line says."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A file, and the options that it is read with."""

    content: bytes
    expected: Read | Refused
    suffix: str = ".csv"
    options: dict[str, Any] = field(default_factory=dict)


def text(names, *columns, delimiter=",", above="", below="", end="\n"):
    """CSV of columns (ROWS,) or functions of the row."""
    values = [[column(row) for row in range(ROWS)] if callable(column) else list(column) for column in columns]
    lines = [delimiter.join(map(str, cells)) for cells in zip(*values, strict=True)]
    return above + end.join([*([names] if names is not None else []), *lines]) + end + below


def csv(names, *columns, expected, encoding="utf-8", options=None, **layout):
    return Case(text(names, *columns, **layout).encode(encoding), expected, options=options or {})


def table(expected, suffix=".parquet", options=None, **columns):
    sink, made = io.BytesIO(), pa.table(columns)
    if suffix == ".parquet":
        pq.write_table(made, sink)
    else:
        with pa.ipc.new_file(sink, made.schema) as writer:
            writer.write_table(made)
    return Case(sink.getvalue(), expected, suffix, options or {})


def frame(expected, data):
    """A data frame as pandas writes it, with its index."""
    sink = io.BytesIO()
    data.to_parquet(sink)
    return Case(sink.getvalue(), expected, ".parquet")


def minutes(row):
    return START + dt.timedelta(minutes=row)


def stamped(form, step="minutes"):
    return lambda row: (START + dt.timedelta(**{step: row})).strftime(form)


def timed(name, cell, read=None, **options):
    """A file whose first column is a time, beside the channels x and y."""
    expected = read or Read(time=name.strip())
    return csv(f"{name},x,y", cell, X, Y, expected=expected, options=options)


def measured(cells, **layout):
    """A file whose last column holds numbers in an unusual form."""
    return csv("t,x,y", range(ROWS), X, cells, **layout)


def quoted(cells):
    return [f'"{cell}"' for cell in cells]


def lost(cells, word, every=8):
    return [word if row % every == 3 else cell for row, cell in enumerate(cells)]


def autumn(row):
    """Local time each ten minutes; row 18 stands at 02:00 again."""
    return f"{dt.datetime(2024, 10, 27) + dt.timedelta(minutes=10 * (row if row < 18 else row - 6)):%Y-%m-%d %H:%M}"


def spring(row):
    """Local time each ten minutes; row 12 stands at 03:00."""
    return f"{dt.datetime(2024, 3, 31) + dt.timedelta(minutes=10 * (row if row < 12 else row + 6)):%Y-%m-%d %H:%M}"


def october(row):
    """Year and month as a data frame writes them: 1975.1 is October."""
    month = f"{MONTHS[row]:%Y.%m}"
    return month.removesuffix("0") if month.endswith(".10") else month


def below_header(*lines):
    """The plain file with lines below its header."""
    return text(*PLAIN).replace("t,x,y\n", "\n".join(["t,x,y", *lines, ""])).encode()


def behind_row_9(line):
    """The plain file with a line between two rows."""
    return text(*PLAIN).replace("\n9,", f"\n{line}\n9,").encode()


GERMAN = ["Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"]
GERMAN_IN_FULL = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
]
FRENCH = ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."]
FRENCH_IN_FULL = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
]
SPANISH = [
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
]
PLAIN = ("t,x,y", range(ROWS), X, Y)
SEMI = "\n".join(["t;x;y", *(f"{row};{X[row]};{Y[row]}" for row in range(ROWS)), ""])
CASES: dict[str, Case] = {}

# --- clocks, counters, ids -------------------------------------------------------------------------------------------

for name, cell in {
    "Time (s)": lambda row: f"{row * 0.02:.2f}",
    "time [ms]": lambda row: row * 20,
    "seconds_elapsed": lambda row: f"{row * 0.02 + 0.0001 * (row % 3):.4f}",
    "elapsedTime": lambda row: row * 5,
    " time": lambda row: row,
    "frame": lambda row: row + 100,
    "Frame #": lambda row: row,
    "sample": lambda row: row * 2,
    "Zeit": lambda row: f"{row * 0.5}",
    "tijd": lambda row: row,
    "depth_unlike_any_clock": lambda row: f"{row * 0.25}",
}.items():
    CASES[f"clock of numbers '{name}'"] = timed(name, cell, Read(time=name.strip(), unit="units"))
for name in (
    "datetime",
    "DateTime",
    "ts",
    "last_changed",
    "Datum",
    "recorded_at",
    "Zeitstempel",
    "fecha",
    "created",
    "whatever",
):
    CASES[f"clock of dates '{name}'"] = timed(name, minutes, Read(time=name, step=60, unit="seconds"))
for name, cell, step in (
    ("epoch", lambda row: 1709539200 + 10 * row, 10),
    ("timestamp_ms", lambda row: 1709539200000 + 20 * row, 0.02),
    ("unix_us", lambda row: 1709539200000000 + 2000 * row, 0.002),
    ("ts", lambda row: 1709539200123456789 + 10**9 * row, 1),
    ("time", lambda row: f"{1709539200 + row * 0.25:.2f}", 0.25),
):
    CASES[f"epoch '{name}' each {step} s"] = timed(
        name, cell, Read(time=name, step=step, unit="seconds", notes=("time_format",))
    )
for name in ("index", "Unnamed: 0", "row", "No", "Nr.", "#", "id", "serial"):
    cells = range(1000, 1000 + ROWS)
    CASES[f"no channel '{name}'"] = csv(
        f"t,{name},x,y", range(ROWS), cells, X, Y, expected=Read(notes=("not_a_channel",))
    )
    CASES[f"no channel '{name}' in front"] = csv(
        f"{name},x,y", cells, X, Y, expected=Read(time=None, notes=("not_a_channel",))
    )
CASES |= {
    "a column without a name": csv(",x,y", range(ROWS), X, Y, expected=Read(time=None, notes=("unnamed_column",))),
    "a row number of no known name": csv("x,foo,y", X, range(7, 7 + ROWS), Y, expected=Read(time=None)),
    "parts of the calendar": csv(
        "date,year,month,day,x,y",
        stamped("%Y-%m-%d", "days"),
        stamped("%Y", "days"),
        stamped("%m", "days"),
        stamped("%d", "days"),
        X,
        Y,
        expected=Read(time="date", step=86400, notes=("not_a_channel",)),
    ),
    "a serial number of two large values": csv(
        "t,unit_no,x,y", range(ROWS), lambda row: 9007199254740993 + row % 2, X, Y, expected=Read()
    ),
    "a second clock": csv("time,seconds_elapsed,x,y", minutes, lambda row: 60 * row, X, Y, expected=Read(time="time")),
    "two clocks": csv(
        "datetime,epoch,x,y",
        minutes,
        lambda row: 1709539200 + 60 * row,
        X,
        Y,
        expected=Refused(("datetime", "epoch", "--time")),
    ),
    "date and clock in two columns": csv(
        "Date,Clock,x,y",
        stamped("%d.%m.%Y", "hours"),
        stamped("%H:%M:%S", "hours"),
        X,
        Y,
        expected=Read(time="Date,Clock", step=3600),
    ),
    "date and time by name": csv(
        "day,hour,x,y",
        stamped("%Y-%m-%d", "hours"),
        stamped("%H:%M", "hours"),
        X,
        Y,
        expected=Read(time="day,hour", step=3600),
        options={"time": "day,hour"},
    ),
    "a label in another case": csv("t,x,y,True_Regime", range(ROWS), X, Y, lambda row: row // 20, expected=Read()),
    "a label with a blank": csv("t,x,y,True Regime", range(ROWS), X, Y, lambda row: row // 20, expected=Read()),
    "subjects one after another": csv(
        "subject,frame,x,y",
        lambda row: row // 20,
        lambda row: row % 20,
        X,
        Y,
        expected=Refused(("row 21", "--series subject")),
    ),
    "subjects told apart": csv(
        "subject,frame,x,y",
        lambda row: row // 20,
        lambda row: row % 20,
        X,
        Y,
        expected=Read(time="frame", series=2),
        options={"series": "subject"},
    ),
    "machines in turn at the same times": csv(
        "timestamp,machine,x,y",
        lambda row: minutes(row // 2),
        lambda row: "AB"[row % 2],
        X,
        Y,
        expected=Refused(("row 2", "--series machine", "--sort")),
    ),
    "machines in turn at other times": csv(
        "timestamp,machine,x,y",
        minutes,
        lambda row: "AB"[row % 2],
        X,
        Y,
        expected=Read(time="timestamp", notes=("several_series",)),
    ),
    "machines in turn, told apart": csv(
        "timestamp,machine,x,y",
        lambda row: minutes(row // 2),
        lambda row: "AB"[row % 2],
        X,
        Y,
        expected=Read(time="timestamp", series=2),
        options={"series": "machine", "sort": True},
    ),
}

CASES |= {
    "parts of the calendar as the time": csv(
        "No,year,month,day,hour,x,y",
        range(1, ROWS + 1),
        stamped("%Y", "hours"),
        lambda row: (START + dt.timedelta(hours=row)).month,
        lambda row: (START + dt.timedelta(hours=row)).day,
        lambda row: (START + dt.timedelta(hours=row)).hour,
        X,
        Y,
        expected=Read(time="year,month,day,hour", step=3600, unit="seconds", notes=("time_column",)),
    ),
    **{
        f"a date in parts {header}": csv(
            f"x,{header},y",
            X,
            *(stamped(part, unit) for part in parts.split()),
            Y,
            expected=Read(time=time or header, step=step, unit="seconds", notes=("time_column",)),
        )
        for header, parts, unit, step, time in (
            ("YEAR,MO,DY,HR", "%Y %-m %-d %-H", "hours", 3600, None),
            ("YEAR,DOY,HR", "%Y %-j %-H", "hours", 3600, None),
            ("Year,Day of Year", "%Y %-j", "days", 86400, None),
            ("yyyy,mon,day,hr,mn", "%Y %m %d %H %M", "minutes", 60, None),
            ("Jahr,Monat,Tag,Stunde", "%Y %-m %-d %H", "hours", 3600, None),
            ("HR,DY,MO,YEAR", "%H %d %m %Y", "hours", 3600, "YEAR,MO,DY,HR"),
        )
    },
    **{
        f"a day and a clock in {header}": csv(
            f"x,{header},y",
            X,
            *(stamped(part, unit) for part in parts.split("|")),
            Y,
            expected=Read(time=header, step=step, unit="seconds", notes=("time_column",)),
        )
        for header, parts, unit, step in (
            ("Tag,Uhrzeit", "%d.%m.%Y|%H:%M", "hours", 3600),
            ("Date,Hour", "%Y-%m-%d|%-H", "hours", 3600),
            ("Datum,Stunde", "%d.%m.%Y|%-H", "hours", 3600),
            ("Date,HR,MN", "%Y%m%d|%H|%M", "minutes", 60),
        )
    },
    "a day and hours that end": csv(
        "Date,Hour,x,y",
        lambda row: f"2024-03-{4 + row // 24:02d}",
        lambda row: row % 24 + 1,
        X,
        Y,
        expected=Read(time="Date,Hour", step=3600, unit="seconds"),
    ),
    "a day whose month only the hours show": csv(
        "Date,Hour,x,y",
        stamped("%d/%m/%Y", "hours"),
        stamped("%-H", "hours"),
        X,
        Y,
        expected=Read(time="Date,Hour", step=3600),
    ),
    "a day that repeats, and hours of several series": csv(
        "Date,Hour,x,y",
        lambda row: f"2024-03-{4 + row % 20 // 10:02d}",
        lambda row: row % 10,
        X,
        Y,
        expected=Refused(("'2024-03-04'", "--time Date,Hour")),
    ),
    "a date of year and month": csv(
        "YR,MTH,x,y",
        lambda row: MONTHS[row].year,
        lambda row: MONTHS[row].month,
        X,
        Y,
        expected=Read(time="YR,MTH", unit="seconds"),
    ),
    "a date in parts of several stations": csv(
        "station,YEAR,MO,DY,x,y",
        lambda row: "AB"[row // 20],
        [2024] * ROWS,
        [3] * ROWS,
        lambda row: row % 20 + 1,
        X,
        Y,
        expected=Read(time="YEAR,MO,DY", series=2, step=86400),
        options={"time": "YEAR,MO,DY", "series": "station"},
    ),
    "hours that are no date": csv(
        "YEAR,MO,x,y",
        stamped("%Y", "hours"),
        stamped("%m", "hours"),
        X,
        Y,
        expected=Read(time=None, notes=("not_a_channel",)),
    ),
    "a state that is unavailable": csv(
        "entity_id,x,last_changed,y",
        ["sensor.kitchen"] * ROWS,
        ["unavailable" if row == 5 else X[row] for row in range(ROWS)],
        lambda row: minutes(row).isoformat() + "+00:00",
        Y,
        expected=Refused(("row 6", "'unavailable'", "--na-values unavailable")),
    ),
    "an electrocardiogram with quotes and units": Case(
        text("'Elapsed time','x','y'", lambda row: f"'0:00.{row * 4:03d}'", X, Y)
        .replace("'y'\n", "'y'\n'hh:mm:ss.mmm','mV','mV'\n")
        .encode(),
        Read(time="Elapsed time", step=0.004, unit="seconds", notes=("units_row",)),
    ),
    "times with a unit": timed("time", lambda row: f"{20 * row} ms", Read(time="time", step=0.02, unit="seconds")),
}

# ramps, and counters that go around
for name, cell in {
    "gps_tow": lambda row: f"{432000 + row * 0.02:.2f}",
    "t_rel": lambda row: row * 5,
    "iTOW": lambda row: 345600000 + 200 * row,
    "bootms": lambda row: 81 + 20 * row,
    "x9": lambda row: f"{row / 8}",
}.items():
    CASES[f"a ramp '{name}'"] = csv(
        f"x,{name},y", X, cell, Y, expected=Read(time=name, unit="units", notes=("time_column",))
    )
    CASES[f"a ramp '{name}' beside the time"] = csv(
        f"time,x,{name},y", minutes, X, cell, Y, expected=Read(time="time", step=60, notes=("not_a_channel",))
    )
for name, cell in {
    "Sample Index": lambda row: (row + 250) % 256,
    "packet counter": lambda row: row % 16,
    "SEQ": lambda row: (row + 65520) % 65536,
    "Seq. No.": lambda row: (row + 250 + 3 * (row > 20)) % 256,
    "whatever": lambda row: 5 * (row + 10) % 100,
    "another": lambda row: (2 * row + 30) % 40,
}.items():
    CASES[f"a counter that goes around '{name}'"] = csv(
        f"t,{name},x,y", range(ROWS), cell, X, Y, expected=Read(notes=("not_a_channel",))
    )
CASES |= {
    "two ramps": csv(
        "x,t_rel,gps,y",
        X,
        lambda row: 5 * row,
        lambda row: row / 4,
        Y,
        expected=Refused(("'t_rel' and 'gps'", "--time", "--no-time")),
    ),
    "a ramp in front of another": csv(
        "depth,x,load,y",
        lambda row: row / 4,
        X,
        lambda row: 5 * row,
        Y,
        expected=Read(time="depth", notes=("not_a_channel",)),
    ),
    "a ramp as a channel": csv(
        "t,x,y", range(ROWS), X, lambda row: 5 * row, expected=Read(), options={"channels": ("x", "y")}
    ),
    "a ramp with holes": csv(
        "x,t_rel,y", X, lambda row: 5 * row + 35 * (row > 20), Y, expected=Read(time="t_rel", holes=1, unit="units")
    ),
    "a row number with holes": csv(
        "x,foo,y", X, lambda row: row + 3 * (row > 20), Y, expected=Read(time=None, notes=("not_a_channel",))
    ),
    "a sum that ascends": csv(
        "t,x,y", range(ROWS), X, lambda row: 10 * row + row // 7, expected=Read(channels=("x", "y"))
    ),
    "a clock of numbers that is received": csv(
        "x,received_at,y",
        X,
        lambda row: 1709539200000 + 20 * row + row % 3,
        Y,
        expected=Read(time="received_at", unit="seconds", notes=("time_format",)),
    ),
    "a flag that alternates": csv("t,x,y", range(ROWS), X, lambda row: row % 2, expected=Read()),
    "a walk of equal steps": csv("t,x,y", range(ROWS), X, lambda row: abs(row % 16 - 8), expected=Read()),
    "an age that starts again": csv(
        "t,x,y", range(ROWS), X, lambda row: row if row < 25 else row - 25, expected=Read()
    ),
}

# --- numbers ---------------------------------------------------------------------------------------------------------

for name, cells, options in (
    ("percent", [f"{40 + row % 9}.3%" for row in range(ROWS)], {}),
    ("dollars", [f"${row % 9}.50" for row in range(ROWS)], {}),
    ("degrees", [f"{20 + row % 9}.1 °C" for row in range(ROWS)], {}),
    ("kilowatt hours", [f"{row % 9}.25kWh" for row in range(ROWS)], {}),
    ("a unit in some cells", [f"{row % 9}{' V' if row % 2 else ''}" for row in range(ROWS)], {}),
    ("a minus sign of typography", [f"\u2212{row % 9}.5" for row in range(ROWS)], {}),
    ("groups with commas and a point", quoted(f"{40000 + 100 * (row % 9):,}.1" for row in range(ROWS)), {}),
    ("groups with two commas", quoted(f"{4000000 + 100 * (row % 9):,}" for row in range(ROWS)), {}),
    ("groups with apostrophes", [f"{40 + row % 9}'000.5" for row in range(ROWS)], {}),
    ("groups with narrow blanks", [f"{40 + row % 9}\u202f000" for row in range(ROWS)], {}),
    ("groups named by the option", quoted(f"{40 + row % 9},000" for row in range(ROWS)), {"thousands": ","}),
    ("exponents", [f"{row % 9}.5E-3" for row in range(ROWS)], {}),
    ("signs", [f"+{row % 9}" for row in range(ROWS)], {}),
    ("quotes behind blanks", [f' "{row % 9}"' for row in range(ROWS)], {}),
):
    CASES[f"numbers: {name}"] = measured(cells, expected=Read(), options=options)
for name, units in (
    ("thousands and millions", ("K", "M")),
    ("thousands beside bare numbers", ("", "k")),
    ("thousands, millions and billions", ("K", "M", "B")),
    ("bytes", (" B", " kB", " MB")),
    ("binary bytes", (" MiB", " GiB")),
    ("binary multiples", ("Ki", "Mi", "Gi")),
    ("seconds", ("ms", "s", "\u00b5s")),
    ("volts", ("mV", "V")),
    ("hertz", (" MHz", " GHz")),
    ("metres", ("mm", "m", "cm")),
):
    CASES[f"numbers: {name}"] = measured(
        [f"{row % 9 + 1}.5{units[row % len(units)]}" for row in range(ROWS)], expected=Read(notes=("number_form",))
    )
for name, cells in (
    ("negatives in parentheses", [f"({row}.25)" if row % 3 else f"{row}.5" for row in range(ROWS)]),
    ("negative currency in parentheses", quoted(f"($1,{row + 100}.25)" if row % 3 else "$9.00" for row in range(ROWS))),
):
    CASES[f"numbers: {name}"] = measured(cells, expected=Read(notes=("number_form",)))
CASES |= {
    "numbers: a group that may be a decimal comma": measured(
        quoted(f"{40 + row % 9},000" for row in range(ROWS)),
        expected=Refused(("row 1", "--thousands ,", "--decimal ,")),
    ),
    "numbers: groups of a currency that may be decimal commas": measured(
        quoted(f"${40 + row % 9},000" for row in range(ROWS)),
        expected=Refused(("row 1", "--thousands ,", "--decimal ,")),
    ),
    "numbers: an unsaid decimal comma": measured(
        quoted(f"{row % 9},5" for row in range(ROWS)), expected=Refused(("row 1", "--decimal ,"))
    ),
    "numbers: decimal commas": Case(SEMI.replace(".", ",").encode(), Read(notes=("decimal", "delimiter"))),
    "numbers: decimal commas and tabs": Case(
        SEMI.replace(".", ",").replace(";", "\t").encode(), Read(notes=("decimal", "delimiter"))
    ),
    "numbers: decimal commas in quotes": measured(
        quoted(f"{20 + row % 9},53" for row in range(ROWS)), expected=Refused(("row 1", "--decimal ,"))
    ),
    "numbers: all decimal commas in quotes": csv(
        "t,x,y",
        *(quoted(f"{value}".replace(".", ",") for value in column) for column in (range(ROWS), X, Y)),
        expected=Read(notes=("decimal",)),
    ),
    "numbers: decimal commas, units and missing values": csv(
        "Zeit;x;y",
        stamped("%d.%m.%Y %H:%M"),
        lost([f"{row % 9},25 °C" for row in range(ROWS)], "n.a."),
        lost([f"{row % 9},5e-3" for row in range(ROWS)], ""),
        delimiter=";",
        expected=Read(time="Zeit", missing=10, notes=("decimal",)),
        options={"na_values": ("n.a.",)},
    ),
    "numbers: decimal commas and a clock of seconds": csv(
        "Zeit;x;y",
        lambda row: f"{row / 50:.2f}".replace(".", ","),
        lambda row: row * row % 37,
        lambda row: row * row % 29,
        delimiter=";",
        expected=Read(time="Zeit", step=0.02, notes=("decimal",)),
    ),
    "numbers: decimal commas of three digits": csv(
        "t;x;y",
        range(ROWS),
        [f"{row % 9 + 1},250" for row in range(ROWS)],
        [f"{row % 9 + 1},750" for row in range(ROWS)],
        delimiter=";",
        expected=Refused(("row 1", "--decimal ,", "--thousands ,")),
    ),
    "numbers: decimal commas beside points": csv(
        "t;x;y",
        range(ROWS),
        X,
        [f"{row % 9},5" for row in range(ROWS)],
        delimiter=";",
        expected=Refused(("row 1", "--decimal ,")),
    ),
    "numbers: points, where the option says commas": measured(
        Y, expected=Refused(("row 1", "--decimal .")), options={"decimal": ","}
    ),
    "numbers: commas, where the option says points": Case(
        SEMI.replace(".", ",").encode(), Refused(("row 1", "--decimal ,")), options={"decimal": "."}
    ),
    "numbers: groups with points and a decimal comma": csv(
        "t;x;y",
        range(ROWS),
        [f"{row % 9}.000,5" for row in range(1, ROWS + 1)],
        [f"1.{row % 9}00.000,25 €" for row in range(ROWS)],
        delimiter=";",
        expected=Read(notes=("decimal", "number_form")),
    ),
    "numbers: groups with points by the option": csv(
        "t;x;y",
        range(ROWS),
        [row * row for row in range(ROWS)],
        [f"{row % 9 + 1}.000" for row in range(ROWS)],
        delimiter=";",
        expected=Read(),
        options={"thousands": "."},
    ),
    "numbers: two units": measured(
        [f"{row % 9}.5 {'psi' if row % 2 else 'bar'}" for row in range(ROWS)],
        expected=Read(channels=("x",), notes=("unused_columns",)),
    ),
    "numbers: a unit that the first rows do not have": Case(
        (
            "t,x\n" + "".join(f"{row},{row % 7}.5{'G' if row == 2050 else 'KM'[row % 2]}\n" for row in range(2100))
        ).encode(),
        Refused(("row 2051", "'6.5G'", "K and M")),
    ),
    "numbers: in parentheses alone": measured(
        [f"({row % 9}.5)" for row in range(ROWS)], expected=Read(channels=("x",), notes=("unused_columns",))
    ),
    "numbers: groups with points beside a decimal comma": csv(
        "t;x;y",
        range(ROWS),
        [f"{v}".replace(".", ",") for v in X],
        [f"{40 + row % 9}.000,5" for row in range(ROWS)],
        delimiter=";",
        expected=Read(),
        options={"decimal": ",", "thousands": "."},
    ),
    "numbers: text": measured(["ok"] * ROWS, expected=Read(channels=("x",), notes=("unused_columns",))),
    "numbers: a name that comes twice": csv(
        "t,x,y,y", range(ROWS), X, Y, Y, expected=Read(channels=("x",), notes=("duplicate_column",))
    ),
}
for word in (
    "NA",
    "N/A",
    "n/a",
    "null",
    "NULL",
    "None",
    "nan",
    "#N/A",
    "1.#IND",
    "-1.#QNAN",
    "<NA>",
    "?",
    "-",
    "--",
    " ",
):
    CASES[f"missing '{word}'"] = measured(lost(Y, word), expected=Read(missing=5))
CASES |= {
    "missing in most rows": measured(["NA" if row % 5 else Y[row] for row in range(ROWS)], expected=Read(missing=32)),
    "missing by the option": measured(lost(Y, "-999.0"), expected=Read(missing=5), options={"na_values": ("-999",)}),
    "missing by a word of the option": measured(
        lost(Y, "Bad"), expected=Read(missing=5), options={"na_values": ("Bad",)}
    ),
    "missing in the time": timed(
        "t", lambda row: "NA" if row == 3 else row, Refused(("row 4", "'NA'", "every row needs a time"))
    ),
    "missing in two words": measured(
        lost(Y, "Bad Input"), expected=Refused(("row 4", "'Bad Input'", '--na-values "Bad Input"'))
    ),
    "missing in words with marks": measured(
        lost(Y, "[-11059] I/O Timeout!"), expected=Refused(("row 4", '--na-values "[-11059] I/O Timeout!"'))
    ),
    "missing in words, named": measured(
        lost(lost(Y, "No Data"), "I/O Timeout", 10),
        expected=Read(missing=8),
        options={"na_values": ("No Data", "I/O Timeout")},
    ),
    "a word that is no number": measured(lost(Y, "Bad"), expected=Refused(("row 4", "'Bad'", "not a number"))),
}

# --- forms of time ---------------------------------------------------------------------------------------------------

DAY, HOUR, MINUTE = 86400, 3600, 60
for form, step in (
    ("%Y/%m/%d %H:%M", "minutes"),
    ("%d.%m.%Y %H:%M", "minutes"),
    ("%d.%m.%y %H:%M", "minutes"),
    ("%m/%d/%Y %I:%M:%S %p", "hours"),
    ("%d/%m/%Y %H:%M", "hours"),
    ("%Y%m%dT%H%M%SZ", "minutes"),
    ("%Y-%m-%d %H:%M:%S UTC", "minutes"),
    ("%Y-%m-%d %H:%M:%S CEST", "minutes"),
    ("%d.%m.%Y %H:%M:%S CET", "minutes"),
    ("%Y-%m-%dT%H:%M:%S+01:00", "minutes"),
    ("%Y-%m-%dT%H:%M:%S.000Z", "minutes"),
    ("%b %d %Y", "days"),
    ("%d-%b-%Y %H:%M:%S", "minutes"),
    ("%a %b %d %Y %H:%M:%S", "minutes"),
    ("%d-%b-%y %H:%M", "minutes"),
    ("%Y%m%d_%H%M%S", "minutes"),
    ("%Y:%m:%d %H:%M:%S", "minutes"),
    ("%d/%b/%Y:%H:%M:%S +0000", "minutes"),
    ("%Y%m%d", "days"),
    ("%Y%m%d%H%M%S", "hours"),
    ("%Y%m%d%H%M", "minutes"),
    ("%Y%j", "days"),
    ("%G-W%V", "weeks"),
    ("%H:%M:%S", "minutes"),
    ("%H:%M", "minutes"),
    ("%I:%M:%S %p", "minutes"),
):
    seconds = {"minutes": MINUTE, "hours": HOUR, "days": DAY, "weeks": 7 * DAY}[step]
    CASES[f"time {form}"] = timed("time", stamped(form, step), Read(time="time", step=seconds, unit="seconds"))
CASES |= {
    "time past midnight": timed("time", stamped("%H:%M:%S", "hours"), Read(time="time", step=HOUR, unit="seconds")),
    "time with the hour 24": timed(
        "time",
        lambda row: stamped("%Y-%m-%d %H:%M", "hours")(row).replace("-05 00:00", "-04 24:00"),
        Read(time="time", step=HOUR),
    ),
    "time elapsed": timed(
        "time", lambda row: f"0 days 00:{row:02d}:00", Read(time="time", step=MINUTE, unit="seconds")
    ),
    "time in long hours": timed("time", lambda row: f"{row + 10}:00:00", Read(time="time", step=HOUR, unit="seconds")),
    "time of quarters": timed(
        "date", lambda row: f"{2000 + row // 4}-Q{row % 4 + 1}", Read(time="date", unit="seconds")
    ),
    "time of months": timed("date", lambda row: f"{MONTHS[row]:%Y-%m}", Read(time="date", unit="seconds")),
    "time of months as numbers": timed("date", lambda row: f"{MONTHS[row]:%Y%m}", Read(time="date", unit="seconds")),
    "time of months with a point": timed("date", lambda row: f"{MONTHS[row]:%Y.%m}", Read(time="date", unit="seconds")),
    "time of months in a data frame": timed(
        "date",
        october,
        Read(time="date", unit="seconds"),
    ),
    **{
        f"time of weeks '{name}'": csv(
            f"x,{name},y",
            X,
            lambda row: f"{START + dt.timedelta(weeks=20 + row):%G%V}",
            Y,
            expected=Read(time=name, step=7 * DAY, unit="seconds", notes=("time_format",)),
        )
        for name in ("week", "YearWeek", "KW", "period", "iso_week")
    },
    "time of weeks by content": timed(
        "foo", lambda row: f"{START + dt.timedelta(weeks=row):%G%V}", Read(time="foo", step=7 * DAY, unit="seconds")
    ),
    "time of weeks by the option": timed(
        "n",
        lambda row: f"{START + dt.timedelta(weeks=row):%G%V}",
        Read(time="n", step=7 * DAY),
        time="n",
        time_format="week",
    ),
    **{
        f"clock of a receiver '{name}' {form} each {step} s": csv(
            f"x,{name},y",
            X,
            lambda row, form=form, step=step: (START + dt.timedelta(seconds=step * row)).strftime(form),
            Y,
            expected=Read(time=name, step=step, unit="seconds", notes=("time_format",)),
        )
        for name, form, step in (
            ("UTC", "%H%M%S.00", 10),
            ("gps_time", "%H%M%S", 1),
            ("hhmmss.ss", "%H%M%S.50", 3600),
            ("time", "%-H%M%S", 120),
            ("Uhrzeit", "%H%M%S.0", 900),
        )
    },
    "clock of a receiver without a need of one": timed(
        "time", lambda row: 123400 + row, Read(time="time", unit="units", step=1)
    ),
    "clock of a receiver as in an earlier file": timed(
        "time",
        lambda row: 123400 + row,
        Read(time="time", unit="seconds", step=1, notes=("time_format",)),
        usual_time_format="clock",
    ),
    "numbers that are no clock as in an earlier file": timed(
        "time", lambda row: 123400 + 3 * row, Read(time="time", unit="units", step=3), usual_time_format="clock"
    ),
    "date and clock of a receiver": csv(
        "date,time,x,y",
        stamped("%Y%m%d"),
        stamped("%H%M%S.00"),
        X,
        Y,
        expected=Read(time="date,time", step=MINUTE, unit="seconds"),
    ),
    "date and clock without a colon": timed("time", stamped("%Y%m%d %H%M"), Read(time="time", step=MINUTE)),
    **{
        f"time {form.replace('@', months[2])}": csv(
            "x,when,y",
            X,
            lambda row, form=form, months=months: (
                (day := START + dt.timedelta(days=9 * row)).strftime(form).replace("@", months[day.month - 1])
            ),
            Y,
            expected=Read(time="when", step=9 * DAY, unit="seconds"),
        )
        for form, months in (
            ("%d. @ %Y", GERMAN),
            ("%-d. @ %Y %H:%M", GERMAN_IN_FULL),
            ("%d-@-%y %H:%M:%S", GERMAN),
            ("%-d @ %Y", FRENCH),
            ("%A %-d @ %Y %H:%M", FRENCH_IN_FULL),
            ("%-d de @ de %Y", SPANISH),
            ("%Y年%m月%d日 %H時%M分", [""] * 12),
            ("%Y年%-m月%-d日", [""] * 12),
            ("%Y年%m月%d日%H时%M分%S秒", [""] * 12),
            ("%Y년 %m월 %d일 %H:%M", [""] * 12),
        )
    },
    **{
        f"time ranges {form} to {end}": csv(
            "x,MTU (CET/CEST),y",
            X,
            lambda row, form=form, end=end: (
                stamped(form, "hours")(row) + (START + dt.timedelta(hours=row + 1)).strftime(end)
            ),
            Y,
            expected=Read(time="MTU (CET/CEST)", step=HOUR, unit="seconds", notes=("time_format",)),
        )
        for form, end in (
            ("%d.%m.%Y %H:%M", " - %d.%m.%Y %H:%M"),
            ("%d/%m/%Y %H:%M:%S", " - %d/%m/%Y %H:%M:%S"),
            ("%Y-%m-%dT%H:%M:%SZ", "/%Y-%m-%dT%H:%M:%SZ"),
            ("%Y-%m-%d %H:%M", " – %H:%M"),
            ("%b %d %Y %H:%M", " to %b %d %Y %H:%M"),
        )
    },
    **{
        f"time as spelled {START.strftime(form)}": csv(
            "x,when,y",
            X,
            [f'"{cell}"' for cell in map(stamped(form), range(ROWS))],
            Y,
            expected=Read(time="when", step=MINUTE, unit="seconds"),
        )
        for form in (
            "[%Y-%m-%d %H:%M:%S]",
            "%d.%m.%Y, %H:%M Uhr",
            "%-d %b %Y à %Hh%M",
            "%H:%M:%S:000",
            "%Y-%m-%d %H.%M.%S",
            "%d.%m.%Y %H.%M",
        )
    },
    **{
        f"time in half days of Spanish '{morning}'": csv(
            "Fecha,x,y",
            lambda row, ends=(morning, evening): (
                f"{START + dt.timedelta(hours=row):%d-%m-%Y %I:%M} {ends[(8 + row) % 24 > 11]}"
            ),
            X,
            Y,
            expected=Read(time="Fecha", step=HOUR, unit="seconds"),
        )
        for morning, evening in (("a. m.", "p. m."), ("a.m.", "p.m."))
    },
    **{
        f"time of weeks and quarters {cell(0)}": csv(
            "x,when,y", X, cell, Y, expected=Read(time="when", step=step, unit="seconds", holes=0)
        )
        for cell, step in (
            (lambda row: f"KW{row + 1}/2024", 7 * DAY),
            (lambda row: f"2024-KW{row + 1:02d}", 7 * DAY),
            (lambda row: f"{2000 + row // 4}/Q{row % 4 + 1}", None),
            (lambda row: f"{row % 4 + 1}Q{2000 + row // 4}", None),
            (lambda row: f"{2000 + row // 12}M{row % 12 + 1:02d}", None),
        )
    },
    "weeks that look like months": timed(
        "week", lambda row: f"2024-{row + 1:02d}", Read(time="week", step=7 * DAY, notes=("time_format",))
    ),
    "weeks that look like months, by the option": timed(
        "week", lambda row: f"2024-{row + 1:02d}", Read(time="week", step=7 * DAY), time="week", time_format="week"
    ),
    "weeks in front of a year": timed(
        "Woche", lambda row: f"{row + 1}/2024", Read(time="Woche", step=7 * DAY, notes=("time_format",))
    ),
    "weeks in front of a year, by the option": timed(
        "Woche", lambda row: f"{row + 1}/2024", Read(time="Woche", step=7 * DAY), time_format="week"
    ),
    "ticks since the year 1": timed(
        "Timestamp", lambda row: 638450208000000000 + 600000000 * row, Read(time="Timestamp", unit="units", step=6e8)
    ),
    "time that is no range": timed("when", stamped("%d.%m.%Y - %H:%M"), Read(time="when", step=MINUTE)),
    "time of a logger with half days": csv(
        '"Date Time, GMT+01:00",x,y',
        stamped("%m/%d/%y %I:%M:%S %p"),
        X,
        Y,
        expected=Refused(("row 1", "'03/04/24 08:00:00 AM'", "--time-format")),
    ),
    "time of a logger with half days, settled by the days": csv(
        '"Date Time, GMT+01:00",x,y',
        stamped("%m/%d/%y %I:%M:%S %p", "days"),
        X,
        Y,
        expected=Read(time="Date Time, GMT+01:00", step=DAY),
    ),
    **{
        f"time of an unknown form '{name}' {form}": csv(
            f"x,{name},y",
            X,
            stamped(form),
            Y,
            expected=Refused((f"'{name}' holds '{START.strftime(form)}", "--time-format", "--no-time")),
        )
        for name, form in (("epoch", "%m-%d %H:%M:%S"), ("Zeit", "%H.%M.%S h"), ("recorded_at", "%d brezna %Y %H.%M"))
    },
    "time of an unknown form, by the option": csv(
        "x,epoch,y",
        X,
        stamped("%m-%d %H:%M:%S"),
        Y,
        expected=Read(time="epoch", step=MINUTE),
        options={"time_format": "%m-%d %H:%M:%S"},
    ),
    "an unknown form beside a time": csv(
        "t,recorded,x,y", range(ROWS), stamped("%m-%d %H:%M:%S"), X, Y, expected=Read(notes=("unused_columns",))
    ),
    "text under the name of a clock": csv(
        "x,updated,y", X, lambda row: f"v1.{row}", Y, expected=Read(time=None, notes=("unused_columns",))
    ),
    **{
        f"lap times '{name}' {cell(0)}": csv(
            f"x,{name},y",
            X,
            lambda row, cell=cell: cell(83 + X[row]),
            Y,
            expected=Read(time=None, notes=("time_column", "unused_columns")),
        )
        for name, cell in (
            ("Time", lambda lap: f"{int(lap // 60)}:{lap % 60:06.3f}"),
            ("time", lambda lap: f"0:{int(lap // 60):02d}:{int(lap % 60):02d}"),
            ("t", lambda lap: f"0 days 00:{int(lap // 60):02d}:{lap % 60:06.3f}"),
            ("Date", lambda lap: f"PT{lap:.2f}S"),
        )
    },
    "lap times beside the time": csv(
        "lap time,t,x,y",
        lambda row: f"1:{23 + X[row]:06.3f}",
        range(ROWS),
        X,
        Y,
        expected=Read(notes=("unused_columns",)),
    ),
    "lap times as the time": timed(
        "Time", lambda row: f"1:{23 + X[row]:06.3f}", Refused(("goes back", "--no-time")), time="Time"
    ),
    "lap times as a channel": csv(
        "t,pace,x",
        range(ROWS),
        lambda row: f"5:{20 + X[row]:02.0f}",
        X,
        expected=Refused(("'5:20'", "durations in seconds")),
        options={"channels": ("pace", "x")},
    ),
    "clock times out of order": timed(
        "Time", lambda row: f"{8 + 7 * row % 10:02d}:{row:02d}:00", Refused(("goes back", "--sort"))
    ),
    "time elapsed in minutes": timed(
        "Time", lambda row: f"{row // 30}:{2 * row % 60:02d}.500", Read(time="Time", step=2, unit="seconds")
    ),
    "time of a spreadsheet": timed(
        "Date", lambda row: f"{45355 + row / 24:.8f}", Read(time="Date", step=HOUR, unit="seconds")
    ),
    "time with a comma in the seconds": timed(
        "time", lambda row: f'"{minutes(row):%Y-%m-%d %H:%M:%S},250"', Read(time="time", step=MINUTE)
    ),
    "time of which day and month may be exchanged": timed(
        "date", lambda row: f"0{row % 9 + 1}/0{row % 9 + 1}/{2000 + row}", Refused(("row 1", "--time-format"))
    ),
    "time settled by the option": timed(
        "date", stamped("%m/%d/%Y", "weeks"), Read(time="date", step=7 * DAY), time_format="%m/%d/%Y"
    ),
    "time of numbers by the option": timed(
        "n", lambda row: 5 * row, Read(time="n", step=5, unit="seconds"), time="n", time_format="unix-s"
    ),
    "time of numbers that are no dates": timed(
        "date", stamped("%Y%m%d", "days"), Read(time="date", unit="units", holes=1), time_format="number"
    ),
    "clocks set back": timed(
        "time",
        autumn,
        Refused(("row 19", "--timezone ZONE")),
    ),
    "clocks set back in a zone": timed(
        "time",
        autumn,
        Read(time="time", step=600),
        timezone="Europe/Berlin",
    ),
    "clocks set forward in a zone": timed(
        "time",
        spring,
        Read(time="time", step=600),
        timezone="Europe/Berlin",
    ),
    "a date that stands for none": timed(
        "time",
        lambda row: minutes(row) if row < ROWS - 1 else "9999-12-31 00:00:00",
        Refused((f"row {ROWS}", "9999-12-31", "no date")),
    ),
    "a clock that was not set at first": timed(
        "time", lambda row: minutes(row) if row else "1970-01-01 00:00:00", Refused(("row 2", "1970-01-01", "no date"))
    ),
    "rows that are missing": timed(
        "time", lambda row: minutes(row + 5 * (row > 9)), Read(time="time", step=60, holes=1)
    ),
}

for name, per_second in (("Time (s)", 1), ("t_ms", 1000), ("time_us", 10**6), ("Zeit [min]", 1 / 60)):
    CASES[f"a longest gap beside '{name}'"] = timed(
        name,
        lambda row, per_second=per_second: per_second * (60 * row + row % 2 + 900 * (row > 9) + 300 * (row > 20)),
        Read(time=name, unit="units", holes=1, breaks=1, notes=("time_format",)),
        max_gap="10min",
    )
CASES |= {
    "a longest gap beside numbers of no unit": timed(
        "t", lambda row: row, Refused(("--max-gap is '10min'", "'time (s)'", "rows")), max_gap="10min"
    ),
}

# --- layout ----------------------------------------------------------------------------------------------------------

for name in (
    "x °C",
    "Höhe",
    "Außentemperatur",
    "Débit m³/h",
    "Presión µV",
    "Måling",
    "Vazão",
    "ÖLDRUCK",
    "x ± s",
    "x\u00a0s",
):
    CASES[f"layout: Windows-1252, '{name}'"] = csv(
        f"t,{name},y", *PLAIN[1:], encoding="cp1252", expected=Read(channels=(name, "y"), notes=("encoding",))
    )
for name, encoding in (
    ("温度", "shift_jis"),
    ("ﾃﾞｰﾀ", "shift_jis"),
    ("度", "shift_jis"),
    ("压力", "gbk"),
    ("溫度", "big5"),
    ("온도", "euc_kr"),
    ("Давление", "koi8-r"),
    ("Давление", "cp1251"),
    ("Tв", "cp1251"),
    ("ΔT °C", "cp1253"),
    ("Sıcaklık", "cp1254"),
    ("Ciśnienie", "cp1250"),
    ("Temp °C", "cp850"),
    ("Größe", "mac_roman"),
    ("Größe", "cp437"),
):
    CASES[f"layout: {encoding}, '{name}'"] = csv(
        f"t,{name},y", *PLAIN[1:], encoding=encoding, expected=Refused(("line 1 is not UTF-8", "--encoding"))
    )
    CASES[f"layout: {encoding}, '{name}', named"] = csv(
        f"t,{name},y",
        *PLAIN[1:],
        encoding=encoding,
        expected=Read(channels=(name, "y")),
        options={"encoding": encoding},
    )
CASES |= {
    "layout: a row of units": Case(below_header("s,m/s,°C"), Read(notes=("units_row",))),
    "layout: a row of units in brackets": Case(
        text(*PLAIN).replace("t,x,y\n", "t,x,y\n[s],[V],[A]\n").encode(), Read(notes=("units_row",))
    ),
    "layout: units and kinds, a line above": Case(
        text("TS,REC,x,y", lambda row: f'"{minutes(row)}"', range(ROWS), X, Y)
        .replace(
            "TS,REC,x,y\n", '"TOA5","logger","1234"\nTIMESTAMP,REC,x,y\n"TS","RN","Volts","Deg C"\n"","","Avg","Avg"\n'
        )
        .encode(),
        Read(time="TIMESTAMP", step=60, notes=("units_row", "lines_above")),
    ),
    "layout: a header of three levels": Case(
        text("scorer,D,D", range(ROWS), X, Y).replace("D,D\n", "D,D\nparts,nose,nose\ncoords,x,y\n").encode(),
        Read(time="scorer parts coords", channels=("D nose x", "D nose y"), notes=("units_row",)),
    ),
    "layout: comments above": csv(
        *PLAIN, above="# made by a logger\n# 2024-03-04\n", expected=Read(notes=("lines_above",))
    ),
    "layout: percent comments above": csv(*PLAIN, above="% rate 50\n", expected=Read(notes=("lines_above",))),
    "layout: a header in a comment": csv(None, *PLAIN[1:], above="# t,x,y\n", expected=Read(notes=("header",))),
    "layout: lines above": csv(
        *PLAIN, above="Device,X1\nSerial,1234\nStart,2024-03-04 08:00\n\n", expected=Read(notes=("lines_above",))
    ),
    "layout: lines above, counted": csv(*PLAIN, above="a,b,c\nd,e,f\n", expected=Read(), options={"skip_rows": 2}),
    "layout: sep=": Case(("sep=;\n" + SEMI).encode(), Read(notes=("delimiter",))),
    "layout: semicolons": Case(SEMI.encode(), Read(notes=("delimiter",))),
    "layout: tabs": Case(SEMI.replace(";", "\t").encode(), Read(notes=("delimiter",))),
    "layout: bars": Case(SEMI.replace(";", "|").encode(), Read(notes=("delimiter",))),
    "layout: separators at the end of rows": Case(
        text(*PLAIN).replace("\n", ",\n").replace("y,\n", "y\n", 1).encode(), Read()
    ),
    "layout: a separator at the end of the header": Case(text(*PLAIN).replace("y\n", "y,\n", 1).encode(), Read()),
    "layout: separators at the end of all lines": Case(text(*PLAIN).replace("\n", ",\n").encode(), Read()),
    "layout: a total": csv(*PLAIN, below="Total,12.5,3.5\n", expected=Read(notes=("lines_below",))),
    "layout: a total and an empty line": csv(*PLAIN, below="\nSum;;\n", expected=Read(notes=("lines_below",))),
    "layout: a comment at the end": csv(*PLAIN, below="# end of file\n", expected=Read(notes=("lines_below",))),
    "layout: a count of rows at the end": csv(
        *PLAIN, below="(40 rows affected)\n", expected=Read(notes=("lines_below",))
    ),
    "layout: UTF-16": csv(*PLAIN, encoding="utf-16", expected=Read(notes=("encoding",))),
    "layout: UTF-16 without a mark": csv(*PLAIN, encoding="utf-16-le", expected=Read(notes=("encoding",))),
    "layout: UTF-16 without a mark, the other way": csv(
        "t,x °C,y", *PLAIN[1:], encoding="utf-16-be", expected=Read(channels=("x °C", "y"), notes=("encoding",))
    ),
    "layout: UTF-16 named": csv(*PLAIN, encoding="utf-16-be", expected=Read(), options={"encoding": "utf-16-be"}),
    "layout: Windows-1252 below the head": csv(
        "t,x,y,note",
        *PLAIN[1:],
        lambda row: "Köln" if row == 30 else 3000 * " ",
        encoding="cp1252",
        expected=Refused(("row 31: column 'note'", "not UTF-8", "--encoding windows-1252")),
    ),
    "layout: bytes that Windows-1252 does not have": csv(
        "t,x °C,y,note",
        *PLAIN[1:],
        lambda row: "\x81" if row == 30 else 3000 * " ",
        encoding="latin-1",
        expected=Refused(("line 32", "windows-1252", "--encoding")),
    ),
    "layout: Windows-1252 named": csv(
        "t,x °C,y",
        *PLAIN[1:],
        encoding="cp1252",
        expected=Read(channels=("x °C", "y")),
        options={"encoding": "windows-1252"},
    ),
    "layout: Windows-1252 where it is open": csv(
        "t,x,y",
        *PLAIN[1:],
        lambda row: "â" if row else "ê",
        encoding="cp1252",
        expected=Refused(("line 2", "not UTF-8")),
    ),
    "layout: a database's answer": csv(
        " t  |   x    | y \n----+--------+---",
        *PLAIN[1:],
        delimiter=" | ",
        below=f"({ROWS} rows)\n\n",
        expected=Read(notes=("delimiter", "lines_below")),
    ),
    "layout: a database's answer with missing values": csv(
        " when | x | y\n-----+---+---",
        lambda row: f" {minutes(row)}",
        X,
        lost(Y, " "),
        delimiter=" | ",
        expected=Read(time="when", step=60, missing=5, notes=("delimiter",)),
    ),
    "layout: a frame of rules": csv(
        "+---+---+---+\n| t | x | y |\n+---+---+---+",
        lambda row: f"| {row}",
        X,
        lambda row: f"{Y[row]} |",
        delimiter=" | ",
        below="+---+---+---+\n",
        expected=Read(notes=("delimiter",)),
    ),
    "layout: Markdown": csv(
        "| t | x °C | y |\n|---|:-:|--:|",
        lambda row: f"|{row}",
        X,
        lambda row: f"{Y[row]}|",
        delimiter="|",
        expected=Read(channels=("x °C", "y"), notes=("delimiter",)),
    ),
    "layout: bars without rules": Case(SEMI.replace(";", " | ").encode(), Read(notes=("delimiter",))),
    "layout: aligned by blanks": csv(
        "   t      x      y",
        *([f"{value:7}" for value in column] for column in PLAIN[1:]),
        delimiter="",
        expected=Read(notes=("delimiter",)),
    ),
    "layout: aligned by blanks, row numbers and dates": csv(
        "                  when      x      y",
        lambda row: f"{row:2d} {minutes(row)}",
        *([f"{value:7}" for value in column] for column in (X, Y)),
        delimiter="",
        expected=Read(time="when", step=60, notes=("delimiter", "unnamed_column")),
    ),
    "layout: aligned by blanks, date and clock": csv(
        "date clock x y", minutes, X, Y, delimiter=" ", expected=Read(time="date,clock", step=60, notes=("delimiter",))
    ),
    "layout: aligned by blanks, a header in a comment": csv(
        "# made by a program\n# t x y", *PLAIN[1:], delimiter="  ", expected=Read(notes=("delimiter", "header"))
    ),
    "layout: aligned by blanks, decimal commas": csv(
        "t x y",
        *([f"{value}".replace(".", ",") for value in column] for column in PLAIN[1:]),
        delimiter=" ",
        expected=Read(notes=("delimiter", "decimal")),
    ),
    "layout: aligned by blanks, empty cells": csv(
        "t x y", range(ROWS), X, lost(Y, ""), delimiter=" ", expected=Refused(("set apart by blanks", "CSV", "NA"))
    ),
    "layout: aligned by blanks, no header": csv(
        None, *PLAIN[1:], delimiter="  ", expected=Refused(("first line holds numbers", "add a header line"))
    ),
    "layout: one column of decimal commas": csv(
        "x", [f"{row % 9 + 1},25" for row in range(ROWS)], expected=Refused(("row 1", "1,25", "--decimal ,"))
    ),
    "layout: one column of decimal commas, named": csv(
        "x",
        [f"{row % 9 + 1},25" for row in range(ROWS)],
        expected=Read(time=None, channels=("x",)),
        options={"decimal": ","},
    ),
    "layout: one column of groups with blanks": csv(
        "my value", [f"{row % 9 + 1} 250" for row in range(ROWS)], expected=Read(time=None, channels=("my value",))
    ),
    "layout: a table of R": csv(
        '"t" "x" "y 1"',
        lambda row: f'"{row + 1}" {row}',
        X,
        lost(Y, "NA"),
        delimiter=" ",
        expected=Read(channels=("x", "y 1"), missing=5, notes=("delimiter", "unnamed_column")),
    ),
    "layout: a table of R with tabs": csv(
        '"t"\t"x"\t"y"',
        lambda row: f'"{row + 1}"\t{row}',
        X,
        Y,
        delimiter="\t",
        expected=Read(notes=("delimiter", "unnamed_column")),
    ),
    "layout: an oscilloscope's start and step": csv(
        "X,CH1,CH2,Start,Increment,\nSequence,VOLT,VOLT,0.0,2e-6,",
        range(ROWS),
        X,
        lambda row: f"{Y[row]},,,",
        expected=Read(time="X", channels=("CH1", "CH2"), notes=("units_row", "empty_column")),
    ),
    "layout: an oscilloscope's units": csv(
        "x-axis,1,2\nsecond,Volt,Volt",
        lambda row: f"{row * 2e-6:.6e}",
        X,
        Y,
        expected=Read(time="x-axis", channels=("1", "2"), notes=("units_row",)),
    ),
    "layout: long cells, in which a careless pattern goes back and forth for minutes": csv(
        "t,x °C,y,note,code",
        *PLAIN[1:],
        lambda row: f"5{' ' * 8000}5x" if row == 3 else "+" + " " * 20,
        lambda row: f"{'5' * 8000}x5" if row == 5 else "a" * 2000,
        encoding="cp1252",
        expected=Read(channels=("x °C", "y")),
    ),
    "layout: blanks after commas": csv("t, x, y", *PLAIN[1:], delimiter=", ", expected=Read()),
    "layout: blanks and quotes": csv(
        '"t", "x", "y"', *(quoted(map(str, column)) for column in PLAIN[1:]), delimiter=", ", expected=Read()
    ),
    "layout: old Mac": csv(*PLAIN, end="\r", expected=Read()),
    "layout: Windows": csv(*PLAIN, end="\r\n", expected=Read()),
    "layout: a mark of UTF-8": csv(*PLAIN, encoding="utf-8-sig", expected=Read()),
    "layout: no header": csv(None, *PLAIN[1:], expected=Refused(("first line holds numbers", "add a header line"))),
    "layout: no header, dates": csv(
        None, minutes, X, ["idle"] * ROWS, expected=Refused(("first line holds data", "add a header line"))
    ),
    "layout: no header, missing values": csv(
        None, minutes, lost(X, ""), Y, expected=Refused(("first line holds data",))
    ),
    "layout: comments between rows": Case(behind_row_9("# pause"), Refused(("row 10", "--comment '#'"))),
    "layout: comments between rows, named": Case(behind_row_9("# pause"), Read(), options={"comment": "#"}),
    "layout: row names of R": Case(
        text("t,x,y", lambda row: f'"{row + 1}",{row}', X, Y).encode(), Read(notes=("unnamed_column",))
    ),
    "layout: a second header that does not fit": Case(
        below_header("first,second"), Refused(("row 1", "'t,x,y'", "--skip-rows"))
    ),
    "layout: a quote left open": Case(
        text("t,note,x", range(ROWS), lambda row: '"bad' if row in (5, 20) else "ok", X).encode(),
        Refused(("row 6", "quote")),
    ),
    "layout: a name with a comma in each column": Case(
        SEMI.replace(".", ",").replace("t;x;y", "t, s;x, V;y, A").encode(),
        Read(time="t, s", channels=("x, V", "y, A"), notes=("delimiter", "decimal")),
    ),
    "layout: a row too long": Case(
        text(*PLAIN).replace("\n9,", "\n9,1,").encode(), Refused(("row 10", "4 cells", "3 columns"))
    ),
}

# --- typed files -----------------------------------------------------------------------------------------------------

CASES |= {
    "typed: an index of times": table(
        Read(time="__index_level_0__", step=60),
        x=X,
        y=Y,
        __index_level_0__=pa.array([minutes(row) for row in range(ROWS)]),
    ),
    **{
        f"typed: periods of pandas '{freq}'{suffix}": table(
            Read(time="when", step=step, unit="seconds", notes=("time_format",)),
            suffix,
            x=X,
            when=pa.table(pd.DataFrame({"when": pd.period_range("2024-03-04", periods=ROWS, freq=freq)})).column(0),
            y=Y,
        )
        for freq, step in (("D", DAY), ("h", HOUR), ("M", 31 * DAY))
        for suffix in (".parquet", ".feather")
    },
    "typed: an index of periods": frame(
        Read(time="__index_level_0__", step=MINUTE),
        pd.DataFrame({"x": X, "y": Y}, index=pd.period_range("2024-03-04", periods=ROWS, freq="min")),
    ),
    "typed: numbers as text": table(Read(), t=list(range(ROWS)), x=X, y=[str(value) for value in Y]),
    "typed: times beyond 2^63": table(
        Refused(("row 1", "beyond 2^63")), t=pa.array([2**63 + row for row in range(ROWS)], pa.uint64()), x=X, y=Y
    ),
    "typed: dictionaries and decimals": table(
        Read(), t=list(range(ROWS)), x=pa.array(X).cast(pa.decimal128(10, 3)), y=pa.array(Y).dictionary_encode()
    ),
    "typed: nested columns": table(
        Read(notes=("unused_columns",)), t=list(range(ROWS)), x=X, y=Y, z=[[1.0, 2.0]] * ROWS
    ),
    "typed: time zones": table(
        Read(time="when", step=60),
        when=pa.array([minutes(row) for row in range(ROWS)], pa.timestamp("ns", "Europe/Rome")),
        x=X,
        y=Y,
    ),
    "typed: Arrow": table(Read(), ".arrow", t=list(range(ROWS)), x=X, y=Y),
    "typed: Feather": table(Read(), ".feather", t=list(range(ROWS)), x=X, y=Y),
    "typed: JSON lines": Case(
        "".join(
            f'{{"time": "{minutes(row).isoformat()}", "x": {X[row]}, "y": {Y[row]}}}\n' for row in range(ROWS)
        ).encode(),
        Read(time="time", step=60),
        ".jsonl",
    ),
}

# What a thing has is measured, whatever the thing; what tells things apart is not
for name in (
    "line_voltage",
    "Phone Temp",
    "engine coolant (C)",
    "unit load",
    "nodeDegree",
    "index_of_refraction",
    "sensor_1",
    "Machine 2",
):
    CASES[f"measured '{name}'"] = csv(
        f"t,{name},y", range(ROWS), lambda row: 230 + (row * row) % 3, Y, expected=Read(channels=(name, "y"))
    )
for name in ("Line No", "deviceid", "id_machine", "MMSI", "patient_nbr"):
    CASES[f"id '{name}'"] = csv(
        f"t,x,{name},y",
        range(ROWS),
        X,
        lambda row: 367000001 + row % 3,
        Y,
        expected=Read(notes=("not_a_channel", "several_series")),
    )
CASES |= {
    # lines of equal steps whose last digit is rounded
    "days of another program": csv(
        "x,moment,y", X, lambda row: f"{739315.3333 + row / 1440:.6f}", Y, expected=Read(time="moment")
    ),
    "thirds of a second": csv("pos,x,y", lambda row: f"{row / 3:.2f}", X, Y, expected=Read(time="pos")),
    "30 pictures a second in ms": csv("pts,x,y", lambda row: round(row * 1000 / 30), X, Y, expected=Read(time="pts")),
    "energy at a steady load is measured": csv(
        "time,x,kWh", minutes, X, lambda row: f"{100 + row * 0.015:.2f}", expected=Read("time", ("x", "kWh"))
    ),
    # where a range begins and where it ends, in two columns
    "begin and end": csv(
        "Datum von;Datum bis;x;y",
        stamped("%d.%m.%Y %H:%M"),
        lambda row: f"{minutes(row + 1):%d.%m.%Y %H:%M}",
        X,
        Y,
        delimiter=";",
        expected=Read(time="Datum von", step=60),
    ),
    "open and close in ms": csv(
        "open_time,x,y,close_time",
        lambda row: 1709539200000 + 60000 * row,
        X,
        Y,
        lambda row: 1709539259999 + 60000 * row,
        expected=Read(time="open_time", step=60),
    ),
    "a date with clocks of begin and end": csv(
        "DATE,START TIME,END TIME,x,y",
        stamped("%Y-%m-%d"),
        stamped("%H:%M"),
        lambda row: f"{minutes(row + 1):%H:%M}",
        X,
        Y,
        expected=Read(time="DATE,START TIME", step=60),
    ),
    "sent and received later than the next": csv(
        "sent,received,x,y",
        minutes,
        lambda row: minutes(row + 2),
        X,
        Y,
        expected=Refused(("'sent' and 'received'", "--time")),
    ),
    # dates that some rows lack
    "a clock that begins later": csv(
        "Stamp,x,y",
        lambda row: minutes(row) if row > 1 else "",
        X,
        Y,
        expected=Refused(("row 1", "'Stamp' is empty", "--no-time")),
    ),
    "a date that few rows have": csv(
        "calibrated_at,x,y", lambda row: minutes(row) if row % 9 == 0 else "", X, Y, expected=Read(time=None)
    ),
    # months are no weekdays
    "German months of years": timed("Monat", lambda row: f"{GERMAN_MONTHS[row % 12]} {2018 + row // 12}"),
    "Spanish months of years": timed("fecha", lambda row: f"{SPANISH_MONTHS[row % 12]}. {2018 + row // 12}"),
    "weekdays and Spanish dates": timed(
        "fecha", lambda row: f"lunes, {row % 28 + 1} de {('marzo', 'abril')[row // 28]} de 2024", Read("fecha", holes=1)
    ),
    # what a program writes above the table, of several widths
    "a preamble of pairs below single cells": csv(
        ";stamp;x;y",
        range(ROWS),
        lambda row: row * 0.5,
        X,
        Y,
        delimiter=";",
        above="Trace\nPLC:;PLC_1\nRate:;10 ms\n\n",
        expected=Read(time="stamp", step=0.5, notes=("lines_above",)),
    ),
    "a preamble whose last lines are as wide as the table": csv(
        "TIME,x,y",
        lambda row: f"{-1e-6 + row * 4e-9:.11e}",
        X,
        Y,
        above="Model,M54\nFormat,Y,\nLength,40\nLabel,,\n",
        expected=Read(time="TIME", notes=("lines_above",)),
    ),
    "a preamble wider than the table": csv(
        "x\ty\tComment\t",
        X,
        Y,
        delimiter="\t",
        above="Measurement\t\nVersion\t2\nDate\t2024\t2024\t\t\t\n",
        expected=Refused(("--skip-rows",)),
    ),
    "blanks below comments with commas": csv(
        "mjd x y",
        lambda row: f"{60373.3 + row * 0.02:.5f}",
        X,
        Y,
        delimiter=" ",
        above="# %ECSV 1.0\n# - {name: mjd, unit: d}\n",
        expected=Read(time="mjd", notes=("delimiter", "lines_above")),
    ),
    "nulls of MySQL": measured(lost(Y, "\\N"), expected=Read(missing=5)),
    "a letter that means missing": measured(lost(Y, "M"), expected=Refused(("'M'", "--na-values M"))),
    "stars that mean missing": measured(lost(Y, "***"), expected=Refused(("'***'", '--na-values "***"'))),
    "a letter for a limit of detection": measured(lost(Y, "<0.05"), expected=Refused(('--na-values "<0.05"',))),
    "dashes of a weather station": measured(lost(Y, "---"), expected=Read(missing=5)),
    "the header again": csv(
        "Stamp,x,y",
        [*map(minutes, range(20)), "Stamp", *map(minutes, range(20, 39))],
        [*X[:20], "x", *X[21:]],
        [*Y[:20], "y", *Y[21:]],
        expected=Refused(("row 21", "header stands here again")),
    ),
    # clocks that are not modelled though they start again, stand still or hold a strange cell
    "a clock that starts again": csv(
        "time_s,x,y", lambda row: row % 20 / 4, X, Y, expected=Refused(("row 21", "'time_s' goes back", "--no-time"))
    ),
    "an epoch that repeats": csv(
        "epoch,x,y", lambda row: 1709539200 + row // 2, X, Y, expected=Refused(("'epoch' repeats", "--no-time"))
    ),
    "a clock that starts again, beside another": csv(
        "time,lap_time,x,y", minutes, lambda row: row % 15 / 8, X, Y, expected=Read("time", notes=("not_a_channel",))
    ),
    "formats below a header of a clock": csv(
        "datetime,x,y",
        lambda row: minutes(row) if row else "20d",
        lambda row: X[row] if row else "14n",
        Y,
        expected=Refused(("'datetime' holds", "--time-format")),
    ),
    "T is a temperature": csv(
        "Datum,T,x,y", minutes, X, X, Y, expected=Read(time="Datum", notes=("time_column", "unused_columns"))
    ),
    "T alone, beside words": csv(
        "time,T,mode", minutes, X, lambda row: "ab"[row % 2], expected=Refused(("T (a name of times)", "--channels"))
    ),
    # more spellings of times
    "days of six digits": csv(
        "date,x,y",
        lambda row: f"{START + dt.timedelta(days=row):%y%m%d}",
        X,
        Y,
        expected=Read(time="date", step=86400, notes=("time_format",)),
    ),
    "six digits of no date": csv("date,x,y", lambda row: 240350 + row, X, Y, expected=Read(time="date", unit="units")),
    "half days of one letter": timed("Clock", lambda row: f"{minutes(row):%I:%M}{'ap'[minutes(row).hour > 11]}"),
    "a date at a time": timed("stamp", lambda row: f"{minutes(row):%b %d %Y @ %H:%M:%S}.000"),
    "year and month in letters": timed("month", lambda row: f"{MONTHS[row]:%Y %b}"),
    "two dates with clocks": csv(
        "Date Local,Time Local,Date GMT,Time GMT,x",
        stamped("%Y-%m-%d"),
        stamped("%H:%M"),
        stamped("%Y-%m-%d"),
        lambda row: f"{minutes(row + 480):%H:%M}",
        X,
        expected=Refused(("--time 'Date Local,Time Local'", "--no-time")),
    ),
    "series of a name with brackets": csv(
        "time,Station (no),x",
        lambda row: row % 20,
        lambda row: row // 20,
        X,
        expected=Refused(("--series 'Station (no)'",)),
    ),
    "a calendar beside a clock that starts again": csv(
        "year,month,day,run_time,x,y",
        lambda row: (START + dt.timedelta(days=row)).year,
        lambda row: (START + dt.timedelta(days=row)).month,
        lambda row: (START + dt.timedelta(days=row)).day,
        lambda row: row % 20 / 8,
        X,
        Y,
        expected=Read(time="year,month,day", step=86400, notes=("time_column", "not_a_channel")),
    ),
}
