"""Simulated MRI acquisition: grid, gain, contrast, bias field and noise."""

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
CHANGED_SCANNER = 77  # seed of the second scanner's bias field, the same for all subjects


def scan_grid(resolution: float) -> Grid:
    """A field of view of 192 x 232 x 200 mm around the brain, with voxels of ``resolution`` mm in LAS orientation."""
    shape = np.round(np.array(FIELD_OF_VIEW) / resolution).astype(int)
    affine = np.diag([-resolution, resolution, resolution, 1.0])
    affine[:3, 3] = np.array(CENTRE) - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid.of(tuple(shape), affine)


@dataclass(frozen=True)
class Acquisition:
    """Acquisition of a scan: its ``gain``, and whether it was made on the second scanner (``changed``)."""

    gain: float
    changed: bool


def t1w(rng: np.random.Generator, image: Volume, grid: Grid, scanner: Acquisition) -> Volume:
    """Measure a noise-free T1w image (white matter about 800).

    gain |contrast(image) bias + noise|, with Rician noise (Gudbjartsson & Patz 1995) of 3 % of white matter. The second
    scanner has a higher gain, more contrast, and an additional bias field.
    """
    log_bias = BIAS * _bias(rng, grid)
    if scanner.changed:
        image = WHITE * (image / WHITE) ** CHANGED_CONTRAST
        log_bias = log_bias + CHANGED_BIAS * _bias(np.random.default_rng(CHANGED_SCANNER), grid)
    real, imaginary = NOISE * WHITE * rng.standard_normal((2, *grid.shape), np.float32)
    gain = scanner.gain * (CHANGED_GAIN if scanner.changed else 1.0)
    return (gain * np.hypot(image * np.exp(log_bias) + real, imaginary)).astype(np.float32)


def _bias(rng: np.random.Generator, grid: Grid) -> Volume:
    """A smooth random field of variance about 1."""
    coarse = grid.coarser(BIAS_GRID_MM)
    return sample(smooth_noise(rng, coarse, BIAS_MM)[None], coarse, grid.points())[0]
