"""`crow synthesize`: trains a run, applies it, and refuses what it cannot do."""

import json
from pathlib import Path

import nibabel as nib
import pandas as pd
import pytest
import torch
from commands import done, refused
from small_stores import ball, make_store

QUICK = ["--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2", "--set", "flow.hidden=8"]


@pytest.fixture(scope="module")
def profiles(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on the shared cohort."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("profiles") / "run"
    table = trained / "cohort.csv"
    done(["synthesize", "--cohort", table, "--condition", "sex,age,diagnosis", "--out", run, *QUICK])
    return run


def test_regions(profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "women.csv"
    done(["synthesize", "--run", profiles, "--attributes", "sex=F,age=75", "--count", 7, "--out", out])
    output = capsys.readouterr().out
    assert "7 synthetic visits; DX drawn as in training." in output
    table = pd.read_csv(out)
    assert len(table) == 7 and (table["age"] == 75).all() and (table["PTGENDER"] == "Female").all()
    assert table["Hippocampus"].notna().all()
    assert (profiles / "training.png").is_file() and out.with_suffix(".png").is_file()
    out.unlink()
    words = ["synthesize", "--run", profiles, "--count", 1, "--out", out]
    assert "women.png: exists already" in refused(capsys, *words) and not out.exists()


def test_scans_become_derivatives(tmp_path: Path) -> None:
    make_store(tmp_path / "store", ball())
    run, out = tmp_path / "run", tmp_path / "out"
    small = ["--set", "images.size=8", "--set", "flow.levels=1", "--set", "flow.depth=2"]
    done(["synthesize", "--cohort", tmp_path / "store", "--condition", "sex", "--out", run, *QUICK, *small])
    done(["synthesize", "--run", run, "--attributes", "sex=F", "--count", 2, "--out", out])
    (image,) = out.glob("sub-synthetic0001/anat/*desc-synthetic_T1w.nii.gz")
    assert nib.load(image).shape == (6, 6, 4)
    facts = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    assert facts["synthetic"] is True and facts["Attributes"] == {"sex": "F"}
    assert len(pd.read_csv(out / "participants.tsv", sep="\t")) == 2
    assert (out / "samples.png").is_file() and (out / "dataset_description.json").is_file()
    done(["synthesize", "--run", run, "--count", 1, "--out", out, "--overwrite"])
    assert len(list(out.glob("sub-*"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attributes", "sex=X"], "the training levels are Female, Male"),
        (["--attributes", "age=150"], "outside the range of the training visits"),
        (["--attributes", "weight=3"], "no attribute weight in this run. Choose from PTGENDER, age, DX"),
        (["--out", "profiles"], "written as .csv or .tsv; found no ending"),
        (["--condition", "sex"], "--condition: only for training"),
    ],
)
def test_drawing_is_refused(
    profiles: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "synthesize", "--run", profiles, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--condition", "weight"], "weight is not a covariate"),
        ([], "name the attributes"),
        (["--condition", "sex", "--attributes", "sex=F"], "only for use with --run"),
        (["--condition", "sex", "--set", "flow.width=3"], "there is no setting flow.width"),
    ],
)
def test_training_is_refused(
    trained: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table, out = trained / "cohort.csv", tmp_path / "run"
    assert message in refused(capsys, "synthesize", "--cohort", table, "--out", out, *words)
    assert not out.exists()


def test_runs_are_taken_by_their_own_command(
    profiles: Path, trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = refused(capsys, "generate", "--run", profiles, "--subject", "1", "--at", "1", "--out", tmp_path / "x.csv")
    assert "a run of crow synthesize, not of crow train." in output
    assert "a run of crow train" in refused(capsys, "synthesize", "--run", trained / "run", "--out", tmp_path / "x.csv")
    output = refused(capsys, "synthesize", "--cohort", trained / "cohort.csv", "--condition", "sex", "--out", profiles)
    assert "exists already" in output


def test_only_folders_of_its_own_are_replaced(
    profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_store(tmp_path / "store", ball())
    run, out = tmp_path / "run", tmp_path / "raw"
    small = ["--set", "images.size=8", "--set", "flow.levels=1", "--set", "flow.depth=2"]
    done(["synthesize", "--cohort", tmp_path / "store", "--condition", "sex", "--out", run, *QUICK, *small])
    done(["simulate", "--scans", "--out", out, "--subjects", 2, "--visits", 1, "--resolution", 8])
    before = sorted(path.name for path in out.iterdir())
    output = refused(capsys, "synthesize", "--run", run, "--count", 1, "--out", out, "--overwrite")
    assert "there is a simulation of crow" in output
    assert sorted(path.name for path in out.iterdir()) == before
    table = tmp_path / "a.csv"
    for extra in ([], ["--overwrite"]):
        done(["synthesize", "--run", profiles, "--count", 1, "--out", table, *extra])
    assert "exists already" in refused(capsys, "synthesize", "--run", profiles, "--count", 1, "--out", table)


def test_one_region_is_too_few(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--cohort", trained / "cohort.csv", "--condition", "sex", "--regions", "Hippocampus"]
    assert "1 region; a flow needs at least 2" in refused(capsys, "synthesize", *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_visit_per_subject_is_enough(trained: Path, tmp_path: Path) -> None:
    table = tmp_path / "once.csv"
    pd.read_csv(trained / "cohort.csv", dtype=str).drop_duplicates("RID").to_csv(table, index=False)
    run, out = tmp_path / "run", tmp_path / "drawn.csv"
    words = ["--condition", "PTGENDER", "--regions", "Hippocampus,Ventricles", "--out", run, *QUICK]
    done(["synthesize", "--cohort", table, *words])
    done(["synthesize", "--run", run, "--attributes", "PTGENDER=Male", "--count", 3, "--out", out])
    assert set(pd.read_csv(out)["PTGENDER"]) == {"Male"}
