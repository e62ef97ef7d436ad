"""What `crow evaluate --folds 4` finds of the defaults, beside all baselines, on an invented and on a public cohort.

    python benchmarks/evaluate_cohorts.py [--only adni_like_0] [--folds 4] [--seed 0] [--baselines all]

The invented cohort is that of `protocol` (ADNI-like, 200 people, up to 8 visits, 10 regions), the public one leaspy's
(200 people, 7 scores). In each fold every model learns from the other folds' people and forecasts the later half of the
visits of its own; covariates to come are known. MAE and CRPS are in sds of the training visits, NLL in nats a visit of
whole sequences. ``reached`` says of crow: the lowest NLL, the lowest CRPS, 90 % intervals that cover 87 to 93 %, and no
MAE below its own. leaspy takes part where it is installed; ``leaspy_forecast.py`` judges it on one split of its own.
Left out unless asked for is the published objective: it forecasts nobody from their past, and would train for more than
half of an hour a fold of the public cohort; `group_effects.py` has it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch
from protocol import PUBLIC, simulated
from timing import write

from crow.cohort import read_cohort
from crow.evaluation.baselines import BASELINES
from crow.evaluation.comparison import compare_folds
from crow.evaluation.forecast_evaluation import OURS
from crow.run.config import Config

COHORTS = {"adni_like_0": lambda: replace(simulated(0), path=None), "alzheimer": lambda: read_cohort(PUBLIC)}
COLUMNS = ("MAE", "CRPS", "NLL", "covers 50 %", "covers 90 %")
INSIDE = 0.87, 0.93
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
            title = f"crow evaluate: {name}, {arguments.folds} folds of {len(cohort.subjects)} people, {targets} visits"
            write(f"evaluate_{name}", title, table(result.metrics, result.left_out))


def table(metrics: dict[str, Any], left_out: list[tuple[str, str]]) -> list[Row]:
    """A row a model, crow first; those that could not take part say why."""
    forecast = metrics["forecast"]
    rows: list[Row] = []
    for model, found in forecast.items():
        known = {column: round(found[column], 4) for column in COLUMNS if found.get(column) is not None}
        rows.append({"model": model, **known, "seconds": round(found["seconds"])})
    rows[0]["reached"] = reached(forecast)
    bounds = metrics["calibration"]
    rows[0]["90 % covered, 95 % interval"] = f"{bounds['covers_low']['90 %']:.3f}-{bounds['covers_high']['90 %']:.3f}"
    absent = [(name, why) for name, why in left_out if name == "leaspy"]
    return rows + [{"model": name, "reached": why} for name, why in absent]


def reached(forecast: dict[str, dict[str, float | None]]) -> str:
    """Which of the four aims crow reaches, and by how much it leads (or lacks) the best other model."""
    ours, said = forecast[OURS], []
    for column in ("NLL", "CRPS", "MAE"):
        others = {name: of[column] for name, of in forecast.items() if name != OURS and of.get(column) is not None}
        best = min(others, key=lambda name: float(others[name] or 0.0))
        lead = float(others[best] or 0.0) - float(ours[column] or 0.0)
        said.append(f"{column} {'yes' if lead >= 0 else 'NO'} ({lead:+.4f}, {best})")
    cover = float(ours["covers 90 %"] or 0.0)
    said.append(f"coverage {'yes' if INSIDE[0] <= cover <= INSIDE[1] else 'NO'}")
    return "; ".join(said)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
