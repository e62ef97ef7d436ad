"""Solver tolerances that are learned by policy gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from crow.networks.convolutional import CONVOLUTION

MIN_TOLERANCE, TOLERANCE_RANGE = 1e-5, 9e-5
ACTION_SD = 0.5
MOMENTUM = 0.9  # of the running mean and mean absolute deviation of the return


class ToleranceGate(nn.Module):
    """``tolerance = 1e-5 + 9e-5 sigmoid(a)``, one per batch ``[batch, channels, *space]`` of inputs of a block.

    The gate is the mean of a small network over the batch. In training the action a is drawn from N(gate, 0.5); in
    evaluation it is the gate itself. A solver has no gradient with respect to its tolerance, so `policy_loss` trains
    the gate.

    Source: Nguyen et al. 2019, InfoCNF, section 3.2. There the log-probability is that of the tolerance under itself,
    which does not depend on the gate; here it is ``log N(a; gate, 0.5)`` with fixed a.
    """

    baseline: Tensor
    deviation: Tensor
    updated: Tensor

    def __init__(self, channels: int, space: int = 0, hidden: int = 16) -> None:
        super().__init__()
        self.space = space
        self.first = CONVOLUTION[space](channels, hidden, 3, padding=1) if space else nn.Linear(channels, hidden)
        self.last = nn.Linear(hidden, 1)
        nn.init.zeros_(self.last.bias)
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("updated", torch.tensor(False))
        self.log_prob: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.silu(self.first(x.detach()))
        gate = self.last(h.flatten(2).mean(2) if self.space else h).mean()
        action = gate
        if self.training:
            action = (gate + ACTION_SD * torch.randn_like(gate)).detach()
            self.log_prob = Normal(gate, ACTION_SD, validate_args=False).log_prob(action)
        return MIN_TOLERANCE + TOLERANCE_RANGE * torch.sigmoid(action.detach())

    @torch.no_grad()
    def advantage(self, returned: float) -> float:
        """A return minus the running mean of earlier returns, in units of their deviation; updates both."""
        if not self.updated:
            self.baseline.fill_(returned)
            self.updated.fill_(True)
        difference = returned - float(self.baseline)
        self.baseline.add_((1 - MOMENTUM) * difference)
        self.deviation.lerp_(self.deviation.new_tensor(abs(difference)), 1 - MOMENTUM)
        return difference / max(float(self.deviation), 1e-6)


def policy_loss(
    gates: Sequence[ToleranceGate], evaluations: Sequence[int], loss: float, eta: float = 0.1, gamma: float = 0.99
) -> Tensor:
    """REINFORCE: ``-sum_k A_k log N(a_k; gate_k)`` over the blocks in the order in which they were solved.

    The reward of block k is ``-eta evaluations_k``, and for the last block also ``-loss``. The return is
    ``R_k = sum_{j>=k} gamma^(j-k) r_j``, and A_k is R_k minus its running mean, divided by its running deviation. The
    plain returns are all negative and about as large as the evaluations, which is too noisy for so few steps.
    """
    total = torch.zeros((), device=gates[0].baseline.device)
    returned = -loss
    for gate, spent in zip(reversed(gates), reversed(evaluations), strict=True):
        returned = gamma * returned - eta * spent if gate is not gates[-1] else returned - eta * spent
        assert gate.log_prob is not None
        total = total - gate.advantage(returned) * gate.log_prob
        gate.log_prob = None  # frees the graph of its batch
    return total
