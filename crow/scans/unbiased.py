"""Changes of the volumes of structures without the bias of registration.

In noisy scans, registration finds a part of the change of structures that have little contrast. This part was measured
in simulated scans with 3 % noise, whose true volumes are known (benchmarks/change.py: 80 subjects with 4 scans at 2 mm,
48 with 3 scans at 3 mm). A measured change divided by it is right in the mean, but its noise grows as well. How large
the part is in other scans depends on their noise and contrast.

A forecast needs the opposite, the truth that is expected given a measurement: `crow.representation.structure_volumes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDES = ("_left", "_right")
LARGE = 0.015  # error of a structure whose changes are approximate


class Found(NamedTuple):
    """The ``share`` of a change of log volume that registration finds, and the sd of the ``error`` of the corrected."""

    share: float
    error: float


# The cerebellum and the brain stem hardly change in the simulation: their share is not known.
FOUND = {
    2.0: {
        "csf": Found(0.81, 0.004), "ventricles": Found(0.93, 0.003), "hippocampus": Found(0.92, 0.010),
        "amygdala": Found(0.76, 0.019), "deep_gray": Found(0.43, 0.015), "cortex": Found(0.83, 0.003),
        "white_matter": Found(0.66, 0.004), "cerebellum": Found(1.0, 0.002), "brainstem": Found(1.0, 0.002),
    },
    3.0: {
        "csf": Found(0.81, 0.004), "ventricles": Found(0.97, 0.004), "hippocampus": Found(1.1, 0.019),
        "amygdala": Found(0.67, 0.047), "deep_gray": Found(0.39, 0.028), "cortex": Found(0.81, 0.003),
        "white_matter": Found(0.44, 0.009), "cerebellum": Found(1.0, 0.003), "brainstem": Found(1.0, 0.004),
    },
}  # fmt: skip


def found_of(structure: str, resolution: float) -> Found:
    """For a structure of the template, with or without its side, at the nearest known ``resolution`` (mm).

    Raises KeyError for another name.
    """
    nearest = FOUND[min(FOUND, key=lambda known: abs(known - resolution))]
    return nearest[_without_side(structure)]


def unbiased(volumes: NDArray[np.floating], structures: Sequence[str], resolution: float) -> NDArray[np.float64]:
    """``volumes [visit, structure]`` of a subject with the changes since its first visit corrected, in the same unit.

    The first visit stays as it is. Raises KeyError if a name is no structure of the template.
    """
    share = np.array([found_of(name, resolution).share for name in structures])
    return np.asarray(volumes[0] * (volumes / volumes[0]) ** (1 / share), np.float64)


def approximate(structures: Sequence[str], resolution: float) -> dict[str, float]:
    """The error (sd of a change of log volume) of structures for which it is large."""
    errors = {_without_side(name): found_of(name, resolution).error for name in structures}
    return {name: error for name, error in errors.items() if error >= LARGE}


def _without_side(structure: str) -> str:
    return structure.removesuffix(SIDES[0]).removesuffix(SIDES[1])
