"""InfoCNF: a continuous flow of which a part of the latent variables knows the class; CCNF, of which all do."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.bijections.affine import ActNorm
from crow.bijections.base import Bijection
from crow.bijections.chain import Chain
from crow.bijections.factor_out import FactorOut
from crow.bijections.mixing import LU
from crow.bijections.ode import ODE
from crow.bijections.squeeze import Flatten, Squeeze
from crow.data.examples import Examples
from crow.networks.convolutional import ConvNet
from crow.networks.dynamics import HiddenUnits
from crow.networks.mlp import MLP
from crow.networks.tolerance import ToleranceGate, policy_loss


class InfoCNF(nn.Module):
    """``log p(x | y) = log N(z_sup; mu(y), sd(y)) + log N(z_unsup; 0, I) + log|df|``, ``z = [z_sup | z_unsup] = f(x)``.

    f is `continuous_stack`; z_sup the first ``share`` of z, of which a linear classifier predicts y. The loss is
    ``-log p(x | y)`` in bits a value plus ``beta`` times its cross-entropy; of a visit whose class is unknown it is
    ``-log p(x)``, ``log p(x) = logsumexp_y log p(x, y)``. With ``share=1`` this is CCNF.
    ``evaluations`` counts those of the dynamics in the last solve of every block.
    Source: Nguyen et al. 2019, InfoCNF, sections 2 and 3.

    Args:
        shape: ``(features,)`` of a vector or ``(channels, *space)`` of an image, sizes divisible by ``2^levels``.
        classes: K.
        levels, depth, hidden: of an image's stack, continuous blocks a level, units of a block.
        tolerance: of the solver; None learns one for every block by `policy_loss`, weighted by ``gate_weight``.
        dequantizer: f is over its values, and x are levels of an image.
        prior: ``p(y) [K]``, uniform where it is None.
    """

    class_prior: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        levels: int = 2,
        depth: int = 2,
        hidden: int = 32,
        share: float = 0.5,
        tolerance: float | None = None,
        dequantizer: nn.Module | None = None,
        beta: float = 0.5,
        dropout: float = 0.5,
        gate_weight: float = 0.01,
        prior: Tensor | None = None,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"a class needs another beside it, got {classes}")
        self.values, self.classes, self.dequantizer = math.prod(shape), classes, dequantizer
        self.beta, self.gate_weight = beta, gate_weight
        self.bijection = continuous_stack(shape, levels if len(shape) > 1 else 1, depth, hidden, tolerance)
        self.blocks = [module for module in self.bijection.modules() if isinstance(module, ODE)]
        for k, block in enumerate(self.blocks):
            block.name = f"continuous block {k + 1} of {len(self.blocks)}"
        self.supervised = max(1, round(share * self.values))
        self.mean = nn.Parameter(torch.zeros(classes, self.supervised))
        self.log_sd = nn.Parameter(torch.zeros(classes, self.supervised))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.supervised, classes)
        self.register_buffer("class_prior", torch.full((classes,), 1 / classes) if prior is None else prior.clone())

    @property
    def evaluations(self) -> int:
        return sum(block.evaluations for block in self.blocks)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.log_prob(x, label)

    def class_log_prob(self, x: Tensor) -> Tensor:
        """``log p(x, y)`` in nats for every y, ``[batch, K]``; with a dequantiser, one draw of its bound."""
        return self._joint(*self._transform(x))

    def log_prob(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """``log p(x)``, or ``log p(x, label)``, in nats, ``[batch]``."""
        joint = self.class_log_prob(x)
        return joint.logsumexp(1) if label is None else joint.gather(1, label[:, None])[:, 0]

    def predict(self, x: Tensor) -> Tensor:
        """The classifier's ``p(y | x)``, ``[batch, K]``."""
        return self.classifier(self._transform(x)[0][:, : self.supervised]).softmax(1)

    @torch.no_grad()
    def sample(self, label: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One x of every class in ``label [n]``: ``[n, *event]``."""
        z = torch.randn(len(label), self.values, dtype=self.mean.dtype, device=label.device, generator=generator)
        supervised = torch.addcmul(self.mean[label], z[:, : self.supervised], self.log_sd[label].exp())
        v, _ = self.bijection.inverse(torch.cat([supervised, z[:, self.supervised :]], 1))
        return v if self.dequantizer is None else self.dequantizer.inverse(v)  # type: ignore[operator]

    def loss(self, batch: Examples) -> Tensor:
        """Mean bits a value plus ``beta`` times the mean cross-entropy in nats; an unknown class is -1."""
        z, log_det = self._transform(batch.x)
        joint = self._joint(z, log_det)
        log_prob, cross_entropy = joint.logsumexp(1), joint.new_zeros(())
        if batch.label is not None and bool((batch.label >= 0).any()):
            known = batch.label >= 0
            given_class = (joint - self.class_prior.log()).gather(1, batch.label.clamp_min(0)[:, None])[:, 0]
            log_prob = torch.where(known, given_class, log_prob)
            logits = self.classifier(self.dropout(z[:, : self.supervised]))
            cross_entropy = functional.cross_entropy(logits, batch.label, ignore_index=-1)
        loss = -log_prob.mean() / (self.values * math.log(2)) + self.beta * cross_entropy
        gates = [block.gate for block in self.blocks if isinstance(block.gate, ToleranceGate)]
        if self.training and gates:
            policy = policy_loss(gates, [block.evaluations for block in self.blocks], float(loss.detach()))
            loss = loss + self.gate_weight * (policy - policy.detach())
        return loss

    def _transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and ``log|df|`` less what the dequantiser added."""
        if self.dequantizer is None:
            return self.bijection(x)
        v, log_q = self.dequantizer(x)
        z, log_det = self.bijection(v)
        return z, log_det - log_q

    def _joint(self, z: Tensor, log_det: Tensor) -> Tensor:
        inside, aside = z.split([self.supervised, self.values - self.supervised], 1)
        e = (inside[:, None] - self.mean) * torch.exp(-self.log_sd)
        squares = e.square().sum(2) + aside.square().sum(1, keepdim=True)
        log_normal = -0.5 * (squares + self.values * math.log(2 * math.pi)) - self.log_sd.sum(1)
        return log_normal + log_det[:, None] + self.class_prior.log()


def continuous_stack(
    shape: tuple[int, ...], levels: int, depth: int, hidden: int, tolerance: float | None
) -> Bijection:
    """``[batch, *shape]`` to ``[batch, values]``: for an image ``levels`` of squeezing and ``depth`` continuous blocks.

    Before each block stand an ActNorm and a mixing of channels, which spare the solver what is linear. At the end of a
    level but the last, half of the channels leave given those that stay.
    """
    channels, *sizes = shape
    space = len(sizes)
    if any(size % 2**levels for size in sizes):
        raise ValueError(f"a stack of {levels} levels needs sizes divisible by {2**levels}, got {sizes}")
    steps: list[Bijection] = [Squeeze(channels, space)] if space else []
    channels, sizes = channels * 2**space, [size // 2 for size in sizes]
    for _ in range(depth):
        accuracy = ToleranceGate(channels, space) if tolerance is None else tolerance
        block = ODE(channels, HiddenUnits(channels, 0, space, hidden), space, tolerance=accuracy)
        steps += [ActNorm(channels, space), LU(channels, space), block]
    if levels == 1:
        return Chain([*steps, Flatten((channels, *sizes))])
    kept = channels // 2
    inner = continuous_stack((kept, *sizes), levels - 1, depth, hidden, tolerance)
    subnet = partial(ConvNet, space=space, hidden=hidden) if space else partial(MLP, hidden=hidden)
    return Chain([*steps, FactorOut((channels, *sizes), kept, 0, subnet, inner)])
