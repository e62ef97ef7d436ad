"""Usefulness: predictors trained on synthetic subjects and tested on real ones ("train on synthetic, test on real")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from crow.evaluation.bootstrap import interval, resample_subjects
from crow.evaluation.contrasts import as_numbers, measure_of
from crow.evaluation.tadpole import multiclass_auc

Values = NDArray[np.float64]
MIN_ROWS = 10  # to train on, and to test on
NEXT_VISIT = "next visit"


class Task(NamedTuple):
    """A prediction task: ``subject [row]``, features ``x [row, feature]`` and targets ``y [row, target]``."""

    subject: NDArray[np.object_]
    x: Values
    y: Values


def usefulness(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    test: pd.DataFrame,
    regions: Sequence[str],
    covariates: Sequence[str],
    resamples: int = 500,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Fit the same predictors to synthetic and to real subjects, and test both on real test subjects.

    A diagnosis is predicted from the regions and the age by logistic regression (AUC, mean over pairs of classes). A
    clinical score is predicted by ridge regression, and so are all regions of the next visit from this visit, the years
    in between and the age (mean absolute error; of regions in sds of the real ones).

    Parameters
    ----------
    real, synthetic, test : DataFrame
        Training visits, synthetic visits and test visits: ``subject``, ``time`` (years), ``age``, covariates and
        regions, one row per visit.
    regions, covariates : sequence of str
        Columns. Covariates that are no measure of disease are skipped.
    resamples, seed : int
        Number of bootstrap samples of test subjects, and their seed.

    Returns
    -------
    table : DataFrame
        One row per task: ``task``, ``metric``, ``synthetic``, ``real``, ``ratio``, ``ratio_low``, ``ratio_high`` and
        ``subjects``. ``ratio`` is 1 if synthetic subjects are as useful as real ones, and lower if they are less
        useful; its 95 % interval is over test subjects.
    left_out : list of (str, str)
        Tasks that are not possible, and the reason.
    """
    rows, left_out = [], []
    scores = [name for name in covariates if measure_of(name) is not None]
    scale = real[list(regions)].std().to_numpy()
    for name in [*scores, NEXT_VISIT]:
        tables = (synthetic, real, test)
        try:
            tasks = [
                next_visit(table, regions, scale) if name == NEXT_VISIT else same_visit(table, regions, name)
                for table in tables
            ]
        except ValueError as reason:
            left_out.append((f"usefulness.{name}", f"{reason}."))
            continue
        is_class = name != NEXT_VISIT and not pd.api.types.is_numeric_dtype(real[name])
        if why_not := _impossible(name, tasks, is_class):
            left_out.append((f"usefulness.{name}", why_not))
            continue
        rows.append({"task": name, **_evaluate(tasks, is_class, resamples, seed)})
    return pd.DataFrame(rows), left_out


def same_visit(visits: pd.DataFrame, regions: Sequence[str], target: str) -> Task:
    """``target`` of a visit from its regions and age; a diagnosis as its stage. Raises ValueError for unknown words."""
    y = as_numbers(visits[target]).to_numpy(float)
    known = ~np.isnan(y)
    x = visits[[*_age(visits), *regions]].to_numpy(float)
    return Task(visits["subject"].to_numpy(object)[known], x[known], y[known, None])


def next_visit(visits: pd.DataFrame, regions: Sequence[str], scale: Values) -> Task:
    """All regions of a visit in units of ``scale``, from those of the previous visit, the years in between and the age.

    Only pairs of complete visits count.
    """
    names = list(regions)
    before = visits.groupby("subject")[["time", *names]].shift()
    years = (visits["time"] - before["time"]).rename("years")
    x = pd.concat([visits[_age(visits)], years, before[names]], axis=1)
    y = visits[names].to_numpy(float) / scale
    complete = before.notna().all(axis=1).to_numpy() & ~np.isnan(y).any(1)
    return Task(visits["subject"].to_numpy(object)[complete], x.to_numpy(float)[complete], y[complete])


def _evaluate(tasks: list[Task], is_class: bool, resamples: int, seed: int) -> dict[str, str | float | int]:
    """``tasks`` are those of synthetic, real and test subjects."""
    test, models = tasks[-1], [_fitted(is_class, task) for task in tasks[:2]]
    predicted = [np.asarray(m.predict_proba(test.x) if is_class else m.predict(test.x)) for m in models]
    classes = np.unique(tasks[0].y)
    subjects, rows = np.unique(test.subject, return_inverse=True)
    by_subject = [np.flatnonzero(rows == k) for k in range(len(subjects))]

    def both(chosen: NDArray[np.int_]) -> tuple[float, float]:
        a, b = (_score(is_class, test.y[chosen], each[chosen], classes) for each in predicted)
        return a, b

    def ratio(synthetic: float, real: float) -> float:
        top, bottom = (synthetic, real) if is_class else (real, synthetic)
        return top / bottom if bottom else float("nan")

    synthetic, real = both(np.arange(len(test.y)))
    low, high = interval(np.array([
        ratio(*both(np.concatenate([by_subject[k] for k in chosen])))
        for chosen in resample_subjects(len(subjects), resamples, seed)
    ]))  # fmt: skip
    return {
        "metric": "AUC" if is_class else "MAE", "synthetic": synthetic, "real": real, "ratio": ratio(synthetic, real),
        "ratio_low": float(low), "ratio_high": float(high), "subjects": len(subjects),
    }  # fmt: skip


def _fitted(is_class: bool, task: Task) -> Pipeline:
    last = LogisticRegression(max_iter=2000) if is_class else RidgeCV(np.logspace(-1, 4, 11))
    model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), last)
    return model.fit(task.x, task.y.ravel() if task.y.shape[1] == 1 else task.y)


def _score(is_class: bool, y: Values, predicted: Values, classes: Values) -> float:
    if not is_class:
        return float(np.abs(predicted.reshape(y.shape) - y).mean())
    return multiclass_auc(np.searchsorted(classes, y.ravel()), predicted)


def _impossible(name: str, tasks: list[Task], is_class: bool) -> str:
    """Why a task is not possible; empty if it is."""
    if (fewest := min(len(task.y) for task in tasks)) < MIN_ROWS:
        return f"{fewest} visits are available: at least {MIN_ROWS} are needed to train on, and to test on."
    if is_class:
        classes = [set(np.unique(task.y)) for task in tasks]
        if min(map(len, classes)) < 2:
            return f"{name} is the same at all visits of the training, synthetic or test subjects."
        if classes[0] != classes[1] or not classes[2] <= classes[1]:
            return f"some values of {name} do not occur among the training or synthetic subjects."
    elif not all(task.y.std() for task in tasks):
        return f"{name} is the same at all visits."
    return ""


def _age(visits: pd.DataFrame) -> list[str]:
    return ["age"] if "age" in visits and visits["age"].notna().any() else []
