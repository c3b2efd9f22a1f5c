"""Files after the exports of single programs and instruments, beside the kinds of `cases`."""

import datetime as dt
import json

import pandas as pd
import pyarrow as pa
from cases import ROWS, START, Case, Read, Refused, X, Y, csv, minutes, stamped, table, text

DAY = 86400
CASES: dict[str, Case] = {}
SECONDS = [f"{row * 0.5:.1f}" for row in range(ROWS)]


def plain(content, expected, suffix=".csv", encoding="utf-8", **options):
    return Case(content.encode(encoding), expected, suffix, options)


def joined(line):
    """Lines of text, one for each row."""
    return "".join(line(row) + "\n" for row in range(ROWS))


def json_lines(line, expected):
    return plain(joined(lambda row: json.dumps(line(row))), expected, ".jsonl")


def comma(value):
    return str(value).replace(".", ",")


# --- clocks, counters, ids and codes

for name, cells in {
    "seconds_left": range(900, 900 - ROWS, -1),
    "Restzeit [s]": [300 - row / 2 for row in range(ROWS)],
    "battery": range(4 * ROWS, 0, -4),
}.items():
    for time in ("time", "elapsed_s"):
        CASES[f"countdown '{name}' beside '{time}'"] = csv(
            f"{time},x,{name},y", SECONDS, X, cells, Y, expected=Read(time=time, notes=("not_a_channel",))
        )
CASES |= {
    "a countdown alone": csv(
        "x,remaining,y", X, range(ROWS, 0, -1), Y, expected=Read(time=None, notes=("not_a_channel",))
    ),
    "a countdown that is asked for": csv(
        "t,x,y", range(ROWS), X, range(ROWS, 0, -1), expected=Read(), options={"channels": ("x", "y")}
    ),
    "a quantity that falls, but not evenly": csv(
        "t,x,y", range(ROWS), X, [100 - row**1.1 for row in range(ROWS)], expected=Read()
    ),
    "a lap number and the frame of another camera": csv(
        "t,lap_number,world_index,x,y",
        SECONDS,
        lambda row: 1 + row // 15,
        lambda row: 50 + row // 4,
        X,
        Y,
        expected=Read(notes=("not_a_channel",)),
    ),
    "ids and quality of an OPC server": csv(
        "_NUMERICID,_NAME,x,_TIMESTAMP,_QUALITY",
        lambda row: 7,
        lambda row: "Ch1.Dev.Tank",
        X,
        minutes,
        lambda row: 0 if row % 11 == 5 else 192,
        expected=Read(time="_TIMESTAMP", channels=("x",), step=60, notes=("not_a_channel",)),
    ),
    "two persons, their hours in a column of an unknown name": csv(
        "Id,ActivityHour,x",
        lambda row: 1503960366 if row < 20 else 1624580081,
        lambda row: f"{START + dt.timedelta(hours=12 * (row % 20)):%m/%d/%Y %I:%M:%S %p}",
        X,
        expected=Refused(("row 21", "'ActivityHour' goes back", "--series Id")),
    ),
    "the newest row first, in a column of an unknown name": csv(
        "session,x,y",
        lambda row: START.date() - dt.timedelta(days=row),
        X,
        Y,
        expected=Refused(("row 2", "'session' goes back", "--sort")),
    ),
    "months of six digits without a name": csv(
        ",x,y",
        lambda row: f"{2019 + row // 12}{row % 12 + 1:02d}",
        X,
        Y,
        expected=Read(time="", unit="seconds", notes=("time_format",)),
    ),
    "intervals of numbers without a name": csv(
        ",x,y",
        lambda row: f'"({10 * row}, {10 * row + 10}]"',
        X,
        Y,
        expected=Read(time=None, notes=("unused_columns",)),
    ),
}

# --- dates

for name, cell, step in (
    ("timestamp", stamped("%y%m%d%H%M%S"), 60),
    ("date", stamped("%y%m%d%H%M"), 60),
    ("Datum", stamped("%d%m%Y", "days"), DAY),
    ("Week", lambda row: f"2024-{row + 1}", 7 * DAY),
    ("week", lambda row: f"{row + 1}/2024", 7 * DAY),
    ("Halbjahr", lambda row: f"{1990 + row // 2}-H{row % 2 + 1}", None),
    ("Zeitraum", lambda row: f"{row % 2 + 1}. Halbjahr {1990 + row // 2}", None),
    ("semester", lambda row: f"S{row % 2 + 1} {1990 + row // 2}", None),
    ("Season", lambda row: f"{1980 + row}/{(81 + row) % 100:02d}", 365 * DAY),
    ("campaign", lambda row: f"{1930 + row}-{1931 + row}", 365 * DAY),
    ("TS", lambda row: f"{minutes(row):%d-%b-%y %I.%M.%S}.000000000 {minutes(row):%p}".upper(), 60),
    ("time", lambda row: f"{minutes(row):%Y.%m.%dD%H:%M:%S}.000000000", 60),
    ("when", lambda row: f"{minutes(row):%a %b %d %H:%M:%S} GMT+01:00 2024", 60),
    ("", lambda row: "/".join(f"{START.date() + dt.timedelta(days=7 * row + days)}" for days in (0, 6)), 7 * DAY),
):
    CASES[f"dates '{cell(0)}' under '{name}'"] = csv(
        f"{name},x,y", cell, X, Y, expected=Read(time=name, step=step, unit="seconds")
    )
CASES |= {
    "years and weeks in columns": csv(
        "YEAR,WEEK,x",
        lambda row: 2023 + row // 52,
        lambda row: row % 52 + 1,
        X,
        expected=Read(time="YEAR,WEEK", channels=("x",), step=7 * DAY),
    ),
    "years and quarters in columns": csv(
        "year,quarter,x",
        lambda row: 2003 + row // 4,
        lambda row: row % 4 + 1,
        X,
        expected=Read(time="year,quarter", channels=("x",), unit="seconds"),
    ),
    "one day whose month may be its day, and a clock": csv(
        "Date,Time,x,y",
        stamped("%m/%d/%Y"),
        stamped("%H:%M:%S"),
        X,
        Y,
        expected=Refused(("'Date,Time'", "--time-format", "'%d/%m/%Y %H:%M:%S'")),
    ),
    "days that only their clocks decide": csv(
        "Date,Time,x,y",
        lambda row: f"{START + dt.timedelta(hours=row):%d/%m/%y}",
        lambda row: f"{START + dt.timedelta(hours=row):%H:%M}",
        X,
        Y,
        expected=Read(time="Date,Time", step=3600),
    ),
    "holes of one length that are no weekends": csv(
        "t,x,y", lambda row: row + 2 * (row // 5), X, Y, expected=Read(holes=7, notes=("equal_holes",))
    ),
}

# --- numbers

CASES |= {
    "values and their flags in one cell": csv(
        "time;x",
        minutes,
        lambda row: f'"+0{100 + row},{row % 2}"',
        delimiter=";",
        expected=Refused(("row 1", "--decimal ,")),
    ),
    "thousands set apart by narrow blanks, and decimal commas": csv(
        "time;x",
        minutes,
        lambda row: f"{1 + row % 3}\u202f{200 + row * row % 700},{row % 90 + 10}",
        delimiter=";",
        expected=Read(time="time", channels=("x",), notes=("decimal", "number_form")),
    ),
    "mostly the words of a historian": csv(
        "Timestamp,x,y",
        minutes,
        X,
        lambda row: Y[row] if row % 4 == 0 else "I/O Timeout",
        expected=Read(time="Timestamp", channels=("x",), notes=("unused_columns",)),
    ),
    "mostly the words of a historian, by the options": csv(
        "Timestamp,x,y",
        minutes,
        X,
        lambda row: Y[row] if row % 4 == 0 else "I/O Timeout",
        expected=Read(time="Timestamp", missing=30),
        options={"na_values": ("I/O Timeout",)},
    ),
}

# --- layout

LABVIEW = (
    "LabVIEW Measurement\t\nWriter_Version\t2\nDate\t2024/03/04\n***End_of_Header***\t\n\t\nChannels\t2\t\t\n"
    "Samples\t40\t40\t\nY_Unit_Label\tVolts\tVolts\t\nX0\t0.0\t0.0\t\nDelta_X\t0.5\t0.5\t\n***End_of_Header***\t\t\t\n"
    "X_Value\tx\ty\tComment\n"
)
AFTER = "# ---- gauges\n# 66 00060 Discharge\nagency_cd\tdatetime\tx\ty\n5s\t20d\t14n\t10n\n"


def measured(row):
    return f"{SECONDS[row]}\t{X[row]}\t{Y[row]}"


for ending, line in {
    "a cell for comments": lambda row: measured(row) + "\t",
    "no cell for comments": measured,
    "one comment": lambda row: measured(row) + "\tstart" * (row == 0),
}.items():
    CASES[f"LabVIEW, {ending}"] = plain(LABVIEW + joined(line), Read(time="X_Value", notes=("lines_above",)))
CASES |= {
    "a header of another table below": plain(
        text("t,x,y", range(ROWS), X, Y) + "\nt,p,q\n1,2,3\n", Refused(("row 41", "'t,p,q'", "another table"))
    ),
    "a wider table below": plain(
        text("t,x,y", range(ROWS), X, Y) + "\nt,p,q,r\n" + joined(lambda row: f"{row},1,2,{X[row]}"),
        Refused(("row 41", "'t,p,q,r' begins another table")),
    ),
    "a gauge's format row": plain(
        AFTER + joined(lambda row: f"USGS\t{minutes(row)}\t{X[row]}\t{Y[row]}"),
        Read(time="datetime", notes=("units_row",)),
        ".tsv",
    ),
    "an oscilloscope's settings, as wide as its channels": plain(
        "Model,MSO44\nSample Interval,8e-08,\nVertical Units,V,A\n\n\nTIME,x,y\n"
        + joined(lambda row: f"{SECONDS[row]},{X[row]},{Y[row]}"),
        Read(time="TIME", notes=("lines_above",)),
    ),
    "names and values above two columns": plain(
        "Label,CPU\nStatistic,Average\nPeriod,300\nUnit,Percent\n" + joined(lambda row: f"{minutes(row)},{X[row]}"),
        Refused(("row 1", "--skip-rows N")),
    ),
    "columns of columns, and a name of the rows": plain(
        "Price,x,y\nTicker,AAA,AAA\nDate,,\n"
        + joined(lambda row: f"{START.date() + dt.timedelta(days=row)},{X[row]},{Y[row]}"),
        Read(time="Date", step=DAY, notes=("units_row",)),
    ),
    "rows of nothing but separators at the end": plain(
        joined(lambda row: f"{minutes(row):%d.%m.%Y %H:%M};{comma(X[row])};").join(["Datum;x;\n", ";;\n;;\n"]),
        Read(time="Datum", channels=("x",), notes=("lines_below",)),
    ),
    "the header once more, and other names, at the end": plain(
        text("Time,x,y", minutes, X, Y) + "Time,x,y\n,Core 0,Core 1\n", Read(time="Time", notes=("lines_below",))
    ),
    "a last row of missing values": plain(text("x,y", X, Y) + ",\n", Read(time=None, rows=ROWS + 1, missing=2)),
    "a data frame with times as it is printed": plain(
        pd.DataFrame({"x": X, "y": Y}, index=pd.date_range(START, periods=ROWS, freq="min")).to_string() + "\n",
        Read(time="", step=60, notes=("delimiter",)),
    ),
    "a box of DuckDB": plain(
        "┌─────────────────────┬────────┐\n│          t          │   x    │\n│      timestamp      │ double │\n"
        "├─────────────────────┼────────┤\n"
        + joined(lambda row: f"│ {minutes(row)} │ {X[row]:6} │")
        + "└─────────────────────┴────────┘\n",
        Read(channels=("x",), step=60),
    ),
    "a frame of Polars": plain(
        f"shape: ({ROWS}, 2)\n┌─────────────────────┬────────┐\n"
        "│ t                   ┆ x      │\n│ ---                 ┆ ---    │\n"
        "│ datetime[μs]        ┆ f64    │\n╞═════════════════════╪════════╡\n"
        + joined(lambda row: f"│ {minutes(row)} ┆ {X[row]:6} │")
        + "└─────────────────────┴────────┘\n",
        Read(channels=("x",), step=60),
    ),
    "blanks and the number of rows, as sqlcmd writes them": plain(
        "ts                      x           \n----------------------- ------------\n"
        + joined(lambda row: f"{minutes(row)}.000 {X[row]:12}")
        + f"\n({ROWS} rows affected)\n",
        Read(time="ts", channels=("x",), step=60),
    ),
    "UTF-32": plain(text("t,x,y", range(ROWS), X, Y), Refused(("--encoding",)), encoding="utf-32"),
    "text under another name": plain(
        text("t,x,y", range(ROWS), X, Y), Refused((".csv", "rename a table of text")), ".dat"
    ),
}
for language, encoding, header in (
    ("Japanese", "shift_jis", "日時;温度"),
    ("Chinese", "gbk", "时间;温度"),
    ("Russian", "koi8-r", "дата;температура"),
    ("Czech", "cp1250", "Čas;Průtok"),
    ("an old Macintosh", "mac_roman", "Zeit;Außentemperatur °C"),
):
    CASES[f"encoding: {language}"] = plain(
        header + "\n" + joined(lambda row: f"{minutes(row)};{X[row]}"), Refused(("--encoding",)), encoding=encoding
    )

# --- JSON lines and types

CASES |= {
    "JSON: text among numbers": json_lines(
        lambda row: {"t": row, "x": X[row], "y": "n/a" if row == 33 else Y[row]},
        Refused(("line 34", "'y' holds text ('n/a')", "null")),
    ),
    "JSON: one array": plain(
        json.dumps([{"t": row, "x": X[row]} for row in range(ROWS)]), Refused(("line 1", "JSON object")), ".jsonl"
    ),
    "JSON: a broken line": plain(
        joined(lambda row: json.dumps({"t": row, "x": X[row]})[: 9 if row == 20 else None]),
        Refused(("line 21",)),
        ".jsonl",
    ),
    "JSON: fields in fields": json_lines(
        lambda row: {"t": row, "payload": {"x": X[row]}}, Refused(("payload (nested", "columns"))
    ),
    "Arrow: a time to live": table(
        Read(time="ts", channels=("x",), step=60, notes=("not_a_channel",)),
        suffix=".arrow",
        ts=pa.array([START + dt.timedelta(minutes=row) for row in range(ROWS)], pa.timestamp("ms")),
        ttl=range(ROWS, 0, -1),
        x=X,
    ),
}
