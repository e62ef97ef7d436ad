"""Forecasts of the defaults beside baselines and leaspy, by the protocol of `crow evaluate`.

    python benchmarks/forecast.py [--cohort ../shared/data/leaspy/alzheimer.csv | --simulate 0] [--seeds 0 1 2]

A quarter of the subjects are test subjects; the others train crow and the baselines. The first half of each test
subject's visits is given, all later ones are forecast, with covariates carried forward and 200 draws
(`crow.evaluation`). MAE and CRPS are in standard deviations of the training visits, and of a table whose regions share
a unit also in that unit; NLL is in nats per visit of whole test sequences. Seconds are those of one processor. leaspy
runs in an environment of its own (`make leaspy`); its row is what it left in ``results``.
"""

from __future__ import annotations

import json
import time

import torch
from seeds import Row, add_seeds, rows_of_seeds
from tables import options, read_table, split
from timing import RESULTS, write

from crow import Cohort, CRow
from crow.evaluation.comparison import compare
from crow.evaluation.forecast_evaluation import OURS
from crow.evaluation.result import EvaluationResult

COLUMNS = ("MAE", "CRPS", "coverage 50 %", "coverage 90 %", "NLL")
OWN_UNITS = ("MAE", "CRPS")


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    add_seeds(parser)
    parser.add_argument("--baselines", default="last,slope,mixed,multivariate,boosting")
    arguments = parser.parse_args()
    name, cohort = read_table(arguments)
    training, test = split(cohort)
    unit = arguments.simulate is None
    found = rows_of_seeds(of_seed, arguments, training, test, arguments.baselines, arguments.seeds[0], unit)
    targets = found[0]["targets"]
    rows = [{key: each[key] for key in each if key not in ("seed", "targets")} for each in found]
    rows.insert(len(rows) - len(arguments.seeds), leaspy(name, len(test.subjects)))
    title = f"Forecasts: {name}, {len(test.subjects)} test subjects, {targets} forecast visits, errors in sd"
    write(f"forecast_{name}", title, rows)


def of_seed(seed: int, training: Cohort, test: Cohort, baselines: str, first: int, unit: bool) -> list[Row]:
    """Those of the baselines, with the ``first`` seed, and that of crow."""
    began = time.process_time()
    model = CRow(seed=seed).fit(training)
    seconds = time.process_time() - began
    result = compare(model, training, test, baselines if seed == first else "none")
    rows = baseline_rows(result, unit) if seed == first else []
    targets = len(result.tables["visits"][["subject", "time"]].drop_duplicates())
    return [{"targets": targets, **each} for each in (*rows, row(f"crow, seed {seed}", result, OURS, seconds, unit))]


def baseline_rows(result: EvaluationResult, unit: bool = False) -> list[Row]:
    """One row per baseline; those that are left out have the reason."""
    forecast = result.metrics["forecast"]
    rows = [row(name, result, name, forecast[name]["seconds"], unit) for name in forecast if name != OURS]
    return rows + [{"model": name, "seconds": reason} for name, reason in result.left_out if "not installed" in reason]


def row(label: str, result: EvaluationResult, model: str, seconds: float, unit: bool = False) -> Row:
    """The row of a model in the table of results; with ``unit`` also errors in the unit that all regions share."""
    found = result.metrics["forecast"][model]
    numbers = {column: round(float(found[column]), 4) for column in COLUMNS if found.get(column) is not None}
    if unit:
        regions = [each[model] for each in result.metrics["own_units"]["region"].values()]
        numbers |= {f"{name} (unit)": round(sum(one[name] for one in regions) / len(regions), 4) for name in OWN_UNITS}
    return {"model": label, **numbers, "seconds": round(seconds)}


def leaspy(name: str, test_subjects: int) -> Row:
    """The row that `leaspy_forecast` left for this table, if it was made with this split."""
    path = RESULTS / f"leaspy_{name}.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    if found.pop("test subjects", None) != test_subjects:
        return {"model": "leaspy", "seconds": "not run"}
    return dict(found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
