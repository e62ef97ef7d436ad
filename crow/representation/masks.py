"""Masks of the scans of a store: matching files to scans, and resampling to the store's grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from crow.cohort.bids_files import parse
from crow.cohort.options import listed
from crow.errors import CohortError, ScanError
from crow.extras import extra
from crow.representation.cross_sectional import Visits
from crow.scans.deform import sample
from crow.scans.nifti import open_scan, voxels_of
from crow.scans.store import ScanStore

with extra("scans"):
    import nibabel as nib

SUFFIXES = ("dseg", "mask")
MARGIN = 2  # voxels around what any training mask holds
Mask = NDArray[np.bool_]


def find_masks(store: ScanStore, visits: Visits, folder: Path) -> pd.Series:
    """The mask file of each visit that has one, indexed by row.

    In a BIDS tree, a ``dseg`` or ``mask`` of the same subject and session; otherwise a file with the name of the scan.
    Raises CohortError if no visit has a mask, or a visit has several.
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
                f"{folder}: several masks for {Path(scan).name}: {listed(mask.name for mask in files)}. Keep only "
                "one of them in this folder."
            )
        if files:
            paths[row] = files[0]
    if not paths:
        name = Path(visits["scan"].iloc[0]).name
        raise CohortError(
            f"{folder}: no mask for any scan in {store.path}. A mask for {name} needs the same subject and session and "
            "the suffix dseg or mask (sub-01_ses-1_dseg.nii.gz), or the name of the scan."
        )
    return pd.Series(paths)


def read_mask(store: ScanStore, row: int, path: Path, label: int | None = None) -> Mask:
    """Read a mask and resample it to the store's grid, ``[X, Y, Z]``.

    The mask is the voxels of ``label``, or all nonzero voxels if the file has a single label. Raises ScanError if the
    file cannot be read, is not on the grid of its scan, has no such voxel, or has several labels or probabilities and
    no ``label`` is given.
    """
    from crow.scans.linear import resample  # takes a second to import

    image = open_scan(path)
    _check_grid(image, path, str(store.visits["scan"].iloc[row]))
    chosen = _chosen(voxels_of(image)[0], path, label)
    to_scan, psi, nodes = np.asarray(store.array("to_scan")[row]), store.applied_anatomy(row), store.info.velocity_grid
    displacement = None if psi is None or nodes is None else sample(psi, nodes, store.info.grid.points())
    on_grid = resample(chosen.astype(np.float32), image.affine, store.info.grid, to_scan, displacement)
    mask: Mask = on_grid > 0.5
    if not mask.any():
        raise ScanError(
            f"{path}: the mask does not overlap the grid of {store.path}. Check that it is in the scan's space."
        )
    return mask


def around_masks(masks: Mask) -> Mask:
    """The voxels of a mask and `MARGIN` voxels around."""
    region: Mask = ndimage.binary_dilation(masks, iterations=MARGIN)
    return region


def _check_grid(image: nib.Nifti1Image, path: Path, scan: str) -> None:
    like = open_scan(scan)
    same = image.shape[:3] == like.shape[:3]
    if not same or not np.allclose(image.affine, like.affine, atol=1e-2):
        sizes = [" x ".join(map(str, each.shape[:3])) for each in (image, like)]
        what = "has another affine than" if same else f"has {sizes[0]} voxels, unlike"
        raise ScanError(
            f"{path}: {what} its scan, {Path(scan).name} ({sizes[1]} voxels). Resample the mask to the grid of the "
            "scan."
        )


def _chosen(values: NDArray[Any], path: Path, label: int | None) -> Mask:
    labels = np.unique(values[values != 0])
    if label is None and len(labels) > 1:
        if (labels != np.rint(labels)).any():
            raise ScanError(
                f"{path}: has values such as {labels[len(labels) // 2]:g}, so it is not a mask. Threshold it."
            )
        raise ScanError(f"{path}: has the labels {listed(f'{one:g}' for one in labels)}. Choose one with --label.")
    chosen: Mask = values != 0 if label is None else values == label
    if not chosen.any():
        found = listed(f"{one:g}" for one in labels) if len(labels) else "only 0"
        what = "the mask is empty" if label is None else f"no voxel has the label {label}; the labels are {found}"
        raise ScanError(f"{path}: {what}. Correct it, or remove it from the folder.")
    return chosen
