"""Many subjects, some at a time: the result does not depend on the number of processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run

from crow.cohort import parts
from crow.pipelines import forecast_parts, new_subjects
from crow.pipelines.score import score


def scored(trained: Path, folder: Path, *more: str) -> Path:
    """The table of scores of the training cohort."""
    out = folder / "scores.csv"
    words = ["--cohort", str(trained / "cohort.csv"), "--out", str(out), "--draws", "200", "--overwrite"]
    run("score", "--run", str(trained / "run"), *words, *more)
    return out


def test_parts_score_as_the_whole_and_any_number_of_processes_writes_the_same(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pd.read_csv(scored(trained, tmp_path), dtype={"subject": str})
    whole_subjects = pd.read_csv(tmp_path / "scores_subjects.csv")
    monkeypatch.setattr(parts, "LARGE_BYTES", 1000)
    monkeypatch.setattr(parts, "PART_BYTES", 4000)
    alone = scored(trained, tmp_path, "--jobs", "1").read_bytes()
    found = pd.read_csv(tmp_path / "scores.csv", dtype={"subject": str})
    pd.testing.assert_frame_equal(found.iloc[:, :3], whole.iloc[:, :3])
    np.testing.assert_allclose(found["log_prob"], whole["log_prob"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["outlier_score"], whole["outlier_score"], atol=1e-3)
    assert np.nanmax(abs(found.filter(regex="_z$") - whole.filter(regex="_z$")).to_numpy()) < 0.8  # other draws
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores_subjects.csv"), whole_subjects, rtol=1e-5)
    assert scored(trained, tmp_path, "--jobs", "2").read_bytes() == alone
    assert not list(tmp_path.glob(".crow*"))


def test_findings_of_a_file_are_those_of_its_parts(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("A study\n\n" + (trained / "cohort.csv").read_text())
    whole = score(trained / "run", path, tmp_path / "whole.csv", draws=2)
    monkeypatch.setattr(parts, "LARGE_BYTES", 1000)
    monkeypatch.setattr(parts, "PART_BYTES", 4000)
    found = score(trained / "run", path, tmp_path / "parts.csv", draws=2, jobs=1)
    assert "title-rows" in {finding.code for finding in found.findings}
    assert set(map(str, found.findings)) == set(map(str, whole.findings))


@pytest.mark.parametrize("more", [(), ("--covariates-of-subjects",)])
def test_new_subjects_are_the_same_from_any_number_of_processes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setattr(new_subjects, "CHUNK", 5)
    tables = []
    for jobs in ("1", "2"):
        words = ("--new-subjects", "41", "--out", tmp_path / f"{jobs}.csv", "--jobs", jobs)
        run("generate", "--run", trained / "run", *words, *more)
        tables.append((tmp_path / f"{jobs}.csv").read_bytes())
    assert tables[0] == tables[1]
    assert pd.read_csv(tmp_path / "1.csv")["RID"].nunique() == 41


@pytest.mark.parametrize("path", [(), ("--path",)])
def test_forecasts_are_the_same_from_any_number_of_processes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    subjects = sorted(pd.read_csv(trained / "cohort.csv", dtype=str)["RID"].unique())[:7]
    words = [*(word for name in reversed(subjects) for word in ("--subject", name)), "--at", "1,3", "--draws", "500"]

    def forecast(name: str, *more: str) -> bytes:
        out = tmp_path / name
        run("generate", "--run", str(trained / "run"), *words, *path, *more, "--out", str(out))
        return out.read_bytes()

    forecast("whole.csv")
    monkeypatch.setattr(forecast_parts, "SUBJECTS", 3)
    assert forecast("one.csv", "--jobs", "1") == forecast("two.csv", "--jobs", "2")
    whole, parts = (pd.read_csv(tmp_path / name, dtype={"RID": str}) for name in ("whole.csv", "one.csv"))
    assert list(whole.columns) == list(parts.columns) and len(whole) == 14
    numbers = whole.filter(regex="_mean$").columns
    pd.testing.assert_frame_equal(whole.drop(columns=whole.filter(regex="_(mean|median|sd|q..)$").columns),
                                  parts.drop(columns=parts.filter(regex="_(mean|median|sd|q..)$").columns))  # fmt: skip
    errors = (whole[numbers] - parts[numbers]) / whole[[f"{name[:-5]}_sd" for name in numbers]].to_numpy()
    assert 0 < np.abs(errors.to_numpy()).max() < 0.3  # other draws
