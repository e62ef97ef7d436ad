"""Patches of volumes: what a flow over voxels is trained on, so that it serves whole volumes of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.errors import CohortError, ConfigError
from crow.run.cross_sectional_config import CrossSectionalConfig
from crow.scans.store import ScanStore

Places = tuple[Any, ...]  # an index of the last three axes
EACH, MOST = 32, 8192
"""Patches of a scan, and of all scans together."""


def side(config: CrossSectionalConfig) -> int:
    """Voxels along an axis of a patch: ``images.size``; raises ConfigError where that is none for patches."""
    size, multiple = config.images.size, 2**config.flow.levels
    if size is None or size % multiple:
        raise ConfigError(
            f"images.size: {size}; the side of a patch is divisible by {multiple} (2^flow.levels). Choose "
            f"{multiple * max(1, round((size or 12) / multiple))}."
        )
    return size


def store_of(data: Cohort | ScanStore) -> ScanStore:
    """Raises CohortError for a table."""
    if isinstance(data, Cohort):
        raise CohortError(f"{data.path or 'the cohort'}: a table; scans are needed. Prepare them: crow prepare.")
    return data


def corners(
    where: NDArray[np.bool_], size: int, scans: int, rng: np.random.Generator, step: tuple[int, int, int] = (1, 1, 1)
) -> NDArray[np.int64]:
    """Corners ``[n, 3]`` of cubes that lie around a voxel of ``where [X, Y, Z]``, at whole multiples of ``step``.

    ``scans`` says of how many scans patches will be taken: n is `EACH`, less where all would be more than `MOST`.
    """
    places = np.argwhere(where)
    chosen = places[rng.integers(len(places), size=max(1, min(EACH, MOST // scans)))]
    corner = np.clip(chosen - size // 2, 0, np.maximum(np.array(where.shape) - size, 0))
    return corner // step * step


def cut(volume: NDArray[Any], corner: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[Any]:
    """A box of ``volume [*, X, Y, Z]`` from ``corner`` on, of ``shape``; 0 where it reaches beyond the volume."""
    out = np.zeros((*volume.shape[:-3], *shape), volume.dtype)
    inner, outer = _overlap(volume.shape[-3:], corner, shape)
    out[outer] = volume[inner]
    return out


def paste(box: NDArray[Any], corner: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[Any]:
    """The inverse of `cut`: ``box [*, x, y, z]`` in a volume of ``shape``, 0 around it."""
    out = np.zeros((*box.shape[:-3], *shape), box.dtype)
    inner, outer = _overlap(shape, corner, box.shape[-3:])
    out[inner] = box[outer]
    return out


def _overlap(whole: tuple[int, ...], corner: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[Places, Places]:
    """Where volume and box overlap: in the voxels of the volume, and in those of the box."""
    inner: list[Any] = [...]
    outer: list[Any] = [...]
    for start, size, full in zip(corner.tolist(), shape, whole, strict=True):
        low, high = max(start, 0), min(start + size, full)
        inner.append(slice(low, high))
        outer.append(slice(low - start, high - start))
    return tuple(inner), tuple(outer)
