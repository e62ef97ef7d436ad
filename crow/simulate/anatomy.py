"""Simulated anatomy: a smooth invertible deformation of the template, a head size, and a position in the scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from crow.scans.deform import exponential, jacobian, sample
from crow.scans.grid import Grid
from crow.scans.template import load_template

Points = NDArray[np.floating]
ANATOMY_MM = 6.0
SPREAD_MM, SMOOTH_MM = 2.5, 16.0
CENTRE = (0.0, -18.0, 5.0)
ICV = 1_525_000.0


@dataclass(frozen=True)
class Anatomy:
    """A subject's brain without atrophy: the template, scaled by ``size`` and deformed by exp(velocity).

    ``velocity``, and ``to`` and ``back`` (displacements of exp(velocity) and its inverse), ``[3, x, y, z]`` mm on
    ``grid``.
    """

    grid: Grid
    size: float
    velocity: Points
    to: Points
    back: Points

    @classmethod
    def draw(cls, rng: np.random.Generator, icv: float) -> Anatomy:
        """Draw a velocity with sd 2.5 mm and correlation 1/e at 32 mm; size (icv / 1525000 mm3)^(1/3)."""
        grid = load_template(1.0).grid.coarser(ANATOMY_MM)
        velocity = SPREAD_MM * np.stack([smooth_noise(rng, grid, SMOOTH_MM) for _ in range(3)])
        return cls(grid, (icv / ICV) ** (1 / 3), velocity, exponential(velocity, grid), exponential(-velocity, grid))

    def to_template(self, points: Points) -> Points:
        """Map points of the head to template points, ``[3, *any]`` mm."""
        centre = np.array(CENTRE, np.float32).reshape(3, *[1] * (points.ndim - 1))
        points = (points - centre) / np.float32(self.size) + centre
        return points + sample(self.to, self.grid, points)

    def volume(self, points: Points) -> NDArray[np.float32]:
        """Local volume ratio of the head to the template, at template ``points [3, *any]``."""
        return sample(jacobian(self.back, self.grid)[None], self.grid, points)[0] * np.float32(self.size**3)


@dataclass(frozen=True)
class HeadPosition:
    """Position of a head in the scanner: rotated by ``degrees`` about x, y, z (in this order), shifted by ``mm``."""

    degrees: tuple[float, float, float]
    mm: tuple[float, float, float]

    @property
    def to_head(self) -> NDArray[np.float64]:
        """Map from world points of the scan to those of the head, ``[4, 4]``."""
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_euler("xyz", self.degrees, degrees=True).as_matrix()
        matrix[:3, 3] = np.array(CENTRE) + self.mm - matrix[:3, :3] @ np.array(CENTRE)
        return matrix

    def points(self, points: Points) -> Points:
        """Map points ``[3, *any]`` mm of the scan to points of the head."""
        matrix = self.to_head.astype(np.float32)
        return np.tensordot(matrix[:3, :3], points, 1) + matrix[:3, 3].reshape(3, *[1] * (points.ndim - 1))


def smooth_noise(rng: np.random.Generator, grid: Grid, mm: float) -> NDArray[np.float32]:
    """Noise of variance 1 on a grid, smoothed by a Gaussian with sd ``mm``; periodic."""
    noise = ndimage.gaussian_filter(rng.normal(size=grid.shape), mm / grid.spacing, mode="wrap")
    return (noise / noise.std()).astype(np.float32)
