"""Base distributions: standard normal, normal given the context, and normal given the other channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.bijections.coupling import Subnet, soft_clamp
from crow.bijections.normal import standard_normal_log_prob
from crow.networks.context import with_context


class Prior(nn.Module):
    """The base class of distributions of latent values given an optional context."""

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density in nats, ``[*batch]``, of ``z: [*batch, *event]``."""
        raise NotImplementedError

    def sample(
        self, batch: tuple[int, ...], context: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw values.

        Parameters
        ----------
        batch : tuple of int
            Batch shape.
        context : Tensor, optional
            One context per draw, ``[*batch, ...]``.
        generator : torch.Generator, optional
            Source of random numbers; torch's global generator by default.

        Returns
        -------
        Tensor
            ``[*batch, *event]``.
        """
        raise NotImplementedError


class StandardPrior(Prior):
    """The standard normal distribution N(0, I); the context is ignored.

    Parameters
    ----------
    shape : tuple of int
        Shape of an event.

    Raises
    ------
    ValueError
        If z has another event shape.

    Examples
    --------
    >>> prior = StandardPrior((3,))
    >>> z = prior.sample((5,))
    >>> z.shape, prior.log_prob(z).shape
    (torch.Size([5, 3]), torch.Size([5]))
    """

    scale: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        if z.shape[-len(self.shape) :] != self.shape:
            raise ValueError(f"StandardPrior expects [*batch, {', '.join(map(str, self.shape))}], got {list(z.shape)}")
        return standard_normal_log_prob(z, len(self.shape))

    def sample(
        self, batch: tuple[int, ...], context: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return _noise((*batch, *self.shape), self.scale, generator)


class ConditionalPrior(Prior):
    """The normal distribution ``N(z; mu(c), sd(c))`` with mean and log-sd from one subnet of the context.

    ``z: [*batch, channels, *space]``, ``context: [*batch, context, *space]``. If the subnet is zero, it is N(0, I).

    Parameters
    ----------
    channels : int
        Number of channels of z.
    context : int
        Number of channels of the context.
    subnet : callable
        Makes the network from its numbers of input and output channels.
    space : int
        Number of spatial axes.
    clamp : float
        Soft bound of ``|log sd|``.

    Raises
    ------
    ValueError
        If the context is missing, or if z or the batch does not match it.

    References
    ----------
    Winkler et al. 2019, equation 6.

    Examples
    --------
    >>> import torch
    >>> from crow.networks.mlp import MLP
    >>> prior = ConditionalPrior(channels=3, context=2, subnet=MLP)
    >>> c = torch.randn(5, 2)
    >>> z = prior.sample((5,), c)
    >>> z.shape, prior.log_prob(z, c).shape
    (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, channels: int, context: int, subnet: Subnet, space: int = 0, clamp: float = 5.0) -> None:
        super().__init__()
        self.axis, self.clamp = -1 - space, clamp
        self.subnet = subnet(context, 2 * channels)

    def moments(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-sd, each ``[*batch, channels, *space]``."""
        if context is None:
            raise ValueError("ConditionalPrior needs a context, got none")
        return _moments(self.subnet(context), self.axis, self.clamp)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return _normal_log_prob(z, *self.moments(context), -self.axis)

    def sample(
        self, batch: tuple[int, ...], context: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        mean, log_sd = self.moments(context)
        if mean.shape[: self.axis] != batch:
            raise ValueError(f"ConditionalPrior has contexts for a batch {list(mean.shape[: self.axis])}, not {batch}")
        return torch.addcmul(mean, _noise(mean.shape, mean, generator), log_sd.exp())


class SplitPrior(nn.Module):
    """The normal distribution of channels that leave a flow, given those that stay: ``N(z1; mu(z0, c), sd(z0, c))``.

    ``z1: [*batch, channels, *space]``, ``z0: [*batch, kept, *space]``; the context is ``[*batch, context, *space]`` or
    ``[*batch, context]``. If the subnet is zero, it is N(0, I).

    Parameters
    ----------
    channels : int
        Number of channels that leave.
    kept : int
        Number of channels that stay.
    context : int
        Number of channels of the context (0 for none).
    subnet : callable
        Makes the network from its numbers of input and output channels.
    space : int
        Number of spatial axes.
    clamp : float
        Soft bound of ``|log sd|``.

    Raises
    ------
    ValueError
        If z1 or the context has another shape.

    References
    ----------
    Winkler et al. 2019, equation 8.

    Examples
    --------
    >>> import torch
    >>> from crow.networks.mlp import MLP
    >>> prior = SplitPrior(channels=2, kept=3, context=0, subnet=MLP)
    >>> z0 = torch.randn(5, 3)
    >>> z1 = prior.sample(z0)
    >>> z1.shape, prior.log_prob(z1, z0).shape
    (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(
        self, channels: int, kept: int, context: int, subnet: Subnet, space: int = 0, clamp: float = 5.0
    ) -> None:
        super().__init__()
        self.context, self.space, self.axis, self.clamp = context, space, -1 - space, clamp
        self.subnet = subnet(kept + context, 2 * channels)

    def moments(self, z0: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-sd, each ``[*batch, channels, *space]``."""
        return _moments(self.subnet(with_context(z0, context, self.context, self.space)), self.axis, self.clamp)

    def log_prob(self, z1: Tensor, z0: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density in nats, ``[*batch]``."""
        return _normal_log_prob(z1, *self.moments(z0, context), -self.axis)

    def sample(self, z0: Tensor, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """One draw per ``z0``, ``[*batch, channels, *space]``."""
        mean, log_sd = self.moments(z0, context)
        return torch.addcmul(mean, _noise(mean.shape, mean, generator), log_sd.exp())


def _moments(theta: Tensor, axis: int, clamp: float) -> tuple[Tensor, Tensor]:
    mean, log_sd = theta.chunk(2, axis)
    return mean, soft_clamp(log_sd, clamp)


def _normal_log_prob(z: Tensor, mean: Tensor, log_sd: Tensor, event_dims: int) -> Tensor:
    if z.shape != mean.shape:
        raise ValueError(f"the prior is over {list(mean.shape)}, got z {list(z.shape)}")
    e = (z - mean) * torch.exp(-log_sd)
    return standard_normal_log_prob(e, event_dims) - log_sd.sum(tuple(range(-event_dims, 0)))


def _noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)
