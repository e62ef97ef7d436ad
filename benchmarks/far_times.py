"""Three answers to a far time: direct, along the path of the requested visits, and through drawn visits in between.

    python benchmarks/far_times.py [--cohort ../shared/data/leaspy/alzheimer.csv | --simulate 0] [--gap 1] [--draws 100]

crow is trained with the defaults on the split of `benchmarks/forecast.py`; the later half of each test subject's visits
is forecast, with covariates carried forward. ``direct`` answers each requested time from the observed visits alone
(the default). ``path`` draws all requested visits of a subject together (``--path``), so that an answer depends on the
other times that are requested. ``stepped`` draws a visit every ``--gap`` years after the last one and the requested
time from these: it does not depend on other times either, but takes a pass for every step. Errors are in standard
deviations of the training visits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from tables import options, read_table, split
from timing import write

from crow import Cohort, CRow
from crow.data.forecast import Forecast
from crow.evaluation.evaluate_model import forecast_task
from crow.evaluation.forecasts import value_scores


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--gap", type=float, default=1.0)
    parser.add_argument("--draws", type=int, default=100)
    arguments = parser.parse_args()
    name, cohort = read_table(arguments)
    training, test = split(cohort)
    model = CRow().fit(training)
    history, targets, inputs = forecast_task(test, "carry")
    asked, draws = inputs[["subject", "time"]], arguments.draws
    forecasts = {
        "direct": model.forecast(history, asked, draws=draws),
        "path": model.forecast(history, asked, draws=draws, path=True),
        f"stepped, {arguments.gap:g} years": stepped(model, history, asked, arguments.gap, draws),
    }
    sd, rows = pd.Series(model.table.sd, model.table.regions), []
    for label, forecast in forecasts.items():
        found = value_scores(forecast, targets, history)
        unit = found["region"].map(sd).astype(float)
        rows.append({
            "forecast": label, "MAE": round(float((found["error"] / unit).mean()), 4),
            "CRPS": round(float((found["crps"] / unit).mean()), 4),
            "50 %": round(float(found["inside_50"].mean()), 3), "90 %": round(float(found["inside_90"].mean()), 3),
        })  # fmt: skip
    print(pd.DataFrame(rows).to_string(index=False))
    write(f"far_times_{name}", f"Answers to a far time: {name}, {len(targets)} forecast visits", rows)


def stepped(model: CRow, history: Cohort, asked: pd.DataFrame, gap: float, draws: int) -> Forecast:
    """Each row of ``asked`` as a subject of its own, reached through drawn visits every ``gap`` years."""
    last, pasts, paths = history.visits.groupby("subject")["time"].max(), [], []
    for k, (subject, time) in enumerate(asked.itertuples(index=False)):
        steps = np.arange(last[subject] + gap, time - gap / 2, gap)
        paths.append(pd.DataFrame({"subject": f"{k:06d}", "time": [*steps, time]}))
        pasts.append(history.visits[history.visits["subject"] == subject].assign(subject=f"{k:06d}"))
    alone = replace(history, visits=pd.concat(pasts, ignore_index=True))
    forecast = model.forecast(alone, pd.concat(paths, ignore_index=True), draws=draws, path=True)
    ends = ~forecast.visits["subject"].duplicated(keep="last").to_numpy()
    return Forecast(asked, forecast.regions, forecast.values[ends])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
