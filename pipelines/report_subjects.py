"""Individual subjects for the report: forecasts beside later observations, of the future, and what-if forecasts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.cohort.covariate_paths import Future
from crow.data.forecast import quantiles_of
from crow.errors import CohortError
from crow.evaluation.evaluate_model import covariates_that_change
from crow.evaluation.forecasts import split_history
from crow.evaluation.outlier_score import with_outlier_scores
from crow.models.crow import CRow
from crow.pipelines.bands import Bands
from crow.pipelines.covariate_paths import (
    CovariateChange,
    changes_text,
    named,
    out_of_range,
    visits_after,
    with_changes,
)
from crow.report.sections.forecasts import SubjectForecast, WhatIf, outside_intervals

YEARS = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0]  # after the last visit
QUANTILES = ["median", "q05", "q25", "q75", "q95"]
N_WORST = 2  # subjects
N_DRAWN = 8  # subjects with the least likely visits, among which the worst are sought
MAX_COVARIATES, MAX_LEVELS = 2, 4  # of what-if forecasts
MAX_NAMED = 12  # subjects whose outliers have a most deviant region
OTHER_COVARIATES = (
    "Other covariates are carried forward from the last visit and change as in other subjects. "
)
EVALUATED = (
    "Each subject was forecast from its first visits. Dots are the visits that the model received, diamonds are later "
    "observations. The worst subjects have the largest mean CRPS, relative to the mean CRPS of each region over all "
    "test subjects, and at least one value outside its 90 % interval."
)
FORECAST_NOW = (
    "Each subject was forecast from the first half of its visits, with the observed covariates of the later visits. "
    "Dots are the visits that the model received, diamonds are later observations. The worst subjects have the least "
    "likely visits, and at least one value outside its 90 % interval."
)


@dataclass(frozen=True)
class Forecaster:
    """A model with the observed visits, and the number and seed of its draws."""

    model: CRow
    history: Cohort
    draws: int
    seed: int

    def bands(self, subject: str, visits: pd.DataFrame) -> Bands:
        """The bands of a subject, given these visits."""
        return Bands(self.model, self.history, subject, self.seed, visits)

    @property
    def data_end(self) -> float | None:
        """The longest follow-up of the training, in years."""
        return self.model.table.follow_up or None

    def at(self, history: Cohort, visits: pd.DataFrame) -> pd.DataFrame:
        """One row per visit and region: the forecast of ``visits`` given ``history``."""
        return self.model.forecast(history, visits, "carry", self.draws, self.seed).long


def evaluated_subjects(
    visits: pd.DataFrame, history: Cohort | None, chosen: list[str], forecaster: Forecaster | None,
    future: Future | None,
) -> list[SubjectForecast]:  # fmt: skip
    """The chosen, the worst and a median subject of an evaluation's visits.csv (one row per visit and region).

    ``future`` is the rule of the covariates; None if the ``forecaster`` cannot add times between the visits, because
    the forecasts are those of other models or had the later covariates.
    """
    mean = visits.groupby("region")["crps"].transform("mean")
    ranked = (visits["crps"] / mean.where(mean > 0)).groupby(visits["subject"]).mean().sort_values(ascending=False)
    outside = ~visits["truth"].between(visits["q05"], visits["q95"]) & visits["truth"].notna()
    described = _described(list(ranked.index), chosen, set(visits.loc[outside, "subject"]))
    found = [_evaluated(subject, text, visits, history) for subject, text in described.items()]
    return [_with_bands(one, forecaster, future) for one in found]


def _with_bands(one: SubjectForecast, forecaster: Forecaster | None, future: Future | None) -> SubjectForecast:
    """The forecast with its bands and the centiles behind it; unchanged without a model or observed visits."""
    if forecaster is None or not len(one.given):
        return one
    cohort = replace(forecaster.history, visits=one.given)
    bands = forecaster.bands(one.subject, one.given)
    horizon = float(one.forecast["time"].max() - one.given["time"].max())
    if future is not None:
        rule: Future = future
        band = bands.fan(horizon, lambda asked: with_changes(cohort, asked, None, [], rule), forecaster.draws)
    else:
        band = pd.concat([bands.level(), one.forecast], ignore_index=True)
    return replace(one, band=band, reference=bands.centiles(horizon), units=cohort.schema.units)


def forecast_subjects(
    forecaster: Forecaster, candidates: list[str], chosen: list[str], group: str
) -> list[SubjectForecast]:
    """The same without an evaluation: forecasts by the model itself, the worst by likelihood among ``candidates``."""
    history = forecaster.history
    own = history.visits[history.visits["subject"].isin([*candidates, *chosen])]
    given, targets = split_history(replace(history, visits=own))
    if targets.empty:
        return []
    log_prob = forecaster.model.log_prob(replace(history, visits=own))
    possible = set(targets["subject"])
    worst_first = log_prob.groupby("subject")["log_prob"].mean().sort_values().index
    ranked = [str(subject) for subject in worst_first if subject in possible and subject in candidates]
    chosen = [subject for subject in chosen if subject in possible]
    drawn = [*chosen, *ranked[:N_DRAWN], *ranked[len(ranked) // 2 :][:1]]
    targets = targets[targets["subject"].isin(drawn)].reset_index(drop=True)
    long = forecaster.at(given, targets[["subject", "time", *covariates_that_change(history)]])
    found = [
        SubjectForecast(
            subject, given.visits[given.visits["subject"] == subject], long[long["subject"] == subject],
            targets[targets["subject"] == subject], f"{text} ({group})",
        )
        for subject, text in _described(ranked, chosen, outside_intervals(long, targets)).items()
    ]  # fmt: skip
    return [_with_bands(one, forecaster, None) for one in found]


def future_forecasts(forecaster: Forecaster, subjects: list[str]) -> list[SubjectForecast]:
    """Forecasts of the years after the last visit."""
    long = forecaster.at(forecaster.history, visits_after(forecaster.history, subjects, YEARS))
    text, end = "the years after the last visit, with covariates carried forward", forecaster.data_end
    found = [
        SubjectForecast(subject, _own(forecaster.history, subject), long[long["subject"] == subject], None, text, end)
        for subject in subjects
    ]
    return [_with_bands(one, forecaster, "carry") for one in found]


def what_ifs(forecaster: Forecaster, subject: str, requested: list[str]) -> list[WhatIf]:
    """Forecasts of a subject for paths of covariates.

    ``requested`` paths (``CDRSB=9@2,DX=Dementia@2``) are drawn in one figure. Without any, low and high values of the
    changing covariates are drawn, one figure per covariate. Raises CohortError for a covariate that the cohort lacks.
    """
    history = forecaster.history
    if requested:
        paths = [[CovariateChange.parse(part, "--what-if") for part in text.split(",")] for text in requested]
        names = "; ".join(changes_text(path) for path in paths)
        text = f"Forecasts of subject {subject}: covariates carried forward, and {names}. "
        text += OTHER_COVARIATES + out_of_range(history, [one for path in paths for one in path]).replace("\n", " ")
        return [_what_if(forecaster, subject, paths, text)]
    found = []
    for name in [n for n in history.covariates if n not in history.schema.fixed][:MAX_COVARIATES]:
        if values := _typical_values(history, name):
            text = f"Forecasts of subject {subject} for values of {name} that occur in the cohort, from the next visit "
            text += f"on. {OTHER_COVARIATES}"
            found.append(_what_if(forecaster, subject, [[value] for value in values], text))
    return found


def with_deviant_regions(forecaster: Forecaster, scores: pd.DataFrame | None) -> pd.DataFrame:
    """Log-likelihoods with outlier scores, and for the largest outliers the region furthest from its prediction.

    ``scores`` are those of an evaluation; without it they are computed.
    """
    history = forecaster.history
    if scores is None:
        scores = with_outlier_scores(forecaster.model.log_prob(history))
    outliers = scores[scores["outlier"].astype(bool)].sort_values("outlier_score", ascending=False)
    subjects = list(dict.fromkeys(outliers["subject"]))[:MAX_NAMED]
    visits = history.visits[history.visits["subject"].isin(subjects)]
    if visits.empty:
        return scores
    z = forecaster.model.score(replace(history, visits=visits), forecaster.draws, forecaster.seed)
    z = z.set_index(["subject", "time"]).filter(regex="_z$")
    z = z[~z.isna().all(axis=1)]
    names = z.columns[np.argmax(np.abs(z.fillna(0.0).to_numpy()), axis=1)] if len(z) else []
    largest = [row[name] for (_, row), name in zip(z.iterrows(), names, strict=True)]
    deviant = pd.DataFrame({"region": [name.removesuffix("_z") for name in names], "z": largest}, z.index)
    deviant.index = pd.MultiIndex.from_tuples(
        [(s, round(float(t), 6)) for s, t in deviant.index], names=["subject", "time"]
    )
    rows = pd.MultiIndex.from_arrays([scores["subject"], scores["time"].round(6)])
    deviant = deviant[~deviant.index.duplicated()].reindex(rows)
    return scores.assign(region=deviant["region"].fillna("").to_numpy(), z=deviant["z"].to_numpy())


def known_subjects(
    history: Cohort | None, visits: pd.DataFrame | None, chosen: list[str], reason: str
) -> list[str]:
    """The names of the chosen subjects; raises CohortError for one that neither the cohort nor the evaluation has."""
    if history is not None:
        chosen = named(history, chosen)
        visits_after(history, chosen, [1.0])
        return chosen
    known = set() if visits is None else set(visits["subject"])
    for subject in chosen:
        if subject not in known:
            raise CohortError(f"--subject {subject}: not among the test subjects, and there is no cohort. {reason}")
    return chosen


def _described(ranked: list[str], chosen: list[str], outside: set[str]) -> dict[str, str]:
    """The subjects to show, and why: the chosen, the worst of those ``outside`` an interval, and the median one."""
    found = dict.fromkeys(chosen, "chosen")
    for place, subject in enumerate([one for one in ranked if one in outside][:N_WORST], 1):
        found.setdefault(subject, "worst forecast" if place == 1 else "second worst forecast")
    if len(ranked) > N_WORST:
        found.setdefault(ranked[len(ranked) // 2], "median forecast")
    return found


def _evaluated(subject: str, text: str, visits: pd.DataFrame, history: Cohort | None) -> SubjectForecast:
    own = visits[visits["subject"] == subject].drop_duplicates(["time", "region"])
    later = own.pivot_table("truth", "time", "region").rename_axis(columns=None).reset_index()
    given = later.iloc[:0].assign(age=np.nan) if history is None else _own(history, subject)
    age = float(given["age"].iloc[0] - given["time"].iloc[0]) if len(given) else np.nan
    given = given[given["time"] < own["time"].min() - 1e-6]
    later, own = (table.assign(age=age + table["time"]) for table in (later, own))
    return SubjectForecast(subject, given, own[["time", "age", "region", *QUANTILES]], later, text)


def _own(history: Cohort, subject: str) -> pd.DataFrame:
    return history.visits[history.visits["subject"] == subject]


def _what_if(forecaster: Forecaster, subject: str, paths: list[list[CovariateChange]], text: str) -> WhatIf:
    history = forecaster.history
    courses = {changes_text(path) or "carried forward": path for path in paths}
    if all(path for path in paths):
        courses = {"carried forward": [], **courses}
    bands, found, fans = forecaster.bands(subject, _own(history, subject)), {}, {}
    for name, path in courses.items():

        def given(asked: pd.DataFrame, path: list[CovariateChange] = path) -> pd.DataFrame:
            return with_changes(history, asked, None, path, "carry")

        found[name] = forecaster.at(history, given(visits_after(history, [subject], YEARS)))
        fans[name] = bands.fan(YEARS[-1], given, forecaster.draws)
    own, units = _own(history, subject), history.schema.units
    return WhatIf(subject, own, found, text, forecaster.data_end, fans, bands.centiles(YEARS[-1]), units)


def _typical_values(history: Cohort, name: str) -> list[CovariateChange]:
    """A low and a high value of a numeric covariate, or the most frequent levels of a categorical one."""
    values = history.visits[name].dropna()
    if history.schema.covariates[name] == "numeric":
        low, high = quantiles_of(values.to_numpy(float), [0.1, 0.9], axis=0) if len(values) else (0.0, 0.0)
        return [CovariateChange(name, f"{value:.3g}", None) for value in (low, high)] if low < high else []
    levels = list(values.value_counts().index[:MAX_LEVELS])
    return [CovariateChange(name, str(level), None) for level in levels] if len(levels) > 1 else []
