"""`crow evaluate --folds 4` of the defaults beside all baselines, on a simulated and on a public cohort.

    python benchmarks/evaluate_cohorts.py [--only adni_like_0] [--folds 4] [--seed 0] [--baselines all]

The simulated cohort is ADNI-like (`tables`: 200 subjects, up to 8 visits, 10 regions), the public one is leaspy's (200
subjects, 7 scores). In each fold every model is fitted to the subjects of the other folds and forecasts the later half
of each test subject's visits with known covariates. MAE and CRPS are in sds of the training visits, NLL is in nats per
visit of whole sequences. ``reached`` tells whether crow has the lowest NLL, CRPS and MAE, and 90 % intervals with a
coverage of 87 to 93 %. leaspy is included if it is installed; ``leaspy_forecast.py`` runs it on a single split. The
published objective is left out by default: it does not use the history, and trains for more than half an hour per fold
of the public cohort; see `group_effects.py`.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from tables import PUBLIC, simulated
from timing import write

from crow.cohort import read_cohort
from crow.evaluation.baselines import BASELINES
from crow.evaluation.comparison import compare_folds
from crow.evaluation.forecast_evaluation import OURS
from crow.run.config import Config

COHORTS = {"adni_like_0": lambda: simulated(0), "alzheimer": lambda: read_cohort(PUBLIC)}
COLUMNS = ("MAE", "CRPS", "NLL", "coverage 50 %", "coverage 90 %")
COVERAGE = 0.87, 0.93
Row = dict[str, str | int | float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(COHORTS))
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--baselines", default=",".join(name for name in BASELINES if name != "published"))
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    for name, read in COHORTS.items():
        if arguments.only in (None, name):
            cohort = read()
            result, _ = compare_folds(
                Config(seed=arguments.seed),
                cohort,
                arguments.folds,
                arguments.baselines,
                seed=arguments.seed,
                jobs=arguments.jobs,
            )
            targets = len(result.tables["visits"][["subject", "time"]].drop_duplicates())
            size = f"{arguments.folds} folds of {len(cohort.subjects)} subjects, {targets} forecast visits"
            title = f"crow evaluate: {name}, {size}"
            write(f"evaluate_{name}", title, table(result.metrics, result.left_out))


def table(metrics: dict[str, Any], left_out: list[tuple[str, str]]) -> list[Row]:
    """One row per model, crow first; leaspy with the reason if it is left out."""
    forecast = metrics["forecast"]
    rows: list[Row] = []
    for model, found in forecast.items():
        known = {column: round(found[column], 4) for column in COLUMNS if found.get(column) is not None}
        rows.append({"model": model, **known, "seconds": round(found["seconds"])})
    rows[0]["reached"] = reached(forecast)
    low, high = (metrics["calibration"][f"coverage_{end}"]["90 %"] for end in ("low", "high"))
    rows[0]["coverage 90 %, 95 % interval"] = f"{low:.3f}-{high:.3f}"
    return rows + [{"model": name, "reached": reason} for name, reason in left_out if name == "leaspy"]


def reached(forecast: dict[str, dict[str, float | None]]) -> str:
    """The aims that crow reaches, and its lead over the best other model."""
    ours, texts = forecast[OURS], []
    for column in ("NLL", "CRPS", "MAE"):
        others = {name: one[column] for name, one in forecast.items() if name != OURS and one.get(column) is not None}
        best = min(others, key=lambda name: float(others[name] or 0.0))
        lead = float(others[best] or 0.0) - float(ours[column] or 0.0)
        texts.append(f"{column} {'yes' if lead >= 0 else 'NO'} ({lead:+.4f}, {best})")
    coverage = float(ours["coverage 90 %"] or 0.0)
    texts.append(f"coverage {'yes' if COVERAGE[0] <= coverage <= COVERAGE[1] else 'NO'}")
    return "; ".join(texts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
