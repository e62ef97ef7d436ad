"""The adversarial objective: two players whose gradients come out of one loss, by keeping each other's apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


def frozen(network: nn.Module, *inputs: Tensor) -> Any:
    """``network(*inputs)`` whose gradient goes to the inputs alone, as if its parameters were numbers."""
    return functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, inputs)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What the critic minimises, of its logits: the mean of ``-log D(real) - log(1 - D(fake))``.

    Source: Goodfellow et al. 2014, equation 1, where ``-log D = softplus(-logit)``.
    """
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """What the other player minimises: the mean of ``-log D(fake)``, whose gradient stays while the critic is sure.

    Source: Goodfellow et al. 2014, section 3.
    """
    return functional.softplus(-fake).mean()


def slope(real: Tensor, x: Tensor) -> Tensor:
    """``|d real / d x|^2 / 2`` of logits ``real: [batch]`` of data x, on the mean: makes the game converge.

    Source: Mescheder et al., Which training methods for GANs do actually converge, 2018, equation 9 (R1).
    """
    (gradient,) = torch.autograd.grad(real.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2
