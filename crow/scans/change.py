"""Registration of change: the velocity between two visits of a subject, estimated without favouring no change.

With both scans in template space,

    later(x) = exp(b(x)) first(exp(u)(x)) + noise,

where the velocity u and the log gain b are the MAP estimate under `ChangePrior`. Gauss-Newton steps: the residual r and
h = (gradient, intensity) of the warped scan, summed to the nodes of the velocity grid, give (P' G P + 1) c = P' (G f +
h r / noise), G = sum h h' / noise, f = P c, solved by preconditioned conjugate gradients. The gradient is the mean of
both scans' gradients (Klein et al. 2009, symmetric forces), so that noise in one of them causes no bias.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.scans.change_prior import ChangePrior, Unknowns
from crow.scans.deform import Array, exponential, sample
from crow.scans.grid import Grid
from crow.scans.nonlinear import ANATOMY, FINEST, Points, box_around, register
from crow.scans.template import Template

MARGIN = 16.0  # mm around the brain in which velocities are estimated
BIAS_STEPS, MAX_STEPS, MAX_ITERATIONS = 2, 6, 20
CONVERGED = 0.3  # mm: largest change of the velocity by a step; yearly changes need two steps
TOLERANCE = 1e-7
PAIRS = tuple((i, j) for i in range(4) for j in range(i, 4))


def register_subject(
    aligned: Array, template: Template, velocity_grid: Grid, velocities: bool = True
) -> tuple[Array, Array]:
    """Anatomy psi ``[3, x, y, z]`` and velocities w ``[T, 3, x, y, z]`` of a subject's visits, mm on ``velocity_grid``.

    ``aligned [T, X, Y, Z]``: scans on the template's grid, 0 outside. psi (a displacement) maps template points to the
    subject's first scan J_0: template(x) ~ J_0(psi(x)). w_t, in template space, warps the first visit to visit t:
    J_t(psi(x)) ~ J_0(psi(exp(w_t)(x))); w_0 = 0. If ``velocities`` is False, all are 0.
    """
    grid = template.grid
    psi = exponential(register(template.t1, aligned[0], grid, template.mask, velocity_grid, ANATOMY), velocity_grid)
    out = np.zeros((len(aligned), *psi.shape), np.float32)
    if velocities and len(aligned) > 1:
        first, *later = (in_template_space(scan, grid, psi, velocity_grid) for scan in aligned)
        change = ChangeRegistration(first, template, velocity_grid)
        for t, scan in enumerate(later, 1):
            out[t] = change.velocity(scan)
    return psi, out


class ChangeRegistration:
    """Registers later scans to the first scan of a subject, all ``[X, Y, Z]`` in template space."""

    def __init__(self, first: Array, template: Template, velocity_grid: Grid) -> None:
        self.template, grid = template, template.grid
        self.nodes, self.around = box_around(template.mask, grid, velocity_grid, MARGIN)
        self.prior = _prior(self.nodes, template.structures.tobytes(), grid)
        self.fine = grid.coarser(FINEST)
        near = ndimage.binary_dilation(self._on_fine(template.mask.astype(np.float32)) > 0.5)
        self.x = self.fine.points()[:, near]
        self.at = Points(self.x, self.nodes)
        self.first = self._on_fine(first)
        self.splines = ndimage.spline_filter(self.first, 3, output=np.float32, mode="nearest")
        self.gradient = self._gradient(self.first)

    def velocity(self, later: Array) -> Array:
        """u ``[3, x, y, z]`` mm on the velocity grid: later(x) ~ exp(b(x)) first(exp(u)(x))."""
        later = self._on_fine(later)
        fixed, gradient = sample(later[None], self.fine, self.x)[0], sample(self._gradient(later), self.fine, self.x)
        first = self._at(self.x)
        gain = float((first * first).sum()) / max(float((first * fixed).sum()), 1e-12)
        fixed, gradient = fixed * np.float32(gain), gradient * np.float32(gain)
        field = np.zeros((4, *self.nodes.shape), np.float32)
        for _ in range(BIAS_STEPS):
            field = self._step(field, fixed, gradient, bias_only=True)
        for step in range(MAX_STEPS):
            before, field = field, self._step(field, fixed, gradient, bias_only=False)
            if step and np.abs(field[:3] - before[:3]).max() < CONVERGED:
                break
        return np.pad(field[:3], [(0, 0), *self.around], mode="edge")

    def _step(self, field: Array, fixed: Array, gradient: Array, bias_only: bool) -> Array:
        points = self.x + self.at.from_nodes(exponential(field[:3], self.nodes))
        moved = np.exp(self.at.from_nodes(field[3:])[0]) * self._at(points)
        g = (gradient + sample(self.gradient, self.fine, points)) / 2
        h = np.concatenate([0 * g if bias_only else g, moved[None]])
        r = fixed - moved
        noise = float(np.median(np.abs(r)) / 0.6745) ** 2 + 1e-12
        sums = self.at.to_nodes(np.stack([h[i] * h[j] for i, j in PAIRS])) / np.float32(noise)
        G = np.empty((4, 4, *self.nodes.shape), np.float32)
        for (i, j), values in zip(PAIRS, sums, strict=True):
            G[i, j] = G[j, i] = values
        target = self.at.to_nodes(h * r) / np.float32(noise) + _times(G, field)
        return self._solve(G, target)

    def _solve(self, G: Array, target: Array) -> Array:
        """P c with (P' G P + 1) c = P' target."""
        prior, precondition = self.prior, self.prior.preconditioner(G)
        r = prior.transposed(target)
        c = Unknowns(np.zeros_like(r.z), np.zeros_like(r.a), r.last)
        y = precondition(r)
        p, ry = y, r.dot(y)
        enough = TOLERANCE * ry
        for _ in range(MAX_ITERATIONS):
            if ry <= enough:
                break
            q = prior.transposed(_times(G, prior.field(p))).plus(1, p)
            alpha = ry / p.dot(q)
            c, r = c.plus(alpha, p), r.plus(-alpha, q)
            y = precondition(r)
            ry, before = r.dot(y), ry
            p = y.plus(ry / before, p)
        return prior.field(c)

    def _at(self, points: Array) -> Array:
        """The first scan at points ``[3, n]``; cubic, because linear interpolation blurs as much as brains change."""
        to_voxel = np.linalg.inv(self.fine.matrix)
        voxels = to_voxel[:3, :3] @ points + to_voxel[:3, 3:]
        found = ndimage.map_coordinates(
            self.splines, voxels, order=3, mode="nearest", prefilter=False, output=np.float32
        )
        return np.asarray(found)

    def _gradient(self, image: Array) -> Array:
        by_voxel = np.stack([np.gradient(image, axis=axis) for axis in range(3)])
        return np.tensordot(np.linalg.inv(self.fine.matrix[:3, :3]).T.astype(np.float32), by_voxel, 1)

    def _on_fine(self, image: Array) -> Array:
        grid = self.template.grid
        return image if self.fine == grid else sample(image[None], grid, self.fine.points())[0]


def in_template_space(image: Array, grid: Grid, displacement: Array, velocity_grid: Grid) -> NDArray[np.float32]:
    """The image pulled back by the anatomy, by cubic interpolation; 0 outside the image."""
    points = grid.points()
    points += sample(displacement, velocity_grid, points)
    to_voxel = np.linalg.inv(grid.matrix)
    voxels = np.tensordot(to_voxel[:3, :3], points, 1) + to_voxel[:3, 3, None, None, None]
    found = ndimage.map_coordinates(image, voxels, order=3, mode="constant", output=np.float32)
    return np.clip(found, min(float(image.min()), 0.0), float(image.max()))


@lru_cache(maxsize=2)
def _prior(nodes: Grid, structures: bytes, grid: Grid) -> ChangePrior:
    return ChangePrior(nodes, np.frombuffer(structures, np.uint8).reshape(grid.shape), grid)


def _times(G: Array, field: Array) -> Array:
    """Matrices ``[4, 4, x, y, z]`` times vectors ``[4, x, y, z]``."""
    return np.stack([(row * field).sum(0) for row in G])
