"""Forecasts of later visits by the defaults, beside last visit, subject slope and the mixed model.

    python benchmarks/forecast.py [--cohort ../shared/data/leaspy/alzheimer.csv] [--seeds 0 1 2]

Subjects sorted by name: the 4th, 8th, 12th, ... are test subjects. Of each with at least 4 visits the first ceil(n / 2)
are given and all later ones are the targets. Errors are means over all values of all targets, in the table's units;
intervals and CRPS come from 200 draws. The two simple baselines get a Gaussian error whose variance grows linearly with
the time ahead, fitted to the same task on the training subjects. The mixed model is the one that crow starts from.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scoringrules
from timing import write

from crow import Cohort, CRow

DRAWS = 200
Values = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[2] / "shared" / "data" / "leaspy" / "alzheimer.csv"
    parser.add_argument("--cohort", type=Path, default=default)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    cohort = Cohort.read(arguments.cohort)
    names = sorted(cohort.subjects)
    training, test = _only(cohort, set(names) - set(names[3::4])), _only(cohort, set(names[3::4]))
    history, targets = split(test)
    seen, ahead = split(training)
    truth = targets[cohort.regions].to_numpy()
    rows: list[dict[str, str | int | float]] = []

    def add(model: str, draws: Values, nll: float | str = "", seconds: float | str = "") -> None:
        rows.append({"model": model, **judge(draws, truth), "NLL/visit": nll, "seconds": seconds})
        print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)

    for name, predict in (("last visit", last_visit), ("subject slope", subject_slope)):
        spread = error_growth(predict(seen, ahead), ahead, seen)
        add(name, predict(history, targets)[:, None] + spread(targets, history))
    mixed = CRow(model={"members": 1, "start": "mixed"}, training={"max_epochs": 0}).fit(training)
    for label, model in [
        ("mixed model", mixed),
        *((f"crow, seed {seed}", CRow(seed=seed)) for seed in arguments.seeds),
    ]:
        began = time.perf_counter()
        if model.pool is None:
            model.fit(training)
        nll = -float(model.log_prob(test)["log_prob"].mean())
        draws = model.forecast(history, targets[["subject", "time", *cohort.covariates]], samples=DRAWS).values
        add(label, draws, round(nll, 3), round(time.perf_counter() - began))
    write(f"forecast_{arguments.cohort.stem}", f"Forecasts: {arguments.cohort.name}, {len(truth)} target visits", rows)


def split(cohort: Cohort) -> tuple[Cohort, pd.DataFrame]:
    """The first ceil(n / 2) visits of subjects with at least 4, and all their later visits."""
    visits = cohort.visits
    n = visits.groupby("subject")["time"].transform("size")
    given = visits.groupby("subject").cumcount() < (n + 1) // 2
    history = Cohort(visits[given & (n >= 4)], cohort.schema, cohort.start)
    return history, visits[~given & (n >= 4)].reset_index(drop=True)


def judge(draws: Values, truth: Values) -> dict[str, float]:
    """MAE of the median, CRPS, and how much the central 50 and 90 % cover; ``draws [visit, sample, region]``."""
    draws = np.moveaxis(draws, 1, -1)
    low, q25, median, q75, high = np.quantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95], axis=-1)
    scores = {
        "MAE": np.abs(median - truth).mean(),
        "CRPS": np.mean(scoringrules.crps_ensemble(truth, draws)),
        "50 %": ((q25 <= truth) & (truth <= q75)).mean(),
        "90 %": ((low <= truth) & (truth <= high)).mean(),
    }
    return {name: round(float(value), 4) for name, value in scores.items()}


def last_visit(history: Cohort, targets: pd.DataFrame) -> Values:
    return history.visits.groupby("subject")[history.regions].last().loc[targets["subject"]].to_numpy()


def subject_slope(history: Cohort, targets: pd.DataFrame) -> Values:
    lines = {
        subject: np.polyfit(visits["time"], visits[history.regions], 1)
        for subject, visits in history.visits.groupby("subject")
    }
    return np.stack([lines[s][0] * t + lines[s][1] for s, t in zip(targets["subject"], targets["time"], strict=True)])


def error_growth(predicted: Values, targets: pd.DataFrame, history: Cohort):
    """Gaussian draws whose variance is a + b * years ahead, per region, fitted to errors on training subjects."""

    def ahead(targets: pd.DataFrame, history: Cohort) -> Values:
        last = history.visits.groupby("subject")["time"].last()
        return targets["time"].to_numpy() - last.loc[targets["subject"]].to_numpy()

    years = ahead(targets, history)
    squares = (targets[history.regions].to_numpy() - predicted) ** 2
    design = np.stack([np.ones_like(years), years], 1)
    growth = np.linalg.lstsq(design, squares, rcond=None)[0].clip(0)

    def draw(targets: pd.DataFrame, history: Cohort) -> Values:
        sd = np.sqrt(growth[0] + growth[1] * ahead(targets, history)[:, None])
        noise = np.random.default_rng(0).normal(size=(len(sd), DRAWS // 2, sd.shape[1]))
        return np.concatenate([noise, -noise], 1) * sd[:, None]

    return draw


def _only(cohort: Cohort, subjects: set[str]) -> Cohort:
    return Cohort(
        cohort.visits[cohort.visits["subject"].isin(subjects)].reset_index(drop=True), cohort.schema, cohort.start
    )


if __name__ == "__main__":
    main()
