"""Solver tolerances that are learned by policy gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crow.networks.convolutional import CONVOLUTION

TIGHTEST, WIDTH = 1e-5, 9e-5
SD = 0.5
MEMORY = 0.9  # of the running mean and spread of the return


class ToleranceGate(nn.Module):
    """``tolerance = 1e-5 + 9e-5 sigmoid(a)``, one for a batch ``[batch, channels, *space]`` of what a block is given.

    In training the action a is drawn from N(gate, 0.5), in evaluation it is the gate: the mean over the batch of a
    small network. A solver has no gradient in its tolerance, so `policy_loss` is what teaches the gate.
    Source: Nguyen et al. 2019, InfoCNF, section 3.2. There the log-probability was one of the tolerance under itself,
    which does not depend on the gate; here it is ``log N(a; gate, 0.5)`` with a held fixed.
    """

    baseline: Tensor
    spread: Tensor
    seen: Tensor

    def __init__(self, channels: int, space: int = 0, hidden: int = 16) -> None:
        super().__init__()
        self.space = space
        self.first = CONVOLUTION[space](channels, hidden, 3, padding=1) if space else nn.Linear(channels, hidden)
        self.last = nn.Linear(hidden, 1)
        nn.init.zeros_(self.last.bias)
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("seen", torch.tensor(False))
        self.log_prob: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.silu(self.first(x.detach()))
        gate = self.last(h.flatten(2).mean(2) if self.space else h).mean()
        action = gate
        if self.training:
            action = (gate + SD * torch.randn_like(gate)).detach()
            self.log_prob = -0.5 * ((action - gate) / SD).square() - math.log(SD) - 0.5 * math.log(2 * math.pi)
        return TIGHTEST + WIDTH * torch.sigmoid(action.detach())

    @torch.no_grad()
    def advantage(self, gained: float) -> float:
        """How far a return is above those before it, in units of their spread; remembers it."""
        if not self.seen:
            self.baseline.fill_(gained)
            self.seen.fill_(True)
        distance = gained - float(self.baseline)
        self.baseline.add_((1 - MEMORY) * distance)
        self.spread.lerp_(self.spread.new_tensor(abs(distance)), 1 - MEMORY)
        return distance / max(float(self.spread), 1e-6)


def policy_loss(
    gates: Sequence[ToleranceGate], evaluations: Sequence[int], loss: float, eta: float = 0.1, gamma: float = 0.99
) -> Tensor:
    """REINFORCE: ``-sum_k A_k log N(a_k; gate_k)`` of blocks in the order in which they were solved.

    The reward of block k is ``-eta evaluations_k``, of the last one ``- loss`` too; the return ``R_k = sum_{j>=k}
    gamma^(j-k) r_j``, and A_k is R_k less its running mean, over its running spread: the returns alone are all negative
    and of the size of the evaluations, and would say little in so few steps.
    """
    total = torch.zeros((), device=gates[0].baseline.device)
    gained = -loss
    for gate, spent in zip(reversed(gates), reversed(evaluations), strict=True):
        gained = gamma * gained - eta * spent if gate is not gates[-1] else gained - eta * spent
        assert gate.log_prob is not None
        total = total - gate.advantage(gained) * gate.log_prob
        gate.log_prob = None  # with it goes the graph of its batch
    return total
