"""Spellings of times that are rewritten into usual ones: time zones, ranges, other languages and customs."""

import re
from typing import Any

import pyarrow.compute as pc

# abbreviations of time zones that mean one thing; from the names that RFC 5322 and the time zone database give
_ZONES = {
    **dict.fromkeys(("UTC", "GMT", "WET", "UT", "Z"), "+00:00"),
    **dict.fromkeys(("CET", "MEZ", "WEST"), "+01:00"),
    **dict.fromkeys(("CEST", "MESZ", "EET"), "+02:00"),
    **dict.fromkeys(("EEST", "MSK"), "+03:00"),
    **{"EST": "-05:00", "EDT": "-04:00", "CST": "-06:00", "CDT": "-05:00"},
    **{"MST": "-07:00", "MDT": "-06:00", "PST": "-08:00", "PDT": "-07:00"},
    **{"JST": "+09:00", "AEST": "+10:00", "AEDT": "+11:00", "NZST": "+12:00", "NZDT": "+13:00"},
}
# in full and cut, as German, French, Spanish, Italian, Portuguese and Dutch have them
_MONTHS = {
    "Jan": "januar jänner jan janvier janv enero ene gennaio gen janeiro januari",
    "Feb": "februar feber feb février févr fevrier febrero febbraio fevereiro fev februari",
    "Mar": "märz mär maerz mrz mars marzo mar março maart mrt",
    "Apr": "april apr avril avr abril abr aprile",
    "May": "mai mayo may maggio mag maio mei",
    "Jun": "juni jun juin junio giugno giu junho",
    "Jul": "juli jul juillet juil julio luglio lug julho",
    "Aug": "august aug août aout agosto ago augustus",
    "Sep": "september sept sep septembre septiembre settembre set setembro",
    "Oct": "oktober okt octobre oct octubre ottobre ott outubro out",
    "Nov": "november nov novembre noviembre novembro",
    "Dec": "dezember dez décembre decembre déc diciembre dic dicembre dezembro december dec",
}
_USUAL = {  # pattern -> what is written in its place
    r"(\d+)\s*[年년]\s*(\d+)\s*[月월]\s*(\d+)\s*[日일]\s*": r"\1-\2-\3 ",
    r"(\d+)\s*[年년]\s*(\d+)\s*[月월]": r"\1-\2",
    r"(\d+)\s*[時时点시]\s*(\d+)\s*[分분]\s*(\d+)\s*[秒초]": r"\1:\2:\3",
    r"(\d+)\s*[時时点시]\s*(\d+)\s*[分분]": r"\1:\2",
    r"^\[(.*)\]$": r"\1",
    # a weekday in front, of a date or a clock time: not the month of a year
    r"^\pL+\.?,?\s+(\d+(?::\d|(?:[-/. ]|\sdel?\s)+[\d\pL]+(?:[-/. ]|\sdel?\s)+\d))": r"\1",
    r"(\d),?\s+(?:à|um|at|alle|a las|@)\s+(\d)": r"\1 \2",
    r"(?i)\s*(?:Uhr|hrs)$": "",
    r"(?i)\s*([ap])\.\s?m\.?$": r" \1m",
    r"(?i)(:\d\d)\s*([ap])$": r"\1 \2m",
    r"\b(\d{1,2})h(\d{2})$": r"\1:\2",
    r"(?i)^(\S*\d\S*\s+\d{1,2})\.(\d{2})\.(\d{2}(?:\.\d+)?(?: [ap]m)?)$": r"\1:\2:\3",
    r"^(\d{4})\.(\d\d)\.(\d\d)D(\d)": r"\1-\2-\3 \4",  # kdb+
    # the date of Unix and Java
    r"^(?:\pL{3}\s+)?(\pL{3})\s+(\d{1,2})\s+([\d:]+)(?:\s+\pL{3,4})?(?:\s+(?:GMT|UTC)?([+-]\d\d:?\d\d))?\s+(\d{4})$": (
        r"\2 \1 \5 \3\4"
    ),
    r"^(\S*\d\S*\s+\d{1,2})\.(\d{2})$": r"\1:\2",
    r"(\d:\d{2}:\d{2}):(\d{3})$": r"\1.\2",
    **{rf"(?i)\b(?:{names.replace(' ', '|')})\b": month for month, names in _MONTHS.items()},
    r"([A-Z][a-z]{2})\.(\s|$)": r"\1\2",
    r"(\d|[A-Z][a-z]{2})\s+del?\s+": r"\1 ",
}
RANGE = r"^(.*?\d\D+\d.*?)\s+(?:-|–|to|bis|au)\s+(.*)$"  # 04.03.2024 08:00 - 04.03.2024 09:00


def with_offsets(text: Any) -> Any:
    """Return text with the abbreviations of time zones at the end of cells turned into offsets from UTC."""
    for zone, offset in _ZONES.items():
        text = pc.replace_substring_regex(text, rf"(\d)\s*\(?{zone}\)?$", rf"\1{offset}")
    return pc.replace_substring_regex(text, r"(:\d\d),(\d+)", r"\1.\2")


def with_beginnings(text: Any) -> Any:
    """Return text with ranges of times turned into their beginnings: 08:00 of 08:00 - 09:00."""
    text = pc.replace_substring_regex(text, r"^(\S+T\S+|\d{4}-\d\d-\d\d)/(\S+T\S+|\d{4}-\d\d-\d\d)$", r"\1 - \2")
    seasons = pc.extract_regex(text, r"^(?P<first>\d{4})[-/](?P<last>\d{2}|\d{4})$")
    if not seasons.null_count and len(text):  # 1980/81: the year in which it begins
        years = [(int(year["first"]), int(year["last"])) for year in seasons.to_pylist()]
        if all((last - first) % 100 == 1 for first, last in years):
            return pc.replace_substring_regex(text, r"^(\d{4})[-/]\d+$", r"\1-01-01")
    if not pc.all(pc.match_substring_regex(text, RANGE)).as_py():
        return text
    shapes = pc.replace_substring_regex(pc.replace_substring_regex(text, r"\d+", "9"), r"\pL+", "a")
    for shape in pc.unique(shapes).to_pylist():
        halves = re.fullmatch(r"(.*?9[^9]+9.*?)\s+[-–a]\s+(.*)", shape)
        if halves is None or not (halves[1] == halves[2] or halves[1].endswith(f"9 {halves[2]}")):
            return text  # a date and its clock, or the parts of a date, are no range
    return pc.replace_substring_regex(text, RANGE, r"\1")


def with_usual_marks(text: Any) -> Any:
    """Return text with the dates and clock times of other languages and customs as English ones, months cut."""
    for pattern, usual in _USUAL.items():
        text = pc.replace_substring_regex(text, pattern, usual)
    return pc.utf8_trim_whitespace(text)
