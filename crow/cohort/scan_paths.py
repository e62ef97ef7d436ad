"""The scans of a table: which column holds their paths, and which of them can be used."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from crow.cohort.catalogue import MISSING_SCAN, NO_SCAN, REPEATED_SCAN, TWO_SCANS
from crow.cohort.columns import Columns
from crow.cohort.dicom import ADVICE, is_dicom
from crow.cohort.findings import Findings
from crow.cohort.names import normal
from crow.cohort.options import ReadOptions, one_column
from crow.cohort.rows import LINE, OWN, drop
from crow.cohort.schema import SCAN
from crow.errors import CohortError

NIFTI = (".nii", ".nii.gz", ".nii.zst", ".nii.bz2")
SCAN_FILES = (*NIFTI, ".hdr", ".img", ".mgz", ".mgh")
USUAL = ("scan", "scan_path", "nifti", "nifti_path", "image_path", "image")


def find_scan(columns: Columns, options: ReadOptions) -> str | None:
    """The column with the paths of NIfTI or FreeSurfer files, None if there is none.

    Raises CohortError if there are several and none has a usual name.
    """
    if options.scan is not None:
        return one_column("scan", options.scan, columns.names, columns.path)
    found = [name for name in columns.names if _holds_paths(columns, name)]
    usual = [name for known in USUAL for name in found if normal(name) == known]
    if len(found) > 1 and not usual:
        flags = " or ".join(f"--scan {name}" for name in found)
        raise CohortError(f"{columns.path}: several columns hold paths of scans: add {flags}.")
    return next(iter(usual or found), None)


def scan_paths(columns: Columns, name: str, scan_root: Path | None) -> pd.Series:
    """The cells as absolute paths, None where empty; a relative path starts at ``scan_root``, else beside the table.

    Raises CohortError for a path that leaves that folder: by ``..``, or an absolute one outside a given ``scan_root``.
    """
    root = Path(os.path.abspath(scan_root or Path(columns.path).parent))
    require_utf8(root)
    if not root.is_dir():
        raise CohortError(f"{root}: --scan-root is no folder. Give the folder where the scans are.")
    paths: list[str | None] = []
    for cell, line in zip(columns.words(name), columns.lines, strict=True):
        if cell is None:
            paths.append(None)
            continue
        path = Path(os.path.normpath(root / cell))
        if not path.is_relative_to(root) and (scan_root is not None or not Path(cell).is_absolute()):
            raise CohortError(
                f"{columns.at(line)}, column {name}: {cell} leaves the folder of the scans, {root}. "
                "Correct the path, or give a folder that holds all scans with --scan-root."
            )
        paths.append(str(path))
    return pd.Series(paths, columns.frame.index, dtype=object)


def require_utf8(path: Path) -> None:
    """Raises CohortError for a path that no text file can hold, as a store and a BIDS tree need to."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise CohortError(f"{shown}: the path of the scans is not UTF-8. Rename the file or folder.") from None


def with_scans(rows: pd.DataFrame, columns: Columns, name: str, findings: Findings) -> pd.DataFrame:
    """The rows whose scan is there, once; raises CohortError, naming the first, if no row has one."""
    rows = drop(rows, rows[SCAN].isna(), NO_SCAN, findings, name=name)
    if rows.empty:
        raise CohortError(f"{columns.path}, column {name}: holds no path. Fill it, or name another with --scan.")
    there = rows[SCAN].map(lambda path: path.endswith(SCAN_FILES) and os.path.isfile(path)).astype(bool)
    if not there.any():
        line, path = rows[[LINE, SCAN]].iloc[0]
        if is_dicom(Path(path)):
            raise CohortError(f"{columns.at(line)}, column {name}: {path} is DICOM. {ADVICE}")
        raise CohortError(
            f"{columns.at(line)}, column {name}: {path} is not there or no NIfTI file (.nii, .nii.gz, .hdr, .img; also "
            f".mgz); {len(rows):,} rows, and none has one. Give the folder of the paths with --scan-root, or read the "
            f"table without scans with --exclude {name}."
        )
    first = _first(rows, ~there)
    advice = " but DICOM, which dcm2niix converts" if first and is_dicom(Path(first)) else ""
    rows = drop(rows, ~there, MISSING_SCAN, findings, first=first, advice=advice)
    again = rows.duplicated(SCAN) & ~rows.duplicated(["subject", OWN, SCAN])
    return drop(rows, again, REPEATED_SCAN, findings, first=_first(rows, again))


def one_scan_a_visit(rows: pd.DataFrame, hint: str, findings: Findings) -> pd.DataFrame:
    """The first scan of a subject and time, with a warning that names it and the others."""
    first = rows.groupby(["subject", OWN])[SCAN].transform("first")
    other = rows[SCAN] != first
    for (_, row), kept in zip(rows[other].iterrows(), first[other], strict=True):
        findings.add(TWO_SCANS, rows=[row[LINE]], subject=row["subject"], other=row[SCAN], kept=kept, hint=hint)
    return rows[~other]


def _first(rows: pd.DataFrame, where: pd.Series) -> str:
    return next(iter(rows[SCAN][where]), "")


def _holds_paths(columns: Columns, name: str) -> bool:
    if columns.is_number(name):
        return False
    words = columns.words(name).dropna()
    return len(words) > 0 and all(word.lower().endswith(SCAN_FILES) for word in words)
