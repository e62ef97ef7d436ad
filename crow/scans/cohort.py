"""The cohort of a scan store, with the covariates of a fitted model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crow.cohort.cohort import Cohort
from crow.cohort.schema import Schema
from crow.scans.store import ScanStore


def store_cohort(store: ScanStore, schema: Schema | None) -> Cohort:
    """The prepared visits with the covariates of ``schema``; covariates missing from the store are NaN.

    The index of ``Cohort.visits`` is the row in the store's arrays.
    """
    cohort = replace(store.cohort(), path=str(store.path / "visits.csv"))
    if schema is None:
        return cohort
    known = schema.covariates
    extra = [name for name in cohort.covariates if name not in known]
    absent = {name: None if kind == "categorical" else np.nan for name, kind in known.items()}
    visits = cohort.visits.drop(columns=extra)
    visits = visits.assign(**{name: value for name, value in absent.items() if name not in visits})
    merged = cohort.schema.model_copy(update={"covariates": known, "fixed": schema.fixed})
    return replace(cohort, visits=visits, schema=merged)
