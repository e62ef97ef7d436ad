"""Mixing of channels between couplings: a fixed permutation, a learned rotation, a learned 1x1."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.bijections.channels import ChannelBijection
from crow.bijections.patterns import apply_each, patterns
from crow.networks.packing import Packing


class Permutation(ChannelBijection):
    """``z = x[order]`` along the channels, with a random order that is drawn once and saved.

    Parameters
    ----------
    channels : int
        Number of channels of ``x: [*batch, channels, *space]``.
    space : int
        Number of spatial axes.
    generator : torch.Generator, optional
        Of the order.

    Examples
    --------
    >>> import torch
    >>> z, log_det = Permutation(5)(torch.arange(5.0)[None])
    >>> sorted(z[0].tolist()), log_det.tolist()
    ([0.0, 1.0, 2.0, 3.0, 4.0], [0.0])
    """

    order: Tensor
    back: Tensor

    def __init__(self, channels: int, space: int = 0, generator: torch.Generator | None = None) -> None:
        super().__init__(channels, space)
        self.register_buffer("order", torch.randperm(channels, generator=generator))
        self.register_buffer("back", self.order.argsort())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        return self._take(x, self.order), x.new_zeros(x.shape[: self.axis])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z)
        return self._take(z, self.back), z.new_zeros(z.shape[: self.axis])

    def _take(self, x: Tensor, order: Tensor) -> Tensor:
        # The gradient of gather is twice as fast as that of index_select.
        return x.gather(self.axis, order.view(-1, *[1] * self.space).expand_as(x))


class Rotation(ChannelBijection):
    """``z = Q x`` with a learned rotation ``Q = (I + A)^-1 (I - A)`` and ``A = B - B'`` (Cayley).

    A random rotation at initialisation, which leaves N(0, I) as it is; ``log_det`` is 0. With ``measured [batch, time,
    channels]`` (vectors only) the measured values are rotated among themselves, by the Q of their block of A, which is
    a rotation for every pattern; missing values stay.

    Parameters
    ----------
    channels, space, generator
        As of `Permutation`.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(4, 5)
    >>> z, log_det = Rotation(5)(x)
    >>> torch.allclose(z.norm(dim=1), x.norm(dim=1)), log_det.tolist()
    (True, [0.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, channels: int, space: int = 0, generator: torch.Generator | None = None) -> None:
        super().__init__(channels, space)
        self.b = nn.Parameter(torch.randn(channels, channels, generator=generator) / (2 * channels) ** 0.5)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        measured: Tensor | None = None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, Tensor]:
        return self._rotate(x, measured, packing, inverse=False)

    def inverse(
        self, z: Tensor, context: Tensor | None = None, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._rotate(z, measured, None, inverse=True)

    def _rotate(
        self, x: Tensor, measured: Tensor | None, packing: Packing | None, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        self.check(x)
        a = self.b - self.b.mT
        a = -a if inverse else a
        eye = torch.eye(self.channels, dtype=a.dtype, device=a.device)
        log_det = x.new_zeros(x.shape[: self.axis])
        if measured is None:
            q = torch.linalg.solve(eye + a, eye - a)
            return (x @ q.mT if q.ndim > 2 else _mix(q, x, self.space)), log_det
        each, visit = (packing and packing.measured) or patterns(measured)
        blocks = a.unsqueeze(-3) * (each.unsqueeze(-1) & each.unsqueeze(-2))
        return apply_each(torch.linalg.solve(eye + blocks, eye - blocks), visit, x), log_det


class LU(ChannelBijection):
    """``z = P L U x``: P a fixed random permutation (saved), L unit lower, U upper with diagonal ``exp(log_diagonal)``.

    The permutation alone at initialisation. ``log_det = sum(log_diagonal)`` times the number of positions.

    Parameters
    ----------
    channels, space, generator
        As of `Permutation`.

    References
    ----------
    Kingma & Dhariwal, Glow, 2018, equation 10.

    Examples
    --------
    >>> import torch
    >>> mix, x = LU(3, space=2), torch.randn(4, 3, 8, 8)
    >>> z, log_det = mix(x)
    >>> torch.allclose(mix.inverse(z)[0], x, atol=1e-5), log_det.shape
    (True, torch.Size([4]))
    """

    order: Tensor

    def __init__(self, channels: int, space: int = 0, generator: torch.Generator | None = None) -> None:
        super().__init__(channels, space)
        self.register_buffer("order", torch.randperm(channels, generator=generator))
        self.lower = nn.Parameter(torch.zeros(channels, channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        lower, upper = self._factors()
        w = (lower @ upper).index_select(0, self.order)
        return _mix(w, x, self.space), self.everywhere(self.log_diagonal.sum(), x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z)
        lower, upper = self._factors()
        p = torch.eye(self.channels, dtype=z.dtype, device=z.device).index_select(1, self.order)
        half = torch.linalg.solve_triangular(lower, p, upper=False, unitriangular=True)
        w_inverse = torch.linalg.solve_triangular(upper, half, upper=True)
        return _mix(w_inverse, z, self.space), -self.everywhere(self.log_diagonal.sum(), z)

    def _factors(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(self.channels, dtype=self.lower.dtype, device=self.lower.device)
        return self.lower.tril(-1) + eye, self.upper.triu(1) + self.log_diagonal.exp().diag()


def _mix(w: Tensor, x: Tensor, space: int) -> Tensor:
    if not space:
        return functional.linear(x, w)
    return (w @ x.flatten(-space)).unflatten(-1, x.shape[-space:])
