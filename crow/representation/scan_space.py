"""From the store's grid back to the space and units of one scan: its native grid, or the template's grid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crow.choices import require_choice
from crow.errors import CohortError, ScanError
from crow.extras import extra
from crow.representation.follow_up import Volume
from crow.scans.deform import invert, sample, slabs
from crow.scans.grid import Grid
from crow.scans.nifti import open_scan, read_scan
from crow.scans.store import ScanStore

with extra("scans"):
    import nibabel as nib


class ScanSpace:
    """The output space of a row: its scan ``like``, and its units (scan = gain * intensity + offset).

    Raises CohortError if the scan's file cannot be read.
    """

    def __init__(self, store: ScanStore, row: int, space: Literal["native", "template"] = "native") -> None:
        require_choice("space", space, ("native", "template"))
        self.store, self.row, self.native = store, row, space == "native"
        self.gain, self.offset = (float(value) for value in np.asarray(store.array("scale")[row]))
        self.like = self._scan() if self.native else self._prepared()
        self.grid = Grid.of(self.like.shape[:3], self.like.affine)
        self._anatomy = store.applied_anatomy(row)
        self._back: Volume | None = None

    def values(self) -> Volume:
        """The voxels of the scan on its grid, read as in the preparation; raises ScanError if that fails."""
        return read_scan(self.like)[0]

    def place(self, volumes: Volume, outside: Volume) -> Volume:
        """Resample ``volumes [c, X, Y, Z]``, known in the store's mask, to the scan's grid; trilinear.

        Voxels with less than half of their interpolation weight in the mask keep ``outside [c, *grid]``.
        """
        mask = self.store.mask.astype(np.float32)
        known = np.concatenate([volumes * mask, mask[None]])
        out = outside.copy()
        for part, points in slabs(self.grid):
            found = sample(known, self.store.info.grid, self._to_store(points), "zeros")
            inside = found[-1] > 0.5
            out[:, part][:, inside] = found[:-1, inside] / found[-1, inside]
        return out

    def _to_store(self, points: Volume) -> NDArray[np.floating]:
        """Map world points of the scan to the store's grid: the linear map, then the applied anatomy."""
        if not self.native:
            return points
        matrix = np.linalg.inv(np.asarray(self.store.array("to_scan")[self.row])).astype(np.float32)
        points = (np.tensordot(matrix[:3, :3], points, 1) + matrix[:3, 3, None, None, None]).astype(np.float32)
        nodes, psi = self.store.info.velocity_grid, self._anatomy
        if nodes is None or psi is None:
            return points
        if self._back is None:
            self._back = invert(psi, nodes)
        return points + sample(self._back, nodes, points)

    def _scan(self) -> nib.Nifti1Image:
        path = str(self.store.visits["scan"].iloc[self.row])
        try:
            return open_scan(path)
        except ScanError:
            raise CohortError(
                f"{path}: cannot be read, although {self.store.path} was prepared from it. Restore the file, or choose "
                "--space template."
            ) from None

    def _prepared(self) -> nib.Nifti1Image:
        intensity = np.asarray(self.store.array("intensity")[self.row])
        return nib.Nifti1Image(self.gain * intensity + self.offset, self.store.info.grid.matrix)
