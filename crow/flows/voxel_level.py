"""One level of resolution of a flow over volumes."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.bijections.chain import Chain
from crow.bijections.context_gate import ContextGate
from crow.bijections.coupling import AffineCoupling
from crow.bijections.masked_haar import MaskedHaar
from crow.bijections.priors import SplitPrior
from crow.networks.context import over_space
from crow.networks.convolutional import CONVOLUTION, Precision, in_precision
from crow.networks.masked import MaskedConvNet


class VoxelLevel(nn.Module):
    """``[rows, 1, *space]`` to averages ``[rows, 1, *space / 2]`` and standardised details ``[rows, 2^n - 1, ...]``.

    A level has a Haar wavelet, a gate on the past, ``depth`` couplings of alternating halves, and the split prior of
    the details. The inputs of the gate are the coefficients of the past at this level, ``past [rows, 2 * 2^n,
    *space / 2]``, the context vector ``[rows, context]`` repeated over space, and the voxel coordinates. Couplings and
    prior receive ``hidden`` features of these.
    """

    coordinates: Tensor
    precision: Precision = "float32"  # of training

    def __init__(self, mask: Tensor, context: int, depth: int, hidden: int, chain: type[Chain]) -> None:
        super().__init__()
        self.haar = MaskedHaar(mask)
        inside, space = self.haar.inside, mask.dim()
        channels = len(inside)
        axes = [torch.linspace(-1, 1, size) for size in inside.shape[1:]]
        self.register_buffer("coordinates", torch.stack(torch.meshgrid(*axes, indexing="ij")), persistent=False)
        inputs = 2 * channels + context + space
        self.features = CONVOLUTION[space](inputs, hidden, 3, padding=1)
        net = partial(MaskedConvNet, hidden=hidden)
        self.gate = ContextGate(inside, inputs, partial(net, inside=inside))
        halves = inside.split([channels // 2, channels - channels // 2])
        self.couplings = chain(
            AffineCoupling(channels, hidden, partial(net, inside=halves[0 if k % 2 else 1]), space, swap=bool(k % 2))
            for k in range(depth)
        )
        self.prior = SplitPrior(channels - 1, 1, hidden, partial(net, inside=inside[1:]), space)

    def cut(self, mask: Tensor, corner: tuple[int, ...]) -> VoxelLevel:
        """The level for a part of the volume, whose ``mask`` begins at ``corner``; it shares all weights."""
        tensors = [*self.parameters(), *self.buffers()]
        part = copy.deepcopy(self, {id(tensor): tensor for tensor in tensors})
        part.haar = MaskedHaar(mask)
        inside = part.haar.inside
        box = tuple(slice(start // 2, start // 2 + size) for start, size in zip(corner, inside.shape[1:], strict=True))
        part.coordinates = self.coordinates[(slice(None), *box)]
        for module in part.modules():
            if isinstance(module, ContextGate):
                module.inside = inside.float()
            elif isinstance(module, MaskedConvNet):
                module.inside = module.inside[(slice(None), *box)]
        return part

    def forward(self, x: Tensor, past: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs, features = self._inputs(past, context)
        x, _ = self.haar(x)
        x, log_det = self.gate(x, inputs)
        x, coupling_log_det = self.couplings(x, features)
        average, details = x.split([1, x.shape[1] - 1], 1)
        mean, log_sd = self.prior.moments(average, features)
        return average, (details - mean) * torch.exp(-log_sd), log_det + coupling_log_det - log_sd.flatten(1).sum(1)

    def inverse(self, average: Tensor, details: Tensor, past: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        inputs, features = self._inputs(past, context)
        mean, log_sd = self.prior.moments(average, features)
        x = torch.cat([average, torch.addcmul(mean, details, log_sd.exp())], 1)
        x, coupling_log_det = self.couplings.inverse(x, features)
        x, log_det = self.gate.inverse(x, inputs)
        return self.haar.inverse(x)[0], log_det + coupling_log_det + log_sd.flatten(1).sum(1)

    def _inputs(self, past: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs of the gate, and the features of couplings and prior."""
        coordinates = self.coordinates.expand(len(past), *self.coordinates.shape)
        inputs = torch.cat([past, over_space(context, past, past.dim() - 2), coordinates], 1)
        precision = self.precision if self.training else "float32"
        return inputs, functional.silu(in_precision(precision, self.features, inputs))
