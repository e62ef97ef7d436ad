"""Preparing into an existing store: continued, used, or updated."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_scans import cohort, head, save

from crow.errors import CohortError, OutputError
from crow.pipelines.prepare import Prepared, prepare
from crow.scans.store import DONE, PENDING, ScanStore


def run(table: Path, out: Path, **settings: object) -> Prepared:
    return prepare(table, out, resolution=8.0, registration="none", jobs=1, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("cohort"))


def test_an_interrupted_preparation_continues(table: Path, tmp_path: Path) -> None:
    done = run(table, tmp_path / "store").store
    whole = done.array("intensity")[:]
    facts = json.loads((done.path / "store.json").read_text())
    (done.path / "store.json").write_text(json.dumps({**facts, "finished": False}))
    done.array("status")[2:] = PENDING
    done.array("intensity")[:] = 0
    with pytest.raises(CohortError, match="its preparation was interrupted"):
        ScanStore.open(done.path)
    with pytest.raises(OutputError, match="prepared with other settings or visits"):
        run(table, done.path, modality="T2w")
    messages: list[str] = []
    again = run(table, done.path, echo=messages.append).store
    assert "2 of 4 scans are already prepared" in messages[0]
    np.testing.assert_array_equal(again.array("status")[:], DONE)
    assert (again.array("intensity")[:2] == 0).all()
    np.testing.assert_array_equal(again.array("intensity")[2:], whole[2:])


def test_a_finished_store_is_used_by_the_same_command_and_not_overwritten_by_another(
    table: Path, tmp_path: Path
) -> None:
    run(table, tmp_path / "store")
    messages: list[str] = []
    run(table, tmp_path / "store", echo=messages.append)
    assert messages == [f"{tmp_path / 'store'}: all 4 scans are already prepared."]
    with pytest.raises(OutputError, match="--overwrite"):
        run(table, tmp_path / "store", modality="T2w")
    assert run(table, tmp_path / "store", modality="T2w", overwrite=True).store.info.modality == "T2w"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("x")
    with pytest.raises(OutputError, match="replaces only earlier results"):
        run(table, tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "precious.txt").exists()


def test_other_covariates_replace_those_in_the_store_and_its_scans_stay(tmp_path: Path) -> None:
    table, out = cohort(tmp_path), tmp_path / "store"
    before = run(table, out).store
    intensity = before.array("intensity")[:]
    rows = pd.read_csv(table)
    rows.assign(sex=["F", "F", "M", "M"], center=["a", "a", "b", "b"]).to_csv(table, index=False)
    messages: list[str] = []
    store = run(table, out, echo=messages.append).store
    assert "covariates, regions or ages of the cohort have changed; they are replaced" in messages[0]
    assert "all 4 scans are already prepared" in messages[1]
    again = ScanStore.open(out).cohort()
    assert list(again.visits["sex"]) == ["F", "F", "M", "M"]
    assert list(again.visits["center"]) == ["a", "a", "b", "b"]
    assert store.info.finished
    np.testing.assert_array_equal(store.array("intensity")[:], intensity)
    rows.assign(age=rows["age"] * 1.1).to_csv(table, index=False)
    with pytest.raises(OutputError, match="other settings or visits"):
        run(table, out)


def test_an_interrupted_update_is_completed(table: Path, tmp_path: Path) -> None:
    store = run(table, tmp_path / "store").store
    covariates = {**store.info.cohort_schema.covariates, "center": "categorical"}
    store.invalidate({"cohort_schema": store.info.cohort_schema.model_copy(update={"covariates": covariates})})
    assert list(run(table, tmp_path / "store").store.info.cohort_schema.covariates) == ["sex"]


def test_a_file_that_changed_is_prepared_again(tmp_path: Path) -> None:
    table, out = cohort(tmp_path), tmp_path / "store"
    paths = [tmp_path / scan for scan in pd.read_csv(table)["scan"]]
    whole = paths[2].read_bytes()
    paths[2].write_bytes(b"no scan")
    before = run(table, out)
    assert before.failed == 1
    gain = before.store.array("scale")[:, 0]
    paths[2].write_bytes(whole)
    save(paths[1], head(seed=1, gain=1000.0))
    messages: list[str] = []
    done = run(table, out, echo=messages.append)
    assert messages[0] == "2 scan files have changed; their subjects are prepared again."
    assert done.failed == 0
    assert done.store.info.finished
    now = done.store.array("scale")[:, 0]
    assert now[1] == pytest.approx(2 * gain[1], rel=0.05)
    assert now[0] == gain[0]
    messages.clear()
    run(table, out, echo=messages.append)
    assert "all 4 scans are already prepared" in messages[0]
