"""Principal modes of change, learned from velocity fields in the Fisher metric of the images.

Fields are compared by the intensity changes that they cause, <v, w> = sum over voxels of (g'v) (g'w) with g the
gradient of the template. This is the Fisher information of images with white noise, so that coefficients of modes
orthonormal in it have independent noise of equal variance. Modes are exact combinations of training fields (by their
Gram matrix). The first is the mean change per year, so that the modes leave out none of it; the others are principal
modes of what remains, and are not centred: the origin is no change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.scans.deform import sample
from crow.scans.grid import Grid
from crow.scans.nonlinear import PAIRS, Points
from crow.scans.store import ScanStore

Array = NDArray[np.floating]
CHUNK = 32
TAPER = 8.0  # mm: distance from the brain over which modes fall to 0


@dataclass(frozen=True)
class VelocityModes:
    """``fields [K, 3, x, y, z]`` mm on the velocity grid: the mean change per year, then the others, strongest first,
    with unit norm in the Fisher metric; ``duals [K, 3, x, y, z]``: <duals_k, w> = sum of their products is coefficient
    k of a field w, by least squares in the Fisher metric; ``share [K]``: share of the visible change in training that
    each mode explains."""

    fields: NDArray[np.float32]
    duals: NDArray[np.float32]
    share: NDArray[np.float64]

    @classmethod
    def fit(
        cls, store: ScanStore, rows: NDArray[np.int64], years: NDArray[np.float64], nodes: Grid, count: int
    ) -> VelocityModes:
        """``count`` modes (at most one per row), in passes over chunks of the rows' velocities.

        ``years [row]``: time since the subject's first scan, to which velocities refer.
        """
        root = metric_root(store, nodes)
        gram = np.zeros((len(rows), len(rows)))
        for i, left in _features(store, rows, root):
            gram[i, i] = left @ left.T
            for j, right in _features(store, rows, root, i.stop):
                gram[i, j] = left @ right.T
                gram[j, i] = gram[i, j].T
        weights, strength = _combinations(gram, years, count)
        fields = np.zeros((len(strength), 3, *nodes.shape), np.float32)
        for part, velocity in _velocities(store, rows):
            fields += np.tensordot(weights[part].T.astype(np.float32), velocity, 1)
        fields *= _taper(store, nodes)
        weighted = np.einsum("ij...,kj...->ki...", np.einsum("il...,jl...->ij...", root, root), fields)
        inner = np.tensordot(weighted, fields, ((1, 2, 3, 4), (1, 2, 3, 4))).astype(np.float64)
        duals = np.tensordot(np.linalg.inv(inner).astype(np.float32), weighted, 1)
        return cls(fields, duals.astype(np.float32), strength / np.trace(gram))


def _combinations(
    gram: NDArray[np.float64], years: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights ``[row, K]`` of orthonormal modes, and the sum of squares that each explains ``[K]``.

    The mean change per year is that of least squares, sum of t w / sum of t^2.
    """
    mean = years / np.sqrt(years @ gram @ years)
    shared = gram @ mean
    values, vectors = np.linalg.eigh(gram - np.outer(shared, shared))
    keep = np.argsort(values)[::-1][: count - 1]
    keep = keep[values[keep] > 1e-8 * np.trace(gram)]
    others = vectors[:, keep] - np.outer(mean, shared @ vectors[:, keep])
    return (
        np.column_stack([mean, others / np.sqrt(values[keep])]),
        np.concatenate([[shared @ shared], values[keep]]),
    )


def metric_root(store: ScanStore, nodes: Grid) -> NDArray[np.float32]:
    """Square root L of the metric G = L L' at each node, ``[3, 3, x, y, z]``; 0 at nodes away from the brain."""
    grid = store.info.grid
    image = ndimage.gaussian_filter(store.template, 0.5)
    by_voxel = np.stack([np.gradient(image, axis=axis)[store.mask] for axis in range(3)])
    g = np.linalg.inv(grid.matrix[:3, :3]).T.astype(np.float32) @ by_voxel
    points = Points(grid.points()[:, store.mask], nodes)
    sums = points.to_nodes(np.stack([g[i] * g[j] for i, j in PAIRS]).astype(np.float32))
    metric = np.zeros((*nodes.shape, 3, 3), np.float64)
    for (i, j), values in zip(PAIRS, sums, strict=True):
        metric[..., i, j] = metric[..., j, i] = values
    level, axes = np.linalg.eigh(metric)
    root = axes * np.sqrt(np.maximum(level, 0))[..., None, :]
    return np.moveaxis(root, (-2, -1), (0, 1)).astype(np.float32)


def _features(store: ScanStore, rows: NDArray[np.int64], root: Array, first: int = 0) -> Iterator[tuple[slice, Array]]:
    near = np.abs(root).max((0, 1)) > 0
    for part, velocity in _velocities(store, rows, first):
        yield part, np.einsum("ijn,kin->kjn", root[:, :, near], velocity[:, :, near]).reshape(len(velocity), -1)


def _velocities(
    store: ScanStore, rows: NDArray[np.int64], first: int = 0
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Velocities of the rows from position ``first`` on, in chunks: (slice of the rows, velocities)."""
    for start in range(first, len(rows), CHUNK):
        part = slice(start, min(start + CHUNK, len(rows)))
        yield part, np.stack([np.asarray(store.array("velocity")[int(row)], np.float32) for row in rows[part]])


def _taper(store: ScanStore, nodes: Grid) -> NDArray[np.float32]:
    """1 in the brain, falling to 0 at `TAPER` mm outside it, ``[x, y, z]``."""
    inside = sample(store.mask[None].astype(np.float32), store.info.grid, nodes.points(), "zeros")[0] > 0.01
    away = ndimage.distance_transform_edt(~inside, sampling=nodes.spacing)
    return np.clip(1 - away / TAPER, 0, 1).astype(np.float32)
