"""One resolution of a flow over volumes."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.bijections.chain import Chain
from crow.bijections.context_gate import ContextGate
from crow.bijections.coupling import AffineCoupling
from crow.bijections.masked_haar import MaskedHaar
from crow.bijections.priors import SplitPrior
from crow.networks.convolutional import CONVOLUTION
from crow.networks.masked import MaskedConvNet, Precision, in_precision


class VoxelLevel(nn.Module):
    """``[rows, 1, *space]`` to averages ``[rows, 1, *space / 2]`` and standardised details ``[rows, 2^n - 1, ...]``.

    Haar's wavelet, a gate on the past, ``depth`` couplings of alternating halves, and the split prior of the details.
    The gate sees the past's coefficients of this level ``seen [rows, 2 * 2^n, *space / 2]``, the context vector
    ``[rows, context]`` at every place, and the place's coordinates; couplings and prior see ``hidden`` features of all.
    """

    places: Tensor

    def __init__(
        self, mask: Tensor, context: int, depth: int, hidden: int, chain: type[Chain], precision: Precision
    ) -> None:
        super().__init__()
        self.haar, self.precision = MaskedHaar(mask), precision
        alive, space = self.haar.alive, mask.dim()
        channels = len(alive)
        axes = [torch.linspace(-1, 1, size) for size in alive.shape[1:]]
        self.register_buffer("places", torch.stack(torch.meshgrid(*axes, indexing="ij")), persistent=False)
        given = 2 * channels + context + space
        self.features = CONVOLUTION[space](given, hidden, 3, padding=1)
        net = partial(MaskedConvNet, hidden=hidden, precision=precision)
        self.gate = ContextGate(alive, given, partial(net, alive=alive))
        halves = alive.split([channels // 2, channels - channels // 2])
        self.couplings = chain(
            AffineCoupling(channels, hidden, partial(net, alive=halves[0 if k % 2 else 1]), space, swap=bool(k % 2))
            for k in range(depth)
        )
        self.prior = SplitPrior(channels - 1, 1, hidden, partial(net, alive=alive[1:]), space)

    def forward(self, x: Tensor, seen: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given, features = self._given(seen, context)
        x, _ = self.haar(x)
        x, log_det = self.gate(x, given)
        x, moved = self.couplings(x, features)
        average, details = x.split([1, x.shape[1] - 1], 1)
        mean, log_sd = self.prior.moments(average, features)
        return average, (details - mean) * torch.exp(-log_sd), log_det + moved - log_sd.flatten(1).sum(1)

    def inverse(self, average: Tensor, details: Tensor, seen: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        given, features = self._given(seen, context)
        mean, log_sd = self.prior.moments(average, features)
        x = torch.cat([average, torch.addcmul(mean, details, log_sd.exp())], 1)
        x, moved = self.couplings.inverse(x, features)
        x, log_det = self.gate.inverse(x, given)
        return self.haar.inverse(x)[0], log_det + moved + log_sd.flatten(1).sum(1)

    def _given(self, seen: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        sizes = seen.shape[2:]
        spread = context.reshape(*context.shape, *[1] * len(sizes)).expand(*context.shape, *sizes)
        given = torch.cat([seen, spread, self.places.expand(len(seen), *self.places.shape)], 1)
        return given, functional.silu(
            in_precision(self.precision if self.training else "float32", self.features, given)
        )
