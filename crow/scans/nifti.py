"""Reading NIfTI and FreeSurfer files, with every problem reported before the data are used."""

from __future__ import annotations

import logging
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crow.cohort.dicom import ADVICE, is_dicom
from crow.errors import ScanError
from crow.extras import extra
from crow.scans.scan_file import COMPRESSED, RETRY, check_file, read_voxels

with extra("scans"):
    import nibabel as nib
    from nibabel._compression import HAVE_ZSTD
    from nibabel.filebasedimages import ImageFileError
    from nibabel.freesurfer.mghformat import MGHError
    from nibabel.spatialimages import HeaderDataError

COPIES = 4  # float32 volumes in memory while a scan is prepared
MAX_NAN_SHARE = 0.5
VOXEL_SIZES = (0.001, 100.0)  # mm
FARTHEST = 1e5  # mm from the origin
MAX_APART = 1.0  # mm: of the positions of a corner by sform and qform, that are not worth a note
DAMAGE = (
    ImageFileError, HeaderDataError, MGHError, OSError, EOFError, zlib.error, ValueError, ArithmeticError, LookupError,
    TypeError, MemoryError,
)  # fmt: skip
"""What a damaged file can raise in nibabel."""


def open_scan(path: str | Path) -> nib.Nifti1Image:
    """Open a 3-D scan, shape ``(X, Y, Z)`` or ``(X, Y, Z, 1)``; its voxels are not read yet.

    A pair of a header and an image (``.hdr``, ``.img``) is named by either. FreeSurfer's ``.mgz`` becomes NIfTI.
    Raises ScanError if the file is missing, not NIfTI, shorter than its header declares, 4-D, larger than memory, has
    colours or complex numbers, or has no orientation (sform and qform both 0).
    """
    if Path(path).suffix == ".zst":
        _require_zstd(path)
    check_file(path)
    try:
        with _quiet():
            image = nib.load(path)
    except DAMAGE as error:
        if is_dicom(Path(path)):
            raise ScanError(f"{path}: is DICOM. {ADVICE}") from None
        raise ScanError(f"{path}: cannot be read as NIfTI ({_short(error)}). {RETRY}") from None
    if isinstance(image, nib.MGHImage):
        image = _as_nifti(path, image)
    if isinstance(image, nib.AnalyzeImage) and not isinstance(image, nib.Nifti1Pair):
        raise ScanError(
            f"{path}: an Analyze image has no orientation, so left and right are unknown. Convert it again from "
            "DICOM, to NIfTI."
        )
    if isinstance(image, nib.Nifti1Pair) and not isinstance(image, nib.Nifti1Image):
        pair, image = image, nib.Nifti1Image(image.dataobj, image.affine, image.header)
        image.file_map["image"].filename = pair.file_map["image"].filename
    if not isinstance(image, nib.Nifti1Image):
        raise ScanError(f"{path}: not a NIfTI file but {type(image).__name__}. Convert it to NIfTI.")
    _check_shape(path, image)
    _check_data_type(path, image)
    _check_size(path, image)
    _check_orientation(path, image)
    return image


def read_scan(image: nib.Nifti1Image) -> tuple[NDArray[np.float32], str | None]:
    """Voxels ``[X, Y, Z]`` of an open scan, scaled by its header, and a note on repairs, if any.

    Nonfinite voxels are set to 0 if they are less than half of all. Raises ScanError if there are more, if all voxels
    have the same value, or if the file is truncated.
    """
    path = image.get_filename()
    values, note = voxels_of(image)
    bad = ~np.isfinite(values)
    share = float(bad.mean())
    if share >= MAX_NAN_SHARE:
        raise ScanError(f"{path}: {share:.0%} of its voxels are NaN or infinite. {RETRY}")
    if share > 0:
        values = np.where(bad, np.float32(0), values)
        repair = f"{int(bad.sum()):,} voxels ({share:.2%}) are NaN or infinite; they were set to 0"
        note = f"{repair}; {note}" if note else repair
    if values.min() == values.max():
        raise ScanError(f"{path}: all its voxels are {values.flat[0]:g}. {RETRY}")
    return values, note


def voxels_of(image: nib.Nifti1Image) -> tuple[NDArray[np.float32], str | None]:
    """All voxels ``[X, Y, Z]`` of an open scan, and a note on further bytes; raises ScanError if they are damaged."""
    try:
        with np.errstate(all="ignore"):
            values, note = read_voxels(image)
        return values.reshape(image.shape[:3]), note
    except DAMAGE as error:
        raise ScanError(f"{image.get_filename()}: truncated or damaged ({_short(error)}). {RETRY}") from None


def orientation_note(image: nib.Nifti1Image) -> str | None:
    """What is wrong if sform and qform place the scan differently; the sform is used, as nibabel does."""
    header = image.header
    if not (int(header["sform_code"]) and int(header["qform_code"])):
        return None
    try:
        forms = header.get_sform(), header.get_qform()
    except DAMAGE:  # a quaternion that is none
        return "its qform is invalid; the sform is used"
    corners = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)]) * [*np.array(image.shape[:3]) - 1, 1]
    apart = float(np.linalg.norm(corners @ (forms[0] - forms[1]).T, axis=1).max())
    if apart <= MAX_APART:
        return None
    flipped = np.linalg.det(forms[0][:3, :3]) * np.linalg.det(forms[1][:3, :3]) < 0
    sides = ", and exchange left and right" if flipped else ""
    return (
        f"its sform and qform differ by up to {apart:.0f} mm{sides}; the sform is used. If left, right or the position "
        "is wrong in the picture, correct the header"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without messages of nibabel and numpy, which name no file."""
    logger = logging.getLogger("nibabel.global")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logger.setLevel(before)


def _require_zstd(path: str | Path) -> None:
    if not HAVE_ZSTD:
        raise ScanError(
            f"{path}: compressed with zstd, which needs the package backports.zstd. Install it with pip install "
            "backports.zstd, or decompress the scans with zstd -d."
        )


def _as_nifti(path: str | Path, image: nib.MGHImage) -> nib.Nifti1Image:
    """A FreeSurfer image with a NIfTI header; its voxels are not read yet."""
    with image.file_map["image"].get_prepare_fileobj(mode="rb") as file:
        good = file.read(30)[28:]  # nibabel forgets a goodRASFlag of 0
    if not any(good):
        raise ScanError(
            f"{path}: has no orientation (goodRASFlag is 0), so left and right are unknown. Convert it again from "
            "DICOM."
        )
    _check_size(path, image)
    out = nib.Nifti1Image(image.dataobj, image.affine, dtype=image.get_data_dtype().newbyteorder("="))
    out.set_sform(image.affine, 1)
    out.set_qform(image.affine, 1)
    out.file_map["image"].filename = str(path)
    return out


def _check_shape(path: str | Path, image: nib.Nifti1Image) -> None:
    shape = image.shape
    if len(shape) == 4 and shape[3] > 1:
        raise ScanError(
            f"{path}: has {shape[3]} volumes; one is needed. Average them or choose one, for example with nilearn's "
            "mean_img or index_img."
        )
    if len(shape) not in (3, 4) or min(shape[:3]) < 2:
        raise ScanError(f"{path}: has the shape {' x '.join(map(str, shape))}; a 3-D scan is needed.")


def _check_data_type(path: str | Path, image: nib.Nifti1Image) -> None:
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        what = "colours (RGB)" if kind.names else f"of type {kind}"
        raise ScanError(f"{path}: its voxels are {what}; real numbers are needed. Convert it to grey values.")


def _check_size(path: str | Path, image: nib.Nifti1Image | nib.MGHImage) -> None:
    """Raise ScanError, from header and file size alone, if the voxels exceed the memory or the file."""
    voxels = math.prod(int(size) for size in image.shape)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    reading = 2 * image.get_data_dtype().itemsize + 8 + 4  # bytes per voxel: as in the file, scaled, as float32
    if (needed := voxels * max(4 * COPIES, reading)) > memory:
        raise ScanError(
            f"{path}: its header declares {voxels:,} voxels, which need {needed / 2**30:,.0f} GiB of "
            f"memory; this computer has {memory / 2**30:,.0f} GiB. The header may be damaged; if not, use a larger "
            "computer."
        )
    name = Path(image.file_map["image"].filename or path)
    if name.suffix in COMPRESSED:
        return
    needed = int(image.dataobj.offset) + voxels * image.get_data_dtype().itemsize  # type: ignore[attr-defined]
    found = name.stat().st_size
    if found < needed:
        empty = found <= int(image.dataobj.offset)  # type: ignore[attr-defined]
        what = "only a header, no voxels" if empty else "truncated"
        raise ScanError(f"{path}: {what}: {found:,} bytes, but its header declares {needed:,}. {RETRY}")


def _check_orientation(path: str | Path, image: nib.Nifti1Image) -> None:
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise ScanError(
            f"{path}: has no orientation: sform and qform are both unset, so left and right are unknown. "
            "Convert it again from DICOM, or set the sform if you know it."
        )
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanError(f"{path}: its affine is not invertible: a voxel size is 0 or not a number. {RETRY}")
    sizes, place = np.linalg.norm(affine[:3, :3], axis=0), np.abs(affine[:3, 3]).max()
    if sizes.min() < VOXEL_SIZES[0] or sizes.max() > VOXEL_SIZES[1] or place > FARTHEST:
        raise ScanError(
            f"{path}: its voxels have {' x '.join(f'{size:.3g}' for size in sizes)} mm, and its first one is up to "
            f"{place:.3g} mm from the origin. The header is damaged or in other units. {RETRY}"
        )


def _short(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
