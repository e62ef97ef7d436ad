"""An ensemble of semi-conditional flows whose mean prediction labels the unlabelled visits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.data.examples import UNKNOWN, Examples
from crow.flows.semi_conditional import SemiConditionalFlow, class_loss

Augment = Callable[[Tensor], Tensor]
"""Augments ``[batch, *event]`` without a change of class; draws from the global generator."""
Views = Callable[[Tensor], Sequence[Tensor]]
"""Fixed test-time augmentations of ``[batch, *event]``."""


class SemiConditionalEnsemble(nn.Module):
    """The mixture ``p(x, y) = mean_m p_m(x, y)`` of flows; ``p(y | x)`` is the mean over members and ``views`` of x.

    In training every member minimises ``-log p_m(x)`` and, for labelled visits, ``-log p_m(y | x)`` of x and
    ``augment(x)``. An unlabelled visit gets the class whose mean ``p_m(y | x)`` over the members is at least
    ``confidence``, and every member learns it from ``augment(x)``. So no member reinforces its own errors.

    Parameters
    ----------
    members : iterable of SemiConditionalFlow
        The flows.
    augment : callable
        Augments ``[batch, *event]`` at random, in training.
    views : callable, optional
        Fixed test-time augmentations of ``[batch, *event]``; none by default.
    confidence : float
        Smallest mean probability of a class with which an unlabelled visit is used.

    References
    ----------
    Sohn et al. 2020, FixMatch, equation 4, with the mean of models of Tarvainen & Valpola 2017; for flows, Izmailov et
    al. 2020, section 3.2.
    """

    def __init__(
        self, members: Iterable[SemiConditionalFlow], augment: Augment, views: Views | None = None,
        confidence: float = 0.8,
    ) -> None:  # fmt: skip
        super().__init__()
        self.members = nn.ModuleList(members)
        self.augment, self.views, self.confidence = augment, views, confidence

    def initialise(self, examples: Examples, subject: Tensor) -> None:
        """Initialise every member by `SemiConditionalFlow.initialise`."""
        for flow in self._flows():
            flow.initialise(examples, subject)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.log_prob(x, label)

    def class_log_prob(self, x: Tensor) -> Tensor:
        """``log p(x, y)`` in nats for every y, ``[batch, K]``."""
        return self._each(x).logsumexp(0) - math.log(len(self.members))

    def log_prob(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """``log p(x)``, or ``log p(x, label)``, in nats, ``[batch]``."""
        joint = self.class_log_prob(x)
        return joint.logsumexp(1) if label is None else joint.gather(1, label[:, None])[:, 0]

    def predict(self, x: Tensor) -> Tensor:
        """``p(y | x)``, ``[batch, K]``: the mean over members, x and its views."""
        views = [x, *([] if self.views is None else self.views(x))]
        return torch.stack([self._each(view).softmax(2).mean(0) for view in views]).mean(0)

    @torch.no_grad()
    def sample(self, label: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw per class in ``label [n]``: ``[n, *event]``, from the members in turn."""
        turn = torch.arange(len(label), device=label.device) % len(self.members)
        rows = [torch.nonzero(turn == k)[:, 0] for k in range(len(self.members))]
        drawn = [flow.sample(label[own], generator) for flow, own in zip(self._flows(), rows, strict=True)]
        return torch.cat(drawn)[torch.cat(rows).argsort()]

    def loss(self, batch: Examples) -> Tensor:
        """Mean of the members' losses in nats; in evaluation mode, the loss of their mixture."""
        label = torch.full((len(batch),), UNKNOWN, device=batch.x.device) if batch.label is None else batch.label
        weight = self._flows()[0].label_weight
        if not self.training:
            joint = self.class_log_prob(batch.x)
            return weight * class_loss(joint, label) - joint.logsumexp(1).mean()
        plain, augmented = self._each(torch.cat([batch.x, self.augment(batch.x)])).chunk(2, 1)
        probability, pseudo_label = plain.detach().softmax(2).mean(0).max(1)
        pseudo_label = pseudo_label.where((probability >= self.confidence) & (label < 0), UNKNOWN)
        unlabelled = (label < 0).sum().clamp_min(1)
        losses = []
        for a, b in zip(plain, augmented, strict=True):
            pseudo = functional.cross_entropy(b, pseudo_label, ignore_index=UNKNOWN, reduction="sum") / unlabelled
            losses.append(weight * (class_loss(torch.cat([a, b]), label.repeat(2)) + pseudo) - a.logsumexp(1).mean())
        return torch.stack(losses).mean()

    def _each(self, x: Tensor) -> Tensor:
        """``log p_m(x, y)``, ``[member, batch, K]``."""
        return torch.stack([flow.class_log_prob(x) for flow in self._flows()])

    def _flows(self) -> list[SemiConditionalFlow]:
        return cast(list[SemiConditionalFlow], list(self.members))
