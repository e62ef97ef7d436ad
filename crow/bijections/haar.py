"""The orthonormal Haar wavelet: averages and details at half the resolution."""

import torch
from torch import Tensor

from crow.bijections.channels import ChannelBijection
from crow.bijections.squeeze import check_even, corners_back, corners_first


class Haar(ChannelBijection):
    """The orthonormal Haar wavelet: ``z = H x / 2^(n/2)`` over the 2^n corners of a cube, H the Hadamard matrix.

    Maps ``[*batch, channels, *space]`` to ``[*batch, channels * 2^n, *space / 2]`` for n spatial axes. The first
    ``channels`` outputs are the averages (times ``2^(n/2)``), the others the details. ``log_det`` is 0.

    Parameters
    ----------
    channels : int
        Number of channels of x.
    space : int
        Number n of spatial axes, 1 to 3.

    Raises
    ------
    ValueError
        If a spatial size is odd, or if x has another number of channels.

    References
    ----------
    Ardizzone et al. 2019, cINN, section 3.2.

    Examples
    --------
    >>> import torch
    >>> haar = Haar(channels=1, space=2)
    >>> x = torch.randn(3, 1, 8, 8)
    >>> z, log_det = haar(x)
    >>> z.shape, torch.allclose(z.norm(), x.norm())
    (torch.Size([3, 4, 4, 4]), True)
    """

    signs: Tensor

    def __init__(self, channels: int, space: int) -> None:
        super().__init__(channels, space)
        signs = torch.ones(1, 1)
        for _ in range(space):
            signs = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), signs)
        self.register_buffer("signs", signs, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        check_even(self, x)
        z = self._transform(corners_first(x, self.space)).flatten(self.axis - 1, self.axis)
        return z, x.new_zeros(x.shape[: self.axis])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z, self.channels * 2**self.space)
        corners = z.unflatten(self.axis, (2**self.space, self.channels))
        return corners_back(self._transform(corners), self.space), z.new_zeros(z.shape[: self.axis])

    def _transform(self, corners: Tensor) -> Tensor:
        # H is symmetric and orthonormal up to the factor, so it is its own inverse; its signs are exact in every dtype.
        flat = corners.flatten(self.axis)
        return ((self.signs @ flat) * 2 ** (-self.space / 2)).view_as(corners)
