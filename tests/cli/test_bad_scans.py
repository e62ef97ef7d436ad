"""One bad scan of many is told and left out; nothing but bad ones, and what is asked wrongly, leave with 2."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from simulated_scans import cohort, head, save

from crow.cli.main import main
from crow.scans.store import ScanStore

SYNTHETIC = Path(__file__).parents[3] / "shared" / "data" / "bids_synthetic"


def header_only(path: Path) -> None:
    with gzip.open(path) as file:
        start = file.read(352)
    with gzip.open(path, "wb") as file:
        file.write(start)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def four_dimensions(path: Path) -> None:
    save(path, np.stack([head()] * 2, -1))


def not_a_number(path: Path) -> None:
    save(path, np.full_like(head(), np.nan))


def all_zero(path: Path) -> None:
    save(path, np.zeros_like(head()))


def larger_than_memory(path: Path) -> None:
    with gzip.open(path) as file:
        header = nib.Nifti1Header.from_fileobj(file)
    header.set_data_shape((30000, 30000, 30000))
    with gzip.open(path, "wb") as file:
        file.write(header.binaryblock + bytes(4))


def no_place(path: Path) -> None:
    image = nib.Nifti1Image(head(), None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, path)


BAD: dict[Callable[[Path], None], str] = {
    header_only: "truncated: 352 bytes, but its header declares",
    truncated: "truncated or damaged",
    four_dimensions: "has 2 volumes; one is needed",
    not_a_number: "100% of its voxels are NaN or infinite",
    all_zero: "all its voxels are 0",
    larger_than_memory: "its header declares 27,000,000,000,000 voxels",
    no_place: "sform and qform are both unset",
}


def prepare(table: Path, *more: str) -> int:
    words = ["prepare", "--cohort", str(table), "--out", str(table.parent / "store"), "--resolution", "8"]
    with pytest.raises(SystemExit) as left:
        main([*words, "--registration", "none", "--jobs", "1", *more])
    return int(left.value.code or 0)


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_one_bad_scan_is_a_warning(
    spoil: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cohort(tmp_path)
    bad = tmp_path / pd.read_csv(table)["scan"][2]
    spoil(bad)
    assert prepare(table) == 0
    told = capsys.readouterr().out
    assert f"warning: {bad}: " in told
    assert BAD[spoil] in told
    assert list(ScanStore.open(tmp_path / "store").rows) == [0, 1, 3]


def test_a_scan_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cohort(tmp_path)
    (tmp_path / pd.read_csv(table)["scan"][2]).unlink()
    assert prepare(table) == 0
    assert "is not there or no NIfTI file" in capsys.readouterr().out
    assert len(ScanStore.open(tmp_path / "store").rows) == 3


def test_only_bad_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cohort(tmp_path)
    for scan in pd.read_csv(table)["scan"]:
        all_zero(tmp_path / scan)
    assert prepare(table) == 2
    told = capsys.readouterr()
    assert "None of the 4 scans could be prepared" in told.err
    assert "Prepared" not in told.out


def test_an_unknown_modality(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(cohort(tmp_path), "--modality", "bold") == 2
    assert "--modality bold: not supported; choose from T1w" in capsys.readouterr().err


def test_an_empty_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = save(tmp_path / "mask.nii.gz", np.zeros(head().shape, np.uint8))
    assert prepare(cohort(tmp_path), "--mask", str(mask)) == 2
    assert "mask.nii.gz: all its voxels are 0" in capsys.readouterr().err


@pytest.mark.skipif(not SYNTHETIC.is_dir(), reason="public data are not beside the repository")
def test_a_tree_of_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = sorted(str(path.relative_to(SYNTHETIC)) for path in SYNTHETIC.rglob("*_T1w.nii"))
    rows = {"subject": [scan[:6] for scan in scans], "age": [70.0 + k for k in range(len(scans))], "scan": scans}
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    assert prepare(tmp_path / "cohort.csv", "--scan-root", str(SYNTHETIC)) == 2
    told = capsys.readouterr().err
    assert "None of the 10 scans could be prepared" in told
    assert "only a header, no voxels" in told
