"""A column of NIfTI paths makes a cohort one of scans."""

from pathlib import Path

import pandas as pd
import pytest
from simulated_tables import plain, save

from crow.cohort import Cohort, Finding, Schema, read_cohort
from crow.cohort.writing import table_text, to_table
from crow.errors import CohortError

OPEN_MS = Path(__file__).parents[3] / "shared" / "data" / "open_ms" / "raw" / "patient01"


def with_files(folder: Path, table: pd.DataFrame | None = None, column: str = "scan") -> pd.DataFrame:
    """The plain table with a scan a row, ``img/S00_0_T1w.nii.gz``, and the (empty) files."""
    table = plain() if table is None else table
    visit = table.groupby("subject").cumcount().astype(str)
    table[column] = "img/" + table["subject"] + "_" + visit + "_T1w.nii.gz"
    (folder / "img").mkdir(exist_ok=True)
    for path in table[column]:
        (folder / path).touch()
    return table


def found(cohort: Cohort, code: str) -> Finding:
    return next(finding for finding in cohort.findings if finding.code == code)


def test_a_scan_a_visit(tmp_path: Path) -> None:
    table = with_files(tmp_path).drop(columns=["Hippocampus", "Ventricles"])
    table["mmse"] = [str(30 - k % 4) for k in range(len(table))]
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.has_scans
    assert (cohort.schema.scan, cohort.modality, cohort.regions) == ("scan", "T1w", [])
    assert list(cohort.visits) == ["subject", "session", "time", "age", "sex", "education", "mmse", "scan"]
    assert cohort.visits["scan"].tolist() == [str(tmp_path / path) for path in table["scan"]]


def test_regions_stay_beside_scans_and_a_table_without_scans_has_none(tmp_path: Path) -> None:
    beside = read_cohort(save(with_files(tmp_path), tmp_path / "t.csv"))
    assert beside.regions == ["Hippocampus", "Ventricles"]
    without = read_cohort(save(plain(), tmp_path / "u.csv"))
    assert (without.has_scans, without.modality, "scan" in without.visits) == (False, None, False)
    assert "repeated measure" in str(_refusal(save(plain().drop(columns=beside.regions), tmp_path / "v.csv")))


@pytest.mark.parametrize(
    ("column", "name", "modality"),
    [("t1w", "a.nii", "T1w"), ("image_path", "x_FLAIR.nii.gz", "FLAIR"), ("filename", "sub_trc-FDG_pet.nii", "pet"),
     ("scan", "a.nii", None)],
)  # fmt: skip
def test_the_column_is_found_and_tells_the_modality(
    tmp_path: Path, column: str, name: str, modality: str | None
) -> None:
    table = plain()
    table[column] = [f"{k}/{name}" for k in range(len(table))]
    for path in table[column]:
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert (cohort.schema.scan, cohort.modality) == (column, modality)


def test_one_of_several_columns_is_named_by_a_flag(tmp_path: Path) -> None:
    table = with_files(tmp_path, with_files(tmp_path, column="t1"), column="flair")
    path = save(table, tmp_path / "t.csv")
    assert "--scan t1 or --scan flair" in str(_refusal(path))
    assert read_cohort(path, scan="flair", exclude=["t1"]).schema.scan == "flair"
    assert read_cohort(path, scan="flair").covariates == ["sex", "education"]


def test_paths_start_at_the_scan_root(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    path = save(with_files(tmp_path), tmp_path / "tables" / "t.csv")
    refused = str(_refusal(path))
    assert "line 2, column scan" in refused
    assert "img/S00_0_T1w.nii.gz is not there" in refused
    assert "--scan-root" in refused
    assert len(read_cohort(path, scan_root=tmp_path)) == 36
    assert "is no folder" in str(_refusal(path, scan_root=tmp_path / "nowhere"))


@pytest.mark.parametrize("cell", ["../elsewhere/a.nii", "img/../../a.nii.gz", "/elsewhere/a.nii"])
def test_a_path_that_leaves_the_scan_root_is_refused(tmp_path: Path, cell: str) -> None:
    table = with_files(tmp_path)
    table.loc[3, "scan"] = cell
    refused = str(_refusal(save(table, tmp_path / "t.csv"), scan_root=tmp_path))
    assert "line 5, column scan" in refused
    assert cell in refused
    assert "leaves the folder of the scans" in refused


def test_an_absolute_path_is_taken_where_no_root_is_given(tmp_path: Path) -> None:
    table = with_files(tmp_path)
    table["scan"] = [str(tmp_path / path) for path in table["scan"]]
    (tmp_path / "tables").mkdir()
    assert len(read_cohort(save(table, tmp_path / "tables" / "t.csv"))) == 36


def test_visits_without_a_usable_file_are_dropped_by_name(tmp_path: Path) -> None:
    table = with_files(tmp_path)
    table.loc[0, "scan"] = ""
    (tmp_path / table.loc[4, "scan"]).unlink()
    table.loc[7, "scan"] = table.loc[6, "scan"]
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert len(cohort) == 33
    assert found(cohort, "no-scan").rows == (2,)
    assert found(cohort, "missing-scan").rows == (6,)
    assert "S01_1_T1w" in found(cohort, "missing-scan").message
    assert found(cohort, "repeated-scan").rows == (9,)


def test_two_scans_for_one_visit_are_both_named(tmp_path: Path) -> None:
    table = with_files(tmp_path)
    (tmp_path / "img" / "again.nii.gz").touch()
    table = pd.concat([table, table.iloc[[4]].assign(scan="img/again.nii.gz")], ignore_index=True)
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    two = found(cohort, "two-scans")
    assert (len(cohort), two.severity, two.rows) == (36, "warning", (38,))
    assert "again.nii.gz" in two.message
    assert "S01_1_T1w.nii.gz" in two.message


def test_a_covariate_may_not_be_called_scan(tmp_path: Path) -> None:
    table = with_files(tmp_path, column="t1").rename(columns={"sex": "scan"})
    assert "scan has a name that crow gives" in str(_refusal(save(table, tmp_path / "t.csv"), covariates=["scan"]))


@pytest.mark.parametrize("visits", [1, 2])
def test_one_patient_is_read_for_a_forecast(tmp_path: Path, visits: int) -> None:
    table = with_files(tmp_path)
    trained = read_cohort(save(table, tmp_path / "t.csv"))
    schema = Schema.model_validate(trained.schema.model_dump())
    path = save(table[:visits], tmp_path / "patient.csv")
    assert read_cohort(path, schema=schema).visits["scan"].tolist() == trained.visits["scan"][:visits].tolist()
    alone = read_cohort(path, strict=False)
    assert (len(alone), alone.has_scans) == (visits, True)
    assert "too few" in str(_refusal(path))
    del table["scan"]
    assert "Missing: scan" in str(_refusal(save(table, tmp_path / "u.csv"), schema=schema))


def test_a_table_by_wave_has_a_scan_a_wave(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": [f"S{k}" for k in range(12)]})
    for wave in (1, 2):
        table[f"age_W{wave}"] = [f"{60 + k + 1.5 * wave:.1f}" for k in range(12)]
        table[f"scan_W{wave}"] = [f"S{k}_{wave}.nii" for k in range(12)]
        for name in table[f"scan_W{wave}"]:
            (tmp_path / name).touch()
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert (len(cohort), cohort.schema.layout) == (24, "wide")
    assert cohort.visits["scan"].iloc[1] == str(tmp_path / "S0_2.nii")
    again = _written(cohort, tmp_path / "again.csv")
    pd.testing.assert_frame_equal(read_cohort(again, schema=cohort.schema).visits, cohort.visits)


def test_written_visits_read_back(tmp_path: Path) -> None:
    cohort = read_cohort(save(with_files(tmp_path), tmp_path / "t.csv"))
    again = _written(cohort, tmp_path / "again.csv")
    pd.testing.assert_frame_equal(read_cohort(again).visits, cohort.visits)


@pytest.mark.skipif(not OPEN_MS.exists(), reason="the public scans are not here")
def test_open_ms_from_a_table(tmp_path: Path) -> None:
    scans = [str(OPEN_MS / f"study{k}_T1W.nii.gz") for k in (1, 2)]
    table = pd.DataFrame({"patient_id": ["1", "1"], "sex": ["F", "F"], "days": ["0", "203"], "scan": scans})
    cohort = read_cohort(save(table, tmp_path / "t.csv"), strict=False)
    assert cohort.visits["time"].iloc[1] == pytest.approx(203 / 365.25)
    assert cohort.modality == "T1w"


def _written(cohort: Cohort, path: Path) -> Path:
    table = to_table(cohort.visits, cohort.schema, cohort.start)
    path.write_text(table_text(table, cohort.schema), encoding="utf-8")
    return path


def _refusal(path: Path, **flags: object) -> CohortError:
    with pytest.raises(CohortError) as refused:
        read_cohort(path, **flags)  # type: ignore[arg-type]
    return refused.value
