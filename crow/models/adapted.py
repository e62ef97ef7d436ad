"""A fitted model for sites or scanners that its training lacked: their effects are estimated, and nothing else."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import cast

import pandas as pd
import torch

from crow.cohort.cohort import Cohort
from crow.errors import CohortError, ConfigError
from crow.flows.crow import CRowFlow
from crow.models.base import name_of
from crow.models.crow import CRow
from crow.representation.site_effects import UNSEEN
from crow.training.site_effects import SiteFit, estimate_new_levels


def adapted(model: CRow, data: Cohort | pd.DataFrame) -> tuple[CRow, pd.DataFrame]:
    """The model with the effects of the sites of ``data`` that it lacks, and these effects.

    Parameters
    ----------
    model
        A fitted model, which stays as it is.
    data
        Visits of a few subjects at the new sites, in the columns of the training: a cohort or a table.

    Returns
    -------
    CRow, DataFrame
        The other model, and one row per new level and region (`SiteEffects.table`).

    Raises
    ------
    ConfigError
        If the model has no effects of sites.
    CohortError
        If every site is one of the training.
    """
    cohort, table = model.as_cohort(data), model.table
    if table.sites is None:
        raise ConfigError("The run has no effects of sites or scanners. Train with a column of them (--site COLUMN).")
    table.require(cohort.visits, name_of(cohort))
    visits = cohort.visits[cohort.visits[cohort.regions].notna().any(axis=1)]
    sites, rows = table.sites.with_levels_of(visits)
    new = [row for of_factor in rows for row in of_factor]
    if not new:
        names = "; ".join(f"{f.name}: {', '.join(f.levels[:12])}" for f in table.sites.factors)
        raise CohortError(f"{name_of(cohort)}: every site or scanner is one that the run knows ({names}).")
    wider, scale = table.model_copy(update={"sites": sites}), table.site_scale
    sequences = wider.encode(visits, name_of(cohort))
    log_scale = torch.zeros(sequences.x.shape, dtype=torch.double)
    log_scale[sequences.mask] = torch.from_numpy(sites.effects(visits)[1])
    y = scale.forward(sequences.x.double()) * log_scale.exp()
    possible = sequences.values() & torch.isfinite(y)
    sequences = replace(sequences, x=torch.where(possible, y, 0.0).to(sequences.x.dtype), measured=possible)
    renumbered = torch.full((sum(sites.counts) + 1,), UNSEEN)
    renumbered[new] = torch.arange(len(new))
    codes = renumbered[wider.site_codes(visits, sequences)]  # row -1, of no level, is the last
    counts = [len(of_factor) for of_factor in rows]
    fit = SiteFit(sites.prior(counts), cast(CRowFlow, model.site_mixed))
    found = estimate_new_levels(sequences, codes, counts, log_scale, fit, scale)
    other = copy.copy(model)
    other.table = table.model_copy(update={"sites": sites.with_rows(new, found)})
    return other, other.table.sites.table(table.regions, table.sd, new)  # type: ignore[union-attr]
