"""Where flows of images begin: each voxel's regression on what is given, and what voxels share beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from crow.bijections.affine import Standardise
from crow.bijections.principal import PrincipalComponents
from crow.bijections.voxel_regression import VoxelRegression
from crow.data.examples import Examples

AT_ONCE = 8  # images read together for a regression
ROUNDS = 2


class Images(Protocol):
    """Examples of images of integer levels, which are read when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor) -> Examples: ...


def initialise_images(
    regression: Standardise | VoxelRegression, components: PrincipalComponents, images: Images, levels: int,
    subject: Tensor,
) -> None:  # fmt: skip
    """Fit both to images of ``levels`` grey levels, dequantised, of subjects ``[image]``: N(0, I) of what comes out is
    a normal model of the image, of voxels' means given the context and principal components about them.

    What the regression leaves is divided between components and voxels, first as if all voxels left the same, then as
    each voxel's own part was found to be.
    """
    fit_regression(regression, images, levels)

    def read(rows: Tensor) -> Tensor:
        batch = images[rows]
        noise = [torch.rand(batch.x.shape[1:], generator=torch.Generator().manual_seed(row)) for row in rows.tolist()]
        return regression((batch.x + torch.stack(noise)) / levels - 0.5, batch.context)[0]

    for _ in range(ROUNDS):
        regression.sd.mul_(components.fit(read, subject))
    regression.sd.mul_(components.fit(read, subject).square().mean().sqrt())  # one for all: the directions stay


def fit_regression(regression: Standardise | VoxelRegression, images: Images, levels: int) -> None:
    """Fit it to the middles of grey levels; the noise within a level is added to its sd."""
    regression.fit(_middles(images, levels), 1 / levels / 12**0.5)


def _middles(images: Images, levels: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The middles of grey levels, dequantised, and the context, some images at a time."""
    for rows in torch.arange(len(images)).split(AT_ONCE):
        batch = images[rows]
        assert batch.context is not None
        yield (batch.x + 0.5) / levels - 0.5, batch.context
