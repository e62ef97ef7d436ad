"""The coefficients of a scan: how much of each mode makes it of the subject's first one."""

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


class Movement:
    """Modes ``[K, 3, x, y, z]`` on ``nodes``, seen at the voxels of ``grid`` in the mask and around it.

    ``inside [X, Y, Z]``: these voxels; ``x [3, n]`` mm their places.
    """

    def __init__(self, grid: Grid, nodes: Grid, modes: Array, mask: NDArray[np.bool_]) -> None:
        self.grid, self.nodes, self.modes = grid, nodes, modes
        self.inside = ndimage.binary_dilation(mask)
        self.x = grid.points()[:, self.inside]
        self.at = Points(self.x, nodes)
        flat = self.at.from_nodes(modes.reshape(-1, *nodes.shape))
        self.modes_at_x = flat.reshape(*modes.shape[:2], -1)

    def displacement(self, coefficients: Array) -> Array:
        """Of exp(sum_k c_k B_k), ``[3, x, y, z]`` mm on the nodes."""
        return exponential(np.tensordot(coefficients.astype(np.float32), self.modes, 1), self.nodes)

    def folded(self, coefficients: Array) -> int:
        """Nodes at which the deformation turns space inside out."""
        return int((jacobian(self.displacement(coefficients), self.nodes) <= 0).sum())


class SubjectScans:
    """A subject's scans in template space, against its first (row ``first``)."""

    def __init__(self, store: ScanStore, movement: Movement, subject: str, first: int) -> None:
        self.store, self.movement, self.first = store, movement, first
        self.psi = np.asarray(store.array("anatomy")[store.subjects.index(subject)], np.float32)
        self.reference = self._image(first)
        self.y = movement.x + movement.at.from_nodes(self.psi)
        self.gradient = self._gradient(self.reference)

    def coefficients(self, row: int) -> NDArray[np.float32]:
        """c ``[K]`` of a visit by Gauss-Newton steps on sum_x r(x)^2, r = J_t(psi x) - a - b J_0(psi(exp(c B) x)).

        a and b are smooth. The gradient is the mean of that of both scans, whose noise then cancels.
        """
        c = np.zeros(len(self.movement.modes), np.float32)
        if row == self.first:
            return c
        at, image = self.movement.at, self._image(row)
        target = self._at(image, self.y)
        b, _ = at.local_contrast(target, self._at(self.reference, self.y))
        design = ((b * self.gradient + self._gradient(image)) / 2 * self.movement.modes_at_x).sum(1)
        inverse = np.linalg.pinv((design @ design.T).astype(np.float64))
        for _ in range(STEPS):
            _, r = at.local_contrast(target, self._at(self.reference, self._moved(c)))
            c = c + (inverse @ (design @ r)).astype(np.float32)
        return c

    def in_template(self, image: Array) -> Array:
        """``image [X, Y, Z]`` of the subject's aligned space, at the movement's voxels ``[n]``: of the nearest voxel,
        because values between voxels have less noise than voxels."""
        to_voxel = np.linalg.inv(self.movement.grid.matrix)
        at = to_voxel[:3, :3] @ self.y + to_voxel[:3, 3:]
        return np.asarray(ndimage.map_coordinates(image, at, order=0, mode="nearest"))

    def _moved(self, c: Array) -> Array:
        """psi(exp(c B)(x))."""
        m = self.movement
        x = m.x + m.at.from_nodes(m.displacement(c))
        return x + sample(self.psi, m.nodes, x)

    def _image(self, row: int) -> NDArray[np.float32]:
        return np.asarray(self.store.array("intensity")[row], np.float32)

    def _at(self, image: Array, points: Array) -> Array:
        return sample(image[None], self.movement.grid, points, "zeros")[0]

    def _gradient(self, image: Array) -> Array:
        """Of image(psi(x)) at the movement's voxels, ``[3, n]`` a mm, by central differences of a voxel."""
        m = self.movement
        out = np.empty((3, m.x.shape[1]), np.float32)
        for i, step in enumerate(m.grid.spacing):
            ahead, behind = (self._shifted(image, i, sign * step) for sign in (1, -1))
            out[i] = (ahead - behind) / (2 * step)
        return out

    def _shifted(self, image: Array, axis: int, step: float) -> Array:
        x = self.movement.x.copy()
        x[axis] += np.float32(step)
        return self._at(image, x + sample(self.psi, self.movement.nodes, x))
