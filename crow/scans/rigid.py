"""Rigid registration of two scans of one head, accurate to a few hundredths of a millimetre.

Gauss-Newton steps on the difference of two images after removal of slow intensity variation, each voxel weighted by
Tukey's biweight of its difference, so that real change does not bias the alignment (Reuter et al. 2010, Highly accurate
inverse consistent registration). On simulated visits it is several times more accurate and faster than mutual
information (DIPY, ANTsPy): `benchmarks/rigid.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import expm

from crow.scans.grid import Grid

Volume = NDArray[np.float32]
Matrix = NDArray[np.float64]

LEVELS = ((8.0, 4.0), (4.0, 3.0), (2.0, 1.0))  # mm: spacing of the voxels compared, and blur
MAX_STEPS, TOLERANCE = 15, 1e-3  # mm
SLOW = 16.0  # mm: blur that separates slow intensity variation from anatomy
TUKEY = 4.685
HEAD = 70.0  # mm: radius at which rotations are converted to displacements
GENERATORS = np.zeros((6, 4, 4))
for _k in range(3):
    GENERATORS[_k, _k, 3] = 1
    GENERATORS[3 + _k, (_k + 1) % 3, (_k + 2) % 3] = -1
    GENERATORS[3 + _k, (_k + 2) % 3, (_k + 1) % 3] = 1


def flattened(values: Volume, grid: Grid, brain: NDArray[np.bool_]) -> Volume:
    """The image divided by its local mean inside the brain, at most 2; 1 is the local mean."""
    sigma = SLOW / grid.spacing
    inside = ndimage.gaussian_filter(brain.astype(np.float32), sigma, truncate=3)
    slow = ndimage.gaussian_filter(values * brain, sigma, truncate=3) / np.maximum(inside, 1e-3)
    return np.clip(values / np.maximum(slow, 1e-3 * float(values.max())), 0, 2).astype(np.float32)


def rigid(
    fixed: Volume, brain: NDArray[np.bool_], fixed_grid: Grid, moving: Volume, grid: Grid, start: Matrix
) -> Matrix:
    """Map from world points of ``fixed`` to those of ``moving`` (both `flattened`, on axis-aligned grids), ``[4, 4]``.

    Images are compared inside ``brain``. ``start`` must be within about 10 mm and 10 degrees.
    """
    matrix = start
    for apart, blur in LEVELS:
        f = ndimage.gaussian_filter(fixed, blur / fixed_grid.spacing, truncate=3)
        m = ndimage.gaussian_filter(moving, blur / grid.spacing, truncate=3)
        matrix = _level(f, brain, fixed_grid, m, grid, matrix, apart)
    return matrix


def _level(
    fixed: Volume, brain: NDArray[np.bool_], fixed_grid: Grid, moving: Volume, grid: Grid, matrix: Matrix, apart: float
) -> Matrix:
    every = np.maximum(np.round(apart / fixed_grid.spacing).astype(int), 1)
    thin = tuple(slice(None, None, step) for step in every)
    voxels = np.indices(fixed.shape)[(slice(None), *thin)][:, brain[thin]]
    x = fixed_grid.matrix[:3, :3] @ voxels + fixed_grid.matrix[:3, 3:]
    f = fixed[tuple(voxels)]
    by_voxel = np.stack([np.gradient(fixed, axis=axis)[tuple(voxels)] for axis in range(3)])
    g = np.linalg.inv(fixed_grid.matrix[:3, :3]).T @ by_voxel
    centre = np.eye(4)
    centre[:3, 3] = x.mean(1)
    rotations = np.cross(x - centre[:3, 3:], g, axis=0)
    J = np.concatenate([g, rotations])
    to_voxel = np.linalg.inv(grid.matrix)
    for _ in range(MAX_STEPS):
        y = to_voxel @ matrix
        m = ndimage.map_coordinates(moving, y[:3, :3] @ x + y[:3, 3:], order=1, output=np.float32)
        r = m - f
        spread = 1.4826 * float(np.median(np.abs(r))) + 1e-6
        w = np.where(np.abs(r) < TUKEY * spread, (1 - (r / (TUKEY * spread)) ** 2) ** 2, 0) * (m > 0)
        H = (J * w) @ J.T
        d = np.linalg.solve(H + 1e-9 * np.trace(H) * np.eye(6), (J * w) @ r)
        # Inverse compositional: fixed(D x) ~ moving(matrix x), so the next matrix is matrix D^-1.
        D = centre @ expm(np.tensordot(d, GENERATORS, 1)) @ np.linalg.inv(centre)
        matrix = matrix @ np.linalg.inv(D)
        if max(np.abs(d[:3]).max(), HEAD * np.abs(d[3:]).max()) < TOLERANCE:
            break
    return matrix
