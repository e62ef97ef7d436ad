"""The orthonormal Haar wavelet of a region of any shape: voxels inside and outside never mix."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from crow.bijections.channels import ChannelBijection
from crow.bijections.squeeze import check_even, corners_back, corners_first


class MaskedHaar(ChannelBijection):
    """The `Haar` wavelet over the voxels of a mask, ``[*batch, 1, *space]`` to ``[*batch, 2^n, *space / 2]``.

    A cube of 2^n voxels that lies inside the mask has the coefficients of `Haar`. If only some of its voxels are
    inside, their values become the same number of orthonormal coefficients, the first of which is their average (times
    the root of their number); the voxels outside become the remaining channels. ``inside [2^n, *space / 2]`` marks the
    coefficients of voxels inside, so a density over these is a density over the masked voxels. ``log_det`` is 0.

    Parameters
    ----------
    mask : Tensor
        ``[*space]``, True inside; even sizes.

    References
    ----------
    Ardizzone et al. 2019, cINN, section 3.2, for whole cubes. The basis of the others is theirs, orthonormalised on the
    voxels inside.

    Examples
    --------
    >>> import torch
    >>> mask = torch.ones(4, 4, dtype=torch.bool)
    >>> mask[0, 0] = False
    >>> haar = MaskedHaar(mask)
    >>> z, log_det = haar(torch.randn(5, 1, 4, 4))
    >>> z.shape, int(haar.inside.sum())  # 15 coefficients are of voxels inside
    (torch.Size([5, 4, 2, 2]), 15)
    """

    signs: Tensor
    inside: Tensor
    partial_cubes: Tensor
    bases: Tensor

    def __init__(self, mask: Tensor) -> None:
        space = mask.dim()
        super().__init__(1, space)
        self.sizes = tuple(mask.shape)
        check_even(self, mask[None])
        corners = corners_first(mask[None], space).flatten(2).squeeze(1).T
        hadamard = _hadamard(space)
        patterns, index = torch.unique(corners, dim=0, return_inverse=True)
        partial = patterns.any(1) & ~patterns.all(1)
        found = [_basis(hadamard, p) if cut else (hadamard, p) for p, cut in zip(patterns, partial, strict=True)]
        inside = torch.stack([used for _, used in found])[index].T
        partial_cubes = partial[index].nonzero().squeeze(-1)
        halves = [size // 2 for size in self.sizes]
        for name, buffer in (
            ("signs", (hadamard * 2 ** (space / 2)).round().float()),
            ("inside", inside.reshape(-1, *halves)),
            ("partial_cubes", partial_cubes),
            # In float64 whatever dtype the model has, so that it is orthonormal to the precision of any input.
            ("bases", torch.stack([basis for basis, _ in found])[index[partial_cubes]]),
        ):
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        self._check_sizes(x.shape[-self.space :], self.sizes)
        corners = corners_first(x, self.space).flatten(-self.space).squeeze(-2)
        z = self._transform(corners, self.bases)
        return z.unflatten(-1, self.inside.shape[1:]), x.new_zeros(x.shape[: self.axis])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z, 2**self.space)
        self._check_sizes(z.shape[-self.space :], tuple(self.inside.shape[1:]))
        corners = self._transform(z.flatten(-self.space), self.bases.mT).unflatten(-1, self.inside.shape[1:])
        return corners_back(corners.unsqueeze(self.axis), self.space), z.new_zeros(z.shape[: self.axis])

    def _transform(self, corners: Tensor, bases: Tensor) -> Tensor:
        """Coefficients of ``corners: [*batch, 2^n, cubes]``; Hadamard's matrix is its own inverse."""
        z = (self.signs.to(corners) @ corners) * 2 ** (-self.space / 2)
        if not len(self.partial_cubes):
            return z
        cut = torch.einsum("pij,...jp->...ip", bases.to(corners), corners.index_select(-1, self.partial_cubes))
        return z.index_copy(-1, self.partial_cubes, cut)

    def _check_sizes(self, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if tuple(found) != wanted:
            raise ValueError(f"MaskedHaar has a mask for {list(wanted)} voxels, got {list(found)}")


def _hadamard(space: int) -> Tensor:
    """``[2^n, 2^n]``, orthonormal, with rows in the order of the corners."""
    corners = torch.tensor(list(product((0, 1), repeat=space)))
    return (-1.0) ** (corners @ corners.T).double() * 2 ** (-space / 2)


def _basis(hadamard: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """An orthogonal matrix some of whose rows span the ``corners`` inside the mask, and which rows those are."""
    basis, used = torch.zeros_like(hadamard), torch.zeros_like(corners)
    for k, row in enumerate(hadamard):
        rest = row * corners
        for _ in range(2):
            rest = rest - (basis @ rest) @ basis
        if rest.norm() > 1e-6:
            basis[k], used[k] = rest / rest.norm(), True
    basis[~used] = torch.eye(len(hadamard), dtype=hadamard.dtype)[~corners]
    return basis, used
