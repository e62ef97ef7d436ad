"""Several flows as one model: at every visit, the mixture of what each predicts from the past."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from crow.bijections.innovation import Prediction
from crow.bijections.soft_bounds import SoftBounds
from crow.data.covariate_drift import POINTS as POINTS_OF_DRIFT
from crow.data.covariate_drift import CovariateDrift
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow, map_state
from crow.flows.gross_errors import beyond, cleaned, gross_errors, log_density, without
from crow.seeds import SeedStream, derived_seed

POINTS = 16  # of a step of a score
ROWS = 16384  # samples that are moved through a visit at once


def step_points(regions: int) -> Tensor:
    """``[POINTS, region]`` in [0, 1]: where the density within a step is evaluated; each region is evenly covered."""
    return torch.quasirandom.SobolEngine(regions, scramble=True, seed=0).draw(POINTS)


class FlowEnsemble(nn.Module):
    """``p(x_t | past) = sum_k w_k p_k(x_t | past)``, a density of whole sequences because every factor is one.

    The weights stay as they are at every visit, so members keep averaging out each other's mistakes; in a mixture over
    whole sequences the best member would take over after a few visits.
    """

    weights: Tensor

    error_rate: Tensor

    def __init__(self, members: list[CRowFlow], weights: Tensor | None = None, error_rate: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("error_rate", torch.tensor(error_rate))
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", torch.ones(len(members)) / len(members) if weights is None else weights)
        self.drift: CovariateDrift | None = None  # of covariates that are carried forward

    @property
    def bounds(self) -> SoftBounds:
        """Bounds and levels of the regions: the same for all members."""
        return self._flows()[0].bounds

    def set_follow_up(self, years: float) -> None:
        """The longest follow-up of the training, beyond which every member is less sure."""
        for member in self._flows():
            member.follow_up.fill_(years)

    def log_prob(self, data: Sequences) -> Tensor:
        """Log-density of every visit given those before it, ``[batch, time]``; 0 at pads.

        A value beyond `crow.flows.gross_errors.LIMIT` of what the past predicts is a gross error: it has a density of
        its own, with the probability ``error_rate``, and no later visit is conditioned on it (`_log_prob_with_errors`).

        The density of a score with levels is the mean over its step, so density times step is the probability of the
        level. The visits before it count by their levels.

        If covariates are carried forward (``Sequences.carried``), the density of a sequence is the mean over the values
        that they may have by then, and that of a visit the ratio of two of them.
        """
        if data.carried is None or self.drift is None:
            return self._with_errors(data, self._log_prob(data, self._no_states())[0])
        found, first = self.log_prob(replace(data, carried=None)), self.drift.first_carried(data)
        for t in first.unique().tolist():
            if t == data.x.shape[1]:
                continue
            for rows in (first == t).nonzero()[:, 0].split(max(1, ROWS // POINTS_OF_DRIFT)):
                points = self.drift.points(data.rows(rows))
                each = self._with_errors(points, self._log_prob_of_points(points, t))
                each = each.unflatten(0, (-1, POINTS_OF_DRIFT)).cumsum(2)
                whole = torch.logsumexp(each, 1) - math.log(POINTS_OF_DRIFT)
                found[rows] = torch.diff(whole, dim=1, prepend=torch.zeros_like(whole[:, :1]))
        return found

    @torch.no_grad()
    def forecast(self, history: Sequences | None, future: Sequences, n: int, generator: torch.Generator) -> Tensor:
        """``n`` draws of the visits of ``future``, ``[batch, n, time, region]``, given each subject's history.

        Every member is conditioned once; then all draws of all subjects go through a visit as one batch, each with a
        member drawn for it.
        """
        if history is not None:
            history = cleaned(self._flows()[0], history)
        step = max(1, ROWS // n)
        parts = []
        for start in range(0, len(future), step):
            rows = slice(start, start + step)
            parts.append(self._forecast(history and history[rows], future.rows(rows), n, generator, start))
        return torch.cat(parts)

    @torch.no_grad()
    def predict(self, data: Sequences, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean and sd ``[batch, time, region]`` of every visit given those before it, from ``n`` draws.

        Gross errors are no part of the past.
        """
        data = cleaned(self._flows()[0], data)
        states = self._no_states()
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
        return self._mixture(each), [state for _, state in steps]

    def draw(self, visit: Sequences, states: list[Any], subjects: int, n: int, generator: torch.Generator) -> Tensor:
        """``[subjects * n, 1, region]``, each draw from a member drawn for it.

        ``visit`` and ``states`` have one row per draw, or one row per subject that its draws share: a state is several
        times the size of a visit, and a copy for every draw would fill the memory. Each draw is exact; a subject's
        draws come in pairs of opposite noise from the same member, which steadies their mean and median.
        """
        source = torch.arange(len(visit)).repeat_interleave(subjects * n // len(visit))
        chosen, noise = self._noise(subjects, n, visit, generator)
        return self._drawn(visit, source, states, source, chosen, noise)

    @torch.no_grad()
    def draw_each(self, visits: Sequences, states: list[Any], n: int, generator: torch.Generator) -> Tensor:
        """``[visit, n, region]``: each row of ``visits`` is a question of its own about one subject.

        All have the past that ``states`` hold (one row) and the same random numbers, so that two answers differ as
        their questions do. Every row has the draws that `draw` gives if it is asked alone.
        """
        copies = self._drifted(visits.repeat(n), 1, n, generator)
        source = torch.arange(len(copies))
        chosen, noise = self._noise(1, n, visits, generator)
        chosen, noise = chosen.repeat(len(visits)), noise.repeat(len(visits), 1)
        return self._drawn(copies, source, states, torch.zeros_like(source), chosen, noise).view(len(visits), n, -1)

    @torch.no_grad()
    def filtered(self, history: Sequences, shares: Tensor) -> Tensor:
        """Quantiles ``[share, batch, time, region]`` of the level of every visit, a mean over the members.

        Gross errors are no part of the history.
        """
        history = cleaned(self._flows()[0], history)
        each = torch.stack([member.filtered(history, shares) for member in self._flows()])
        return torch.einsum("m,m...->...", self.weights, each)

    @torch.no_grad()
    def condition(self, history: Sequences) -> list[Any]:
        """The state of every member after each subject's last visit; gross errors are no part of the history."""
        history = cleaned(self._flows()[0], history)
        return [member.condition(history) for member in self._flows()]

    def _drifted(
        self, copies: Sequences, subjects: int, n: int, generator: torch.Generator, first: int = 0
    ) -> Sequences:  # fmt: skip
        """Copies of visits, n of each in a row, with draws of what is carried forward: those of some ``subjects``.

        If there are more visits than subjects, all have the same random numbers. Draws come in pairs of opposites.
        ``first`` is the number of the first subject.
        """
        if copies.carried is None or self.drift is None:
            return replace(copies, carried=None)
        seed = derived_seed(generator.initial_seed(), SeedStream.COVARIATE_DRIFT, first)
        own = torch.Generator().manual_seed(seed)  # what else is drawn stays the same
        noise = torch.randn(subjects, -(-n // 2), len(self.drift.channels), generator=own, dtype=copies.x.dtype)
        noise = torch.cat([noise, -noise], 1)[:, :n].flatten(0, 1)
        return self.drift.moved(copies, noise.repeat(len(copies) // len(noise), 1))

    def _noise(self, subjects: int, n: int, visit: Sequences, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A member ``[subjects * n]`` and noise ``[subjects * n, region]`` by draw, in pairs of opposite noise."""
        pairs = (subjects, -(-n // 2))
        chosen = torch.multinomial(self.weights, pairs[0] * pairs[1], True, generator=generator).view(pairs)
        noise = torch.randn(*pairs, visit.x.shape[2], generator=generator, dtype=visit.x.dtype)
        chosen, noise = (torch.cat([a, b], 1)[:, :n].flatten(0, 1) for a, b in ((chosen, chosen), (noise, -noise)))
        return chosen, noise

    def _drawn(
        self, visit: Sequences, of_visit: Tensor, states: list[Any], of_state: Tensor, chosen: Tensor, noise: Tensor
    ) -> Tensor:  # fmt: skip
        """The visits ``[draw, 1, region]`` of the noise; ``of_visit`` and ``of_state`` tell the row of each draw."""
        draws = torch.empty_like(noise).unsqueeze(1)
        for k, (member, state) in enumerate(zip(self._flows(), states, strict=True)):
            rows = (chosen == k).nonzero().squeeze(-1)
            if len(rows):
                own = map_state(lambda s: s[of_state[rows]], state)  # noqa: B023
                draws[rows] = member.sample(visit.rows(of_visit[rows]), own, noise[rows].unsqueeze(1))
        return self.bounds.settle(draws)

    def _log_prob(self, data: Sequences, states: list[Any]) -> tuple[Tensor, list[Any]]:
        """`log_prob` of values without gross errors given the past of ``states``, and the states after them."""
        if self.bounds.has_levels:
            return self._log_prob_of_levels(data, states)
        steps = [member.step(data, state) for member, state in zip(self._flows(), states, strict=True)]
        mixture = self._mixture(torch.stack([log_prob for log_prob, _ in steps]))
        return torch.where(data.mask, mixture, 0.0), [state for _, state in steps]

    def _log_prob_of_points(self, points: Sequences, first: int) -> Tensor:
        """`_log_prob` of sequences whose visits before the ``first`` are those of the row before, but once in a group.

        A group is `CovariateDrift.points` of one sequence.
        """
        states, before = self._no_states(), points.x.new_zeros(len(points), 0)
        if first:
            past = points.columns(slice(0, first)).rows(torch.arange(0, len(points), POINTS_OF_DRIFT))
            shared, states = self._log_prob(past, states)
            copies = partial(torch.repeat_interleave, repeats=POINTS_OF_DRIFT, dim=0)
            before, states = copies(shared), [map_state(copies, state) for state in states]
        after, _ = self._log_prob(points.columns(slice(first, None)), states)
        return torch.cat([before, after], 1)

    def _with_errors(self, data: Sequences, log_prob: Tensor) -> Tensor:
        """`log_prob` of values that may be gross errors, from that of values that are none."""
        found = log_prob + data.values().sum(-1) * torch.log1p(-self.error_rate)
        if self.error_rate > 0 and bool((rows := self._suspect(data).flatten(1).any(1)).any()):
            found[rows] = self._log_prob_with_errors(data.rows(rows))
        return found

    @torch.no_grad()
    def _suspect(self, data: Sequences) -> Tensor:
        """Values beyond the limit around what all earlier ones predict, ``[batch, time, region]``."""
        first = self._flows()[0]
        return beyond(first, data, first.predict(data, None))

    def _log_prob_with_errors(self, data: Sequences) -> Tensor:
        """``p(x_t | past)`` as a mixture over the sets S of its D values that may be gross errors.

        With the rate e, and the density h of errors, which is 0 within the limits around the prediction of the mixed
        model given the past,

            p(x) = sum_S e^|S| (1 - e)^(D - |S|) p(those of x not in S | past) prod_(d in S) h(x_d),

        where S is part of the values G beyond the limits: none, one, all, or all but one of them. That is every set if
        G has at most three values, and all that matter if it has more. The past is that of the visits before, without
        its gross errors once a value lay beyond its limits.
        """
        first, suspect = self._flows()[0], self._suspect(data).flatten(2).any(2)
        columns = []
        for t in range(data.x.shape[1]):
            visit, state = data.visit(t), None
            states = self._no_states()
            if t:
                past = data.columns(slice(0, t))
                doubted = suspect[:, :t].any(1)[:, None, None]
                past = without(past, gross_errors(first, past) & doubted)
                states = [member.condition(past) for member in self._flows()]
                state = states[0]
            columns.append(self._mixture_of_errors(visit, states, first.predict(visit, state)))
        return torch.where(data.mask, torch.stack(columns, 1), 0.0)

    def _mixture_of_errors(self, visit: Sequences, states: list[Any], prediction: Prediction) -> Tensor:
        """Log-density ``[batch]`` of one visit."""
        first, values = self._flows()[0], visit.values()
        gross = beyond(first, visit, prediction)
        impossible = values & ~self.bounds.allows(visit.x)
        h, found = log_density(first, visit.x, prediction), gross.sum((1, 2))

        def term(errors: Tensor) -> Tensor:
            size = errors.sum((1, 2))
            weight = size * self.error_rate.log() + (values.sum((1, 2)) - size) * torch.log1p(-self.error_rate)
            log_p = weight + self._visit_log_prob(without(visit, errors), states) + (h * errors).sum((1, 2))
            return torch.where((impossible & ~errors).any(2)[:, 0], -torch.inf, log_p)

        terms = [term(torch.zeros_like(gross)), torch.where(found > 1, term(gross), -torch.inf)]
        for d in gross[:, 0].any(0).nonzero()[:, 0].tolist():
            one = torch.zeros_like(gross)
            one[..., d] = gross[..., d]
            terms.append(torch.where(one[:, 0, d], term(one), -torch.inf))
            if bool((found > 2).any()):
                terms.append(torch.where(one[:, 0, d] & (found > 2), term(gross & ~one), -torch.inf))
        return torch.logsumexp(torch.stack(terms), 0)

    def _visit_log_prob(self, visit: Sequences, states: list[Any]) -> Tensor:
        """Log-density ``[batch]`` of one visit; that of a score is the mean over its step."""
        if not self.bounds.has_levels:
            return self.step(visit, states)[0]
        noise = step_points(visit.x.shape[2]).to(visit.x)
        many, at = visit.repeat(POINTS), noise.repeat(len(visit), 1).unsqueeze(1)
        copies = [map_state(partial(torch.repeat_interleave, repeats=POINTS, dim=0), state) for state in states]
        log_p, _ = self.step(self._flows()[0].dequantised(many, at), copies)
        return torch.logsumexp(log_p.view(-1, POINTS), 1) - math.log(POINTS)

    def _log_prob_of_levels(self, data: Sequences, states: list[Any]) -> tuple[Tensor, list[Any]]:
        columns = []
        for t in range(data.x.shape[1]):
            visit = data.visit(t)
            columns.append(self._visit_log_prob(visit, states))
            states = self._advance(visit, states)
        return torch.where(data.mask, torch.stack(columns, 1), 0.0), states

    def _mixture(self, each: Tensor) -> Tensor:
        """Log-density of the mixture from ``[member, *]``."""
        return torch.logsumexp(each + self.weights.log().view(-1, *[1] * (each.ndim - 1)), 0)

    def _forecast(
        self, history: Sequences | None, future: Sequences, n: int, generator: torch.Generator, first: int
    ) -> Tensor:  # fmt: skip
        repeat = partial(torch.repeat_interleave, repeats=n, dim=0)
        states = self._no_states()
        if history is not None:
            states = [map_state(repeat, member.condition(history)) for member in self._flows()]
        future = self._drifted(future.repeat(n), len(future), n, generator, first)
        draws: list[Tensor] = []
        visit: Sequences | None = None
        for t in range(future.x.shape[1]):
            if visit is not None:  # what follows the last visit is not needed, and takes longer than its draws
                states = self._advance(visit, states)
            visit = future.visit(t)
            x = self.draw(visit, states, len(visit) // n, n, generator)
            visit = replace(visit, x=x)
            draws.append(x.view(-1, n, 1, x.shape[-1]))
        return torch.cat(draws, 2)

    def _no_states(self) -> list[Any]:
        return [None] * len(self.members)

    def _flows(self) -> list[CRowFlow]:
        return cast(list[CRowFlow], list(self.members))

    def _advance(self, visit: Sequences, states: list[Any]) -> list[Any]:
        return [member.transform(visit, state)[2] for member, state in zip(self._flows(), states, strict=True)]
