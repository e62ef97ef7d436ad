"""Forecasts of later visits by the defaults, beside last visit, subject slope, mixed models and leaspy.

    python benchmarks/forecast.py [--cohort ../shared/data/leaspy/alzheimer.csv | --simulate 0] [--seeds 0 1 2]

The task is that of `protocol`. Errors are means over all values of all targets, in the table's units: for a simulated
table, whose regions differ in size, and with ``--standardised``, divided by each region's sd over training visits.
Intervals and CRPS come from 200 draws. The two simple baselines get a Gaussian error whose variance grows linearly with
the time ahead, fitted to the same task on the training subjects. "mixed model" is the one that crow starts from, its
innovations correlated across regions; "statsmodels MixedLM" has the regions apart. leaspy runs by itself, in an
environment of its own (`make leaspy`); its row is what it left in ``results``.
"""

from __future__ import annotations

import json
import time

import pandas as pd
from baselines import error_growth, last_visit, mixed_models, subject_slope
from protocol import DRAWS, Task, Values, judge, options, read_task, split
from timing import RESULTS, write

from crow import CRow

Row = dict[str, str | int | float]


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    arguments = parser.parse_args()
    task = read_task(arguments)
    rows: list[Row] = []

    def add(model: str, draws: Values, nll: float | str = "", seconds: float | str = "") -> None:
        rows.append({"model": model, **judge(draws, task.truth, task.scale), "NLL/visit": nll, "seconds": seconds})
        _show(rows)

    seen, ahead = split(task.training)
    for name, predict in (("last visit", last_visit), ("subject slope", subject_slope)):
        spread = error_growth(predict(seen, ahead), ahead, seen)
        add(name, predict(task.history, task.targets)[:, None] + spread(task.targets, task.history))
    began = time.perf_counter()
    draws, nll = mixed_models(task)
    add("statsmodels MixedLM", draws, round(nll, 3), round(time.perf_counter() - began))
    rows.append(leaspy(task))
    _show(rows)
    mixed = CRow(model={"members": 1, "initialise": "mixed_model"}, training={"max_epochs": 0})
    for name, model in [("mixed model", mixed), *((f"crow, seed {s}", CRow(seed=s)) for s in arguments.seeds)]:
        add(name, *learned(model, task))
    units = "in the table's units" if (task.scale == 1).all() else "standardised"
    write(f"forecast_{task.name}", f"Forecasts: {task.name}, {len(task.truth)} target visits, errors {units}", rows)


def learned(model: CRow, task: Task) -> tuple[Values, float, int]:
    """Draws of the targets, NLL per visit of whole test subjects, and seconds."""
    began = time.perf_counter()
    model.fit(task.training)
    nll = -float(model.log_prob(task.test)["log_prob"].mean())
    coming = task.targets[["subject", "time", *task.training.covariates]]
    draws = model.forecast(task.history, coming, samples=DRAWS).values
    return draws, round(nll, 3), round(time.perf_counter() - began)


def leaspy(task: Task) -> Row:
    """The row that `leaspy_forecast` left for this table."""
    path = RESULTS / f"leaspy_{task.name}.json"
    if not path.is_file():
        return {"model": "leaspy", "seconds": "not installed"}
    found = json.loads(path.read_text())
    scores = {name: found[name] for name in ("MAE", "CRPS", "50 %", "90 %", "seconds")}
    return {"model": f"{found['model']}, {found['iterations']:,} iterations", **scores}


def _show(rows: list[Row]) -> None:
    print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)


if __name__ == "__main__":
    main()
