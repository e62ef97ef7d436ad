"""Several flows as one model: at every visit, the mixture of what each predicts from the past."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow, map_state

ROWS = 16384  # samples that are moved through a visit at once


class FlowEnsemble(nn.Module):
    """``p(x_t | past) = sum_k w_k p_k(x_t | past)``, a density of whole sequences because every factor is one.

    The weights stay as they are at every visit, so members keep averaging out each other's mistakes; in a mixture over
    whole sequences the best member would take over after a few visits.
    """

    weights: Tensor

    def __init__(self, members: list[CRowFlow], weights: Tensor | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", torch.ones(len(members)) / len(members) if weights is None else weights)

    def log_prob(self, data: Sequences) -> Tensor:
        """Log-density of every visit given those before it, ``[batch, time]``; 0 at pads."""
        each = torch.stack([member.log_prob(data) for member in self._flows()])
        pooled = torch.logsumexp(each + self.weights.log()[:, None, None], 0)
        return torch.where(data.mask, pooled, 0.0)

    @torch.no_grad()
    def forecast(self, history: Sequences | None, future: Sequences, n: int, generator: torch.Generator) -> Tensor:
        """``n`` draws of the visits of ``future``, ``[batch, n, time, region]``, given each subject's history.

        Every member is conditioned once; then all draws of all subjects go through a visit as one batch, each with a
        member drawn for it.
        """
        step = max(1, ROWS // n)
        parts = []
        for start in range(0, len(future), step):
            rows = slice(start, start + step)
            parts.append(self._forecast(history and history[rows], future.rows(rows), n, generator))
        return torch.cat(parts)

    @torch.no_grad()
    def predict(self, data: Sequences, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean and sd ``[batch, time, region]`` of every visit given those before it, from ``n`` draws."""
        states: list[Any] = [None] * len(self.members)
        means, sds = [], []
        for t in range(data.x.shape[1]):
            visit = data.visit(t)
            draws = self.draw(replace(visit, measured=None), states, len(data), n, generator).view(len(data), n, -1)
            means.append(draws.mean(1))
            sds.append(draws.std(1))
            states = self._advance(visit, states)
        return torch.stack(means, 1), torch.stack(sds, 1)

    @torch.no_grad()
    def step(self, visit: Sequences, states: list[Any]) -> tuple[Tensor, list[Any]]:
        """Log-density ``[batch]`` of one visit given the past that ``states`` hold, and the states after it."""
        steps = [member.step(visit, state) for member, state in zip(self._flows(), states, strict=True)]
        each = torch.stack([log_prob[:, 0] for log_prob, _ in steps])
        return torch.logsumexp(each + self.weights.log()[:, None], 0), [state for _, state in steps]

    def draw(self, visit: Sequences, states: list[Any], subjects: int, n: int, generator: torch.Generator) -> Tensor:
        """``[subjects * n, 1, region]``, each draw from a member drawn for it.

        ``visit`` and ``states`` have one row per draw, or one row per subject that its draws share: a state is several
        times the size of a visit, and a copy for every draw would fill the memory. Each draw is exact; a subject's
        draws come in pairs of opposite noise from the same member, which steadies their mean and median.
        """
        source = torch.arange(len(visit)).repeat_interleave(subjects * n // len(visit))
        pairs = (subjects, -(-n // 2))
        chosen = torch.multinomial(self.weights, pairs[0] * pairs[1], True, generator=generator).view(pairs)
        noise = torch.randn(*pairs, visit.x.shape[2], generator=generator, dtype=visit.x.dtype)
        chosen, noise = (torch.cat([a, b], 1)[:, :n].flatten(0, 1) for a, b in ((chosen, chosen), (noise, -noise)))
        draws = torch.empty_like(noise).unsqueeze(1)
        for k, (member, state) in enumerate(zip(self._flows(), states, strict=True)):
            rows = (chosen == k).nonzero().squeeze(-1)
            if len(rows):
                own = map_state(lambda s: s[source[rows]], state)  # noqa: B023
                draws[rows] = member.sample(visit.rows(source[rows]), own, noise[rows].unsqueeze(1))
        return draws

    def _forecast(self, history: Sequences | None, future: Sequences, n: int, generator: torch.Generator) -> Tensor:
        repeat = partial(torch.repeat_interleave, repeats=n, dim=0)
        states: list[Any] = [None] * len(self.members)
        if history is not None:
            states = [map_state(repeat, member.condition(history)) for member in self._flows()]
        future = future.repeat(n)
        draws = []
        for t in range(future.x.shape[1]):
            visit = future.visit(t)
            x = self.draw(visit, states, len(visit) // n, n, generator)
            states = self._advance(replace(visit, x=x), states)
            draws.append(x.view(-1, n, 1, x.shape[-1]))
        return torch.cat(draws, 2)

    def _flows(self) -> list[CRowFlow]:
        return cast(list[CRowFlow], list(self.members))

    def _advance(self, visit: Sequences, states: list[Any]) -> list[Any]:
        return [member.transform(visit, state)[2] for member, state in zip(self._flows(), states, strict=True)]
