"""Nonlinear registration of a subject's anatomy to the template.

The deformation is the exponential of a velocity field u, the MAP estimate under a Gaussian process prior: u = S z
with z white and S a Gaussian filter (``smooth`` mm wide, ``typical`` mm strong), and

    fixed(x) = a(x) + b(x) moving(exp(u)(x)) + noise,

with a and b smooth, so that gain, bias field and even contrast may differ. Gauss-Newton steps: the residual r and the
gradient g of the warped image, summed to the nodes of the velocity grid, give (S' G S / noise + 1) z = S' (G u + g r) /
noise, G = sum g g', solved by conjugate gradients. Compare log-domain demons (Vercauteren et al. 2008) and LCC-Demons
(Lorenzi et al. 2013), which smooth with a filter instead of the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from crow.scans.deform import Array, exponential, sample
from crow.scans.grid import Grid

FINEST = 2.0  # mm: smallest voxels of the images that are registered
MARGIN = 12.0  # mm around the brain in which velocities are estimated
CONTRAST = 12.0  # mm: width of the window in which gain and offset are constant


@dataclass(frozen=True)
class Level:
    """One level of a coarse-to-fine registration: images blurred by ``blur`` mm and compared every ``apart`` mm; the
    prior's width ``smooth`` and sd ``typical`` in mm; Gauss-Newton ``steps``."""

    blur: float
    apart: float
    smooth: float
    typical: float
    steps: int


ANATOMY = (Level(4, 4, 16, 4, 4), Level(3, 4, 12, 4, 4), Level(1.5, 2, 8, 3, 4))


def register(
    fixed: Array, moving: Array, grid: Grid, mask: NDArray[np.bool_], velocity_grid: Grid, levels: tuple[Level, ...]
) -> Array:
    """Velocity u ``[3, x, y, z]`` with fixed(x) ~ a(x) + b(x) moving(exp(u)(x)) in and around the mask."""
    nodes, around = box_around(mask, grid, velocity_grid, MARGIN)
    u = np.zeros((3, *nodes.shape), np.float32)
    for level in levels:
        near = _Comparison(fixed, moving, grid, mask, nodes, level)
        for _ in range(level.steps):
            u = near.step(u)
    return np.pad(u, [(0, 0), *around], mode="edge")


class _Comparison:
    """Two blurred images compared at points x in the mask, and sums of residuals and gradients at the nodes."""

    def __init__(
        self, fixed: Array, moving: Array, grid: Grid, mask: NDArray[np.bool_], nodes: Grid, level: Level
    ) -> None:
        self.nodes, self.level = nodes, level
        coarse = grid.coarser(max(level.apart, FINEST))
        mask_there = ndimage.binary_dilation(sample(mask[None].astype(np.float32), grid, coarse.points())[0] > 0.5)
        self.x = coarse.points()[:, mask_there]
        fine = grid.coarser(FINEST)
        blurred = [_blur(image, grid, fine, level.blur) for image in (fixed, moving)]
        self.fixed = sample(blurred[0][None], fine, self.x)[0]
        by_voxel = np.stack([np.gradient(blurred[1], axis=axis) for axis in range(3)])
        gradient = np.tensordot(np.linalg.inv(fine.matrix[:3, :3]).T.astype(np.float32), by_voxel, 1)
        self.moving, self.fine = np.concatenate([blurred[1][None], gradient]), fine
        self.at = Points(self.x, nodes)
        self.width = level.smooth / nodes.spacing
        # A Gaussian filter reduces the variance of white noise to prod 1 / (2 sqrt(pi) width).
        self.strength = level.typical * float(np.sqrt(np.prod(2 * np.sqrt(np.pi) * self.width)))

    def step(self, u: Array) -> Array:
        """The next velocity field."""
        phi = exponential(u, self.nodes)
        moved = sample(self.moving, self.fine, self.x + self.at.from_nodes(phi))
        gain, residual = self.at.local_contrast(self.fixed, moved[0])
        g: Array = gain * moved[1:]
        # Residuals within one blur width are correlated and count as one.
        correlated = max(1.0, (2 * np.sqrt(np.pi) * self.level.blur / self.level.apart) ** 3)
        noise = float((residual**2).mean()) * correlated + 1e-12
        G = self.at.to_nodes(np.stack([g[i] * g[j] for i, j in PAIRS])) / noise
        target = self.at.to_nodes(g * residual) / noise + _times(G, u)
        return self._solve(G, target)

    def _solve(self, G: Array, target: Array, steps: int = 8) -> Array:
        """S z with (S' G S + 1) z = S' target, by conjugate gradients."""
        z = np.zeros_like(target)
        r = self._filter(target)
        p, rr = r, float((r * r).sum())
        enough = 1e-4 * rr
        for _ in range(steps):
            if rr <= enough:
                break
            q = self._filter(_times(G, self._filter(p))) + p
            alpha = rr / float((p * q).sum())
            z, r = z + alpha * p, r - alpha * q
            rr, before = float((r * r).sum()), rr
            p = r + (rr / before) * p
        return self._filter(z)

    def _filter(self, field: Array) -> Array:
        return self.strength * ndimage.gaussian_filter(field, (0, *self.width), mode="constant", truncate=3)


class Points:
    """Points ``x [3, n]`` mm in a coarser grid: trilinear interpolation from its nodes, and the transpose."""

    def __init__(self, x: Array, nodes: Grid) -> None:
        self.nodes = nodes
        self.spread = _interpolation(x, nodes)
        self.gather = self.spread.T.tocsr()

    def from_nodes(self, field: Array) -> Array:
        """``[c, x, y, z] -> [c, n]``."""
        return (self.spread @ field.reshape(len(field), -1).T).T

    def to_nodes(self, values: Array) -> Array:
        """The transpose of `from_nodes`."""
        return (self.gather @ values.T).T.reshape(len(values), *self.nodes.shape)

    def local_contrast(self, fixed: Array, moved: Array) -> tuple[Array, Array]:
        """Slope b and residual r = fixed - a - b moved, ``[n]`` each, by regression in Gaussian windows."""
        f, m = fixed, moved
        moments = self.to_nodes(np.stack([np.ones_like(f), f, m, f * m, m * m]))
        width = CONTRAST / self.nodes.spacing
        one, f1, m1, fm, mm = ndimage.gaussian_filter(moments, (0, *width), mode="constant", truncate=3)
        one = np.maximum(one, 1e-6)
        f1, m1 = f1 / one, m1 / one
        variance = mm / one - m1**2
        b = (fm / one - f1 * m1) / np.maximum(variance, 1e-4 * variance.max() + 1e-12)
        a_b = self.from_nodes(np.stack([f1 - b * m1, b]))
        return a_b[1], f - a_b[0] - a_b[1] * m


PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def box_around(mask: NDArray[np.bool_], grid: Grid, nodes: Grid, mm: float) -> tuple[Grid, list[tuple[int, int]]]:
    """The nodes within ``mm`` of a mask, and how many nodes lie before and after them along each axis."""
    voxels = np.argwhere(mask) if mask.any() else np.argwhere(~mask)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.ptp(voxels, 0)) + voxels.min(0)
    to_nodes = np.linalg.inv(nodes.matrix) @ grid.matrix
    at = corners @ to_nodes[:3, :3].T + to_nodes[:3, 3]
    margin = mm / nodes.spacing
    first = np.clip(np.floor(at.min(0) - margin), 0, None).astype(int)
    behind = np.clip(np.array(nodes.shape) - 1 - np.ceil(at.max(0) + margin), 0, None).astype(int)
    matrix = nodes.matrix.copy()
    matrix[:3, 3] = (nodes.matrix @ [*first, 1])[:3]
    around = Grid.of(tuple(np.array(nodes.shape) - first - behind), matrix)
    return around, [(int(a), int(b)) for a, b in zip(first, behind, strict=True)]


def _times(G: Array, u: Array) -> Array:
    """Symmetric matrices ``[6, ...]``, stored as `PAIRS`, times vectors ``[3, ...]``."""
    return np.stack(
        [
            G[0] * u[0] + G[1] * u[1] + G[2] * u[2],
            G[1] * u[0] + G[3] * u[1] + G[4] * u[2],
            G[2] * u[0] + G[4] * u[1] + G[5] * u[2],
        ]
    )


def _blur(image: Array, grid: Grid, fine: Grid, blur: float) -> Array:
    blurred = ndimage.gaussian_filter(image, blur / grid.spacing, truncate=3)
    return blurred if fine == grid else sample(blurred[None], grid, fine.points())[0]


def _interpolation(points: Array, grid: Grid) -> sparse.csr_matrix:
    """Trilinear weights ``[points, nodes]`` at points ``[3, points]`` inside a grid."""
    inverse = np.linalg.inv(grid.matrix)
    size = np.array(grid.shape)[:, None]
    at = np.clip(inverse[:3, :3] @ points + inverse[:3, 3:], 0, size - 1.001)
    corner = np.floor(at).astype(np.int64)
    part = (at - corner).astype(np.float32)
    weights, columns = [], []
    for offset in np.ndindex(2, 2, 2):
        o = np.array(offset)[:, None]
        weights.append(np.prod(np.where(o, part, 1 - part), 0))
        columns.append(np.ravel_multi_index(tuple(corner + o), grid.shape))
    rows = np.arange(points.shape[1] * 8 + 1, step=8)
    shape = (points.shape[1], int(np.prod(grid.shape)))
    return sparse.csr_matrix((np.stack(weights, 1).ravel(), np.stack(columns, 1).ravel(), rows), shape=shape)
