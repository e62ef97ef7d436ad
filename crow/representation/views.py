"""Other views of the same visit, for what must not depend on them: its class."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def moved_images(x: Tensor, degrees: float = 10.0, zoom: float = 0.1, shift: float = 1.0) -> Tensor:
    """Levels ``[batch, channels, *space]`` of images that are turned, zoomed and shifted, each in its own way.

    Uniform within plus or minus ``degrees`` (around every axis), ``zoom`` (a share) and ``shift`` (pixels); linear
    interpolation, rounded; 0 from outside. 2-D and 3-D. Draws from torch's global generator.
    """
    n, space = len(x), x.dim() - 2

    def draw(*shape: int) -> Tensor:
        return torch.empty(n, *shape, dtype=x.dtype, device=x.device).uniform_(-1, 1)

    half = torch.triu(draw(space, space), 1) * math.radians(degrees)
    turn = torch.linalg.matrix_exp(half - half.mT) * (1 + zoom * draw(1, 1))
    sizes = torch.tensor([*reversed(x.shape[2:])], dtype=x.dtype, device=x.device)
    affine = torch.cat([turn, (2 * shift * draw(space) / sizes)[..., None]], 2)
    grid = functional.affine_grid(affine, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False).round()


def noisy_values(x: Tensor, sd: float = 0.2) -> Tensor:
    """Standardised values ``[batch, features]`` with noise, as if measured again. From torch's global generator."""
    return x + sd * torch.randn_like(x)
