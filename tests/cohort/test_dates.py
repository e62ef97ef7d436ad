"""Dates in every writing, with their time of day."""

import datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crow.cohort.dates import contradicting_orders, is_dates, parse_dates, two_digit_years


def cells(*text: str) -> pd.Series:
    return pd.Series(text, dtype=object)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2011-03-05T10:30:00", "10:30"), ("2011-03-05T10:30:00.000000Z", "10:30"), ("2011-03-05 10:30", "10:30"),
        ("2011-03-05T10:30:00+01:00", "10:30"), ("20110305103000", "10:30"), ("20110305T103000", "10:30"),
        ("20110305103000.000000", "10:30"), ("3/5/2011 4:30 PM", "16:30"), ("5 March 2011", "0:00"),
        ("05MAR2011", "0:00"),
        ("March 5, 2011", "0:00"), ("5. März 2011", "0:00"), ("5 mars 2011", "0:00"), ("5 de marzo de 2011", "0:00"),
        ("05-Mar-11", "0:00"), ("40607", "0:00"), ("40607.4375", "10:30"), ("2011/03/05", "0:00"),
        ("Sat, 5 Mar 2011", "0:00"),
    ],
)  # fmt: skip
def test_one_day_in_many_writings(text: str, time: str) -> None:
    assert parse_dates(cells(text)).values.tolist() == [pd.Timestamp(f"2011-03-05 {time}")]


@pytest.mark.parametrize(
    "text",
    [
        "10:30:00",
        "T10:30:00",
        "2011",
        "soon",
        "2.5125",
        "12.1",
        "2011-13-05",
        "31/31/2011",
        "5 Foo 2011",
        "99999",
        "1/2/3/4",
    ],
)
def test_what_is_no_date(text: str) -> None:
    assert parse_dates(cells(text)).values.isna().all()


def test_a_month_alone_is_its_middle() -> None:
    assert parse_dates(cells("03/2011", "2011-03", "March 2011")).values.tolist() == [pd.Timestamp(2011, 3, 15)] * 3


def test_shifted_years_are_dates() -> None:
    assert parse_dates(cells("1800-03-05T10:30:00")).values.iloc[0].year == 1800


@given(
    st.dates(datetime.date(1950, 1, 1), datetime.date(2024, 12, 31)),
    st.sampled_from(["ymd", "mdy", "dmy"]),
    st.sampled_from("-/."),
)
def test_what_is_written_is_read(day: datetime.date, order: str, mark: str) -> None:
    parts = {"y": f"{day.year}", "m": f"{day.month:02d}", "d": f"{day.day:02d}"}
    text = mark.join(parts[part] for part in order)
    assert parse_dates(cells(text), order).values.tolist() == [pd.Timestamp(day)]  # type: ignore[arg-type]


@given(
    st.lists(st.dates(datetime.date(1990, 1, 1), datetime.date(2024, 12, 31)), min_size=1),
    st.sampled_from(["mdy", "dmy"]),
)
def test_one_day_above_twelve_tells_the_order(days: list[datetime.date], order: str) -> None:
    days = [*days, datetime.date(2012, 1, 31)]
    form = "%m/%d/%Y" if order == "mdy" else "%d/%m/%Y"
    read = parse_dates(cells(*(day.strftime(form) for day in days)))
    assert (read.values.dt.date.tolist(), read.order, read.guessed) == (days, order, False)


@given(
    st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2024, 12, 31)).map(
        lambda time: time.replace(microsecond=0)
    )
)
def test_the_time_of_day_stays(time: datetime.datetime) -> None:
    assert parse_dates(cells(time.isoformat(), time.isoformat(" "))).values.tolist() == [pd.Timestamp(time)] * 2


@given(st.text(max_size=25))
def test_any_text_is_a_date_or_none(text: str) -> None:
    parse_dates(cells(text))
    is_dates(cells(text))


def test_two_digit_years_are_never_in_the_future() -> None:
    short = datetime.date.today().year % 100
    read = parse_dates(cells(f"3/25/{short:02d}", f"3/25/{short + 1:02d}"))
    assert read.values.dt.year.tolist() == [2000 + short, 1900 + short + 1]
    assert two_digit_years(cells("3/25/11", "3/25/2011", "")).tolist() == [True, False, False]


def test_orders_that_contradict_each_other() -> None:
    mixed = cells("13/02/2011", "14/02/2011", "02/15/2011")
    assert contradicting_orders(mixed)
    read = parse_dates(mixed)
    assert (read.order, read.values.isna().tolist()) == ("dmy", [False, False, True])


def test_a_decimal_comma_is_a_hint_at_the_order() -> None:
    assert parse_dates(cells("3/5/2011"), day_first=True)[1:] == ("dmy", True)
    assert parse_dates(cells("3/5/2011"))[1:] == ("mdy", True)
