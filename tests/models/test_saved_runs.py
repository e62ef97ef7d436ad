"""One saved run of every kind of model, tied to the format version: a change of the format cannot go unnoticed.

After a deliberate change raise `crow.run.folder.FORMAT_VERSION` and write them again:

    python tests/models/test_saved_runs.py
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from model_cases import ModelCase, model_cases

import crow
from crow.errors import RunError
from crow.models.registry import MODELS, model_class
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
