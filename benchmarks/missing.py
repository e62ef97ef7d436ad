"""Missing regions: forecasts and likelihood of the defaults, next to an exact mixed model of each region.

    python benchmarks/missing.py [--shares 0.1 0.3 0.5] [--seeds 0] [--others]
    python benchmarks/missing.py --mnar value dropout --shares 0.3
    python benchmarks/missing.py --cohort ../shared/data/real/els_ds003604.csv [--folds 5]

Simulated: 150 subjects to learn from and 400 to forecast, 5 visits of 6 regions in units of their sd; a share of all
training values and of the first 3 visits of test subjects is missing at random. With ``--mnar value`` the highest
values are missing (and some by chance); with ``--mnar dropout`` subjects are not measured again from the visit on at
which they have changed most since their first. The last 2 visits, complete, are forecast. Real: k folds over subjects;
the later half of each test subject's visits is forecast. ``NLL/value`` is that of all visits of the test subjects, per
measured value, in units of sd; the real scores are whole numbers, so that the probability of a level and a density are
in the same units. "mixed model" is the one that crow starts at, "exact, per region" fits each region by statsmodels to
its measured values. ``--others`` adds the two ways of before: dropping visits and filling in.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from seeds import Row, add_seeds, rows_of_seeds
from timing import write

from crow import Cohort, CRow, read_cohort
from crow.cohort.schema import Schema
from crow.evaluation.forecasts import split_history, value_scores
from crow.evaluation.mixed_baseline import MixedBaseline
from crow.simulate import simulate_wide

TRAINING, TEST, VISITS, REGIONS, GIVEN = 150, 400, 5, 6, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    add_seeds(parser)
    parser.add_argument("--mnar", nargs="+", choices=["value", "dropout"], help="not at random")
    parser.add_argument("--others", action="store_true", help="also drop-visit and impute")
    parser.add_argument("--cohort", type=Path, help="a real table instead")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.cohort:
        rows = _real(arguments.cohort, arguments.folds, arguments.others)
        write(f"missing_{arguments.cohort.stem}", f"Missing regions: {arguments.cohort.stem}", rows)
        return
    rows = rows_of_seeds(of_seed, arguments, arguments.mnar or ["chance"], arguments.shares, arguments.others)
    name, title = ("missing_mnar", ", not at random") if arguments.mnar else ("missing", "")
    write(name, f"Missing regions, simulated{title}", rows)


def of_seed(seed: int, hows: list[str], shares: list[float], others: bool) -> list[Row]:
    rows: list[Row] = []
    for how, share in itertools.product(hows, shares):
        training, test = simulated(share, seed, how)
        rows += [{"missing": share, "by": how, **row} for row in _all(training, test, others)]
    return rows


def simulated(share: float, seed: int, how: str = "chance") -> tuple[Cohort, Cohort]:
    """Subjects to learn from and to forecast, standardised; values missing."""
    table = simulate_wide(TRAINING + TEST, VISITS, REGIONS, seed).table
    names = [column for column in table if column.startswith("ROI")]
    fitted = table["subject"].isin(table["subject"].unique()[:TRAINING])
    table[names] = (table[names] - table.loc[fitted, names].mean()) / table.loc[fitted, names].std()
    draw = np.random.default_rng([seed, 7]).random((len(table), REGIONS))
    if how == "value":
        draw = 1 - table[names].rank(pct=True).to_numpy() + 0.5 * draw
    elif how == "dropout":
        change = (table[names] - table.groupby("subject")[names].transform("first")).abs().mean(axis=1)
        draw = -change.groupby(table["subject"]).cummax().to_numpy()[:, None].repeat(REGIONS, 1)
    threshold = np.quantile(draw, share)
    open_to_it = fitted | (table.groupby("subject").cumcount() < GIVEN)
    table[names] = table[names].mask((draw < threshold) & open_to_it.to_numpy()[:, None])
    schema = Schema(layout="plain", subject="subject", time="age", time_kind="age", age="age",
                    covariates={"CDRSB": "numeric"}, regions=names, missing="model")  # fmt: skip
    table["time"] = table["age"] - table.groupby("subject")["age"].transform("first")
    table["session"] = table.groupby("subject").cumcount().add(1).astype(str)
    visits = table[["subject", "session", "time", "age", "CDRSB", *names]]
    start = visits.groupby("subject")["age"].first()
    return (Cohort(visits[rows].reset_index(drop=True), schema, start) for rows in (fitted, ~fitted))  # type: ignore[return-value]


def _real(path: Path, folds: int, others: bool) -> list[Row]:
    cohort = read_cohort(path)
    sd = cohort.visits[cohort.regions].std()
    names = np.random.default_rng(0).permutation(sorted(cohort.subjects))
    parts: dict[str, list[dict[str, float]]] = {}
    for fold in range(folds):
        test = list(names[fold::folds])
        training = cohort.of(sorted(set(names) - set(test)))
        for row in _all(training, cohort.of(test), others, sd):
            print(fold, row, flush=True)
            parts.setdefault(str(row.pop("model")), []).append(row)  # type: ignore[arg-type]
    return [{"model": name, **pd.DataFrame(rows).mean().round(4).to_dict()} for name, rows in parts.items()]


def _all(training: Cohort, test: Cohort, others: bool, sd: pd.Series | None = None) -> list[Row]:
    mixed = CRow(model={"members": 1, "initialise": "mixed_model"}, training={"max_epochs": 0})
    models = {"exact, per region": MixedBaseline(), "mixed model": mixed, "crow": CRow()}
    rows = []
    for name, model in models.items():
        rows.append(_one(name, model, training, test, sd))
    if others:
        whole = training.visits[training.regions].notna().all(axis=1)
        dropped = replace(training, visits=training.visits[whole].reset_index(drop=True))
        rows.append(_one("crow, drop-visit", CRow(), dropped, test, sd))
        schema = training.schema.model_copy(update={"missing": "impute"})
        rows.append(_one("crow, impute", CRow(), replace(training, schema=schema), replace(test, schema=schema), sd))
    return rows


def _one(name: str, model: MixedBaseline | CRow, training: Cohort, test: Cohort, sd: pd.Series | None) -> Row:
    """The scores of a model in units of ``sd`` per region; without it, the table is standardised already."""
    began = time.perf_counter()
    model.fit(training)
    seconds = time.perf_counter() - began
    history, targets = split_history(test)
    if name.startswith("exact"):
        forecast = model.forecast(history, targets)
    else:
        forecast = model.forecast(history, targets[["subject", "time", *test.covariates]])
    scores = value_scores(forecast, targets, history)
    unit = 1.0 if sd is None else scores["region"].map(sd).to_numpy(float)
    row: Row = {
        "model": name,
        "subjects": training.visits["subject"].nunique(),
        "CRPS": round(float((scores["crps"] / unit).mean()), 4),
        "MAE": round(float((scores["error"] / unit).mean()), 4),
        "50 %": round(float(scores["inside_50"].mean()), 3),
        "90 %": round(float(scores["inside_90"].mean()), 3),
    }
    measured = test.visits[test.regions].notna().sum()
    if "impute" not in name:
        scale = 0.0 if sd is None else float((measured * np.log(sd)).sum())
        nats = -float(model.log_prob(test)["log_prob"].sum()) - scale
        row["NLL/value"] = round(nats / int(measured.sum()), 4)
    return row | {"seconds": round(seconds)}


if __name__ == "__main__":
    main()
