"""Forecasts by leaspy's logistic model, into ``results/leaspy_TABLE.json`` for `forecast` to show.

    make leaspy LEASPY="[--cohort TABLE | --simulate 0] [--iterations 10000]"

leaspy needs older versions of numpy and pandas than crow's tested ones, so it has an environment of its own. The model
(`crow.evaluation.leaspy_baseline`) is fitted to the training subjects of `tables.split` and evaluated like the models
of `forecast`.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import torch
from tables import options, read_table, split
from timing import RESULTS

from crow.evaluation.evaluate_model import EvaluationFold, evaluate_model
from crow.evaluation.forecasts import summarise
from crow.evaluation.leaspy_baseline import ITERATIONS, LeaspyBaseline


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="of MCMC-SAEM")
    parser.add_argument("--sources", type=int, default=2)
    arguments = parser.parse_args()
    name, cohort = read_table(arguments)
    training, test = split(cohort)
    fold = EvaluationFold(training, test, training.visits[cohort.regions].astype(float).std())
    found = evaluate_model(LeaspyBaseline(arguments.iterations, arguments.sources), fold)
    if found.reason is not None:
        raise SystemExit(found.reason)
    scores = summarise(found.scores).iloc[0]
    numbers = {column: round(float(scores[column]), 4) for column in ("MAE", "CRPS", "coverage 50 %", "coverage 90 %")}
    row = {
        "model": f"leaspy {version('leaspy')}, logistic, {arguments.iterations:,} iterations", **numbers,
        "seconds": round(found.seconds), "test subjects": len(test.subjects),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"leaspy_{name}.json").write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
