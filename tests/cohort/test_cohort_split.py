"""Subjects are split by name; relatives are never separated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_tables import plain, save

from crow.cohort import read_cohort, split
from crow.errors import CohortError

NAMES = st.lists(st.integers(0, 40).map("family {}".format), min_size=2, max_size=80)


@given(NAMES, st.integers(1, 8), st.integers(0, 5))
def test_folds_are_disjoint_complete_and_keep_equal_names_together(names: list[str], count: int, seed: int) -> None:
    parts = split.folds(names, count, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(names)))
    owners = [{names[k] for k in part} for part in parts]
    assert sum(map(len, owners)) == len(set(names))


def test_folds_of_different_names_have_equal_sizes() -> None:
    names = [f"S{k:03d}" for k in range(103)]
    assert sorted(len(part) for part in split.folds(names, 5, 0)) == [20, 20, 21, 21, 21]


def twins(tmp_path: Path, **columns: object) -> Path:
    table = plain(subjects=24)
    number = table["subject"].str[1:].astype(int)
    return save(table.assign(family_id=[f"F{n // 2:02d}" for n in number], **columns), tmp_path / "twins.csv")


def test_a_family_column_is_found_by_name_and_values_and_keeps_twins_together(tmp_path: Path) -> None:
    cohort = read_cohort(twins(tmp_path))
    assert cohort.schema.group == "family_id"
    assert "family_id" not in (*cohort.covariates, *cohort.left_out)
    assert cohort.groups["S00"] == cohort.groups["S01"] == "F00"
    finding = next(finding for finding in cohort.findings if finding.code == "group")
    assert "12 groups of the 24 subjects" in finding.message
    test = set(split.test_subjects(cohort, 0.25, seed=1))
    assert len(test) == 6
    assert all((f"S{2 * k:02d}" in test) == (f"S{2 * k + 1:02d}" in test) for k in range(12))
    names = cohort.split_names(cohort.subjects)
    for part in split.validation_folds(names, 0.2, 0):
        assert {names[k] for k in part}.isdisjoint(names[k] for k in range(24) if k not in part)


def test_a_group_can_be_named_by_a_flag_and_must_be_one_per_subject(tmp_path: Path) -> None:
    path = twins(tmp_path, household=[f"H{k // 9}" for k in range(72)], town=[f"T{k % 5}" for k in range(72)])
    assert read_cohort(path, group="household").groups["S02"] == "H0"
    with pytest.raises(CohortError, match="column town: has two values for one subject"):
        read_cohort(path, group="town")


def test_a_family_history_is_no_family_and_a_subject_without_one_stands_alone(tmp_path: Path) -> None:
    table = plain(subjects=12).assign(family_history=["yes", "no"] * 18)
    assert read_cohort(save(table, tmp_path / "t.csv")).schema.group is None
    number = table["subject"].str[1:].astype(int)
    table["famid"] = ["" if n > 7 else f"F{n // 2}" for n in number]
    groups = read_cohort(save(table, tmp_path / "u.csv")).groups
    assert groups.nunique() == 4 + 4


def test_without_families_every_subject_is_its_own_unit(tmp_path: Path) -> None:
    cohort = read_cohort(save(plain(), tmp_path / "t.csv"))
    assert cohort.split_names(cohort.subjects) == cohort.subjects
    one = replace(cohort, groups=pd.Series({"S00": "F", "S01": "F"}))
    assert one.split_names(["S00", "S01", "S02"]) == ["F", "F", "S02"]


@pytest.mark.parametrize("one_each", [False, True])
def test_the_way_in_which_missing_values_are_treated_moves_no_subject_into_the_test_set(
    tmp_path: Path, one_each: bool
) -> None:
    table = plain(subjects=40)
    regions = ["Hippocampus", "Ventricles"]
    subjects = table["subject"].unique()
    if one_each:  # no subject is lost entirely, but most visits are
        table.loc[table.groupby("subject").cumcount() == 1, regions[0]] = np.nan
    else:  # half of the subjects have no complete visit, a few have none at all
        table.loc[table["subject"].isin(subjects[::2]), regions[0]] = np.nan
        table.loc[table["subject"].isin(subjects[::8]), regions] = np.nan
    path = save(table, tmp_path / "gaps.csv")
    found = {}
    for missing in ("model", "impute", "drop-visit"):
        cohort = read_cohort(path, missing=missing)
        found[missing] = set(split.test_subjects(cohort, 0.3, seed=2)), set(cohort.subjects)
    everyone = found["model"][1]
    assert len(found["model"][0]) == 12
    for test, kept in found.values():
        assert test == found["model"][0] & kept
        assert kept <= everyone
    if not one_each:
        assert len(found["drop-visit"][1]) < len(everyone)


def test_a_cohort_of_chosen_subjects_is_split_by_itself(tmp_path: Path) -> None:
    cohort = read_cohort(save(plain(subjects=40), tmp_path / "forty.csv"))
    half = cohort.of(cohort.subjects[:20])
    assert len(split.test_subjects(half, 0.25, seed=0)) == 5
