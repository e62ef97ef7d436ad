"""Dates in the writings of other programs and languages give the right times, or a finding that names the cells."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from simulated_tables import assert_read, dated

from crow.cohort import Cohort, read_cohort
from crow.errors import CohortError

MONTHS = (
    ("jan", "feb", "mrt", "apr", "mei", "jun", "jul", "aug", "sep", "okt", "nov", "dec"),
    ("gennaio", "febbraio", "marzo", "aprile", "maggio", "giugno",
     "luglio", "agosto", "settembre", "ottobre", "novembre", "dicembre"),
    ("janeiro", "fevereiro", "março", "abril", "maio", "junho",
     "julho", "agosto", "setembro", "outubro", "novembro", "dezembro"),
)  # fmt: skip


def written(write: Callable[[pd.Timestamp], object], name: str = "date") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table with its dates as text, and the one with Timestamps."""
    table = dated()
    return table.assign(date=table["date"].map(write).astype(str)).rename(columns={"date": name}), table


def codes(cohort: Cohort) -> set[str]:
    return {finding.code for finding in cohort.findings}


@pytest.mark.parametrize(
    "write",
    [
        lambda day: f"{day.isocalendar().year}-W{day.isocalendar().week:02d}-{day.isocalendar().weekday}",
        lambda day: day.strftime("%Y-%j"),
        lambda day: day.strftime("%d%b%Y:00:00:00").upper(),
        lambda day: day.strftime("%a %b %d 00:00:00 UTC %Y"),
        lambda day: day.strftime("%Y-%m-%d 00:00:00 CET"),
        lambda day: day.strftime("%d%m%Y"),
        lambda day: day.strftime("%d%m%Y").lstrip("0"),
        *(lambda day, names=names: f"{day.day} {names[day.month - 1]} {day.year}" for names in MONTHS),
    ],
)
def test_dates_as_other_programs_and_languages_write_them(write: Callable[[pd.Timestamp], object]) -> None:
    table, truth = written(write)
    cohort = read_cohort(table)
    assert cohort.schema.time == "date"
    assert_read(cohort, truth)


@pytest.mark.parametrize(
    ("start", "unit", "what"),
    [
        ("1960-01-01", "D", "as in SAS and Stata"), ("1970-01-01", "s", "as in Unix"), ("1970-01-01", "ms", "milli"),
        ("1582-10-14", "s", "as in SPSS"), ("1899-12-30", "D", ""),
    ],
)  # fmt: skip
def test_dates_as_numbers_are_the_time_and_never_a_region(start: str, unit: str, what: str) -> None:
    step = np.timedelta64(1, unit)
    table, truth = written(lambda day: int((day.to_datetime64() - np.datetime64(start)) / step))
    cohort = read_cohort(table)
    assert (cohort.schema.time, cohort.schema.time_kind) == ("date", "date")
    assert cohort.regions == ["Hippocampus", "Ventricles"]
    assert_read(cohort, truth)
    found = [str(finding) for finding in cohort.findings if finding.code == "numbered-date"]
    assert (what in found[0]) if what else not found


@pytest.mark.parametrize("write", [lambda day: (day - pd.Timestamp(1899, 12, 30)).days, lambda day: day.year])
def test_numbers_that_run_with_the_time_are_no_region(write: Callable[[pd.Timestamp], object]) -> None:
    table, _ = written(write, "X17")
    cohort = read_cohort(table)
    assert cohort.schema.time == "age"
    assert cohort.regions == ["Hippocampus", "Ventricles"]


def test_slashes_with_the_month_first_beside_points_with_the_day_first() -> None:
    rows = iter(range(1000))
    table, truth = written(lambda day: day.strftime("%m/%d/%Y" if next(rows) % 2 else "%d.%m.%Y"))
    assert_read(read_cohort(table), truth)


@pytest.mark.parametrize("with_age", [True, False])
def test_the_ages_or_the_rows_tell_whether_day_or_month_comes_first(with_age: bool) -> None:
    truth = dated()
    near = truth["date"] - pd.to_timedelta(truth.index % 3 * 320, unit="D")
    days = near.map(lambda day: day.replace(day=day.day % 12 + 1))
    truth = truth.assign(date=days)
    first = truth.groupby("subject")["date"].transform("min")
    truth["age"] = (70 + (days - first).dt.days / 365.25).round(2)
    table = truth.assign(date=days.dt.strftime("%d/%m/%Y"))
    cohort = read_cohort(table if with_age else table.drop(columns="age"))
    assert cohort.schema.date_order == "dmy"
    assert_read(cohort, truth)
    reason = next(str(finding) for finding in cohort.findings if finding.code == "date-order-found")
    assert ("the ages in age" if with_age else "the order of the rows") in reason


def test_an_unknown_day_is_the_middle_of_the_month() -> None:
    table, truth = written(lambda day: day.strftime("%Y-%m-%d"))
    table.loc[1, "date"], table.loc[4, "date"] = table.loc[1, "date"][:8] + "00", table.loc[4, "date"][:8] + "UN"
    assert_read(read_cohort(table), truth, within=0.06)


def test_dates_that_stand_for_a_missing_one_are_missing() -> None:
    table, _ = written(lambda day: day.strftime("%d/%m/%Y"))
    table.loc[[1, 5, 8], "date"] = ["01/01/1900", "31/12/9999", "14/10/1582"]
    cohort = read_cohort(table)
    assert len(cohort) == len(table) - 3
    assert cohort.visits["time"].max() < 4
    assert "placeholder-date" in codes(cohort)


def test_such_a_date_among_others_near_it_is_a_date() -> None:
    table, truth = written(lambda day: (day - pd.DateOffset(years=112)).strftime("%Y-%m-%d"))
    first = truth["subject"].duplicated().idxmin()
    table.loc[first, "date"] = "1900-01-01"
    assert len(read_cohort(table)) == len(table)


def test_dates_that_cannot_be_read_are_named() -> None:
    table, _ = written(lambda day: f"{day.year}Q{(day.month - 1) // 3 + 1}")
    finding = next(f for f in read_cohort(table).findings if f.code == "unread-time")
    assert finding.column == "date"
    assert "Write dates as 2011-03-05" in finding.message
    with pytest.raises(CohortError, match=r"the cells of date, such as '201\dQ\d', are no date"):
        read_cohort(table.drop(columns="age"))


def test_the_only_column_of_dates_is_the_time_whatever_its_name() -> None:
    table, truth = written(lambda day: day.strftime("%d.%m.%Y"), "Untersuchung")
    cohort = read_cohort(table.drop(columns="age"))
    assert cohort.schema.time == "Untersuchung"
    assert_read(cohort, truth)
    assert "date-by-values" in codes(cohort)


def test_years_that_count_down_are_no_time() -> None:
    table, truth = written(lambda day: day.strftime("%Y-%m-%d"))
    last = truth.groupby("subject")["date"].transform("max")
    table["time_to_death_days"] = (last - truth["date"]).dt.days + 100
    cohort = read_cohort(table)
    assert cohort.schema.time == "date"
    assert cohort.regions == ["Hippocampus", "Ventricles"]


def test_labels_that_only_number_the_visits_are_refused_with_the_remedy() -> None:
    table = dated().drop(columns=["date", "age"])
    table["visit"] = [f"T{k % 3}" for k in range(len(table))]
    with pytest.raises(CohortError, match="tell the order of visits, but not the time between them"):
        read_cohort(table)


def test_calendar_years_of_a_wave_are_the_time() -> None:
    table, truth = written(lambda day: day.year, "wave")
    cohort = read_cohort(table.drop(columns="age"))
    assert (cohort.schema.time, cohort.schema.time_kind) == ("wave", "years")
    assert_read(cohort, truth, within=1.0)
