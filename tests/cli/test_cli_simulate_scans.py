"""`crow simulate --scans`, as a user runs it."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crow.cli.main import app, main
from crow.cohort import read_cohort
from crow.simulate import simulate_scans

SMALL = ["simulate", "--scans", "--subjects", "3", "--visits", "2", "--resolution", "8", "--jobs", "1"]
TRUTH = Path("derivatives") / "truth"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "brains"
    done = CliRunner().invoke(app, [*SMALL, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "3 subjects, 6 scans" in done.output
    return out


def test_the_tree_is_read_as_a_cohort_with_its_times(tree: Path) -> None:
    cohort = read_cohort(tree, strict=False)
    assert len(cohort.visits) == 6 and cohort.visits["scan"].map(lambda path: Path(path).is_file()).all()
    truth = pd.read_csv(tree / TRUTH / "truth.csv")
    assert np.allclose(cohort.visits["time"], truth["years"], atol=0.005)
    assert {"diagnosis", "CDRSB", "sex", "education", "apoe4"} <= set(cohort.schema.covariates)


def test_scans_have_whole_headers_and_their_truth_the_same(tree: Path) -> None:
    simulation = simulate_scans(3, 2, 8)
    stem = "sub-0003/ses-M012/anat/sub-0003_ses-M012"
    scan = nib.load(tree / f"{stem}_T1w.nii.gz")
    clean, labels = (nib.load(tree / TRUTH / f"{stem}_{name}.nii.gz") for name in ("desc-noisefree_T1w", "dseg"))
    for image in (scan, clean, labels):
        assert image.shape == simulation.grid.shape and np.allclose(image.affine, simulation.grid.matrix)
        assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
        assert np.allclose(image.get_qform(), image.get_sform())
    assert nib.aff2axcodes(scan.affine) == ("L", "A", "S")
    assert scan.get_data_dtype() == np.int16 and labels.get_data_dtype() == np.uint8
    expected = simulation.render("sub-0003", "ses-M012", noise=True)
    assert np.abs(scan.get_fdata() - expected).max() <= 0.51
    assert np.array_equal(np.asarray(labels.dataobj), simulation.labels("sub-0003", "ses-M012"))


def test_the_truth_tells_the_deformations(tree: Path) -> None:
    simulation = simulate_scans(3, 2, 8)
    truth = pd.read_csv(tree / TRUTH / "truth.csv")
    row = truth[(truth["subject"] == "sub-0002") & (truth["session"] == "ses-M012")].iloc[0]
    fields = np.load(tree / TRUTH / "change_fields.npz")
    weights = row[[f"log_{part}" for part in fields["parts"]]].to_numpy(float)
    velocity = np.tensordot(weights, fields["hundredths_of_mm"] / 100, 1)
    assert np.allclose(velocity, simulation.velocity("sub-0002", "ses-M012"), atol=0.03)
    anatomy = np.load(tree / TRUTH / "sub-0002" / "sub-0002_anatomy.npz")
    assert np.allclose(anatomy["velocity"], simulation.subject("sub-0002").anatomy.velocity, atol=0.01)
    assert "geometry" in json.loads((tree / TRUTH / "truth.json").read_text())


def test_same_seed_same_bytes_and_overwrite_only_when_told(tree: Path, tmp_path: Path) -> None:
    words = [*SMALL, "--subjects", "1", "--modality", "pet", "--out", str(tmp_path / "pet")]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    path = tmp_path / "pet" / "sub-0001/ses-M012/pet/sub-0001_ses-M012_trc-AV45_pet.nii.gz"
    before = path.read_bytes()
    assert 0.5 < nib.load(path).get_fdata().max() < 4
    assert refused(words) == 2
    assert CliRunner().invoke(app, [*words, "--overwrite"], catch_exceptions=False).exit_code == 0
    assert path.read_bytes() == before


def test_never_replaces_a_tree_that_is_no_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "dataset_description.json").write_text("{}")
    assert refused([*SMALL, "--out", str(tmp_path), "--overwrite"]) == 2
    assert "dataset_description.json" in capsys.readouterr().err
    assert (tmp_path / "sub-01").is_dir()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*SMALL, "--regions", "6"], "--regions"),
        (["simulate", "--modality", "pet"], "add --scans"),
        (["simulate", "--scanner-change", "2"], "--scanner-change"),
        ([*SMALL, "--modality", "FLAIR"], "T1w or pet"),
        ([*SMALL, "--resolution", "0.1"], "1 to 8"),
        ([*SMALL, "--scanner-change", "3"], "2 to 2"),
    ],
)
def test_refusals_leave_nothing(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused([*words, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def refused(words: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code
