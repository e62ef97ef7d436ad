import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from crow.cohort.cohort import Finding
from crow.errors import OutputError, RunError
from crow.run.config import Config, load_config
from crow.run.folder import Run, anonymous, load_run, save_run, sha256, start_run, unfinished_config


@pytest.fixture
def run() -> Run:
    return Run(
        config=load_config(None, ["seed=5", "training.max_epochs=3"]),
        tensors={"members.0.weight": torch.arange(6.0).reshape(2, 3), "members.0.done": torch.tensor(True)},
        description={"regions": ["Hippocampus", "Ventricles"], "mean": np.array([0.1, 2.0]), "count": np.int64(7)},
        metrics={"validation": 1.25, "crps": float("nan"), "by_fold": [1.0, float("inf")]},
        log=pd.DataFrame({"member": [1, 1], "epoch": [0, 1], "train": [np.nan, 2.0], "validation": [3.0, 1.25]}),
        findings=anonymous([Finding("minus-four", "warning", "2 rows of subject S_0012", "CDRSB", (7, 9))]),
    )


@pytest.fixture
def folder(tmp_path: Path, run: Run) -> Path:
    save_run(tmp_path / "run", run)
    return tmp_path / "run"


def test_a_run_reads_back_the_same(folder: Path, run: Run) -> None:
    found = load_run(folder)
    assert found.config == run.config
    assert found.tensors.keys() == run.tensors.keys()
    for name, tensor in run.tensors.items():
        assert found.tensors[name].equal(tensor)
        assert found.tensors[name].dtype == tensor.dtype
    assert found.description == {"regions": ["Hippocampus", "Ventricles"], "mean": [0.1, 2.0], "count": 7}
    assert found.metrics == {"validation": 1.25, "crps": None, "by_fold": [1.0, None]}
    assert found.findings == [{"code": "minus-four", "severity": "warning", "column": "CDRSB", "rows": 2}]
    assert found.finished
    assert found.versions["torch"] == torch.__version__
    pd.testing.assert_frame_equal(found.log, run.log)


def test_tensors_that_share_memory_are_saved(tmp_path: Path, run: Run) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    run.tensors.update(a=whole, b=whole.t(), c=whole[:, 1:])
    save_run(tmp_path / "run", run)
    found = load_run(tmp_path / "run").tensors
    assert found["b"].equal(whole.t())
    assert found["c"].equal(whole[:, 1:])


def test_a_run_names_no_subject(folder: Path) -> None:
    assert not [path.name for path in folder.iterdir() if b"S_0012" in path.read_bytes()]


def _remove(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def _cut(name: str) -> Callable[[Path], Any]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


def _edit(**changes: Any) -> Callable[[Path], Any]:
    def edit(folder: Path) -> None:
        path = folder / "model.json"
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return edit


def _flip(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def _swap_regions(folder: Path) -> None:
    path = folder / "model.json"
    content = json.loads(path.read_text())
    content["description"]["regions"].reverse()
    path.write_text(json.dumps(content))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, r"run: there is no such run folder"),
    "empty": (lambda folder: [path.unlink() for path in folder.iterdir()], r"run: not a run folder"),
    "no tensors": (_remove("model.safetensors"), r"run: model\.safetensors missing"),
    "no settings": (_remove("config.yaml"), r"run: config\.yaml missing"),
    "cut tensors": (_cut("model.safetensors"), r"model\.safetensors: truncated or damaged"),
    "cut model": (_cut("model.json"), r"model\.json, line \d+, column \d+: truncated or damaged"),
    "cut metrics": (_cut("metrics.json"), r"metrics\.json, line \d+, column \d+: truncated or damaged"),
    "binary model": (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe"), r"model\.json: cannot be read"),
    "empty log": (lambda folder: (folder / "log.csv").write_text(""), r"log\.csv: cannot be read"),
    "list": (lambda folder: (folder / "model.json").write_text("[]"), r"model\.json: the whole file"),
    "newer": (_edit(format_version=99, versions={"crow": "3.1"}, more=1), r"format 99, newer than .*Install crow 3\.1"),
    "no version": (_edit(format_version=...), r"model\.json: format_version"),
    "no digest": (_edit(sha256=...), r"model\.json: sha256"),
    "other tensors": (_flip, r"model\.safetensors: not the file that model\.json was written with"),
    "other columns": (_swap_regions, r"model\.json: its columns or scalers are not those"),
    "other settings": (
        lambda folder: (folder / "config.yaml").write_text("speed: 1\n"),
        r"config\.yaml, line 1: there is no setting speed.*Restore",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_says_what_is_wrong(folder: Path, damage: str) -> None:
    damaged, message = DAMAGES[damage]
    damaged(folder)
    with pytest.raises(RunError, match=message):
        load_run(folder)


def test_an_existing_run_is_replaced_only_when_told_to(folder: Path, run: Run) -> None:
    before = sha256(folder / "model.safetensors")
    run.tensors["members.0.weight"] += 1
    with pytest.raises(OutputError, match=r"run: exists already.*--overwrite"):
        save_run(folder, run)
    assert sha256(folder / "model.safetensors") == before
    save_run(folder, run, overwrite=True)
    assert load_run(folder).tensors["members.0.weight"][0, 0] == 1
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("begin", [True, False])
def test_a_folder_that_is_no_run_is_never_replaced(tmp_path: Path, run: Run, begin: bool) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "precious.nii").write_text("")
    with pytest.raises(OutputError, match="scans: --overwrite replaces only earlier results of the same kind"):
        if begin:
            start_run(tmp_path / "scans", run.config, overwrite=True)
        else:
            save_run(tmp_path / "scans", run, overwrite=True)
    assert (tmp_path / "scans" / "precious.nii").exists()


def test_an_empty_folder_is_taken(tmp_path: Path, run: Run) -> None:
    save_run(tmp_path, run)
    assert load_run(tmp_path).finished


def test_a_training_in_progress_is_recognised_and_completed(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    start_run(folder, run.config)
    with pytest.raises(RunError, match=r"training has not finished. Continue it with --resume"):
        load_run(folder)
    with pytest.raises(OutputError, match=r"a training was started here\. Continue it with --resume"):
        start_run(folder, run.config)
    assert unfinished_config(folder, Config) == run.config
    (folder / "logs" / "member-1").mkdir(parents=True)
    (folder / "logs" / "member-1" / "events").write_text("event")
    (folder / "checkpoints" / "member-1.ckpt").write_text("weights")

    save_run(folder, Run(**{**vars(run), "finished": False}))
    assert not load_run(folder).finished
    assert (folder / "checkpoints" / "member-1.ckpt").exists(), "an interrupted run can be used and resumed"
    assert unfinished_config(folder, Config) == run.config

    save_run(folder, run)
    assert load_run(folder).finished
    assert (folder / "logs" / "member-1" / "events").read_text() == "event"
    assert not (folder / "checkpoints").exists()
    with pytest.raises(RunError, match="training has finished, so there is nothing to resume"):
        unfinished_config(folder, Config)


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no training was started here"):
        unfinished_config(tmp_path / "none", Config)


def test_a_description_that_json_cannot_hold_leaves_no_folder(tmp_path: Path, run: Run) -> None:
    run.description["mean"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_run(tmp_path / "run", run)
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys
import pandas as pd
import torch
from crow.run.folder import Run, save_run
from crow.run.config import Config
from crow.errors import OutputError

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
log = pd.DataFrame({"epoch": [0], "train": [1.0], "validation": [1.0]})
run = Run(Config(), {"weight": torch.zeros(10_000)}, {}, {}, log)
try:
    save_run(sys.argv[1], run, overwrite=True)
except OutputError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_leaves_the_old_run(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, folder], capture_output=True, text=True, check=True)
    assert f"{folder}: cannot be written: File too large" in done.stdout
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    assert load_run(folder).config.seed == 5


def test_start_overwrites_a_run_when_told_to(folder: Path) -> None:
    start_run(folder, Config(seed=9), overwrite=True)
    assert unfinished_config(folder, Config).seed == 9
    assert not (folder / "model.json").exists()
