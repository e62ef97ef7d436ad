"""Estimation of the effects of sites and scanners beside the mixed model of the training subjects."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from crow.bijections.site_effects import SiteEstimate, estimate_sites
from crow.bijections.site_scale import SiteScale
from crow.bijections.site_visits import SiteVisits
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.gross_errors import gross_errors
from crow.training.gross_errors import MAX_SHARE, far_values

FITS = 2  # of the mixed model; the terms that the second finds are those of visits without effects of sites


class SiteFit(NamedTuple):
    """Effects of all regions, 0 for those that have none, and the mixed model of the others without effects."""

    effects: SiteEstimate
    mixed: CRowFlow


@dataclass(frozen=True)
class SiteData:
    """Standardised visits that still have the effects of their sites, and each visit's ``codes [batch, time, factor]``.

    ``counts`` are the levels of each factor; a negative code is a level without an effect.
    """

    data: Sequences
    codes: Tensor
    counts: list[int]
    scale: SiteScale

    def estimate(self, start: SiteEstimate | None = None) -> SiteFit:
        """The effects, beside a mixed model of visits without them.

        Source: the empirical Bayes of ComBat (Johnson et al. 2007; Beer et al. 2020) with the mixed model's own
        likelihood in place of two steps of moments. Gross errors have no part in it.
        """
        data = on_site_scale(self.data, self.scale)
        some = self.scale.has_effects
        found = SiteEstimate.none(self.counts, int(some.sum())) if start is None else _columns(start, some)
        gross = far_values(data, None)
        flow = empty_mixed_model(data.x.shape[2], data.context.shape[2])
        for k in range(FITS if start is None else 1):
            visits = SiteVisits.of(data.x, data.values() & ~gross, self.codes, self.counts)
            adjusted = replace(data, x=visits.adjusted(found.level, found.log_scale).to(data.x.dtype))
            if k or start is not None:  # before, a change of scanner may look like an error
                errors = gross_errors(flow, adjusted) if k else torch.zeros_like(gross)
                gross = gross | (errors & (errors.sum((0, 1)) <= MAX_SHARE * data.values().sum((0, 1))))
                visits = SiteVisits.of(data.x, data.values() & ~gross, self.codes, self.counts)
            flow.initialise(replace(adjusted, measured=data.values() & ~gross) if gross.any() else adjusted)
            found = estimate_sites(visits, flow.mixed, flow.times(data, None).double(), found)
        return SiteFit(_spread_out(found, some), flow.eval())

    def adjusted(self, found: SiteEstimate) -> Sequences:
        """The visits as if all were from one average site."""
        visits = SiteVisits.of(self.data.x, self.data.values(), self.codes, self.counts)
        level, log_scale = visits.of_visits(found.level), visits.of_visits(found.log_scale)
        x = self.scale.remove(self.data.x.double(), level, log_scale)
        return replace(self.data, x=x.to(self.data.x.dtype))

    def cross_fitted(self, left_out: Tensor, start: SiteEstimate) -> Sequences:
        """All visits, adjusted by effects that were estimated without the subjects ``left_out``."""
        kept = ~torch.isin(torch.arange(len(self.data)), left_out)
        codes = self.codes[kept]
        part = self.data[kept]
        own = replace(self, data=part, codes=codes[:, : part.x.shape[1]]).estimate(start)
        return self.adjusted(own.effects)


def estimate_new_levels(
    data: Sequences, codes: Tensor, counts: list[int], log_scale: Tensor, fit: SiteFit, scale: SiteScale
) -> SiteEstimate:
    """Effects of the levels in ``codes``, given a fitted model; ``fit.effects`` is their prior.

    Of the visits' other effects the levels are removed; ``log_scale [batch, time, region]`` is not. The mixed model and
    the spreads between levels stay as they are.
    """
    some = scale.has_effects
    visits = SiteVisits.of(data.x[..., some], data.values()[..., some], codes, counts, log_scale[..., some])
    context = fit.mixed.times(data, None).double()
    found = estimate_sites(visits, fit.mixed.mixed, context, _columns(fit.effects, some), known=True)
    return _spread_out(found, some)


def on_site_scale(data: Sequences, scale: SiteScale) -> Sequences:
    """The regions that have effects, on the scale on which these add up."""
    y = scale.forward(data.x.double())
    possible, some = torch.isfinite(y), scale.has_effects
    measured = None
    if data.measured is not None or not bool((possible | ~data.values()).all()):
        measured = (data.values() & possible)[..., some]
    return replace(data, x=torch.where(possible, y, 0.0)[..., some].to(data.x.dtype), measured=measured)


def empty_mixed_model(regions: int, channels: int) -> CRowFlow:
    """A flow of which only the mixed model is used."""
    with torch.random.fork_rng(devices=[]):
        return CRowFlow(regions, channels, "mixed_model", blocks=1, hidden=1)


def _columns(found: SiteEstimate, some: Tensor) -> SiteEstimate:
    return SiteEstimate(*(getattr(found, field.name)[:, some] for field in fields(found)))


def _spread_out(found: SiteEstimate, some: Tensor) -> SiteEstimate:
    whole = []
    for field in fields(found):
        part = getattr(found, field.name)
        whole.append(part.new_zeros(len(part), len(some)))
        whole[-1][:, some] = part
    return SiteEstimate(*whole)
