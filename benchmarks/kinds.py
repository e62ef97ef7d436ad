"""Kinds of values: bounded, positive and integer regions as such, and all taken for real numbers.

    python benchmarks/kinds.py [--cohort ../shared/data/leaspy/alzheimer.csv | --simulate 0] [--seeds 0] [--members 4]

``--simulate`` makes a cohort of three scores (MMSE, CDRSB, ADAS13) and two volumes. A quarter of the subjects are test
subjects, as in ``forecast.py``. ``impossible`` counts draws that no subject can have (outside the bounds of the scale,
or between two levels) among at least 10^6. ``worst fifth`` is the share of true MMSEs between the 5 % and 95 %
quantiles (ties counted half) among the fifth of the forecast visits that is farthest from the healthy end. NLL is in
nats per visit and that of levels: of real numbers, densities times the step.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from seeds import Row, add_seeds, rows_of_seeds
from tables import options, split
from timing import write

from crow import Cohort, CRow
from crow.cohort import read_cohort
from crow.cohort.value_kinds import ValueKind
from crow.evaluation.comparison import compare
from crow.evaluation.forecast_evaluation import OURS
from crow.evaluation.forecasts import split_history, value_scores
from crow.simulate import simulate_adni

REGIONS = ["MMSE", "CDRSB", "ADAS13", "Ventricles", "Hippocampus"]
DRAWS = 1_000_000


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    add_seeds(parser)
    parser.add_argument("--members", type=int, default=4)
    arguments = parser.parse_args()
    if arguments.simulate is None:
        name, cohort = arguments.cohort.stem, read_cohort(arguments.cohort)
    else:
        name, cohort = f"scores_{arguments.simulate}", simulated(arguments.simulate)
    training, test = split(cohort)
    rows = rows_of_seeds(of_seed, arguments, training, test, arguments.members)
    write(f"kinds_{name}", f"Kinds of values: {name}, {len(test.subjects)} test subjects, errors in sd", rows)


def of_seed(seed: int, training: Cohort, test: Cohort, members: int) -> list[Row]:
    rows: list[Row] = []
    values = training.schema.values
    log_steps = float(sum(np.log(kind.step) for kind in values.values() if kind.step))
    for label, kinds in (("detected kinds", values), ("all real", {})):
        schema = training.schema.model_copy(update={"values": kinds})
        learned, held_out = replace(training, schema=schema), replace(test, schema=schema)
        model = CRow(seed=seed, model={"members": members}).fit(learned)
        found = compare(model, learned, held_out, "none").metrics["forecast"][OURS]
        metrics = {key: round(float(found[key]), 4) for key in ("MAE", "CRPS", "coverage 90 %", "NLL")}
        if not kinds:
            metrics["NLL"] = round(metrics["NLL"] - log_steps, 4)
        rows.append({"values": label, **metrics, **_draws(model, held_out, values)})
    return rows


def simulated(seed: int) -> Cohort:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        simulate_adni(subjects=200, seed=seed).table.to_csv(path, index=False)
        return read_cohort(path, regions=REGIONS)


def _draws(model: CRow, test: Cohort, kinds: dict[str, ValueKind]) -> dict[str, str | float]:
    history, targets = split_history(test)
    each = -(-DRAWS // (len(targets) * len(test.regions)))
    forecast = model.forecast(history, targets.drop(columns=test.regions), draws=max(each, 200))
    wrong = 0
    for d, region in enumerate(forecast.regions):
        kind, values = kinds.get(region, ValueKind()), forecast.values[:, :, d]
        wrong += int((~kind.allows(values)).sum())
        if kind.step:
            wrong += int((np.abs(values / kind.step - np.round(values / kind.step)) > 1e-6).sum())
    first = value_scores(forecast, targets, history).query("region == 'MMSE'")
    truth = targets["MMSE"].dropna().to_numpy(float)
    if kinds["MMSE"].kind == "bounded":  # leaspy's scale: 0 is healthy
        truth = -truth
    worst = truth <= np.quantile(truth, 0.2)
    return {
        "impossible": f"{wrong} of {forecast.values.size:,}",
        "worst fifth": round(float(first["pit"].between(0.05, 0.95).to_numpy()[worst].mean()), 3),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
