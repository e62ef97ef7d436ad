"""Evaluations of several models in one result: by region, horizon and group of subjects; calibration and skill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from crow.cohort.cohort import Cohort
from crow.evaluation.bootstrap import interval, resample_subjects
from crow.evaluation.evaluate_model import ModelEvaluation
from crow.evaluation.forecasts import AGE_NAMES, COVERED, HORIZON_NAMES, in_units, skill, summarise
from crow.evaluation.outlier_score import with_outlier_scores
from crow.evaluation.result import EvaluationResult
from crow.evaluation.simple_baselines import RULES

OURS = "crow"
PIT_BINS = 20
ORDER = {"region": (), "horizon": HORIZON_NAMES, "age band": AGE_NAMES, "sex": (), "diagnosis": (), "site": ()}
SUBJECT_GROUPS = ("age band", "sex", "diagnosis", "site")
SKILLS = {"MAE": "error", "CRPS": "crps", "energy": "energy"}
COVERAGES = [f"coverage {share * 100:.0f} %" for share in COVERED]
VALUE_METRICS = ("MAE", "RMSE", "CRPS", "NLL per value", *COVERAGES)
GROUP_METRICS = ("MAE", "RMSE", "CRPS", "NLL per value", "forecast NLL", "coverage 90 %")
VISIT_METRICS = {"energy": "energy", "forecast NLL": "nll"}
SAME = 5e-4  # nats per visit
MIXED_MODELS = ("multivariate mixed model", "linear mixed model")
LeftOut = tuple[str, str]


def evaluate_forecasts(parts: list[list[ModelEvaluation]], tests: list[Cohort]) -> EvaluationResult:
    """Combine the evaluations of several models on one or more folds.

    Parameters
    ----------
    parts : list of list of ModelEvaluation
        By fold, then by model; the same models in the same order in each fold, crow first.
    tests : list of Cohort
        The test subjects of each fold.

    Returns
    -------
    EvaluationResult
        In ``forecast``, by model: means over values of ``MAE``, ``RMSE``, ``CRPS``, coverage and ``NLL per value``
        (normal density with the mean and sd of the draws); means over visits of ``energy``, ``NLL`` (each visit given
        all earlier visits, hence the likelihood of whole sequences) and ``forecast NLL`` (each forecast visit given
        the history alone), both of the values that were measured, and divided by their number ``NLL per measured
        value`` and ``forecast NLL per measured value``. Log-densities are in nats and original units.
        ``forecast_known_covariates`` are the means over values of forecasts that received the true covariates. Skill is
        1 - error / error of the best simple baseline; ``likelihood_gain`` is the NLL of the best mixed model less that
        of crow, with its interval over subjects.
    """
    models: dict[str, list[ModelEvaluation]] = {}
    left_out: list[LeftOut] = []
    for same in zip(*parts, strict=True):
        if failed := next((one for one in same if one.reason), None):
            left_out.append((failed.name, str(failed.reason)))
        else:
            models[same[0].name] = list(same)
    scores = {name: pd.concat([one.scores for one in each], ignore_index=True) for name, each in models.items()}
    visits = {name: pd.concat([one.visit_scores for one in each], ignore_index=True) for name, each in models.items()}
    forecast: dict[str, dict[str, Any]] = {}
    for name, each in models.items():
        forecast[name] = _means(scores[name])
        forecast[name] |= {metric: _mean(visits[name][column]) for metric, column in _visit_metrics(visits[name])}
        if "nll" in visits[name]:
            per_value = float(visits[name]["nll"].sum() / visits[name]["values"].sum())
            forecast[name]["forecast NLL per measured value"] = per_value
        if all(one.likelihood is not None for one in each):
            forecast[name] |= _nll(each, tests)
        else:
            left_out.append((f"NLL of {name}", "the model has no density."))
        forecast[name]["seconds"] = sum(one.seconds for one in each)
    table = _table(scores, visits, forecast)
    own = _own_units(scores)
    left_out += _missing_groups(scores[OURS])
    skills = _skills(scores, visits)
    if not len(skills):
        left_out.append(("skill", "none of the simple baselines (last, mean, slope) was evaluated."))
    calibration, pit = _calibration(scores[OURS])
    metrics: dict[str, Any] = {
        "unit": "sd" if len(tests[0].regions) > 1 else "the table's unit", "forecast": forecast,
        "by_horizon": _by_horizon(table), "by": _by(table, ("region", *SUBJECT_GROUPS)),
        "own_units": _by(own, ("region",)), "calibration": calibration,
    }  # fmt: skip
    if known := {name: pd.concat([one.known for one in each if one.known is not None]) for name, each in models.items()
                 if all(one.known is not None for one in each)}:  # fmt: skip
        metrics["forecast_known_covariates"] = {name: _means(each) for name, each in known.items()}
    if gain := _likelihood_gain(models):
        metrics["likelihood_gain"] = gain
    tables = {"forecast": table, "own_units": own, "pit": pit}
    if len(skills):
        metrics["skill"] = {
            row["metric"]: {name: row[name] for name in ("reference", "value", "low", "high")}
            for row in skills.to_dict("records")
        }
        tables["skill"] = skills
    tables["visits"] = pd.concat([one.visits for one in models[OURS]], ignore_index=True)
    if "NLL" in forecast[OURS]:
        likelihoods = [one.likelihood for one in models[OURS] if one.likelihood is not None]
        tables["likelihood"] = with_outlier_scores(pd.concat(likelihoods, ignore_index=True))
    return EvaluationResult(metrics, tables, left_out)


def _means(scores: pd.DataFrame) -> dict[str, float]:
    row = summarise(scores).iloc[0]
    return {name: float(row[name]) for name in VALUE_METRICS}


def _visit_metrics(visits: pd.DataFrame) -> list[tuple[str, str]]:
    """The metrics of visits, and their columns."""
    return [(metric, column) for metric, column in VISIT_METRICS.items() if column in visits]


def _mean(values: pd.Series) -> float:
    return float(values.mean())


def _nll(each: list[ModelEvaluation], tests: list[Cohort]) -> dict[str, float]:
    """Nats per visit and per measured value, over the visits with a region."""
    nats, visits, values = 0.0, 0, 0
    for one, test in zip(each, tests, strict=True):
        assert one.likelihood is not None
        nats -= float(one.likelihood["log_prob"].sum())
        visits += len(one.likelihood)
        values += int(test.visits[test.regions].notna().to_numpy().sum())
    return {"NLL": nats / visits, "NLL per measured value": nats / values}


def _likelihood_gain(models: Mapping[str, list[ModelEvaluation]]) -> dict[str, Any]:
    """How much higher the log-likelihood of crow is than that of the best mixed model, in nats per visit.

    Neither was fitted to the subjects. Empty if no mixed model was evaluated.
    """
    found = {name: _log_prob(models[name]) for name in (OURS, *MIXED_MODELS) if name in models}
    densities = {name: each for name, each in found.items() if each is not None}
    own = densities.pop(OURS, None)
    if own is None or not densities:
        return {}
    best = max(densities, key=lambda name: float(densities[name]["log_prob"].sum()))
    more = own.assign(gain=own["log_prob"].to_numpy() - densities[best]["log_prob"].to_numpy())
    by_subject = more.groupby("subject")["gain"].agg(["sum", "size"])
    total, visits = by_subject["sum"].to_numpy(float), by_subject["size"].to_numpy(float)
    chosen = resample_subjects(len(total))
    low, high = interval(total[chosen].sum(1) / visits[chosen].sum(1))
    value = float(total.sum() / visits.sum())
    verdict = "improves on" if value > 0 else "does not improve on"
    sentence = (
        f"crow {verdict} the {best} for these subjects: {value:+.3f} nats per visit (95 % interval {low:+.3f} to "
        f"{high:+.3f})."
    )
    if max(abs(low), abs(high)) < SAME:
        sentence = f"crow is the {best} here: its training found no improvement."
    return {"reference": best, "value": value, "low": float(low), "high": float(high), "sentence": sentence}


def _log_prob(each: list[ModelEvaluation]) -> pd.DataFrame | None:
    parts = [one.likelihood for one in each if one.likelihood is not None]
    return pd.concat(parts, ignore_index=True) if len(parts) == len(each) else None


def _table(
    scores: Mapping[str, pd.DataFrame], visits: Mapping[str, pd.DataFrame], forecast: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """forecast.csv: one row per model, group and metric."""
    parts = []
    for model, values in scores.items():
        subjects = values["subject"].nunique()
        rows = [
            ("all", "all", metric, value, subjects) for metric, value in forecast[model].items() if value is not None
        ]
        parts.append(pd.DataFrame(rows, columns=["by", "group", "metric", "value", "subjects"]).assign(model=model))
        for by in (name for name in ORDER if name in values):
            found = summarise(values, [by]).rename(columns={by: "group"})
            known = {name: k for k, name in enumerate(ORDER[by])}
            if known:
                found = found.sort_values("group", key=lambda column: column.map(known))
            long = found.melt(["group", "subjects"], list(VALUE_METRICS), "metric")
            parts.append(long.assign(by=by, model=model))
            if by != "region" and len(visits[model]):
                groups = values.drop_duplicates(["subject", "time"])[["subject", "time", by]]
                grouped = visits[model].merge(groups, on=["subject", "time"]).groupby(by, sort=False)
                for metric, column in _visit_metrics(visits[model]):
                    means = grouped.agg(value=(column, "mean"), subjects=("subject", "nunique"))
                    parts.append(means.reset_index(names="group").assign(by=by, model=model, metric=metric))
    return pd.concat(parts, ignore_index=True)[["model", "by", "group", "metric", "value", "subjects"]]


def _own_units(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """own_units.csv: MAE, RMSE, CRPS and NLL by region in the table's own units."""
    parts = []
    for model, values in scores.items():
        found = summarise(in_units(values, 1 / values["unit"]), ["region"]).rename(columns={"region": "group"})
        long = found.melt(["group", "subjects"], ["MAE", "RMSE", "CRPS", "NLL per value"], "metric")
        parts.append(long.assign(by="region", model=model))
    return pd.concat(parts, ignore_index=True)[["model", "by", "group", "metric", "value", "subjects"]]


def _by(table: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """``{by: {group: {model: {metric: value}}}}`` of a few metrics, and the subjects of each group."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    rows = table[table["by"].isin(names) & table["metric"].isin(GROUP_METRICS)]
    for row in rows.to_dict("records"):
        group = found.setdefault(row["by"], {}).setdefault(str(row["group"]), {}).setdefault(row["model"], {})
        group[row["metric"]] = float(row["value"])
        group["subjects"] = int(row["subjects"])
    return found


def _missing_groups(scores: pd.DataFrame) -> list[LeftOut]:
    reasons = {"age band": "the cohort has no ages."}
    return [
        (f"forecast by {by}", reasons.get(by, f"no covariate of the run holds the {by}.")) for by in ORDER
        if by not in scores
    ]  # fmt: skip


def _by_horizon(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    rows = table[(table["by"] == "horizon") & table["metric"].isin(GROUP_METRICS)]
    for model, group, metric, value in rows[["model", "group", "metric", "value"]].itertuples(index=False):
        found.setdefault(model, {}).setdefault(group, {})[metric] = float(value)
    return found


def _skills(scores: Mapping[str, pd.DataFrame], visits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per metric: the reference (a simple baseline), the skill, and its 95 % interval over subjects."""
    simple = [rule for rule in RULES if rule in scores]
    rows = []
    for metric, column in SKILLS.items() if simple else ():
        tables = visits if metric == "energy" else scores
        best = min(simple, key=lambda rule: float(tables[rule][column].mean()))
        value, low, high = skill(tables[OURS], tables[best], column)
        rows.append({"metric": metric, "reference": best, "value": value, "low": low, "high": high})
    return pd.DataFrame(rows)


def _calibration(scores: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """Histogram of the PIT, its distance from uniform, and 95 % intervals of the coverage over subjects."""
    edges = np.linspace(0, 1, PIT_BINS + 1)
    shares = np.histogram(scores["pit"], edges)[0] / len(scores)
    names = [f"inside_{share * 100:.0f}" for share in COVERED]
    by_subject = scores.groupby("subject")[names].agg(["sum", "size"])
    hits = by_subject.xs("sum", axis=1, level=1).to_numpy(float)
    count = by_subject.xs("size", axis=1, level=1).to_numpy(float)
    chosen = resample_subjects(len(hits))
    low, high = interval(hits[chosen].sum(1) / count[chosen].sum(1))
    levels = [name.removeprefix("coverage ") for name in COVERAGES]
    found = {
        "pit": shares.tolist(), "ks": float(stats.kstest(scores["pit"], "uniform").statistic),
        "coverage_low": dict(zip(levels, low.tolist(), strict=True)),
        "coverage_high": dict(zip(levels, high.tolist(), strict=True)),
    }  # fmt: skip
    return found, pd.DataFrame({"from": edges[:-1], "to": edges[1:], "share": shares})
