"""Portal tables are read as what they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_tables import ADNI_REGIONS, adnimerge, oasis2, save, tadpole, wide

from crow.cohort import Cohort, read_cohort
from crow.errors import CohortError

DATA = Path(__file__).parents[3] / "shared" / "data"


def codes(cohort: Cohort) -> set[str]:
    return {finding.code for finding in cohort.findings}


@pytest.mark.parametrize("name", ["ADNIMERGE.csv", "ADNIMERGE_10Sep2023.csv"])
def test_adnimerge(tmp_path: Path, name: str) -> None:
    table = adnimerge()
    cohort = read_cohort(save(table, tmp_path / name))
    assert cohort.schema.layout == "adnimerge"
    assert cohort.regions == ADNI_REGIONS
    assert set(cohort.covariates) == {"DX", "PTGENDER", "PTEDUCAT", "APOE4", "CDRSB", "ICV"}
    assert (cohort.schema.subject, cohort.schema.time, cohort.schema.session) == ("RID", "EXAMDATE", "VISCODE")
    assert (len(cohort.subjects), len(cohort)) == (12, 48)
    assert "pet-left-out" in codes(cohort)


def test_adnimerge_age_is_the_one_at_the_visit(tmp_path: Path) -> None:
    table = adnimerge()
    cohort = read_cohort(save(table, tmp_path / "ADNIMERGE.csv"))
    expected = table["AGE"].astype(float) + table["Years_bl"].astype(float)
    assert cohort.visits["age"].to_numpy() == pytest.approx(expected.to_numpy())
    assert "baseline-age" in codes(cohort)
    without = read_cohort(save(table.drop(columns=["Years_bl", "Month_bl", "M"]), tmp_path / "b.csv"))
    assert without.visits["age"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5)


def test_adnimerge_age_counts_from_baseline_and_not_from_the_first_usable_visit(tmp_path: Path) -> None:
    table = adnimerge()
    table.loc[table["VISCODE"] == "bl", "Hippocampus"] = ""
    cohort = read_cohort(save(table, tmp_path / "ADNIMERGE.csv"), missing="drop-visit")
    first = cohort.visits.groupby("subject").first()
    later = table[table["VISCODE"] == "m06"].set_index("RID")
    expected = later["AGE"].astype(float) + later["Years_bl"].astype(float)
    assert first["age"].to_numpy() == pytest.approx(expected[first.index].to_numpy())
    assert first["time"].to_numpy() == pytest.approx(later["Years_bl"].astype(float)[first.index].to_numpy(), abs=0.01)


def test_months_that_disagree_with_the_date_are_told(tmp_path: Path) -> None:
    table = adnimerge()
    table.loc[2, "M"] = "60"
    cohort = read_cohort(save(table, tmp_path / "ADNIMERGE.csv"))
    finding = next(f for f in cohort.findings if f.code == "time-disagrees")
    assert (finding.column, finding.rows) == ("M", (4,))


def test_tadpole_takes_uptake_and_not_sizes(tmp_path: Path) -> None:
    path = save(tadpole(), tmp_path / "TADPOLE_D1_D2.csv")
    cohort = read_cohort(path)
    suffix = "UCBERKELEYAV45_10_17_16"
    assert cohort.regions == [
        f"{name}_{suffix}" for name in ("CTX_LH_PRECUNEUS", "CTX_RH_PRECUNEUS", "LEFT_HIPPOCAMPUS")
    ]
    assert "size-columns" in codes(cohort)
    chosen = read_cohort(path, regions=["CTX_*"])
    assert not any("SIZE" in name for name in chosen.regions)
    sizes = read_cohort(path, regions=["CTX_*_SIZE_*"])
    assert len(sizes.regions) == 3


def test_tadpole_without_pet_falls_back_on_the_volumes(tmp_path: Path) -> None:
    table = tadpole()
    table = table[[name for name in table if "AV45_" not in name]]
    assert read_cohort(save(table, tmp_path / "t.csv")).regions == ADNI_REGIONS


def test_oasis2(tmp_path: Path) -> None:
    cohort = read_cohort(save(oasis2(), tmp_path / "oasis_longitudinal.csv"))
    assert cohort.schema.layout == "oasis2"
    assert cohort.schema.time_kind == "days"
    assert cohort.regions == ["nWBV"]
    assert set(cohort.covariates) == {"Group", "M/F", "EDUC", "SES", "MMSE", "CDR", "eTIV"}
    assert cohort.left_out["Hand"] == "the same in every row"
    assert cohort.visits["SES"].isna().sum() == 3
    second = cohort.visits[cohort.visits["time"] > 0].iloc[0]
    assert second["age"] == pytest.approx(70 + 500 / 365.25)
    assert "whole-age" in codes(cohort)


def test_oasis3_sessions_are_days_from_entry(tmp_path: Path) -> None:
    rows = [
        {"OASISID": f"OAS3{s:04d}", "session": f"OAS3{s:04d}_MR_d{days:04d}", "Hippocampus": 4000 + 10 * s - days / 10}
        for s in range(12)
        for days in (0, 757, 1500 + s)
    ]
    cohort = read_cohort(save(pd.DataFrame(rows), tmp_path / "t.csv"))
    assert cohort.schema.time_kind == "visit"
    assert cohort.visits["time"].iloc[1] == pytest.approx(757 / 365.25)


def test_wide_becomes_one_row_a_visit(tmp_path: Path) -> None:
    table = wide()
    table.loc[4, [name for name in table if name.endswith("W3")]] = np.nan
    cohort = read_cohort(save(table, tmp_path / "participants.tsv", sep="\t", na_rep="n/a"))
    assert cohort.schema.layout == "wide"
    assert (len(cohort.subjects), len(cohort)) == (12, 35)
    assert cohort.regions == ["Thickness", "Volume"]
    assert set(cohort.covariates) == {"Sex", "Edu", "MMSE"}
    assert cohort.visits["session"].iloc[:3].tolist() == ["W1", "W2", "W3"]
    assert {"wide", "not-attended"} <= codes(cohort)


def test_wide_ages_in_whole_years_are_made_exact_by_the_intervals(tmp_path: Path) -> None:
    table = wide()
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    third = cohort.visits.groupby("subject")["time"].max()
    assert third.to_numpy() == pytest.approx(table["MRIW1toW3"].to_numpy(), abs=1e-3)
    assert "intervals" in codes(cohort)
    table.loc[0, "MRIW1toW2"] = 9.5
    doubted = read_cohort(save(table, tmp_path / "t.csv"))
    assert next(f for f in doubted.findings if f.code == "interval-disagrees").rows == (2,)
    assert doubted.visits["time"].iloc[1] == table.loc[0, "AgeMRI_W2"] - table.loc[0, "AgeMRI_W1"]


def test_wide_with_two_ages_that_differ_asks_which(tmp_path: Path) -> None:
    table = wide().drop(columns=["MRIW1toW2", "MRIW2toW3", "MRIW1toW3"])
    for wave in (1, 2, 3):
        table[f"AgeCog_W{wave}"] = table[f"AgeMRI_W{wave}"] + 2 * ((np.arange(len(table)) + wave) % 2)
    path = save(table, tmp_path / "t.csv")
    with pytest.raises(CohortError, match=r"--time AgeMRI .* or --time AgeCog"):
        read_cohort(path)
    assert read_cohort(path, time="AgeMRI").schema.time == "AgeMRI"


def test_another_wide_table_is_read_by_the_schema_of_the_first(tmp_path: Path) -> None:
    cohort = read_cohort(save(wide(), tmp_path / "t.csv"))
    fewer = wide(subjects=3).drop(
        columns=["AgeMRI_W3", "Thickness_W3", "Volume_W3", "MMSE_W3", "MRIW2toW3", "MRIW1toW3"]
    )
    other = read_cohort(save(fewer, tmp_path / "o.csv"), schema=cohort.schema)
    expected = cohort.visits[
        cohort.visits["session"].isin(["W1", "W2"]) & cohort.visits["subject"].isin(other.subjects)
    ]
    pd.testing.assert_frame_equal(other.visits, expected.reset_index(drop=True))
    with pytest.raises(CohortError, match="Missing: Thickness"):
        read_cohort(save(fewer.filter(regex="^(?!Thick)"), tmp_path / "p.csv"), schema=cohort.schema)


def test_wide_with_months_in_the_names_needs_no_other_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": [f"P{s}" for s in range(12)]})
    for wave in ("bl", "m06", "m24"):
        table[f"Hippocampus_{wave}"] = rng.normal(3500, 200, 12)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.visits["time"].iloc[:3].tolist() == [0, 0.5, 2]


@pytest.mark.skipif(not DATA.exists(), reason="the public tables are not here")
def test_dlbs_as_downloaded() -> None:
    path = DATA / "dlbs" / "participants.tsv"
    alone = read_cohort(path)
    assert alone.schema.time == "AgeCog"
    choice = next(finding for finding in alone.findings if finding.code == "several-times")
    assert choice.severity == "warning" and choice.message.endswith("choose another with --time AgeMRI.")
    cohort = read_cohort(path, time="AgeMRI", missing="impute")
    assert cohort.regions == ["Height", "Weight", "BMI", "MMSE"]
    assert set(cohort.covariates) == {"Sex", "Race", "Ethnicity", "EduYrsEstCap", "EduComp", "HandednessScore"}
    assert len(cohort.subjects) == 464
    assert cohort.visits.groupby("subject").size().max() == 3
    one = cohort.visits[cohort.visits["subject"] == "sub-1003"]
    assert one["time"].tolist() == pytest.approx([0, 3.92, 8.92])


@pytest.mark.skipif(not DATA.exists(), reason="the public tables are not here")
def test_leaspy_table_is_ages_and_seven_measures() -> None:
    cohort = read_cohort(DATA / "leaspy" / "alzheimer.csv")
    assert (len(cohort.subjects), len(cohort), len(cohort.regions)) == (200, 1975, 7)
    assert (cohort.schema.subject, cohort.schema.time, cohort.schema.time_kind) == ("ID", "TIME", "age")


@pytest.mark.parametrize(("label", "first"), [("_ses02", "ses01"), ("_W2", "W1"), (".t2", "t1")])
def test_the_first_wave_may_have_no_label(tmp_path: Path, label: str, first: str) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"participant_id": [f"sub-{k:02d}" for k in range(12)], "age": 60 + np.arange(12)})
    table[f"age{label}"] = table["age"] + 2 + np.arange(12) % 2
    table["Hippocampus"] = rng.normal(3500, 100, 12).round(1)
    table[f"Hippocampus{label}"] = (table["Hippocampus"] - 50).round(1)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert (len(cohort), cohort.regions, cohort.schema.time) == (24, ["Hippocampus"], "age")
    assert cohort.visits["session"].unique().tolist() == [first, label[1:]]
    assert cohort.visits.groupby("subject")["time"].max().isin([2.0, 3.0]).all()
