"""Follow-ups of one subject by warping its last scan, without their uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crow.representation.follow_up import Volume
from crow.representation.preview import Preview
from crow.representation.structure_volumes import log_volumes
from crow.representation.warped_follow_up import SubjectWarp
from crow.representation.warped_scan import ScanWarper
from crow.scans.store import ScanStore

if TYPE_CHECKING:
    from crow.representation.deformation import Deformation


class WarpedPreview(Preview):
    """All that does not depend on the forecast is computed once: the anatomy, and the splines of the last scan."""

    def __init__(
        self, basis: Deformation, store: ScanStore, past: NDArray[np.int64], last: NDArray[np.floating]
    ) -> None:  # fmt: skip
        super().__init__(basis, store, past)
        self._subject = SubjectWarp(basis, store, int(past[-1]), last.astype(np.float32))
        self._scan = ScanWarper(self.last, self.space.grid, np.eye(4))

    def follow_up(self, draws: NDArray[np.floating]) -> tuple[Volume, Volume]:
        """The last scan warped to the median of ``draws [n, K + S]``, and its change."""
        displacement = self._subject.displacement(np.median(draws, 0))
        median = self._scan.warp(displacement, self._subject.basis.nodes)
        return median, median - self.last

    def first_volumes(self) -> NDArray[np.float64]:
        """Volumes (mm3) of the structures in the first scan, ``[S]``."""
        subject = self._subject
        still = np.zeros_like(subject.velocity)
        return subject.size * np.exp(log_volumes(subject.psi, still, subject.basis.nodes))
