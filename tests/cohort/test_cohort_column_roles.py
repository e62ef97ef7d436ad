"""Roles by names and values together: names count as whole words, and the values have the last say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_tables import adnimerge, plain, save, tadpole

from crow.cohort import Cohort, Finding, names, read_cohort
from crow.errors import CohortError

SUBJECTS, VISITS = 24, 4


def table_of(**columns: object) -> pd.DataFrame:
    """Ages at four visits, sex, two volumes, and more columns."""
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(SUBJECTS), VISITS)
    years = np.tile(np.arange(VISITS) * 1.05, SUBJECTS) + rng.uniform(0, 0.1, SUBJECTS * VISITS)
    table = pd.DataFrame({
        "ID": subject + 1, "age": (60 + 0.7 * subject + years).round(2), "sex": np.where(subject % 2, "F", "M"),
        "Hippocampus": (rng.normal(3500, 300, SUBJECTS)[subject] - 40 * years + rng.normal(0, 9, len(years))).round(1),
        "Left-Caudate": rng.normal(3400, 200, len(subject)).round(1),
    })  # fmt: skip
    return table.assign(**columns)


def cohort_of(table: pd.DataFrame, folder: Path, **flags: object) -> Cohort:
    return read_cohort(save(table, folder / "t.csv"), strict=False, **flags)


def all_of(cohort: Cohort, code: str) -> list[Finding]:
    return [finding for finding in cohort.findings if finding.code == code]


ROW = np.arange(SUBJECTS * VISITS)
SUBJECT = ROW // VISITS
RNG = np.random.default_rng(1)
SCORE = RNG.integers(20, 50, SUBJECTS * VISITS)


@pytest.mark.parametrize("name", ["Left-Caudate", "Right-Caudate", "caudate_volume", "mandate_score", "Stage_Volume"])
def test_a_word_counts_only_as_a_whole_word(tmp_path: Path, name: str) -> None:
    table = table_of().rename(columns={"Left-Caudate": name})
    assert cohort_of(table, tmp_path).regions == ["Hippocampus", name]


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("rownames", ROW + 1, "a row number"),
        ("k", ROW + 1, "a row number"),
        ("visit_count", ROW % VISITS + 1, "a number of visits, instances or repeats"),
        ("redcap_repeat_instance", RNG.integers(1, 4, len(ROW)), "a number of visits, instances or repeats"),
        ("code", [f"X{s * 7}" for s in SUBJECT], "an identity: each level belongs to one subject or row"),
        ("local_key", SUBJECT * 13 + 1000, "an identity: each level belongs to one subject or row"),
        ("barcode", ROW * 17 + 5, "an identity: each level belongs to one subject or row"),
        ("Lebensjahre", table_of()["age"] - 0.2, "an age: it grows by one per year"),
    ],
)
def test_bookkeeping_is_left_out(tmp_path: Path, name: str, values: object, role: str) -> None:
    cohort = cohort_of(table_of(**{name: values}), tmp_path)
    assert cohort.left_out == {name: role}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("WordID_Raw", SCORE),
        ("mean_value_code", SCORE + 0.5),
        ("path_score", SCORE * 1.5),
        ("Run_Volume", SCORE + 0.25),
    ],
)
def test_a_name_of_bookkeeping_is_a_region_if_its_values_are(tmp_path: Path, name: str, values: object) -> None:
    assert name in cohort_of(table_of(**{name: values}), tmp_path).regions


@pytest.mark.parametrize("name", ["mean_fd", "motion", "eTIV", "ASF", "headscale", "euler_number"])
def test_motion_and_head_size_are_covariates(tmp_path: Path, name: str) -> None:
    cohort = cohort_of(table_of(**{name: SCORE + 0.37}), tmp_path)
    assert name in cohort.covariates


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Group", np.where(SUBJECT % 3 == 0, "Converted", "Stable")),
        ("agedem", 60 + 0.7 * SUBJECT + 4.2 + SUBJECT % 5),
        ("age_at_death", 60 + 0.7 * SUBJECT + 3.6),
        ("futime", 1290 + SUBJECT * 11),
        ("time_to_conversion", 3.4 + SUBJECT * 0.1),
        ("outcome", SUBJECT % 2),
        ("final_dx", np.where(SUBJECT % 4, "AD", "CN")),
        ("converter", SUBJECT % 2),
        ("Braak", SUBJECT % 6),
        ("slope_hippocampus", SUBJECT * 0.37),
        ("max_cdr", SUBJECT % 3 / 2),
        ("AgeAtOnset", np.where(SUBJECT % 3 == 0, 60 + 0.7 * SUBJECT + 4.2, np.nan)),
    ],
)
def test_a_column_that_knows_the_future_is_left_out_by_name(tmp_path: Path, name: str, values: object) -> None:
    cohort = cohort_of(table_of(**{name: values}), tmp_path)
    assert cohort.left_out[name].startswith("it knows the future")
    [finding] = all_of(cohort, "future-column")
    assert (finding.severity, finding.column) == ("warning", name)
    assert f"--covariates {name}" in finding.message
    asked = cohort_of(table_of(**{name: values}), tmp_path, covariates=[name])
    assert asked.covariates == [name]


def test_a_number_of_groups_is_no_numeric_covariate(tmp_path: Path) -> None:
    cohort = cohort_of(table_of(cohort_id=300 + SUBJECT // 2, clinic_no=SUBJECT % 4), tmp_path)
    assert cohort.left_out["cohort_id"] == "a number that only tells subjects or groups apart"
    assert cohort.covariates == [name for name in cohort.covariates if name not in ("cohort_id", "clinic_no")]


def test_the_number_of_visits_and_the_length_of_follow_up_are_found_by_their_values(tmp_path: Path) -> None:
    table = table_of()
    table = table[~((table["ID"] % 3 == 0) & (ROW % VISITS == 3)) & ~((table["ID"] % 5 == 0) & (ROW % VISITS == 2))]
    by_subject = table.groupby("ID")["age"]
    table["n_obs"] = by_subject.transform("size")
    table["span"] = (by_subject.transform("max") - by_subject.transform("min")).round(2) * 12
    assert {f.column for f in all_of(cohort_of(table, tmp_path), "future-column")} == {"n_obs", "span"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("status", SUBJECT % 3),
        ("age_bl", 60 + 0.7 * SUBJECT),
        ("education", 10 + SUBJECT % 9),
        ("baseline_mmse", 25 + SUBJECT % 6),
        ("iq", 85 + SUBJECT * 7 % 24),
        ("Group", np.where(SUBJECT % 3 == 0, "Demented", "Nondemented")),
    ],
)
def test_what_is_known_at_baseline_stays(tmp_path: Path, name: str, values: object) -> None:
    cohort = cohort_of(table_of(**{name: values}), tmp_path)
    assert not all_of(cohort, "future-column")
    assert name == "age_bl" or name in cohort.covariates


def test_a_bare_outcome_counts_beside_the_time_of_an_event(tmp_path: Path) -> None:
    table = table_of(status=SUBJECT % 3, futime=1290 + SUBJECT * 11)
    assert {f.column for f in all_of(cohort_of(table, tmp_path), "future-column")} == {"status", "futime"}


@pytest.mark.parametrize("make", [plain, adnimerge, tadpole])
def test_scanners_and_sites_are_found_in_every_layout(tmp_path: Path, make: Callable[[], pd.DataFrame]) -> None:
    table = make()
    number = pd.factorize(table.iloc[:, 0])[0]
    cohort = cohort_of(
        table.assign(SITE=1 + number % 3, Scanner_Model=np.where(number % 2, "Skyra", "Prisma")), tmp_path
    )
    assert cohort.schema.sites == ["SITE", "Scanner_Model"]
    assert {cohort.schema.covariates[name] for name in cohort.schema.sites} == {"categorical"}


def test_many_sites_are_taken_for_random_effects_and_too_many_for_a_covariate(tmp_path: Path) -> None:
    table = plain(subjects=60)
    number = pd.factorize(table["subject"])[0]
    table = table.assign(site=100 + number // 2)
    assert cohort_of(table, tmp_path).schema.sites == ["site"]
    for options in ({"site": "none"}, {"one_visit": True}):
        cohort = cohort_of(table, tmp_path, **options)
        assert cohort.schema.sites == []
        assert "30 levels" in all_of(cohort, "many-sites")[0].message


def test_any_column_may_be_named_as_the_site(tmp_path: Path) -> None:
    table = plain(subjects=30)
    number = pd.factorize(table["subject"])[0]
    table = table.assign(site=1 + number % 3, ward=np.where(number % 2, "north", "south"), grade=1.5 + number % 2)
    cohort = cohort_of(table, tmp_path, site=["ward", "grade"])
    assert cohort.schema.sites == ["ward", "grade"]
    assert {cohort.schema.covariates[name] for name in ("site", "ward", "grade")} == {"categorical"}
    assert cohort.mapping is not None
    assert {n for n, column in cohort.mapping.columns.items() if column.role == "site"} == {"ward", "grade"}
    path = tmp_path / "mapping.yaml"
    path.write_text(cohort.mapping.text(), encoding="utf-8")
    assert cohort_of(table, tmp_path, mapping=path).schema == cohort.schema


def test_a_site_that_is_no_column_or_a_region_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="--site scaner: no column has that name"):
        cohort_of(plain(), tmp_path, site="scaner")
    with pytest.raises(CohortError, match="cannot be site and region at once"):
        cohort_of(plain(), tmp_path, site="Hippocampus", regions=["Hippocampus"])


def test_a_column_that_looks_like_a_region_is_not_dropped_without_a_warning(tmp_path: Path) -> None:
    once = pd.Series(np.where(ROW % VISITS == 0, RNG.normal(5, 1, len(ROW)).round(3), np.nan))
    text = [f"{value:.2f}" if k % 3 else f"about {k}" for k, value in enumerate(RNG.normal(9, 1, len(ROW)))]
    cohort = cohort_of(table_of(Amygdala=once, Thickness=text), tmp_path)
    found = {finding.column: finding.message for finding in all_of(cohort, "region-left-out")}
    assert set(found) == {"Amygdala", "Thickness"}
    assert "measured at one visit" in found["Amygdala"] and "of its cells are text" in found["Thickness"]


def test_columns_without_values_are_a_warning_and_others_a_note(tmp_path: Path) -> None:
    cohort = cohort_of(table_of(TAU="", mood=[f"m{k}" for k in RNG.integers(0, 40, len(ROW))]), tmp_path)
    assert all_of(cohort, "empty-column")[0].severity == "warning"
    assert all_of(cohort, "left-out")[0].message == "left out, free text: mood."


@pytest.mark.parametrize(
    ("name", "age", "date", "sex"),
    [
        ("Alter bei Untersuchung", True, False, False), ("Âge (années)", True, False, False),
        ("edad", True, False, False),
        ("AgeMRI", True, False, False), ("age_at_onset", False, False, False), ("brain_age", False, False, False),
        ("percentage", False, False, False), ("Untersuchungsdatum", False, True, False),
        ("EXAMDATE", False, True, False),
        ("fecha_visita", False, True, False), ("Geburtsdatum", False, False, False), ("update", False, False, False),
        ("Geschlecht", False, False, True), ("sexe", False, False, True), ("Sussex_score", False, False, False),
    ],
)  # fmt: skip
def test_words_of_four_languages(name: str, age: bool, date: bool, sex: bool) -> None:
    assert (names.is_age(name), names.is_date(name), names.matches(names.SEX, name)) == (age, date, sex)


@given(st.text(max_size=40))
def test_every_name_is_normal_after_one_step(name: str) -> None:
    once = names.normal(name)
    assert names.normal(once) == once
    assert not once.startswith("_") and not once.endswith("_")


def test_codes_of_a_column_are_reported(tmp_path: Path) -> None:
    table = table_of(MMSE=np.where(ROW == 5, 999, 24 + ROW % 6), change=np.where(ROW == 7, -1, ROW % 3))
    table["Hippocampus"] = table["Hippocampus"].astype(object)
    table.loc[3, "Hippocampus"] = -4
    cohort = cohort_of(table, tmp_path, missing="impute")
    assert [(f.column, f.rows) for f in all_of(cohort, "undeclared-code")] == [("MMSE", (7,))]
    assert [(f.column, f.rows) for f in all_of(cohort, "missing-code")] == [("Hippocampus", (5,))]
    assert "--missing-code -1" in all_of(cohort, "doubtful-code")[0].message


def test_a_mark_that_may_be_two_things_is_reported(tmp_path: Path) -> None:
    table = table_of()
    table["Left-Caudate"] = [f"{value:,.0f}" for value in table["Left-Caudate"]]
    cohort = cohort_of(table, tmp_path)
    assert cohort.visits["Left-Caudate"].min() > 1000
    assert "it was read as 3" in all_of(cohort, "ambiguous-mark")[0].message
