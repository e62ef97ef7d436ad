"""Forecasts and likelihood of cohorts of 20 to 80 subjects: crow, its mixed model, and a mixed model of each region.

    python benchmarks/small_cohorts.py [--subjects 20 40 80] [--seeds 0 1 2] [--jobs 2]

ADNI-like cohorts with 4 visits, 10 regions and six covariates; 150 other subjects are forecast (the first half of their
visits is given, covariates are carried forward). Errors are in sd of each region; NLL is that of whole sequences, in
nats per visit, and needs no draws. "maximum likelihood" is crow's mixed model without priors of effects and without
their uncertainty, as it is for large cohorts.
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch
from seeds import Row, add_seeds, rows_of_seeds
from tables import simulated
from timing import write

from crow.bijections import innovation_fit
from crow.evaluation.baselines import BASELINES, Baseline
from crow.evaluation.crow_baseline import CRowBaseline
from crow.evaluation.evaluate_model import EvaluationFold, evaluate_model
from crow.evaluation.forecasts import summarise
from crow.run.config import Config

TEST, VISITS = 150, 4
METRICS = ("MAE", "CRPS", "coverage 50 %", "coverage 90 %")
MAXIMUM_LIKELIHOOD = "crow's mixed model, maximum likelihood"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", default=[20, 40, 80])
    add_seeds(parser, [0, 1, 2])
    arguments = parser.parse_args()
    rows = [row for size in arguments.subjects for row in rows_of_seeds(of_seed, arguments, size)]
    means = pd.DataFrame(rows).drop(columns="seed").groupby(["subjects", "model"], sort=False).mean()
    write("small_cohorts", f"Small cohorts, seeds {arguments.seeds}", means.round(4).reset_index().to_dict("records"))


def of_seed(seed: int, subjects: int) -> list[Row]:
    torch.set_num_threads(1)
    cohort = simulated(seed, subjects=subjects + TEST, visits=VISITS)
    training, test = cohort.of(cohort.subjects[:subjects]), cohort.of(cohort.subjects[subjects:])
    part = EvaluationFold(training, test, training.visits[cohort.regions].astype(float).std())
    models: dict[str, Baseline] = {
        "last visit": BASELINES["last"](), "mixed model per region (statsmodels)": BASELINES["mixed"](),
        MAXIMUM_LIKELIHOOD: CRowBaseline.mixed_model(), "crow's mixed model": CRowBaseline.mixed_model(),
        "crow": CRowBaseline("crow", Config()),
    }  # fmt: skip
    return [{"subjects": subjects, "seed": seed, "model": name} | scored(name, one, part, seed)
            for name, one in models.items()]  # fmt: skip


def scored(name: str, model: Baseline, part: EvaluationFold, seed: int) -> Row:
    usual = innovation_fit.SUBJECTS_AN_EFFECT
    innovation_fit.SUBJECTS_AN_EFFECT = 0 if name == MAXIMUM_LIKELIHOOD else usual
    try:
        found = evaluate_model(model, part, seed=seed, fit_seed=seed)
    finally:
        innovation_fit.SUBJECTS_AN_EFFECT = usual
    means = summarise(found.scores).iloc[0]
    nll = float("nan") if found.likelihood is None else -float(found.likelihood["log_prob"].mean())
    row = {metric: float(means[metric]) for metric in METRICS} | {"NLL": nll, "seconds": found.seconds}
    print(name, {key: round(value, 4) for key, value in row.items()}, flush=True)
    return row


if __name__ == "__main__":
    main()
