"""From levels of an image to the continuous values that a flow has a density of, and back."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from crow.bijections.base import Bijection
from crow.bijections.channels import with_context

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
        w, log_det = self.q.inverse(e, self.condition(x, context))
        v, log_slope = self.place(w, x)
        log_e = (-0.5 * e.square()).sum(1) - 0.5 * math.log(2 * math.pi) * e.shape[1]
        return v, log_e - log_det - log_slope.flatten(1).sum(1)

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def condition(self, x: Tensor, context: Tensor | None) -> Tensor:
        """[x between -0.5 and 0.5, c]: what q is told."""
        return with_context((x + 0.5) / self.levels - 0.5, context, self.context, self.space)

    def place(self, w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """v of the noise w for every value of x, and ``log dv/dw``."""
        raise NotImplementedError


class VariationalDequantizer(LearnedDequantizer):
    """``v = (x + sigmoid(w)) / levels - 0.5``: `UniformDequantizer` with learned noise within a level."""

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        return _level(v, self.levels)

    def place(self, w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = logsigmoid(w) + logsigmoid(-w) + math.log((1 - 2 * EDGE) / self.levels)
        return _within(x, w.sigmoid(), self.levels), log_slope


class BinaryDequantizer(LearnedDequantizer):
    """``v = sign(x - 0.5) softplus(w)`` for x of 0 and 1: each has a half line to itself, and no end of one.

    The published 0.5 in front is left out: it moves everything and would round the smallest values away.
    Source: Winkler et al. 2019, section 3.3.
    """

    def __init__(self, q: Bijection, context: int = 0, space: int = 0) -> None:
        super().__init__(q, 2, context, space)

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        return (v > 0).to(v.dtype)

    def place(self, w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return (2 * x - 1) * softplus(w).clamp_min(torch.finfo(w.dtype).tiny), logsigmoid(w)


def _within(x: Tensor, u: Tensor, levels: int) -> Tensor:
    return (x + EDGE + (1 - 2 * EDGE) * u) / levels - 0.5


def _level(v: Tensor, levels: int) -> Tensor:
    return ((v + 0.5) * levels).floor().clamp(0, levels - 1)
