"""Simulated amyloid PET: uptake (ratio to the cerebellum) that increases region by region along the disease."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.scans.deform import sample
from crow.scans.grid import Grid
from crow.scans.template import load_template
from crow.simulate.acquisition import Acquisition
from crow.simulate.anatomy import ANATOMY_MM, smooth_noise
from crow.simulate.brain_parts import brain_parts, labels_at
from crow.simulate.regions import sigmoid

Array = NDArray[np.floating]
Volume = NDArray[np.floating]
MAP_MM = 2.0
TRACER = "AV45"
# Ratio without amyloid, total increase along the disease, midpoint of the increase (disease years).
UPTAKE: dict[str, tuple[float, float, float]] = {
    "precuneus": (1.10, 0.85, -9.0),
    "frontal": (1.05, 0.75, -7.5),
    "parietal": (1.05, 0.70, -6.0),
    "temporal": (1.05, 0.60, -4.5),
    "deep_gray": (1.15, 0.50, -3.0),
    "occipital": (1.05, 0.45, -2.0),
    "amygdala": (1.05, 0.30, -1.0),
    "hippocampus": (1.10, 0.20, 0.0),
    "brainstem": (1.20, 0.00, 0.0),
    "cerebellum": (1.00, 0.00, 0.0),
}
WHITE_MATTER, FLUID, OUTSIDE = 1.35, 0.50, 0.05
WIDTH = 3.5
LEVEL_SPREAD, RISE_SPREAD, MIDPOINT_SPREAD, WHITE_SPREAD = 0.03, 0.20, 1.0, 0.06
TEXTURE, TEXTURE_MM = 0.05, 12.0
POINT_SPREAD_MM, CHANGED_POINT_SPREAD_MM, CHANGED_GAIN = 6.0, 7.5, 1.04
NOISE, NOISE_MM = 0.05, 4.0
SIGMA = 1 / np.sqrt(8 * np.log(2))


@dataclass(frozen=True)
class Amyloid:
    """A subject's uptake: factors on the ``level`` and ``rise`` of each region of `UPTAKE`, shift of the ``midpoint``
    (years), factor on ``white`` matter, and a smooth ``texture`` (log, on ``grid`` in template space)."""

    level: Array
    rise: Array
    midpoint: Array
    white: float
    grid: Grid
    texture: Volume

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Amyloid:
        """Draw the uptake of a subject."""
        count = len(UPTAKE)
        grid = load_template(1.0).grid.coarser(ANATOMY_MM)
        return cls(
            np.exp(LEVEL_SPREAD * rng.normal(size=count)),
            np.exp(RISE_SPREAD * (0.8 * rng.normal() + 0.6 * rng.normal(size=count))),
            MIDPOINT_SPREAD * (0.8 * rng.normal() + 0.6 * rng.normal(size=count)),
            float(np.exp(WHITE_SPREAD * rng.normal())),
            grid,
            TEXTURE * smooth_noise(rng, grid, TEXTURE_MM),
        )

    def regions(self, disease_time: float) -> Array:
        """The ratio in each region of `UPTAKE`: level base + rise amplitude sigmoid((s - midpoint) / width)."""
        base, amplitude, midpoint = np.array(list(UPTAKE.values())).T
        course = sigmoid((disease_time - midpoint - self.midpoint) / WIDTH)
        ratio = self.level * base + self.rise * amplitude * course
        ratio[list(UPTAKE).index("cerebellum")] = 1.0
        return ratio

    def at(self, points: Volume, disease_time: float) -> Volume:
        """The unblurred map at template ``points [3, *any]`` mm."""
        grid, tissues, region = _tissues()
        gray, white, inside = sample(tissues, grid, points, outside="zeros")
        ratio = self.regions(disease_time).astype(np.float32)[labels_at(points, region, grid)]
        fluid = np.maximum(inside - gray - white, 0)
        brain = gray * ratio + white * np.float32(WHITE_MATTER * self.white) + fluid * np.float32(FLUID)
        texture = np.exp(sample(self.texture[None], self.grid, points)[0])
        return brain * texture + (1 - inside) * np.float32(OUTSIDE)


def blurred(image: Volume, grid: Grid, width: float = POINT_SPREAD_MM) -> Volume:
    """Blur by the point spread of a scanner: a Gaussian with a full width at half maximum of ``width`` mm."""
    return ndimage.gaussian_filter(image, width * SIGMA / grid.spacing)


def measured(rng: np.random.Generator, image: Volume, grid: Grid, scanner: Acquisition) -> Volume:
    """Measure a blurred map: add smooth noise (4 mm) of 5 % that grows with the square root of uptake.

    The second scanner reads 4 % more and has a resolution of 7.5 mm.
    """
    if scanner.changed:
        image = blurred(image, grid, np.sqrt(CHANGED_POINT_SPREAD_MM**2 - POINT_SPREAD_MM**2))
    noise = NOISE * np.sqrt(np.maximum(image, 0)) * smooth_noise(rng, grid, NOISE_MM * SIGMA)
    gain = scanner.gain * (CHANGED_GAIN if scanner.changed else 1.0)
    return (gain * np.maximum(image + noise, 0)).astype(np.float32)


def parameters() -> dict[str, Any]:
    """The model of uptake and its parameters, as JSON values."""
    return {
        "model": "ratio = level base + rise amplitude sigmoid((s - midpoint) / width), cerebellum 1",
        "width": WIDTH,
        "white_matter": WHITE_MATTER,
        "noise": NOISE,
        "point_spread_mm": POINT_SPREAD_MM,
        "regions": {
            name: dict(zip(("base", "amplitude", "midpoint"), row, strict=True)) for name, row in UPTAKE.items()
        },
    }


@lru_cache(maxsize=1)
def _tissues() -> tuple[Grid, Volume, NDArray[np.uint8]]:
    """Grey matter, white matter and brain ``[3, X, Y, Z]``, and the nearest region of `UPTAKE` for each voxel."""
    template = load_template(MAP_MM)
    names, labels = brain_parts(template)
    order = list(UPTAKE)
    region = np.array([255, *(_region(name, order) for name in names)], np.uint8)[labels]
    nearest = ndimage.distance_transform_edt(region == 255, return_distances=False, return_indices=True)
    tissues = np.stack([template.gm, template.wm, template.mask.astype(np.float32)])
    return template.grid, tissues, region[tuple(nearest)]


def _region(part: str, order: list[str]) -> int:
    name = part.rsplit("_", 1)[0] if part.endswith(("left", "right")) else part
    return order.index(name) if name in order else 255
