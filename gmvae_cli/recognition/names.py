"""Names of columns: which ones a clock, a counter, an identity or a part of a calendar has. Content decides as well."""

import re

_BRACKETS = re.compile(r"[\[(<{].*?[\])>}]")  # a unit behind a name: Time (s)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")  # of camelCase, snake_case, words with blanks


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# English, and the languages of programs whose exports name columns: German, French, Spanish, Italian, Dutch and others
_CLOCK = _names(
    "time times timestamp timestamps timecode datetime datetimeutc date dates ts stamp epoch unix unixtime clock "
    "elapsed seconds sec secs millis msec milliseconds microseconds nanoseconds minutes hours period when utc gmt "
    "hhmmss tow itow datenum decimal jd mjd bjd hjd localtime changed updated created recorded measured logged "
    "datum zeit zeitstempel uhrzeit "
    "zeitpunkt fecha hora tiempo heure temps horodatage ora tempo tijd tijdstip tid tidspunkt czas aika "
    "дата время 日時 日付 時刻 时间 時間 日期 날짜 시간 일시"
)
_WEEK = _names("week weeks wk yearweek isoweek yw yyyyww kw woche kalenderwoche semaine semana settimana")
_DATE = _names("date dates datetime datum fecha timestamp zeitstempel horodatage excel")
_UNIVERSAL = _names("utc gmt hhmmss")  # as satellite receivers tell it
_TIME_OF_DAY = _UNIVERSAL | _names("time timestamp clock localtime zeit uhrzeit hora heure ora tijd tid czas aika")
_POSITION = _names("frame frames sample samples scan tick ticks step steps cycle packet image")
_COUNTER = _names(
    "index idx unnamed row rows rownum rownumber rowid no nr nbr num number n i # line record rec recnbr rn entry "
    "count counter seq sequence seqno obs observation point item lfd nummer zeile ligne fila "
    "riga"
)
_IDENTITY = _names(
    "id ids numericid uid uuid guid pid serial serialnumber serialno sn imei mac mmsi imo icao barcode zip postcode "
    "plz phone"
)
_QUALITY = _names("quality qc qualitycode qualityflag validity")
_LABELS = _COUNTER | _IDENTITY | _names("name code key label tag")  # behind the name of a thing, they tell it apart
_GROUP = _names(
    "subject subj participant patient person user animal mouse rat bird fish individual machine device unit "
    "station sensor node logger vehicle engine asset equipment line session trial run experiment batch lot "
    "recording group site plant store ticker symbol series track player well location maschine anlage geraet "
    "proband tier capteur appareil maquina"
)
_CALENDAR = {  # name -> the part of the calendar
    **dict.fromkeys(("year", "yr", "yyyy", "jahr", "annee", "ano"), "year"),
    **dict.fromkeys(("month", "mon", "mo", "mth", "monat", "mois", "mes"), "month"),
    **dict.fromkeys(("day", "dy", "tag", "jour", "dia", "dayofmonth", "mday"), "day"),
    **dict.fromkeys(("doy", "dayofyear", "yday", "julian", "julianday", "jday"), "day of the year"),
    **dict.fromkeys(("hour", "hr", "hrs", "stunde"), "hour"),
    **dict.fromkeys(("minute", "mins", "mn"), "minute"),
    "second": "second",
    **dict.fromkeys(("weekday", "dow", "dayofweek", "wday"), "weekday"),
    **dict.fromkeys(("week", "weekofyear", "isoweek", "kw"), "week"),
    "quarter": "quarter",
}
_RANGES = {
    **{"year": (1500, 2500), "month": (1, 12), "day": (1, 31), "day of the year": (0, 366), "hour": (0, 24)},
    **{"minute": (0, 60), "second": (0, 60), "weekday": (0, 7), "week": (0, 53), "quarter": (1, 4)},
}


_SECONDS = {  # name of a unit of time -> its length
    **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "usec", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunden"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "minuten"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "stunden"), 3600.0),
    **dict.fromkeys(("d", "day", "days", "tage"), 86400.0),
}


def words(name: str) -> list[str]:
    """Split a name into lower-case words, without a unit in brackets; "#" alone is a word."""
    bare = _BRACKETS.sub(" ", name).strip() or name.strip()
    return [word.lower() for word in _WORD.findall(bare)] or [bare.lower()]


def is_clock(name: str) -> bool:
    """Return whether a column of this name may hold times, if its content agrees."""
    found = words(name)
    is_t = name.strip().startswith("t") and found[0] == "t" and (unit_seconds(name) or 60) < 60  # t_min is a least one
    return is_t or (len(found) > 1 and found[-1] == "at") or bool(_CLOCK & {*found, "".join(found)})


def is_date(name: str) -> bool:
    """Return whether the name speaks of dates, not of time that has passed."""
    return bool(_DATE & set(words(name)))


def is_time_of_day(name: str) -> bool:
    """Return whether the name may be one of clock times."""
    return bool(_TIME_OF_DAY & set(words(name)))


def is_universal_time(name: str) -> bool:
    """Return whether the name says that clock times are those of Greenwich, as satellite receivers write them."""
    return bool(_UNIVERSAL & set(words(name)))


def is_week(name: str) -> bool:
    """Return whether the name speaks of weeks."""
    found = words(name)
    return bool(_WEEK & {*found, "".join(found)})


def is_position(name: str) -> bool:
    """Return whether the name counts what an instrument takes at a steady rate, so that it may stand for a time."""
    return _is_named(name, _POSITION)


def is_counter(name: str) -> bool:
    """Return whether the name is one of a row number; no name at all is."""
    return not name.strip() or _is_named(name, _COUNTER)


def is_identity(name: str) -> bool:
    """Return whether numbers under this name identify something, and measure nothing."""
    found = words(name)
    joined = "".join(found)  # deviceid
    is_in_front = found[0] in _IDENTITY and found[-1] in _GROUP  # id_machine
    return _is_named(name, _IDENTITY) or is_in_front or (joined[-2:] == "id" and joined[:-2] in _GROUP)


def is_quality(name: str) -> bool:
    """Return whether whole numbers under this name say how far a measurement can be trusted."""
    return _is_named(name, _QUALITY) or words(name)[0] == "qc"


def is_group(name: str) -> bool:
    """Return whether the name is one of things that have a series each."""
    is_numbered = words(name)[-1].isdigit()  # sensor_1 holds what the first one measures
    return (_is_named(name, _GROUP) and not is_numbered) or is_identity(name)


def _is_named(name: str, kinds: frozenset[str]) -> bool:
    """Return whether a name ends in a word of some kinds, or in one that numbers them: line, Line No, lineId.

    What a thing has is measured: line_voltage, engine temperature, index of refraction.
    """
    found = [word for word in words(name) if not word.isdigit()] or [""]
    is_numbered = found[-1] in _LABELS and bool(kinds & set(found))
    return is_numbered or found[-1] in kinds or "".join(found) in kinds


def calendar_part(name: str) -> str | None:
    """Return the part of the calendar that a name stands for, in English; None for other names."""
    found = words(name)
    return _CALENDAR.get("".join(found)) if len(found) <= 3 else None


def calendar_range(name: str) -> tuple[int, int] | None:
    """Return the smallest and largest value of a part of the calendar, such as a month; None for other names."""
    return _RANGES.get(calendar_part(name) or "")


def unit_seconds(time: str) -> float | None:
    """Return the seconds in the unit that a time's name holds: in brackets, at the end, or written out; else None."""
    in_brackets = [word for unit in _BRACKETS.findall(time) for word in words(unit[1:-1])]
    *front, last = words(time)
    found = in_brackets or [last, *(word for word in front if len(word) > 2)]
    lengths = {_SECONDS[word] for word in found if word in _SECONDS}
    return lengths.pop() if len(lengths) == 1 else None
