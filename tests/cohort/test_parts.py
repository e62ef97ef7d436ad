"""Large tables in parts: every row is in one part, with its line, and all rows of a subject are together."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crow.cohort import parts, read_cohort
from crow.cohort.findings import Findings
from crow.cohort.parts import in_parts
from crow.errors import CohortError
from crow.simulate import simulate_adni


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of some KiB are large."""
    monkeypatch.setattr(parts, "LARGE_BYTES", 1000)
    monkeypatch.setattr(parts, "PART_BYTES", 4000)


def table() -> pd.DataFrame:
    """Visits of 30 subjects, in no order."""
    return simulate_adni(30, 4, seed=2).table.sample(frac=1, random_state=0)


def written(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet"])
def test_parts_give_the_visits_of_the_whole_table(tmp_path: Path, name: str) -> None:
    path = written(table(), tmp_path / name)
    whole = read_cohort(path)
    with in_parts(path, whole.schema, tmp_path, Findings()) as found:
        assert len(found) > 2
        cohorts = [read_cohort(part, schema=whole.schema) for part in found]
    visits = pd.concat([cohort.visits for cohort in cohorts])
    pd.testing.assert_frame_equal(visits.reset_index(drop=True), whole.visits.reset_index(drop=True))
    assert not list(tmp_path.glob(".crow-parts*"))


@pytest.mark.usefixtures("small_parts")
def test_lines_and_writings_are_those_of_the_file(tmp_path: Path) -> None:
    frame = table()
    frame["RID"] = frame["RID"].astype(str)
    frame.iloc[7, frame.columns.get_loc("RID")] = "0" + frame["RID"].iloc[7]
    frame["Hippocampus"] = frame["Hippocampus"].astype(object)
    frame.iloc[3, frame.columns.get_loc("Hippocampus")] = "unread"
    path = written(table(), tmp_path / "t.csv")
    schema = read_cohort(path).schema
    written(frame, path)
    with in_parts(path, schema, tmp_path, Findings()) as found:
        subjects = [set(part.table().column("RID").str.lstrip("0")) for part in found]
        with pytest.raises(CohortError, match=r"t\.csv, line 5, column Hippocampus: found 'unread'"):
            for part in found:
                read_cohort(part, schema=schema)
    assert sum(map(len, subjects)) == frame["RID"].str.lstrip("0").nunique() == len(set.union(*subjects))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("row", "message"), [("1,2" + ",3" * 40, "line 90: 42 cells"), ('1,"2', "line 90: a quote")]
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, row: str, message: str) -> None:
    frame = table().iloc[:88]
    path = written(frame, tmp_path / "t.csv")
    schema = read_cohort(path).schema
    with path.open("a") as file:
        file.write(row + "\n" + ("x" * 200_000 if '"' in row else ""))
    with pytest.raises(CohortError, match=message), in_parts(path, schema, tmp_path, Findings()):
        pass


@pytest.mark.usefixtures("small_parts")
def test_windows_text_and_title_rows(tmp_path: Path) -> None:
    frame = table()
    frame["PTGENDER"] = frame["PTGENDER"].map({"Male": "männlich", "Female": "weiblich"})
    path = tmp_path / "t.csv"
    path.write_bytes(("A study\n\n" + frame.to_csv(index=False, sep=";")).encode("cp1252"))
    whole, findings = read_cohort(path), Findings()
    with in_parts(path, whole.schema, tmp_path, findings) as found:
        visits = pd.concat([read_cohort(part, schema=whole.schema).visits for part in found])
    assert {finding.code for finding in findings} == {"encoding", "title-rows"}
    assert set(visits["PTGENDER"]) == {"männlich", "weiblich"}
    np.testing.assert_array_equal(visits["Hippocampus"], whole.visits["Hippocampus"])


def test_small_tables_are_read_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(table().to_csv(index=False).encode()))
    with in_parts(path, read_cohort(path).schema, tmp_path, Findings()) as found:
        assert found == []
