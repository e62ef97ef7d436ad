"""Other views of the same visit, for what must not depend on them: its class."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

VIEWS = 8


def augment_images(x: Tensor) -> Tensor:
    """Levels ``[batch, channels, *space]`` of images that are moved at random, each in its own way.

    Turned by up to 10 degrees around every axis, zoomed by up to 10 %, shifted by up to one pixel, 2-D and 3-D; by
    linear interpolation, rounded, 0 from outside. Draws from torch's global generator.
    """
    return _moved(x, torch.rand(len(x), *_draws(x), device=x.device))


def fixed_augmentations(x: Tensor) -> list[Tensor]:
    """`VIEWS` images of each, moved half as far and in the same ways whenever they are asked for."""
    ways = torch.rand(VIEWS, 1, *_draws(x), generator=torch.Generator().manual_seed(0))
    return [_moved(x, (0.25 + 0.5 * way).expand(len(x), -1, -1).to(x.device)) for way in ways]


def noisy_values(x: Tensor, sd: float = 0.2) -> Tensor:
    """Standardised values ``[batch, features]`` with noise, as if measured again. From torch's global generator."""
    return x + sd * torch.randn_like(x)


def _draws(x: Tensor) -> tuple[int, int]:
    space = x.dim() - 2
    return space, space + 2


def _moved(x: Tensor, draw: Tensor, degrees: float = 10.0, zoom: float = 0.1, shift: float = 1.0) -> Tensor:
    """By ``draw [batch, space, space + 2]`` between 0 and 1: turns, then the zoom (its first row) and the shift."""
    space = x.dim() - 2
    draw = 2 * draw.to(x.dtype) - 1
    half = torch.triu(draw[..., :space], 1) * math.radians(degrees)
    turn = torch.linalg.matrix_exp(half - half.mT) * (1 + zoom * draw[:, :1, space, None])
    sizes = torch.tensor([*reversed(x.shape[2:])], dtype=x.dtype, device=x.device)
    affine = torch.cat([turn, (2 * shift * draw[..., space + 1] / sizes)[..., None]], 2)
    grid = functional.affine_grid(affine, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False).round()
