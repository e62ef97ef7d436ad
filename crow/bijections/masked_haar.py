"""The orthonormal Haar wavelet of a region of any form: what is outside never mixes with what is inside."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from crow.bijections.channels import ChannelBijection
from crow.bijections.squeeze import check_even, corners_back, corners_first


class MaskedHaar(ChannelBijection):
    """``[*batch, 1, *space]`` to ``[*batch, 2^n, *space / 2]`` for the voxels of a mask; ``log_det`` is 0.

    A cube of 2^n corners with all of them inside the mask has the coefficients of `Haar`. Where only some are inside,
    their values become as many orthonormal coefficients, the first their average (times the root of their number), and
    the corners outside become the channels that are left. ``alive [2^n, *space / 2]`` says which coefficients belong to
    the inside, so a density over them is one over the masked voxels. Source: Ardizzone et al. 2019, cINN, section 3.2,
    for whole cubes; the basis of the others is theirs orthonormalised on the corners inside.

    Args:
        mask: ``[*space]``, True inside; even sizes.
    """

    signs: Tensor
    alive: Tensor
    places: Tensor
    bases: Tensor

    def __init__(self, mask: Tensor) -> None:
        space = mask.dim()
        super().__init__(1, space)
        self.sizes = tuple(mask.shape)
        check_even(self, mask[None])
        corners = corners_first(mask[None], space).flatten(2).squeeze(1).T
        whole = _hadamard(space)
        patterns, index = torch.unique(corners, dim=0, return_inverse=True)
        partial = patterns.any(1) & ~patterns.all(1)
        found = [_basis(whole, p) if some else (whole, p) for p, some in zip(patterns, partial, strict=True)]
        alive = torch.stack([inside for _, inside in found])[index].T
        places = partial[index].nonzero().squeeze(-1)
        halves = [size // 2 for size in self.sizes]
        for name, buffer in (
            ("signs", (whole * 2 ** (space / 2)).round().float()),
            ("alive", alive.reshape(-1, *halves)),
            ("places", places),
            # Kept in float64 whatever the model is in, so that it is orthonormal to the digits of any input.
            ("bases", torch.stack([basis for basis, _ in found])[index[places]]),
        ):
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        self._check_sizes(x.shape[-self.space :], self.sizes)
        corners = corners_first(x, self.space).flatten(-self.space).squeeze(-2)
        z = self._transform(corners, self.bases)
        return z.unflatten(-1, self.alive.shape[1:]), x.new_zeros(x.shape[: self.axis])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z, 2**self.space)
        self._check_sizes(z.shape[-self.space :], tuple(self.alive.shape[1:]))
        corners = self._transform(z.flatten(-self.space), self.bases.mT).unflatten(-1, self.alive.shape[1:])
        return corners_back(corners.unsqueeze(self.axis), self.space), z.new_zeros(z.shape[: self.axis])

    def _transform(self, corners: Tensor, bases: Tensor) -> Tensor:
        """Coefficients of ``corners: [*batch, 2^n, cubes]``; Hadamard's matrix is its own inverse."""
        z = (self.signs.to(corners) @ corners) * 2 ** (-self.space / 2)
        if not len(self.places):
            return z
        some = torch.einsum("pij,...jp->...ip", bases.to(corners), corners.index_select(-1, self.places))
        return z.index_copy(-1, self.places, some)

    def _check_sizes(self, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if tuple(found) != wanted:
            raise ValueError(f"MaskedHaar has a mask for {list(wanted)} voxels, got {list(found)}")


def _hadamard(space: int) -> Tensor:
    """``[2^n, 2^n]`` orthonormal, rows ordered as the corners."""
    corners = torch.tensor(list(product((0, 1), repeat=space)))
    return (-1.0) ** (corners @ corners.T).double() * 2 ** (-space / 2)


def _basis(whole: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """An orthogonal matrix whose ``alive`` rows span the corners inside, and which rows those are."""
    basis, alive = torch.zeros_like(whole), torch.zeros_like(inside)
    for k, row in enumerate(whole):
        rest = row * inside
        for _ in range(2):
            rest = rest - (basis @ rest) @ basis
        if rest.norm() > 1e-6:
            basis[k], alive[k] = rest / rest.norm(), True
    basis[~alive] = torch.eye(len(whole), dtype=whole.dtype)[~inside]
    return basis, alive
