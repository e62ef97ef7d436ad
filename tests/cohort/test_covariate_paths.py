"""Covariates at visits to come: what is known is kept, the rest is carried or drawn on."""

import numpy as np
import pandas as pd
import pytest

from crow.cohort import Cohort, Schema
from crow.cohort.covariate_paths import CARRIED, Future, check_future, future_visits, without_carried
from crow.errors import CohortError

NAN = np.nan
START = pd.Series({"a": 70.0, "b": 60.0, "c": 50.0})


@pytest.fixture
def cohort() -> Cohort:
    """a: CDR on a line, MMSE with a gap; b: one visit; c: no CDR at all. ``edu`` never changes."""
    visits = pd.DataFrame(
        [("a", "1", 0.0, 70.0, "MCI", 16.0, 1.0, 28.0), ("a", "2", 1.0, 71.0, "MCI", 16.0, 2.0, NAN),
         ("a", "3", 2.0, 72.0, "AD", 16.0, 3.0, 24.0), ("b", "1", 0.0, 60.0, "CN", 12.0, 0.5, 30.0),
         ("c", "1", 0.0, 50.0, None, 9.0, NAN, 29.0), ("c", "2", 2.0, 52.0, "CN", 9.0, NAN, 27.0)],
        columns=["subject", "session", "time", "age", "dx", "edu", "cdr", "mmse"],
    )  # fmt: skip
    covariates = {"dx": "categorical", "edu": "numeric", "cdr": "numeric", "mmse": "numeric"}
    schema = Schema(layout="plain", subject="subject", time="age", time_kind="age", age="age",
                    covariates=covariates, fixed=["edu"])  # type: ignore[arg-type]  # fmt: skip
    return Cohort(visits, schema, START)


def asked(**columns: list[float | None]) -> pd.DataFrame:
    return pd.DataFrame({"subject": ["a", "a", "a"], "time": [3.0, 4.0, 6.0], **columns})


def test_carried_forward(cohort: Cohort) -> None:
    visits = pd.DataFrame({"subject": ["c", "a", "b", "a"], "time": [3.0, 4.0, 2.5, 2.5]})
    found = future_visits(cohort, visits)
    expected = pd.DataFrame(
        [("a", 2.5, 72.5, "AD", 16.0, 3.0, 24.0), ("a", 4.0, 74.0, "AD", 16.0, 3.0, 24.0),
         ("b", 2.5, 62.5, "CN", 12.0, 0.5, 30.0), ("c", 3.0, 53.0, "CN", 9.0, NAN, 27.0)],
        columns=["subject", "time", "age", "dx", "edu", "cdr", "mmse"],
    )  # fmt: skip
    pd.testing.assert_frame_equal(without_carried(found), expected, check_dtype=False)


def test_years_since_a_carried_value_was_known(cohort: Cohort) -> None:
    """From the last known value, also one between the visits; 0 if there is none, and if it never changes."""
    visits = pd.DataFrame({"subject": ["a", "a", "c"], "time": [2.5, 4.0, 3.0], "cdr": [None, 5.0, None]})
    found = future_visits(cohort, visits)
    assert {name for name in found if name.startswith(CARRIED)} == {CARRIED + name for name in ("dx", "cdr", "mmse")}
    np.testing.assert_allclose(found[CARRIED + "cdr"], [0.5, 0.0, 0.0])
    np.testing.assert_allclose(found[CARRIED + "mmse"], [0.5, 2.0, 1.0])
    np.testing.assert_allclose(found[CARRIED + "dx"], [0.5, 2.0, 1.0])
    again = future_visits(cohort, found.drop(columns="age"))
    pd.testing.assert_frame_equal(again, found)
    linear = future_visits(cohort, found, "linear")
    assert {name for name in linear if name.startswith(CARRIED)} == {CARRIED + "dx"}


def test_on_the_subjects_own_line(cohort: Cohort) -> None:
    """From the last known value with the least-squares slope; one known value is no line; sex and the like stay."""
    visits = pd.DataFrame({"subject": ["a", "b", "c"], "time": [4.0, 4.0, 4.0]})
    found = future_visits(cohort, visits, "linear").set_index("subject")
    assert found.loc["a", "cdr"] == pytest.approx(5.0)
    assert found.loc["a", "mmse"] == pytest.approx(20.0)
    assert found.loc["c", "mmse"] == pytest.approx(25.0)
    assert list(found["edu"]) == [16.0, 12.0, 9.0]
    assert (found.loc["b", "cdr"], found.loc["b", "mmse"], found.loc["b", "dx"]) == (0.5, 30.0, "CN")
    assert np.isnan(found.loc["c", "cdr"])


@pytest.mark.parametrize("future", ["carry", "linear"])
def test_what_is_known_is_kept(cohort: Cohort, future: Future) -> None:
    """Known at the visit in the middle: linear lies on the line to it, and goes on with the slope of all."""
    found = future_visits(cohort, asked(cdr=[None, 7.0, None]), future)
    slope = np.polyfit([0, 1, 2, 4], [1, 2, 3, 7], 1)[0]
    expected = {"carry": [3.0, 7.0, 7.0], "linear": [5.0, 7.0, 7.0 + 2 * slope]}[future]
    np.testing.assert_allclose(found["cdr"], expected)
    assert found["mmse"][0] == pytest.approx({"carry": 24.0, "linear": 22.0}[future])


def test_a_known_state_lasts(cohort: Cohort) -> None:
    found = future_visits(cohort, asked(dx=["MCI", None, "AD"], edu=[None, 17.0, None]), "linear")  # type: ignore[list-item]
    assert list(found["dx"]) == ["MCI", "MCI", "AD"]
    assert list(found["edu"]) == [16.0, 17.0, 17.0]


def test_a_covariate_that_starts_to_be_known(cohort: Cohort) -> None:
    visits = pd.DataFrame({"subject": ["c"] * 3, "time": [3.0, 4.0, 6.0], "cdr": [None, 2.0, 4.0]})
    np.testing.assert_array_equal(future_visits(cohort, visits, "carry")["cdr"], [NAN, 2.0, 4.0])


def test_an_age_that_is_not_known_stays_so(cohort: Cohort) -> None:
    cohort.visits["age"] = NAN
    assert future_visits(cohort, asked())["age"].isna().all()


@pytest.mark.parametrize("value", [12.0, 16.5])
def test_a_covariate_that_never_changes_cannot_be_changed(cohort: Cohort, value: float) -> None:
    with pytest.raises(CohortError, match=r"subject a, covariate edu: found .* but it is 16 at the observed visits"):
        check_future(cohort, asked(edu=[None, None, value]))


def test_what_never_changes_may_be_repeated_and_what_is_unknown_may_be_given(cohort: Cohort) -> None:
    check_future(cohort, asked(edu=[16.0, None, 16.0], cdr=[9.0, None, None]))
    cohort.visits.loc[cohort.visits["subject"] == "a", "edu"] = NAN
    check_future(cohort, asked(edu=[12.0, None, None]))


def test_a_level_that_never_changes_cannot_be_changed(cohort: Cohort) -> None:
    cohort.schema.fixed.append("dx")  # a visits table with two levels: either may be repeated
    check_future(cohort, asked(dx=["AD", "MCI", None]))
    with pytest.raises(CohortError, match="covariate dx: found CN, but it is AD and MCI"):
        check_future(cohort, asked(dx=["CN", None, None]))
