"""Several tables of one cohort: joined by subject and visit, or the nearest time, and never across subjects."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import portal_tables as portal
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_tables import assert_read, dated, plain, save

import crow
from crow.cohort import Cohort, Finding, ReadOptions, read_cohort
from crow.cohort.findings import Findings
from crow.cohort.join import days_of
from crow.cohort.load import load
from crow.errors import CohortError, ConfigError


def found(cohort: Cohort, code: str) -> Finding:
    return next(finding for finding in cohort.findings if finding.code == code)


def two(folder: Path, one: pd.DataFrame, other: pd.DataFrame, **settings: object) -> list[Path]:
    return [save(one, folder / "one.csv"), save(other, folder / "other.csv", **settings)]


def test_the_nearest_clinical_visit_within_a_window(tmp_path: Path) -> None:
    scans, visits = portal.oasis3()
    cohort = read_cohort(two(tmp_path, scans, visits), within="90d")
    assert len(cohort) == len(scans)
    assert set(cohort.covariates) == {"CDRTOT", "MMSE"}
    apart = scans.merge(visits, on="OASISID", suffixes=("", "_clinical"))
    apart["days"] = (apart["days_to_visit"].astype(int) - apart["days_to_visit_clinical"].astype(int)).abs()
    nearest = apart.sort_values("days").drop_duplicates(["OASISID", "MR_session"]).set_index("MR_session")
    for visit in cohort.visits.itertuples():
        expected = nearest.loc[visit.session]
        assert np.isnan(visit.MMSE) if expected["days"] > 90 else float(expected["MMSE"]) == visit.MMSE
    message = found(cohort, "join").message
    assert f"{(nearest['days'] <= 90).sum()} of {len(scans)} rows matched" in message
    assert f"at most {nearest['days'][nearest['days'] <= 90].max()}" in message
    assert len(found(cohort, "unmatched").rows) == (nearest["days"] > 90).sum()


def test_an_age_is_moved_to_the_day_of_the_scan(tmp_path: Path) -> None:
    scans, visits = portal.oasis3()
    cohort = read_cohort(two(tmp_path, scans, visits))
    started = 60 + cohort.visits["subject"].str[-4:].astype(int) % 10000
    days = cohort.visits["session"].str[-4:].astype(int)
    assert cohort.visits["age"].to_numpy() == pytest.approx((started + days / 365.25).to_numpy(), abs=1e-3)


def test_the_order_of_the_tables_does_not_matter(tmp_path: Path) -> None:
    scans, visits = portal.oasis3()
    paths = two(tmp_path, scans, visits)
    first, second = read_cohort(paths), read_cohort(paths[::-1])
    pd.testing.assert_frame_equal(first.visits, second.visits)


def test_demographics_join_to_all_visits(tmp_path: Path) -> None:
    table = plain()
    people = table.drop_duplicates("subject")[["subject", "sex", "education"]].iloc[:-1]
    people = people.rename(columns={"subject": "participant_id"})
    people["participant_id"] = "sub-" + people["participant_id"]
    rest = table.drop(columns=["sex", "education"])
    cohort = read_cohort(two(tmp_path, rest, people))
    whole = read_cohort(save(table, tmp_path / "whole.csv"))
    known = cohort.visits["subject"] != "S11"
    assert cohort.visits[known]["sex"].tolist() == whole.visits[known]["sex"].tolist()
    assert cohort.visits[~known]["sex"].isna().all()
    assert "1 subjects are not in it: s11" in found(cohort, "unmatched").message.lower()


def test_visits_of_one_label_are_joined_by_it(tmp_path: Path) -> None:
    table = plain().assign(session=lambda t: "ses-0" + (t.groupby("subject").cumcount() + 1).astype(str))
    scores = table[["subject", "session"]].assign(
        session=lambda t: t["session"].str[-1], mmse=[str(20 + 7 * k % 11) for k in range(36)]
    )
    cohort = read_cohort(two(tmp_path, table, scores.sample(frac=1, random_state=0)))
    assert cohort.visits["mmse"].tolist() == scores["mmse"].astype(float).tolist()
    assert "by subject and session: 36 of 36 rows matched" in found(cohort, "join").message


def test_a_value_of_both_tables_that_differs_is_named(tmp_path: Path) -> None:
    table = plain()
    people = table.drop_duplicates("subject")[["subject", "sex"]].copy()
    people.loc[people["subject"] == "S01", "sex"] = "X"
    cohort = read_cohort(two(tmp_path, table, people))
    assert cohort.visits["sex"].tolist() == read_cohort(tmp_path / "one.csv").visits["sex"].tolist()
    assert found(cohort, "join-differs").rows == (5, 6, 7)


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    table = plain()
    foreign = table.assign(subject="Q" + table["subject"])
    with pytest.raises(CohortError, match=r"none of its subjects .*QS00.* is in one.csv .*--subject"):
        read_cohort(two(tmp_path, table, foreign))
    timeless = table[["subject", "Hippocampus"]].rename(columns={"Hippocampus": "score"})
    with pytest.raises(CohortError, match="no time or visit label that separates the rows"):
        read_cohort(two(tmp_path, table, timeless))
    nobody = table.rename(columns={"subject": "whose"})
    with pytest.raises(CohortError, match=r"other.csv: no subject column"):
        read_cohort(two(tmp_path, table, nobody))


def test_decimal_commas_of_the_other_table(tmp_path: Path) -> None:
    table = plain()
    scores = table.drop_duplicates("subject")[["subject"]].assign(weight=[f"{60 + k},5" for k in range(12)])
    cohort = read_cohort(two(tmp_path, table, scores, sep=";"))
    assert cohort.visits["weight"].iloc[0] == 60.5


def test_several_tables_are_read_again_by_the_schema(tmp_path: Path) -> None:
    paths = two(tmp_path, *portal.oasis3())
    cohort = crow.read_cohort(paths, within="90d")
    again = crow.read_cohort(paths, schema=cohort.schema)
    pd.testing.assert_frame_equal(cohort.visits, again.visits)


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("90", 90), ("6 months", 182.625), ("2w", 14), ("1y", 365.25)])
def test_windows(text: str, days: float) -> None:
    assert days_of(text) == pytest.approx(days)


@pytest.mark.parametrize("window", ["soon", "nan", "-5", "inf", ""])
def test_a_window_that_is_none_is_refused(window: str, tmp_path: Path) -> None:
    paths = two(tmp_path, *portal.oasis3())
    for tables in (paths, paths[0]):
        with pytest.raises(ConfigError, match=rf"cohort.within: found '{window}'"):
            read_cohort(tables, within=window)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_value_of_another_subject_is_ever_joined(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("join")
    days = st.lists(st.integers(0, 4000), min_size=2, max_size=4, unique=True)
    scans, scores = [], []
    for s in range(11):
        scans += [{"subject": f"S{s:02d}", "days": day, "Hippocampus": 3000 + day % 97 + s} for day in data.draw(days)]
        scores += [
            {"subject": f"S{s:02d}", "days": day, "score": 1000 * s + k} for k, day in enumerate(data.draw(days))
        ]
    within = data.draw(st.integers(1, 2000))
    paths = two(folder, pd.DataFrame(scans), pd.DataFrame(scores))
    joined = load(paths, ReadOptions(within=f"{within}d"), None, Findings()).frame()
    known = joined[joined["score"] != ""]
    assert len(joined) == len(scans)
    assert (known["score"].astype(int) // 1000 == known["subject"].str[1:].astype(int)).all()
    times = {str(row["score"]): row["days"] for row in scores}
    apart = known["score"].map(times).astype(int) - known["days"].astype(int)
    assert (apart.abs() <= within).all()


@pytest.mark.parametrize("write", [str.lower, "sub-{}".format, lambda name: f"{name[0]}_{name[1:]}"])
@pytest.mark.parametrize("part", [0.0, 0.5])
def test_subjects_written_otherwise_in_some_or_all_rows_match(write: Callable[[str], str], part: float) -> None:
    truth = dated()
    scans = truth[["subject", "date", "Hippocampus", "Ventricles"]]
    other = truth[["subject", "date", "age"]].copy()
    rows = other.index >= part * len(other)
    other.loc[rows, "subject"] = other["subject"][rows].map(write)
    cohort = read_cohort([scans, other])
    assert cohort.visits["age"].to_numpy() == pytest.approx(truth["age"].to_numpy())
    assert_read(cohort, truth)


def test_of_two_equally_near_rows_the_earlier_one_is_used_and_reported() -> None:
    truth = dated()
    other = truth[["subject", "date"]].assign(MMSE=[20 + row % 9 for row in range(len(truth))])
    twin = other.iloc[[4]].assign(date=other["date"][4] + pd.Timedelta(days=10), MMSE=3)
    other.loc[4, "date"] -= pd.Timedelta(days=10)
    cohort = read_cohort([truth.drop(columns="age"), pd.concat([twin, other])])
    assert 3 not in set(cohort.visits["MMSE"])
    finding = next(finding for finding in cohort.findings if finding.code == "tied-rows")
    assert finding.rows == (6,)


def test_a_subject_with_two_rows_of_demographics_is_named() -> None:
    truth = dated()
    facts = truth[["subject", "sex"]].drop_duplicates()
    with pytest.raises(CohortError, match="a second row for the subjects S03, and no time or visit label"):
        read_cohort([truth.drop(columns="sex"), pd.concat([facts, facts.iloc[[3]].assign(sex="F")])])
