"""Voxel grids: the shape of a volume and its affine to world millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

MAX_SIZE = 2000  # voxels per axis


class Grid(BaseModel):
    """A grid of ``shape`` voxels at world points ``affine @ [i, j, k, 1]`` (RAS, mm)."""

    model_config = ConfigDict(frozen=True)

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]

    @model_validator(mode="after")
    def _is_a_grid(self) -> Grid:
        """A store of a stranger may have any numbers here."""
        matrix = np.array(self.affine)
        if not all(0 < size <= MAX_SIZE for size in self.shape):
            raise ValueError(f"a shape of 1 to {MAX_SIZE} voxels per axis is needed")
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
            raise ValueError("an affine of four rows that can be inverted is needed")
        return self

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: NDArray[np.floating]) -> Grid:
        x, y, z = (int(size) for size in shape)
        rows = [tuple(float(value) for value in row) for row in affine]
        return cls(shape=(x, y, z), affine=tuple(rows))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine ``[4, 4]``."""
        return np.array(self.affine)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel sizes in mm, ``[3]``."""
        return np.linalg.norm(self.matrix[:3, :3], axis=0)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in mm3."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    def coarser(self, mm: float) -> Grid:
        """A grid of about the same extent and the same corner with voxels of ``mm``; axes that are coarser stay."""
        factor = np.maximum(mm / self.spacing, 1.0)
        shape = np.ceil((np.array(self.shape) - 1) / factor).astype(int) + 1
        matrix = self.matrix.copy()
        matrix[:3, :3] *= factor
        return Grid.of(tuple(shape), matrix)

    def part(self, box: tuple[slice, ...]) -> Grid:
        """The grid of a box of voxels."""
        matrix = self.matrix.copy()
        matrix[:3, 3] += matrix[:3, :3] @ [side.start for side in box]
        return Grid.of(tuple(side.stop - side.start for side in box), matrix)

    def points(self) -> NDArray[np.float32]:
        """World coordinates of every voxel, ``[3, X, Y, Z]`` mm."""
        voxels = np.indices(self.shape, dtype=np.float32)
        matrix = self.matrix.astype(np.float32)
        return np.tensordot(matrix[:3, :3], voxels, 1) + matrix[:3, 3, None, None, None]
