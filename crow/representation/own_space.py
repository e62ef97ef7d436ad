"""From a store's grid back to one scan of it: its own grid, header and units, or the template's grid in its units."""

from __future__ import annotations

from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from crow.errors import CohortError
from crow.representation.follow_up import Volume
from crow.scans.deform import invert, sample, slabs
from crow.scans.grid import Grid
from crow.scans.nifti import read_scan
from crow.scans.store import ScanStore


class OwnSpace:
    """``like`` is the scan of a row, ``gain`` and ``offset`` its units (scan = gain * intensity + offset).

    Raises CohortError where its file is gone.
    """

    def __init__(self, store: ScanStore, row: int, space: Literal["native", "template"] = "native") -> None:
        self.store, self.row, self.native = store, row, space == "native"
        self.gain, self.offset = (float(value) for value in np.asarray(store.array("scale")[row]))
        self.like = self._scan() if self.native else self._prepared()
        self.grid = Grid.of(self.like.shape[:3], self.like.affine)
        self._back: Volume | None = None

    def values(self) -> Volume:
        """The scan itself, on its grid, read as it was prepared; raises ScanError where that cannot be."""
        return read_scan(self.like)[0]

    def place(self, volumes: Volume, outside: Volume) -> Volume:
        """``volumes [c, X, Y, Z]`` of the store's grid, known inside its mask, on the scan's grid; trilinear.

        Where less than half of what is interpolated lies in the mask, ``outside [c, *grid]`` stays.
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
        """World points of the scan -> those of the store's grid: through the linear map, then the subject's anatomy.

        Where the store has velocities, its intensities are aligned linearly alone.
        """
        if not self.native:
            return points
        matrix = np.linalg.inv(np.asarray(self.store.array("to_scan")[self.row])).astype(np.float32)
        points = (np.tensordot(matrix[:3, :3], points, 1) + matrix[:3, 3, None, None, None]).astype(np.float32)
        fields, arrays = self.store.info.velocity_grid, self.store.arrays
        if fields is None or "anatomy" not in arrays or "velocity" in arrays:
            return points
        if self._back is None:
            subject = self.store.subjects.index(self.store.visits["subject"].iloc[self.row])
            self._back = invert(np.asarray(self.store.array("anatomy")[subject]), fields)
        return points + sample(self._back, fields, points)

    def _scan(self) -> nib.Nifti1Image:
        path = str(self.store.visits["scan"].iloc[self.row])
        try:
            return nib.load(path)  # type: ignore[return-value]
        except (OSError, nib.filebasedimages.ImageFileError):
            raise CohortError(
                f"{path}: the scan that {self.store.path} was prepared from cannot be read. Put it back, or choose "
                "--space template."
            ) from None

    def _prepared(self) -> nib.Nifti1Image:
        intensity = np.asarray(self.store.array("intensity")[self.row])
        return nib.Nifti1Image(self.gain * intensity + self.offset, self.store.info.grid.matrix)
