"""Couplings: one half of the channels is transformed, given the other half and the context."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from crow.bijections.channels import ChannelBijection
from crow.networks.context import with_context

Subnet = Callable[[int, int], nn.Module]
"""Makes a network from its numbers of input and output channels. It decides whether outputs are zero at first."""


class Coupling(ChannelBijection):
    """The base class of couplings: ``z_a = f(x_a; theta(x_p, c))`` and ``z_p = x_p``.

    f is elementwise and monotone in ``x_a``; subclasses define it in ``transform``. The first ``channels // 2``
    channels are the passive half ``x_p``, the others the active half ``x_a``.

    Parameters
    ----------
    channels : int
        Number of channels of ``x: [*batch, channels, *space]``, at least 2.
    context : int
        Number of channels of the context, ``[*batch, context, *space]``, or ``[*batch, context]``, which is repeated
        over the space. If it is 0, the context is ignored.
    subnet : callable
        Makes the network of theta from its numbers of input and output channels.
    per_value : int
        Number of parameters of f per transformed value.
    space : int
        Number of spatial axes.
    swap : bool
        Exchange the active and the passive half.
    two_sided : bool
        Transform the passive half as well, given the transformed active half, by a subnet of its own.

    Raises
    ------
    ValueError
        If there are fewer than 2 channels, or if x or the context has another number of channels than declared.

    References
    ----------
    Dinh et al., Real NVP, 2017. With a context: Winkler et al. 2019, equation 9. Two-sided: Ardizzone et al. 2019,
    cINN.

    Examples
    --------
    A coupling that adds theta to the active half:

    >>> import torch
    >>> from crow.networks.mlp import MLP
    >>> class Additive(Coupling):
    ...     def transform(self, active, theta, inverse):
    ...         moved = active - theta if inverse else active + theta
    ...         return moved, torch.zeros(active.shape[: self.axis])
    >>> coupling = Additive(channels=4, context=2, subnet=MLP, per_value=1)
    >>> z, log_det = coupling(torch.randn(8, 4), torch.randn(8, 2))
    >>> z.shape, log_det.shape
    (torch.Size([8, 4]), torch.Size([8]))
    """

    def __init__(
        self,
        channels: int,
        context: int,
        subnet: Subnet,
        per_value: int,
        space: int = 0,
        swap: bool = False,
        two_sided: bool = False,
    ) -> None:
        super().__init__(channels, space)
        if channels < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 channels, got {channels}")
        self.context = context
        self.sizes = (channels // 2, channels - channels // 2)
        first = 0 if swap else 1
        self.actives = (first, 1 - first) if two_sided else (first,)
        self.subnets = nn.ModuleList(
            subnet(self.sizes[1 - active] + context, per_value * self.sizes[active]) for active in self.actives
        )

    def transform(self, active: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Apply f, or its inverse, to every value of the active half.

        Parameters
        ----------
        active : Tensor
            The active half, ``[*batch, channels of the half, *space]``.
        theta : Tensor
            The output of the subnet, ``[*batch, per_value * channels of the half, *space]``.
        inverse : bool
            Apply the inverse of f.

        Returns
        -------
        Tensor, Tensor
            The transformed half and its log-determinant ``[*batch]``.
        """
        raise NotImplementedError

    def theta(self, subnet: nn.Module, passive: Tensor, context: Tensor | None) -> Tensor:
        """The parameters of f, from the passive half and the context."""
        return subnet(with_context(passive, context, self.context, self.space))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(z, context, inverse=True)

    def _couple(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        self.check(x)
        halves = list(x.split(self.sizes, self.axis))
        log_dets = []
        steps = list(zip(self.actives, self.subnets, strict=True))
        for active, subnet in reversed(steps) if inverse else steps:
            theta = self.theta(subnet, halves[1 - active], context)
            halves[active], log_det = self.transform(halves[active], theta, inverse)
            log_dets.append(log_det)
        return torch.cat(halves, self.axis), log_dets[0] if len(log_dets) == 1 else log_dets[0] + log_dets[1]


class AffineCoupling(Coupling):
    """The affine coupling ``z_a = x_a exp(s) + t``, with ``s = soft_clamp(s(x_p, c))`` and ``t = t(x_p, c)``.

    One subnet gives both s and t. If it is zero, the map is the identity.

    Parameters
    ----------
    channels, context, subnet, space, swap, two_sided
        See `Coupling`.
    clamp : float
        Bound of ``|s|``.

    Raises
    ------
    ValueError
        See `Coupling`.

    Examples
    --------
    >>> import torch
    >>> from crow.networks.mlp import MLP
    >>> coupling = AffineCoupling(channels=4, context=2, subnet=MLP, two_sided=True)
    >>> x, c = torch.randn(8, 4), torch.randn(8, 2)
    >>> z, log_det = coupling(x, c)
    >>> torch.allclose(coupling.inverse(z, c)[0], x, atol=1e-5)
    True
    """

    def __init__(
        self,
        channels: int,
        context: int,
        subnet: Subnet,
        space: int = 0,
        swap: bool = False,
        two_sided: bool = False,
        clamp: float = 2.0,
    ) -> None:
        super().__init__(channels, context, subnet, 2, space, swap, two_sided)
        self.clamp = clamp

    def transform(self, active: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return scale_and_shift(active, theta, self.clamp, self.event, inverse)


def scale_and_shift(
    x: Tensor, theta: Tensor, clamp: float, event: tuple[int, ...], inverse: bool
) -> tuple[Tensor, Tensor]:
    """``x exp(s) + t``, or its inverse ``(x - t) exp(-s)``, and the log-determinant summed over the event's axes.

    s (before the soft clamp) and t are the two halves of ``theta`` along the first of these axes.
    """
    s, t = theta.chunk(2, event[0])
    s = soft_clamp(s, clamp)
    if inverse:
        return (x - t) * torch.exp(-s), -s.sum(event)
    return torch.addcmul(t, x, s.exp()), s.sum(event)


def soft_clamp(s: Tensor, limit: float) -> Tensor:
    """``limit * 2/pi * atan(s / limit)``: bounded by ``limit``, with slope 2/pi at 0 (Ardizzone et al. 2019)."""
    return (s * (1 / limit)).atan() * (limit * 0.6366197723675814)
