"""What a scanner makes of a head: its grid, brightness, contrast, bias field and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crow.scans.deform import sample
from crow.scans.grid import Grid
from crow.simulate.anatomy import CENTRE, smooth_noise

Volume = NDArray[np.floating]
WHITE = 800.0
FIELD_OF_VIEW = (192.0, 232.0, 200.0)
NOISE = 0.03
BIAS, BIAS_MM, BIAS_GRID_MM = 0.05, 45.0, 15.0
CHANGED_GAIN, CHANGED_CONTRAST, CHANGED_BIAS = 1.3, 1.15, 0.08
CHANGED_SCANNER = 77  # the pattern of the second scanner's bias field, the same for everyone


def scan_grid(resolution: float) -> Grid:
    """192 x 232 x 200 mm around the brain, with the voxels of ``resolution`` mm running left, anterior, superior."""
    shape = np.round(np.array(FIELD_OF_VIEW) / resolution).astype(int)
    affine = np.diag([-resolution, resolution, resolution, 1.0])
    affine[:3, 3] = np.array(CENTRE) - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid.of(tuple(shape), affine)


@dataclass(frozen=True)
class Acquisition:
    """One scan: its ``gain``, and whether it was made on the second scanner (``changed``)."""

    gain: float
    changed: bool


def t1w(rng: np.random.Generator, image: Volume, grid: Grid, scanner: Acquisition) -> Volume:
    """A noise-free image (white matter about 800) as it is measured.

    gain |contrast(image) bias + noise|: Rician noise (Gudbjartsson & Patz 1995) of 3 % of white matter; the second
    scanner is brighter, of more contrast, and has a bias field of its own.
    """
    log_bias = BIAS * _bias(rng, grid)
    if scanner.changed:
        image = WHITE * (image / WHITE) ** CHANGED_CONTRAST
        log_bias = log_bias + CHANGED_BIAS * _bias(np.random.default_rng(CHANGED_SCANNER), grid)
    real, imaginary = NOISE * WHITE * rng.standard_normal((2, *grid.shape), np.float32)
    gain = scanner.gain * (CHANGED_GAIN if scanner.changed else 1.0)
    return (gain * np.hypot(image * np.exp(log_bias) + real, imaginary)).astype(np.float32)


def _bias(rng: np.random.Generator, grid: Grid) -> Volume:
    """A smooth field of variance about 1."""
    coarse = grid.coarser(BIAS_GRID_MM)
    return sample(smooth_noise(rng, coarse, BIAS_MM)[None], coarse, grid.points())[0]
