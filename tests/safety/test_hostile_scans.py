"""A damaged file of a scan is refused with a sentence or read with a note, and takes neither time nor memory."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from crow.errors import ScanError
from crow.scans.nifti import open_scan, read_scan

VOXELS = np.random.default_rng(0).integers(1, 1000, (10, 12, 9)).astype(np.int16)
RAW = nib.Nifti1Image(VOXELS, np.diag([2.0, 2, 2, 1])).to_bytes()
RAW_2 = nib.Nifti2Image(VOXELS, np.diag([2.0, 2, 2, 1])).to_bytes()
ZIPPED = gzip.compress(RAW)
PLACES = {
    "sizeof_hdr": (0, "i"), "dim0": (40, "h"), "dim1": (42, "h"), "dim2": (44, "h"), "dim3": (46, "h"),
    "datatype": (70, "h"), "pixdim1": (80, "f"), "vox_offset": (108, "f"), "scl_slope": (112, "f"),
    "scl_inter": (116, "f"), "qform_code": (252, "h"), "sform_code": (254, "h"), "quatern_b": (256, "f"),
    "srow_x0": (280, "f"), "srow_x3": (292, "f"),
}  # fmt: skip
NAN, INF = float("nan"), float("inf")
MIB = bytes(1 << 20)


def header(**values: float) -> bytes:
    content = bytearray(RAW)
    for name, value in values.items():
        place, kind = PLACES[name]
        struct.pack_into(f"<{kind}", content, place, value)
    return bytes(content)


def second(place: int, value: int) -> bytes:
    content = bytearray(RAW_2)
    struct.pack_into("<q", content, place, value)
    return bytes(content)


def bomb(start: bytes, mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(start), *(packer.compress(MIB) for _ in range(mebibytes)), packer.flush()]
    return b"".join(parts)


def flipped() -> bytes:
    content = bytearray(ZIPPED)
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


FOLLOWED = "read with a note"
FILES: dict[str, tuple[bytes, str]] = {
    **{f"cut_{size}.nii": (RAW[:size], "read as NIfTI|only a header|truncated") for size in (0, 1, 347, 352, 2511)},
    **{f"cut_{size}.nii.gz": (gzip.compress(RAW[:size]), "read as NIfTI|truncated") for size in (0, 1, 347, 352, 2511)},
    **{f"end_{size}.nii.gz": (ZIPPED[:-size], "damaged|read as NIfTI") for size in (1, 4, 8, 9, 1000, len(ZIPPED) - 3)},
    "checksum.nii.gz": (ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "CRC check failed"),
    "length.nii.gz": (ZIPPED[:-4] + b"\1\2\3\4", "Incorrect length"),
    "flipped.nii.gz": (flipped(), "damaged"),
    "followed.nii": (RAW + b"x" * 1000, FOLLOWED), "twice.nii.gz": (ZIPPED + ZIPPED, FOLLOWED),
    "garbage.nii.gz": (ZIPPED + b"garbage" * 9, "damaged"), "zeros.nii.gz": (ZIPPED + bytes(512), ""),
    **{f"dim1_{size}.nii": (header(dim1=size), "shape") for size in (0, -1, 1, -32768)},
    **{f"dim0_{size}.nii": (header(dim0=size), "shape|damaged") for size in (0, -1, 1, 2, 7, 8, 100, -32768)},
    "fewer.nii": (header(dim1=5), FOLLOWED), "huge.nii.gz": (gzip.compress(header(dim1=32767, dim2=32767)), "memory"),
    "large.nii.gz": (gzip.compress(header(dim1=500, dim2=500, dim3=500)), "truncated: 2,512 bytes"),
    **{f"offset_{k}.nii": (header(vox_offset=value), "places the voxels|offset 351") for k, value in
       enumerate((0, 1, 351, -352, 1e9, 1e30, NAN, INF))},
    **{f"slope_{k}.nii": (header(scl_slope=value), "") for k, value in enumerate((NAN, INF, 0, -1))},
    "slope.nii": (header(scl_slope=1e38), "NaN or infinite"),
    **{f"inter_{k}.nii": (header(scl_slope=1, scl_inter=value), "intercept") for k, value in enumerate((NAN, INF))},
    **{f"affine_{k}.nii": (header(srow_x0=value), "affine|its voxels have") for k, value in
       enumerate((NAN, INF, 0, 1e38, 1e-38))},
    **{f"place_{k}.nii": (header(srow_x3=value), "affine|from the origin") for k, value in enumerate((NAN, INF, 1e38))},
    **{f"turn_{k}.nii": (header(sform_code=0, qform_code=1, quatern_b=value), "affine|read as NIfTI") for k, value in
       enumerate((NAN, INF, -9))},
    **{f"size_{k}.nii": (header(sform_code=0, qform_code=1, pixdim1=value), "affine|its voxels have") for k, value in
       enumerate((NAN, INF, 1e30, 1e-30))},
    **{f"kind_{code}.nii": (header(datatype=code), "real numbers|read as NIfTI") for code in
       (0, 1, 3, 32, 128, 255, 1536, 1792, 2048, 2304, -1, 32767)},
    "one_byte.nii": (header(datatype=2), FOLLOWED),
    **{f"size_of_header_{size}.nii": (header(sizeof_hdr=size), "") for size in (0, -1, 540)},
    "second.nii": (RAW_2, ""), "dim_second.nii": (second(24, 2**62), "memory"),
    "offset_second.nii": (second(168, 2**40), "places the voxels at byte"),
    "zip.nii.gz": (b"PK\x03\x04" + bytes(400), "gzip"), "plain.nii.gz": (RAW, "gzip"), "zipped.nii": (ZIPPED, "NIfTI"),
    "page.nii.gz": (b"<html>404</html>" * 40, "gzip"), "bytes.nii": (b"\xff" * 5000, "NIfTI"),
    "dim.mgz": (gzip.compress(b"\0\0\0\1" + b"\x7f\xff\xff\xff" * 3 + bytes(400)), "read as NIfTI"),
    "bomb.nii.gz": (bomb(header(vox_offset=float(300 << 20)), 300), "places the voxels at byte"),
    "tail.nii.gz": (bomb(RAW, 300), "more than 64 MiB follow"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_scan_is_refused_or_read(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content, reason = FILES[name]
    (tmp_path / name).write_bytes(content)
    if reason in ("", FOLLOWED):
        values, note = read_scan(open_scan(tmp_path / name))
        assert values.ndim == 3 and (note is None) == (not reason)
        assert note is None or "bytes follow its voxels" in note
    else:
        with pytest.raises(ScanError, match=reason) as refusal:
            read_scan(open_scan(tmp_path / name))
        assert str(refusal.value).startswith(str(tmp_path / name))
    assert capfd.readouterr().err == ""  # nibabel's own messages name no file


def fifo(path: Path) -> None:
    os.mkfifo(path)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a pipe": (fifo, "a pipe or a device"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
    "a loop": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "no such file"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_no_scan(kind: str, tmp_path: Path) -> None:
    make, reason = NO_FILES[kind]
    make(tmp_path / "scan.nii.gz")
    with pytest.raises(ScanError, match=reason):
        open_scan(tmp_path / "scan.nii.gz")


def test_the_other_half_of_a_pair_may_not_be_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "scan.img").write_bytes(RAW[352:])
    os.mkfifo(tmp_path / "scan.hdr")
    with pytest.raises(ScanError, match=r"scan\.hdr: is a pipe or a device"):
        open_scan(tmp_path / "scan.img")


def test_a_name_with_a_null_byte_is_no_scan() -> None:
    with pytest.raises(ScanError, match="null byte"):
        open_scan("a\0b.nii")


def test_compressed_voxels_are_those_of_the_plain_file(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header.set_slope_inter(0.3, 7)
    found = []
    for name in ("a.nii", "a.nii.gz", "a.nii.bz2"):
        nib.save(image, tmp_path / name)
        found.append(read_scan(open_scan(tmp_path / name)))
    assert all(note is None for _, note in found)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][0], found[2][0])
