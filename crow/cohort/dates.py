"""Dates as cohorts write them, with the time of day where it is there."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

import pandas as pd

from crow.cohort.values import is_blank

DateOrder = Literal["ymd", "mdy", "dmy"]

ZONE = r"\s*(?:(?:[A-Z]{1,4})?[+-]\d{1,2}(?::?\d{2})?|[A-Z]{1,4})?$"
CLOCK = re.compile(
    r"(?:^|[T ]+|(?<=\d{4}):)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?" + ZONE
)
COMPACT_CLOCK = re.compile(
    r"(?:(?<=\d)T|(?<=\d{8})[-_ ]?)(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?:\.\d+)?(?P<half>)" + ZONE
)
YEAR_FIRST = re.compile(r"(\d{4})[-/._ ](\d{1,2})[-/._ ](\d{1,2})|(\d{4})(\d{2})(\d{2})")
YEAR_LAST = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{2})")
YEAR_AND_WEEK = re.compile(r"(\d{4})[- ]?W(\d{2})(?:-?([1-7]))?", re.IGNORECASE)
YEAR_AND_DAY = re.compile(r"((?:18|19|20)\d{2})-([0-3]\d{2})")
DAY_AND_NAME = re.compile(r"(\d{1,2})(?:er|º|°)?[-\s./]*([^\W\d_]{3,})\.?[-\s,./]*(\d{4}|\d{2})")
NAME_AND_DAY = re.compile(r"([^\W\d_]{3,})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})")
YEAR = r"(?:18|19|20)\d\d"
MONTH_ONLY = re.compile(rf"(?P<first>{YEAR})[-/.](?P<month>\d{{1,2}})|(?P<early>\d{{1,2}})[-/.](?P<last>{YEAR})")
NAME_AND_YEAR = re.compile(r"([^\W\d_]{3,})\.?[-\s,./]*(\d{4})")
SERIAL = re.compile(r"[2-6]\d{4}(?:\.\d+)?")
DAY_UNKNOWN = re.compile(
    r"(\d{4}[-/.]\d{1,2})[-/.](?:UNK?|XX|NK|--)|(?:UNK?|XX|NK)[-/. ]?([^\W\d_]{3,}[-/. ]?\d{4})", re.IGNORECASE
)
LONG_FORM = re.compile(
    r"(?:[^\W\d_]{2,}\.?\s+)?([^\W\d_]{3,})\s+(\d{1,2})\s+(\d{1,2}:\d{2}(?::\d{2})?)\s+(?:[A-Z]{3,4}\s+)?(\d{4})"
)
SERIAL_START = datetime(1899, 12, 30)
WEEKDAY = re.compile(r"^[^\W\d_]{2,}\.?,\s+")
OF = re.compile(r"\s+de\s+", re.IGNORECASE)
MONTHS = {
    "jan": 1, "ene": 1, "gen": 1, "feb": 2, "fev": 2, "mar": 3, "mrz": 3, "mae": 3, "mrt": 3, "maa": 3, "apr": 4,
    "avr": 4, "abr": 4, "may": 5, "mai": 5, "mei": 5, "maj": 5, "mag": 5, "jun": 6, "juin": 6, "giu": 6, "jul": 7,
    "juil": 7, "lug": 7, "aug": 8, "aou": 8, "ago": 8, "sep": 9, "set": 9, "oct": 10, "okt": 10, "ott": 10, "out": 10,
    "nov": 11, "dec": 12, "dez": 12, "dic": 12, "des": 12,
}  # fmt: skip
MID_MONTH, MID_WEEK = 15, 4
MOSTLY = 0.9
MAX_CELLS = 1000


class Dates(NamedTuple):
    """``values`` (NaT where a cell is no date), the order of day, month and year, and whether that is a guess."""

    values: pd.Series
    order: DateOrder
    guessed: bool


def parse_dates(cells: pd.Series, order: DateOrder | None = None, day_first: bool = False) -> Dates:
    """Dates and times of a column.

    ``2011-03-05``, ``2011-03-05T10:30:00Z``, ``20110305``, ``3/5/2011 4:30 PM``, ``5.3.11``, ``05-Mar-2011``,
    ``5. März 2011``, ``March 5, 2011``, a week or a day of the year (``2011-W09-6``, ``2011-064``), a month alone
    (``03/2011``, ``2011-03-UN``, read as its 15th) and the day numbers of a spreadsheet (``40607``). A time of day is
    kept; a time zone is not looked at. Without ``order``, a first number above 12 anywhere means that the day comes
    first; if nothing tells, the month does unless ``day_first``. Among dates with another mark, those with points have
    the day first. A year of two digits is the latest such year that is not in the future.
    """
    unique = [cell for cell in cells.unique() if cell]
    points, others = _by_mark(unique)
    found, guessed = (order, False) if order else _order(others, day_first)
    times = {cell: _time(cell, found) for cell in others}
    times |= {cell: _time(cell, "dmy") for cell in points}
    values = pd.Series([times.get(cell) for cell in cells], cells.index, dtype="datetime64[us]")
    return Dates(values, found, guessed)


def is_dates(cells: pd.Series) -> bool:
    """Whether nearly every filled cell (of the first thousand different ones) is a date."""
    filled = cells[~is_blank(cells)].drop_duplicates()[:MAX_CELLS]
    return len(filled) > 0 and parse_dates(filled).values.notna().mean() >= MOSTLY


def two_digit_years(cells: pd.Series) -> pd.Series:
    """Which cells are dates whose year has two digits."""

    def short(cell: str) -> bool:
        match = YEAR_LAST.fullmatch(_day_part(cell)[0])
        return match is not None and len(match[4]) == 2

    return cells.map({cell: short(cell) for cell in cells.unique() if cell}).fillna(False).astype(bool)


def contradicting_orders(cells: pd.Series) -> bool:
    """Whether some dates can only have the day first and others only the month."""
    _, others = _by_mark([cell for cell in cells.unique() if cell])
    parts = [match for cell in others if (match := YEAR_LAST.fullmatch(_day_part(cell)[0]))]
    return any(int(part[1]) > 12 for part in parts) and any(int(part[3]) > 12 for part in parts)


def _by_mark(unique: list[str]) -> tuple[list[str], list[str]]:
    """The dates with points among those with another mark, if all of them can have the day first, and all others."""
    parts = {cell: match for cell in unique if (match := YEAR_LAST.fullmatch(_day_part(cell)[0]))}
    points = [cell for cell, match in parts.items() if match[2] == "."]
    if len(points) in (0, len(parts)) or any(int(parts[cell][3]) > 12 for cell in points):
        return [], unique
    chosen = set(points)
    return points, [cell for cell in unique if cell not in chosen]


def _order(unique: list[str], day_first: bool) -> tuple[DateOrder, bool]:
    parts = [match for cell in unique if (match := YEAR_LAST.fullmatch(_day_part(cell)[0]))]
    if len(parts) < len(unique) / 2:
        return "ymd", False
    if any(int(part[1]) > 31 for part in parts):
        return "ymd", False
    day, month = (sum(int(part[place]) > 12 for part in parts) for place in (1, 3))
    if day or month:
        return ("dmy" if day >= month else "mdy"), False
    if all(part[2] == "." for part in parts):
        return "dmy", False
    return ("dmy" if day_first else "mdy"), True


def _time(cell: str, order: DateOrder) -> datetime | None:
    if match := LONG_FORM.fullmatch(cell):
        cell = f"{match[2]} {match[1]} {match[4]} {match[3]}"
    text, clock = _day_part(WEEKDAY.sub("", cell))
    try:
        day = _day(text, order)
    except (ValueError, OverflowError):
        return None
    if day is None or clock is None:
        return day
    hour, minute, second = (int(clock[part] or 0) for part in ("hour", "minute", "second"))
    if clock["half"]:
        hour = hour % 12 + (12 if clock["half"][0] in "pP" else 0)
    if hour > 24 or minute > 59:
        return None
    return day + timedelta(hours=hour, minutes=minute, seconds=second)


def _day_part(cell: str) -> tuple[str, re.Match[str] | None]:
    """The date of a cell and the match of its time of day."""
    if len(cell) <= 10 and ":" not in cell:
        return cell, None
    clock = CLOCK.search(cell) or COMPACT_CLOCK.search(cell)
    return (cell[: clock.start()].strip(), clock) if clock else (cell, None)


def _day(text: str, order: DateOrder) -> datetime | None:
    if match := YEAR_FIRST.fullmatch(text):
        year, month, day = (int(part) for part in match.groups() if part)
        return datetime(year, month, day or MID_MONTH)
    if match := YEAR_LAST.fullmatch(text):
        first, second, last = int(match[1]), int(match[3]), match[4]
        if order == "ymd" and len(last) == 2:
            return datetime(_year(match[1]), second, int(last))
        return datetime(_year(last), second, first) if order == "dmy" else datetime(_year(last), first, second)
    if match := MONTH_ONLY.fullmatch(text):
        return datetime(int(match["first"] or match["last"]), int(match["month"] or match["early"]), MID_MONTH)
    if SERIAL.fullmatch(text):
        return SERIAL_START + timedelta(days=float(text))
    if match := YEAR_AND_WEEK.fullmatch(text):
        return datetime.fromisocalendar(int(match[1]), int(match[2]), int(match[3] or MID_WEEK))
    if match := YEAR_AND_DAY.fullmatch(text):
        return datetime.strptime(text, "%Y-%j")
    if match := DAY_UNKNOWN.fullmatch(text):
        return _day(match[1] or match[2], order)
    return _named_month(OF.sub(" ", text))


def _named_month(text: str) -> datetime | None:
    if match := DAY_AND_NAME.fullmatch(text):
        day, name, year = match.groups()
    elif match := NAME_AND_DAY.fullmatch(text):
        name, day, year = match.groups()
    elif match := NAME_AND_YEAR.fullmatch(text):
        name, day, year = match[1], str(MID_MONTH), match[2]
    else:
        return None
    plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    month = MONTHS.get(plain[:4]) or MONTHS.get(plain[:3])
    return datetime(_year(year), month, int(day)) if month else None


def _year(text: str) -> int:
    if len(text) == 4:
        return int(text)
    return int(text) + (2000 if int(text) <= date.today().year % 100 else 1900)
