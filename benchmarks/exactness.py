"""The density of a fitted model of 2 regions and 2 visits integrates to one, in original units.

python benchmarks/exactness.py
"""

from __future__ import annotations

import numpy as np
import torch
from timing import write

from crow import CRow
from crow.cohort import Cohort, Schema
from crow.simulate import simulate_wide

TICKS = {"coarse": np.arange(-5.6, 5.7, 0.8), "fine": np.arange(-6.0, 6.1, 0.6)}


def main() -> None:
    torch.set_num_threads(1)
    cohort = _cohort(60)
    table: list[dict[str, str | int | float]] = []
    for initialise in ("mixed_model", "standard", "auto"):
        training = {"max_epochs": 20, "learning_rate": 0.01}
        model = CRow(training=training, model={"members": 2, "hidden": 16, "initialise": initialise}).fit(cohort)
        epochs = ", ".join(str(member["epoch"]) for member in model.metrics["members"])
        for grid, ticks in TICKS.items():
            mass = _mass(model, cohort, ticks)
            table.append({
                "initialise": initialise, "best epochs": epochs, "grid": grid, "points": len(ticks) ** 4,
                "integral": round(mass, 6), "error": f"{abs(mass - 1):.1e}", "at most": "1e-3",
            })  # fmt: skip
    write("exactness", "The integral of the density of two visits of two regions, over all four dimensions", table)


def _mass(model: CRow, cohort: Cohort, ticks: np.ndarray) -> float:
    """On a grid along the axes of the model's own draws: ``sum exp(log_prob) |det axes| step^4``."""
    path = cohort.visits[:2].reset_index(drop=True)
    drawn = np.concatenate(model.sample(path, draws=10_000).values, 1)
    axes = np.linalg.cholesky(np.cov(drawn.T))
    points = drawn.mean(0) + np.stack(np.meshgrid(*[ticks] * 4), -1).reshape(-1, 4) @ axes.T
    names = np.repeat(np.arange(len(points)).astype(str), 2)
    visits = path.loc[np.tile([0, 1], len(points))].assign(subject=names).reset_index(drop=True)
    visits[cohort.regions] = points.reshape(-1, 2)
    log_prob = model.log_prob(Cohort(visits, cohort.schema, cohort.start))["log_prob"].to_numpy().reshape(-1, 2).sum(1)
    return float(np.exp(log_prob).sum() * (ticks[1] - ticks[0]) ** 4 * np.prod(np.diag(axes)))


def _cohort(subjects: int) -> Cohort:
    table = simulate_wide(subjects, 2, 2).table
    start = table.groupby("subject")["age"].first()
    names = ["ROI01", "ROI02"]
    visits = table.assign(
        session=(table.groupby("subject").cumcount() + 1).astype(str), time=table["age"] - table["subject"].map(start)
    )[["subject", "session", "time", "age", "CDRSB", *names]]
    schema = Schema(layout="plain", subject="subject", time="age", time_kind="age", age="age",
                    covariates={"CDRSB": "numeric"}, regions=names)  # fmt: skip
    return Cohort(visits, schema, start)


if __name__ == "__main__":
    main()
