"""Reading a NIfTI file so that whatever is wrong with it is said before anything is made of it."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from crow.errors import ScanError

AGAIN = "Download or convert it again, or take it out of the cohort."
COPIES = 4  # float32 volumes that are held while a scan is prepared
MOST_NAN = 0.5


def open_scan(path: str | Path) -> nib.Nifti1Image:
    """The header of a 3-D scan, with its voxels on disk as yet; shape ``(X, Y, Z)`` or ``(X, Y, Z, 1)``.

    Raises ScanError for a file that is missing, no NIfTI, shorter than its header says, 4-D, larger than memory, of
    colours or complex numbers, or without a place in the world (sform and qform both 0).
    """
    try:
        image = nib.load(path)
    except FileNotFoundError:
        raise ScanError(f"{path}: is not there. Mend the path.") from None
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError) as error:
        raise ScanError(f"{path}: cannot be read as NIfTI ({_short(error)}). {AGAIN}") from None
    if not isinstance(image, nib.Nifti1Image):
        raise ScanError(f"{path}: is no NIfTI file but {type(image).__name__}. Convert it to NIfTI.")
    _check_shape(path, image)
    _check_kind(path, image)
    _check_size(path, image)
    _check_place(path, image)
    return image


def read_scan(image: nib.Nifti1Image) -> tuple[NDArray[np.float32], str | None]:
    """Voxels ``[X, Y, Z]`` of an open scan, scaled as its header says, and what was mended on the way, if anything.

    Voxels that are not finite are set to 0 where they are under half of all. Raises ScanError for more of them, for
    voxels that are all the same, and for a file that ends too early.
    """
    path = image.get_filename()
    try:
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
    except (OSError, EOFError, zlib.error, ValueError, ImageFileError) as error:
        raise ScanError(f"{path}: ends too early or is damaged ({_short(error)}). {AGAIN}") from None
    bad = ~np.isfinite(values)
    share, said = float(bad.mean()), None
    if share >= MOST_NAN:
        raise ScanError(f"{path}: {share:.0%} of its voxels are no numbers (NaN or infinite). {AGAIN}")
    if share > 0:
        values = np.where(bad, np.float32(0), values)
        said = f"{int(bad.sum()):,} voxels ({share:.2%}) are no numbers (NaN or infinite); they were taken as 0"
    if values.min() == values.max():
        raise ScanError(f"{path}: all its voxels are {values.flat[0]:g}. {AGAIN}")
    return values, said


def _check_shape(path: str | Path, image: nib.Nifti1Image) -> None:
    shape = image.shape
    if len(shape) == 4 and shape[3] > 1:
        raise ScanError(
            f"{path}: holds {shape[3]} volumes; one is needed. Average or choose one, for instance with nilearn's "
            "mean_img or index_img."
        )
    if len(shape) not in (3, 4) or min(shape[:3]) < 2:
        raise ScanError(f"{path}: has the shape {' x '.join(map(str, shape))}; a 3-D scan is needed.")


def _check_kind(path: str | Path, image: nib.Nifti1Image) -> None:
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        what = "colours (RGB)" if kind.names else f"of type {kind}"
        raise ScanError(f"{path}: its voxels are {what}; one real number each is needed. Convert it to gray values.")


def _check_size(path: str | Path, image: nib.Nifti1Image) -> None:
    """Refuse what memory cannot hold or the file does not hold, from header and file size alone."""
    voxels = int(np.prod([int(size) for size in image.shape]))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if voxels * 4 * COPIES > memory:
        raise ScanError(
            f"{path}: its header claims {voxels:,} voxels; preparing them takes {voxels * 4 * COPIES / 2**30:,.0f} GiB "
            f"and this computer has {memory / 2**30:,.0f}. The header may be damaged; else use a larger computer."
        )
    name = Path(image.file_map["image"].filename or path)
    if name.suffix == ".gz":
        return
    needed = int(image.dataobj.offset) + voxels * image.get_data_dtype().itemsize  # type: ignore[attr-defined]
    found = name.stat().st_size
    if found < needed:
        what = "only a header, no voxels" if found <= image.dataobj.offset else "ends too early"  # type: ignore[attr-defined]
        raise ScanError(f"{path}: {what}: {found:,} bytes where its header needs {needed:,}. {AGAIN}")


def _check_place(path: str | Path, image: nib.Nifti1Image) -> None:
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise ScanError(
            f"{path}: has no place in the world: sform and qform are both unset, so left and right cannot be known. "
            "Convert it again from DICOM, or set the sform where you know it."
        )
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanError(f"{path}: its affine is not invertible: a voxel size is 0 or not a number. {AGAIN}")


def _short(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
