"""How far latents spread in people who were held out: what training makes too narrow, made as wide as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from crow.bijections.base import Bijection
from crow.bijections.principal import PrincipalComponents
from crow.data.examples import Examples

PRIOR_VALUES = 50.0  # values' worth of belief that the spread is 1


class LatentTemperature(Bijection):
    """``z = x / sd_k`` for every part k of ``x: [batch, sum(sizes)]``: after a flow, whose N(0, I) it makes N(0, sd^2).

    One number a part is fitted, as a temperature is (Guo et al. 2017), but by likelihood and exact as a density: a flow
    is sure of what it was trained on. The identity until `fit`; what was fitted does not learn. Raises ValueError for x
    of another size.
    """

    log_sd: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.register_buffer("log_sd", torch.zeros(len(self.sizes)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._scaled(x, -self.log_sd)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._scaled(z, self.log_sd)

    def fit(self, x: Tensor) -> None:
        """Take the parts' root mean squares from ``x: [n, sum(sizes)]`` of held-out people."""
        for k, part in enumerate(x.split(self.sizes, 1)):
            squares = (part.square().sum() + PRIOR_VALUES) / (part.numel() + PRIOR_VALUES)
            self.log_sd[k] = squares.log() / 2

    def _scaled(self, x: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != (sum(self.sizes),):
            raise ValueError(f"LatentTemperature expects [batch, {sum(self.sizes)}], got {list(x.shape)}")
        sizes = torch.tensor(self.sizes, device=x.device)
        each = log_scale.repeat_interleave(sizes)
        return x * each.exp(), each.sum().expand(len(x))


@torch.no_grad()
def calibrate_temperature(flow: nn.Module, validation: Iterable[Examples]) -> None:
    """Fit the `LatentTemperature` of a trained flow to what comes to it of held-out examples.

    The sd of `PrincipalComponents` is that of people whom they were not made from already: they are coarse, and are
    taken back what the first part, the coarsest, gains.
    """
    (spread,) = (module for module in flow.modules() if isinstance(module, LatentTemperature))
    seen: list[Tensor] = []
    hook = spread.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    flow.eval()
    for batch in validation:
        flow.loss(batch)  # type: ignore[operator]
    hook.remove()
    spread.fit(torch.cat(seen))
    for module in flow.modules():
        if isinstance(module, PrincipalComponents):
            there = module.directions.flatten(1).any(1)
            module.log_sd.sub_(spread.log_sd[0] * there)
