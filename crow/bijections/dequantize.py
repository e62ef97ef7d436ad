"""Dequantisation: from the grey levels of an image to continuous values that have a density, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.special import log_ndtr

from crow.bijections.base import Bijection
from crow.bijections.coupling import soft_clamp
from crow.bijections.normal import standard_normal_log_prob
from crow.networks.context import with_context

NEWTON_STEPS = 4  # enough for the precision of float64, before the last
MAX_THRESHOLD = 6.0  # bound of a threshold, in sds: no voxel is more certain than 1 - 1e-9
MARGIN = 1e-4  # share of a level left free at both ends, so that rounding never moves a value into the next level


class UniformDequantizer(nn.Module):
    """Uniform dequantisation: ``v = (x + u) / levels - 0.5`` with u uniform on [0, 1).

    The expected difference of two log-densities bounds the log-probability of a level:
    ``log P(x) >= E_q[log p(v) - log q(v | x)]``. The noise comes from torch's global generator.

    Parameters
    ----------
    levels : int
        Number of levels: x has integers from 0 to ``levels - 1``.

    References
    ----------
    Theis et al., A note on the evaluation of generative models, 2016, section 3.1.

    Examples
    --------
    >>> import torch
    >>> x = torch.randint(16, (2, 1, 8, 8)).float()
    >>> dequantizer = UniformDequantizer(levels=16)
    >>> v, log_q = dequantizer(x)
    >>> torch.equal(dequantizer.inverse(v), x), log_q.shape
    (True, torch.Size([2]))
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw continuous values.

        Parameters
        ----------
        x : Tensor
            Levels, ``[batch, *event]``.
        context : Tensor, optional
            Ignored.

        Returns
        -------
        v : Tensor
            ``[batch, *event]``, between -0.5 and 0.5.
        log_q : Tensor
            ``log q(v | x)``, ``[batch]``, in nats.
        """
        v = _place_in_level(x, torch.rand_like(x), self.levels)
        return v, x.new_full((len(x),), x[0].numel() * math.log(self.levels / (1 - 2 * MARGIN)))

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        """The level of every value of v; values outside [-0.5, 0.5] get the nearest level."""
        return _level(v, self.levels)


class LearnedDequantizer(nn.Module):
    """The base class of dequantisers whose noise is a flow: ``w = q(e; x, c)``, e ~ N(0, I), then ``v = v(w, x)``.

    v is monotone in w, and ``log q(v | x, c) = log N(e; 0, I) - log |dw/de| - log |dv/dw|``. Subclasses define v in
    ``place``. Shapes, bounds and noise are those of `UniformDequantizer`.

    Parameters
    ----------
    q : Bijection
        Maps ``[batch, *event]`` to ``[batch, values]``, given [x, c] along the channels. Its ``inverse`` makes w.
    levels : int
        Number of levels of x.
    context : int
        Number of channels of c, a vector or maps of the size of x (0 for none).
    space : int
        Number of spatial axes of x.

    References
    ----------
    Ho et al., Flow++, 2019, section 3.1.
    """

    def __init__(self, q: Bijection, levels: int, context: int = 0, space: int = 0) -> None:
        super().__init__()
        self.q, self.levels, self.context, self.space = q, levels, context, space

    def forward(self, x: Tensor, context: Tensor | None = None, shift: float = 0.0) -> tuple[Tensor, Tensor]:
        """Values v and ``log q(v | x, c)``; ``shift`` is added to the thresholds, if there are any."""
        e = torch.randn_like(x).flatten(1)
        a = self.threshold(context)
        a = None if a is None else a + shift
        w, log_det = self.q.inverse(e, self.condition(x, context, a))
        v, log_slope = self.place(w, x, a)
        return v, standard_normal_log_prob(e, 1) - log_det - log_slope.flatten(1).sum(1)

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def threshold(self, context: Tensor | None) -> Tensor | None:
        """Where c places the boundary between levels, in the shape of x; None if the boundaries do not depend on c."""
        return None

    def condition(self, x: Tensor, context: Tensor | None, a: Tensor | None) -> Tensor:
        """The context of q: x, scaled to [-0.5, 0.5], and c."""
        return with_context((x + 0.5) / self.levels - 0.5, context, self.context, self.space)

    def place(self, w: Tensor, x: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
        """Values v for every value of x and its noise w, and ``log |dv/dw|``."""
        raise NotImplementedError


class VariationalDequantizer(LearnedDequantizer):
    """Variational dequantisation: ``v = (x + sigmoid(w)) / levels - 0.5`` with learned noise w.

    Parameters
    ----------
    q : Bijection
        The flow of the noise, with the context [x, c].
    levels : int
        Number of levels of x.
    context : int
        Number of channels of c (0 for none).
    space : int
        Number of spatial axes of x.

    References
    ----------
    Ho et al., Flow++, 2019, section 3.1.

    Examples
    --------
    >>> import torch
    >>> from crow.bijections.coupling import AffineCoupling
    >>> from crow.networks.mlp import MLP
    >>> q = AffineCoupling(channels=4, context=4, subnet=MLP)
    >>> x = torch.randint(16, (2, 4)).float()
    >>> dequantizer = VariationalDequantizer(q, levels=16)
    >>> v, log_q = dequantizer(x)
    >>> torch.equal(dequantizer.inverse(v), x), log_q.shape
    (True, torch.Size([2]))
    """

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        return _level(v, self.levels)

    def place(self, w: Tensor, x: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
        log_slope = logsigmoid(w) + logsigmoid(-w) + math.log((1 - 2 * MARGIN) / self.levels)
        return _place_in_level(x, w.sigmoid(), self.levels), log_slope


class BinaryDequantizer(LearnedDequantizer):
    """Dequantisation of masks by a threshold: x is 1 if ``v > -a(c)``, and v is a truncated normal variable.

    If p(v | c) is N(0, I) and q the identity, ``log p(v | c) - log q(v | x, c)`` is ``sum log Phi((2x - 1) a(c))``
    whatever the noise is: the cross-entropy of the plain network a(c). Both flows start there, and learn what voxels
    share. q also receives a and the mean of its truncated v.

    Parameters
    ----------
    q : Bijection
        The flow of the noise; its context is [x, c, a, mean of v].
    network : nn.Module
        Maps c to a, in the shape of x. Its output is softly clamped at 6 sds.
    context : int
        Number of channels of c.
    space : int
        Number of spatial axes of x.

    Raises
    ------
    ValueError
        If no context is given.

    References
    ----------
    Winkler et al. 2019, section 3.3, with half lines that begin at 0 and a softplus. The threshold and the truncated
    normal were added in this project.

    Examples
    --------
    >>> import torch
    >>> from crow.bijections.coupling import AffineCoupling
    >>> from crow.networks.mlp import MLP
    >>> q = AffineCoupling(channels=4, context=4 + 3 + 4 + 4, subnet=MLP)
    >>> dequantizer = BinaryDequantizer(q, MLP(3, 4), context=3)
    >>> x, c = torch.randint(2, (2, 4)).float(), torch.randn(2, 3)
    >>> v, log_q = dequantizer(x, c)
    >>> torch.equal(dequantizer.inverse(v, c), x), log_q.shape
    (True, torch.Size([2]))
    """

    def __init__(self, q: Bijection, network: nn.Module, context: int = 0, space: int = 0) -> None:
        super().__init__(q, 2, context, space)
        self.network = network

    def inverse(self, v: Tensor, context: Tensor | None = None, shift: Tensor | float = 0.0) -> Tensor:
        """The mask of v, with thresholds ``a(c) + shift``."""
        return (v > -(self.threshold(context) + shift)).to(v.dtype)

    def threshold(self, context: Tensor | None) -> Tensor:
        if context is None:
            raise ValueError("BinaryDequantizer needs a context, got none")
        return soft_clamp(self.network(context), MAX_THRESHOLD)

    def condition(self, x: Tensor, context: Tensor | None, a: Tensor | None) -> Tensor:
        assert a is not None
        side = 2 * x - 1
        mean = side / _mills_ratio(side * a)
        return torch.cat([super().condition(x, context, a), a, mean], -1 - self.space)

    def place(self, w: Tensor, x: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
        assert a is not None
        side = 2 * x - 1
        b = side * a  # side * v is above -b, with probability Phi(b)
        upper = log_ndtr(b) + log_ndtr(-w)
        lower = torch.logaddexp(log_ndtr(-b), log_ndtr(b) + log_ndtr(w))
        v = torch.where(upper < lower, -1.0, 1.0) * _quantile(torch.minimum(upper, lower))
        v = torch.maximum(v, -b + 1e-6 * (1 + b.abs()))  # rounding must not move v across the threshold
        return side * v, log_ndtr(b) + standard_normal_log_prob(w) - standard_normal_log_prob(v)


def _quantile(log_p: Tensor) -> Tensor:
    """The point at which the standard normal distribution function is ``exp(log_p)``, for ``log_p`` up to -log 2."""
    at = -(-2 * (log_p.detach() + math.log(2))).clamp_min(0).sqrt()  # from below, so that Newton's steps only rise
    for _ in range(NEWTON_STEPS):
        at = at + (log_p.detach() - log_ndtr(at)) * _mills_ratio(at)
    return at + (log_p - log_ndtr(at)) * _mills_ratio(at)


def _mills_ratio(at: Tensor) -> Tensor:
    """The normal distribution function divided by the density."""
    return math.sqrt(math.pi / 2) * torch.special.erfcx(-at / math.sqrt(2))


def _place_in_level(x: Tensor, u: Tensor, levels: int) -> Tensor:
    return (x + MARGIN + (1 - 2 * MARGIN) * u) / levels - 0.5


def _level(v: Tensor, levels: int) -> Tensor:
    return ((v + 0.5) * levels).floor().clamp(0, levels - 1)
