"""Linear registration: a subject's visits to their midpoint, and the midpoint to the template.

Visits are aligned with `rigid`, the midpoint (and the initial guess) by mutual information (DIPY), which works for
every contrast (Mattes et al. 2003). No visit is the reference: all are mapped to the mean of their rigid maps (Reuter
et al. 2012, Within-subject template estimation), so that all are interpolated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import expm, logm

from crow.errors import ScanError
from crow.extras import extra
from crow.scans.brain import COARSE, brain_of
from crow.scans.grid import Grid
from crow.scans.rigid import flattened, rigid
from crow.scans.template import load_template

with extra("scans"):
    from dipy.align.imaffine import AffineRegistration, MutualInformationMetric, transform_centers_of_mass
    from dipy.align.transforms import AffineTransform3D, RigidTransform3D, Transform

Volume = NDArray[np.float32]
Matrix = NDArray[np.float64]

FINE = 2.0  # mm: smallest voxels of the images that are registered
GUESS_SAMPLING, AFFINE_SAMPLING = 0.1, 0.2  # proportion of the coarse template's voxels in the mutual information


@dataclass(frozen=True)
class Image:
    """A scan on a grid aligned with the world axes, ``values [X, Y, Z]``."""

    values: Volume
    grid: Grid

    @classmethod
    def of(cls, values: Volume, affine: Matrix) -> Image:
        """The whole field of view of a scan, at `FINE` mm or its own smallest voxel size, smoothed before downsampling.

        Raises ScanError if no voxel is above 0, the background level.
        """
        if values.max() <= 0:
            raise ScanError(
                f"none of its voxels is above 0 (they are {values.min():g} to {values.max():g}), so the head cannot be "
                "separated from the background. Rescale it so that the background is 0."
            )
        size = np.linalg.norm(affine[:3, :3], axis=0)
        return _on(values, affine, max(FINE, float(size.min())))

    def coarser(self, mm: float) -> Image:
        return _on(self.values, self.grid.matrix, mm)


def align_subject(images: Sequence[Image]) -> list[Matrix]:
    """For each visit of a subject, the map from template to scan world points, ``[4, 4]``.

    All visits share one affine part and differ by rigid maps only, so their volumes are comparable. Raises ScanError if
    no brain is found in a scan.
    """
    guesses = [_first_guess(image) for image in images]
    brains = [brain_of(image.values, image.grid, guess) for image, guess in zip(images, guesses, strict=True)]
    if empty := [number for number, brain in enumerate(brains, 1) if not brain.any()]:
        raise ScanError(f"no brain was found in scan {empty[0]} of {len(brains)}: nothing above 0 is near its centre.")
    flat = [flattened(image.values, image.grid, brain) for image, brain in zip(images, brains, strict=True)]
    to_first = np.linalg.inv(guesses[0])
    from_first: list[Matrix] = [np.eye(4)]
    for image, values, guess in zip(images[1:], flat[1:], guesses[1:], strict=True):
        start = _closer(flat[0], brains[0], images[0].grid, values, image.grid, (guess @ to_first, np.eye(4)))
        from_first.append(rigid(flat[0], brains[0], images[0].grid, values, image.grid, start))
    back = np.linalg.inv(_mean_rigid(from_first))
    from_middle = [matrix @ back for matrix in from_first]
    affine = _to_template(images, brains, from_middle, np.linalg.inv(from_middle[0]) @ guesses[0])
    return [matrix @ affine for matrix in from_middle]


def resample(
    values: Volume, affine: Matrix, grid: Grid, to_scan: Matrix, displacement: NDArray[np.floating] | None = None
) -> Volume:
    """Resample a scan to the template's grid in one cubic interpolation; 0 outside its field of view, ``[X, Y, Z]``.

    ``displacement [3, X, Y, Z]`` (mm) is added to the grid's points before ``to_scan`` maps them to the scan. If the
    grid is coarser, the scan is smoothed first.
    """
    matrix = np.linalg.inv(affine) @ to_scan @ grid.matrix
    smooth = _blurred(values, np.linalg.norm(matrix[:3, :3], axis=1))
    low, high = float(values.min()), float(values.max())
    if displacement is None:
        out = ndimage.affine_transform(
            smooth, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=3, mode="constant", output=np.float32
        )
    else:
        to_voxel = np.linalg.inv(affine) @ to_scan
        points = grid.points() + displacement
        voxels = np.tensordot(to_voxel[:3, :3].astype(np.float32), points, 1)
        voxels += to_voxel[:3, 3, None, None, None].astype(np.float32)
        out = ndimage.map_coordinates(smooth, voxels, order=3, mode="constant", output=np.float32)
    return np.clip(out, min(low, 0.0), high)


def _first_guess(image: Image) -> Matrix:
    """Rigid map from the whole field of view and the template's brain."""
    template, coarse = load_template(COARSE), image.coarser(COARSE)
    values = np.minimum(coarse.values, np.percentile(coarse.values[coarse.values > 0], 98))
    start = transform_centers_of_mass(template.t1, template.grid.matrix, values, coarse.grid.matrix).affine
    return _mutual(Image(values, coarse.grid), start, GUESS_SAMPLING, [RigidTransform3D()])


def _to_template(
    images: Sequence[Image], brains: Sequence[NDArray[np.bool_]], from_middle: Sequence[Matrix], guess: Matrix
) -> Matrix:
    """Affine map from the template to the midpoint, estimated on the mean brain at the midpoint.

    A voxel of the mean is that of the scans whose field of view it is in.
    """
    grid = _around([image.grid for image in images], from_middle)
    mean, seen = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    for image, brain, to_scan in zip(images, brains, from_middle, strict=True):
        level = image.values * (0.8 / max(float(np.percentile(image.values[brain], 90)), 1e-6))
        values = np.where(brain, np.minimum(level, 1.2), 0).astype(np.float32)
        mean += resample(values, image.grid.matrix, grid, to_scan)
        seen += _in_view(image.grid, grid, to_scan)
    mean /= np.maximum(seen, 1)
    return _mutual(Image(mean, grid), guess, AFFINE_SAMPLING, [RigidTransform3D(), AffineTransform3D()])


def _around(grids: Sequence[Grid], to_grid: Sequence[Matrix]) -> Grid:
    """A coarse grid around several ones, each in a space of its own."""
    corners = []
    for grid, matrix in zip(grids, to_grid, strict=True):
        ends = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)]) * [*(np.array(grid.shape) - 1), 1]
        corners.append((np.linalg.inv(matrix) @ grid.matrix @ ends.T)[:3])
    low, high = np.concatenate(corners, 1).min(1), np.concatenate(corners, 1).max(1)
    matrix = np.diag([COARSE, COARSE, COARSE, 1.0])
    matrix[:3, 3] = low
    return Grid.of(tuple(np.ceil((high - low) / COARSE).astype(int) + 1), matrix)


def _in_view(scan: Grid, grid: Grid, to_scan: Matrix) -> NDArray[np.bool_]:
    """Voxels of ``grid`` in the field of view of a scan."""
    to_voxel = np.linalg.inv(scan.matrix) @ to_scan
    voxels = np.tensordot(to_voxel[:3, :3], grid.points(), 1) + to_voxel[:3, 3, None, None, None]
    size = np.array(scan.shape)[:, None, None, None]
    return np.asarray(((voxels > -0.5) & (voxels < size - 0.5)).all(0))


def _mutual(image: Image, start: Matrix, sampled: float, kinds: Sequence[Transform]) -> Matrix:
    """Map from template to image points of maximal mutual information, refined through ``kinds`` of transforms."""
    template = load_template(COARSE)
    search = AffineRegistration(
        metric=MutualInformationMetric(nbins=32, sampling_proportion=sampled),
        level_iters=[100, 20],
        sigmas=[2.0, 1.0],
        factors=[2, 1],
        verbosity=0,
    )
    matrix = start
    for kind in kinds:
        matrix[3] = 0, 0, 0, 1  # exactly: a product of inverses has rounding errors
        matrix = search.optimize(
            template.t1,
            image.values,
            kind,
            None,
            static_grid2world=template.grid.matrix,
            moving_grid2world=image.grid.matrix,
            starting_affine=matrix,
        ).affine
    return np.asarray(matrix, np.float64)


def _closer(
    fixed: Volume, brain: NDArray[np.bool_], fixed_grid: Grid, moving: Volume, grid: Grid, starts: Sequence[Matrix]
) -> Matrix:
    """The start under which two scans of a subject correlate most; that of their headers is often exact."""
    every = np.maximum(np.round(COARSE / fixed_grid.spacing).astype(int), 1)
    thin = tuple(slice(None, None, step) for step in every)
    voxels = np.indices(fixed.shape)[(slice(None), *thin)][:, brain[thin]]
    f = fixed[tuple(voxels)]

    def correlation(start: Matrix) -> float:
        to_moving = np.linalg.inv(grid.matrix) @ start @ fixed_grid.matrix
        m = ndimage.map_coordinates(moving, to_moving[:3, :3] @ voxels + to_moving[:3, 3:], order=1, output=np.float32)
        return float(np.corrcoef(f, m)[0, 1]) if m.std() > 0 and f.std() > 0 else 0.0

    return max(starts, key=correlation)


def _mean_rigid(matrices: Sequence[Matrix]) -> Matrix:
    """The exponential of the mean of the matrix logarithms."""
    return np.asarray(expm(np.mean([np.real(logm(matrix)) for matrix in matrices], axis=0)), np.float64)


def _on(values: Volume, affine: Matrix, mm: float) -> Image:
    size = np.array(values.shape)
    ends = np.array([np.where(corner, size - 0.5, -0.5) for corner in np.ndindex(2, 2, 2)])
    corners = ends @ affine[:3, :3].T + affine[:3, 3]
    low, high = corners.min(0), corners.max(0)
    matrix = np.diag([mm, mm, mm, 1.0])
    matrix[:3, 3] = low + mm / 2
    grid = Grid.of(tuple(np.maximum(np.ceil((high - low) / mm - 1e-3).astype(int), 2)), matrix)
    to_voxel = np.linalg.inv(affine) @ matrix
    smooth = _blurred(values, np.linalg.norm(to_voxel[:3, :3], axis=1))
    found = ndimage.affine_transform(
        smooth, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=grid.shape, order=1, mode="constant", output=np.float32
    )
    return Image(found, grid)


def _blurred(values: Volume, step: NDArray[np.floating]) -> Volume:
    """Smooth before sampling every ``step`` voxels along each axis."""
    sigma = 0.4 * np.sqrt(np.maximum(step**2 - 1, 0))
    return ndimage.gaussian_filter(values, sigma, truncate=3) if (sigma > 0.1).any() else values
