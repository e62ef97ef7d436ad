"""Times keep their resolution: hours, the day before baseline, bounds, units of ages."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_tables import plain, save

from crow.cohort import Cohort, Finding, read_cohort
from crow.cohort.writing import table_text, to_table
from crow.errors import CohortError


def found(cohort: Cohort, code: str) -> Finding:
    return next(finding for finding in cohort.findings if finding.code == code)


def with_times(name: str, times: list[str], subjects: int = 12) -> pd.DataFrame:
    """`plain` with a time per visit instead of an age."""
    table = plain(subjects, len(times)).drop(columns="age")
    return table.assign(**{name: times * subjects})


def test_visits_hours_apart_stay_apart(tmp_path: Path) -> None:
    times = ["2024-03-01 08:00", "2024-03-01 11:00", "2024-03-02 08:00"]
    cohort = read_cohort(save(with_times("scan_date", times), tmp_path / "t.csv"))
    assert len(cohort) == 36
    assert cohort.visits["time"].iloc[:3].tolist() == pytest.approx([0, 3 / 24 / 365.25, 1 / 365.25])


def test_visits_hours_apart_are_written_apart(tmp_path: Path) -> None:
    times = ["2024-03-01 08:00", "2024-03-01 11:00", "2024-03-02 08:00"]
    cohort = read_cohort(save(with_times("scan_date", times), tmp_path / "t.csv"))
    for start in (cohort.start, None):
        path = tmp_path / "again.csv"
        path.write_text(table_text(to_table(cohort.visits, cohort.schema, start), cohort.schema))
        again = read_cohort(path, schema=cohort.schema)
        assert again.visits["time"].tolist() == pytest.approx(cohort.visits["time"].tolist(), abs=1e-7)


def test_whole_days_are_written_as_days(tmp_path: Path) -> None:
    times = ["2010-03-01", "2011-03-01", "2012-03-01"]
    cohort = read_cohort(save(with_times("scan_date", times), tmp_path / "t.csv"))
    assert to_table(cohort.visits, cohort.schema, cohort.start)["scan_date"].iloc[:3].tolist() == times


@pytest.mark.parametrize(
    ("name", "per_year"), [("days_from_baseline", 365.25), ("months_from_baseline", 12), ("time_years", 1)]
)
def test_a_time_before_baseline_is_a_time(tmp_path: Path, name: str, per_year: float) -> None:
    table = with_times(name, ["-1", "348", "724"])
    cohort = read_cohort(save(table, tmp_path / "t.csv"), time=name)
    assert len(cohort) == 36
    assert cohort.visits["time"].iloc[1] == pytest.approx(349 / per_year)


def test_a_code_for_missing_is_no_day(tmp_path: Path) -> None:
    table = with_times("days_from_baseline", ["-1", "348", "724"])
    table.loc[1, "days_from_baseline"] = "-9999"
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert len(cohort) == 35


@pytest.mark.parametrize("bound", ["89+", ">89", "≥89", "90 or older"])
def test_ages_above_a_bound(tmp_path: Path, bound: str) -> None:
    table = with_times("age", ["78", "80", "82"])
    table.loc[[0, 1, 2, 5], "age"] = bound
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.schema.time == "age"
    assert len(cohort) == 34
    assert any(f.rows and set(f.rows) >= {3, 4} and "bound" in f.message for f in cohort.findings)


def test_the_sidecar_tells_the_unit_of_the_age(tmp_path: Path) -> None:
    table = with_times("age", ["10", "17", "23"])
    path = save(table, tmp_path / "visits.tsv", sep="\t")
    assert read_cohort(path).visits["age"].max() == 23
    (tmp_path / "visits.json").write_text(json.dumps({"age": {"Units": "months"}}))
    cohort = read_cohort(path)
    assert cohort.visits["age"].iloc[:3].tolist() == pytest.approx([10 / 12, 17 / 12, 23 / 12])
    assert cohort.visits["time"].iloc[1] == pytest.approx(7 / 12)
    assert "months" in found(cohort, "age-unit").message


def test_levels_of_the_sidecar_make_a_category_and_missing_cells(tmp_path: Path) -> None:
    table = plain().assign(carrier=["0", "1", "9"] * 12)
    table["carrier"] = [str([0, 1, 2, 9][k // 3 % 4]) for k in range(36)]
    path = save(table, tmp_path / "t.csv")
    (tmp_path / "t.json").write_text(
        json.dumps({"carrier": {"Levels": {"0": "none", "1": "one", "2": "two", "9": "Unknown"}}})
    )
    cohort = read_cohort(path)
    assert cohort.schema.covariates["carrier"] == "categorical"
    assert cohort.visits["carrier"].isna().sum() == 9


def test_a_broken_sidecar_is_named(tmp_path: Path) -> None:
    path = save(plain(), tmp_path / "t.csv")
    (tmp_path / "t.json").write_text("{not json")
    assert found(read_cohort(path), "bad-sidecar").severity == "warning"


def test_ages_in_months_beside_dates_are_seen_by_their_growth(tmp_path: Path) -> None:
    table = with_times("scan_date", ["2020-01-01", "2020-07-01", "2021-01-01"]).assign(age=["10", "16", "22"] * 12)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.visits["age"].iloc[:3].tolist() == pytest.approx([10 / 12, 16 / 12, 22 / 12])


def test_labels_that_speak_against_years_are_asked_about(tmp_path: Path) -> None:
    table = with_times("age", ["10", "17", "23"]).assign(session=["ses-10mo", "ses-17mo", "ses-23mo"] * 12)
    path = save(table, tmp_path / "t.csv")
    with pytest.raises(CohortError, match=r"--age-unit months or --age-unit years"):
        read_cohort(path)
    assert read_cohort(path, age_unit="months", time="age").visits["time"].iloc[1] == pytest.approx(7 / 12)


def test_an_age_too_large_for_years_is_in_months(tmp_path: Path) -> None:
    cohort = read_cohort(save(with_times("age", ["108", "132", "180"]), tmp_path / "t.csv"))
    assert cohort.visits["age"].iloc[:3].tolist() == pytest.approx([9, 11, 15])
    assert found(cohort, "age-unit").severity == "warning"


def test_an_age_at_one_visit_is_known_at_all(tmp_path: Path) -> None:
    table = with_times("scan_date", ["2010-01-01", "2011-01-01", "2013-01-01"]).assign(age=["70", "", ""] * 12)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.visits["age"].iloc[:3].tolist() == pytest.approx([70, 71, 73], abs=0.01)


def test_a_column_that_grows_by_one_per_year_is_the_age(tmp_path: Path) -> None:
    table = with_times("scan_date", ["2010-01-01", "2011-01-01", "2013-01-01"])
    rng = np.random.default_rng(0)
    first = rng.uniform(60, 80, 12).repeat(3)
    table["years_lived_xyz"] = [f"{a + y:.2f}" for a, y in zip(first, [0, 1, 3] * 12, strict=True)]
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.schema.age == "years_lived_xyz"
    assert cohort.visits["age"].iloc[0] == pytest.approx(first[0], abs=0.01)
