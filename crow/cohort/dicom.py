"""DICOM files and folders, which crow does not read: recognised to name the way out."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

ENDINGS = (".dcm", ".ima", ".dicom")
LOOKED_AT = 50  # files of a folder
ADVICE = "Convert them to NIfTI with dcm2niix (or to a BIDS tree with heudiconv or dcm2bids), then use the result."


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its name or content, or one of the first files of a folder is."""
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        return any(is_dicom(file) for file in islice(files, LOOKED_AT))
    if path.name.lower().endswith(ENDINGS):
        return True
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
