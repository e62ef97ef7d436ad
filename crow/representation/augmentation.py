"""Augmentation of the inputs of classifiers, whose answer should not depend on small movements or noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

VIEWS = 8


def augment_images(x: Tensor) -> Tensor:
    """Apply a random affine map to each image of ``x [batch, channels, *space]`` (grey levels, 2-D or 3-D).

    Rotation by up to 10 degrees about every axis, zoom by up to 10 %, shift by up to one pixel; linear interpolation,
    rounded, 0 outside. Draws from torch's global generator.
    """
    return _transformed(x, torch.rand(len(x), *_parameter_shape(x), device=x.device))


def fixed_augmentations(x: Tensor) -> list[Tensor]:
    """`VIEWS` versions of every image for test-time augmentation, by fixed affine maps of half that size."""
    maps = torch.rand(VIEWS, 1, *_parameter_shape(x), generator=torch.Generator().manual_seed(0))
    return [_transformed(x, (0.25 + 0.5 * one).expand(len(x), -1, -1).to(x.device)) for one in maps]


def noisy_values(x: Tensor, sd: float = 0.2) -> Tensor:
    """Add measurement noise to standardised values ``[batch, features]``. Draws from torch's global generator."""
    return x + sd * torch.randn_like(x)


def _parameter_shape(x: Tensor) -> tuple[int, int]:
    space = x.dim() - 2
    return space, space + 2


# MONAI's RandAffine transforms one image per call, with its own random state: 128 images of 28 x 28 take 0.6 s instead
# of 7 ms, and a batch is not reproducible from torch's seed. So these lines stay.
def _transformed(x: Tensor, draw: Tensor, degrees: float = 10.0, zoom: float = 0.1, shift: float = 1.0) -> Tensor:
    """Affine maps from uniform ``draw [batch, space, space + 2]``: rotations, then zoom (first row) and shift."""
    space = x.dim() - 2
    draw = 2 * draw.to(x.dtype) - 1
    half = torch.triu(draw[..., :space], 1) * math.radians(degrees)
    linear = torch.linalg.matrix_exp(half - half.mT) * (1 + zoom * draw[:, :1, space, None])
    sizes = torch.tensor([*reversed(x.shape[2:])], dtype=x.dtype, device=x.device)
    affine = torch.cat([linear, (2 * shift * draw[..., space + 1] / sizes)[..., None]], 2)
    grid = functional.affine_grid(affine, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False).round()
