"""The parts of the template whose change is simulated separately: its structures, with the cortex in lobes."""

import numpy as np
from numpy.typing import NDArray

from crow.scans.grid import Grid
from crow.scans.template import STRUCTURES, Template

LOBES = ("precuneus", "frontal", "parietal", "temporal", "occipital")
SIDES = ("left", "right")


def brain_parts(template: Template) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Names, and labels ``[X, Y, Z]`` that number them from 1 (0 outside the brain).

    Ventricles and cortex are divided into left and right, and the cortex into `LOBES`, by planes along the central, the
    Sylvian and the parieto-occipital sulcus (mm in MNI space).
    """
    points = template.grid.points()
    left = points[0] < 0
    lobes = _lobes(points)
    names: list[str] = []
    labels = np.zeros(template.grid.shape, np.uint8)

    def put(name: str, where: NDArray[np.bool_]) -> None:
        names.append(name)
        labels[where] = len(names)

    for structure in STRUCTURES.values():
        where = template.structure(structure)
        side = left if structure.endswith("left") else ~left
        if structure == "ventricles":
            put("ventricles_left", where & left)
            put("ventricles_right", where & ~left)
        elif structure.startswith("cortex"):
            for k, lobe in enumerate(LOBES):
                put(f"{lobe}_{structure.removeprefix('cortex_')}", where & (lobes == k) & side)
        else:
            put(structure, where)
    return tuple(names), labels


def labels_at(points: NDArray[np.float32], labels: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """``labels [X, Y, Z]`` on ``grid`` at world ``points [3, *any]`` mm, by nearest neighbour, ``[*any]``."""
    inverse = np.linalg.inv(grid.matrix).astype(np.float32)
    voxels = np.tensordot(inverse[:3, :3], points, 1) + inverse[:3, 3].reshape(3, *[1] * (points.ndim - 1))
    at = np.rint(voxels).astype(np.int32)
    return labels[tuple(np.clip(axis, 0, size - 1) for axis, size in zip(at, labels.shape, strict=True))]


def _lobes(points: NDArray[np.float32]) -> NDArray[np.uint8]:
    x, y, z = np.abs(points[0]), points[1], points[2]
    frontal = y > -25 + 0.25 * (70 - z)
    temporal = (z < -1 - 0.43 * y) & (y > -62) & (y < 22) & (x > 14 + 0.5 * np.maximum(y, 0)) & (z < 22)
    occipital = y < -74 - 0.15 * z
    precuneus = (x < 16) & (y > -76) & (y < -20) & (z > 6)
    lobes = np.full(x.shape, LOBES.index("parietal"), np.uint8)
    for name, where in zip(("occipital", "frontal", "precuneus", "temporal"), (occipital, frontal, precuneus, temporal),
                           strict=True):  # fmt: skip
        lobes[where] = LOBES.index(name)
    return lobes
