"""Estimation of the effects of sites and scanners beside the mixed model of the training subjects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crow.bijections.site_effects import SiteEstimate, estimate_sites
from crow.bijections.site_visits import SiteVisits
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.run.config import ModelSettings
from crow.training.build import build_flow

FITS = 2  # of the mixed model; the terms that the second finds are those of visits without effects of sites


@dataclass(frozen=True)
class SiteData:
    """Standardised visits that still have the effects of their sites, and each visit's ``codes [batch, time, factor]``.

    ``counts`` are the levels of each factor; a negative code is a level without an effect.
    """

    data: Sequences
    codes: Tensor
    counts: list[int]
    settings: ModelSettings

    def estimate(self, start: SiteEstimate | None = None) -> SiteEstimate:
        """The effects, beside a mixed model of visits without them.

        Source: the empirical Bayes of ComBat (Johnson et al. 2007; Beer et al. 2020) with the mixed model's own
        likelihood in place of two steps of moments.
        """
        visits = self._visits()
        found = start or SiteEstimate.none(self.counts, self.data.x.shape[2])
        for _ in range(1 if start else FITS):
            with torch.random.fork_rng():
                flow = build_flow(self.settings, self.data.x.shape[2], self.data.context.shape[2], "mixed_model")
            flow.initialise(self.adjusted(found))
            found = estimate_sites(visits, flow.mixed, flow.context_of(self.data).double(), found)
        return found

    def _visits(self) -> SiteVisits:
        return SiteVisits.of(self.data.x, self.data.values(), self.codes, self.counts)

    def adjusted(self, found: SiteEstimate) -> Sequences:
        """The visits as if all were from one average site."""
        return replace(self.data, x=self._visits().adjusted(found.level, found.log_scale).to(self.data.x.dtype))

    def cross_fitted(self, left_out: Tensor, start: SiteEstimate) -> Sequences:
        """All visits, adjusted by effects that were estimated without the subjects ``left_out``."""
        kept = ~torch.isin(torch.arange(len(self.data)), left_out)
        codes = self.codes[kept]
        part = self.data[kept]
        own = replace(self, data=part, codes=codes[:, : part.x.shape[1]]).estimate(start)
        return self.adjusted(own)


def estimate_new_levels(
    data: Sequences, codes: Tensor, counts: list[int], log_scale: Tensor, flow: CRowFlow, prior: SiteEstimate
) -> SiteEstimate:
    """Effects of the levels in ``codes``, given a fitted model.

    The visits have no other levels; their other ``log_scale [batch, time, region]`` is still in x. The mixed model of
    ``flow`` and the spreads of ``prior`` stay as they are.
    """
    visits = SiteVisits.of(data.x, data.values(), codes, counts, log_scale)
    return estimate_sites(visits, flow.mixed, flow.context_of(data).double(), prior, known=True)
