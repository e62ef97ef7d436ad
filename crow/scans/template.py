"""The brain of nilearn's MNI152 template at any resolution, with approximate structure labels.

Source: ICBM 152 nonlinear 2009a symmetric (Fonov et al., NeuroImage 54, 2011), brain only. nilearn ships no atlas with
it: structures are tissue classes divided by MNI coordinates, so their borders are approximate.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.errors import ScanError
from crow.extras import extra
from crow.scans.grid import Grid

SPACE = "MNI152NLin2009aSym"
STRUCTURES = {
    1: "csf",
    2: "ventricles",
    3: "hippocampus_left",
    4: "hippocampus_right",
    5: "amygdala_left",
    6: "amygdala_right",
    7: "deep_gray_left",
    8: "deep_gray_right",
    9: "cortex_left",
    10: "cortex_right",
    11: "white_matter_left",
    12: "white_matter_right",
    13: "cerebellum",
    14: "brainstem",
}

# Balls (|x|, y, z, radius in mm) that together cover a structure of one hemisphere.
HIPPOCAMPUS = [(22, -12, -21, 7), (26, -16, -18, 7), (29, -22, -14, 7), (30, -28, -10, 7), (27, -34, -5, 6)]
AMYGDALA = [(21, -5, -20, 8), (25, -3, -21, 7)]
DEEP_GRAY = [
    *[(8, -20, 7, 9), (13, -23, 8, 10), (10, -10, 8, 8)],  # thalamus
    *[(11, 12, 2, 9), (13, 16, 8, 8), (14, 6, 14, 7), (16, -4, 19, 5), (18, -14, 22, 4)],  # caudate
    *[(24, 8, 0, 9), (27, 0, 2, 9), (29, -8, 3, 8), (19, -2, -1, 8)],  # putamen and pallidum
]
Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Template:
    """The template on ``grid``, ``[X, Y, Z]`` each: ``t1`` (0 to 1, 0 outside the brain), ``gm`` and ``wm``
    (probabilities), ``mask``, and ``structures`` (labels of `STRUCTURES`, 0 outside)."""

    grid: Grid
    t1: Volume
    gm: Volume
    wm: Volume
    mask: NDArray[np.bool_]
    structures: NDArray[np.uint8]

    def structure(self, *names: str) -> NDArray[np.bool_]:
        """Voxels of the structures whose names start with one of ``names``, ``[X, Y, Z]``."""
        return np.isin(self.structures, [label for label, name in STRUCTURES.items() if name.startswith(names)])


@lru_cache(maxsize=8)
def load_template(resolution: float = 1.0) -> Template:
    """The template with voxels of ``resolution`` mm (at least 1 mm), smoothed before downsampling."""
    (t1, grid), (gm, _), (wm, _) = (_of_nilearn(tissue) for tissue in ("t1", "gm", "wm"))
    mask = _filled(t1 > 0)
    structures = np.zeros(mask.shape, np.uint8)
    brain = ndimage.find_objects(mask.astype(np.uint8))[0]
    structures[brain] = _structures(grid.part(brain), gm[brain], wm[brain], mask[brain])
    if resolution > 1:
        coarse = grid.coarser(resolution)
        t1, gm, wm, part = (_downsampled(image, grid, coarse) for image in (t1, gm, wm, mask.astype(np.float32)))
        mask = part > 0.5
        structures = np.where(mask, np.maximum(_resampled(structures, grid, coarse, 0), 1), 0).astype(np.uint8)
        grid, t1 = coarse, np.where(mask, t1, 0)
    for image in (t1, gm, wm, mask, structures):
        image.flags.writeable = False
    return Template(grid, t1, gm, wm, mask, structures)


def _of_nilearn(tissue: str) -> tuple[Volume, Grid]:
    """Values from 0 to 1, as of nilearn's `load_mni152_template`, whose import takes two seconds, and their grid."""
    with extra("scans"):
        import nibabel as nib
        import nilearn
    name = f"mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(nilearn.__file__).with_name("datasets") / "data" / name
    if not path.exists():
        raise ScanError(
            f"nilearn {nilearn.__version__} has no {path.name} in its package. Install nilearn 0.14: "
            "pip install 'nilearn<0.15'"
        )
    image = nib.load(path)
    values = np.asarray(image.dataobj).astype(np.float32)  # type: ignore[attr-defined]
    return values / values.max(), Grid.of(values.shape, image.affine)  # type: ignore[attr-defined]


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill holes: `ndimage.binary_fill_holes` in a tenth of its time."""
    parts, count = ndimage.label(~mask)
    outside = np.zeros(count + 1, bool)
    for axis in range(mask.ndim):
        outside[np.take(parts, (0, -1), axis)] = True
    outside[0] = False  # the mask itself
    return ~outside[parts]


def _structures(grid: Grid, gm: Volume, wm: Volume, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    x, y, z = np.ogrid[tuple(slice(0, size) for size in grid.shape)]
    x, y, z = (axis + start for axis, start in zip((x, y, z), grid.matrix[:3, 3], strict=True))
    left = np.broadcast_to(x < 0, mask.shape)
    fluid = mask & (gm + wm < 0.5)
    labels = np.where(mask, 1, 0).astype(np.uint8)

    def put(name: str, where: NDArray[np.bool_]) -> None:
        both = [label for label, known in STRUCTURES.items() if known.startswith(name)]
        labels[where & left], labels[where & ~left] = both[0], both[-1]

    put("white_matter", mask & (wm > 0.5))
    put("cortex", mask & (gm > 0.5) & (gm >= wm))
    below = (y < -34) & (z < np.minimum(-6 - 0.32 * np.abs(x), -6 + 0.4 * (y + 60))) & ((np.abs(x) < 42) | (y < -55))
    stem = (x / 19) ** 2 + ((y + 24 - 0.35 * (z + 10)) / 15) ** 2 < 1
    stem = stem & (z < -7)
    put("cerebellum", mask & ~fluid & below)
    put("brainstem", mask & ~fluid & stem)
    put("deep_gray", mask & ~fluid & _balls(DEEP_GRAY, x, y, z) & ~stem & (wm < 0.75))
    put("amygdala", mask & (gm > 0.5) & _balls(AMYGDALA, x, y, z))
    put("hippocampus", mask & (gm > 0.4) & _balls(HIPPOCAMPUS, x, y, z))
    put("ventricles", _ventricles(mask & (gm + wm < 0.6), x, y, z))
    return labels


def _ventricles(fluid: NDArray[np.bool_], x: Volume, y: Volume, z: Volume) -> NDArray[np.bool_]:
    """Lateral and third ventricles: the larger components of fluid inside the brain, without the cisterns."""
    side = np.abs(x)
    inner = (side < 42) & (y > -62) & (y < 38) & (z > -24) & (z < 32)
    behind = (side < 17) & (y < -29) & (z < 16)
    horns = (side > 24) & (y < -6)
    third = (side < 5) & (y > -28) & (y < 3) & (z > -12)
    parts, _ = ndimage.label(fluid & inner & ~behind & ((z > -4) | horns | third))
    return np.isin(parts, np.flatnonzero(np.bincount(parts.ravel()) > 300)[1:])


def _balls(balls: list[tuple[int, int, int, int]], x: Volume, y: Volume, z: Volume) -> NDArray[np.bool_]:
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), bool)
    for cx, cy, cz, radius in balls:
        away = np.abs(x) - cx, y - cy, z - cz
        near = [np.flatnonzero(np.abs(axis) < radius) for axis in away]
        squares = (axis.ravel()[some] ** 2 for axis, some in zip(away, near, strict=True))
        inside[np.ix_(*near)] |= sum(np.ix_(*squares)) < radius**2
    return inside


def _downsampled(image: Volume, grid: Grid, coarse: Grid) -> Volume:
    width = 0.4 * np.sqrt((coarse.spacing / grid.spacing) ** 2 - 1)
    return _resampled(ndimage.gaussian_filter(image, width), grid, coarse, 1)


def _resampled(image: NDArray[Any], grid: Grid, coarse: Grid, order: int) -> NDArray[Any]:
    """Resample to a grid with the corner and the axes of ``grid``."""
    factor = coarse.spacing / grid.spacing
    return ndimage.affine_transform(image, factor, output_shape=coarse.shape, order=order, mode="nearest")
