"""Regional values of a prepared scan: mean intensity or volume of each atlas region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crow.scans.atlas import Atlas
from crow.scans.deform import compose, exponential, jacobian, sample
from crow.scans.store import ScanStore


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
    nodes, grid = store.info.velocity_grid, store.info.grid
    assert nodes is not None
    back = exponential(-np.asarray(store.array("velocity")[row]), nodes)
    displacement = compose(np.asarray(store.array("anatomy")[store.subject_index(row)]), back, nodes)
    change = sample(jacobian(displacement, nodes)[None].astype(np.float32), nodes, grid.points())[0]
    linear = abs(float(np.linalg.det(np.asarray(store.array("to_scan")[row])[:3, :3])))
    labels = list(atlas.names)
    sums = np.bincount(atlas.labels.ravel(), weights=change.ravel(), minlength=max(labels) + 1)
    return np.asarray(sums[labels] * linear * grid.voxel_volume, np.float64)
