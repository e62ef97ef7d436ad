"""Semi-conditional flows that teach each other the classes of visits that have no label."""

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
"""Another view of ``[batch, *event]`` that leaves the classes what they are; draws from the global generator."""
Views = Callable[[Tensor], Sequence[Tensor]]
"""Views of ``[batch, *event]`` that are the same whenever they are asked for."""


class SemiConditionalEnsemble(nn.Module):
    """The mixture ``p(x, y) = mean_m p_m(x, y)`` of flows; ``p(y | x)`` is the mean of theirs, over ``views`` of x too.

    In training every flow learns ``-log p_m(x)``; from x and ``augment(x)`` the class that is known; and from
    ``augment(x)`` the class of which the members' mean of ``p_m(y | x)`` is at least ``confidence`` sure. So none
    confirms itself in an error that is its own. Source: Sohn et al. 2020, FixMatch, equation 4, taught by a mean of
    models as in Tarvainen & Valpola 2017; for flows, Izmailov et al. 2020, section 3.2.
    """

    def __init__(
        self, members: Iterable[SemiConditionalFlow], augment: Augment, views: Views | None = None,
        confidence: float = 0.8,
    ) -> None:  # fmt: skip
        super().__init__()
        self.members = nn.ModuleList(members)
        self.augment, self.views, self.confidence = augment, views, confidence

    def initialise(self, examples: Examples, subject: Tensor) -> None:
        """`SemiConditionalFlow.initialise` of every member."""
        for flow in self._flows():
            flow.initialise(examples, subject)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.log_prob(x, label)

    def class_log_prob(self, x: Tensor) -> Tensor:
        """``log p(x, y)`` in nats for every y, ``[batch, K]``; one pass of each member's f."""
        return self._each(x).logsumexp(0) - math.log(len(self.members))

    def log_prob(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """``log p(x)``, or ``log p(x, label)``, in nats, ``[batch]``."""
        joint = self.class_log_prob(x)
        return joint.logsumexp(1) if label is None else joint.gather(1, label[:, None])[:, 0]

    def predict(self, x: Tensor) -> Tensor:
        """``p(y | x)``, ``[batch, K]``: mean over the members, and over x and its views."""
        views = [x, *([] if self.views is None else self.views(x))]
        return torch.stack([self._each(view).softmax(2).mean(0) for view in views]).mean(0)

    @torch.no_grad()
    def sample(self, label: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One x of every class in ``label [n]``: ``[n, *event]``, of the members in turn."""
        turn = torch.arange(len(label), device=label.device) % len(self.members)
        rows = [torch.nonzero(turn == k)[:, 0] for k in range(len(self.members))]
        drawn = [flow.sample(label[mine], generator) for flow, mine in zip(self._flows(), rows, strict=True)]
        return torch.cat(drawn)[torch.cat(rows).argsort()]

    def loss(self, batch: Examples) -> Tensor:
        """Mean of the members' losses in nats; in evaluation that of their mixture."""
        label = torch.full((len(batch),), UNKNOWN, device=batch.x.device) if batch.label is None else batch.label
        weight = self._flows()[0].label_weight
        if not self.training:
            joint = self.class_log_prob(batch.x)
            return weight * class_loss(joint, label) - joint.logsumexp(1).mean()
        plain, moved = self._each(torch.cat([batch.x, self.augment(batch.x)])).chunk(2, 1)
        sure, guess = plain.detach().softmax(2).mean(0).max(1)
        guess = guess.where((sure >= self.confidence) & (label < 0), UNKNOWN)
        unknown = (label < 0).sum().clamp_min(1)
        losses = []
        for a, b in zip(plain, moved, strict=True):
            taught = functional.cross_entropy(b, guess, ignore_index=UNKNOWN, reduction="sum") / unknown
            losses.append(weight * (class_loss(torch.cat([a, b]), label.repeat(2)) + taught) - a.logsumexp(1).mean())
        return torch.stack(losses).mean()

    def _each(self, x: Tensor) -> Tensor:
        """``log p_m(x, y)``, ``[member, batch, K]``."""
        return torch.stack([flow.class_log_prob(x) for flow in self._flows()])

    def _flows(self) -> list[SemiConditionalFlow]:
        return cast(list[SemiConditionalFlow], list(self.members))
