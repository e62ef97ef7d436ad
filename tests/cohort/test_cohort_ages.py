"""Ages with units in their cells, and ages from a birth and the date of a visit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crow import Cohort, read_cohort
from crow.cohort.findings import Finding
from crow.cohort.values import numbers
from crow.cohort.writing import table_text, to_table
from crow.cohort.written_ages import years_of

SUBJECTS, VISITS = 12, 3
ROW = np.arange(SUBJECTS * VISITS)
WHO, VISIT = ROW // VISITS, ROW % VISITS
BORN = pd.Series([pd.Timestamp(1940 + s, 3, 1 + s) for s in WHO])
SEEN = pd.Series(
    [pd.Timestamp(2015, 6, 20 - s % 12) + pd.Timedelta(days=400 * v) for s, v in zip(WHO, VISIT, strict=True)]
)
AGE = (SEEN - BORN).dt.days / 365.25


def cohort_of(frame: pd.DataFrame, folder: Path) -> Cohort:
    frame.to_csv(folder / "table.csv", index=False)
    return read_cohort(folder / "table.csv")


def of(cohort: Cohort, code: str) -> Finding:
    return next(finding for finding in cohort.findings if finding.code == code)


def table(**columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    volume = pd.Series(3500 - 40 * VISIT + 20 * WHO + rng.normal(0, 5, len(ROW))).round(1)
    return pd.DataFrame({"subject": [f"P{s:02d}" for s in WHO], **columns, "Hippocampus": volume})


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        ("063Y", 63), ("063M", 5.25), ("018D", 18 / 365.25), ("012W", 12 * 7 / 365.25), ("63 years", 63),
        ("6 y 3 m", 6.25), ("6 Jahre, 3 Monate", 6.25), ("15mo", 1.25), ("7,5 y", 7.5), ("63", None), ("", None),
        ("Y", None), ("n/a", None), ("12 miles", None),
    ],
)  # fmt: skip
def test_an_age_with_a_unit(cell: str, years: float | None) -> None:
    assert years_of(cell) == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize("unit", ["Y", "M", "D"])
def test_ages_of_dicom_headers(tmp_path: Path, unit: str) -> None:
    per_year = {"Y": 1, "M": 12, "D": 365.25}[unit]
    cohort = cohort_of(table(PatientAge=[f"{int(age * per_year):03d}{unit}" for age in AGE]), tmp_path)
    assert (cohort.schema.time, cohort.schema.time_kind) == ("PatientAge", "age")
    assert np.allclose(cohort.visits["age"], AGE, atol=1.01 / per_year)
    assert of(cohort, "written-ages").message.startswith("ages with units were converted to years: ")


def test_units_may_differ_between_cells(tmp_path: Path) -> None:
    ages = AGE - AGE.min() + 0.8
    cells = [f"{round(age * 12):03d}M" if age < 2 else f"{int(age):03d}Y" for age in ages]
    cohort = cohort_of(table(age=cells, scan_date=SEEN.dt.strftime("%Y-%m-%d")), tmp_path)
    assert cohort.visits["age"].min() == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize(
    "cell",
    ["89+", ">89", ">= 89", "over 89", "89 or older", "89 and above", "89+ years", "89 years or older", "über 89"],
)
def test_a_bound_in_words_is_the_number(cell: str) -> None:
    read = numbers(pd.Series(["70", "71", "72", "73", cell]))
    assert read.values.iloc[-1] == 89 and read.bounds == [4] and read.is_number


@pytest.mark.parametrize(
    ("birth", "off"),
    [
        ({"dob": BORN.dt.strftime("%Y-%m-%d")}, 0.01), ({"Geburtsdatum": BORN.dt.strftime("%d.%m.%Y")}, 0.01),
        ({"year_of_birth": BORN.dt.year}, 0.51), ({"yob": BORN.dt.year}, 0.51),
        ({"birth_year": BORN.dt.year, "birth_month": BORN.dt.month}, 0.05),
    ],
    ids=["date", "German date", "year", "yob", "year and month"],
)  # fmt: skip
def test_an_age_is_computed_from_the_birth(tmp_path: Path, birth: dict[str, pd.Series], off: float) -> None:
    cohort = cohort_of(table(**birth, visit_date=SEEN.dt.strftime("%Y-%m-%d")), tmp_path)
    assert np.allclose(cohort.visits["age"], AGE, atol=off)
    assert of(cohort, "age-from-birth").severity == "info"
    assert not set(birth) & {*cohort.covariates, *cohort.regions}
    text = table_text(to_table(cohort.visits, cohort.schema, cohort.start), cohort.schema)
    (tmp_path / "again.csv").write_text(text)
    again = read_cohort(tmp_path / "again.csv", schema=cohort.schema)
    assert np.allclose(again.visits["age"], cohort.visits["age"], atol=0.01)


def test_ages_that_contradict_birth_and_visit(tmp_path: Path) -> None:
    ages = AGE.round(1)
    ages[7] += 10
    cohort = cohort_of(
        table(dob=BORN.dt.strftime("%Y-%m-%d"), age=ages, visit_date=SEEN.dt.strftime("%Y-%m-%d")), tmp_path
    )
    found = of(cohort, "age-against-birth")
    assert found.severity == "warning" and found.rows == (9,) and found.column == "age"


def test_an_age_at_baseline_and_shifted_dates_are_no_contradiction(tmp_path: Path) -> None:
    first = AGE.groupby(WHO).transform("first").round(1) - 30
    cohort = cohort_of(
        table(dob=BORN.dt.strftime("%Y-%m-%d"), age=first, visit_date=SEEN.dt.strftime("%Y-%m-%d")), tmp_path
    )
    assert not [finding for finding in cohort.findings if finding.code == "age-against-birth"]


@pytest.mark.parametrize(
    ("name", "per_year", "kind"), [("hours", 8766, "hours"), ("weeks_from_baseline", 52.1786, "weeks")]
)
def test_times_in_hours_and_weeks(tmp_path: Path, name: str, per_year: float, kind: str) -> None:
    cohort = cohort_of(table(**{name: VISIT * 6 - (VISIT == 0) * (WHO % 3)}), tmp_path)
    assert cohort.schema.time_kind == kind
    gaps = cohort.visits.groupby("subject")["time"].diff().dropna()
    assert gaps.max() * per_year == pytest.approx(8, rel=1e-3)
    assert to_table(cohort.visits, cohort.schema, cohort.start)[name].iloc[0] == 0


def test_a_date_and_a_time_of_day_in_two_columns(tmp_path: Path) -> None:
    day = pd.Series([f"2020-03-{1 + s:02d}" for s in WHO])
    cohort = cohort_of(table(scan_date=day, scan_time=[f"{8 + 5 * v:02d}:30" for v in VISIT]), tmp_path)
    assert len(cohort) == len(ROW)
    assert cohort.visits["time"].max() * 8766 == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize(("unit", "per_year"), [("d", 365.25), ("weeks", 52.1786), ("mo", 12), ("y", 1)])
def test_the_unit_of_an_age_in_a_json_file_may_be_a_symbol(tmp_path: Path, unit: str, per_year: float) -> None:
    ages = VISIT * 0.3 + WHO * 0.05 + 1
    table(age=(ages * per_year).round(2)).to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    (tmp_path / "participants.json").write_text(json.dumps({"age": {"Units": unit}}))
    assert np.allclose(read_cohort(tmp_path / "participants.tsv").visits["age"], ages, atol=0.01)
