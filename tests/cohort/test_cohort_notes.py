"""Findings about files, layouts and times that no other test provokes."""

from pathlib import Path

import numpy as np
import pandas as pd
import portal_tables
import pytest
from simulated_tables import adnimerge, plain, save, tadpole

from crow.cohort import read_cohort


def codes(path: Path | list[Path], **flags: object) -> set[str]:
    return {finding.code for finding in read_cohort(path, strict=False, **flags).findings}


def with_dates(form: str, days: list[int] | None = None) -> pd.DataFrame:
    """Three visits per subject, 400 days apart, in a format; no age."""
    table = plain(subjects=12).drop(columns="age")
    start = pd.Timestamp(2012, 3, 4)
    times = [start + pd.Timedelta(days=400 * (k % 3) + (days or [0] * 36)[k]) for k in range(36)]
    return table.assign(date=[time.strftime(form) for time in times])


def test_a_row_with_fewer_cells(tmp_path: Path) -> None:
    path = save(plain(), tmp_path / "t.csv")
    path.write_text(path.read_text().rstrip("\n").rsplit(",", 1)[0] + "\n")
    assert "short-row" in codes(path)


@pytest.mark.parametrize(("make", "code"), [(adnimerge, "layout"), (tadpole, "pet-regions")])
def test_known_downloads(tmp_path: Path, make: object, code: str) -> None:
    assert code in codes(save(make(), tmp_path / "t.csv"))  # type: ignore[operator]


def test_a_table_without_an_age(tmp_path: Path) -> None:
    assert "no-age" in codes(save(with_dates("%Y-%m-%d"), tmp_path / "t.csv"))


def test_dates_whose_order_cannot_be_known_or_contradicts_itself(tmp_path: Path) -> None:
    table = with_dates("%m/%d/%Y")
    table["date"] = [f"0{1 + k % 3}/0{1 + k % 7}/{2012 + k % 3}" for k in range(36)]
    assert "date-order" in codes(save(table, tmp_path / "t.csv"))
    table["date"] = [f"0{1 + k % 3}/{13 + k % 7}/{2012 + k % 3}" for k in range(36)]
    table.loc[35, "date"] = "25/01/2014"
    assert "mixed-date-order" in codes(save(table, tmp_path / "t.csv"))


def test_years_of_two_digits(tmp_path: Path) -> None:
    assert "two-digit-year" in codes(save(with_dates("%d.%m.%y", list(range(36))), tmp_path / "t.csv"))


def test_an_age_by_its_growth(tmp_path: Path) -> None:
    table = with_dates("%Y-%m-%d")
    table["Lebenszeit"] = np.round(70 + np.arange(36) // 3 + 400 / 365.25 * (np.arange(36) % 3), 2)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.schema.age == "Lebenszeit"
    assert "age-by-growth" in {finding.code for finding in cohort.findings}


def test_codes_and_split_dates_of_nacc(tmp_path: Path) -> None:
    found = codes(save(portal_tables.nacc(), tmp_path / "t.csv"))
    assert {"study-code", "split-date"} <= found


def test_instances_of_uk_biobank(tmp_path: Path) -> None:
    assert "instances" in codes(save(portal_tables.ukb(), tmp_path / "t.csv"))


def test_a_description_beside_the_table(tmp_path: Path) -> None:
    table = plain()
    table["age"] = [f"{12 * float(age):.1f}" for age in table["age"]]
    (tmp_path / "t.json").write_text('{"age": {"Units": "months"}}')
    assert "sidecar" in codes(save(table, tmp_path / "t.csv"))


def test_a_row_that_joins_to_two_visits_and_an_age_of_another_day(tmp_path: Path) -> None:
    scans = with_dates("%Y-%m-%d")
    scans.loc[scans.index % 3 == 1, "date"] = "2012-03-14"
    clinic = scans[scans.index % 3 != 1][["subject", "date"]]
    clinic = clinic.assign(
        age=[f"{70 + k % 2 * 2.2:.1f}" for k in range(24)], MMSE=[str(25 + k % 5) for k in range(24)]
    )
    clinic["date"] = (pd.to_datetime(clinic["date"]) + pd.Timedelta(days=3)).dt.strftime("%Y-%m-%d")
    paths = [save(scans, tmp_path / "scans.csv"), save(clinic, tmp_path / "clinic.csv")]
    assert {"shared-row", "join-age"} <= codes(paths, within="60d")


def test_tables_of_a_tree_that_name_other_waves_rows_twice_and_sessions_without_scans(tmp_path: Path) -> None:
    subjects = [f"sub-{k:02d}" for k in range(12)]
    for subject in subjects:
        for session in ("one", "two"):
            anat = tmp_path / subject / f"ses-{session}" / "anat"
            anat.mkdir(parents=True)
            (anat / f"{subject}_ses-{session}_T1w.nii.gz").touch()
    rows = [(subject, f"ses-{s}", str(60 + k)) for subject in subjects for k, s in enumerate(("one", "two", "three"))]
    sessions = pd.DataFrame([*rows, rows[0]], columns=["participant_id", "session_id", "age"])
    sessions.to_csv(tmp_path / "sessions.tsv", sep="\t", index=False)
    wide = {f"MMSE_W{w}": [str(28 + k % w) for k in range(12)] for w in (1, 2)}
    pd.DataFrame({"participant_id": subjects, **wide}).to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    assert {"waves", "repeated-row", "session-without-scan"} <= codes(tmp_path)
