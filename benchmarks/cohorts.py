"""Test likelihood of the defaults on small, wide, short and one-region cohorts, beside baselines.

    python benchmarks/cohorts.py [--only wide] [--seeds 0]

Each cohort is simulated with known truth; crow is trained with the defaults and evaluated on new subjects. NLLs are in
nats per visit and original units: of crow, of the mixed model that crow is initialised at (fitted to the same
subjects), and for the wide cohort of a ridge regression of visit 3 on the two earlier visits and the covariates.
``excess`` is (NLL - NLL of the mixed model) / |NLL of the mixed model in standardised units|, which does not depend on
the units of the regions.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from seeds import Row, add_seeds, rows_of_seeds
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from timing import write

from crow import Cohort, CRow
from crow.cohort import read_cohort
from crow.simulate import simulate_wide

COHORTS = {
    "wide": {"subjects": 279, "visits": 3, "regions": 82},
    "forty subjects": {"subjects": 40, "visits": 4, "regions": 6},
    "two visits": {"subjects": 150, "visits": 2, "regions": 6},
    "one region": {"subjects": 150, "visits": 4, "regions": 1},
}
N_TEST = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(COHORTS))
    add_seeds(parser)
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(COHORTS)
    rows = [{"cohort": name, **row} for name in names for row in rows_of_seeds(of_seed, arguments, name)]
    write("cohorts", "Test likelihood of the defaults", rows)


def of_seed(seed: int, name: str) -> list[Row]:
    return [evaluate(seed=seed, **COHORTS[name])]


def evaluate(subjects: int, visits: int, regions: int, seed: int) -> dict[str, float]:
    """NLL per visit of crow, of the mixed model, and (with 3 visits) of ridge regression at the last visit."""
    table = simulate_wide(subjects + N_TEST, visits, regions, seed).table
    names = [column for column in table if column.startswith("ROI")]
    in_training = table["subject"].isin(table["subject"].unique()[:subjects])
    roles = {"regions": names, "covariates": ["CDRSB"]}
    training, test = _cohort(table[in_training], roles), _cohort(table[~in_training], roles)
    mixed = CRow(model={"members": 1, "initialise": "mixed_model"}, training={"max_epochs": 0}).fit(training)
    began = time.perf_counter()
    flow = CRow(seed=seed).fit(training)
    seconds = time.perf_counter() - began
    nll, mixed_nll = (-model.log_prob(test)["log_prob"] for model in (flow, mixed))
    standardised = mixed_nll.mean() - mixed.table.log_scale
    last = test.visits.groupby("subject").cumcount() == visits - 1
    out = {
        "seconds": round(seconds),
        "nll": nll.mean(),
        "mixed_model": mixed_nll.mean(),
        "excess %": 100 * (nll.mean() - mixed_nll.mean()) / abs(standardised),
        "last visit": nll[last].mean(),
        "mixed, last": mixed_nll[last].mean(),
    }
    if visits == 3:
        out["ridge, last"] = _ridge(training, test, names)
    return {name: round(float(value), 3) for name, value in out.items()}


def _cohort(table: pd.DataFrame, roles: dict[str, list[str]]) -> Cohort:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        table.to_csv(path, index=False)
        return read_cohort(path, **roles)


def _ridge(training: Cohort, test: Cohort, names: list[str]) -> float:
    """NLL of visit 3 under ridge on visits 1 and 2 and the covariates, with a Gaussian of its residuals, shrunk."""

    def parts(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
        values = cohort.visits[names].to_numpy().reshape(-1, 3, len(names))
        context = cohort.visits[["age", "time", "CDRSB"]].to_numpy().reshape(-1, 9)
        return np.concatenate([values[:, 0], values[:, 1], context], 1), values[:, 2]

    (a, b), (c, d) = parts(training), parts(test)
    centre, scale = a.mean(0), a.std(0) + 1e-9
    a, c = (a - centre) / scale, (c - centre) / scale
    ridge = RidgeCV(np.logspace(-1, 5, 25))
    residuals = b - cross_val_predict(ridge, a, b, cv=5)
    covariance = LedoitWolf(assume_centered=True).fit(residuals).covariance_
    e = d - ridge.fit(a, b).predict(c)
    _, log_det = np.linalg.slogdet(covariance)
    return float(0.5 * ((e @ np.linalg.inv(covariance) * e).sum(1).mean() + log_det + len(names) * np.log(2 * np.pi)))


if __name__ == "__main__":
    main()
