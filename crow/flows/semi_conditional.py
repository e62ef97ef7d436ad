"""The semi-conditional flow: a density of x and the class, learned from few labels and many visits without one."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.bijections.affine import mark_initialised
from crow.bijections.discriminant import Discriminant
from crow.bijections.multiscale import MultiScale
from crow.data.examples import UNKNOWN, Examples
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP


class SemiConditionalFlow(nn.Module):
    """``log p(x, y) = log|df| + log N(z_aux) + log|dh(z_f; y)| + log N(z_h) + log p(y)``.

    ``(z_f, z_aux) = f(x)`` is large and knows no class, ``z_h = h(z_f; y)`` is small and does; h ends in a normal whose
    mean and scale are learned for every class; with ``linear`` it begins with a `Discriminant`.
    ``log p(x) = logsumexp_y log p(x, y)`` and ``p(y | x)`` take one pass of f and K of h. Source: Atanov et al. 2019,
    Semi-conditional normalizing flows, section 3 (their sum over y of unlabelled visits is in the log domain here).

    Args:
        bijection: f, without a context.
        classes: K.
        seen: values of ``f(x)``, from the first, that h sees; the top of f where it is None.
        hidden, depth: width of the networks of h, and its couplings.
        dequantizer: f is over its values, and x are levels of an image.
        label_weight: weight of ``-log p(y | x)``, in the mean over visits whose class is known, against ``-log p(x)``.
        prior: ``p(y) [K]``, uniform where it is None.
        linear: h begins with a linear discriminant, which `initialise` fits.
    """

    class_prior: Tensor

    def __init__(
        self,
        bijection: MultiScale,
        classes: int,
        seen: int | None = None,
        hidden: int = 64,
        depth: int = 4,
        dequantizer: nn.Module | None = None,
        label_weight: float = 10.0,
        prior: Tensor | None = None,
        linear: bool = False,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"a class needs another beside it, got {classes}")
        self.bijection, self.dequantizer, self.classes = bijection, dequantizer, classes
        self.seen = bijection.top if seen is None else seen
        self.inner = MultiScale((self.seen,), 1, depth, partial(MLP, hidden=hidden), classes, top=True)
        self.discriminant = Discriminant(self.seen, classes) if linear else None
        self.label_weight = label_weight
        self.register_buffer("class_prior", torch.full((classes,), 1 / classes) if prior is None else prior.clone())

    @classmethod
    def of_shape(
        cls, shape: tuple[int, ...], classes: int, levels: int = 2, depth: int = 4, hidden: int = 64, **options: Any
    ) -> SemiConditionalFlow:
        """Over images ``(channels, *space)``, where h sees the top of f, or over vectors ``(features,)``, where it sees
        all of ``f(x)`` and is ``linear`` at first; ``depth`` couplings a level of f, half as many in h, and networks of
        width ``hidden``."""
        space = len(shape) - 1
        subnet = partial(ConvNet, space=space, hidden=hidden) if space else partial(MLP, hidden=hidden)
        bijection = MultiScale(shape, levels if space else 1, depth, subnet)
        return cls(bijection, classes, hidden=hidden, depth=max(2, depth // 2), linear=not space, **options)

    def initialise(self, examples: Examples, subject: Tensor) -> None:
        """Begin at the discriminant of training examples of ``subject [example]``s, where ``linear``; the couplings of
        f and h keep N(0, I)."""
        if self.discriminant is None:
            return
        assert examples.label is not None
        mark_initialised(self)  # all examples have been normalised, not one batch
        with torch.no_grad():
            z, _ = self.bijection(examples.x)
        self.discriminant.learn(z[:, : self.seen], examples.label, subject, self.class_prior)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.log_prob(x, label)

    def class_log_prob(self, x: Tensor) -> Tensor:
        """``log p(x, y)`` in nats for every y, ``[batch, K]``; with a dequantiser, one draw of its bound."""
        v, log_q = (x, 0.0) if self.dequantizer is None else self.dequantizer(x)
        z, log_det = self.bijection(v)
        inside, aside = z.split([self.seen, z.shape[1] - self.seen], 1)
        context = torch.eye(self.classes, dtype=z.dtype, device=z.device).repeat(len(z), 1)
        inside, moved = inside.repeat_interleave(self.classes, 0), z.new_zeros(())
        if self.discriminant is not None:
            inside, moved = self.discriminant(inside, context)
        z_h, inner_log_det = self.inner(inside, context)
        given = (_log_normal(z_h) + inner_log_det + moved).unflatten(0, (-1, self.classes))
        return given + self.class_prior.log() + (_log_normal(aside) + log_det - log_q)[:, None]

    def log_prob(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """``log p(x)``, or ``log p(x, label)``, in nats, ``[batch]``."""
        joint = self.class_log_prob(x)
        return joint.logsumexp(1) if label is None else joint.gather(1, label[:, None])[:, 0]

    def predict(self, x: Tensor) -> Tensor:
        """``p(y | x)``, ``[batch, K]``."""
        return self.class_log_prob(x).softmax(1)

    @torch.no_grad()
    def sample(self, label: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One x of every class in ``label [n]``: ``[n, *event]``."""
        values = math.prod(self.bijection.shape)
        z = torch.randn(len(label), values, dtype=self.class_prior.dtype, device=label.device, generator=generator)
        context = functional.one_hot(label, self.classes).to(z.dtype)
        inside, _ = self.inner.inverse(z[:, : self.seen], context)
        if self.discriminant is not None:
            inside, _ = self.discriminant.inverse(inside, context)
        v, _ = self.bijection.inverse(torch.cat([inside, z[:, self.seen :]], 1))
        return v if self.dequantizer is None else self.dequantizer.inverse(v)  # type: ignore[operator]

    def loss(self, batch: Examples) -> Tensor:
        """``mean -log p(x) + label_weight mean -log p(y | x)``, in nats; an unknown class is -1, or all are None."""
        joint = self.class_log_prob(batch.x)
        loss = -joint.logsumexp(1).mean()
        return loss if batch.label is None else loss + self.label_weight * class_loss(joint, batch.label)


def class_loss(joint: Tensor, label: Tensor) -> Tensor:
    """Mean of ``-log p(y | x)`` over the rows of ``log p(x, y)`` whose class is known; 0 where none is."""
    known = (label >= 0).sum().clamp_min(1)
    return functional.cross_entropy(joint, label, ignore_index=UNKNOWN, reduction="sum") / known


def _log_normal(z: Tensor) -> Tensor:
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))
