"""InfoCNF: a continuous flow in which part of the latent values depends on the class; CCNF, in which all do."""

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
from crow.bijections.normal import standard_normal_log_prob
from crow.bijections.ode import ODE
from crow.bijections.squeeze import Flatten, Squeeze
from crow.data.examples import UNKNOWN, Examples
from crow.networks.convolutional import ConvNet
from crow.networks.dynamics import HiddenUnits
from crow.networks.mlp import MLP
from crow.networks.tolerance import ToleranceGate, policy_loss


class InfoCNF(nn.Module):
    """``log p(x | y) = log N(z_sup; mu(y), sd(y)) + log N(z_unsup; 0, I) + log|df|`` with ``[z_sup | z_unsup] = f(x)``.

    f is `continuous_stack`. A linear classifier predicts y from z_sup. The loss is ``-log p(x | y)`` in bits per value
    plus ``beta`` times the classifier's cross-entropy. A visit without a class contributes ``-log p(x)``, with
    ``log p(x) = logsumexp_y log p(x, y)``.

    Parameters
    ----------
    shape : tuple of int
        ``(features,)`` of a vector, or ``(channels, *space)`` of an image with sizes divisible by ``2^levels``.
    classes : int
        Number of classes K, at least 2.
    levels : int
        Number of levels of an image's stack.
    depth : int
        Number of continuous blocks per level.
    hidden : int
        Number of units of a block.
    share : float
        Share of the latent values that depend on the class; with 1 this is CCNF.
    tolerance : float, optional
        Tolerance of the solver. By default one is learned per block by `policy_loss`.
    dequantizer : nn.Module, optional
        If given, x are levels of an image and f is over dequantised values.
    beta : float
        Weight of the cross-entropy.
    dropout : float
        Dropout rate at the input of the classifier.
    gate_weight : float
        Weight of `policy_loss`.
    prior : Tensor, optional
        ``p(y)``, ``[K]``; uniform by default.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or if the sizes do not fit the levels.

    References
    ----------
    Nguyen et al. 2019, InfoCNF, sections 2 and 3.

    Examples
    --------
    >>> import torch
    >>> flow = InfoCNF((4,), classes=2, depth=1, hidden=8, tolerance=1e-4)
    >>> flow.predict(torch.randn(8, 4)).shape, flow.sample(torch.tensor([0, 1])).shape
    (torch.Size([8, 2]), torch.Size([2, 4]))
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
            raise ValueError(f"InfoCNF needs at least 2 classes, got {classes}")
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
        """Number of evaluations of the dynamics in the last solve of all blocks."""
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
        """One draw per class in ``label [n]``: ``[n, *event]``."""
        z = torch.randn(len(label), self.values, dtype=self.mean.dtype, device=label.device, generator=generator)
        supervised = torch.addcmul(self.mean[label], z[:, : self.supervised], self.log_sd[label].exp())
        v, _ = self.bijection.inverse(torch.cat([supervised, z[:, self.supervised :]], 1))
        return v if self.dequantizer is None else self.dequantizer.inverse(v)  # type: ignore[operator]

    def loss(self, batch: Examples) -> Tensor:
        """Mean bits per value plus ``beta`` times the mean cross-entropy in nats; an unknown class is -1."""
        z, log_det = self._transform(batch.x)
        joint = self._joint(z, log_det)
        log_prob, cross_entropy = joint.logsumexp(1), joint.new_zeros(())
        if batch.label is not None and bool((batch.label >= 0).any()):
            labelled = batch.label >= 0
            given_class = (joint - self.class_prior.log()).gather(1, batch.label.clamp_min(0)[:, None])[:, 0]
            log_prob = torch.where(labelled, given_class, log_prob)
            logits = self.classifier(self.dropout(z[:, : self.supervised]))
            cross_entropy = functional.cross_entropy(logits, batch.label, ignore_index=UNKNOWN)
        loss = -log_prob.mean() / (self.values * math.log(2)) + self.beta * cross_entropy
        gates = [block.gate for block in self.blocks if isinstance(block.gate, ToleranceGate)]
        if self.training and gates:
            policy = policy_loss(gates, [block.evaluations for block in self.blocks], float(loss.detach()))
            loss = loss + self.gate_weight * (policy - policy.detach())
        return loss

    def _transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and ``log|df|`` minus the log-density of the dequantiser's noise."""
        if self.dequantizer is None:
            return self.bijection(x)
        v, log_q = self.dequantizer(x)
        z, log_det = self.bijection(v)
        return z, log_det - log_q

    def _joint(self, z: Tensor, log_det: Tensor) -> Tensor:
        z_sup, z_unsup = z.split([self.supervised, self.values - self.supervised], 1)
        e = (z_sup[:, None] - self.mean) * torch.exp(-self.log_sd)
        given_class = standard_normal_log_prob(e, 1) - self.log_sd.sum(1)
        return given_class + (standard_normal_log_prob(z_unsup, 1) + log_det)[:, None] + self.class_prior.log()


def continuous_stack(
    shape: tuple[int, ...], levels: int, depth: int, hidden: int, tolerance: float | None
) -> Bijection:
    """``[batch, *shape]`` to ``[batch, values]``: ``levels`` of squeezing (images) and ``depth`` continuous blocks.

    An ActNorm and a mixing of channels before each block spare the solver the linear part. At the end of every level
    except the last, half of the channels leave, given those that stay.
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
