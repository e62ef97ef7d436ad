"""The conditional flow: the condition enters the couplings, the split priors and the prior of the top."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from crow.bijections.affine import mark_initialised
from crow.bijections.base import Bijection
from crow.bijections.chain import Chain
from crow.bijections.context_gate import ContextGate
from crow.bijections.coupling import Subnet
from crow.bijections.dequantize import BinaryDequantizer, UniformDequantizer, VariationalDequantizer
from crow.bijections.multiscale import MultiScale, head_levels
from crow.bijections.priors import StandardPrior
from crow.flows.base import DiscreteFlow, Flow
from crow.networks.conditioning import ConditioningNetwork, WideTrunk
from crow.networks.convolutional import CONVOLUTION, ConvNet
from crow.networks.mlp import MLP

GATE = 4.0  # bound of the log scale by which c alone divides a voxel
CLAMP = 0.7  # of a coupling of images: at 2.0 one voxel of some 1,000 is drawn far from what it can be


class ConditionalFlow(Flow):
    """``log p(x | c) = log N(z_top; mu(h), sd(h)) + sum log N(z_left; mu(z_kept, h), sd(z_kept, h)) + log |det f'|``.

    h = h(c), a head for every coupling and every prior; f is a stack of ActNorm, a learned 1x1 and one-sided affine
    couplings. x is a vector with a vector as condition, or an image with an image of its size. Of images, f begins with
    a shift and a scale of every voxel by a network of c of its own: so far voxels are independent, as those of a plain
    network are, and the stack has to learn only what they share (masks do without: `BinaryDequantizer` has a network of
    its own). Over images nothing depends on the size: `resized` is
    the same flow over larger or smaller ones. N(0, I) given every condition at initialisation.
    Source: Winkler et al. 2019, equations 5 to 9; the first shift and scale are this project's.

    Args:
        shape: of x, ``(channels, *space)`` or ``(features,)``.
        context: channels of the condition.
        levels: halvings of an image; a vector has 1.
        depth: couplings a level.
        hidden: width of the subnets and of h.
        features: that each head gives.
        gate: begin with that shift and scale.
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
        """A copy with the same weights over images of other sizes, divisible by ``2^levels``."""
        other = ConditionalFlow((self.shape[0], *space), **self.sizes, gate=self.gate)
        other.load_state_dict(self.state_dict())
        return other.to(next(self.parameters())).train(self.training)


def flow_of_greys(flow: ConditionalFlow, greys: int, variational: bool = False) -> DiscreteFlow:
    """The probability of images of ``greys`` levels, by uniform or learned noise within a level."""
    if not variational:
        return DiscreteFlow(flow, UniformDequantizer(greys))
    return DiscreteFlow(flow, VariationalDequantizer(_noise(flow), greys, flow.sizes["context"], flow.space))


def flow_of_masks(
    shape: tuple[int, ...], context: int, levels: int = 2, depth: int = 4, hidden: int = 32, features: int = 16
) -> DiscreteFlow:
    """The probability of masks of 0 and 1: a plain network twice as wide as the rest, and what its voxels share."""
    return _of_masks(ConditionalFlow(shape, context, levels, depth, hidden, features, gate=False))


def _of_masks(flow: ConditionalFlow) -> DiscreteFlow:
    mark_initialised(flow)  # a first batch would move the flow off the plain network
    channels, space, context, width = flow.shape[0], flow.space, flow.sizes["context"], 2 * flow.sizes["hidden"]
    network = wide(context, channels, space, width) if space else MLP(context, channels, width)
    return DiscreteFlow(flow, BinaryDequantizer(_noise(flow, 2 * channels), network, context, space))


def resized(model: DiscreteFlow, *space: int) -> DiscreteFlow:
    """A model of greys or masks with the same weights over images of other sizes (see `ConditionalFlow.resized`)."""
    assert isinstance(model.flow, ConditionalFlow)
    flow, dequantizer = model.flow.resized(*space), model.dequantizer
    if isinstance(dequantizer, BinaryDequantizer):
        other = _of_masks(flow)
    else:
        assert isinstance(dequantizer, UniformDequantizer | VariationalDequantizer)
        other = flow_of_greys(flow, dequantizer.levels, isinstance(dequantizer, VariationalDequantizer))
    other.dequantizer.load_state_dict(dequantizer.state_dict())
    return other.to(next(model.parameters())).train(model.training)


def _noise(flow: ConditionalFlow, more: int = 0) -> Bijection:
    """What makes the noise of a learned dequantiser: a stack of one level and half the width, told of the condition, x
    and ``more`` channels."""
    sizes = flow.sizes
    context, hidden = sizes["context"] + flow.shape[0] + more, max(1, sizes["hidden"] // 2)
    return conditional_stack(flow.shape, context, 1, 2, hidden, sizes["features"])


def conditional_stack(
    shape: tuple[int, ...], context: int, levels: int, depth: int, hidden: int, features: int, gate: bool = True
) -> Bijection:
    """The bijection of `ConditionalFlow`, with its priors and its h."""
    space = len(shape) - 1
    trunk: nn.Module
    heads: list[nn.Module] = []
    if space:
        subnet: Subnet = partial(ConvNet, space=space, hidden=hidden)
        trunk = WideTrunk(context, hidden, space, positions=False)
        # Not pooled: a mean over 2^level voxels would keep what is fine in the condition from the details.
        heads += [CONVOLUTION[space](hidden, features, 2**k, stride=2**k) for k in head_levels(levels, depth, space)]
    else:
        subnet = partial(MLP, hidden=hidden)
        trunk = nn.Sequential(MLP(context, hidden, hidden, depth=1, zero=False), nn.SiLU())
        heads += [nn.Linear(hidden, features) for _ in head_levels(levels, depth, space)]
    h, clamp = ConditioningNetwork(trunk, heads), CLAMP if space else 2.0
    stack = MultiScale(shape, levels, depth, subnet, features, h, top=True, clamp=clamp)
    if not space or not gate:
        return stack
    return Chain([ContextGate(torch.ones(shape), context, partial(wide, space=space, hidden=hidden), GATE), stack])


def wide(inputs: int, outputs: int, space: int, hidden: int) -> nn.Module:
    """A network of images that sees far, zero at initialisation."""
    return nn.Sequential(
        WideTrunk(inputs, hidden, space, positions=False), ConvNet(hidden, outputs, space, hidden)
    )
