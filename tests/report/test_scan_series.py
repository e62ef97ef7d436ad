"""The film of a subject's follow-ups: nothing half-written stays, and endings may be in capitals."""

import errno
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from crow.errors import OutputError
from crow.report.scan_series import ScanSeries


def series() -> ScanSeries:
    like = nib.Nifti1Image(np.ones((6, 7, 8), np.float32), np.eye(4))
    film = ScanSeries(like, {})
    for time in (0.0, 0.5):
        film.add(np.random.default_rng(0).uniform(1, 2, like.shape).astype(np.float32), time)
    return film


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    def full(image: nib.Nifti1Image, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        series().save(tmp_path / f"film{ending}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["FILM.GIF", "FILM.NII"])
def test_endings_in_capitals(tmp_path: Path, name: str) -> None:
    series().save(tmp_path / name)
    assert (tmp_path / name).stat().st_size
    assert (tmp_path / "FILM.json").exists() == name.endswith("NII")
