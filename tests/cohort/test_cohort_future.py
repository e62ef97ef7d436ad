"""Visits to come are read in the cohort's own terms."""

from pathlib import Path

import pandas as pd
import pytest
from simulated_tables import adnimerge, plain, save

from crow.cohort import Cohort, read_cohort
from crow.cohort.future import read_future
from crow.errors import CohortError


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return read_cohort(save(adnimerge(), tmp_path / "ADNIMERGE.csv"))


def test_future_visits_by_date_with_known_covariates(cohort: Cohort, tmp_path: Path) -> None:
    began = cohort.start["100"]
    future = pd.DataFrame(
        {"RID": ["100", "101", "100"], "DX": ["MCI to Dementia", "", "MCI"], "CDRSB": ["5", "", "-4"]}
    )
    future["EXAMDATE"] = [str((began + pd.Timedelta(days=days)).date()) for days in (1461, 2500, 1200)]
    asked = read_future(save(future, tmp_path / "future.csv"), cohort)
    assert asked["subject"].tolist() == ["100", "100", "101"]
    assert asked["time"].iloc[:2].tolist() == pytest.approx([1200 / 365.25, 4.0])
    assert asked["DX"].iloc[:2].tolist() == ["MCI", "Dementia"]
    assert asked["CDRSB"].isna().tolist()[1:] == [False, True]


def test_future_visits_in_years_since_the_first(cohort: Cohort, tmp_path: Path) -> None:
    path = save(pd.DataFrame({"RID": ["100", "100"], "time": [3, 4.5]}), tmp_path / "future.csv")
    assert read_future(path, cohort)["time"].tolist() == [3, 4.5]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"RID": ["999"], "time": [3]}, r"line 2, column RID: found '999': the cohort has no such subject"),
        ({"RID": ["100"], "time": [1.0]}, r"line 2, column time: found '1.0': not after the subject's last visit"),
        ({"RID": ["100"], "EXAMDATE": ["soon"]}, r"column EXAMDATE: found 'soon': not a time"),
        ({"RID": ["100", "100"], "time": [3, 3]}, r"line 3, column time: .* second row"),
        ({"RID": ["100"], "time": [3], "CDRXX": [1]}, r"CDRXX: no covariate of the cohort\. Known are DX"),
        ({"RID": ["100"], "time": [3], "CDRSB": ["high"]}, r"line 2, column CDRSB: found 'high'"),
        ({"subject": ["100"], "time": [3]}, r"RID is missing among subject, time"),
        ({"RID": ["100"], "when": [3]}, r"time is missing among RID, when"),
    ],
)
def test_future_visits_that_cannot_be(
    cohort: Cohort, tmp_path: Path, rows: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(CohortError, match=message) as caught:
        read_future(save(pd.DataFrame(rows), tmp_path / "future.csv"), cohort)
    assert "future.csv" in str(caught.value)


def test_own_time_and_years_are_each_others_reverse(cohort: Cohort, tmp_path: Path) -> None:
    ages = read_cohort(save(plain(), tmp_path / "t.csv"))
    codes = read_cohort(save(adnimerge().drop(columns=["EXAMDATE", "Years_bl", "Month_bl", "M"]), tmp_path / "c.csv"))
    for one in (cohort, ages, codes):
        subject = pd.Series(one.subjects[:3])
        years = pd.Series([2.0, 3.5, 10.0])
        assert one.years(subject, one.own_time(subject, years)).tolist() == pytest.approx(years.tolist(), abs=2e-3)
    assert codes.years(pd.Series(["100"]), pd.Series(["m36"])).tolist() == [3]
    assert pd.isna(ages.years(pd.Series(["nobody"]), pd.Series(["70"]))).all()
