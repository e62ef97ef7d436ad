"""Simulated regional values: their course along the disease, and differences between subjects."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# level (mm3), ageing (log per year), amplitude (log), midpoint (years), width (years), spread (log), noise (relative);
# sizes and rates are rounded from published summaries of ageing and Alzheimer's disease.
ADNI = {
    "Ventricles": (30_000, 0.030, 0.45, -1.0, 4.0, 0.38, 0.020),
    "Hippocampus": (7_500, -0.007, -0.33, -3.0, 3.5, 0.09, 0.015),
    "WholeBrain": (1_050_000, -0.003, -0.10, 1.0, 4.5, 0.03, 0.005),
    "Entorhinal": (3_900, -0.006, -0.45, -5.0, 4.0, 0.13, 0.030),
    "Fusiform": (18_500, -0.004, -0.25, 0.0, 4.0, 0.09, 0.015),
    "MidTemp": (20_500, -0.004, -0.30, -1.0, 4.0, 0.09, 0.015),
}
AGE = 73.0
FACTORS = 3
SHARED = 0.5


@dataclass(frozen=True)
class Regions:
    """Regional curves over disease time s and age a; every parameter has one value per region.

    log y = log level + ageing (a - 73) + amplitude * sigmoid((s - midpoint) / width) + u, with a random effect per
    subject, u ~ N(0, loadings loadings^T + diag(spread^2)); a measurement is y (1 + noise e), e ~ N(0, 1).
    """

    names: tuple[str, ...]
    level: Array
    ageing: Array
    amplitude: Array
    midpoint: Array
    width: Array
    noise: Array
    loadings: Array
    spread: Array

    @classmethod
    def volumes(cls, rng: np.random.Generator, count: int) -> Self:
        """ADNIMERGE's six volumes (mm3), then random similar ones, ``Region07``, ``Region08``, ..., up to ``count``."""
        known = np.array(list(ADNI.values())[:count], dtype=float).reshape(-1, 7)
        rows = np.concatenate([known, _random_volumes(rng, max(0, count - len(ADNI)))])
        names = (*ADNI, *(f"Region{k:02d}" for k in range(len(ADNI) + 1, count + 1)))[:count]
        return cls._around(rng, names, rows)

    @classmethod
    def uptake(cls, rng: np.random.Generator, count: int) -> Self:
        """``ROI01``, ``ROI02``, ...: tracer uptake ratios that increase along the disease."""
        draw = rng.uniform
        rows = np.column_stack(
            [
                draw(1.0, 1.5, count),
                draw(0.000, 0.004, count),
                draw(0.20, 0.60, count),
                draw(-8.0, 0.0, count),
                draw(4.0, 7.0, count),
                draw(0.09, 0.15, count),
                draw(0.015, 0.040, count),
            ]
        )
        return cls._around(rng, tuple(f"ROI{k:02d}" for k in range(1, count + 1)), rows)

    @classmethod
    def _around(cls, rng: np.random.Generator, names: tuple[str, ...], rows: Array) -> Self:
        """Regions with the parameters in ``rows`` (level to noise); a few factors share half of the variance of u."""
        level, ageing, amplitude, midpoint, width, total, noise = rows.T
        loadings = rng.normal(size=(len(names), FACTORS))
        loadings *= np.sqrt(SHARED) * total[:, None] / np.linalg.norm(loadings, axis=1, keepdims=True)
        return cls(names, level, ageing, amplitude, midpoint, width, noise, loadings, np.sqrt(1 - SHARED) * total)

    def deviations(self, rng: np.random.Generator, subjects: int) -> Array:
        """Draw u ``[subjects, regions]``."""
        shared = rng.normal(size=(subjects, FACTORS)) @ self.loadings.T
        return shared + rng.normal(size=(subjects, len(self.names))) * self.spread

    def values(self, disease_time: Array, age: Array, deviation: Array) -> Array:
        """Noise-free values ``[visits, regions]`` at disease times and ages ``[visits]``, given u of each visit."""
        course = self.amplitude * sigmoid((disease_time[:, None] - self.midpoint) / self.width)
        return self.level * np.exp(self.ageing * (age[:, None] - AGE) + course + deviation)

    def measured(self, rng: np.random.Generator, values: Array) -> Array:
        """Add measurement noise to values ``[visits, regions]``."""
        return values * (1 + self.noise * rng.normal(size=values.shape))

    def parameters(self) -> dict[str, Any]:
        """Parameters of each region, as JSON values."""
        columns = {key: getattr(self, key).tolist() for key in self.__dataclass_fields__ if key != "names"}
        return {name: {key: values[k] for key, values in columns.items()} for k, name in enumerate(self.names)}


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(x / 2))


def _random_volumes(rng: np.random.Generator, count: int) -> Array:
    draw = rng.uniform
    return np.column_stack(
        [
            np.exp(draw(np.log(1_500), np.log(25_000), count)),
            -draw(0.002, 0.007, count),
            -draw(0.05, 0.40, count),
            draw(-6.0, 3.0, count),
            draw(3.0, 5.0, count),
            draw(0.07, 0.13, count),
            draw(0.010, 0.030, count),
        ]
    )
