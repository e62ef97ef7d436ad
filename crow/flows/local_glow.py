"""A Glow of volumes whose stack is trained on patches: attributes enter through the expected scan."""

from __future__ import annotations

from torch import Tensor

from crow.bijections.base import Bijection
from crow.bijections.voxel_regression import VoxelRegression
from crow.flows.cinn import CINN, PATCH_FEATURES
from crow.flows.glow import Glow


class LocalGlow(Glow):
    """``z = f(b(x, c); e(c))``: e(c) is the scan that the regression in b expects of attributes c, and f a cINN of it.

    The regression and the principal components of b are of whole volumes. They carry the attributes and what distant
    voxels share. f sees the expected scan and the coordinates around a voxel, and has no weight that depends on the
    size, so that it is trained on patches; beyond its reach its voxels are independent. The density is exact for the
    whole volume.

    Parameters
    ----------
    shape : tuple of int
        ``(1, *space)``.
    levels, depth, hidden
        Sizes of f (`CINN`).
    image_levels : int
        Number of grey levels.
    context : int
        Number of channels of c.

    Examples
    --------
    >>> import torch
    >>> flow = LocalGlow((1, 4, 4, 4), levels=1, depth=1, hidden=4, image_levels=16, context=2)
    >>> x, c = torch.randint(16, (3, 1, 4, 4, 4)).float(), torch.randn(3, 2)
    >>> flow.log_prob(x, c).shape, flow.sample(c, n=2).shape
    (torch.Size([3]), torch.Size([2, 3, 1, 4, 4, 4]))
    """

    def __init__(
        self, shape: tuple[int, ...], levels: int, depth: int, hidden: int, image_levels: int, context: int
    ) -> None:
        super().__init__(shape, levels, depth, hidden, image_levels, context)

    def stack(self, shape: tuple[int, ...], levels: int, depth: int, hidden: int) -> Bijection:
        return CINN(shape, shape, levels, depth, hidden, PATCH_FEATURES).bijection

    def around(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.expected(context)

    def expected(self, context: Tensor | None) -> Tensor:
        """The scan that the regression expects, ``[batch, *shape]``, from -0.5 to 0.5."""
        assert self.linear is not None and context is not None
        regression = self.linear.bijections[0]
        assert isinstance(regression, VoxelRegression)
        return regression.mean(context).clamp(-0.5, 0.5)

    def residual(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What b leaves of a scan in grey levels."""
        assert self.linear is not None and self.dequantizer is not None
        return self.linear(self.dequantizer(x)[0], context)[0]
