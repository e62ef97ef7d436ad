"""Baselines of follow-up scans: the last scan, and the last scan plus the mean change of training subjects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.errors import ScanError
from crow.evaluation.image_scores import VoxelForecast
from crow.scans.store import ScanStore

Volume = NDArray[np.float32]
LAST_SCAN, MEAN_CHANGE = "last scan", "mean change"


class ScanBaselines:
    """The last scan carried forward, and the last scan plus the mean yearly change of training subjects, by voxel.

    Each forecasts N(m, s^2) per voxel, with s from its errors from one scan to the next in training subjects.

    Parameters
    ----------
    slope : ndarray of shape [X, Y, Z]
        Change of intensity per year.
    sd_last, sd_change : ndarray of shape [X, Y, Z]
        Standard deviation of the errors of the two baselines.
    subjects : int
        Number of training subjects with two or more scans.
    """

    def __init__(self, slope: Volume, sd_last: Volume, sd_change: Volume, subjects: int) -> None:
        self.slope, self.sd_last, self.sd_change, self.subjects = slope, sd_last, sd_change, subjects

    @classmethod
    def fit(cls, store: ScanStore, visits: pd.DataFrame) -> ScanBaselines | None:
        """Fit to ``visits`` of training subjects (index: the store's row), one subject at a time; None without pairs.

        slope = sum (t - t_i) (x - x_i) / sum (t - t_i)^2, with the subject's means t_i and x_i: the common slope of
        lines with a level for each subject.
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
        residual = np.maximum(square - 2 * slope * product + slope**2 * years, 0) / pairs
        sd_last = np.sqrt(square / pairs)
        return cls(slope.astype(np.float32), sd_last.astype(np.float32), np.sqrt(residual).astype(np.float32), subjects)

    def expected(self, last: Volume, years: float) -> dict[str, VoxelForecast]:
        """The forecasts of both baselines ``years`` after ``last``, in the store's intensities."""
        change = np.float32(years) * self.slope
        return {
            LAST_SCAN: VoxelForecast(last, self.sd_last, np.zeros_like(last)),
            MEAN_CHANGE: VoxelForecast(last + change, self.sd_change, change),
        }


def read_intensity(store: ScanStore, row: int) -> Volume:
    """The prepared scan of a row, ``[X, Y, Z]``; raises ScanError if its array in the store is damaged or empty."""
    name = str(store.visits.loc[row, "scan"])
    try:
        image = np.asarray(store.array("intensity")[int(row)], np.float32)
    except Exception as error:  # whatever the array's codec raises
        raise ScanError(f"{store.path}: the prepared scan of {name} is damaged ({type(error).__name__}).") from None
    if not np.isfinite(image[store.mask]).all() or not image[store.mask].any():
        raise ScanError(f"{store.path}: the prepared scan of {name} is empty or not finite.")
    return image


def _by_subject(store: ScanStore, visits: pd.DataFrame) -> Iterator[tuple[NDArray[np.float64], Volume]]:
    """Times ``[visit]`` and scans ``[visit, X, Y, Z]`` of each subject with two or more readable scans."""
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
