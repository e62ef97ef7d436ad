"""Mean intensities of the template's structures as coefficients of a scan, beside its modes.

Modes follow what varies most, and what other subjects share. The mean of a structure is therefore measured and forecast
as a coefficient of its own: the projection of the scaled scan y = (x - mean) / scale on ``u_s``, with ``u_s[v] =
scale[v] / |scale_s|`` in the structure s and 0 elsewhere. Structures do not overlap, so that these directions are
orthonormal, and ``m_s = centre_s + unit_s u_s' y`` is the mean intensity of s.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from crow.representation.residual import Values, project
from crow.scans.region_values import structures_of
from crow.scans.store import ScanStore

CONSTANT = 1e-2  # variance within subjects along u_s, of an sd of 1 per voxel: the mean of a reference region is fixed
PREFIX = "mean_"


class StructureMeans(NamedTuple):
    """``names [S]`` of the structures; ``labels [V]`` of masked voxels, 0 outside them and else 1 to S.

    ``basis [V, S]``: u; ``centre [S]`` and ``unit [S]`` in the store's intensities.
    """

    names: list[str]
    labels: NDArray[np.uint8]
    basis: NDArray[np.float32]
    centre: Values
    unit: Values

    @classmethod
    def of(cls, names: list[str], labels: NDArray[np.uint8], mean: Values, scale: Values) -> Self:
        """From the ``labels [V]`` of the structures, and ``mean`` and ``scale [V]`` of the voxels."""
        inside = labels[:, None] == np.arange(1, len(names) + 1)
        counts = inside.sum(0)
        norms = np.sqrt((inside * scale[:, None].astype(np.float64) ** 2).sum(0))
        basis = (inside * scale[:, None] / norms).astype(np.float32)
        centre = (inside * mean[:, None].astype(np.float64)).sum(0) / counts
        return cls(list(names), labels, basis, centre, norms / counts)

    @classmethod
    def none(cls, voxels: int) -> Self:
        """No structures."""
        return cls.of([], np.zeros(voxels, np.uint8), np.zeros(voxels), np.ones(voxels))

    @classmethod
    def in_store(cls, store: ScanStore, mean: Values, scale: Values) -> Self:
        """Those of the template with voxels in the store's mask; none on another grid."""
        atlas = structures_of(store)
        if atlas is None:
            return cls.none(len(mean))
        labels = atlas.labels[store.mask]
        present = [label for label in atlas.names if (labels == label).any()]
        ordered = np.searchsorted(sorted([0, *present]), np.where(np.isin(labels, present), labels, 0))
        return cls.of([atlas.names[label] for label in sorted(present)], ordered.astype(np.uint8), mean, scale)

    def varying(self, within: Values, mean: Values, scale: Values) -> Self:
        """Without those whose variance ``within [S]`` subjects along u is next to 0."""
        kept = np.flatnonzero(within > CONSTANT)
        number = np.zeros(len(self.names) + 1, np.uint8)
        number[kept + 1] = np.arange(1, len(kept) + 1)
        return self.of([self.names[k] for k in kept], number[self.labels], mean, scale)

    @property
    def columns(self) -> list[str]:
        """Names of the coefficients."""
        return [PREFIX + name for name in self.names]

    def complement(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled scans ``[n, V]`` less their projections on u."""
        return y - project(self.basis, y).astype(np.float32) @ self.basis.T
