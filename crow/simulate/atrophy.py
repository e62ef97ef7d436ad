"""Simulated atrophy: for each part of the brain, a velocity field that changes its volume, and its course in time."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import fft, ndimage

from crow.scans.grid import Grid
from crow.scans.template import STRUCTURES, load_template
from crow.simulate.brain_parts import SIDES, brain_parts
from crow.simulate.regions import sigmoid

Array = NDArray[np.floating]
FIELD_MM = 3.0
YOUNG = 60.0
# Change of log volume: per year of age, total along the disease; midpoint and width of the disease term (disease
# years); the parts that fill or free the space. Sizes and rates are rounded from published summaries.
FLUID = ("csf", "ventricles")
CHANGES: dict[str, tuple[float, float, float, float, tuple[str, ...]]] = {
    "ventricles": (0.028, 0.75, 1.0, 4.0, ("white_matter",)),
    "hippocampus": (-0.007, -0.38, -1.5, 3.5, FLUID),
    "amygdala": (-0.006, -0.28, -2.5, 3.5, FLUID),
    "deep_gray": (-0.004, -0.08, 1.0, 4.5, FLUID),
    "white_matter": (-0.002, -0.06, 2.0, 4.5, FLUID),
    "temporal": (-0.004, -0.22, -1.0, 4.0, FLUID),
    "precuneus": (-0.004, -0.20, 0.0, 4.0, FLUID),
    "parietal": (-0.004, -0.17, 0.5, 4.0, FLUID),
    "frontal": (-0.004, -0.14, 1.5, 4.0, FLUID),
    "occipital": (-0.002, -0.06, 3.0, 4.5, FLUID),
}
PARTS = tuple(f"{name}_{side}" for name in CHANGES for side in SIDES)
STRENGTH_SPREAD, SIDE_SPREAD, MIDPOINT_SPREAD = 0.25, 0.10, 1.0
SMOOTH_MM, REACH_MM = 2.0, 12.0


@dataclass(frozen=True)
class Course:
    """A subject's course: ``strength`` (about 1) and ``midpoint`` (disease years) of the change of each of `PARTS`."""

    strength: Array
    midpoint: Array

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Course":
        """Draw log strength ~ N(0, 0.25^2) per structure + N(0, 0.1^2) per side; midpoints vary by one year (sd)."""
        shared, side = rng.normal(size=len(CHANGES)), rng.normal(size=len(PARTS))
        strength = np.exp(STRENGTH_SPREAD * np.repeat(shared, len(SIDES)) + SIDE_SPREAD * side)
        shift = MIDPOINT_SPREAD * np.repeat(rng.normal(size=len(CHANGES)), len(SIDES))
        return cls(strength, _column(2) + shift)

    def log_volumes(self, disease_time: float, age: float) -> Array:
        """Log volume of each of `PARTS` relative to a healthy brain at age 60, ``[parts]``.

        strength (ageing (age - 60) + amplitude sigmoid((s - midpoint) / width))
        """
        disease = _column(1) * sigmoid((disease_time - self.midpoint) / _column(3))
        return self.strength * (_column(0) * (age - YOUNG) + disease)


@dataclass(frozen=True)
class ChangeFields:
    """Velocity ``fields [parts, 3, x, y, z]`` (mm, on ``grid``, template space), each for a log volume of 1 of a part.

    ``fractions [structures, x, y, z]``: share of each voxel in each of `STRUCTURES`.
    """

    grid: Grid
    fields: NDArray[np.float32]
    fractions: NDArray[np.float32]

    def velocity(self, log_volumes: Array) -> NDArray[np.float32]:
        """The velocity whose exponential maps the young brain to the changed one, ``[3, x, y, z]`` mm."""
        return np.tensordot(log_volumes.astype(np.float32), self.fields, 1)


@lru_cache(maxsize=1)
def change_fields() -> ChangeFields:
    """The velocity field of each part: it expands or contracts smoothly and its surroundings compensate.

    v = grad(inverse Laplacian(div v)), by FFT, where div v sums to 0 nearby. Because fields of neighbours overlap, they
    are mixed so that the mean divergence over each part is 1 for its own field and 0 for all others.
    """
    template = load_template(1.0)
    names, labels = brain_parts(template)
    grid = template.grid.coarser(FIELD_MM)
    parts = dict(zip(("outside", *names), _fractions(labels, grid, len(names) + 1), strict=True))
    parts["outside"] = parts["outside"] * (ndimage.gaussian_filter(parts["outside"], 1.0) < 0.95)
    divergence = np.stack([_divergence(name, parts) for name in PARTS])
    inside = np.stack([parts[name] / parts[name].sum() for name in PARTS])
    mixing = np.linalg.inv(np.einsum("jxyz,kxyz->jk", inside, divergence))
    divergence = np.einsum("kj,kxyz->jxyz", mixing, divergence)
    fields = np.stack([_gradient_field(each, grid.spacing) for each in divergence])
    fractions = _fractions(template.structures, grid, len(STRUCTURES) + 1)[1:]
    return ChangeFields(grid, fields, fractions)


def parameters() -> dict[str, Any]:
    """The model of atrophy and its parameters, as JSON values."""
    keys = ("ageing", "amplitude", "midpoint", "width")
    return {
        "model": "log volume = strength (ageing (age - 60) + amplitude sigmoid((s - midpoint) / width)); log strength: "
        "N(0, strength_sd^2) per structure + N(0, side_sd^2) per side; midpoint + N(0, midpoint_sd^2) per structure",
        "strength_sd": STRENGTH_SPREAD,
        "side_sd": SIDE_SPREAD,
        "midpoint_sd": MIDPOINT_SPREAD,
        "parts": {name: dict(zip(keys, change[:4], strict=True)) for name, change in CHANGES.items()},
    }


def course_table(log_volumes: list[Array]) -> pd.DataFrame:
    """A table with a column ``log_<part>`` for each of `PARTS`."""
    return pd.DataFrame(np.stack(log_volumes), columns=[f"log_{name}" for name in PARTS])


def _column(k: int) -> Array:
    return np.repeat([change[k] for change in CHANGES.values()], len(SIDES)).astype(float)


def _fractions(labels: NDArray[np.uint8], grid: Grid, count: int) -> NDArray[np.float32]:
    """The share of each label in the voxels of the coarser ``grid``, ``[count, x, y, z]``."""
    nearest = [np.minimum((np.arange(n) + 1) // int(FIELD_MM), size - 1)
               for n, size in zip(labels.shape, grid.shape, strict=True)]  # fmt: skip
    voxel = np.ravel_multi_index(np.ix_(*nearest), grid.shape)
    cells = int(np.prod(grid.shape))
    counts = np.bincount((labels.astype(np.int64) * cells + voxel).ravel(), minlength=count * cells)
    return (counts.reshape(count, *grid.shape) / FIELD_MM**3).astype(np.float32)


def _divergence(name: str, parts: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Smooth divergence, about 1 inside the part and negative in the compensating surroundings; its sum is 0."""
    part = parts[name]
    partners = CHANGES[name.rsplit("_", 1)[0]][4]
    room = sum((parts[other] for other in parts if other.startswith(partners)), np.zeros_like(part))
    if partners is FLUID:
        room = room + 0.5 * parts["outside"]
    near = ndimage.gaussian_filter(part, REACH_MM / FIELD_MM) * room
    change = part / part.sum() - near / near.sum()
    return ndimage.gaussian_filter(change * part.sum(), SMOOTH_MM / FIELD_MM)


def _gradient_field(divergence: NDArray[np.float32], spacing: Array) -> NDArray[np.float32]:
    """v = grad p with Laplacian p = div v, ``[3, x, y, z]`` mm; periodic, so the borders must be empty."""
    shape = divergence.shape
    waves = [2 * np.pi * fft.fftfreq(n, mm) for n, mm in zip(shape[:2], spacing[:2], strict=True)]
    waves.append(2 * np.pi * fft.rfftfreq(shape[2], spacing[2]))
    kx, ky, kz = np.meshgrid(*waves, indexing="ij", sparse=True)
    square = kx**2 + ky**2 + kz**2
    square[0, 0, 0] = 1.0
    potential = -fft.rfftn(divergence) / square
    potential[0, 0, 0] = 0.0
    return np.stack([fft.irfftn(1j * k * potential, shape) for k in (kx, ky, kz)]).astype(np.float32)
