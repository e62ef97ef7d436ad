"""What judged models come to: one table of all, by region, horizon and group of people; calibration and skill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from crow.cohort.cohort import Cohort
from crow.evaluation.evaluate_model import ModelEvaluation
from crow.evaluation.forecasts import AGE_NAMES, COVERED, HORIZON_NAMES, in_units, skill, summarise
from crow.evaluation.outlier_score import LIMIT, outlier_score
from crow.evaluation.result import EvaluationResult
from crow.evaluation.simple_baselines import RULES

OURS = "crow"
BINS, RESAMPLED = 20, 1000
ORDER = {"region": (), "horizon": HORIZON_NAMES, "age band": AGE_NAMES, "sex": (), "diagnosis": (), "site": ()}
PEOPLE = ("age band", "sex", "diagnosis", "site")
SKILLS = {"MAE": "error", "CRPS": "crps", "energy": "energy"}
COVERS = [f"covers {share * 100:.0f} %" for share in COVERED]
OF_VALUES = ("MAE", "RMSE", "CRPS", "NLL a value", *COVERS)
SHOWN = ("MAE", "RMSE", "CRPS", "NLL a value", "NLL ahead", "covers 90 %")
OF_VISITS = {"energy": "energy", "NLL ahead": "nll"}
Pair = tuple[str, str]


def evaluate_forecasts(parts: list[list[ModelEvaluation]], tests: list[Cohort]) -> EvaluationResult:
    """Forecasts and likelihoods of the same models, in the same order, on each of ``tests``; crow is the first.

    Errors are means over values, NLL over visits of which every region was measured (the visits before a visit are
    all given, so it is that of whole sequences) and, as ``NLL ahead``, over those that are forecast, each given the
    history alone; ``NLL a value`` is by the normal distribution with the mean and sd of draws. All in nats, in the
    table's own units. Skill is 1 - error / that of the best simple baseline.
    """
    models: dict[str, list[ModelEvaluation]] = {}
    left_out: list[Pair] = []
    for same in zip(*parts, strict=True):
        if bad := next((one for one in same if one.why_not), None):
            left_out.append((bad.name, str(bad.why_not)))
        else:
            models[same[0].name] = list(same)
    scores = {name: pd.concat([one.scores for one in each], ignore_index=True) for name, each in models.items()}
    visits = {name: pd.concat([one.visit_scores for one in each], ignore_index=True) for name, each in models.items()}
    forecast: dict[str, dict[str, Any]] = {}
    for name, each in models.items():
        forecast[name] = _numbers(scores[name])
        forecast[name] |= {metric: _mean(visits[name][column]) for metric, column in _measured(visits[name])}
        if all(one.likelihood is not None for one in each):
            forecast[name]["NLL"] = _nll(each, tests)
        else:
            left_out.append((f"NLL of {name}", "the model has no likelihood."))
        forecast[name]["seconds"] = sum(one.seconds for one in each)
    table = _table(scores, visits, forecast)
    own = _own_units(scores)
    left_out += _groups_left_out(scores[OURS])
    skills, why_not = _skills(scores, visits)
    left_out += why_not
    calibration, pit = _calibration(scores[OURS])
    metrics: dict[str, Any] = {
        "unit": "sd" if len(tests[0].regions) > 1 else "the table's", "forecast": forecast,
        "by_horizon": _by_horizon(table), "by": _by(table, ("region", *PEOPLE)), "own_units": _by(own, ("region",)),
        "calibration": calibration,
    }  # fmt: skip
    tables = {"forecast": table, "own_units": own, "pit": pit}
    if len(skills):
        metrics["skill"] = {
            row["metric"]: {name: row[name] for name in ("against", "value", "low", "high")}
            for row in skills.to_dict("records")
        }
        tables["skill"] = skills
    tables["visits"] = pd.concat([one.visits for one in models[OURS]], ignore_index=True)
    if "NLL" in forecast[OURS]:
        nats = pd.concat([one.likelihood for one in models[OURS] if one.likelihood is not None], ignore_index=True)
        how = outlier_score(nats)
        tables["likelihood"] = nats.assign(outlier_score=how, unusual=how > LIMIT)
    return EvaluationResult(metrics, tables, left_out)


def _numbers(scores: pd.DataFrame) -> dict[str, float]:
    row = summarise(scores).iloc[0]
    return {name: float(row[name]) for name in OF_VALUES}


def _measured(visits: pd.DataFrame) -> list[Pair]:
    """Of a visit: metrics and their columns."""
    return [(metric, column) for metric, column in OF_VISITS.items() if column in visits]


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) else None


def _nll(each: list[ModelEvaluation], tests: list[Cohort]) -> float | None:
    """Nats a visit of which every region was measured."""
    kept = []
    for one, test in zip(each, tests, strict=True):
        assert one.likelihood is not None
        regions = test.visits[test.regions]
        whole = regions[regions.notna().any(axis=1)].notna().all(axis=1).to_numpy()
        kept.append(one.likelihood["log_prob"].to_numpy(float)[whole])
    nats = np.concatenate(kept)
    return -float(nats.mean()) if len(nats) else None


def _table(
    scores: Mapping[str, pd.DataFrame], visits: Mapping[str, pd.DataFrame], forecast: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """forecast.csv: a row a model, group of values (of the energy score and NLL ahead: of visits), and metric."""
    parts = []
    for model, of in scores.items():
        people = of["subject"].nunique()
        rows = [("all", "all", metric, value, people) for metric, value in forecast[model].items() if value is not None]
        parts.append(pd.DataFrame(rows, columns=["by", "group", "metric", "value", "subjects"]).assign(model=model))
        for by in (name for name in ORDER if name in of):
            found = summarise(of, [by]).rename(columns={by: "group"})
            known = {name: k for k, name in enumerate(ORDER[by])}
            if known:
                found = found.sort_values("group", key=lambda column: column.map(known))
            long = found.melt(["group", "subjects"], list(OF_VALUES), "metric")
            parts.append(long.assign(by=by, model=model))
            if by != "region" and len(visits[model]):
                of_visit = of.drop_duplicates(["subject", "time"])[["subject", "time", by]]
                whole = visits[model].merge(of_visit, on=["subject", "time"]).groupby(by, sort=False)
                for metric, column in _measured(visits[model]):
                    means = whole.agg(value=(column, "mean"), subjects=("subject", "nunique"))
                    parts.append(means.reset_index(names="group").assign(by=by, model=model, metric=metric))
    return pd.concat(parts, ignore_index=True)[["model", "by", "group", "metric", "value", "subjects"]]


def _own_units(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """own_units.csv: MAE, RMSE, CRPS and NLL by region in the table's own units."""
    parts = []
    for model, of in scores.items():
        found = summarise(in_units(of, 1 / of["unit"]), ["region"]).rename(columns={"region": "group"})
        long = found.melt(["group", "subjects"], ["MAE", "RMSE", "CRPS", "NLL a value"], "metric")
        parts.append(long.assign(by="region", model=model))
    return pd.concat(parts, ignore_index=True)[["model", "by", "group", "metric", "value", "subjects"]]


def _by(table: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """``{by: {group: {model: {metric: value}}}}`` of a few metrics, and the subjects of each group."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    rows = table[table["by"].isin(names) & table["metric"].isin(SHOWN)]
    for row in rows.to_dict("records"):
        of = found.setdefault(row["by"], {}).setdefault(str(row["group"]), {}).setdefault(row["model"], {})
        of[row["metric"]] = float(row["value"])
        of["subjects"] = int(row["subjects"])
    return found


def _groups_left_out(scores: pd.DataFrame) -> list[Pair]:
    why = {"age band": "the cohort has no ages."}
    return [
        (f"forecast by {by}", why.get(by, f"no covariate of the run tells the {by}.")) for by in ORDER
        if by not in scores
    ]  # fmt: skip


def _by_horizon(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    rows = table[(table["by"] == "horizon") & table["metric"].isin(SHOWN)]
    for model, group, metric, value in rows[["model", "group", "metric", "value"]].itertuples(index=False):
        found.setdefault(model, {}).setdefault(group, {})[metric] = float(value)
    return found


def _skills(
    scores: Mapping[str, pd.DataFrame], visits: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, list[Pair]]:
    """A row a metric: against which simple baseline, the skill, and its 95 % interval over resampled subjects."""
    simple = [rule for rule in RULES if rule in scores]
    if not simple:
        why = "it is against the best of the baselines last, mean and slope, and none of these was asked for."
        return pd.DataFrame(), [("skill", why)]
    rows = []
    for metric, column in SKILLS.items():
        tables = visits if metric == "energy" else scores
        if not len(tables[OURS]):
            continue
        best = min(simple, key=lambda rule: float(tables[rule][column].mean()))
        value, low, high = skill(tables[OURS], tables[best], column, RESAMPLED)
        rows.append({"metric": metric, "against": best, "value": value, "low": low, "high": high})
    left_out = [] if len(rows) == len(SKILLS) else [("energy", "no visit to forecast has every region measured.")]
    return pd.DataFrame(rows), left_out


def _calibration(scores: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """Shares of the PIT, its distance from uniform, and 95 % intervals of coverage over resampled subjects."""
    edges = np.linspace(0, 1, BINS + 1)
    shares = np.histogram(scores["pit"], edges)[0] / len(scores)
    names = [f"inside_{share * 100:.0f}" for share in COVERED]
    by_subject = scores.groupby("subject")[names].agg(["sum", "size"])
    hits = by_subject.xs("sum", axis=1, level=1).to_numpy(float)
    count = by_subject.xs("size", axis=1, level=1).to_numpy(float)
    chosen = np.random.default_rng(0).integers(len(hits), size=(RESAMPLED, len(hits)))
    low, high = np.quantile(hits[chosen].sum(1) / count[chosen].sum(1), [0.025, 0.975], axis=0)
    levels = [name.removeprefix("covers ") for name in COVERS]
    found = {
        "pit": shares.tolist(), "ks": float(stats.kstest(scores["pit"], "uniform").statistic),
        "covers_low": dict(zip(levels, low.tolist(), strict=True)),
        "covers_high": dict(zip(levels, high.tolist(), strict=True)),
    }  # fmt: skip
    return found, pd.DataFrame({"from": edges[:-1], "to": edges[1:], "share": shares})
