"""Patches of what a map of whole scans leaves: training data of flows that then apply to whole scans."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from crow.data.examples import Examples
from crow.errors import ConfigError
from crow.networks.conditioning import positions_of
from crow.representation.cross_sectional import ScanExamples
from crow.representation.patches import corners, cut
from crow.seeds import SeedStream, derived_seed

Residual = Callable[[Examples], tuple[Tensor, Tensor]]
"""Of one scan: the residual of the map ``[1, 1, X, Y, Z]``, and the images that the flow receives, ``[1, C, X, Y, Z]``.
"""


def check_patch(size: int, levels: int, space: tuple[int, ...], setting: str = "images.patch") -> None:
    """Raise ConfigError unless cubes of ``size`` voxels fit into a volume and can be halved ``levels`` times."""
    multiple, shown = 2**levels, " x ".join(map(str, space))
    if len(space) != 3:
        raise ConfigError(f"{setting} {size}: patches are for volumes. Leave out {setting} or images.slice.")
    if size % multiple or size > min(space):
        raise ConfigError(
            f"{setting} {size}: the side of a patch must be divisible by {multiple} (2^levels) and at most "
            f"{min(space)}, in a volume of {shown} voxels. Choose another, or null to train on whole volumes."
        )


@torch.no_grad()
def residual_patches(
    residual: Residual, examples: ScanExamples, subject: pd.Series, mask: NDArray[np.bool_], size: int, levels: int,
    seed: int,
) -> tuple[Examples, pd.Series]:  # fmt: skip
    """Patches around the brain of every scan, with the images and coordinates of their place, and whose they are.

    Scans are read one by one; the noise of their grey levels is drawn once.
    """
    places, multiple = positions_of(mask.shape).numpy(), 2**levels
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    whose: list[str] = []
    with torch.random.fork_rng():
        for k, name in enumerate(subject):
            torch.manual_seed(derived_seed(seed, SeedStream.PATCHES, k, 1) % 2**63)
            left, given = (part[0].numpy() for part in residual(examples[torch.tensor([k])]))
            rng = np.random.default_rng(derived_seed(seed, SeedStream.PATCHES, k))
            for corner in corners(mask, size, len(subject), rng, (multiple,) * 3):
                around = [cut(each, corner, (size, size, size)) for each in (given, places)]
                parts.append((cut(left, corner, (size, size, size)), np.concatenate(around)))
                whose.append(str(name))
    x, context = (torch.from_numpy(np.stack(each)) for each in zip(*parts, strict=True))
    return Examples(x, context), pd.Series(whose)
