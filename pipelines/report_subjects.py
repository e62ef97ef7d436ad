"""What the report asks a model of single subjects: forecasts beside what came, years to come, and what-ifs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.errors import CohortError
from crow.evaluation.forecasts import split_history
from crow.evaluation.outlier_score import LIMIT, outlier_score
from crow.models.crow import CRow
from crow.pipelines.covariate_paths import CovariateChange, changes_text, out_of_range, visits_after, with_changes
from crow.report.sections.forecasts import Told, WhatIf

YEARS = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0]  # after the last visit
QUANTILES = ["median", "q05", "q25", "q75", "q95"]
WORST, COVARIATES, LEVELS, NAMED = 2, 2, 4, 12
OTHERS = "Other covariates stay as they were at the last visit, those too that usually change along. "
JUDGED_BY = (
    "Each subject was forecast from its first visits; dots are what the model was given, diamonds what came. The worst "
    "subjects are those with the largest mean CRPS, region by region in units of its mean over all judged subjects."
)
TOLD_BY = (
    "Each subject was forecast from the first half of its visits, with the covariates of the others as they came; dots "
    "are what the model was given, diamonds what came. The worst subjects are those whose visits are least likely."
)


@dataclass(frozen=True)
class Question:
    """The model with the visits to ask it about, and how it draws."""

    model: CRow
    history: Cohort
    samples: int
    seed: int


def judged(visits: pd.DataFrame, history: Cohort | None, chosen: list[str]) -> list[Told]:
    """The chosen, the worst and a usual subject of an evaluation's visits.csv (a row a visit and region)."""
    usual = visits.groupby("region")["crps"].transform("mean")
    ranked = (visits["crps"] / usual.where(usual > 0)).groupby(visits["subject"]).mean().sort_values(ascending=False)
    return [_judged(subject, why, visits, history) for subject, why in _named(list(ranked.index), chosen).items()]


def told(question: Question, candidates: list[str], chosen: list[str], whose: str) -> list[Told]:
    """The same where nothing was evaluated: forecasts by the model itself, worst by likelihood among ``candidates``."""
    history = question.history
    own = history.visits[history.visits["subject"].isin([*candidates, *chosen])]
    given, targets = split_history(Cohort(own, history.schema, history.start, path=history.path))
    if targets.empty:
        return []
    nats = question.model.log_prob(Cohort(own, history.schema, history.start, path=history.path))
    able = set(targets["subject"])
    worst_first = nats.groupby("subject")["log_prob"].mean().sort_values().index
    ranked = [str(subject) for subject in worst_first if subject in able]
    found = _named([subject for subject in ranked if subject in candidates], [s for s in chosen if s in able])
    targets = targets[targets["subject"].isin(found)].reset_index(drop=True)
    asked = targets[["subject", "time", *history.covariates]]
    long = question.model.forecast(given, asked, "carry", question.samples, question.seed).long
    return [
        Told(
            subject, given.visits[given.visits["subject"] == subject], long[long["subject"] == subject],
            targets[targets["subject"] == subject], f"{why} ({whose})",
        )
        for subject, why in found.items()
    ]  # fmt: skip


def coming(question: Question, subjects: list[str]) -> list[Told]:
    """The years after the last visit of some subjects."""
    visits = visits_after(question.history, subjects, YEARS)
    long = question.model.forecast(question.history, visits, "carry", question.samples, question.seed).long
    why = "the years after its last visit, covariates carried forward"
    return [Told(s, _own(question.history, s), long[long["subject"] == s], None, why) for s in subjects]


def what_ifs(question: Question, subject: str, asked: list[str]) -> list[WhatIf]:
    """The subject's years to come under the courses ``asked`` (``CDRSB=9@2,DX=Dementia@2``, one picture for all), or
    under low and high values of the covariates that change, a picture each.

    Raises CohortError for a covariate that the cohort does not have.
    """
    if asked:
        paths = [[CovariateChange.parse(part, "--what-if") for part in text.split(",")] for text in asked]
        about = f"Subject {subject}: the covariates carried forward, and {'; '.join(changes_text(p) for p in paths)}. "
        about += OTHERS + out_of_range(question.history, [one for path in paths for one in path])
        return [_what_if(question, subject, paths, about)]
    found = []
    for name in [n for n in question.history.covariates if n not in question.history.schema.fixed][:COVARIATES]:
        if courses := _courses(question.history, name):
            about = f"Subject {subject} under courses of {name} that occur in the cohort, from the next visit on. "
            about += OTHERS
            found.append(_what_if(question, subject, [[course] for course in courses], about))
    return found


def scored(question: Question, scores: pd.DataFrame | None) -> pd.DataFrame:
    """Log-likelihoods with their outlier_score (``scores`` where they are known), and of the most unusual visits the region
    that lies furthest from what the subject's past predicts."""
    if scores is None:
        nats = question.model.log_prob(question.history)
        how = outlier_score(nats)
        scores = nats.assign(outlier_score=how, unusual=how > LIMIT)
    history, unusual = question.history, scores[scores["unusual"].astype(bool)]
    first = list(dict.fromkeys(unusual.sort_values("outlier_score", ascending=False)["subject"]))[:NAMED]
    theirs = history.visits[history.visits["subject"].isin(first)]
    if theirs.empty:
        return scores
    part = Cohort(theirs, history.schema, history.start, path=history.path)
    z = question.model.score(part, question.samples, question.seed).set_index(["subject", "time"]).filter(regex="_z$")
    z = z[~z.isna().all(axis=1)]
    names = z.columns[np.argmax(np.abs(z.fillna(0.0).to_numpy()), axis=1)] if len(z) else []
    largest = [row[name] for (_, row), name in zip(z.iterrows(), names, strict=True)]
    far = pd.DataFrame({"region": [name.removesuffix("_z") for name in names], "z": largest}, z.index)
    far.index = pd.MultiIndex.from_tuples([(s, round(float(t), 6)) for s, t in far.index], names=["subject", "time"])
    at = pd.MultiIndex.from_arrays([scores["subject"], scores["time"].round(6)])
    far = far[~far.index.duplicated()].reindex(at)
    return scores.assign(region=far["region"].fillna("").to_numpy(), z=far["z"].to_numpy())


def _named(ranked: list[str], chosen: list[str]) -> dict[str, str]:
    """Who is shown and why: the chosen, the worst, and the one in the middle."""
    found = dict.fromkeys(chosen, "chosen")
    for place, subject in enumerate(ranked[:WORST], 1):
        found.setdefault(subject, "the worst" if place == 1 else f"the {place}nd worst")
    if len(ranked) > WORST:
        found.setdefault(ranked[len(ranked) // 2], "as good as most")
    return found


def _judged(subject: str, why: str, visits: pd.DataFrame, history: Cohort | None) -> Told:
    own = visits[visits["subject"] == subject].drop_duplicates(["time", "region"])
    later = own.pivot_table("truth", "time", "region").rename_axis(columns=None).reset_index()
    given = later.iloc[:0].assign(age=np.nan) if history is None else _own(history, subject)
    age = float(given["age"].iloc[0] - given["time"].iloc[0]) if len(given) else np.nan
    given = given[given["time"] < own["time"].min() - 1e-6]
    later, own = (table.assign(age=age + table["time"]) for table in (later, own))
    return Told(subject, given, own[["time", "age", "region", *QUANTILES]], later, why)


def _own(history: Cohort, subject: str) -> pd.DataFrame:
    return history.visits[history.visits["subject"] == subject]


def _what_if(question: Question, subject: str, paths: list[list[CovariateChange]], about: str) -> WhatIf:
    history = question.history
    visits = visits_after(history, [subject], YEARS)
    found = {}
    for known in paths:
        given = with_changes(history, visits, None, known, "carry")
        draws = question.model.forecast(history, given, "carry", question.samples, question.seed)
        found[changes_text(known) or "carried forward"] = draws.long
    if all(known for known in paths):
        carried = question.model.forecast(history, visits, "carry", question.samples, question.seed).long
        found = {"carried forward": carried, **found}
    return WhatIf(subject, _own(history, subject), found, about)


def _courses(history: Cohort, name: str) -> list[CovariateChange]:
    """Values of a covariate that are worth a course: a low and a high one of a number, the usual levels of a name."""
    values = history.visits[name].dropna()
    if history.schema.covariates[name] == "numeric":
        low, high = values.astype(float).quantile([0.1, 0.9]) if len(values) else (0.0, 0.0)
        return [CovariateChange(name, f"{value:.3g}", None) for value in (low, high)] if low < high else []
    levels = list(values.value_counts().index[:LEVELS])
    return [CovariateChange(name, str(level), None) for level in levels] if len(levels) > 1 else []


def check_subjects(history: Cohort | None, visits: pd.DataFrame | None, chosen: list[str], reason: str) -> None:
    """Raise CohortError for a subject that neither the cohort nor the evaluation has."""
    if history is not None:
        visits_after(history, chosen, [1.0])
        return
    known = set() if visits is None else set(visits["subject"])
    for subject in chosen:
        if subject not in known:
            raise CohortError(f"--subject {subject}: not among the judged subjects, and there is no cohort. {reason}")
