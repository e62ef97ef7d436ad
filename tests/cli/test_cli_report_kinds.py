"""`crow report` of runs of scans, with the published objective, and of cross-sectional runs."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from browser import opened, wait_for
from commands import done, refused
from PIL import Image
from small_stores import ball, make_store, with_files

from crow.scans.store import ScanStore
from crow.simulate import simulate_wide

QUICK = ["--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def scans_on_disk(store: ScanStore) -> None:
    """Write the file of every scan of a store, in its own units."""
    visits = pd.read_csv(store.path / "visits.csv", dtype={"subject": str, "session": str})
    for row, name in enumerate(visits["scan"]):
        (store.path / name).parent.mkdir(exist_ok=True)
        values = 100 * np.asarray(store.array("intensity")[row])
        nib.save(nib.Nifti1Image(values, store.info.grid.matrix), store.path / name)
    visits["scan"] = [str(store.path / name) for name in visits["scan"]]
    visits.to_csv(store.path / "visits.csv", index=False)


def evaluate_scans(folder: Path, subject: str) -> None:
    """Write an evaluation with pictures and volumes of one visit."""
    (folder / "scans").mkdir(parents=True)
    scores = {"MAE": 0.0412, "coverage 90 %": 0.9034}
    models = {"crow": scores, "last scan": {**scores, "MAE": 0.0533}}
    (folder / "metrics.json").write_text(json.dumps({"format": 1, "scans": {"forecast": models, "folded voxels": 0}}))
    row = {"subject": subject, "session": "3", "which": "median", "years": 1.0, "stem": "scans/one", "volumes": True}
    pd.DataFrame([row]).to_csv(folder / "scan_pictures.csv", index=False)
    for name in ("last", "real", "synthetic", "change_real", "change_synthetic"):
        Image.new("RGB", (300, 100), (40, 40, 40)).save(folder / "scans" / f"one_{name}.png")
    volume = np.random.default_rng(0).normal(size=(11, 14, 9)).astype(np.float32)
    for name in ("last", "change_synthetic"):
        nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2, 2, 1])), folder / "scans" / f"one_{name}.nii.gz")


def test_scans_are_compared_with_sliders_and_viewers(tmp_path: Path) -> None:
    scans_on_disk(with_files(make_store(tmp_path / "store", ball())))
    run = tmp_path / "run"
    done(["train", "--cohort", tmp_path / "store", "--out", run, "--set", "model.members=1",
          "--set", "scans.components=2", *QUICK])  # fmt: skip
    evaluate_scans(run.with_name("run_evaluation"), "<i>s01</i>")
    done(["report", "--run", run, "--subject", "s02", "--draws", "20"])
    with opened(run.with_name("run_report.html")) as (shown, seen):
        page, scans = shown.inner_text("body"), shown.inner_text("#scans")
        assert "scans (T1w) as subspace" in page and "T1w scans as subspace" in page
        assert "its spatial scale" in page and "Coefficients of scans (" in page and "as None" not in page
        assert "<i>s01</i> 3, 1.0 years after the last scan (median forecast)." in scans
        assert "s02, 2 years after the last scan" in scans and "90.3 %" in scans
        assert len(shown.query_selector_all("#scans input[type=range]")) == 2
        assert len(shown.query_selector_all("#scans input[type=radio]")) == 3
        frames = shown.query_selector_all("iframe")
        assert len(frames) == 2
        for frame in frames:
            frame.scroll_into_view_if_needed()
            wait_for(frame.content_frame(), "document.querySelector('canvas').width > 300")
    assert (seen.requests, seen.errors) == ([], [])


def test_the_published_objective_has_no_forecasts(tmp_path: Path) -> None:
    simulate_wide(12, 3, 2, 0).table.to_csv(tmp_path / "cohort.csv", index=False)
    run = tmp_path / "run"
    done(["train", "--cohort", tmp_path / "cohort.csv", "--out", run, "--set", "model.objective=inn", *QUICK])
    done(["report", "--run", run])
    text = run.with_name("run_report.html").read_text(encoding="utf-8")
    assert "uses no history and has no likelihood" in text and "published objective (inn)" in text
    assert 'id="forecasts"' not in text and 'id="likelihoods"' not in text


def test_a_cross_sectional_run_shows_its_training_and_refuses_other_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate_wide(16, 3, 3, 0).table.to_csv(tmp_path / "cohort.csv", index=False)
    run = tmp_path / "run"
    done(["synthesize", "--cohort", tmp_path / "cohort.csv", "--condition", "age", "--out", run, *QUICK])
    assert "Leave --cohort" in refused(capsys, "report", "--run", run, "--subject", "a")
    Image.new("RGB", (30, 10)).save(run / "<b>.png")
    done(["report", "--run", run])
    text = run.with_name("run_report.html").read_text(encoding="utf-8")
    assert "Glow: generative flow" in text and "Figure &lt;b&gt;.png of the run." in text
    assert 'data-metric="validation_loss"' in text and 'id="forecasts"' not in text
