"""Scans in folders that other programs write are found without flags, or with the one flag that the message names."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from crow.cohort import Cohort, Finding, read_cohort
from crow.cohort.bids_files import parse
from crow.errors import CohortError
from crow.scans.nifti import open_scan, read_scan

SUBJECTS = [f"{k:02d}" for k in range(1, 11)]
SESSIONS = ["M000", "M018"]
VALUES = np.arange(8, dtype=np.float32).reshape(2, 2, 2)


def write_scan(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".mgz": nib.MGHImage, ".hdr": nib.Nifti1Pair}.get(path.suffix, nib.Nifti1Image)
    image = kind(VALUES, np.eye(4))
    if path.suffix != ".mgz":
        image.set_sform(np.eye(4), 1)
    nib.save(image, path)


def tree(folder: Path, *patterns: str, subjects: list[str] = SUBJECTS) -> Path:
    for pattern in patterns:
        for subject in subjects:
            for session in SESSIONS:
                write_scan(folder / pattern.format(s=subject, v=session))
    return folder


def ages(folder: Path) -> Path:
    rows = [(f"sub-{s}", f"ses-{v}", 60 + k + 1.5 * j) for k, s in enumerate(SUBJECTS) for j, v in enumerate(SESSIONS)]
    path = folder / "ages.tsv"
    pd.DataFrame(rows, columns=["participant_id", "session_id", "age"]).to_csv(path, sep="\t", index=False)
    return path


def refusal(path: Path, **flags: object) -> str:
    with pytest.raises(CohortError) as refused:
        read_cohort(path, **flags)  # type: ignore[arg-type]
    return str(refused.value)


def found(cohort: Cohort, code: str) -> Finding:
    return next(finding for finding in cohort.findings if finding.code == code)


def names(cohort: Cohort) -> list[str]:
    return [Path(scan).name for scan in cohort.visits["scan"]]


BIDS = "sub-{s}/ses-{v}/anat/sub-{s}_ses-{v}"
CLINICA = "subjects/sub-{s}/ses-{v}/{folder}/sub-{s}_ses-{v}_{{}}"
T1, PET = CLINICA.replace("{folder}", "t1_linear"), CLINICA.replace("{folder}", "pet_linear")
CROP, FULL = "space-MNI152NLin2009cSym_desc-Crop_res-1x1x1", "space-MNI152NLin2009cSym_res-1x1x1"
SPM = "sub-{s}/ses-{v}/anat/mri/{{}}sub-{s}_ses-{v}_T1w.nii"
LONG = "sub-{s}_ses-{v}.long.sub-{s}/mri"
OUTPUTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "fMRIPrep, one space": (
        [f"{BIDS}_space-MNI152NLin6Asym_res-2_{end}.nii.gz" for end in ("desc-preproc_T1w", "desc-brain_mask")], {}
    ),
    "fMRIPrep, two spaces": (
        [f"{BIDS}_desc-preproc_T1w.nii.gz", f"{BIDS}_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz"],
        {"space": "native"},
    ),
    "Clinica, linear": ([T1.replace("{{}}", f"{CROP}_T1w.nii.gz")], {}),
    "Clinica, both": ([T1.replace("{{}}", f"{kind}_T1w.nii.gz") for kind in (CROP, FULL)], {"desc": "Crop"}),
    "Clinica, PET": ([PET.replace("{{}}", f"trc-18FFDG_{CROP}_suvr-pons2_pet.nii.gz")], {}),
    "CAT12": ([SPM.replace("{{}}", kind) for kind in ("wm", "mwp1", "p0", "y_")], {}),
    "CAT12, native too": ([SPM.replace("{{}}", kind) for kind in ("m", "wm")], {"space": "native"}),
    "CAT12, grey matter": ([SPM.replace("{{}}", kind) for kind in ("wm", "mwp1")], {"suffix": "probseg"}),
    "CAT12, one folder": ([f"mri/{kind}sub-{{s}}_ses-{{v}}_T1w.nii" for kind in ("wm", "mwp1", "y_")], {}),
    "all scans in one folder": (["sub-{s}_ses-{v}_T1w.nii.gz"], {}),
    "CAT12, beside raw scans": ([f"{BIDS}_T1w.nii.gz", SPM.replace("{{}}", "m")], {"desc": "native"}),
    "FreeSurfer, longitudinal": (
        [f"{LONG}/T1.mgz", f"{LONG}/norm.mgz", f"{LONG}/aseg.mgz", "sub-{s}_ses-{v}/mri/T1.mgz", "sub-{s}/mri/T1.mgz",
         "fsaverage/mri/T1.mgz"], {},
    ),
    "FreeSurfer, names of the site": (["{s}_{v}.long.{s}_base/mri/orig.mgz", "{s}_{v}/mri/orig.mgz"], {}),
    "FreeSurfer, cross-sectional": (["{s}_{v}/mri/T1.mgz", "{s}_base/mri/T1.mgz"], {}),
    "compressed with zstd": ([f"{BIDS}_T1w.nii.zst"], {}),
    "FreeSurfer images with BIDS names": ([f"{BIDS}_T1w.mgz"], {}),
    "pairs of header and image": ([f"{BIDS}_T1w.hdr"], {}),
}  # fmt: skip


@pytest.mark.parametrize("program", OUTPUTS)
def test_the_scans_of_a_program_are_found(tmp_path: Path, program: str) -> None:
    patterns, flags = OUTPUTS[program]
    if "zst" in patterns[0]:
        pytest.importorskip("backports.zstd")
    folder, table = tree(tmp_path / "out", *patterns), ages(tmp_path)
    for flag in flags.keys() - {"suffix"}:
        assert f"choose with --{flag}" in refusal(folder, ages=table)
    cohort = read_cohort(folder, ages=table, **flags)  # type: ignore[arg-type]
    assert len(cohort) == 20 and cohort.visits["time"].iloc[1] == 1.5
    values, _ = read_scan(open_scan(cohort.visits["scan"].iloc[0]))
    np.testing.assert_array_equal(values, VALUES)


def test_the_longitudinal_stream_and_another_volume_of_it(tmp_path: Path) -> None:
    folder = tree(tmp_path / "out", *OUTPUTS["FreeSurfer, longitudinal"][0])
    cohort = read_cohort(folder, ages=ages(tmp_path))
    assert all(".long." in scan and scan.endswith("T1.mgz") for scan in cohort.visits["scan"])
    norm = read_cohort(folder, ages=ages(tmp_path), desc="norm")
    assert set(names(norm)) == {"norm.mgz"}
    assert "There are T1 (20) and norm (20); choose with --desc" in refusal(folder, ages=ages(tmp_path), desc="wm")


def test_a_freesurfer_folder_below_fmriprep_has_the_times_of_the_raw_tree(tmp_path: Path) -> None:
    folder = tree(tmp_path / "derivatives/fmriprep/sourcedata/freesurfer", "sub-{s}_ses-{v}/mri/T1.mgz")
    ages(tmp_path).rename(tmp_path / "sessions.tsv")
    assert len(read_cohort(folder)) == 20


def test_averages_over_sessions_show_no_change(tmp_path: Path) -> None:
    folder = tree(tmp_path / "out", "sub-{s}/anat/sub-{s}_desc-preproc_T1w.nii.gz", "sub-{s}/ses-{v}/func/x.nii.gz")
    assert "--subject-anatomical-reference sessionwise" in refusal(folder, ages=ages(tmp_path))


@pytest.mark.parametrize(
    ("entity", "taken"),
    [("echo-1|echo-2", "echo-1"), ("res-1|res-2", "res-1"), ("acq-fast|acq-mprage", "acq-fast"),
     ("part-mag|part-phase", "part-mag")],
)  # fmt: skip
def test_all_visits_have_one_kind_of_scan(tmp_path: Path, entity: str, taken: str) -> None:
    patterns = [f"{BIDS}_{one}_T1w.nii.gz" for one in entity.split("|")]
    cohort = read_cohort(tree(tmp_path / "out", *patterns), ages=ages(tmp_path))
    assert all(taken in name for name in names(cohort))


def test_the_kind_that_most_visits_have_is_taken_and_others_are_named(tmp_path: Path) -> None:
    folder = tree(tmp_path / "out", f"{BIDS}_echo-2_T1w.nii.gz")
    tree(folder, f"{BIDS}_echo-1_T1w.nii.gz", subjects=SUBJECTS[:3])
    (folder / BIDS.format(s="01", v="M018")).with_name("sub-01_ses-M018_echo-2_T1w.nii.gz").unlink()
    cohort = read_cohort(folder, ages=ages(tmp_path))
    assert sum("echo-2" in name for name in names(cohort)) == 19
    mixed = found(cohort, "mixed-files")
    assert "the scan of 1 visits (sub-01_ses-M018_echo-1_T1w.nii.gz)" in mixed.message and "(echo-2)" in mixed.message


@pytest.mark.parametrize("name", ["0001.dcm", "IM_0001", "scan.IMA"])
def test_dicom_is_named_with_the_program_that_converts_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "study" / "subject" / "series"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(bytes(128) + b"DICM")
    assert "dcm2niix" in refusal(tmp_path / "study")
    for cell in (folder, folder / name):
        rows = [{"subject": f"S{k}", "age": 60 + v, "scan": str(cell)} for k in range(10) for v in range(2)]
        pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
        assert "dcm2niix" in refusal(tmp_path / "t.csv", scan="scan")


def test_one_dicom_among_scans_is_dropped_and_named(tmp_path: Path) -> None:
    folder = tree(tmp_path, "{s}_{v}.nii")
    (folder / "x.dcm").write_bytes(bytes(128) + b"DICM")
    rows = [{"subject": s, "age": 60 + 2 * j, "scan": f"{s}_{v}.nii"} for s in SUBJECTS for j, v in enumerate(SESSIONS)]
    rows[3]["scan"] = "x.dcm"
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    assert "dcm2niix" in found(read_cohort(tmp_path / "t.csv", scan="scan"), "missing-scan").message


@pytest.mark.parametrize(
    ("name", "desc", "suffix"),
    [("wmsub-01_T1w.nii", "wm", "T1w"), ("mwp2rsub-01_ses-1_T1w.nii", "mwp2r", "probseg"),
     ("p0sub-01_T1w.nii", "p0", "dseg"), ("s8mwp1sub-01_T1w.nii.gz", "s8mwp1", "probseg"),
     ("c1sub-01_T1w.nii", "c1", "probseg"), ("mwc1sub-01_ses-1_T1w.nii", "mwc1", "probseg"),
     ("smwc6sub-01_T1w.nii.gz", "smwc6", "probseg"), ("rc2sub-01_T1w.nii", "rc2", "probseg"),
     ("sub-01_desc-x_T1w.nii.zst", "x", "T1w")],
)  # fmt: skip
def test_letters_before_a_name_are_steps_of_spm(name: str, desc: str, suffix: str) -> None:
    file = parse(Path(name))
    assert file is not None and (file.visit[0], file.entities["desc"], file.suffix) == ("sub-01", desc, suffix)
