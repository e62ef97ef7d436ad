"""Dates, visit codes and units."""

import pandas as pd
import pytest

from crow.cohort.dates import parse_dates
from crow.cohort.times import own_times, years_between
from crow.cohort.visit_codes import visit_months


@pytest.mark.parametrize(
    ("text", "order"),
    [
        (["2011-03-05", "2011-03-20"], "ymd"),
        (["2011-03-05T00:00:00", "2011-03-20T00:00:00Z"], "ymd"),
        (["20110305", "20110320"], "ymd"),
        (["3/5/2011", "3/20/2011"], "mdy"),
        (["5/3/2011", "20/3/2011"], "dmy"),
        (["5.3.2011", "20.3.2011"], "dmy"),
        (["05-Mar-2011", "20-Mar-2011"], "ymd"),
        (["3/5/11", "3/20/11"], "mdy"),
    ],
)
def test_dates_in_every_writing(text: list[str], order: str) -> None:
    days, found, guessed = parse_dates(pd.Series(text, dtype=object))
    assert days.tolist() == [pd.Timestamp(2011, 3, 5), pd.Timestamp(2011, 3, 20)]
    assert (found, guessed) == (order, False)


def test_an_undecided_order_is_a_guess_and_impossible_dates_are_missing() -> None:
    days, order, guessed = parse_dates(pd.Series(["3/5/2011", "4/6/2012", "2/30/2012", "-4", ""], dtype=object)[:2])
    assert (order, guessed) == ("mdy", True)
    assert parse_dates(pd.Series(["2012-02-30", "-4", "1899-12-31"], dtype=object))[0].isna().tolist() == [
        True,
        True,
        False,
    ]
    assert days.dt.month.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("code", "months"),
    [
        ("bl", 0), ("sc", 0), ("scmri", 0), ("m06", 6), ("M012", 12), ("ses-M018", 18), ("y1", 12), ("12 months", 12),
        ("d0757", 757 * 12 / 365.25), ("ses-d0757", 757 * 12 / 365.25), ("OAS30001_MR_d0757", 757 * 12 / 365.25),
        ("nv", None), ("init", None), ("uns1", None), ("v03", None), ("wave2", None), ("pre", None), ("W1", None),
    ],
)  # fmt: skip
def test_visit_codes(code: str, months: float | None) -> None:
    assert visit_months(code) == pytest.approx(months)


def test_numbered_adni_codes_tell_time_only_in_adni_tables() -> None:
    assert visit_months("v11", "adni") == 12
    assert visit_months("v11") is None


@pytest.mark.parametrize(
    ("kind", "first", "last", "years"),
    [("age", "70.5", "72", 1.5), ("months", "6", "24", 1.5), ("days", "0", "365.25", 1), ("visit", "bl", "m18", 1.5),
     ("date", "2010-01-01", "2011-01-01", 365 / 365.25)],
)  # fmt: skip
def test_units_in_years(kind: str, first: str, last: str, years: float) -> None:
    start = own_times(pd.Series([first], dtype=object), kind)  # type: ignore[arg-type]
    end = own_times(pd.Series([last], dtype=object), kind)  # type: ignore[arg-type]
    assert years_between(start, end, kind).tolist() == pytest.approx([years])  # type: ignore[arg-type]
