"""From levels of an image to the continuous values that a flow has a density of, and back."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.special import log_ndtr

from crow.bijections.base import Bijection
from crow.bijections.channels import with_context
from crow.bijections.coupling import soft_clamp

NEWTON = 4  # steps to the precision of float64, before the last
FARTHEST = 6.0  # bound of a threshold, in sds: a voxel is never surer than 1e-9
EDGE = 1e-4  # of a level, left free at both of its ends, so that no rounding moves a value into the next


class UniformDequantizer(nn.Module):
    """``v = (x + u) / levels - 0.5`` with u uniform, for ``x: [batch, *event]`` of integers below ``levels``.

    Returns v and ``log q(v | x)`` in nats, ``[batch]``; ``log P(x) >= E_q[log p(v) - log q(v | x)]``. ``inverse(v)`` is
    the level that v lies in (the nearest one outside [-0.5, 0.5]). Draws from torch's global generator.
    Source: Theis et al., A note on the evaluation of generative models, 2016, section 3.1.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v = _within(x, torch.rand_like(x), self.levels)
        return v, x.new_full((len(x),), x[0].numel() * math.log(self.levels / (1 - 2 * EDGE)))

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        return _level(v, self.levels)


class LearnedDequantizer(nn.Module):
    """A dequantiser whose noise is a flow: w = q(e; x, c) with e from N(0, I), then v = v(w, x), monotone in w.

    ``log q(v | x, c) = log N(e; 0, I) - log |dw/de| - log |dv/dw|``. ``q`` is a bijection of ``[batch, *event]`` to
    ``[batch, values]`` whose context is [x, c] along the channels; its ``inverse`` makes w. Returns, bounds and draws
    as `UniformDequantizer`. Source: Ho et al., Flow++, 2019, section 3.1.

    Args:
        context: channels of c, a vector or maps of x's size (0 for none).
        space: spatial axes of x.
    """

    def __init__(self, q: Bijection, levels: int, context: int = 0, space: int = 0) -> None:
        super().__init__()
        self.q, self.levels, self.context, self.space = q, levels, context, space

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        e = torch.randn_like(x).flatten(1)
        a = self.threshold(context)
        w, log_det = self.q.inverse(e, self.condition(x, context, a))
        v, log_slope = self.place(w, x, a)
        return v, _log_normal(e).sum(1) - log_det - log_slope.flatten(1).sum(1)

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def threshold(self, context: Tensor | None) -> Tensor | None:
        """What c says of where levels lie, of x's shape; None where they lie the same whatever c."""
        return None

    def condition(self, x: Tensor, context: Tensor | None, a: Tensor | None) -> Tensor:
        """[x between -0.5 and 0.5, c]: what q is told."""
        return with_context((x + 0.5) / self.levels - 0.5, context, self.context, self.space)

    def place(self, w: Tensor, x: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
        """v of the noise w for every value of x, and ``log |dv/dw|``."""
        raise NotImplementedError


class VariationalDequantizer(LearnedDequantizer):
    """``v = (x + sigmoid(w)) / levels - 0.5``: `UniformDequantizer` with learned noise within a level."""

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        return _level(v, self.levels)

    def place(self, w: Tensor, x: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
        log_slope = logsigmoid(w) + logsigmoid(-w) + math.log((1 - 2 * EDGE) / self.levels)
        return _within(x, w.sigmoid(), self.levels), log_slope


class BinaryDequantizer(LearnedDequantizer):
    """x of 0 and 1 as a threshold: x is 1 where ``v > -a(c)``, and v is normal noise w cut to its side of it.

    ``log p(v | c) - log q(v | x, c)`` is ``sum log Phi((2x - 1) a(c))`` for a v of p = N(0, I) and an identity q,
    whatever the noise: the cross-entropy of a plain network a(c). Both flows start there and learn what voxels share. q
    is told a and the mean of its v too. Sources: Winkler et al. 2019, section 3.3, whose half lines begin at 0 and are
    filled by a softplus; the threshold and the cut normal are this project's.

    Args:
        q: its context is [x, c, a, mean of v].
        network: c to a, of x's shape; its ends are softly clamped at `FARTHEST`.
    """

    def __init__(self, q: Bijection, network: nn.Module, context: int = 0, space: int = 0) -> None:
        super().__init__(q, 2, context, space)
        self.network = network

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        return (v > -self.threshold(context)).to(v.dtype)

    def threshold(self, context: Tensor | None) -> Tensor:
        if context is None:
            raise ValueError("BinaryDequantizer needs a context, got none")
        return soft_clamp(self.network(context), FARTHEST)

    def condition(self, x: Tensor, context: Tensor | None, a: Tensor | None) -> Tensor:
        assert a is not None
        side = 2 * x - 1
        mean = side / _mills(side * a)
        return torch.cat([super().condition(x, context, a), a, mean], -1 - self.space)

    def place(self, w: Tensor, x: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
        assert a is not None
        side = 2 * x - 1
        b = side * a  # side * v is beyond -b, with probability Phi(b)
        larger = log_ndtr(b) + log_ndtr(-w)
        smaller = torch.logaddexp(log_ndtr(-b), log_ndtr(b) + log_ndtr(w))
        v = torch.where(larger < smaller, -1.0, 1.0) * _quantile(torch.minimum(larger, smaller))
        v = torch.maximum(v, -b + 1e-6 * (1 + b.abs()))  # so that no rounding moves it over
        return side * v, log_ndtr(b) + _log_normal(w) - _log_normal(v)


def _log_normal(e: Tensor) -> Tensor:
    return -0.5 * e.square() - 0.5 * math.log(2 * math.pi)


def _quantile(log_p: Tensor) -> Tensor:
    """Where the standard normal distribution function is ``exp(log_p)``, for ``log_p`` up to -log 2."""
    at = -(-2 * (log_p.detach() + math.log(2))).clamp_min(0).sqrt()  # not above it, so that Newton's steps only rise
    for _ in range(NEWTON):
        at = at + (log_p.detach() - log_ndtr(at)) * _mills(at)
    return at + (log_p - log_ndtr(at)) * _mills(at)


def _mills(at: Tensor) -> Tensor:
    """The normal distribution function by its density."""
    return math.sqrt(math.pi / 2) * torch.special.erfcx(-at / math.sqrt(2))


def _within(x: Tensor, u: Tensor, levels: int) -> Tensor:
    return (x + EDGE + (1 - 2 * EDGE) * u) / levels - 0.5


def _level(v: Tensor, levels: int) -> Tensor:
    return ((v + 0.5) * levels).floor().clamp(0, levels - 1)
