"""What a forecast of a scan is, whatever it was represented by."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class FollowUp:
    """A visit to come as volumes on the grid of ``like`` (the last real scan, in its own units).

    ``median`` is the follow-up, ``change`` its expected difference from the last scan without noise, ``sd`` how far the
    real scan may lie from ``median`` (change, noise and interpolation together), ``samples`` whole draws.
    ``volumes`` has a row a structure where tissue moves: structure, last and median (mm3), change, q05 and q95 (shares
    of the last volume); ``volume_draws [S, structure]`` are those of every draw (mm3). ``folded`` counts voxels whose
    tissue would turn inside out (0 is right).
    """

    like: nib.Nifti1Image
    median: Volume
    change: Volume
    sd: Volume
    samples: list[Volume]
    volumes: pd.DataFrame | None = None
    folded: int = 0
    volume_draws: NDArray[np.floating] | None = None
