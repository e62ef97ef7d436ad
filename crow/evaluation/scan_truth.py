"""The truth of simulated scans: true volumes, and scans without noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.scans.deform import sample
from crow.scans.nifti import open_scan, read_scan
from crow.scans.store import ScanStore

TRUTH = Path("derivatives") / "truth"


class SimulatedTruth:
    """The truth that ``crow simulate --scans`` wrote under ``root``, for the scans of a store."""

    def __init__(self, store: ScanStore, root: Path) -> None:
        self.store, self.root = store, root
        self.table = pd.read_csv(root / TRUTH / "truth.csv", dtype={"subject": str, "session": str})
        self.table = self.table.set_index(["subject", "session"])

    @classmethod
    def find(cls, store: ScanStore) -> SimulatedTruth | None:
        """The truth beside the scans of a store; None if they are not simulated, or their truth was removed."""
        scans = store.visits["scan"].astype(str)
        if scans.empty:
            return None
        root = next((p for p in Path(scans.iloc[0]).parents if (p / TRUTH / "truth.csv").is_file()), None)
        if root is None:
            return None
        found = cls(store, root)
        known = pd.MultiIndex.from_frame(store.visits[["subject", "session"]]).isin(found.table.index)
        return found if known.all() and all(Path(scan).is_relative_to(root) for scan in scans) else None

    def volumes(self, row: int, structures: Sequence[str]) -> NDArray[np.float64]:
        """mm3 of each structure."""
        visit = self.store.visits.loc[row, ["subject", "session"]]
        columns = [f"{name}_mm3" for name in structures]
        return self.table.loc[tuple(visit), columns].to_numpy(float)  # type: ignore[index]

    def change(self, last: int, row: int) -> NDArray[np.float32] | None:
        """The noise-free change from the scan of ``last`` to that of ``row`` on the store's grid ``[X, Y, Z]``.

        Both are in the head position of ``last`` and prepared like it, with the intensities of the first simulated
        scanner: resampling another position changes a scan more than a year does. None without such files, which only
        successive visits have.
        """
        (subject, before), (_, after) = (tuple(self.store.visits.loc[k, ["subject", "session"]]) for k in (last, row))
        sessions = [session for one, session in self.table.index if one == subject]
        if sessions.index(after) != sessions.index(before) + 1:
            return None
        images = [self._clean(last, last, "noisefree"), self._clean(row, last, "noisefreeinplace")]
        return None if images[0] is None or images[1] is None else images[1] - images[0]

    def _clean(self, row: int, place: int, desc: str) -> NDArray[np.float32] | None:
        """The noise-free scan of ``row``, prepared like the scan of ``place``; None without a file."""
        from crow.scans.linear import resample  # its imports take seconds

        scan, modality = Path(str(self.store.visits.loc[row, "scan"])), self.store.info.modality
        name = scan.name.replace(f"_{modality}.nii", f"_desc-{desc}_{modality}.nii")
        path = self.root / TRUTH / scan.relative_to(self.root).with_name(name)
        if not path.is_file():
            return None
        image = open_scan(path)
        nodes, arrays, moved = self.store.info.velocity_grid, self.store.arrays, None
        if nodes is not None and "anatomy" in arrays and "velocity" not in arrays:
            subject = self.store.subjects.index(str(self.store.visits.loc[place, "subject"]))
            moved = sample(np.asarray(self.store.array("anatomy")[subject]), nodes, self.store.info.grid.points())
        to_scan = np.asarray(self.store.array("to_scan")[place])
        return resample(read_scan(image)[0], image.affine, self.store.info.grid, to_scan, moved)
