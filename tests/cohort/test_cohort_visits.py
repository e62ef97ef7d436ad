"""Rows become visits, and no row goes without a word."""

from pathlib import Path

import pandas as pd
import pytest
from simulated_tables import adnimerge, plain, save

from crow.cohort import Cohort, Finding, read_cohort
from crow.errors import CohortError


def found(cohort: Cohort, code: str) -> Finding:
    return next(finding for finding in cohort.findings if finding.code == code)


def test_codes_of_screening_and_no_visit(tmp_path: Path) -> None:
    table = adnimerge()
    screening = table.iloc[[0]].assign(VISCODE="scmri", EXAMDATE="2007-12-01", CDRSB="4.5")
    nothing = table.iloc[[1]].assign(VISCODE="nv", EXAMDATE="")
    table.loc[0, "CDRSB"] = ""
    table = pd.concat([screening, table, nothing], ignore_index=True)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert len(cohort) == 48
    assert found(cohort, "screening").rows == (2,)
    assert found(cohort, "no-visit").rows == (51,)
    first = cohort.visits.iloc[0]
    assert (first["session"], first["CDRSB"]) == ("bl", 4.5)
    assert cohort.start["100"] == pd.Timestamp(table.loc[1, "EXAMDATE"])


def test_codes_without_a_time_are_dropped_by_name_where_there_is_no_date(tmp_path: Path) -> None:
    table = adnimerge().drop(columns=["EXAMDATE", "Years_bl", "Month_bl", "M"])
    table.loc[2, "VISCODE"] = "uns1"
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.schema.time_kind == "visit"
    assert found(cohort, "no-time").rows == (4,)
    assert cohort.visits["time"].iloc[:3].tolist() == [0, 0.5, 2]


def test_missing_codes_and_blanks(tmp_path: Path) -> None:
    table = adnimerge()
    table.loc[0, "Hippocampus"] = "-4"
    table.loc[1, "CDRSB"] = "-1"
    table.loc[2, "Fusiform"] = " "
    table.loc[3, "ICV"] = "NA"
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert len(cohort) == 48
    assert found(cohort, "missing-values").rows == (2, 4)
    assert cohort.visits[["CDRSB", "ICV", "Hippocampus", "Fusiform"]].isna().sum().tolist() == [1, 0, 1, 1]
    assert cohort.missing["Hippocampus"] == pytest.approx(1 / 48)


def test_a_censored_column_is_numbers_with_a_finding(tmp_path: Path) -> None:
    table = adnimerge()
    table["ABETA"] = [">1700" if k % 4 == 0 else str(900 + k) for k in range(len(table))]
    cohort = read_cohort(save(table, tmp_path / "t.csv"), covariates=["ABETA"])
    assert cohort.visits["ABETA"].iloc[0] == 1700
    assert len(found(cohort, "censored").rows) == 12


def test_a_change_of_diagnosis_is_the_state_it_ends_in(tmp_path: Path) -> None:
    table = adnimerge()
    table.loc[1, "DX"] = "MCI to Dementia"
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.visits["DX"].iloc[1] == "Dementia"
    assert found(cohort, "transition").rows == (3,)
    table = table.drop(columns="DX").assign(DXCHANGE=[str(1 + k % 9) for k in range(len(table))])
    states = read_cohort(save(table, tmp_path / "t.csv")).visits["DXCHANGE"].iloc[:9].tolist()
    assert states == ["CN", "MCI", "AD", "MCI", "AD", "AD", "CN", "MCI", "CN"]


def test_of_duplicates_the_first_complete_row_stays(tmp_path: Path) -> None:
    table = adnimerge()
    same_code = table.iloc[[1]].assign(EXAMDATE="2009-01-01", Fusiform="")
    table = pd.concat([same_code, table], ignore_index=True)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert len(cohort) == 48
    assert found(cohort, "duplicate").rows == (2,)
    twice = plain()
    twice = pd.concat([twice, twice.iloc[[4]].assign(Hippocampus="1")], ignore_index=True)
    cohort = read_cohort(save(twice, tmp_path / "p.csv"))
    assert len(cohort) == 36
    assert found(cohort, "duplicate").rows == (38,)
    assert 1 not in cohort.visits["Hippocampus"].tolist()


def test_dates_out_of_order_are_sorted_and_told(tmp_path: Path) -> None:
    table = adnimerge().drop(columns=["Years_bl", "Month_bl", "M"])
    table.loc[[1, 2], "EXAMDATE"] = table.loc[[2, 1], "EXAMDATE"].to_numpy()
    cohort = read_cohort(save(table, tmp_path / "ADNIMERGE.csv").rename(tmp_path / "t.csv"), age="AGE")
    assert found(cohort, "order").rows == (4,)
    assert found(cohort, "time-against-code").rows == (4,)
    assert (cohort.visits.groupby("subject")["time"].diff().dropna() > 0).all()


def test_missing_regions_model_drop_impute_or_error(tmp_path: Path) -> None:
    table = plain()
    table.loc[[1, 5], "Ventricles"] = "n/a"
    table.loc[7, ["Hippocampus", "Ventricles"]] = ""
    path = save(table, tmp_path / "t.csv")
    kept = read_cohort(path)
    assert len(kept) == 36 and kept.schema.missing == "model"
    assert found(kept, "missing-values").rows == (3, 7) and found(kept, "no-region").rows == (9,)
    dropped = read_cohort(path, missing="drop-visit")
    assert len(dropped) == 33
    assert found(dropped, "missing-region").rows == (3, 7, 9)
    assert "Subjects with two visits or more: 12 before, 12 after" in found(dropped, "missing-region").message
    assert read_cohort(path, schema=dropped.schema, missing="model").schema.missing == "model"
    imputed = read_cohort(path, missing="impute")
    assert len(imputed) == 35
    assert imputed.visits["Ventricles"].isna().sum() == 2
    for cohort in (dropped, imputed):
        message = found(cohort, "missing-region").message
        assert (
            "3 of 36 visits lack at least one region (1 all, 2 some); 0 of 12 subjects have no complete visit"
            in message
        )
        assert "drop-visit" in message and "keeps 33 visits of 12 subjects" in message
        assert "impute" in message and "keeps 35 visits of 12 subjects" in message
    with pytest.raises(CohortError, match=r"line 3, column Ventricles"):
        read_cohort(path, missing="error")


def test_a_region_that_costs_many_visits_is_named_with_the_flag(tmp_path: Path) -> None:
    table = plain()
    table.loc[table.index % 3 == 2, "Ventricles"] = ""
    finding = found(read_cohort(save(table, tmp_path / "t.csv"), missing="drop-visit"), "costly-region")
    assert "12 more visits" in finding.message
    assert "--exclude Ventricles" in finding.message


def test_what_never_changes_is_known_at_every_visit(tmp_path: Path) -> None:
    table = plain()
    table.loc[[1, 2], "education"] = ""
    table.loc[table.index % 3 > 0, "sex"] = ""
    table.loc[table["subject"] == "S03", "sex"] = ""
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.visits["education"].iloc[:3].tolist() == [10, 10, 10]
    assert cohort.visits["sex"].isna().sum() == 3
    assert cohort.visits["sex"].iloc[:4].tolist() == ["M", "M", "M", "F"]
    assert [len(f.rows) for f in cohort.findings if f.code == "carried"] == [22, 2]
    assert set(cohort.schema.fixed) == {"sex", "education"}


def test_rows_without_subject_or_time_are_told(tmp_path: Path) -> None:
    table = plain()
    table.loc[3, "subject"] = ""
    table.loc[6, "age"] = "NA"
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert len(cohort) == 34
    assert found(cohort, "no-subject").rows == (5,)
    assert found(cohort, "no-time").rows == (8,)


def test_findings_hold_no_value_of_a_subject(tmp_path: Path) -> None:
    table = adnimerge()
    table = pd.concat([table, table.iloc[[3]]], ignore_index=True)
    table.loc[5, "Hippocampus"] = "-4"
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    text = " ".join(finding.message for finding in cohort.findings)
    assert not any(subject in text.split() for subject in cohort.subjects)


def test_whole_ages_that_fall_together_are_told_with_the_cure(tmp_path: Path) -> None:
    table = plain()
    table["age"] = [str(70 + k // 3 + (k % 3) // 2) for k in range(len(table))]
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert len(cohort) == 24
    assert "--time" in found(cohort, "duplicate").message


def test_a_cohort_shows_itself(tmp_path: Path) -> None:
    cohort = read_cohort(save(adnimerge(), tmp_path / "t.csv"))
    for text in (repr(cohort), cohort._repr_html_()):
        assert "12" in text and "48" in text and "EXAMDATE (date)" in text and "Hippocampus" in text


@pytest.mark.parametrize("missing", ["model", "drop-visit", "impute"])
def test_time_begins_with_the_first_row_whether_a_region_was_measured_or_not(tmp_path: Path, missing: str) -> None:
    table = plain()
    first = table["subject"] == "S00"
    table.loc[table.index[first][0], ["Hippocampus", "Ventricles"]] = ""
    whole = read_cohort(save(plain(), tmp_path / "t.csv"))
    cohort = read_cohort(save(table, tmp_path / "u.csv"), missing=missing)
    own, of_whole = (c.visits[c.visits["subject"] == "S00"] for c in (cohort, whole))
    assert own["time"].tolist() == of_whole["time"].tolist()[0 if missing == "model" else 1 :]
    assert cohort.start["S00"] == whole.start["S00"]
