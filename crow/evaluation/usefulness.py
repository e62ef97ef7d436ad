"""Usefulness: what is learned from synthetic people, judged on real ones ("train on synthetic, test on real")."""

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

from crow.evaluation.contrasts import as_numbers, measure_of
from crow.evaluation.tadpole import multiclass_auc

Values = NDArray[np.float64]
FEWEST = 10  # rows to learn from, and to judge
NEXT = "next visit"


class Task(NamedTuple):
    """Rows of ``subject``, what is known ``x [row, feature]`` and what is to be predicted ``y [row, target]``."""

    subject: NDArray[np.object_]
    x: Values
    y: Values


def usefulness(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    held_out: pd.DataFrame,
    regions: Sequence[str],
    covariates: Sequence[str],
    draws: int = 500,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """One row a task: ``metric, synthetic, real, ratio, ratio_low, ratio_high, subjects``; and what was left out.

    The same model is fitted to ``synthetic`` and to ``real`` visits and judged on ``held_out`` ones. A diagnosis is
    told from the regions and the age by logistic regression (area under the curve, mean over pairs of classes); a
    clinical score by ridge regression, and so are all regions of the next visit from this one, the years between and
    the age (mean absolute error; of regions in sds of the real ones). ``ratio`` is 1 where synthetic people teach as
    much as real ones, below it where less; its 95 % interval is over resampled held-out subjects. Tables have subject,
    time, age, covariates and regions, a row a visit.
    """
    rows, left_out = [], []
    measured = [name for name in covariates if measure_of(name) is not None]
    scale = real[list(regions)].std().to_numpy()
    for name in [*measured, NEXT]:
        tables = (synthetic, real, held_out)
        try:
            tasks = [next_visit(t, regions, scale) if name == NEXT else same_visit(t, regions, name) for t in tables]
        except ValueError as reason:
            left_out.append((f"usefulness.{name}", f"{reason}."))
            continue
        is_class = name != NEXT and not pd.api.types.is_numeric_dtype(real[name])
        if why := _unusable(name, tasks, is_class):
            left_out.append((f"usefulness.{name}", why))
            continue
        rows.append({"task": name, **_judge(tasks, is_class, draws, seed)})
    return pd.DataFrame(rows), left_out


def same_visit(visits: pd.DataFrame, regions: Sequence[str], target: str) -> Task:
    """``target`` of a visit from its regions and age; a diagnosis as its stage. Raises ValueError for unknown words."""
    y = as_numbers(visits[target]).to_numpy(float)
    known = ~np.isnan(y)
    x = visits[[*_age(visits), *regions]].to_numpy(float)
    return Task(visits["subject"].to_numpy(object)[known], x[known], y[known, None])


def next_visit(visits: pd.DataFrame, regions: Sequence[str], scale: Values) -> Task:
    """All regions of a visit, in units of ``scale``, from those of the visit before it, the years between and the age;
    only where all were measured."""
    names = list(regions)
    before = visits.groupby("subject")[["time", *names]].shift()
    years = (visits["time"] - before["time"]).rename("years")
    x = pd.concat([visits[_age(visits)], years, before[names]], axis=1)
    y = visits[names].to_numpy(float) / scale
    whole = before.notna().all(axis=1).to_numpy() & ~np.isnan(y).any(1)
    return Task(visits["subject"].to_numpy(object)[whole], x.to_numpy(float)[whole], y[whole])


def _judge(tasks: list[Task], is_class: bool, draws: int, seed: int) -> dict[str, str | float | int]:
    test, models = tasks[-1], [_model(is_class, task) for task in tasks[:2]]
    predicted = [np.asarray(m.predict_proba(test.x) if is_class else m.predict(test.x)) for m in models]
    classes = np.unique(tasks[0].y)
    subjects, rows = np.unique(test.subject, return_inverse=True)
    by_subject = [np.flatnonzero(rows == k) for k in range(len(subjects))]
    rng = np.random.default_rng(seed)

    def both(chosen: NDArray[np.int_]) -> tuple[float, float]:
        a, b = (_score(is_class, test.y[chosen], each[chosen], classes) for each in predicted)
        return a, b

    def ratio(a: float, b: float) -> float:
        top, bottom = (a, b) if is_class else (b, a)
        return top / bottom if bottom else float("nan")

    a, b = both(np.arange(len(test.y)))
    resampled = [
        ratio(*both(np.concatenate([by_subject[k] for k in rng.integers(len(subjects), size=len(subjects))])))
        for _ in range(draws)
    ]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return {
        "metric": "AUC" if is_class else "MAE", "synthetic": a, "real": b, "ratio": ratio(a, b),
        "ratio_low": float(low), "ratio_high": float(high), "subjects": len(subjects),
    }  # fmt: skip


def _model(is_class: bool, task: Task) -> Pipeline:
    last = LogisticRegression(max_iter=2000) if is_class else RidgeCV(np.logspace(-1, 4, 11))
    model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), last)
    return model.fit(task.x, task.y.ravel() if task.y.shape[1] == 1 else task.y)


def _score(is_class: bool, y: Values, predicted: Values, classes: Values) -> float:
    if not is_class:
        return float(np.abs(predicted.reshape(y.shape) - y).mean())
    return multiclass_auc(np.searchsorted(classes, y.ravel()), predicted)


def _unusable(name: str, tasks: list[Task], is_class: bool) -> str:
    """Why a task cannot be judged; nothing where it can."""
    if (fewest := min(len(task.y) for task in tasks)) < FEWEST:
        return f"{fewest} visits tell of it: at least {FEWEST} are needed to learn from, and to judge."
    if is_class:
        classes = [set(np.unique(task.y)) for task in tasks]
        if min(map(len, classes)) < 2:
            return f"{name} is the same at all visits of training, synthetic or held-out people."
        if classes[0] != classes[1] or not classes[2] <= classes[1]:
            return f"training people do not have every {name} that held-out people have."
    elif not all(task.y.std() for task in tasks):
        return f"{name} is the same at all visits."
    return ""


def _age(visits: pd.DataFrame) -> list[str]:
    return ["age"] if "age" in visits and visits["age"].notna().any() else []
