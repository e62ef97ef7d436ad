"""Masks beside the scans of a store: which belongs to which, and where it lies on the store's grid."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from crow.cohort.bids_files import parse
from crow.cohort.options import listed
from crow.errors import CohortError, ScanError
from crow.representation.cross_sectional import Visits
from crow.scans.deform import sample
from crow.scans.nifti import open_scan
from crow.scans.store import ScanStore

SUFFIXES = ("dseg", "mask")
Mask = NDArray[np.bool_]


def find_masks(store: ScanStore, visits: Visits, folder: Path) -> pd.Series:
    """The file of a mask for those visits that have one, by their row.

    In a BIDS tree that is a ``dseg`` or ``mask`` of the same subject and session; otherwise the file has the name of
    the scan. Raises CohortError where no visit has one, or one has several.
    """
    found: dict[Any, list[Path]] = {}
    for path in sorted(folder.rglob("*.nii*")) if folder.is_dir() else []:
        file = parse(path)
        if file is not None and file.suffix in SUFFIXES:
            found.setdefault(file.visit, []).append(path)
        found.setdefault(path.name, []).append(path)
    paths: dict[Any, Path] = {}
    for row, scan in visits["scan"].items():
        file = parse(Path(scan))
        files = (found.get(file.visit) if file else None) or found.get(Path(scan).name, [])
        files = [mask for mask in files if mask.resolve() != Path(scan).resolve()]
        if len(files) > 1:
            raise CohortError(
                f"{folder}: several masks of {Path(scan).name}: {listed(mask.name for mask in files)}. Keep one of "
                "them in a folder of its own."
            )
        if files:
            paths[row] = files[0]
    if not paths:
        name = Path(visits["scan"].iloc[0]).name
        raise CohortError(
            f"{folder}: no mask of any scan in {store.path}. For {name} name it by the same subject and session and "
            "the suffix dseg or mask, as in sub-01_ses-1_dseg.nii.gz, or just as the scan."
        )
    return pd.Series(paths)


def read_mask(store: ScanStore, row: int, path: Path, label: int | None = None) -> Mask:
    """A mask on the store's grid, ``[X, Y, Z]``: the voxels of ``label``, or all that are not 0 of a file of one label.

    Raises ScanError for a file that cannot be read, is not on the grid of its scan, has no such voxel, or has several
    labels (or no labels but probabilities) while none is chosen.
    """
    from crow.scans.linear import resample  # registration takes a second to import

    image = open_scan(path)
    _check_grid(image, path, str(store.visits["scan"].iloc[row]))
    chosen = _chosen(_voxels(image, path), path, label)
    to_scan = np.asarray(store.array("to_scan")[row])
    on_grid = resample(chosen.astype(np.float32), image.affine, store.info.grid, to_scan, _moved(store, row))
    mask: Mask = on_grid > 0.5
    if not mask.any():
        raise ScanError(f"{path}: nothing of the mask lies on the grid of {store.path}. Is it in the scan's space?")
    return mask


def _check_grid(image: nib.Nifti1Image, path: Path, scan: str) -> None:
    like = open_scan(scan)
    same = image.shape[:3] == like.shape[:3]
    if not same or not np.allclose(image.affine, like.affine, atol=1e-2):
        sizes = [" x ".join(map(str, each.shape[:3])) for each in (image, like)]
        what = "lies elsewhere" if same else f"has {sizes[0]} voxels"
        raise ScanError(
            f"{path}: {what}; its scan, {Path(scan).name}, has {sizes[1]}. Give the mask on the grid of the scan, with "
            "the scan's affine."
        )


def _voxels(image: nib.Nifti1Image, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(image.dataobj, np.float32).reshape(image.shape[:3])
    except (OSError, EOFError, zlib.error, ValueError, ImageFileError) as error:
        raise ScanError(f"{path}: ends too early or is damaged ({error}). Make it again.") from None


def _chosen(values: NDArray[Any], path: Path, label: int | None) -> Mask:
    labels = np.unique(values[values != 0])
    if label is None and len(labels) > 1:
        if (labels != np.rint(labels)).any():
            raise ScanError(f"{path}: holds values such as {labels[len(labels) // 2]:g}, no mask. Threshold it.")
        raise ScanError(f"{path}: holds the labels {listed(f'{one:g}' for one in labels)}. Choose one with --label.")
    chosen: Mask = values != 0 if label is None else values == label
    if not chosen.any():
        there = listed(f"{one:g}" for one in labels) if len(labels) else "nothing but 0"
        what = "an empty mask" if label is None else f"no voxel has the label {label}, it holds {there}"
        raise ScanError(f"{path}: {what}. Mend it, or take it out of the folder.")
    return chosen


def _moved(store: ScanStore, row: int) -> NDArray[np.floating] | None:
    """The displacement of the grid's points with which a scan of no velocities was prepared."""
    fields, arrays = store.info.velocity_grid, store.arrays
    if fields is None or "anatomy" not in arrays or "velocity" in arrays:
        return None
    subject = store.subjects.index(store.visits["subject"].iloc[row])
    return sample(np.asarray(store.array("anatomy")[subject]), fields, store.info.grid.points())
