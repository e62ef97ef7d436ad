"""Preparation of a cohort's scans; a scan that fails is a finding and does not stop the others."""

from pathlib import Path

import joblib
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from simulated_scans import cohort, head, save, turned

from crow.errors import CohortError, ConfigError, ScanError
from crow.pipelines.prepare import Prepared, prepare
from crow.scans.linear import Image
from crow.scans.nifti import open_scan
from crow.scans.prepare import read_qc
from crow.scans.store import DONE, FAILED, ScanStore
from crow.scans.template import load_template

TEMPLATE = load_template(8.0)
OPEN_MS = Path(__file__).parents[3] / "shared" / "data" / "open_ms" / "raw" / "patient01"


def run(table: Path, out: Path, registration: str = "none", **settings: object) -> Prepared:
    return prepare(table, out, resolution=8.0, registration=registration, jobs=1, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("cohort"))


def failures(done: Prepared) -> list[str]:
    return [finding.message for finding in done.findings if finding.code == "scan-failed"]


def test_scans_in_template_space_are_only_normalised(table: Path, tmp_path: Path) -> None:
    done = run(table, tmp_path / "store")
    store = ScanStore.open(tmp_path / "store")
    assert (done.scans, done.failed, len(store.rows)) == (4, 0, 4)
    np.testing.assert_array_equal(store.array("to_scan")[:], np.stack([np.eye(4)] * 4))
    gains = store.array("scale")[:, 0]
    assert gains[1] / gains[0] == pytest.approx(500 / 400, rel=0.05)
    scan = np.asarray(nib.load(store.visits["scan"][1]).dataobj)  # type: ignore[attr-defined]
    np.testing.assert_allclose(store.array("intensity")[1] * gains[1], scan, atol=0.5)
    assert list(store.cohort().visits.columns) == ["subject", "session", "time", "age", "sex", "scan"]
    assert "velocity" not in store.arrays


def test_the_settings_of_a_store_repeat_its_preparation(table: Path, tmp_path: Path) -> None:
    first = run(table, tmp_path / "store").store
    given = {name: value for name, value in first.info.settings.items() if value is not None}
    again = prepare(table, tmp_path / "again", jobs=1, **given).store
    assert again.info.settings == first.info.settings
    np.testing.assert_array_equal(again.array("intensity")[:], first.array("intensity")[:])


def test_with_a_schema_one_subject_keeps_the_roles_of_the_run(table: Path, tmp_path: Path) -> None:
    schema = run(table, tmp_path / "run").store.info.cohort_schema
    rows = pd.read_csv(table)
    rows[rows["subject"] == "S0"].to_csv(table.with_name("one.csv"), index=False)
    store = run(table.with_name("one.csv"), tmp_path / "one", schema=schema).store
    assert store.info.cohort_schema == schema
    assert list(store.cohort().visits["sex"]) == ["M", "M"]


def test_nonlinear_keeps_anatomy_and_change(tmp_path: Path) -> None:
    store = run(cohort(tmp_path / "one", subjects=1), tmp_path / "store", registration="nonlinear").store
    nodes = store.info.velocity_grid
    assert nodes is not None
    assert store.array("velocity").shape == (2, 3, *nodes.shape)
    velocity = store.array("velocity")[:]
    assert (velocity[0] == 0).all()
    assert np.abs(velocity[1]).max() > 0
    assert np.abs(store.array("anatomy")[:]).max() < 10
    # All visits of a subject share the affine part and differ by rigid maps.
    matrices = store.array("to_scan")[:]
    turn = matrices[1] @ np.linalg.inv(matrices[0])
    np.testing.assert_allclose(turn[:3, :3] @ turn[:3, :3].T, np.eye(3), atol=1e-6)


def test_pet_goes_into_template_space_without_velocities(tmp_path: Path) -> None:
    store = run(cohort(tmp_path / "pet", subjects=1, suffix="pet"), tmp_path / "store", registration="nonlinear").store
    assert (store.info.modality, store.info.settings["reference"]) == ("pet", "cerebellum")
    assert "anatomy" in store.arrays
    assert "velocity" not in store.arrays
    inside = TEMPLATE.structure("cerebellum") & (TEMPLATE.gm > 0.5)
    np.testing.assert_allclose([image[inside].mean() for image in store.array("intensity")[:]], 1, atol=0.1)


def test_the_backend_is_the_user_s(table: Path, tmp_path: Path) -> None:
    with joblib.parallel_config(backend="threading"):
        done = prepare(table, tmp_path / "store", resolution=8.0, registration="none", jobs=2)
    assert done.failed == 0


def test_a_scan_that_fails_is_a_finding(table: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(cohort(tmp_path))
    (tmp_path / frame["scan"][1]).write_bytes(b"no scan")
    done = run(tmp_path / "cohort.csv", tmp_path / "store")
    assert (done.scans, done.failed) == (4, 1)
    assert f"{tmp_path / frame['scan'][1]}: cannot be read as NIfTI" in failures(done)[0]
    store = ScanStore.open(tmp_path / "store")
    assert list(store.array("status")[:]) == [DONE, FAILED, DONE, DONE]
    assert list(store.cohort().visits["subject"]) == ["S0", "S1", "S1"]


def test_all_failed_is_an_error(tmp_path: Path) -> None:
    for scan in pd.read_csv(cohort(tmp_path))["scan"]:
        (tmp_path / scan).write_bytes(b"no scan")
    with pytest.raises(CohortError, match=r"None of the 4 scans could be prepared\. The first reasons:\n.*sub-0_ses-0"):
        run(tmp_path / "cohort.csv", tmp_path / "store")


def test_a_cohort_whose_scans_all_fail_ends_early_with_three_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crow.pipelines.prepare.FIRST", 4)
    rows = [(f"S{s:03d}", 60 + 2 * v, f"S{s:03d}_{v}.nii") for s in range(10) for v in range(2)]
    for number, (_, _, name) in enumerate(rows):
        save(tmp_path / name, head() * 0 + 7) if number % 3 else (tmp_path / name).write_bytes(b"no scan")
    pd.DataFrame(rows, columns=["subject", "age", "scan"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(CohortError) as refused:
        run(tmp_path / "t.csv", tmp_path / "store", modality="T1w")
    lines = str(refused.value).splitlines()
    assert lines[0] == "None of the first 8 of 20 scans could be prepared. The first reasons:"
    assert "cannot be read as NIfTI" in lines[1] and "all its voxels are 7" in lines[2] and len(lines) == 5
    save(tmp_path / rows[2][2], head())
    done = run(tmp_path / "t.csv", tmp_path / "store", modality="T1w")
    assert (done.scans, done.failed) == (20, 19)


def test_invalid_scans_do_not_stop_the_run(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    paths = [tmp_path / scan for scan in pd.read_csv(table)["scan"]]
    save(paths[0], -head())
    save(paths[2], np.zeros(head().shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    done = run(table, tmp_path / "store", registration="linear")
    assert done.failed == 2
    assert f"{paths[0]}: none of its voxels is above 0" in failures(done)[0]
    assert f"{paths[2]}: its voxels are colours (RGB)" in failures(done)[1]


@pytest.mark.parametrize("error", [MemoryError("no room"), IndexError("index -1"), TypeError("no number")])
def test_an_error_in_registration_fails_its_subject_only(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def align(images: list[Image]) -> list[np.ndarray]:
        calls.append(len(images))
        if len(calls) == 1:
            raise error
        return [np.eye(4)] * len(images)

    monkeypatch.setattr("crow.scans.prepare.align_subject", align)
    done = run(cohort(tmp_path), tmp_path / "store", registration="linear")
    assert list(done.store.array("status")[:]) == [FAILED, FAILED, DONE, DONE]
    assert f"registration failed ({type(error).__name__}: {error})" in failures(done)[0]
    run(tmp_path / "cohort.csv", tmp_path / "store", registration="linear")


def test_a_scan_that_disappears_before_it_is_read_again(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[str] = []

    def opened(path: str) -> nib.Nifti1Image:
        times.append(path)
        return open_scan(path if times.count(path) == 1 or len(times) > 4 else f"{path}.gone")

    monkeypatch.setattr("crow.scans.prepare.open_scan", opened)
    done = run(table, tmp_path / "store")
    assert done.failed == 2
    assert "no such file" in failures(done)[0]


def test_visits_in_different_spaces(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    frame = pd.read_csv(table)
    other = "sub-0_ses-1_space-MNI152NLin6Asym_T1w.nii.gz"
    (tmp_path / frame["scan"][1]).rename(tmp_path / other)
    frame.loc[1, "scan"] = other
    frame.to_csv(table, index=False)
    done = run(table, tmp_path / "store")
    assert done.failed == 2
    assert "visits are in different spaces (MNI152NLin6Asym, native)" in failures(done)[0]
    assert "--registration" in failures(done)[0]


def test_headers_in_different_spaces(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    path = tmp_path / pd.read_csv(table)["scan"][1]
    image = nib.load(path)
    image.set_sform(image.affine, 4)  # type: ignore[attr-defined]
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)  # type: ignore[attr-defined]
    done = run(table, tmp_path / "store")
    assert done.failed == 2
    assert "some headers of the subject's visits are in scanner space, others in a standard space" in failures(done)[0]


def test_left_and_right_swapped(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    paths = [tmp_path / scan for scan in pd.read_csv(table)["scan"][:2]]
    scan = head()
    scan[:10] *= 0.6  # an old stroke, on the left
    save(paths[0], scan)
    save(paths[1], scan[::-1])
    done = run(table, tmp_path / "store")
    assert done.failed == 1
    assert "left and right are swapped relative to the subject's first scan" in failures(done)[0]


def test_a_scan_away_from_the_template_needs_registration(tmp_path: Path) -> None:
    table = cohort(tmp_path, subjects=1)
    path = tmp_path / pd.read_csv(table)["scan"][0]
    save(path, head(), turned((0, 0, 0), (150, 0, 0)) @ TEMPLATE.grid.matrix)
    done = run(table, tmp_path / "store")
    assert done.failed == 1
    assert "of the template's brain is in its field of view. Align it with --registration linear" in failures(done)[0]
    assert run(table, tmp_path / "linear", registration="linear").failed == 0


def test_a_user_mask_on_another_grid(table: Path, tmp_path: Path) -> None:
    fine = load_template(4.0)
    inner = fine.mask & (fine.grid.points()[2] > -20)
    mask = save(tmp_path / "mask.nii.gz", inner.astype(np.uint8), resolution=4.0)
    store = run(table, tmp_path / "store", mask=mask).store
    assert str(store.info.settings["mask"]).startswith("mask.nii.gz sha256:")
    assert 0.5 * TEMPLATE.mask.sum() < store.mask.sum() < 0.95 * TEMPLATE.mask.sum()
    assert not store.mask[TEMPLATE.grid.points()[2] < -30].any()


def test_a_mask_that_misses_the_brain(table: Path, tmp_path: Path) -> None:
    mask = TEMPLATE.mask.astype(np.uint8)
    empty = save(tmp_path / "empty.nii.gz", mask * 0)
    away = save(tmp_path / "away.nii.gz", mask, turned((0, 0, 0), (300, 0, 0)) @ TEMPLATE.grid.matrix)
    with pytest.raises(ScanError, match=r"empty\.nii\.gz: all its voxels are 0"):
        run(table, tmp_path / "store", mask=empty)
    with pytest.raises(ScanError, match=r"away\.nii\.gz: empty, or does not overlap the template's brain"):
        run(table, tmp_path / "store", mask=away)
    assert not (tmp_path / "store").exists()


def test_settings_out_of_range(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        prepare(table, tmp_path / "store", resolution=0.2)
    with pytest.raises(ConfigError, match="--modality bold: not supported"):
        run(table, tmp_path / "store", modality="bold")
    with pytest.raises(ConfigError, match=r"--registration affine: not known.*auto, none, linear"):
        run(table, tmp_path / "store", registration="affine")
    assert not (tmp_path / "store").exists()


AWAY, SMALL = turned((0, 0, 0), (0, 18, 25)), np.diag([1.25, 1.25, 1.25, 1.0])


@pytest.mark.parametrize("move", [AWAY, SMALL], ids=["away", "small"])
def test_a_scan_that_does_not_lie_on_the_template_is_a_warning(tmp_path: Path, move: np.ndarray) -> None:
    """Whatever its contrast: here that of FLAIR, whose tissues hardly differ."""
    for visit, place in enumerate((np.eye(4), move)):
        scan = head(4.0, place, visit)
        save(tmp_path / f"{visit}_FLAIR.nii.gz", np.where(scan > 200, 350 + 0.1 * scan, scan), resolution=4.0)
    scans = ["0_FLAIR.nii.gz", "1_FLAIR.nii.gz"]
    pd.DataFrame({"subject": "p", "age": [40.0, 41.0], "scan": scans}).to_csv(tmp_path / "visits.csv", index=False)
    done = prepare(tmp_path / "visits.csv", tmp_path / "store", resolution=4.0, registration="none", jobs=1)
    (warning,) = [finding for finding in done.findings if finding.code == "scan-misplaced"]
    assert warning.severity == "warning" and "1_FLAIR.nii.gz: " in warning.message
    assert "overlap little (Dice 0." in warning.message and "align it with --registration linear" in warning.message
    assert "overlap little" in done.page.read_text(encoding="utf-8")


@pytest.mark.skipif(not OPEN_MS.is_dir(), reason="public data are not beside the repository")
def test_two_real_visits_on_different_grids_are_aligned(tmp_path: Path) -> None:
    scans = [str(OPEN_MS / f"study{visit}_FLAIR.nii.gz") for visit in (1, 2)]
    pd.DataFrame({"subject": "p", "age": [40.0, 41.0], "scan": scans}).to_csv(tmp_path / "visits.csv", index=False)
    done = prepare(tmp_path / "visits.csv", tmp_path / "store", resolution=4.0, registration="linear", jobs=1)
    store = done.store
    assert "scan-misplaced" not in [finding.code for finding in done.findings]
    first, second = (store.array("intensity")[row][load_template(4.0).mask] for row in (0, 1))
    assert np.corrcoef(first, second)[0, 1] > 0.9
    assert all(fit > 0.4 for fit in (read_qc(store.path, row).fit or 0 for row in (0, 1)))


def test_a_scan_that_was_rounded_is_reported(tmp_path: Path) -> None:
    table = cohort(tmp_path, suffix="pet")
    path = tmp_path / "sub-1_ses-1_pet.nii.gz"
    scan = nib.load(path)
    rounded = np.rint(scan.get_fdata() / 100).astype(np.int16)  # type: ignore[attr-defined]
    nib.save(nib.Nifti1Image(rounded, scan.affine), path)  # type: ignore[attr-defined]
    done = run(table, tmp_path / "store")
    warnings = [finding for finding in done.findings if finding.code == "scan-rounded"]
    assert len(warnings) == 1 and warnings[0].severity == "warning"
    assert warnings[0].message.startswith(f"{path}: {len(np.unique(rounded))} different values, but ")


@pytest.mark.parametrize("codes", ["ARS", "PIL", "SLA"])
def test_visits_whose_axes_are_in_another_order_lie_on_one_grid(tmp_path: Path, codes: str) -> None:
    table = cohort(tmp_path)
    straight = run(table, tmp_path / "straight").store
    path = tmp_path / "sub-0_ses-1_T1w.nii.gz"
    scan = nib.load(path)
    change = nib.orientations.ornt_transform(
        nib.io_orientation(scan.affine),
        nib.orientations.axcodes2ornt(codes),  # type: ignore[attr-defined]
    )
    nib.save(scan.as_reoriented(change), path)  # type: ignore[attr-defined]
    assert nib.aff2axcodes(nib.load(path).affine) == tuple(codes)  # type: ignore[attr-defined]
    permuted = run(table, tmp_path / "permuted")
    assert permuted.failed == 0 and not failures(permuted)
    np.testing.assert_allclose(permuted.store.array("intensity")[1], straight.array("intensity")[1], atol=1e-4)
