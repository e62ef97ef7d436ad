"""`crow translate`: pairs of stores to a run, a run and scans to BIDS derivatives; a table's regions to regions."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import simulated_scans
import torch
from paired_stores import SUBJECTS, paired_stores

from crow.cli.main import main
from crow.pipelines.prepare import prepare
from crow.scans.store import DONE, ScanStore

QUICK = [
    *("--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2", "--set", "pretrain_epochs=1"),
    *("--set", "flow.depth=2", "--set", "flow.hidden=8", "--set", "flow.levels=1"),
]  # fmt: skip


def crow(*words: str | Path) -> int:
    torch.set_num_threads(1)
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores pet and t1w, and the run of one given the other."""
    folder = tmp_path_factory.mktemp("translate")
    paired_stores(folder)
    words = ["--cohort", folder / "pet", "--source", folder / "t1w", "--out", folder / "run", *QUICK]
    assert crow("translate", *words) == 0
    return folder


def test_scans_become_derivatives(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--run", folder / "run", "--source", folder / "t1w", "--out", tmp_path / "made", "--draws", "3"]
    assert crow("translate", *words) == 0
    assert f"Translated {2 * SUBJECTS - 1} visits, 3 draws each." in capsys.readouterr().out
    pet = tmp_path / "made" / "sub-s00" / "ses-1" / "pet"
    assert sorted(path.name.split("_desc-")[1] for path in pet.glob("*.nii.gz")) == [
        "median_pet.nii.gz", "sample1_pet.nii.gz", "sample2_pet.nii.gz", "sample3_pet.nii.gz", "sd_pet.nii.gz"
    ]  # fmt: skip
    stem = pet / "sub-s00_ses-1_space-MNI152NLin2009cAsym_desc-"
    samples = np.stack([nib.load(f"{stem}sample{k}_pet.nii.gz").get_fdata() for k in (1, 2, 3)])
    median = nib.load(f"{stem}median_pet.nii.gz")
    np.testing.assert_allclose(median.get_fdata(), np.median(samples, 0), rtol=1e-5)
    assert np.allclose(np.abs(np.diag(median.affine)), [4, 4, 4, 1])
    facts = json.loads(Path(f"{stem}median_pet.json").read_text())
    assert facts["synthetic"] is True and facts["Model"]["samples"] == 3 and "T1w" in facts["Source"]
    assert (tmp_path / "made" / "translations.png").stat().st_size > 5000
    assert crow("translate", *words) == 2
    assert crow("translate", *words, "--overwrite") == 0


def test_refuses_scans_of_another_modality(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--run", folder / "run", "--source", folder / "pet", "--out", tmp_path / "made"]
    assert crow("translate", *words) == 2
    assert "scans of modality pet; the run was trained on T1w" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "made").exists()


def test_one_scan_is_prepared_as_those_of_the_run(tmp_path: Path) -> None:
    """A run whose source was prepared by `crow prepare`, and a NIfTI file that was not."""
    table = simulated_scans.cohort(tmp_path / "bids", subjects=6)
    t1w = prepare(table, tmp_path / "t1w", resolution=8, registration="none", jobs=1).store
    pet = ScanStore.create(
        tmp_path / "pet", t1w.info.model_copy(update={"modality": "pet"}), t1w.cohort(), t1w.template, t1w.mask
    )
    for row in t1w.rows:
        pet.array("intensity")[int(row)] = 2 - np.asarray(t1w.array("intensity")[int(row)])
        pet.array("status")[int(row)] = DONE
    pet.finish([])
    run = tmp_path / "run"
    assert crow("translate", "--cohort", tmp_path / "pet", "--source", tmp_path / "t1w", "--out", run, *QUICK) == 0
    scan = tmp_path / "bids" / "sub-0_ses-1_T1w.nii.gz"
    assert crow("translate", "--run", run, "--source", scan, "--out", tmp_path / "made", "--draws", "2") == 0
    assert len(list((tmp_path / "made" / "sub-0" / "ses-1" / "pet").glob("*.nii.gz"))) == 4
    other = tmp_path / "bids" / "sub-1_ses-0_T1w.nii.gz"
    again = ("translate", "--run", run, "--source", other, "--out", tmp_path / "made", "--draws", "2")
    assert crow(*again) == 2
    assert crow(*again, "--overwrite") == 0
    assert {path.name for path in (tmp_path / "made").glob("sub-*")} == {"sub-1"}


def test_regions_of_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"subject": np.repeat(np.arange(15), 2), "age": 70 + np.tile([0, 1], 15)})
    rows = rows.assign(**{name: rng.normal(10, 1, 30).round(4) for name in ("MRI_a", "MRI_b", "PET_a", "PET_b")})
    rows.to_csv(tmp_path / "cohort.csv", index=False)
    run, made = tmp_path / "run", tmp_path / "made"
    sides = ["--source", "MRI_*", "--target", "PET_*"]
    assert crow("translate", "--cohort", tmp_path / "cohort.csv", *sides, "--out", run, *QUICK[:6]) == 0
    rows.drop(columns=["PET_a", "PET_b"]).to_csv(tmp_path / "new.csv", index=False)
    assert crow("translate", "--run", run, "--source", tmp_path / "new.csv", "--out", made, "--draws", "4") == 0
    median, samples = pd.read_csv(made / "median.csv"), pd.read_csv(made / "samples.csv")
    assert list(median.columns) == ["subject", "session", "time", "PET_a", "PET_b"] and len(median) == 30
    assert list(samples["sample"][:5]) == [1, 2, 3, 4, 1] and len(samples) == 120
    first = samples[:4][["PET_a", "PET_b"]].median().to_numpy()
    np.testing.assert_allclose(median.loc[0, ["PET_a", "PET_b"]].astype(float), first, rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "x"], "Give --cohort to train, or --run to apply"),
        (["--cohort", "x"], "name the store of the source scans"),
        (["--run", "x", "--source", "y", "--target", "z"], "--target: only for training"),
    ],
)
def test_options_that_cannot_be_combined(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert crow("translate", *words) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
