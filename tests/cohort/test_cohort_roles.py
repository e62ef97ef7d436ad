"""Roles are found from names and values, said, and set by flags."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_tables import plain, save

from crow.cohort import read_cohort
from crow.errors import CohortError, ConfigError


def test_a_plain_table_is_read_without_a_flag(tmp_path: Path) -> None:
    cohort = read_cohort(save(plain(), tmp_path / "t.csv"))
    schema = cohort.schema
    assert (schema.subject, schema.time, schema.time_kind, schema.age) == ("subject", "age", "age", "age")
    assert schema.covariates == {"sex": "categorical", "education": "numeric"}
    assert cohort.regions == ["Hippocampus", "Ventricles"]
    assert list(cohort.visits) == ["subject", "session", "time", "age", *cohort.covariates, *cohort.regions]
    assert cohort.visits["session"].iloc[:3].tolist() == ["1", "2", "3"]


def test_flags_set_every_role(tmp_path: Path) -> None:
    table = plain().rename(columns={"subject": "who", "age": "when"})
    path = save(table, tmp_path / "t.csv")
    with pytest.raises(CohortError, match="--subject COLUMN"):
        read_cohort(path)
    cohort = read_cohort(
        path, subject="who", time="when", time_kind="age", covariates=["education"], regions=["Hippo*"], exclude=["sex"]
    )
    assert (cohort.covariates, cohort.regions) == (["education"], ["Hippocampus"])
    assert cohort.left_out == {"sex": "excluded by a flag", "Ventricles": "not named by a flag"}
    both = read_cohort(path, subject="who", time="when", regions="Hippocampus,Ventricles")
    assert both.regions == ["Hippocampus", "Ventricles"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"subject": "subjct"}, "Did you mean subject"),
        ({"time": "hippocampus2"}, "Did you mean Hippocampus"),
        ({"regions": ["CTX_*"]}, r"--regions CTX_\*: no column"),
        ({"exclude": ["Ventricle"]}, "Did you mean Ventricles"),
        ({"time": "sex"}, "are no dates, visit codes or numbers with a unit"),
        ({"regions": ["sex"]}, "line 2, column sex: found 'M', but a region holds numbers"),
        ({"regions": ["education"], "covariates": ["education"]}, "at once"),
        ({"regions": ["age"]}, "another role already"),
    ],
)
def test_flags_that_cannot_be_are_refused(tmp_path: Path, flags: dict[str, object], message: str) -> None:
    with pytest.raises(CohortError, match=message):
        read_cohort(save(plain(), tmp_path / "t.csv"), **flags)


def test_unknown_flags_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cohort\.subjects"):
        read_cohort(save(plain(), tmp_path / "t.csv"), subjects="subject")


def test_two_subject_columns_that_disagree_are_refused_with_both_flags(tmp_path: Path) -> None:
    table = plain()
    table["participant_id"] = [f"P{k % 9}" for k in range(len(table))]
    with pytest.raises(CohortError, match="--subject subject or --subject participant_id"):
        read_cohort(save(table, tmp_path / "t.csv"))
    table["participant_id"] = table["subject"].str.lower()
    assert read_cohort(save(table, tmp_path / "t.csv")).schema.subject == "subject"


def test_two_ages_within_a_year_are_a_warning_and_most_visits_decide(tmp_path: Path) -> None:
    table = plain()
    rng = np.random.default_rng(1)
    table["age_at_pet"] = (table["age"].astype(float) + rng.uniform(0, 0.9, len(table))).round(2)
    table.loc[3, "age_at_pet"] = np.nan
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.schema.time == "age"
    finding = next(finding for finding in cohort.findings if finding.code == "several-times")
    assert finding.severity == "warning" and "--time age_at_pet" in finding.message


def test_two_times_that_disagree_are_refused_with_both_flags(tmp_path: Path) -> None:
    table = plain()
    rng = np.random.default_rng(1)
    table["age_at_pet"] = (table["age"].astype(float) + rng.uniform(0, 3, len(table))).round(2)
    with pytest.raises(CohortError, match=r"--time age .* or --time age_at_pet"):
        read_cohort(save(table, tmp_path / "t.csv"))


@pytest.mark.parametrize(("unit", "scale"), [("years", 1.0), ("months", 12.0), ("days", 365.25)])
def test_the_unit_of_a_time_is_seen_from_the_age(tmp_path: Path, unit: str, scale: float) -> None:
    table = plain()
    age = table["age"].astype(float)
    table["time"] = ((age - age.groupby(table["subject"]).transform("min")) * scale).round(3)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert (cohort.schema.time, cohort.schema.time_kind) == ("time", unit)
    assert cohort.visits["time"].iloc[1] == pytest.approx(1.1, abs=0.01)


def test_without_an_age_the_unit_is_guessed_and_told(tmp_path: Path) -> None:
    table = plain().drop(columns="age")
    table["time"] = [str(12 * (k % 3)) for k in range(len(table))]
    path = save(table, tmp_path / "t.csv")
    cohort = read_cohort(path)
    assert cohort.schema.time_kind == "months"
    assert "--time-kind" in next(f.message for f in cohort.findings if f.code == "time-unit")
    assert read_cohort(path, time_kind="years").visits["time"].max() == 24


def test_baseline_age_in_a_plain_table_is_mended(tmp_path: Path) -> None:
    table = plain()
    age = table["age"].astype(float)
    table["date"] = [
        (pd.Timestamp(2015, 1, 1) + pd.Timedelta(days=400 * (k % 3))).strftime("%m/%d/%Y") for k in range(len(table))
    ]
    table["age"] = age.groupby(table["subject"]).transform("min")
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.schema.age_is_baseline
    assert cohort.visits["age"].iloc[1] == pytest.approx(age.iloc[0] + 400 / 365.25)
    alone = save(table.drop(columns="date"), tmp_path / "alone.csv")
    with pytest.raises(CohortError, match="age at baseline"):
        read_cohort(alone)


def test_clinical_scores_are_covariates_where_they_are_few(tmp_path: Path) -> None:
    table = plain()
    rng = np.random.default_rng(0)
    table["MMSE"] = rng.integers(20, 30, len(table))
    few = read_cohort(save(table, tmp_path / "t.csv"))
    assert "MMSE" in few.covariates
    for name in ("CDRSB", "ADAS13", "FAQ"):
        table[name] = rng.integers(0, 9, len(table))
    many = read_cohort(save(table, tmp_path / "t.csv"))
    assert {"MMSE", "CDRSB", "ADAS13", "FAQ"} <= set(many.regions)


def test_ids_dates_text_and_empty_columns_are_left_out_by_name(tmp_path: Path) -> None:
    table = plain()
    table["image_id"] = range(len(table))
    table["comment"] = "none"
    table.loc[3, "comment"] = "moved"
    table["impression"] = [f"seen by {k}" for k in range(len(table))]
    table["update_stamp"] = "2020-01-01"
    table["TAU"] = ""
    table["eTIV"] = [1500 + k // 3 for k in range(len(table))]
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.left_out == {
        "image_id": "a row number",
        "comment": "paths and notes by its name",
        "impression": "an identity: each level belongs to one subject or row",
        "update_stamp": "the same in every row",
        "TAU": "no value",
    }
    assert "eTIV" in cohort.covariates
    warned = [f.message for f in cohort.findings if f.severity == "warning"]
    assert any("TAU" in message for message in warned)
    for name, message in (("TAU", "no value at all"), ("update_stamp", "same value in every row")):
        with pytest.raises(CohortError, match=message):
            read_cohort(save(table, tmp_path / "t.csv"), covariates=[name])


def test_another_table_is_read_by_the_schema_of_the_first(tmp_path: Path) -> None:
    schema = read_cohort(save(plain(), tmp_path / "t.csv")).schema
    other = plain(subjects=2, visits=1, seed=5)
    other = other[other.columns[::-1]].assign(note="x")
    cohort = read_cohort(save(other, tmp_path / "o.csv"), schema=schema)
    assert list(cohort.visits) == ["subject", "session", "time", "age", "sex", "education", "Hippocampus", "Ventricles"]
    assert len(cohort) == 2
    renamed = save(other.rename(columns={"Hippocampus": "hippo"}), tmp_path / "r.csv")
    with pytest.raises(CohortError, match=r"Missing: Hippocampus\. Not known to the run: hippo, note"):
        read_cohort(renamed, schema=schema)


def test_a_code_for_missing_keeps_its_meaning_in_another_table(tmp_path: Path) -> None:
    table = plain()
    table.loc[4, "Hippocampus"] = "-4"
    schema = read_cohort(save(table, tmp_path / "t.csv")).schema
    other = plain(subjects=1, seed=3)
    other["Hippocampus"] = ["-4", "-2.0", "3000"]
    values = read_cohort(save(other, tmp_path / "o.csv"), schema=schema).visits["Hippocampus"]
    assert values.isna().tolist() == [True, False, False] and values.tolist()[1:] == [-2.0, 3000.0]
    assert schema == type(schema).model_validate_json(schema.model_dump_json())
