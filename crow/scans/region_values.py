"""Regional values of a prepared scan: mean intensity or volume of each atlas region."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from crow.scans.atlas import Atlas, built_in
from crow.scans.deform import compose, exponential, volume_ratio
from crow.scans.grid import Grid
from crow.scans.store import ScanStore
from crow.scans.template import load_template


def structures_of(store: ScanStore) -> Atlas | None:
    """The template's structures that have voxels on the grid of ``store``; None if that is not the template's grid."""
    resolution = store.info.settings.get("resolution")
    if resolution is None or load_template(float(resolution)).grid != store.info.grid:
        return None
    atlas = built_in(store.info.grid, float(resolution))
    present = np.unique(atlas.labels)
    return replace(atlas, names={label: name for label, name in atlas.names.items() if label in present})


def means(store: ScanStore, row: int, atlas: Atlas) -> NDArray[np.float64]:
    """Mean intensity of every region, ``[regions]``."""
    return image_means(np.asarray(store.array("intensity")[row]), atlas)


def image_means(image: NDArray[np.floating], atlas: Atlas) -> NDArray[np.float64]:
    """Mean of every region of an image ``[X, Y, Z]`` on the atlas's grid, ``[regions]``."""
    labels = list(atlas.names)
    counts = np.bincount(atlas.labels.ravel(), minlength=max(labels) + 1)
    sums = np.bincount(atlas.labels.ravel(), weights=image.ravel(), minlength=max(labels) + 1)
    return np.asarray(sums[labels] / np.maximum(counts[labels], 1), np.float64)


def volumes(store: ScanStore, row: int, atlas: Atlas) -> NDArray[np.float64]:
    """Volume of every region in the scan's own space, mm3, ``[regions]``.

    The integral over the region of the Jacobian determinant of to_scan . psi . exp(-w), which maps the template to the
    visit.
    """
    nodes = store.info.velocity_grid
    assert nodes is not None
    anatomy, velocity = store.array("anatomy")[store.subject_index(row)], store.array("velocity")[row]
    linear = abs(float(np.linalg.det(np.asarray(store.array("to_scan")[row])[:3, :3])))
    labels = list(atlas.names)
    sums = label_volumes(np.asarray(anatomy), np.asarray(velocity), nodes, atlas.labels, store.info.grid, max(labels))
    return np.asarray(linear * sums[labels], np.float64)


def label_volumes(
    anatomy: NDArray[np.floating], velocity: NDArray[np.floating], nodes: Grid, labels: NDArray[np.integer],
    grid: Grid, most: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Volume of each of the ``labels [X, Y, Z]`` above 0 at a visit, mm3 of aligned space, ``[most + 1]``."""
    displacement = compose(anatomy, exponential(-velocity, nodes), nodes)
    (box,) = find_objects((labels > 0).astype(np.int8))
    labels, grid = labels[box], grid.part(box)
    ratio = volume_ratio(displacement, nodes, grid)
    sums = np.bincount(labels.ravel(), weights=ratio.ravel(), minlength=most + 1)
    return np.asarray(sums * grid.voxel_volume, np.float64)
