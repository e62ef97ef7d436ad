"""Patches of volumes: training data of convolutional flows, which then apply to whole volumes of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.errors import CohortError, ConfigError
from crow.run.cross_sectional_config import CrossSectionalConfig
from crow.scans.store import ScanStore

Index = tuple[Any, ...]  # of the last three axes
PATCHES_PER_SCAN, MAX_PATCHES = 32, 8192
MAX_VOXELS = 2**25  # of all patches


def side(config: CrossSectionalConfig) -> int:
    """Side of a patch in voxels, ``images.size``; raises ConfigError if patches cannot have that size."""
    if config.images.patch:
        raise ConfigError("images.patch: images.size is the side of the patches here. Leave out images.patch.")
    size, multiple = config.images.size, 2**config.flow.levels
    if size is None or size % multiple:
        raise ConfigError(
            f"images.size: {size}; the side of a patch must be divisible by {multiple} (2^flow.levels). Choose "
            f"{multiple * max(1, round((size or 12) / multiple))}."
        )
    return size


def store_of(data: Cohort | ScanStore) -> ScanStore:
    """``data`` as a store; raises CohortError for a table."""
    if isinstance(data, Cohort):
        raise CohortError(
            f"{data.path or 'the cohort'}: a table; a store of scans is needed. Prepare one with crow prepare."
        )
    return data


def corners(
    where: NDArray[np.bool_], size: int, scans: int, rng: np.random.Generator, step: tuple[int, int, int] = (1, 1, 1)
) -> NDArray[np.int64]:
    """Random corners ``[n, 3]`` of cubes around voxels of ``where [X, Y, Z]``, at multiples of ``step``.

    n is `PATCHES_PER_SCAN`, or less if ``scans`` scans would give more than `MAX_PATCHES` or `MAX_VOXELS`.
    """
    places, most = np.argwhere(where), min(MAX_PATCHES, MAX_VOXELS // size**3)
    chosen = places[rng.integers(len(places), size=max(1, min(PATCHES_PER_SCAN, most // scans)))]
    corner = np.clip(chosen - size // 2, 0, np.maximum(np.array(where.shape) - size, 0))
    return corner // step * step


def cut(volume: NDArray[Any], corner: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[Any]:
    """Cut a box of ``shape`` at ``corner`` out of ``volume [*, X, Y, Z]``; 0 beyond the volume."""
    out = np.zeros((*volume.shape[:-3], *shape), volume.dtype)
    inner, outer = _overlap(volume.shape[-3:], corner, shape)
    out[outer] = volume[inner]
    return out


def paste(box: NDArray[Any], corner: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[Any]:
    """The inverse of `cut`: ``box [*, x, y, z]`` in a volume of ``shape``, 0 outside the box."""
    out = np.zeros((*box.shape[:-3], *shape), box.dtype)
    inner, outer = _overlap(shape, corner, box.shape[-3:])
    out[inner] = box[outer]
    return out


def _overlap(whole: tuple[int, ...], corner: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[Index, Index]:
    """The overlap of volume and box, as an index of the volume and an index of the box."""
    inner: list[Any] = [...]
    outer: list[Any] = [...]
    for start, size, full in zip(corner.tolist(), shape, whole, strict=True):
        low, high = max(start, 0), min(start + size, full)
        inner.append(slice(low, high))
        outer.append(slice(low - start, high - start))
    return tuple(inner), tuple(outer)
