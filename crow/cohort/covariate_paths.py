"""Covariate paths: what is known, and what is assumed, of the covariates at future visits."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd

from crow.choices import require_choice
from crow.cohort.cohort import Cohort
from crow.errors import CohortError

Future = Literal["carry", "linear"]
CARRIED = "carried years: "  # and the name of a covariate: for how many years its value has been carried forward


def future_visits(cohort: Cohort, asked: pd.DataFrame, future: Future = "carry") -> pd.DataFrame:
    """The visits of ``asked`` with age and every covariate, one row per visit, sorted by subject and time.

    ``asked`` has ``subject``, ``time`` (years since the subject's first visit) and any covariates that are known there.
    A covariate that is not known stays at its last known value (``carry``), or, if it is a number that changes
    within subjects, lies on the line between known values and beyond them on the subject's least-squares line
    (``linear``).

    A number of which only one value is known stays there in both cases.

    One more column per carried covariate (`CARRIED` and its name) has the years since its last known value, 0 for a
    value that is known. A column of ``asked`` with such a name is kept.

    Raises ConfigError if ``future`` is neither of both.
    """
    require_choice("future", future, get_args(Future))
    visits = cohort.visits[["subject", "time", "age", *cohort.covariates]]
    kinds = cohort.schema.covariates
    carried = [name for name in carried_covariates(cohort) if future == "carry" or kinds[name] != "numeric"]
    before = {CARRIED + name: asked[CARRIED + name] for name in carried if CARRIED + name in asked}
    asked = asked.assign(age=np.nan).reindex(columns=visits.columns).assign(**before)
    past = visits[visits["subject"].isin(asked["subject"])]
    rows = pd.concat([past.assign(asked=False), asked.assign(asked=True)], ignore_index=True)
    rows = rows.sort_values(["subject", "time"], kind="stable", ignore_index=True)
    by_subject = rows.groupby("subject", sort=False)
    rows["age"] = by_subject["age"].transform("first") + rows["time"] - by_subject["time"].transform("first")
    for name, kind in cohort.schema.covariates.items():
        if future == "linear" and kind == "numeric" and name not in cohort.schema.fixed:
            filled = [_line(group["time"].to_numpy(float), group[name].to_numpy(float)) for _, group in by_subject]
            rows[name] = np.where(rows["asked"], np.concatenate(filled), rows[name])
        if name in carried:
            known = rows["time"].where(rows[name].notna()).groupby(rows["subject"], sort=False).ffill()
            years = (rows["time"] - known).fillna(0.0)
            rows[CARRIED + name] = years if CARRIED + name not in rows else rows[CARRIED + name].fillna(0.0) + years
        rows[name] = rows.groupby("subject", sort=False)[name].ffill().where(rows["asked"], rows[name])
    return rows[rows["asked"]].drop(columns="asked").reset_index(drop=True)


def carried_covariates(cohort: Cohort) -> list[str]:
    """The covariates that change within subjects, without sites and scanners: a forecast is for a known one."""
    schema = cohort.schema
    return [name for name in schema.covariates if name not in schema.fixed and name not in schema.sites]


def without_carried(visits: pd.DataFrame) -> pd.DataFrame:
    """The visits without the columns that tell for how long covariates were carried forward."""
    return visits.drop(columns=[name for name in visits.columns if str(name).startswith(CARRIED)])


def check_future(cohort: Cohort, visits: pd.DataFrame) -> None:
    """Raise CohortError unless each of ``visits`` lies after the last visit of a subject of the cohort, and gives no
    covariate that never changes another value than the subject has."""
    own = ["subject", "time", *cohort.visits.columns]
    if unknown := [str(name) for name in without_carried(visits).columns if name not in own]:
        known = ", ".join(cohort.covariates) or "none"
        raise CohortError(f"the visits to forecast: {', '.join(unknown)}: no covariate of the cohort (known: {known}).")
    if visits.empty:
        raise CohortError("the visits to forecast: holds no visit.")
    last = visits["subject"].map(cohort.visits.groupby("subject")["time"].max())
    if last.isna().any():
        name = visits["subject"][last.isna()].iloc[0]
        raise CohortError(f"subject {name} is not in the cohort ({cohort.path or 'the cohort'}).")
    if (early := ~(visits["time"] > last)).any():
        name, time = visits.loc[early, ["subject", "time"]].iloc[0]
        raise CohortError(
            f"subject {name}: {time:g} years since the first visit does not come after the last visit at "
            f"{last[early].iloc[0]:g}. Ask for later visits."
        )
    _check_constant(cohort, visits)


def _check_constant(cohort: Cohort, visits: pd.DataFrame) -> None:
    for name in (name for name in cohort.schema.fixed if name in visits and name not in cohort.schema.sites):
        numeric = cohort.schema.covariates.get(name) == "numeric"
        values = cohort.visits.dropna(subset=[name])
        own = values[name].astype(float if numeric else str).groupby(values["subject"]).agg(set)
        for subject, value in visits.dropna(subset=[name])[["subject", name]].itertuples(index=False):
            known = own.get(subject, set())
            same = np.isclose(list(known), float(value), rtol=1e-3).any() if numeric else str(value) in known
            if known and not same:
                observed = " and ".join(f"{one:g}" if numeric else one for one in sorted(known))
                raise CohortError(
                    f"subject {subject}, covariate {name}: found {value}, but it is {observed} at the observed visits, "
                    f"and {name} never changed within a training subject. A forecast cannot answer this. Leave it out, "
                    "or simulate subjects with that value (crow generate --new-subjects --covariates TABLE)."
                )


def _line(time: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Missing values on the line between known ones; after the last, on it with the least-squares slope of all."""
    known = ~np.isnan(value)
    if known.sum() < 2:
        return value
    slope = np.polyfit(time[known], value[known], 1)[0]
    last = np.flatnonzero(known)[-1]
    between = np.interp(time, time[known], value[known])
    drawn = np.where(time > time[last], value[last] + slope * (time - time[last]), between)
    return np.where(known, value, drawn)
