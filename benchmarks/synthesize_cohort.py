"""Synthetic subjects with given attributes, sampled by ``crow synthesize``, compared with the true distribution.

    python benchmarks/synthesize_cohort.py [--seeds 0 1 2] [--regions 6 20] [--set training.max_epochs=5 ...]

Each cohort has 400 subjects with one visit in ADNIMERGE's columns (`crow.simulate.simulate_adni`). The models learn its
regions given sex, age and diagnosis, and sample subjects with the attributes of 5,000 others from the same simulation.
The baseline is a linear regression of the regions on the attributes, with Gaussian residuals of one covariance.
``truth`` samples from the simulation itself, as a perfect model would.

Effects are the slope of age (ten years), women - men, MCI - CN and dementia - CN, by least squares over the draws, in
units of the region's true sd given the attributes: concordance (Lin) with the true effects over regions, and mean
absolute error. ``sd given all`` is the sd of draws with the same attributes, relative to the true one: mean over
regions (minimum to maximum). NLL is exact, in nats per subject relative to the regression; the energy score is in the
same sds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from seeds import Row, add_seeds, rows_of_seeds
from timing import write

from crow import Synthesizer
from crow.cohort import read_cohort
from crow.evaluation.groups import concordance
from crow.run.config import load_settings
from crow.run.cross_sectional_config import ARCHITECTURES
from crow.simulate import Simulation, simulate_adni
from crow.simulate.progression import HEAD_SIZE, ICV
from crow.simulate.regions import Regions
from crow.simulate.subjects import diagnosis, draw_subjects

SUBJECTS, OTHERS, DRAWS = 400, 5000, 8
ATTRIBUTES = {"PTGENDER": "sex", "age": "age", "DX": "diagnosis"}
EFFECTS = ("age", "sex", "MCI", "dementia")
Values = NDArray[np.float64]
Draw = Callable[[int], Values]


@dataclass(frozen=True)
class Truth:
    """The simulation as a conditional distribution, by permuting latent variables within group and sex."""

    regions: Regions
    subjects: pd.DataFrame
    rng: np.random.Generator

    @classmethod
    def of(cls, simulation: Simulation, seed: int) -> Truth:
        parameters = simulation.parameters["regions"]
        columns = {
            key: np.array([p[key] for p in parameters.values()])
            for key in Regions.__dataclass_fields__ if key != "names"
        }  # fmt: skip
        rng = np.random.default_rng([seed, 1])
        return cls(Regions(names=tuple(parameters), **columns), draw_subjects(rng, OTHERS), rng)

    @property
    def attributes(self) -> pd.DataFrame:
        """Attributes in ADNIMERGE's columns."""
        p = self.subjects
        return pd.DataFrame({"PTGENDER": p["sex"], "age": p["age"], "DX": diagnosis(p["disease_time"])})

    def draw(self, n: int) -> Values:
        """Draws ``[n, subject, region]`` given the sex, age and diagnosis of each subject."""
        return np.stack([self._draw() for _ in range(n)])

    def _draw(self) -> Values:
        def shuffled(column: str, by: str) -> pd.Series:
            return self.subjects.groupby(by)[column].transform(self.rng.permutation)

        s, icv = shuffled("disease_time", "group"), shuffled("icv", "sex")
        u = self.regions.deviations(self.rng, OTHERS) + HEAD_SIZE * np.log(icv.to_numpy() / ICV)[:, None]
        values = self.regions.values(s.to_numpy(), self.subjects["age"].to_numpy(), u)
        return self.regions.measured(self.rng, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_seeds(parser, [0, 1, 2])
    parser.add_argument("--regions", type=int, nargs="+", default=[6, 20])
    parser.add_argument("--architectures", nargs="+", default=["cglow", "caglow"])
    parser.add_argument("--set", dest="sets", nargs="*", default=[])
    parser.add_argument("--name", default="synthesize_cohort")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, str | int | float]] = []
    for regions in arguments.regions:
        each = rows_of_seeds(of_seed, arguments, regions, arguments.architectures, arguments.sets)
        for name in dict.fromkeys(row["model"] for row in each):
            mine = [row for row in each if row["model"] == name]
            shown = {key: _shown([row[key] for row in mine]) for key in mine[0] if key not in ("seed", "model")}
            rows.append({"regions": regions, "model": name, **shown})
    write(arguments.name, f"Synthetic subjects given sex, age, diagnosis; {SUBJECTS} training subjects", rows)


def of_seed(seed: int, regions: int, architectures: list[str], sets: list[str]) -> list[Row]:
    simulation = simulate_adni(SUBJECTS, 1, regions, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        simulation.table.to_csv(path, index=False)
        cohort = read_cohort(path, one_visit=True, regions=list(simulation.parameters["regions"]))
    truth = Truth.of(simulation, seed)
    assert tuple(cohort.regions) == truth.regions.names
    real, true = truth.draw(1)[0], truth.draw(DRAWS)
    evaluate = Evaluator(design(truth.attributes), real, true)
    linear = Linear(design(cohort.visits), cohort.visits[cohort.regions].to_numpy(float))
    baseline = linear.nll(evaluate.design, real)
    found = {"truth": evaluate(truth.draw(DRAWS))}
    found["regression"] = evaluate(linear.draw(evaluate.design, DRAWS, seed)) | {"NLL": 0.0, "seconds": 0.0}
    for architecture in architectures:
        began = time.process_time()
        model = Synthesizer(load_settings(ARCHITECTURES[architecture], None, [f"seed={seed}", *sets]))
        model.fit(cohort, list(ATTRIBUTES.values()))
        seconds = time.process_time() - began
        c, table = model.attributes.encode(truth.attributes), model.inputs.table
        flow = model.fitted()
        drawn = table.decode(flow.sample(c, DRAWS, torch.Generator().manual_seed(seed)))
        found[architecture] = evaluate(drawn)
        if architecture == "cglow":
            x = torch.from_numpy((real - np.array(table.mean)) / np.array(table.sd)).float()
            with torch.no_grad():
                nll = table.log_scale - float(flow.log_prob(x, c).double().mean())
            found[architecture]["NLL"] = nll - baseline
        found[architecture] |= {"seconds": seconds, "epoch": model.metrics["epoch"]}
    return [{"model": name, **figures} for name, figures in found.items()]


class Evaluator:
    """Compares draws ``[draw, subject, region]`` with true ones, in sds of true draws with the same attributes."""

    def __init__(self, design: Values, real: Values, true: Values) -> None:
        self.design, self.sd = design, _within(true)
        self.real, self.effects = real / self.sd, _effects(design, true / self.sd)

    def __call__(self, drawn: Values) -> dict[str, float]:
        x = drawn / self.sd
        effects, spread = _effects(self.design, x), _within(x)
        found = {
            f"concordance, {name}": concordance(real, got)
            for name, real, got in zip(EFFECTS, self.effects, effects, strict=True)
        }
        energy = np.linalg.norm(x - self.real, axis=2).mean() - _mean_distance(x) / 2
        return {
            "concordance": concordance(self.effects.ravel(), effects.ravel()), **found,
            "effects' error": float(abs(effects - self.effects).mean()),
            "sd given all": float(spread.mean()), "minimum": float(spread.min()), "maximum": float(spread.max()),
            "energy": float(energy),
        }  # fmt: skip


class Linear:
    """Linear regression with Gaussian residuals of one covariance."""

    def __init__(self, design: Values, x: Values) -> None:
        self.beta = np.linalg.lstsq(design, x, rcond=None)[0]
        rest = x - design @ self.beta
        self.factor = np.linalg.cholesky(rest.T @ rest / (len(x) - design.shape[1]))

    def draw(self, design: Values, n: int, seed: int) -> Values:
        e = np.random.default_rng([seed, 2]).normal(size=(n, len(design), len(self.factor)))
        return design @ self.beta + e @ self.factor.T

    def nll(self, design: Values, x: Values) -> float:
        z = np.linalg.solve(self.factor, (x - design @ self.beta).T)
        log_det = np.log(np.diag(self.factor)).sum() + 0.5 * len(z) * np.log(2 * np.pi)
        return float(0.5 * (z * z).sum(0).mean() + log_det)


def design(visits: pd.DataFrame) -> Values:
    """Intercept, age in decades, and indicators: ``[visit, 1 + effect]``."""
    dx = visits["DX"]
    indicators = [visits["PTGENDER"] == "Female", dx == "MCI", dx == "Dementia"]
    return np.column_stack([np.ones(len(visits)), (visits["age"] - 73) / 10, *indicators]).astype(float)


def _effects(design: Values, x: Values) -> Values:
    """Least-squares effects ``[effect, region]`` over all draws."""
    return np.linalg.lstsq(design, x.mean(0), rcond=None)[0][1:]


def _within(x: Values) -> Values:
    """Sd over the draws of one subject, ``[region]``."""
    return np.sqrt(x.var(0, ddof=1).mean(0))


def _mean_distance(x: Values) -> float:
    """Mean distance between two draws of one subject."""
    return float(np.mean([np.linalg.norm(x - np.roll(x, k, 0), axis=2).mean() for k in range(1, len(x))]))


def _shown(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
