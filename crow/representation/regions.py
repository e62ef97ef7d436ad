"""Region tables: a two-way map between the visits of a cohort and what the flow sees."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, model_validator
from torch import Tensor

from crow.bijections.site_scale import SiteScale
from crow.bijections.soft_bounds import Bounds
from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import CARRIED, carried_covariates
from crow.cohort.parameters import MAX_LEVELS
from crow.cohort.value_kinds import ValueKind
from crow.data.covariate_drift import CovariateDrift
from crow.data.sequences import Sequences
from crow.data.sides import other_side
from crow.errors import CohortError
from crow.representation.covariate import Covariate
from crow.representation.covariate_support import CovariateSupport
from crow.representation.region_checks import (
    LARGEST,
    check_kind,
    check_near,
    check_order,
    check_size,
    check_spread,
    require_units,
)
from crow.representation.site_effects import UNSEEN, SiteEffects

FAR_BOUND = 100.0  # standard deviations from the mean
SINGLE = 1e-6  # rounding of values in single precision, of their size in standard deviations


class RegionTable(BaseModel):
    """Regions standardised on training visits, and a context of age and covariates.

    ``encode`` gives `Sequences` with ``x = (value - mean) / sd``, without the effects of the visit's site; ``decode``
    returns to original units; log-densities of the two differ by `log_scale_of` per visit, over its measured regions.
    A missing value is marked in ``measured``; for models that need one, x holds the subject's last value before it,
    else the training mean.
    """

    regions: list[str]
    mean: list[float]
    sd: list[float]
    covariates: list[Covariate]
    kinds: list[ValueKind] = []
    """Of each region; empty if all are real."""
    median: list[float] = []
    reached: list[bool] = []
    """Whether training values lie on a bound of the region."""
    follow_up: float = 0.0
    """The longest time in training, in years; 0 in runs that did not keep it."""
    support: CovariateSupport | None = None
    """Which combinations of covariates training subjects had; None in runs that did not keep it."""
    sites: SiteEffects | None = None
    """Effects of sites and scanners, which ``encode`` removes and ``decode`` adds."""
    drift: CovariateDrift | None = None
    """How covariates change while they are carried forward; None in runs that did not keep it, and if none changes."""

    @model_validator(mode="after")
    def _has_a_scale(self) -> RegionTable:
        """A run of a stranger may have any numbers here."""
        if not len(self.regions) == len(self.mean) == len(self.sd) or not all(0 < sd < LARGEST for sd in self.sd):
            raise ValueError("a mean and a positive standard deviation are needed for every region")
        if not all(abs(mean) < LARGEST for mean in self.mean):
            raise ValueError("a finite mean is needed for every region")
        if any(len(each) not in (0, len(self.regions)) for each in (self.kinds, self.median, self.reached)):
            raise ValueError("as many medians and kinds as regions are needed")
        return self

    @classmethod
    def fit(cls, cohort: Cohort, site_effects: bool = False, changes: bool = False) -> RegionTable:
        """Scalers and levels of a cohort of training subjects.

        With ``site_effects`` sites and scanners are no covariates; ``sites`` is for the caller to set. Otherwise those
        with few levels are covariates as any other. ``changes`` since a subject's first visit are scaled by their root
        mean square, the same for both sides of the brain, and not centred: 0 is no change.
        """
        values = cohort.visits[cohort.regions].astype(float)
        where = cohort.path or "the cohort"
        check_size(values, where)
        check_spread(values, where)
        numeric = [name for name, kind in cohort.schema.covariates.items() if kind == "numeric"]
        check_size(cohort.visits[["age", *numeric]].astype(float), where)
        kinds = [cohort.schema.values.get(name, ValueKind()).complete() for name in cohort.regions]
        for name, kind in zip(cohort.regions, kinds, strict=True):
            check_kind(values[name], kind, where)
        known = {n: kind for n, kind in cohort.schema.covariates.items() if not _is_effect(cohort, n, site_effects)}
        covariates = [Covariate.fit(cohort.visits[n], n, kind) for n, kind in known.items()]
        if cohort.visits["age"].notna().any() and "age" not in cohort.schema.covariates:
            covariates.insert(0, Covariate.fit(cohort.visits["age"], "age", "numeric"))
        return cls(
            regions=cohort.regions,
            mean=[0.0] * len(cohort.regions) if changes else values.mean().tolist(),
            sd=_size_of_changes(values) if changes else values.std().tolist(),
            covariates=[c for c in covariates if c is not None],
            median=values.median().tolist(),
            kinds=kinds if any(kind.kind != "real" for kind in kinds) else [],
            reached=[
                k.kind == "bounded" or bool((values[r] == k.lower).any())
                for r, k in zip(cohort.regions, kinds, strict=True)
            ],
            follow_up=float(cohort.visits["time"].max()),
            support=CovariateSupport.fit(cohort),
        )

    @property
    def channels(self) -> int:
        """Number of context channels."""
        return sum(c.size + c.has_missing for c in self.covariates)

    @property
    def steps(self) -> np.ndarray[Any, Any]:
        """Distance of the levels of each region, 0 for a continuous one."""
        return np.array([kind.step or 0.0 for kind in self.kinds] or [0.0] * len(self.regions))

    @property
    def bounds(self) -> Bounds | None:
        """Bounds and steps in the units of x; None if all regions are real.

        A bound that no value comes near is none: so far away, single precision has no digits for the values.
        """
        if not self.kinds:
            return None
        mean, sd = np.array(self.mean), np.array(self.sd)
        lower = np.array([-np.inf if kind.lower is None else kind.lower for kind in self.kinds])
        upper = np.array([np.inf if kind.upper is None else kind.upper for kind in self.kinds])
        origin = np.where(np.isfinite(lower), lower, 0.0)
        low, high = (lower - mean) / sd, (upper - mean) / sd
        low, high = np.where(low < -FAR_BOUND, -np.inf, low), np.where(high > FAR_BOUND, np.inf, high)
        scaled = [low, high, self.steps / sd, (origin - mean) / sd]
        least, most, step, start = (torch.tensor(v, dtype=torch.float32) for v in scaled)
        return Bounds(least, most, ~torch.tensor(self.reached), step, start)

    @property
    def log_scale(self) -> float:
        """``sum log sd``: subtract it from a log-density of x to have that of the values in original units."""
        return float(np.log(self.sd).sum())

    @property
    def log_units(self) -> np.ndarray[Any, Any]:
        """``log sd`` per region: what takes a log-density of x to one of values in original units.

        For a score with levels ``log (sd / step)``: what takes it to the log-probability of the level.
        """
        steps = self.steps
        return np.log(np.array(self.sd) / np.where(steps > 0, steps, 1.0))

    @property
    def site_scale(self) -> SiteScale:
        """The scale on which sites have effects: of positive regions that never are 0 it is a logarithm."""
        kinds = self.kinds or [ValueKind()] * len(self.regions)
        reach = [math.inf] * len(kinds)
        for d, kind in enumerate(kinds):
            if kind.kind == "positive" and kind.lower is not None:
                reach[d] = (self.mean[d] - kind.lower) / self.sd[d]
        reached = self.reached or [False] * len(kinds)
        has = [k.kind == "real" or (k.kind == "positive" and not r) for k, r in zip(kinds, reached, strict=True)]
        return SiteScale(torch.tensor(reach, dtype=torch.double), torch.tensor(has))

    def log_scale_of(self, data: Sequences, visits: pd.DataFrame) -> Tensor:
        """Sum of `log_units` and of the log-scales of sites over each visit's measured regions ``[batch, time]``.

        ``data`` are the ``visits``, encoded; 0 at pads.
        """
        log_scale = torch.from_numpy(self.log_units).expand(data.x.shape).clone()
        if self.sites is not None:
            level, of_site = self.sites.effects(visits)
            log_scale[data.mask] += self.site_scale.add(data.x[data.mask].double(), level, of_site)[1]
        return torch.where(data.values(), log_scale, 0.0).sum(-1)

    def site_codes(self, visits: pd.DataFrame, data: Sequences) -> Tensor:
        """Rows of the effects of each visit's site ``[batch, time, factor]``, negative at pads and if unseen."""
        assert self.sites is not None
        codes = torch.full((*data.mask.shape, len(self.sites.factors)), UNSEEN)
        codes[data.mask] = torch.from_numpy(self.sites.codes(visits))
        return codes

    def encode(self, visits: pd.DataFrame, where: str = "the cohort") -> Sequences:
        """Sequences of visits sorted by subject and time; subjects in their order of appearance.

        Raises CohortError for visits in another order, for a covariate that is not a column, and for a level that
        training did not have. Without a single region among the columns nothing counts as missing, and x is 0.
        """
        subject, names = pd.factorize(visits["subject"])
        check_order(visits, subject, names, where)
        position = visits.groupby(subject).cumcount().to_numpy()
        shape = (subject.max() + 1, position.max() + 1)

        def pad(values: np.ndarray[Any, Any]) -> Tensor:
            out = np.zeros((*shape, *values.shape[1:]), dtype=np.float32)
            out[subject, position] = values
            return torch.from_numpy(out)

        x = self._values(visits, where)
        context = [c.encode(visits, where) for c in self.covariates]
        mask = pad(np.ones(len(visits))).bool()
        known = visits.reindex(columns=self.regions).notna().to_numpy()
        complete = known.all() or not any(region in visits for region in self.regions)
        carried = self._carried(visits)
        return Sequences(
            pad(x), pad(np.concatenate([np.empty((len(visits), 0)), *context], 1)), pad(visits["time"].to_numpy()),
            mask,
            None if complete else pad(known).bool(), None if carried is None else pad(carried),
        )  # fmt: skip

    def fit_drift(self, cohort: Cohort, data: Sequences) -> CovariateDrift | None:
        """How the covariates change that a forecast carries forward; ``data`` are the visits of ``cohort``, encoded."""
        changing = carried_covariates(cohort)
        channels: list[int] = []
        known: list[Tensor] = []
        start = 0
        for covariate in self.covariates:
            if covariate.name in changing:
                channels += range(start, start + covariate.size)
                there = torch.zeros_like(data.mask)
                there[data.mask] = torch.tensor(cohort.visits[covariate.name].notna().to_numpy())
                known += [there] * covariate.size
            start += covariate.size + covariate.has_missing
        return CovariateDrift.fit(data, channels, torch.stack(known, -1)) if channels else None

    def _carried(self, visits: pd.DataFrame) -> np.ndarray[Any, Any] | None:
        """Years for which each channel was carried forward ``[visit, channel]``; None if none was."""
        if not any(CARRIED + covariate.name in visits for covariate in self.covariates):
            return None
        columns = []
        for covariate in self.covariates:
            years = visits.get(CARRIED + covariate.name, pd.Series(0.0, visits.index)).fillna(0.0)
            columns += [years.to_numpy(float)] * covariate.size + [np.zeros(len(visits))] * covariate.has_missing
        return np.stack(columns, 1)

    def require(self, visits: pd.DataFrame, where: str) -> None:
        """Raise CohortError where a region is not a column of ``visits``, or in other units than in the training."""
        if missing := [region for region in self.regions if region not in visits]:
            raise CohortError(f"{where}: its columns are not those of the model. Missing: {', '.join(missing)}.")
        require_units(visits, self.regions, self.median, self.mean, self.sd, where)

    def decode(self, x: Tensor, visits: pd.DataFrame | None = None) -> np.ndarray[Any, Any]:
        """Values in original units of ``x: [visit, *draws, region]``, as the site of each of ``visits`` measures them.

        Without ``visits``, as an average site does.
        """
        x = x.double()
        if self.sites is not None and visits is not None:
            several = (len(visits), *[1] * (x.ndim - 2), len(self.regions))
            level, log_scale = (effect.reshape(several) for effect in self.sites.effects(visits))
            x = self.site_scale.add(x, level, log_scale)[0]
        return np.asarray(x.numpy() * np.array(self.sd) + np.array(self.mean))

    def decode_sd(self, mean: Tensor, sd: Tensor, visits: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Standard deviations in original units of those of x, ``[visit, region]``, around its mean."""
        scale = np.zeros(mean.shape)
        if self.sites is not None:
            scale = self.site_scale.add(mean.double(), *self.sites.effects(visits))[1].numpy()
        return np.asarray(sd.double().numpy() * np.array(self.sd) * np.exp(scale))

    def draws(self, x: Tensor, visits: pd.DataFrame | None = None) -> np.ndarray[Any, Any]:
        """`decode` of draws: scores at their exact levels, and no value beyond a bound."""
        values = self.decode(x, visits)
        for d, kind in enumerate(self.kinds):
            if kind.step:
                origin = kind.lower or 0.0
                values[..., d] = origin + kind.step * np.round((values[..., d] - origin) / kind.step)
            if kind.kind != "real":
                values[..., d] = np.clip(values[..., d], kind.lower, kind.upper)
                if self.reached and self.reached[d] and not kind.step:
                    values[..., d] = _at_bounds(values[..., d], kind, self.mean[d], self.sd[d])
        return values

    def _values(self, visits: pd.DataFrame, where: str) -> np.ndarray[Any, Any]:
        values = visits.reindex(columns=self.regions).astype(float)
        for name, mean, sd in zip(self.regions, self.mean, self.sd, strict=True):
            check_near(values[name], mean, sd, visits, where)
        x = (values.to_numpy() - np.array(self.mean)) / np.array(self.sd)
        if self.sites is not None:
            x = self.site_scale.remove(torch.from_numpy(x), *self.sites.effects(visits)).numpy()
        return pd.DataFrame(x).groupby(visits["subject"].to_numpy()).ffill().fillna(0.0).to_numpy()

def _at_bounds(values: np.ndarray[Any, Any], kind: ValueKind, mean: float, sd: float) -> np.ndarray[Any, Any]:
    """``values`` that differ from a bound by no more than rounding are that bound: a truth of 0 equals a draw of 0."""
    for bound in (kind.lower, kind.upper):
        if bound is not None:
            near = SINGLE * (sd + abs(bound - mean))
            values = np.where(np.abs(values - bound) <= near, bound, values)
    return values


def _is_effect(cohort: Cohort, name: str, site_effects: bool) -> bool:
    """Whether a covariate is left to the effects of sites, or has too many levels for one channel each."""
    if name not in cohort.schema.sites:
        return False
    return site_effects or cohort.visits[name].nunique() > MAX_LEVELS


def _size_of_changes(values: pd.DataFrame) -> list[float]:
    """Root mean square by region; that of both sides for a structure that has two."""
    square = values.pow(2).mean().to_numpy()
    return [float(root) for root in np.sqrt((square + square[other_side(list(values.columns))]) / 2)]
