"""The recurrent couplings as in papers: one visit at a time, with separate networks for scale and shift.

``LoopCoupling`` computes what ``RecurrentCoupling`` computes with separate subnets of the same widths, by GRU cells in
a Python loop. ``PublishedFlow`` is the network of Hwang et al. 2019 as their code has it, which takes a second pass
through everything for the log-determinant.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.bijections.coupling import soft_clamp


class LoopSubnet(nn.Module):
    """A GRU cell and a two-layer head on its state and input."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(inputs, hidden)
        self.inner = nn.Linear(hidden + inputs, hidden)
        self.outer = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(x, state)
        return self.outer(functional.silu(self.inner(torch.cat([state, x], -1)))), state


class LoopCoupling(nn.Module):
    """``z_a = x_a exp(s) + t`` with separate networks for s and t."""

    def __init__(self, features: int, context: int, hidden: int, swap: bool) -> None:
        super().__init__()
        self.half, self.hidden, self.swap = features // 2, hidden, swap
        passive, active = self.half, features - self.half
        if swap:
            passive, active = active, passive
        self.scale = LoopSubnet(passive + context, hidden, active)
        self.shift = LoopSubnet(passive + context, hidden, active)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        h_s = h_t = x.new_zeros(len(x), self.hidden)
        zs, log_dets = [], []
        for t in range(x.shape[1]):
            a, b = x[:, t, : self.half], x[:, t, self.half :]
            passive, active = (b, a) if self.swap else (a, b)
            inputs = torch.cat([passive, context[:, t]], -1)
            scale, h_s = self.scale(inputs, h_s)
            shift, h_t = self.shift(inputs, h_t)
            s = soft_clamp(scale, 2.0)
            moved = active * torch.exp(s) + shift
            zs.append(torch.cat([moved, passive] if self.swap else [passive, moved], -1))
            log_dets.append(s.sum(-1))
        return torch.stack(zs, 1), torch.stack(log_dets, 1)


class PublishedBlock(nn.Module):
    """Two couplings and their gates, for one visit."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.half = features // 2
        n = self.half
        self.cells = nn.ModuleList(nn.GRUCell(n, n) for _ in range(2))
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, 4 * n), nn.ReLU(), nn.Linear(4 * n, 2 * n))
            for _ in range(2)
        )
        self.gates = nn.ModuleList(nn.Linear(n, n) for _ in range(2))

    def forward(self, u: Tensor, h1: Tensor, h2: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The transformed visit, its log-determinant, and the states after it."""
        u1, u2 = u[:, : self.half], u[:, self.half :]
        gate1, gate2 = (
            functional.logsigmoid(functional.relu(gate(h + 2))) for gate, h in zip(self.gates, (h1, h2), strict=True)
        )
        h2 = self.cells[1](u2, h2)
        s2, t2 = self.nets[1](h2).chunk(2, -1)
        a1 = _e(s2) * u1 + t2
        h1 = self.cells[0](a1, h1)
        s1, t1 = self.nets[0](h1).chunk(2, -1)
        v2 = _e(s1) * (u2 * _e(gate1)) + t1
        v1 = a1 * _e(gate2)
        logs = [2 * 0.636 * torch.atan(s / 2) for s in (s1, s2, gate1, gate2)]
        return torch.cat([v1, v2], -1), torch.cat(logs, -1).sum(-1), h1, h2


class PublishedFlow(nn.Module):
    """All blocks at every visit, then a second pass for the log-determinant.

    ``width`` is that of a visit with its pads; there is no context.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.width, self.half = width, width // 2
        self.blocks = nn.ModuleList(PublishedBlock(width) for _ in range(blocks))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.pad(x, (0, self.width - x.shape[-1]))
        states = [(x.new_zeros(len(x), self.half), x.new_zeros(len(x), self.half)) for _ in self.blocks]
        zs, log_dets = [], []
        for t in range(x.shape[1]):
            before, v = list(states), x[:, t]
            for i, block in enumerate(self.blocks):
                v, _, *state = block(v, *states[i])
                states[i] = tuple(state)
            zs.append(v)
            v, log_det = x[:, t], x.new_zeros(len(x))
            for i, block in enumerate(self.blocks):
                v, block_log_det, *_ = block(v, *before[i])
                log_det = log_det + block_log_det
            log_dets.append(log_det)
        return torch.stack(zs, 1), torch.stack(log_dets, 1)


def _e(s: Tensor) -> Tensor:
    return torch.exp(2 * 0.636 * torch.atan(s / 2))
