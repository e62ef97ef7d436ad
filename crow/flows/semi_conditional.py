"""The semi-conditional flow: a density of x and the class, trained on few labelled and many unlabelled visits."""

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
from crow.bijections.normal import standard_normal_log_prob
from crow.data.examples import UNKNOWN, Examples
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP


class SemiConditionalFlow(nn.Module):
    """``log p(x, y) = log|df| + log N(z_aux) + log|dh(z_f; y)| + log N(z_h) + log p(y)``.

    ``(z_f, z_aux) = f(x)`` is large and does not depend on the class. ``z_h = h(z_f; y)`` is small and does. h ends in
    a normal distribution whose mean and scale are learned per class; with ``linear`` it begins with a `Discriminant`.
    ``log p(x) = logsumexp_y log p(x, y)`` and ``p(y | x)`` take one pass of f and K of h.

    Parameters
    ----------
    bijection : MultiScale
        f, without a context.
    classes : int
        Number of classes K, at least 2.
    class_values : int, optional
        Number of values of ``f(x)``, from the first, that depend on the class: the length of z_f. By default the top of
        f.
    hidden : int
        Width of the networks of h.
    depth : int
        Number of couplings of h.
    dequantizer : nn.Module, optional
        If given, x are levels of an image and f is over dequantised values.
    label_weight : float
        Weight of the mean of ``-log p(y | x)`` over labelled visits, relative to ``-log p(x)``.
    prior : Tensor, optional
        ``p(y)``, ``[K]``; uniform by default.
    linear : bool
        h begins with a linear discriminant, which `initialise` fits.

    Raises
    ------
    ValueError
        If there are fewer than two classes.

    References
    ----------
    Atanov et al. 2019, Semi-conditional normalizing flows, section 3. The sum over the classes of unlabelled visits is
    computed in the log domain here.

    Examples
    --------
    >>> import torch
    >>> flow = SemiConditionalFlow.of_shape((4,), classes=2, depth=2, hidden=8)
    >>> flow.predict(torch.randn(8, 4)).shape, flow.sample(torch.tensor([0, 1])).shape
    (torch.Size([8, 2]), torch.Size([2, 4]))
    """

    class_prior: Tensor

    def __init__(
        self,
        bijection: MultiScale,
        classes: int,
        class_values: int | None = None,
        hidden: int = 64,
        depth: int = 4,
        dequantizer: nn.Module | None = None,
        label_weight: float = 10.0,
        prior: Tensor | None = None,
        linear: bool = False,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"SemiConditionalFlow needs at least 2 classes, got {classes}")
        self.bijection, self.dequantizer, self.classes = bijection, dequantizer, classes
        self.class_values = bijection.top if class_values is None else class_values
        self.inner = MultiScale((self.class_values,), 1, depth, partial(MLP, hidden=hidden), classes, top=True)
        self.discriminant = Discriminant(self.class_values, classes) if linear else None
        self.label_weight = label_weight
        self.register_buffer("class_prior", torch.full((classes,), 1 / classes) if prior is None else prior.clone())

    @classmethod
    def of_shape(
        cls, shape: tuple[int, ...], classes: int, levels: int = 2, depth: int = 4, hidden: int = 64, **options: Any
    ) -> SemiConditionalFlow:
        """A flow over images ``(channels, *space)`` or vectors ``(features,)``.

        For images, z_f is the top of f. For vectors it is all of ``f(x)``, and h begins with a linear discriminant. f
        has ``depth`` couplings per level, h half as many, and their networks have width ``hidden``. Other parameters
        are those of the class.
        """
        space = len(shape) - 1
        subnet = partial(ConvNet, space=space, hidden=hidden) if space else partial(MLP, hidden=hidden)
        bijection = MultiScale(shape, levels if space else 1, depth, subnet)
        return cls(bijection, classes, hidden=hidden, depth=max(2, depth // 2), linear=not space, **options)

    def initialise(self, examples: Examples, subject: Tensor) -> None:
        """Fit the linear discriminant, if there is one, to training examples; the couplings stay at N(0, I).

        ``subject [example]`` is the subject of every example.
        """
        if self.discriminant is None:
            return
        assert examples.label is not None
        mark_initialised(self)  # all examples are normalised already
        with torch.no_grad():
            z, _ = self.bijection(examples.x)
        self.discriminant.fit_semi_supervised(z[:, : self.class_values], examples.label, subject, self.class_prior)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.log_prob(x, label)

    def class_log_prob(self, x: Tensor) -> Tensor:
        """``log p(x, y)`` in nats for every y, ``[batch, K]``; with a dequantiser, one draw of its bound."""
        v, log_q = (x, 0.0) if self.dequantizer is None else self.dequantizer(x)
        z, log_det = self.bijection(v)
        z_f, z_aux = z.split([self.class_values, z.shape[1] - self.class_values], 1)
        context = torch.eye(self.classes, dtype=z.dtype, device=z.device).repeat(len(z), 1)
        z_f, linear_log_det = z_f.repeat_interleave(self.classes, 0), z.new_zeros(())
        if self.discriminant is not None:
            z_f, linear_log_det = self.discriminant(z_f, context)
        z_h, inner_log_det = self.inner(z_f, context)
        given_class = standard_normal_log_prob(z_h, 1) + inner_log_det + linear_log_det
        shared = standard_normal_log_prob(z_aux, 1) + log_det - log_q
        return given_class.unflatten(0, (-1, self.classes)) + self.class_prior.log() + shared[:, None]

    def log_prob(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """``log p(x)``, or ``log p(x, label)``, in nats, ``[batch]``."""
        joint = self.class_log_prob(x)
        return joint.logsumexp(1) if label is None else joint.gather(1, label[:, None])[:, 0]

    def predict(self, x: Tensor) -> Tensor:
        """``p(y | x)``, ``[batch, K]``."""
        return self.class_log_prob(x).softmax(1)

    @torch.no_grad()
    def sample(self, label: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw per class in ``label [n]``: ``[n, *event]``."""
        values = math.prod(self.bijection.shape)
        z = torch.randn(len(label), values, dtype=self.class_prior.dtype, device=label.device, generator=generator)
        context = functional.one_hot(label, self.classes).to(z.dtype)
        z_f, _ = self.inner.inverse(z[:, : self.class_values], context)
        if self.discriminant is not None:
            z_f, _ = self.discriminant.inverse(z_f, context)
        v, _ = self.bijection.inverse(torch.cat([z_f, z[:, self.class_values :]], 1))
        return v if self.dequantizer is None else self.dequantizer.inverse(v)  # type: ignore[operator]

    def loss(self, batch: Examples) -> Tensor:
        """``mean -log p(x) + label_weight mean -log p(y | x)``, in nats; the label of an unlabelled visit is -1."""
        joint = self.class_log_prob(batch.x)
        loss = -joint.logsumexp(1).mean()
        return loss if batch.label is None else loss + self.label_weight * class_loss(joint, batch.label)


def class_loss(joint: Tensor, label: Tensor) -> Tensor:
    """Mean of ``-log p(y | x)`` over the labelled rows of ``log p(x, y)``; 0 if there are none."""
    labelled = (label >= 0).sum().clamp_min(1)
    return functional.cross_entropy(joint, label, ignore_index=UNKNOWN, reduction="sum") / labelled
