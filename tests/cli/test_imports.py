"""Which heavy packages a command does not import: they are most of its time on a small table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crow.simulate import simulate_adni

RUN_CROW = """
import json, sys
from crow.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)))
"""
QUICK = ["--set", "model.members=2", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"]


def imported(*words: object) -> set[str]:
    """Modules after a command in a process of its own."""
    command = [sys.executable, "-c", RUN_CROW, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    simulate_adni(30, 4, seed=1).table.to_csv(folder / "cohort.csv", index=False)
    return folder


def test_check_reads_a_table_without_torch_figures_and_settings(folder: Path) -> None:
    found = imported("check", folder / "cohort.csv")
    assert "pandas" in found
    assert not found & {"torch", "matplotlib", "lightning", "scipy", "nibabel", "crow.run.config"}


def test_train_needs_no_lightning_and_generate_no_figures(folder: Path) -> None:
    found = imported("train", "--cohort", folder / "cohort.csv", "--out", folder / "run", *QUICK)
    assert "torch" in found
    assert not found & {"lightning", "monai", "nibabel", "sklearn"}
    words = ["generate", "--run", folder / "run", "--subject", "9002", "--at", "1", "--out", folder / "forecast.csv"]
    found = imported(*words)
    assert "torch" in found
    unused = {"lightning", "matplotlib", "tensorboard", "scipy", "sklearn", "nibabel", "torchdiffeq", "joblib"}
    assert not found & unused
