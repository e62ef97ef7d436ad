"""A store returns what was written, one piece at a time, and reports damage."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crow.cohort import Cohort, Finding, Schema
from crow.errors import CohortError, OutputError
from crow.scans.grid import Grid
from crow.scans.store import DONE, FAILED, ScanStore, StoreInfo

GRID = Grid.of((5, 6, 4), np.diag([2.0, 2, 2, 1]))
SCHEMA = Schema(
    layout="plain", subject="id", time="when", time_kind="date", age="age", covariates={"code": "categorical"}, scan="f"
)
MASK = np.zeros(GRID.shape, bool)
MASK[1:4, 1:5, 1:3] = True


def create(path: Path, overwrite: bool = False, **changes: object) -> ScanStore:
    visits = pd.DataFrame({
        "subject": ["01", "01", "02", "02"], "session": ["", "m12", "", "x"], "time": [0.0, 1.0, 0.0, 2.0],
        "age": [70.0, 71.0, 60.0, 62.0], "code": ["1", None, "2", "2"], "scan": [f"/a/{k}.nii" for k in range(4)],
    })  # fmt: skip
    start = pd.Series({"01": pd.Timestamp(2010, 1, 1), "02": pd.Timestamp(2012, 1, 1)})
    info = StoreInfo(modality="T1w", space="MNI", grid=GRID, cohort_schema=SCHEMA, **changes)  # type: ignore[arg-type]
    return ScanStore.create(path, info, Cohort(visits, SCHEMA, start), np.ones(GRID.shape, np.float32), MASK, overwrite)


@pytest.fixture
def store(tmp_path: Path) -> ScanStore:
    store = create(tmp_path / "store")
    for row in range(4):
        store.array("intensity")[row] = np.full(GRID.shape, row, np.float32)
    store.array("status")[:] = [FAILED, DONE, DONE, DONE]
    store.finish([Finding("scan-failed", "warning", "é", rows=(3,))])
    return store


def test_round_trip(store: ScanStore) -> None:
    again = ScanStore.open(store.path)
    assert list(again.rows) == [1, 2, 3]
    assert list(again.visits["subject"]) == ["01", "01", "02", "02"]
    assert list(again.visits["session"]) == ["", "m12", "", "x"]
    assert again.visits["code"].tolist() == ["1", None, "2", "2"]
    assert again.findings == [Finding("scan-failed", "warning", "é", rows=(3,))]
    np.testing.assert_array_equal(again.mask, MASK)
    np.testing.assert_array_equal(again.masked(np.array([3, 1])), np.stack([np.full(MASK.sum(), k) for k in (3, 1)]))
    assert [list(part) for part in again.chunks(again.rows, 2)] == [[1, 2], [3]]
    assert again.subjects == ["01", "02"]
    assert "3 T1w scans" in repr(again)


def test_times_start_at_the_first_prepared_visit(store: ScanStore) -> None:
    cohort = ScanStore.open(store.path).cohort()
    assert list(cohort.visits.index) == [1, 2, 3]
    assert list(cohort.visits["time"]) == [0.0, 0.0, 2.0]
    assert cohort.start["01"] == pd.Timestamp(2011, 1, 1)
    assert cohort.start["02"] == pd.Timestamp(2012, 1, 1)


def test_a_subset_has_its_rows_only(store: ScanStore) -> None:
    assert list(store.subset(np.array([0, 3])).rows) == [3]


def test_fields_have_their_own_grid(tmp_path: Path) -> None:
    coarse = GRID.coarser(4.0)
    store = create(tmp_path / "store", velocity_grid=coarse)
    assert store.array("velocity").shape == (4, 3, *coarse.shape)
    assert store.array("anatomy").shape == (2, 3, *coarse.shape)


def test_an_unfinished_store_is_refused(tmp_path: Path) -> None:
    create(tmp_path / "store")
    with pytest.raises(CohortError, match="Run the same crow prepare command again to continue"):
        ScanStore.open(tmp_path / "store")
    assert len(ScanStore.open(tmp_path / "store", unfinished=True).rows) == 0


def test_absent_damaged_and_newer_stores_are_refused(store: ScanStore, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="not a scan store"):
        ScanStore.open(tmp_path)
    facts = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps({**facts, "format_version": 99}))
    with pytest.raises(CohortError, match="format 99 is newer"):
        ScanStore.open(store.path)
    (store.path / "store.json").write_text("{")
    with pytest.raises(CohortError, match="damaged"):
        ScanStore.open(store.path)
    (store.path / "store.json").write_text(json.dumps(facts))
    (store.path / "mask.nii.gz").unlink()
    with pytest.raises(CohortError, match=r"mask\.nii\.gz missing"):
        ScanStore.open(store.path)


def test_only_stores_are_replaced_and_only_with_overwrite(store: ScanStore, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        create(store.path)
    assert len(create(store.path, overwrite=True).rows) == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("x")
    with pytest.raises(OutputError, match="replaces only earlier results"):
        create(tmp_path / "other", overwrite=True)


def test_families_are_kept(tmp_path: Path) -> None:
    alone = create(tmp_path / "store")
    alone.array("status")[:] = DONE
    plain = alone.cohort()
    assert plain.groups.empty
    alone = alone.update_cohort(replace(plain, groups=pd.Series({"01": "F1", "02": "F1"})))
    alone.finish([])
    again = ScanStore.open(alone.path).cohort()
    assert again.split_names(again.subjects) == ["F1", "F1"]
    assert list(again.visits.columns) == ["subject", "session", "time", "age", "code", "scan"]
    assert ScanStore.open(alone.path).matches(again) and not alone.matches(plain)
