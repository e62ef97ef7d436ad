"""Calibration of a trained flow: the sd of its latent values in the validation set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crow.bijections.base import Bijection

PRIOR_VALUES = 50.0  # weight of the prior that the sd is 1, in values


class LatentTemperature(Bijection):
    """``z = x / sd_k`` for every part k of ``x: [batch, sum(sizes)]``: after a flow, N(0, I) becomes N(0, sd_k^2).

    A flow is overconfident about the data that it was trained on. One number per part corrects this. It is fitted after
    training as a temperature is (Guo et al. 2017), but by likelihood, and the density stays exact. The map is the
    identity until `fit`; what is fitted is not trained.

    Parameters
    ----------
    sizes : sequence of int
        Number of values of every part.

    Raises
    ------
    ValueError
        If x has another number of values.

    Examples
    --------
    >>> import torch
    >>> layer = LatentTemperature([3, 2])
    >>> layer.fit(torch.tensor([[2.0, 2, 2, 1, 1]]).expand(1000, 5))
    >>> [f"{sd:.1f}" for sd in layer.log_sd.exp().tolist()]
    ['2.0', '1.0']
    """

    log_sd: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.register_buffer("log_sd", torch.zeros(len(self.sizes)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._scale(x, -self.log_sd)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._scale(z, self.log_sd)

    def fit(self, x: Tensor) -> None:
        """Set the sds to the root mean square of every part of ``x: [n, sum(sizes)]`` of validation examples."""
        self.fit_squares(torch.stack([part.square().sum() for part in x.split(self.sizes, 1)]), len(x))

    def fit_squares(self, squares: Tensor, rows: int) -> None:
        """`fit` from the sums of squares of every part, ``[parts]``, over ``rows`` examples."""
        counts = rows * torch.tensor(self.sizes).to(squares)
        self.log_sd.copy_(((squares + PRIOR_VALUES) / (counts + PRIOR_VALUES)).log() / 2)

    def _scale(self, x: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != (sum(self.sizes),):
            raise ValueError(f"LatentTemperature expects [batch, {sum(self.sizes)}], got {list(x.shape)}")
        sizes = torch.tensor(self.sizes, device=x.device)
        each = log_scale.repeat_interleave(sizes)
        return x * each.exp(), each.sum().expand(len(x))
