"""An evaluation folder in the format of crow evaluate, with made-up numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crow.cohort import Cohort

MODELS = ("crow", "last visit", "subject slope", "mixed model")
SHARES = (50, 80, 90, 95)
HORIZONS = ("0-1 y", "1-2 y", "2-4 y", ">4 y")


def make_evaluation(folder: Path, cohort: Cohort, subjects: list[str], seed: int = 0) -> dict[str, Any]:
    """Write the folder for some subjects of a cohort; returns the metrics."""
    rng = np.random.default_rng(seed)
    regions, errors = cohort.regions, {m: 0.31 + 0.05 * k for k, m in enumerate(MODELS)}
    one = {m: _scores(e) for m, e in errors.items()}
    metrics: dict[str, Any] = {
        "format": 1,
        "protocol": {"split": "the run's test subjects", "subjects": len(subjects), "versions": {"x": "1.2"}},
        "unit": "sd", "forecast": one, "forecast_known_covariates": {"crow": {"MAE": 0.2871, "CRPS": 0.2013}},
        "likelihood_gain": {"reference": "mixed model", "value": 0.271, "low": 0.114, "high": 0.423,
                            "sentence": "crow improves on the mixed model for these subjects: +0.271 nats per visit."},
        "by_horizon": {m: {h: _scores(e * (0.8 + 0.2 * k)) for k, h in enumerate(HORIZONS)} for m, e in errors.items()},
        "by": {"sex": {g: {m: _of_group(e, n) for m, e in errors.items()} for g, n in (("F", 4), ("M", 2))}},
        "own_units": {"region": {r: {m: _own(e) for m, e in errors.items()} for r in regions}},
        "skill": {
            k: {"reference": "mixed model", "value": 0.0812, "low": 0.021, "high": 0.137} for k in ("MAE", "CRPS")
        },
        "calibration": {"pit": (np.full(20, 0.05) + 0.01 * np.cos(np.linspace(0, 6.28, 20))).tolist(), "ks": 0.0213,
                        "coverage_low": {f"{n} %": n / 100 - 0.0469 for n in SHARES},
                        "coverage_high": {f"{n} %": n / 100 + 0.0412 for n in SHARES}},
        "distribution": {"wasserstein": 0.1134, "wasserstein_real": 0.0981, "discriminator_auc": 0.5613},
        "usefulness": {"DX": {"metric": "AUC", "synthetic": 0.6987, "real": 0.7123, "ratio": 0.98, "subjects": 24}},
        "group_effects": {"DX CN against Dementia": {"concordance": 0.9312, "concordance_low": 0.871,
                          "concordance_high": 0.962, "significant_real": 4, "significant_synthetic": 5}},
        "privacy": {"verdict": "pass", "reasons": ["Distance ratio 0.98, membership AUC 0.52."],
                    "nearest_distance_ratio": 0.9813, "membership_auc": 0.5217},
        "left_out": [{"metric": "tadpole", "reason": "the cohort has no ADAS13 <and no> Ventricles"}],
        "warnings": ["Only 24 test subjects: intervals are <wide> & rough."],
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    _forecast_table(errors, regions, rng).to_csv(folder / "forecast.csv", index=False)
    _visits_table(cohort, subjects, rng).to_csv(folder / "visits.csv", index=False)
    _likelihoods(cohort, subjects, rng).to_csv(folder / "likelihood.csv", index=False)
    d = np.linspace(-0.9, 0.6, len(regions))
    effects = pd.DataFrame({"contrast": "DX CN against Dementia", "region": regions, "d_real": d,
                            "d_real_low": d - 0.2, "d_real_high": d + 0.2, "d_synthetic": d * 0.9 + 0.03,
                            "d_synthetic_low": d * 0.9 - 0.15, "d_synthetic_high": d * 0.9 + 0.18})  # fmt: skip
    effects.to_csv(folder / "group_effects.csv", index=False)
    return metrics


def _scores(error: float) -> dict[str, float]:
    covers = {f"coverage {share} %": min(1.0, share / 100 + error / 10 - 0.03) for share in SHARES}
    errors = {"MAE": error, "RMSE": 1.3 * error, "CRPS": 0.71234 * error, "energy": 2.1 * error}
    return {**errors, **covers, "NLL": 40 + error, "forecast NLL": 30 + error}


def _own(error: float) -> dict[str, float]:
    return {"MAE": 9 * error, "CRPS": 6 * error, "NLL per value": 3 + error}


def _of_group(error: float, subjects: int) -> dict[str, float]:
    return {"CRPS": error, "forecast NLL": 29 + error, "subjects": subjects}


def _forecast_table(errors: dict[str, float], regions: list[str], rng: np.random.Generator) -> pd.DataFrame:
    groups = [*(("horizon", h) for h in HORIZONS), *(("region", r) for r in regions), ("sex", "F"), ("sex", "M")]
    return pd.DataFrame([
        {"model": m, "by": by, "group": group, "metric": metric, "value": error * scale * rng.uniform(0.8, 1.2)}
        for m, error in errors.items() for by, group in groups for metric, scale in (("MAE", 1.0), ("CRPS", 0.71))
    ])  # fmt: skip


def _visits_table(cohort: Cohort, subjects: list[str], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for subject, own in cohort.visits[cohort.visits["subject"].isin(subjects)].groupby("subject", sort=False):
        given = (len(own) + 1) // 2
        for _, visit in own.iloc[given:].iterrows():
            ahead = float(visit["time"] - own["time"].iloc[given - 1])
            for region in cohort.regions:
                sd = float(cohort.visits[region].std()) * 0.1 * (1 + ahead)
                middle = float(visit[region]) + sd * rng.normal()
                error = abs(middle - float(visit[region]))
                rows.append({"subject": subject, "session": visit["session"], "time": visit["time"], "ahead": ahead,
                             "region": region, "truth": visit[region], "median": middle, "q05": middle - 1.64 * sd,
                             "q25": middle - 0.67 * sd, "q75": middle + 0.67 * sd, "q95": middle + 1.64 * sd,
                             "error": error, "crps": 0.7 * error, "pit": rng.uniform()})  # fmt: skip
    return pd.DataFrame(rows)


def _likelihoods(cohort: Cohort, subjects: list[str], rng: np.random.Generator) -> pd.DataFrame:
    own = cohort.visits.loc[cohort.visits["subject"].isin(subjects), ["subject", "session", "time"]]
    outlier_score = rng.normal(size=len(own)) + 6 * (np.arange(len(own)) == 2)
    return own.assign(log_prob=-48 - outlier_score, outlier_score=outlier_score, outlier=outlier_score > 4)
