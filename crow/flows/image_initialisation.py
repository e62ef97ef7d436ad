"""The initial map of image flows: a regression of every voxel on the context, and components that voxels share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from crow.bijections.affine import Standardise
from crow.bijections.principal import PrincipalComponents
from crow.bijections.voxel_regression import VoxelRegression
from crow.data.examples import Examples

BATCH_SIZE, MAX_VALUES = 8, 2**21  # images, and values of them, that are read together
ITERATIONS = 2


class Images(Protocol):
    """Examples of images with integer levels, which are read on request."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor) -> Examples: ...


def initialise_images(
    regression: Standardise | VoxelRegression, components: PrincipalComponents, images: Images, levels: int,
    subject: Tensor,
) -> None:  # fmt: skip
    """Fit a regression and principal components to images of ``levels`` grey levels, dequantised.

    Under N(0, I) of the result, the image has a normal model: the mean of every voxel depends on the context, and the
    residual has principal components and independent voxels. The residual is divided between components and voxels in
    iterations: at first all voxels have the same share, then each the share found before.

    Parameters
    ----------
    regression, components
        The two maps, fitted in place.
    images : Images
        Training images.
    levels : int
        Number of grey levels.
    subject : Tensor
        Subject of every image, ``[image]``.
    """
    fit_regression(regression, images, levels)
    together = _together(images)

    def read(rows: Tensor) -> Tensor:
        return torch.cat([read_some(part) for part in rows.split(together)])

    def read_some(rows: Tensor) -> Tensor:
        batch = images[rows]
        noise = [torch.rand(batch.x.shape[1:], generator=torch.Generator().manual_seed(row)) for row in rows.tolist()]
        return regression((batch.x + torch.stack(noise)) / levels - 0.5, batch.context)[0]

    for _ in range(ITERATIONS):
        regression.sd.mul_(components.fit(read, subject))
    regression.sd.mul_(components.fit(read, subject).square().mean().sqrt())  # one number, which keeps the directions


def fit_regression(regression: Standardise | VoxelRegression, images: Images, levels: int) -> None:
    """Fit a regression to the centres of grey levels; the noise within a level is added to its sd."""
    regression.fit(_level_centres(images, levels), 1 / levels / 12**0.5)


def _together(images: Images) -> int:
    """How many images are read together."""
    return max(1, min(BATCH_SIZE, MAX_VALUES // images[torch.arange(1)].x.numel()))


def _level_centres(images: Images, levels: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The centres of grey levels and the context, in batches."""
    for rows in torch.arange(len(images)).split(_together(images)):
        batch = images[rows]
        assert batch.context is not None
        yield (batch.x + 0.5) / levels - 0.5, batch.context
