"""The forecast of a scan, the same for every representation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    import nibabel as nib

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class FollowUp:
    """A future scan of a subject as volumes ``[X, Y, Z]`` on the grid of ``like``, in the units of that scan.

    Attributes
    ----------
    like : Nifti1Image
        The subject's last real scan.
    median : array [X, Y, Z]
        The median follow-up.
    change : array [X, Y, Z]
        Expected change from the last scan, without noise.
    sd : array [X, Y, Z]
        Standard deviation of the real scan around ``median``: uncertainty of the change, noise and interpolation.
    samples : list of array [X, Y, Z]
        Draws of whole scans.
    volumes : DataFrame, optional
        For deformations, one row per structure: ``structure``, ``last`` and ``median`` (mm3), ``change``, ``q05`` and
        ``q95`` (relative to the last volume).
    folded : int
        Number of voxels at which the deformation folds; 0 for a valid deformation.
    volume_draws : array [S, structure], optional
        Volumes (mm3) of every draw: the true ones, as far as they can be known.
    measured_draws : array [S, structure], optional
        The same as registration measures them, which finds too little of some changes in all scans.
    volume_error : array [structure], optional
        Standard deviation of the error of a log volume that is measured in one scan.

    Examples
    --------
    >>> forecast = model.forecast(store, visits)  # doctest: +SKIP
    >>> scan = model.follow_up(store, forecast, visit=0)  # doctest: +SKIP
    >>> nib.save(nib.Nifti1Image(scan.median, scan.like.affine), "follow_up.nii.gz")  # doctest: +SKIP
    """

    like: nib.Nifti1Image
    median: Volume
    change: Volume
    sd: Volume
    samples: list[Volume]
    volumes: pd.DataFrame | None = None
    folded: int = 0
    volume_draws: NDArray[np.floating] | None = None
    measured_draws: NDArray[np.floating] | None = None
    volume_error: NDArray[np.floating] | None = None
