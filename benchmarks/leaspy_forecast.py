"""Forecasts of later visits by leaspy's logistic model, into ``results/leaspy_TABLE.json`` for `forecast` to show.

    make leaspy LEASPY="[--cohort TABLE | --simulate 0] [--iterations 10000]"

leaspy needs older numpy and pandas than crow, so it has an environment of its own. Disease progression model of
Schiratti et al. (JMLR 2017), fitted by MCMC-SAEM on the training subjects; the individual parameters of a test subject
are drawn from their posterior given its history (leaspy's Gibbs sampler, the one behind ``mean_posterior``), and every
draw is the curve at the target's age plus the model's noise. Covariates are not used: the model has none. leaspy's
curves rise from 0 to 1, so a table that does not lie in [0, 1] is mapped there by each region's range over training
visits, turned where the region falls with time. Seconds are those of one processor.
"""

from __future__ import annotations

import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from leaspy.algo import AlgorithmSettings
from leaspy.algo.personalize import MeanPosteriorAlgorithm
from leaspy.io.data import Data, Dataset
from leaspy.models import LogisticModel
from protocol import DRAWS, Task, Values, judge, options, read_task
from timing import RESULTS

PERSONALISE = 3000  # sweeps, the second half of which is kept
LOGGED = ("noise_std", "tau_mean", "tau_std", "xi_std")


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=10_000, help="of MCMC-SAEM; 10,000 is leaspy's default")
    parser.add_argument("--sources", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = read_task(arguments)
    began = time.process_time()
    start, stop = ends(task)
    model, convergence = fit(visits(task, task.training.visits, start, stop), arguments.iterations, arguments.sources)
    draws = start + (stop - start) * forecast(model, visits(task, task.history.visits, start, stop), task.targets)
    row = {
        "model": f"leaspy {version('leaspy')}, logistic",
        **judge(draws, task.truth, task.scale),
        "iterations": arguments.iterations,
        "sources": arguments.sources,
        "seconds": round(time.process_time() - began),
        "convergence": convergence,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"leaspy_{task.name}.json").write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row, indent=1))


def ends(task: Task) -> tuple[Values, Values]:
    """The values of each region that become 0 and 1."""
    table, regions = task.training.visits, task.training.regions
    values = table[regions]
    if values.min().min() >= 0 and values.max().max() <= 1:
        return np.zeros(len(regions)), np.ones(len(regions))
    within = table[["time", *regions]] - table.groupby("subject")[["time", *regions]].transform("mean")
    rising = (within[regions].mul(within["time"], axis=0).sum() > 0).to_numpy()
    low, high = values.min().to_numpy(), values.max().to_numpy()
    return np.where(rising, low, high), np.where(rising, high, low)


def visits(task: Task, table: pd.DataFrame, start: Values, stop: Values) -> pd.DataFrame:
    """leaspy's table: ID, TIME (age in years), regions from 0 to 1."""
    values = (table[task.training.regions] - start) / (stop - start)
    return pd.concat([table[["subject", "age"]].set_axis(["ID", "TIME"], axis=1), values], axis=1)


def fit(table: pd.DataFrame, iterations: int, sources: int) -> tuple[LogisticModel, list[dict[str, float]]]:
    """The fitted model and ten glances at its parameters on the way (means over regions)."""
    model = LogisticModel("logistic", source_dimension=sources)
    every = max(1, iterations // 10)
    with tempfile.TemporaryDirectory() as folder:
        logs = {"path": f"{folder}/logs", "save_periodicity": every}
        model.fit(table, "mcmc_saem", n_iter=iterations, seed=0, progress_bar=False, **logs)
        paths = {name: next(Path(folder).rglob(f"{name}.csv")) for name in LOGGED}
        courses = {name: pd.read_csv(path, header=None, index_col=0).mean(axis=1) for name, path in paths.items()}
    course = pd.DataFrame(courses).round(5).rename_axis("iteration").reset_index()
    return model, course.to_dict("records")


def forecast(model: LogisticModel, history: pd.DataFrame, targets: pd.DataFrame) -> Values:
    """Draws from 0 to 1 ``[visit, sample, region]`` of the targets given the history."""
    dataset = Dataset(Data.from_dataframe(history))
    posterior = Posterior(AlgorithmSettings("mean_posterior", n_iter=PERSONALISE, seed=0, progress_bar=False))
    posterior.run(model, dataset)
    kept = np.linspace(0, len(posterior.draws["tau"]) - 1, DRAWS).round().astype(int)
    noise = model.parameters["noise_std"].numpy()
    rng = np.random.default_rng(0)
    out = np.empty((len(targets), DRAWS, len(noise)))
    for i, subject in enumerate(dataset.indices):
        rows = np.flatnonzero(targets["subject"] == subject)
        ages = targets["age"].to_numpy()[rows]
        for k, step in enumerate(kept):
            parameters = {name: values[step, i] for name, values in posterior.draws.items()}
            out[rows, k] = model.compute_individual_trajectory(ages, parameters)[0].numpy()
    return out + noise * rng.normal(size=out.shape)


class Posterior(MeanPosteriorAlgorithm):
    """leaspy's sampler of individual parameters, which keeps the draws: ``[draw, subject, ...]`` by parameter."""

    def _compute_individual_parameters_from_samples_torch(self, values, attachments, regularities):
        self.draws = values
        return super()._compute_individual_parameters_from_samples_torch(values, attachments, regularities)


if __name__ == "__main__":
    main()
