"""The ensemble for visits of any site: unknown effects of sites that training did not have are integrated out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from crow.bijections.site_posterior import UnknownEffects
from crow.data.sequences import Sequences
from crow.flows.completion import Completed, complete
from crow.flows.crow import CRowFlow
from crow.flows.ensemble import ROWS, FlowEnsemble
from crow.representation.regions import RegionTable
from crow.representation.site_effects import UNSEEN
from crow.training.site_effects import on_site_scale

POINTS = 32
"""Quasi-random values of the unknown effects: each visit's density is the mixture of as many."""


Part = tuple[Sequences, pd.DataFrame]
"""Sequences and the visits that they encode, of the same subjects in the same order."""


@dataclass(frozen=True)
class EnsembleAtSites:
    """A fitted ensemble, asked about visits of any site.

    Sites of the training differ in the table only. The level ``a ~ N(0, spread^2)`` of an unseen one is unknown. Given
    the visits before t it has the posterior of the mixed model, region by region, and the density of visit t is the
    mixture of the ensemble's over ``POINTS`` values of a with that posterior, ``p(x_t | past) = mean_k p(x_t - a_k |
    past - a_k)``. Every a_k is a function of the past alone, so this is a density, and draws are from the same mixture.
    The scale of an unseen site is 1. An empty cell is a site of its own. ``mixed`` is the mixed model of visits without
    effects.
    """

    table: RegionTable
    ensemble: FlowEnsemble
    mixed: CRowFlow | None

    @torch.no_grad()
    def log_prob(self, data: Sequences, visits: pd.DataFrame) -> Tensor:
        """As `FlowEnsemble.log_prob`."""
        unseen = self._unseen(visits)
        if not unseen.any():
            return self.ensemble.log_prob(data)
        found = torch.zeros(data.mask.shape, dtype=data.x.dtype)
        if not unseen.all():
            found[~unseen] = self.ensemble.log_prob(data.rows(~unseen))
        found[unseen] = self._log_prob(data.rows(unseen), _of(visits, unseen))
        return found

    @torch.no_grad()
    def predict(
        self, data: Sequences, visits: pd.DataFrame, draws: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """As `FlowEnsemble.predict`."""
        unseen = self._unseen(visits)
        if not unseen.any():
            return self.ensemble.predict(data, draws, generator)
        mean, sd = torch.zeros_like(data.x), torch.ones_like(data.x)
        if not unseen.all():
            mean[~unseen], sd[~unseen] = self.ensemble.predict(data.rows(~unseen), draws, generator)
        some, of_some = data.rows(unseen), _of(visits, unseen)
        mean[unseen], sd[unseen] = self._predict(some, of_some, draws, generator)
        return mean, sd

    @torch.no_grad()
    def forecast(self, history: Part | None, future: Part, draws: int, generator: torch.Generator) -> Tensor:
        """As `FlowEnsemble.forecast`."""
        unseen = self._unseen(future[1])
        if history is not None:
            unseen |= self._unseen(history[1])
        if not unseen.any():
            return self.ensemble.forecast(history and history[0], future[0], draws, generator)
        found = future[0].x.new_zeros(len(future[0]), draws, *future[0].x.shape[1:])
        if not unseen.all():
            seen = None if history is None else history[0].rows(~unseen)
            found[~unseen] = self.ensemble.forecast(seen, future[0].rows(~unseen), draws, generator)
        before = None if history is None else _some(history, unseen)
        found[unseen] = self._forecast(before, _some(future, unseen), draws, generator)
        return found

    @torch.no_grad()
    def complete(self, data: Sequences, visits: pd.DataFrame, draws: int, generator: torch.Generator) -> Completed:
        """As `crow.flows.completion.complete`; unknown effects are given the same visits as the draws."""
        unseen = self._unseen(visits)
        if not unseen.any():
            return complete(self.ensemble, data, draws, generator)
        filtered, smoothed = (data.x.new_zeros(len(data), draws, *data.x.shape[1:]) for _ in range(2))
        effective = data.x.new_full(data.mask.shape, float(draws))
        if not unseen.all():
            found = complete(self.ensemble, data.rows(~unseen), draws, generator)
            filtered[~unseen], smoothed[~unseen], effective[~unseen] = found
        some = data.rows(unseen)
        weight = self._weights(some.mask, _of(visits, unseen))
        for t in range(data.mask.shape[1]):
            until = slice(0, t + 1)
            found = self._complete(some.columns(until), weight[:, until], draws, generator)
            filtered[unseen, :, t], effective[unseen, t] = found.filtered[:, :, t], found.effective[:, t]
        smoothed[unseen] = found.smoothed
        return Completed(filtered, smoothed, effective)

    def _unseen(self, visits: pd.DataFrame) -> Tensor:
        """Which subjects have a visit at a site or scanner that training lacked, or with an empty cell there."""
        subject = pd.factorize(visits["subject"])[0]
        found = np.zeros(subject.max() + 1, dtype=bool)
        if self.table.sites is not None:
            np.logical_or.at(found, subject, self.table.sites.unseen(visits))
        return torch.from_numpy(found)

    def _log_prob(self, data: Sequences, visits: pd.DataFrame) -> Tensor:
        weight = self._weights(data.mask, visits)
        effects = self._effects(data, weight)
        found = torch.zeros(data.mask.shape, dtype=data.x.dtype)
        step = max(1, ROWS // POINTS)
        for t in range(data.mask.shape[1]):
            for rows in data.mask[:, t].nonzero()[:, 0].split(step):
                shift = effects.rows(rows).shifts(weight[rows, : t + 1], t, POINTS)
                past, log_det = self._without(data.rows(rows).columns(slice(0, t + 1)), shift)
                each = (self.ensemble.log_prob(past)[:, t] + log_det[:, t]).view(-1, POINTS)
                found[rows, t] = torch.logsumexp(each, 1) - math.log(POINTS)
        return found

    def _forecast(self, history: Part | None, future: Part, draws: int, generator: torch.Generator) -> Tensor:
        points, step = min(POINTS, draws), max(1, ROWS // draws)
        past, after = history and history[0], future[0]
        before, ahead = self._both_weights(history, future)
        effects = self._effects(past, before)
        parts = []
        for start in range(0, len(after), step):
            rows = slice(start, start + step)
            own = effects.rows(rows)
            known = None if past is None else self._without(past.rows(rows), own.shifts(before[rows], None, points))[0]
            drawn = self.ensemble.forecast(known, after.rows(rows).repeat(points), -(-draws // points), generator)
            shift = own.shifts(ahead[rows], None, points)
            drawn = drawn.unflatten(0, (-1, points)).double()  # [batch, point, draw, time, region]
            moved, _ = self.table.site_scale.add(drawn, self._all_regions(shift).unsqueeze(2), 0.0)
            drawn = moved.to(after.x.dtype)
            parts.append(drawn.transpose(1, 2).flatten(1, 2)[:, :draws])
        return torch.cat(parts)

    def _complete(self, data: Sequences, weight: Tensor, draws: int, generator: torch.Generator) -> Completed:
        points = min(POINTS, draws)
        shift = self._effects(data, weight).shifts(weight, None, points)
        found = complete(self.ensemble, self._without(data, shift)[0], -(-draws // points), generator)

        def on_site(x: Tensor) -> Tensor:
            each = x.unflatten(0, (-1, points)).double()  # [batch, point, draw, time, region]
            moved, _ = self.table.site_scale.add(each, self._all_regions(shift).unsqueeze(2), 0.0)
            return moved.to(x.dtype).transpose(1, 2).flatten(1, 2)[:, :draws]

        effective = found.effective.unflatten(0, (-1, points)).sum(1).clamp_max(draws)
        return Completed(on_site(found.filtered), on_site(found.smoothed), effective)

    def _predict(
        self, data: Sequences, visits: pd.DataFrame, draws: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        mean, sd = torch.zeros_like(data.x), torch.ones_like(data.x)
        position = visits.groupby("subject", sort=False).cumcount().to_numpy()
        count = visits.groupby("subject", sort=False)["subject"].transform("size").to_numpy()
        for t in range(data.mask.shape[1]):
            rows = data.mask[:, t].nonzero()[:, 0]
            some = data.rows(rows)
            past = (some.columns(slice(0, t)), visits[(count > t) & (position < t)]) if t else None
            drawn = self._forecast(past, (some.visit(t), visits[position == t]), draws, generator)[:, :, 0]
            mean[rows, t], sd[rows, t] = drawn.mean(1), drawn.std(1)
        return mean, sd

    def _effects(self, data: Sequences | None, weight: Tensor) -> UnknownEffects:
        """The posterior given the visits before each visit, by the mixed model of visits without effects."""
        assert self.mixed is not None
        if data is None:
            return UnknownEffects.given(self.mixed.mixed, None, weight, None)
        data = on_site_scale(data, self.table.site_scale)
        return UnknownEffects.given(self.mixed.mixed, data, weight, self.mixed.times(data, None))

    def _without(self, data: Sequences, shift: Tensor) -> tuple[Sequences, Tensor]:
        """Every subject once per point, without effects of ``shift [batch, point, time, region]``, and the log-det."""
        copies = data.repeat(shift.shape[1])
        x, log_det = self.table.site_scale.add(copies.x.double(), -self._all_regions(shift).flatten(0, 1), 0.0)
        log_det = torch.where(copies.values(), log_det, 0.0).sum(-1)
        return replace(copies, x=x.to(copies.x.dtype)), log_det.to(copies.x.dtype)

    def _all_regions(self, shift: Tensor) -> Tensor:
        """With 0 for regions without effects, ``[*, region]``."""
        some = self.table.site_scale.has_effects
        whole = shift.new_zeros(*shift.shape[:-1], len(some), dtype=torch.double)
        whole[..., some] = shift.double()
        return whole

    def _weights(self, mask: Tensor, visits: pd.DataFrame) -> Tensor:
        """What one sd of each unknown effect adds to x, ``[batch, time, unknown, region]``."""
        sites = self.table.sites
        assert sites is not None
        number = self._unknown(visits)
        spread = sites.new_spread  # [factor, region]
        unit = np.exp(-sites.effects(visits)[1])  # [visit, region]
        weight = np.zeros((len(visits), number.max() + 1, len(self.table.regions)))
        for k in range(number.shape[1]):
            at = np.flatnonzero(number[:, k] >= 0)
            weight[at, number[at, k]] = spread[k] * unit[at]
        found = torch.zeros(*mask.shape, *weight.shape[1:])
        found[mask] = torch.from_numpy(weight).float()
        return found[..., self.table.site_scale.has_effects]

    def _both_weights(self, history: Part | None, future: Part) -> tuple[Tensor, Tensor]:
        """`_weights` of history and future, with the same numbers of unknown effects."""
        if history is None:
            weight = self._weights(future[0].mask, future[1])
            return weight[:, :0], weight
        past = history[0].mask.shape[1]
        rows = pd.concat([history[1], future[1]], ignore_index=True)
        order = {name: k for k, name in enumerate(history[1]["subject"].unique())}
        rows = rows.iloc[np.lexsort((rows["time"], rows["subject"].map(order)))]
        weight = self._weights(torch.cat([history[0].mask, future[0].mask], 1), rows)
        return weight[:, :past], weight[:, past:]

    def _unknown(self, visits: pd.DataFrame) -> NDArray[np.int64]:
        """Number of the unknown effect of each visit and factor within its subject, ``[visit, factor]``; else -1."""
        sites = self.table.sites
        assert sites is not None
        codes = sites.codes(visits)
        words = [factor.words(visits).fillna("").to_numpy(object) for factor in sites.factors]
        number = np.full(codes.shape, -1, dtype=np.int64)
        known: dict[str, dict[tuple[int, str], int]] = {}
        for row, subject in enumerate(visits["subject"]):
            own = known.setdefault(str(subject), {})
            for k in np.flatnonzero(codes[row] == UNSEEN):
                number[row, k] = own.setdefault((int(k), str(words[k][row])), len(own))
        return number


def _some(part: Part, subjects: Tensor) -> Part:
    return part[0].rows(subjects), _of(part[1], subjects)


def _of(visits: pd.DataFrame, subjects: Tensor) -> pd.DataFrame:
    """The visits of some subjects, by their order of appearance."""
    return visits[subjects.numpy()[pd.factorize(visits["subject"])[0]]]
