"""Warping a scan on its own grid with a single cubic interpolation, slab by slab.

A maps world points of the store's grid to those of the scan I. With phi given on the store's grid, the warped scan is
I(A(phi(A^-1 y))) at the scan's voxels y.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.scans.deform import sample, slabs
from crow.scans.grid import Grid

Volume = NDArray[np.float32]
MIN_DISPLACEMENT = 1e-3  # mm: voxels that move less keep their value


class ScanWarper:
    """Warps ``image [X, Y, Z]`` on ``grid``; ``to_scan [4, 4]`` is A. Spline coefficients are computed once."""

    def __init__(self, image: Volume, grid: Grid, to_scan: NDArray[np.float64]) -> None:
        self.image, self.grid, self.to_scan = image, grid, to_scan
        self.splines = ndimage.spline_filter(image, 3, output=np.float32, mode="nearest")

    def warp(self, displacement: Volume, nodes: Grid) -> Volume:
        """The scan warped by phi, whose displacement ``[3, x, y, z]`` mm is on ``nodes`` in the store's space."""
        out = self.image.copy()
        linear = self.to_scan[:3, :3].astype(np.float32)
        to_voxel = np.linalg.inv(self.grid.matrix)[:3].astype(np.float32)
        for part, y in slabs(self.grid):
            u = sample(displacement, nodes, self.to_store(y))
            moves = np.abs(u).max(0) > MIN_DISPLACEMENT
            if moves.any():
                points = y[:, moves] + linear @ u[:, moves]
                voxels = to_voxel[:, :3] @ points + to_voxel[:, 3:]
                found = ndimage.map_coordinates(self.splines, voxels, order=3, mode="nearest", prefilter=False)
                out[part][moves] = found
        return out

    def at_voxels(self, values: Volume, grid: Grid, outside: str = "zeros") -> Volume:
        """Interpolate ``values [c, x, y, z]`` on a grid of the store's space at the scan's voxels, ``[c, X, Y, Z]``."""
        out = np.empty((len(values), *self.grid.shape), np.float32)
        for part, y in slabs(self.grid):
            out[:, part] = sample(values, grid, self.to_store(y), outside)
        return out

    def variance_of_change(self, factors: Volume, nodes: Grid, image: Volume) -> Volume:
        """Variance of the intensities of ``image`` for displacements ``factors [K, 3, x, y, z]`` times white noise."""
        out = np.zeros(self.grid.shape, np.float32)
        gradient = np.stack([np.gradient(image, axis=axis) for axis in range(3)])
        # A displacement u in the store's space changes intensities by (A' M' dI/dvoxel)' u.
        to_voxel = np.linalg.inv(self.grid.matrix)[:3, :3] @ self.to_scan[:3, :3]
        flat = factors.reshape(-1, *nodes.shape)
        for part, y in slabs(self.grid):
            g = np.tensordot(to_voxel.T.astype(np.float32), gradient[:, part], 1)
            moved = sample(flat, nodes, self.to_store(y)).reshape(len(factors), 3, *g.shape[1:])
            out[part] = np.square((moved * g).sum(1)).sum(0)
        return out

    def to_store(self, y: Volume) -> Volume:
        """A^-1 y for points y ``[3, *any]``."""
        back = np.linalg.inv(self.to_scan).astype(np.float32)
        return np.tensordot(back[:3, :3], y, 1) + back[:3, 3].reshape(3, *[1] * (y.ndim - 1))
