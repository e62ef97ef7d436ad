"""A rough brain mask of a scan that may show the whole head: enough for linear registration, not a segmentation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.scans.grid import Grid
from crow.scans.template import load_template

Volume = NDArray[np.float32]
Matrix = NDArray[np.float64]

COARSE = 4.0  # mm
AROUND, DEEP = 14.0, 18.0  # mm: margin around the template's brain, and depth that is surely inside the subject's
DARK, BRIGHT = 0.5, 1.3  # tissue range, as factors of the median and of the 95th percentile deep inside
OPENING, CLOSING = 4.1, 6.1  # mm
PLAUSIBLE_ML = (400.0, 2500.0)


def brain_of(values: Volume, grid: Grid, to_scan: Matrix) -> NDArray[np.bool_]:
    """Brain mask ``[X, Y, Z]`` of a scan on an axis-aligned grid; ``to_scan [4, 4]`` roughly maps the template to it.

    Keeps tissue about as bright as deep brain tissue and removes skin and eyes by morphological opening. If the result
    has no plausible brain volume, returns all nonzero voxels near the template's brain.
    """
    inside, around = (_resampled(distance, grid, to_scan) for distance in _distances())
    seen = values > 0
    near, deep = (around < AROUND) & seen, (inside > DEEP) & seen
    if deep.sum() < 50:
        return near
    median, bright = np.percentile(values[deep], [50, 95])
    tissue = near & (values > DARK * median) & (values < BRIGHT * bright)
    parts, count = ndimage.label(ndimage.binary_erosion(tissue, _ball(OPENING, grid)))
    if count == 0:
        return near
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    brain = ndimage.binary_dilation(parts == sizes.argmax(), _ball(CLOSING, grid)) & tissue
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(brain, _ball(CLOSING, grid)))
    ml = float(brain.sum()) * grid.voxel_volume / 1000
    return brain if PLAUSIBLE_ML[0] < ml < PLAUSIBLE_ML[1] else near


def template_overlap(values: Volume, grid: Grid) -> float:
    """Dice coefficient of the brain in a scan on a grid of the template's space and the template's brain.

    Only in the box of the scan's voxels that are not 0: a scan may show a part of the brain.
    """
    template = load_template(COARSE)
    matrix = np.linalg.inv(grid.matrix) @ template.grid.matrix
    coarse = ndimage.affine_transform(
        values, matrix[:3, :3], matrix[:3, 3], output_shape=template.grid.shape, order=1, output=np.float32
    )
    boxes = ndimage.find_objects((coarse != 0).astype(np.uint8))
    if not boxes:
        return 0.0
    brain, known = brain_of(coarse, template.grid, np.eye(4))[boxes[0]], template.mask[boxes[0]]
    return float(2 * (brain & known).sum() / max(brain.sum() + known.sum(), 1))


@lru_cache(maxsize=1)
def _distances() -> tuple[Volume, Volume]:
    """Distance in mm to the surface of the template's brain, from inside and from outside, on its coarse grid."""
    template = load_template(COARSE)
    inside = ndimage.distance_transform_edt(template.mask) * COARSE
    around = ndimage.distance_transform_edt(~template.mask) * COARSE
    return inside.astype(np.float32), around.astype(np.float32)


def _resampled(distance: Volume, grid: Grid, to_scan: Matrix) -> Volume:
    matrix = np.linalg.inv(to_scan @ load_template(COARSE).grid.matrix) @ grid.matrix
    return ndimage.affine_transform(
        distance, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=1, mode="nearest"
    )


def _ball(radius: float, grid: Grid) -> NDArray[np.bool_]:
    size = (radius / grid.spacing).astype(int)
    axes = np.ogrid[tuple(slice(-n, n + 1) for n in size)]
    return np.asarray(sum((axis * mm / radius) ** 2 for axis, mm in zip(axes, grid.spacing, strict=True)) <= 1)
