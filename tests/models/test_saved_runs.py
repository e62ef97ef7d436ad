"""One saved run of every kind of model, tied to the format version: a change of the format cannot go unnoticed.

After a deliberate change raise `crow.run.folder.FORMAT_VERSION` and write them again:

    python tests/models/test_saved_runs.py
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import zarr

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from model_cases import ModelCase, model_cases

import crow
from crow.errors import RunError
from crow.models.registry import MODELS, model_class
from crow.pipelines.share import share
from crow.run.folder import FORMAT_VERSION

RUNS = Path(__file__).parents[1] / "data" / f"runs-v{FORMAT_VERSION}"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelCase]:
    torch.set_num_threads(1)
    return model_cases(tmp_path_factory.mktemp("cases"))


def numbers(answer: pd.DataFrame | np.ndarray[Any, Any]) -> list[float]:
    """Some figures of an answer that depend on all of it."""
    values = answer.select_dtypes("number").to_numpy(float) if isinstance(answer, pd.DataFrame) else answer
    values = np.nan_to_num(np.asarray(values, float)).ravel()
    return [float(values.sum()), float(np.abs(values).sum()), float(values[:: max(1, len(values) // 7)].sum())]


@pytest.mark.parametrize("kind", list(MODELS))
def test_a_saved_run_answers_as_it_did(cases: dict[str, ModelCase], kind: str) -> None:
    model = crow.load(RUNS / kind)
    assert type(model) is model_class(kind)
    expected = json.loads((RUNS / kind / "answer.json").read_text())
    np.testing.assert_allclose(numbers(cases[kind].ask(model)), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", ["scans", "voxels", "enhance", "segment", "translate"])
def test_a_shared_run_answers_as_it_did_and_names_no_subject(
    cases: dict[str, ModelCase], kind: str, tmp_path: Path
) -> None:
    data = cases[kind].data
    if kind == "translate":
        data.visits.drop(columns=["session", "time"]).to_csv(tmp_path / "cohort.csv", index=False)
    training = tmp_path / "cohort.csv" if kind == "translate" else data.path
    names = (data if kind == "translate" else data.cohort()).subjects
    share(RUNS / kind, tmp_path / "model.zip", cohort=training, licence="CC0", min_count=4)
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        archive.extractall(tmp_path / "shared")
    text = "".join(path.read_text() for path in (tmp_path / "shared").iterdir() if path.suffix != ".safetensors")
    assert "Model card" in text and "Data sheet" in text and str(tmp_path) not in text
    assert not [name for name in names if re.search(rf"(?<![\w.]){name}(?!\w)", text) and not name.isdecimal()]
    model = crow.load(tmp_path / "shared")
    expected = json.loads((RUNS / kind / "answer.json").read_text())
    if kind != "segment":
        np.testing.assert_allclose(numbers(cases[kind].ask(model)), expected, rtol=1e-2, atol=1e-2)
        return
    own, shared = (crow.load(folder).extra for folder in (RUNS / kind, tmp_path / "shared"))
    rare = own["prior"] < 4 / len(names)
    assert rare.any() and not shared["prior"][rare].any() and torch.equal(shared["prior"][~rare], own["prior"][~rare])
    assert not (shared["region"] & ~own["region"]).any() and cases[kind].ask(model).shape[-3:] == data.info.grid.shape


def test_a_mode_of_one_subject_is_not_shared(cases: dict[str, ModelCase], tmp_path: Path) -> None:
    shutil.copytree(cases["scans"].data.path, tmp_path / "store")
    arrays = zarr.open_group(tmp_path / "store" / "arrays.zarr")
    arrays["intensity"][0] = np.asarray(arrays["intensity"][0]) * 50  # type: ignore[index]
    with pytest.raises(RunError, match=r"mode_0\d: one subject has \d+% of its variance"):
        share(RUNS / "scans", tmp_path / "model.zip", cohort=tmp_path / "store", min_count=4)
    assert not (tmp_path / "model.zip").exists()


def test_an_older_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    shutil.copytree(RUNS / "regions", tmp_path / "run")
    text = (tmp_path / "run" / "model.json").read_text()
    old = text.replace(f'"format_version": {FORMAT_VERSION}', f'"format_version": {FORMAT_VERSION - 1}')
    (tmp_path / "run" / "model.json").write_text(old)
    with pytest.raises(RunError, match=f"run format {FORMAT_VERSION - 1}.*Train again"):
        crow.load(tmp_path / "run")


def write_runs() -> None:
    """Train every case and keep its run with its answer."""
    torch.set_num_threads(1)
    shutil.rmtree(RUNS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind, case in model_cases(Path(folder)).items():
            model = case.fit(case.model(kind, seed=1))
            model.source = {}  # no path of this machine
            model.save(RUNS / kind)
            (RUNS / kind / "answer.json").write_text(json.dumps(numbers(case.ask(model))) + "\n")


if __name__ == "__main__":
    write_runs()
