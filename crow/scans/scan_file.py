"""The file of a scan: what is no file, headers that place voxels wrongly, and damage of compressed data.

nibabel reads no further than the last voxel, so that it does not see the checksum at the end of a compressed file.
"""

from __future__ import annotations

import io
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crow.errors import ScanError
from crow.extras import extra

with extra("scans"):
    import nibabel as nib
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.openers import ImageOpener

RETRY = "Download or convert it again, or remove it from the cohort."
COMPRESSED = (".gz", ".mgz", ".bz2", ".zst")
MAX_OFFSET = 64 << 20  # bytes of a header with its extensions
MAX_AFTER = 64 << 20  # bytes after the voxels, in which a checksum is looked for
PART = 1 << 20
MAGIC: dict[bytes, tuple[int, Any, int]] = {
    b"n+1\0": (344, nib.Nifti1Header, 348), b"n+2\0": (4, nib.Nifti2Header, 540),
}  # fmt: skip
"""Of NIfTI in one file: place of the mark, class and size of the header."""
OTHER_HALF = {".hdr": ".img", ".img": ".hdr"}


def check_file(path: str | Path) -> None:
    """Raise ScanError for a pipe or a device, and for a header that places the voxels inside itself or far behind.

    nibabel would wait for a pipe, and read everything before the voxels into memory.
    """
    _require_file(path)
    path = Path(path)
    for half, other in OTHER_HALF.items():
        second = path.with_name(path.name.replace(half, other))
        if half in path.suffixes[-2:] and second.exists():
            _require_file(second)
    try:
        with ImageOpener(str(path)) as file:
            start = file.read(540)
    except Exception:  # a damaged file, which is reported when it is opened
        return
    for magic, (place, header, size) in MAGIC.items():
        if len(start) >= size and start[place : place + 4] == magic:
            offset = float(header(start[:size], check=False)["vox_offset"])
            if not size <= offset <= MAX_OFFSET:
                raise ScanError(
                    f"{path}: damaged: its header places the voxels at byte {offset:,.0f}, which is inside the header "
                    f"or far behind it. {RETRY}"
                )


def read_voxels(image: nib.Nifti1Image) -> tuple[NDArray[np.float32], str | None]:
    """Scaled voxels of an open scan, and a note on bytes that its header does not declare.

    A compressed file is read to its end, so that its checksum is compared. Raises ScanError if it is truncated, and
    what nibabel and the decompression raise if it is damaged.
    """
    proxy, path, after = image.dataobj, image.get_filename(), 0
    if isinstance(proxy, ArrayProxy):
        name = image.file_map["image"].filename
        needed = int(proxy.offset) + math.prod(proxy.shape) * proxy.dtype.itemsize
        if name is None or Path(name).suffix in COMPRESSED:
            with image.file_map["image"].get_prepare_fileobj(mode="rb") as file:
                content, after = _unpacked(file, needed, path)
            proxy = ArrayProxy(content, (proxy.shape, proxy.dtype, proxy.offset, proxy.slope, proxy.inter))
        else:
            after = os.stat(name).st_size - needed
    values = np.asarray(proxy, dtype=np.float32)
    if after <= 0 or Path(path or "").suffix in (".mgz", ".mgh"):  # whose files end with tags
        return values, None
    return values, f"{after:,} bytes follow its voxels, which its header does not declare; they were ignored"


def _require_file(path: str | Path) -> None:
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        raise ScanError(f"{path}: no such file. Correct the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ScanError(f"{path}: cannot be read: {reason}. Correct the path.") from None
    if stat.S_ISDIR(kind):
        raise ScanError(f"{path}: is a folder; name the scan inside it.")
    if not stat.S_ISREG(kind):
        raise ScanError(f"{path}: is a pipe or a device, and not a file. Save the scan as a file.")


def _unpacked(file: ImageOpener, needed: int, path: str | None) -> tuple[io.BytesIO, int]:
    """The first bytes of a stream, which grow with what is there and not with what is declared; the number behind."""
    content, after = io.BytesIO(), 0
    while (missing := needed - content.tell()) > 0 and (part := file.read(min(PART, missing))):
        content.write(part)
    if content.tell() < needed:
        raise ScanError(f"{path}: truncated: {content.tell():,} bytes, but its header declares {needed:,}. {RETRY}")
    while part := file.read(PART):
        after += len(part)
        if after > MAX_AFTER:
            raise ScanError(
                f"{path}: damaged: more than {MAX_AFTER >> 20} MiB follow its voxels, which its header does not "
                f"declare. {RETRY}"
            )
    return content, after
