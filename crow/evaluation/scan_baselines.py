"""Follow-up scans that need no model: the last scan, and the last scan with the change that is usual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.errors import ScanError
from crow.evaluation.image_scores import Expected
from crow.scans.store import ScanStore

Volume = NDArray[np.float32]
LAST, USUAL = "last scan", "mean change"


class ScanBaselines:
    """The last scan carried forward, and the last scan with the mean yearly change of training subjects, by voxel.

    Both say N(m, s^2) of each voxel, with s from the errors they make in training subjects, from each scan to the next.
    ``slope``, ``still`` and ``moving`` ``[X, Y, Z]``: intensities a year, and the sds of the two.
    """

    def __init__(self, slope: Volume, still: Volume, moving: Volume, subjects: int) -> None:
        self.slope, self.still, self.moving, self.subjects = slope, still, moving, subjects

    @classmethod
    def fit(cls, store: ScanStore, visits: pd.DataFrame) -> ScanBaselines | None:
        """From ``visits`` of training subjects (index: the store's row), a subject at a time; None without pairs.

        slope = sum (t - t_i) (x - x_i) / sum (t - t_i)^2, t_i and x_i the subject's means: the common slope of lines of
        the subjects' own levels.
        """
        shape = store.info.grid.shape
        within, square, product = (np.zeros(shape) for _ in range(3))
        spread = years = 0.0
        pairs = subjects = 0
        for times, scans in _by_subject(store, visits):
            apart = times - times.mean()
            within += np.tensordot(apart, scans - scans.mean(0), 1)
            spread += float((apart**2).sum())
            gaps, changes = np.diff(times), np.diff(scans, axis=0)
            square += (changes**2).sum(0)
            product += np.tensordot(gaps, changes, 1)
            years += float((gaps**2).sum())
            pairs, subjects = pairs + len(gaps), subjects + 1
        if not pairs or spread <= 0:
            return None
        slope = within / spread
        moving = np.maximum(square - 2 * slope * product + slope**2 * years, 0) / pairs
        still = np.sqrt(square / pairs)
        return cls(slope.astype(np.float32), still.astype(np.float32), np.sqrt(moving).astype(np.float32), subjects)

    def expected(self, last: Volume, years: float) -> dict[str, Expected]:
        """What each says of the scan ``years`` after ``last``, in the store's intensities."""
        change = np.float32(years) * self.slope
        return {
            LAST: Expected(last, self.still, np.zeros_like(last)),
            USUAL: Expected(last + change, self.moving, change),
        }


def read_intensity(store: ScanStore, row: int) -> Volume:
    """The prepared scan of a row, ``[X, Y, Z]``; raises ScanError where the store's array of it is damaged or empty."""
    name = str(store.visits.loc[row, "scan"])
    try:
        image = np.asarray(store.array("intensity")[int(row)], np.float32)
    except Exception as error:  # whatever the array's codec raises
        raise ScanError(f"{store.path}: the prepared scan of {name} is damaged ({type(error).__name__}).") from None
    if not np.isfinite(image[store.mask]).all() or not image[store.mask].any():
        raise ScanError(f"{store.path}: the prepared scan of {name} is empty or not finite.")
    return image


def _by_subject(store: ScanStore, visits: pd.DataFrame) -> Iterator[tuple[NDArray[np.float64], Volume]]:
    """Times ``[visit]`` and scans ``[visit, X, Y, Z]`` of those with two or more that can be read."""
    for _, own in visits.groupby("subject", sort=False):
        times: list[float] = []
        scans: Sequence[Volume] = []
        if len(own) < 2:
            continue
        for row, time in zip(own.index, own["time"], strict=True):
            try:
                scans = [*scans, read_intensity(store, int(row))]
            except ScanError:
                continue
            times.append(float(time))
        if len(times) > 1:
            yield np.array(times), np.stack(scans)
