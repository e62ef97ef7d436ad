"""The adversarial objective: one loss for both players, with separate gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


def frozen(network: nn.Module, *inputs: Tensor) -> Any:
    """``network(*inputs)`` with gradients for the inputs only; the parameters are constants."""
    return functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, inputs)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The critic's loss from its logits: the mean of ``-log D(real) - log(1 - D(fake))``.

    Source: Goodfellow et al. 2014, equation 1, with ``-log D = softplus(-logit)``.
    """
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """The generator's loss: the mean of ``-log D(fake)``, whose gradient does not vanish for a confident critic.

    Source: Goodfellow et al. 2014, section 3.
    """
    return functional.softplus(-fake).mean()


def gradient_penalty(real: Tensor, x: Tensor) -> Tensor:
    """The mean of ``|d real / d x|^2 / 2`` for logits ``real: [batch]`` of data x, which makes training converge.

    Source: Mescheder et al., Which training methods for GANs do actually converge, 2018, equation 9 (R1).
    """
    (gradient,) = torch.autograd.grad(real.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2
