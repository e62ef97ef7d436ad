"""The conditional flow: couplings, split priors and the prior of the top depend on the condition."""

from __future__ import annotations

from functools import partial
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from crow.bijections.affine import mark_initialised
from crow.bijections.base import Bijection
from crow.bijections.chain import Chain
from crow.bijections.context_gate import ContextGate
from crow.bijections.coupling import Subnet
from crow.bijections.dequantize import BinaryDequantizer, UniformDequantizer, VariationalDequantizer
from crow.bijections.multiscale import MultiScale, head_levels
from crow.bijections.priors import StandardPrior
from crow.flows.base import DiscreteFlow, Flow
from crow.flows.mask_flow import MaskFlow
from crow.networks.blocks import in_blocks
from crow.networks.conditioning import ConditioningNetwork, WideTrunk
from crow.networks.convolutional import CONVOLUTION, ConvNet
from crow.networks.mlp import MLP

GATE_CLAMP = 4.0  # bound of the log-scale of a voxel that depends on c alone
IMAGE_CLAMP = 0.7  # of a coupling; at 2.0 about one voxel in 1,000 is drawn with an implausible value


class ConditionalFlow(Flow):
    """``log p(x | c) = log N(z_top; mu(h), sd(h)) + sum log N(z_left; mu(z_kept, h), sd(z_kept, h)) + log |det f'|``.

    h = h(c) has a head for every coupling and every prior. f is a `MultiScale` stack of ActNorm, a learned 1x1
    convolution and one-sided affine couplings. x is a vector with a vector as condition, or an image with an image of
    the same size as condition. At initialisation the flow is N(0, I) for every condition.

    For images f begins with a shift and a scale per voxel, by a separate network of c. Up to there voxels are
    independent, as in a plain network, and the stack learns what they share. (Masks do not need this:
    `BinaryDequantizer` has a network of its own.) No weight depends on the size of an image; `resized` gives the same
    flow for another size.

    Parameters
    ----------
    shape : tuple of int
        Shape of x, ``(channels, *space)`` or ``(features,)``.
    context : int
        Number of channels of the condition.
    levels : int
        Number of halvings of an image; 1 for a vector.
    depth : int
        Number of couplings per level.
    hidden : int
        Width of the subnets and of h.
    features : int
        Number of features that each head gives.
    gate : bool
        Begin with the shift and scale per voxel.

    References
    ----------
    Winkler et al. 2019, equations 5 to 9. The first shift and scale were added in this project.

    Examples
    --------
    >>> import torch
    >>> flow = ConditionalFlow(shape=(1, 8, 8), context=2, levels=1, depth=1, hidden=8)
    >>> x, c = torch.randn(3, 1, 8, 8), torch.randn(3, 2, 8, 8)
    >>> flow.log_prob(x, c).shape, flow.resized(4, 4).sample(c[:, :, :4, :4], n=5).shape
    (torch.Size([3]), torch.Size([5, 3, 1, 4, 4]))
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        context: int,
        levels: int = 2,
        depth: int = 4,
        hidden: int = 32,
        features: int = 16,
        gate: bool = True,
    ) -> None:
        stack = conditional_stack(shape, context, levels, depth, hidden, features, gate)
        super().__init__(stack, StandardPrior((torch.Size(shape).numel(),)), context_dims=len(shape))
        self.shape, self.space = tuple(shape), len(shape) - 1
        self.sizes = {"context": context, "levels": levels, "depth": depth, "hidden": hidden, "features": features}
        self.gate = gate

    def resized(self, *space: int) -> ConditionalFlow:
        """A copy with the same weights for images of another size, divisible by ``2^levels``."""
        other = ConditionalFlow((self.shape[0], *space), **self.sizes, gate=self.gate)
        other.load_state_dict(self.state_dict())
        return other.to(next(self.parameters())).train(self.training)


def flow_of_greys(flow: ConditionalFlow, greys: int, variational: bool = False) -> DiscreteFlow:
    """The probability of images of ``greys`` grey levels, with uniform or learned noise within a level."""
    if not variational:
        return DiscreteFlow(flow, UniformDequantizer(greys))
    return DiscreteFlow(flow, VariationalDequantizer(_noise(flow), greys, flow.sizes["context"], flow.space))


def flow_of_masks(
    shape: tuple[int, ...], context: int, levels: int = 2, depth: int = 4, hidden: int = 32, features: int = 16
) -> MaskFlow:
    """The probability of masks of 0 and 1: a plain network of twice the width, and a flow of what its voxels share."""
    return _of_masks(ConditionalFlow(shape, context, levels, depth, hidden, features, gate=False))


def _of_masks(flow: ConditionalFlow) -> MaskFlow:
    mark_initialised(flow)  # a first batch would move the flow away from the plain network
    channels, space, context, width = flow.shape[0], flow.space, flow.sizes["context"], 2 * flow.sizes["hidden"]
    network = wide_network(context, channels, space, width) if space else MLP(context, channels, width)
    return MaskFlow(flow, BinaryDequantizer(_noise(flow, 2 * channels), network, context, space))


Discrete = TypeVar("Discrete", bound=DiscreteFlow)


def resized(model: Discrete, *space: int) -> Discrete:
    """A model of grey levels or masks with the same weights for images of another size."""
    assert isinstance(model.flow, ConditionalFlow)
    flow, dequantizer = model.flow.resized(*space), model.dequantizer
    other: DiscreteFlow
    if isinstance(model, MaskFlow):
        other = _of_masks(flow)
        other.shift_as(model)
    else:
        assert isinstance(dequantizer, UniformDequantizer | VariationalDequantizer)
        other = flow_of_greys(flow, dequantizer.levels, isinstance(dequantizer, VariationalDequantizer))
    other.dequantizer.load_state_dict(dequantizer.state_dict())
    return cast(Discrete, other.to(next(model.parameters())).train(model.training))


def _noise(flow: ConditionalFlow, extra_channels: int = 0) -> Bijection:
    """The bijection of a learned dequantiser's noise: a stack of one level and half the width.

    Its context is the condition, x and ``extra_channels``.
    """
    sizes = flow.sizes
    context, hidden = sizes["context"] + flow.shape[0] + extra_channels, max(1, sizes["hidden"] // 2)
    return conditional_stack(flow.shape, context, 1, 2, hidden, sizes["features"])


def conditional_stack(
    shape: tuple[int, ...], context: int, levels: int, depth: int, hidden: int, features: int, gate: bool = True
) -> Bijection:
    """The bijection of `ConditionalFlow`, with its priors and h."""
    space = len(shape) - 1
    trunk: nn.Module
    heads: list[nn.Module] = []
    if space:
        subnet: Subnet = partial(ConvNet, space=space, hidden=hidden)
        trunk = WideTrunk(context, hidden, space, positions=False)
        # Strided, not pooled: a mean over 2^level voxels would hide fine structure of the condition from the details.
        heads += [CONVOLUTION[space](hidden, features, 2**k, stride=2**k) for k in head_levels(levels, depth, space)]
    else:
        subnet = partial(MLP, hidden=hidden)
        trunk = nn.Sequential(MLP(context, hidden, hidden, depth=1, zero=False), nn.SiLU())
        heads += [nn.Linear(hidden, features) for _ in head_levels(levels, depth, space)]
    h, clamp = ConditioningNetwork(trunk, heads, 2**levels if space else 1), IMAGE_CLAMP if space else 2.0
    stack = MultiScale(shape, levels, depth, subnet, features, h, top=True, clamp=clamp)
    if not space or not gate:
        return stack
    subnet = partial(wide_network, space=space, hidden=hidden)
    return Chain([ContextGate(torch.ones(shape), context, subnet, GATE_CLAMP), stack])


def wide_network(inputs: int, outputs: int, space: int, hidden: int) -> nn.Module:
    """A network of images with a wide receptive field; zero at initialisation."""
    return WideNetwork(WideTrunk(inputs, hidden, space, positions=False), ConvNet(hidden, outputs, space, hidden))


class WideNetwork(nn.Sequential):
    """A trunk and a readout, applied block by block."""

    def forward(self, x: Tensor) -> Tensor:
        return in_blocks(super().forward, x, WideTrunk.REACH + 2)
