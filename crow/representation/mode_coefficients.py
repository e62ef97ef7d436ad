"""Estimation of the deformation coefficients of a scan relative to the subject's first scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.scans.deform import exponential, jacobian, sample
from crow.scans.grid import Grid
from crow.scans.nonlinear import Points
from crow.scans.store import ScanStore

Array = NDArray[np.floating]
STEPS = 3


class SampledModes:
    """Velocity modes ``[K, 3, x, y, z]`` on ``nodes``, sampled at the voxels of ``grid`` in and next to the mask.

    ``inside [X, Y, Z]``: these voxels; ``x [3, n]``: their world points in mm.
    """

    def __init__(self, grid: Grid, nodes: Grid, modes: Array, mask: NDArray[np.bool_]) -> None:
        self.grid, self.nodes, self.modes = grid, nodes, modes
        self.inside = ndimage.binary_dilation(mask)
        self.x = grid.points()[:, self.inside]
        self.at = Points(self.x, nodes)
        flat = self.at.from_nodes(modes.reshape(-1, *nodes.shape))
        self.modes_at_x = flat.reshape(*modes.shape[:2], -1)

    def displacement(self, coefficients: Array) -> Array:
        """Displacement of exp(sum_k c_k B_k), ``[3, x, y, z]`` mm on the nodes."""
        return exponential(np.tensordot(coefficients.astype(np.float32), self.modes, 1), self.nodes)

    def folded(self, coefficients: Array) -> int:
        """Number of nodes at which the deformation folds."""
        return int((jacobian(self.displacement(coefficients), self.nodes) <= 0).sum())


class SubjectScans:
    """A subject's scans in template space, relative to its first scan (row ``first``)."""

    def __init__(self, store: ScanStore, modes: SampledModes, subject: str, first: int) -> None:
        self.store, self.modes, self.first = store, modes, first
        self.psi = np.asarray(store.array("anatomy")[store.subjects.index(subject)], np.float32)
        self.reference = self._image(first)
        self.y = modes.x + modes.at.from_nodes(self.psi)
        self.gradient = self._gradient(self.reference)

    def coefficients(self, row: int) -> NDArray[np.float32]:
        """c ``[K]`` of a visit by Gauss-Newton steps on sum_x r(x)^2, r = J_t(psi x) - a - b J_0(psi(exp(c B) x)).

        a and b are smooth. The gradient is the mean of both scans' gradients, so that their noise cancels.
        """
        c = np.zeros(len(self.modes.modes), np.float32)
        if row == self.first:
            return c
        at, image = self.modes.at, self._image(row)
        target = self._at(image, self.y)
        b, _ = at.local_contrast(target, self._at(self.reference, self.y))
        design = ((b * self.gradient + self._gradient(image)) / 2 * self.modes.modes_at_x).sum(1)
        inverse = np.linalg.pinv((design @ design.T).astype(np.float64))
        for _ in range(STEPS):
            _, r = at.local_contrast(target, self._at(self.reference, self._warped(c)))
            c = c + (inverse @ (design @ r)).astype(np.float32)
        return c

    def in_template(self, image: Array) -> Array:
        """``image [X, Y, Z]`` in the subject's aligned space, at the template's voxels ``[n]``.

        Nearest neighbour, because interpolation reduces noise.
        """
        to_voxel = np.linalg.inv(self.modes.grid.matrix)
        at = to_voxel[:3, :3] @ self.y + to_voxel[:3, 3:]
        return np.asarray(ndimage.map_coordinates(image, at, order=0, mode="nearest"))

    def _warped(self, c: Array) -> Array:
        """psi(exp(c B)(x))."""
        m = self.modes
        x = m.x + m.at.from_nodes(m.displacement(c))
        return x + sample(self.psi, m.nodes, x)

    def _image(self, row: int) -> NDArray[np.float32]:
        return np.asarray(self.store.array("intensity")[row], np.float32)

    def _at(self, image: Array, points: Array) -> Array:
        return sample(image[None], self.modes.grid, points, "zeros")[0]

    def _gradient(self, image: Array) -> Array:
        """Gradient of image(psi(x)) per mm at the sampled voxels, ``[3, n]``, by central differences of one voxel."""
        m = self.modes
        out = np.empty((3, m.x.shape[1]), np.float32)
        for i, step in enumerate(m.grid.spacing):
            ahead, behind = (self._shifted(image, i, sign * step) for sign in (1, -1))
            out[i] = (ahead - behind) / (2 * step)
        return out

    def _shifted(self, image: Array, axis: int, step: float) -> Array:
        x = self.modes.x.copy()
        x[axis] += np.float32(step)
        return self._at(image, x + sample(self.psi, self.modes.nodes, x))
