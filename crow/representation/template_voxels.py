"""The template's voxels in and next to its brain, at which images of subjects are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.scans.deform import sample
from crow.scans.grid import Grid

Array = NDArray[np.floating]


class TemplateVoxels:
    """``inside [X, Y, Z]``: the voxels of ``grid`` in and next to the mask; ``x [3, n]``: their world points in mm."""

    def __init__(self, grid: Grid, nodes: Grid, mask: NDArray[np.bool_]) -> None:
        self.grid, self.nodes = grid, nodes
        self.inside = ndimage.binary_dilation(mask)
        self.x = grid.points()[:, self.inside]

    def values(self, image: Array, psi: Array) -> Array:
        """``image [X, Y, Z]`` in the aligned space of a subject, whose anatomy is ``psi``, at the voxels ``[n]``.

        Nearest neighbour, because interpolation reduces noise.
        """
        to_voxel = np.linalg.inv(self.grid.matrix)
        at = to_voxel[:3, :3] @ (self.x + sample(psi, self.nodes, self.x)) + to_voxel[:3, 3:]
        return np.asarray(ndimage.map_coordinates(image, at, order=0, mode="nearest"))
