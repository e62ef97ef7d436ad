"""Checks of values: each finding has the rows, the values and the remedy, and clean values have none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_tables import plain, save

from crow.cohort import Cohort, Finding, read_cohort
from crow.cohort.checks.outliers import outlying_changes, outlying_levels
from crow.cohort.checks.units import find_other_unit


def cohort_of(table: pd.DataFrame, folder: Path, **flags: object) -> Cohort:
    return read_cohort(save(table, folder / "t.csv"), strict=False, **flags)


def finding(cohort: Cohort, code: str) -> Finding:
    return next(one for one in cohort.findings if one.code == code)


def volumes(subjects: int = 20, visits: int = 3, seed: int = 0) -> pd.DataFrame:
    """A clean table: date, age, sex, site, two volumes that shrink slowly, all cells text."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(subjects):
        age, level, start = rng.uniform(60, 80), rng.normal(3500, 300), pd.Timestamp(2012, 1, 1)
        for v in range(visits):
            day = start + pd.Timedelta(days=int(400 * v + rng.integers(0, 30) + 3 * s))
            years = (day - start).days / 365.25
            rows.append({
                "subject": f"S{s:02d}", "date": day.strftime("%Y-%m-%d"), "age": f"{age + years:.2f}",
                "sex": "MF"[s % 2], "site": "AB"[s % 2], "Hippocampus": f"{level - 40 * years + rng.normal(0, 15):.1f}",
                "ICV": f"{1_500_000 + 9000 * s + rng.normal(0, 3000):.0f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_clean_values_have_no_finding(tmp_path: Path) -> None:
    codes = {one.code for seed in range(3) for one in cohort_of(volumes(seed=seed), tmp_path).findings}
    assert codes <= {"single-visit"}


@pytest.mark.parametrize(
    ("where", "factor", "told"),
    [
        (lambda t: t.index % 3 == 2, 0.001, "all at visit 3"),
        (lambda t: t["site"] == "B", 0.001, "all at site B"),
        (lambda t: t["subject"].isin(["S03", "S08"]), 0.1, "all values of 2 subjects"),
        (lambda t: t.index == 7, 10.0, "1 value, 10 times larger"),
    ],
)
def test_another_unit_is_found_between_visits_sites_subjects_and_cells(
    tmp_path: Path, where: object, factor: float, told: str
) -> None:
    table = volumes()
    rows = where(table)  # type: ignore[operator]
    table.loc[rows, "ICV"] = [f"{float(value) * factor:.6g}" for value in table.loc[rows, "ICV"]]
    found = finding(cohort_of(table, tmp_path), "unit-factor")
    assert found.column == "ICV"
    assert found.rows == tuple(np.flatnonzero(rows) + 2)
    assert told in found.message
    fixed = cohort_of(table, tmp_path, fix=True)
    safe = rows.mean() <= 0.4
    assert len(fixed.changes) == (rows.sum() if safe else 0)
    assert bool(fixed.visits["ICV"].between(1.4e6, 1.8e6).all()) == safe


def test_wide_distributions_are_one_unit() -> None:
    rng = np.random.default_rng(0)
    assert find_other_unit(rng.lognormal(0, 1.5, 300)) is None
    assert find_other_unit(rng.integers(1, 30, 300).astype(float)) is None
    assert find_other_unit(np.r_[rng.normal(100, 5, 50), rng.normal(420, 5, 50)]) is None


def test_zero_and_negative_volumes_are_found_and_emptied(tmp_path: Path) -> None:
    table = volumes()
    table.loc[[4, 10], "Hippocampus"] = ["0", "-3411.5"]
    found = finding(cohort_of(table, tmp_path), "not-positive")
    assert (found.column, found.rows) == ("Hippocampus", (6, 12))
    assert "0 (line 6), -3411.5 (line 12)" in found.message
    fixed = cohort_of(table, tmp_path, fix=True, missing="impute")
    assert [(c.line, c.before) for c in fixed.changes] == [(6, 0.0), (12, -3411.5)]
    assert (fixed.visits["Hippocampus"].dropna() > 0).all()


def test_scores_that_reach_zero_are_no_finding(tmp_path: Path) -> None:
    table = volumes().assign(Recall=[str(k % 15) for k in range(60)])
    assert "not-positive" not in {one.code for one in cohort_of(table, tmp_path).findings}


def test_a_level_and_a_change_far_from_all_others_are_found(tmp_path: Path) -> None:
    table = volumes(subjects=40)
    table.loc[7, "Hippocampus"] = "19000"
    level = float(table.loc[30, "Hippocampus"])
    table.loc[31, "Hippocampus"] = f"{level + (900 if level < 3500 else -900):.1f}"
    cohort = cohort_of(table, tmp_path)
    assert finding(cohort, "outlier").rows == (9,)
    assert "19000 (line 9)" in finding(cohort, "outlier").message
    assert finding(cohort, "outlying-change").rows == (33,)


def test_heavy_tails_are_no_outliers() -> None:
    rng = np.random.default_rng(1)
    assert not outlying_levels(rng.normal(0, 1, 100_000)).any()
    assert not outlying_levels(rng.lognormal(0, 1, 100_000)).any()
    who = np.repeat(np.arange(20_000), 5)
    values = rng.normal(0, 1, 20_000)[who] + rng.normal(0, 0.1, 100_000)
    assert not outlying_changes(values, np.tile(np.arange(5.0), 20_000), who).any()


def test_a_first_visit_that_disagrees_with_all_later_ones_is_the_outlier() -> None:
    rng = np.random.default_rng(2)
    who = np.repeat(np.arange(50), 4)
    values = rng.normal(0, 1, 50)[who] + rng.normal(0, 0.05, 200)
    values[40] += 5
    values[63] -= 5
    assert np.flatnonzero(outlying_changes(values, np.tile(np.arange(4.0), 50), who)).tolist() == [40, 63]


def test_a_sex_that_changes_is_found_and_takes_the_value_of_most_visits(tmp_path: Path) -> None:
    table = volumes()
    table.loc[1, "sex"] = "F"
    cohort = cohort_of(table, tmp_path)
    assert finding(cohort, "contradiction").rows == (3,)
    assert "F (line 3)" in finding(cohort, "contradiction").message
    fixed = cohort_of(table, tmp_path, fix=True)
    assert fixed.visits["sex"].iloc[:3].tolist() == ["M", "M", "M"]
    assert "sex" in fixed.schema.fixed


def test_levels_in_another_case_are_one_level(tmp_path: Path) -> None:
    table = volumes()
    table.loc[[0, 1, 2], "sex"] = ["m", "M ", "M"]
    cohort = cohort_of(table, tmp_path)
    assert set(cohort.visits["sex"]) == {"F", "M"}
    assert finding(cohort, "levels-merged").rows == (2,)


def test_copied_rows_are_found(tmp_path: Path) -> None:
    table = volumes()
    table.loc[8, ["Hippocampus", "ICV"]] = table.loc[7, ["Hippocampus", "ICV"]]
    table["Ventricles"] = [f"{20000 + 37.5 * k}" for k in range(60)]
    assert "copied-row" not in {one.code for one in cohort_of(table, tmp_path).findings}
    table.loc[8, "Ventricles"] = table.loc[7, "Ventricles"]
    found = finding(cohort_of(table, tmp_path), "copied-row")
    assert found.rows == (9, 10)
    assert "lines 9 and 10" in found.message


def test_dates_in_the_future_and_before_any_study_are_found(tmp_path: Path) -> None:
    table = volumes().drop(columns="age")
    table.loc[2, "date"] = "2512-03-04"
    table.loc[3, "date"] = "1902-01-05"
    cohort = cohort_of(table, tmp_path)
    assert finding(cohort, "future-date").rows == (4,)
    assert "2512-03-04" in finding(cohort, "future-date").message
    assert finding(cohort, "early-date").rows == (5,)
    assert {4, 6, 7} & set(finding(cohort, "long-follow-up").rows)
    shifted = volumes().drop(columns="age")
    shifted["date"] = shifted["date"].str.replace("201", "181")
    assert "early-date" not in {one.code for one in cohort_of(shifted, tmp_path).findings}


def test_impossible_ages_are_found(tmp_path: Path) -> None:
    table = plain(subjects=20)
    table.loc[5, "age"] = "-7.5"
    assert finding(cohort_of(table, tmp_path), "age-range").rows == (7,)


def test_a_scanner_that_changes_with_time_only_is_found(tmp_path: Path) -> None:
    table = volumes()
    table["scanner"] = [("Avanto", "Avanto", "Prisma")[k % 3] for k in range(60)]
    found = finding(cohort_of(table, tmp_path), "scanner-follows-time")
    assert found.column == "scanner" and str(found).startswith("scanner: 100% of the subjects")
    assert "from Avanto to Prisma" in found.message
    table["scanner"] = [("Avanto", "Prisma", "Avanto")[k % 3] for k in range(60)]
    assert "scanner-follows-time" not in {one.code for one in cohort_of(table, tmp_path).findings}
    table["scanner"] = [("Avanto", "Prisma")[k // 3 % 2] for k in range(60)]
    assert "scanner-follows-time" not in {one.code for one in cohort_of(table, tmp_path).findings}


def test_visits_at_a_bound_of_age_are_not_one_visit(tmp_path: Path) -> None:
    table = plain(subjects=20)
    table["age"] = [f"{84 + 2 * (k % 3)}" if k >= 6 else ("88" if k % 3 == 0 else "89+") for k in range(60)]
    cohort = cohort_of(table, tmp_path)
    assert len(cohort) == 58
    assert finding(cohort, "censored").rows == (3, 4, 6, 7)
    assert finding(cohort, "bounded-time").rows == (4, 7)
    assert cohort.visits["age"].iloc[:2].tolist() == [88, 89]
