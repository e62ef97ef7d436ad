"""Follow-up PET by `subspace`, compared with the last scan and a voxel-wise linear mixed model.

    python benchmarks/scans_pet.py [--subjects 80] [--resolution 2] [--seed 0] [--work DIR]

A simulated amyloid cohort of four visits, prepared by `crow prepare` and evaluated in template space. Every 4th subject
(sorted by name) is a test subject; its last scan is forecast from the first two, given its covariates.

NLL and CRPS are means over voxels of the Gaussian of each voxel (mean and sd of the forecast), in ratios to the
cerebellum; "90 %" is the coverage of its interval. Correlations over voxels with the noise-free truth: "change", of the
forecast change since the second visit, mean over test subjects; "group effect", of the difference at the last visit
between progressing and stable test subjects (CDRSB increases by at least 1, or not); "on change", of the difference of
their changes; "generated", the same for subjects drawn from covariate paths only (change since the first visit),
against all subjects.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import scoringrules
import torch
from timing import write
from voxel_mixed import Subject, VoxelMixed

from crow import Cohort, CRow
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.representation.subspace import Subspace
from crow.scans.deform import sample
from crow.scans.store import ScanStore
from crow.scans.template import load_template
from crow.simulate import ScanSimulation, simulate_scans

DRAWS = 200
GIVEN, VISITS = 2, 4
Values = np.ndarray
Row = dict[str, str | int | float]
Forecast = tuple[Values, Values, Values]  # mean, sd and change since the second visit, [subject, V]


class Task:
    """Rows of training and test subjects in the store ``scans``; ``last`` are the scans to forecast."""

    def __init__(self, scans: ScanStore, simulation: ScanSimulation) -> None:
        self.scans, self.simulation, self.cohort = scans, simulation, scans.cohort()
        names = sorted(scans.subjects)
        visits = self.cohort.visits
        self.test = visits.index[visits["subject"].isin(names[3::4])].to_numpy()
        self.training = visits.index[~visits["subject"].isin(names[3::4])].to_numpy()
        self.last = self.test[VISITS - 1 :: VISITS]

    def visits(self, rows: Values) -> pd.DataFrame:
        return self.cohort.visits.loc[rows]

    def visit(self, rows: Values, number: int) -> Values:
        """Scans ``[subject, V]`` of one visit (the first is 1) of whole ``rows``."""
        return self.scans.masked(rows[number - 1 :: VISITS])

    def past(self, k: int) -> Values:
        """The observed rows of test subject k."""
        return self.test[k * VISITS : k * VISITS + GIVEN]

    @cached_property
    def truth(self) -> tuple[Values, Values]:
        """Second and last scans of test subjects without noise, ``[subject, V]``."""
        return self.clean(self.last - (VISITS - GIVEN)), self.clean(self.last)

    def clean(self, rows: Values) -> Values:
        """Noise-free scans ``[n, V]``, resampled with the maps of the preparation."""
        out = np.empty((len(rows), int(self.scans.mask.sum())), np.float32)
        template, fields = load_template(self.simulation.resolution), self.scans.info.velocity_grid
        for k, row in enumerate(rows):
            subject, session = self.cohort.visits.loc[row, ["subject", "session"]]
            points = template.grid.points()
            anatomy = np.asarray(self.scans.array("anatomy")[self.scans.subject_index(int(row))])
            points = points + sample(anatomy, fields, points)
            matrix = np.asarray(self.scans.array("to_scan")[int(row)])
            points = np.tensordot(matrix[:3, :3], points, 1) + matrix[:3, 3, None, None, None]
            scan = self.simulation.render(subject, session)
            image = sample(scan[None], self.simulation.grid, points.astype(np.float32), outside="zeros")[0]
            out[k] = image[self.scans.mask] / image[template.structure("cerebellum")].mean()
        return out

    def progressing(self, rows: Values) -> Values:
        """Which subjects of whole ``rows`` progress."""
        score = self.visits(rows)["CDRSB"].to_numpy().reshape(-1, VISITS)
        return score[:, -1] - score[:, 0] >= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=80)
    parser.add_argument("--resolution", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for cohort and store; existing ones are used again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        simulation = simulate_scans(options.subjects, VISITS, options.resolution, "pet", options.seed)
        if not (work / "cohort").exists():
            write_scans(work / "cohort", options.subjects, VISITS, options.resolution, "pet", options.seed)
        if not (work / "store").exists():
            prepare(work / "cohort", work / "store", resolution=options.resolution, echo=print, suffix="pet")
        task = Task(ScanStore.open(work / "store"), simulation)
        rows: list[Row] = []
        for name, forecast in (
            ("last scan, Gaussian error", last_scan),
            ("last scan and mean change", mean_change),
            ("voxel-wise mixed model", mixed_model),
        ):
            began = time.perf_counter()
            scores = evaluate(task, *forecast(task))
            rows.append({"model": name, **scores, "seconds": round(time.perf_counter() - began)})
            print(rows[-1], flush=True)
        rows.append(subspace(task))
    title = f"Follow-up PET: {options.subjects} subjects, {options.resolution:g} mm, {task.scans.mask.sum():,} voxels"
    write(f"scans_pet_{options.resolution:g}mm", f"{title}, {len(task.last)} test subjects", rows)


def last_scan(task: Task) -> Forecast:
    """The second scan, with the sd of its error in training subjects at each voxel."""
    before, after = task.visit(task.training, GIVEN), task.visit(task.training, VISITS)
    mean = task.visit(task.test, GIVEN)
    return mean, np.broadcast_to(np.sqrt(((after - before) ** 2).mean(0)), mean.shape), np.zeros_like(mean)


def mean_change(task: Task) -> Forecast:
    """The second scan and the mean change of training subjects."""
    change = task.visit(task.training, VISITS) - task.visit(task.training, GIVEN)
    expected = np.broadcast_to(change.mean(0), (len(task.last), change.shape[1]))
    return task.visit(task.test, GIVEN) + expected, np.broadcast_to(change.std(0), expected.shape), expected


def mixed_model(task: Task) -> Forecast:
    """Random intercept and slope at each voxel; fixed effects of time, age and covariates."""
    kinds = sorted(task.visits(task.training)["diagnosis"].unique())[1:]

    def subject(visits: pd.DataFrame) -> Subject:
        columns = [np.ones(len(visits)), visits["time"], (visits["age"] - 75) / 10, visits["CDRSB"]]
        fixed = np.stack([*columns, *(visits["diagnosis"] == kind for kind in kinds)], 1).astype(float)
        return Subject(fixed, np.stack(columns[:2], 1), task.scans.masked(visits.index.to_numpy()))

    model = VoxelMixed.fit([subject(visits) for _, visits in _subjects(task.visits(task.training))])
    found = []
    for k, (_, visits) in enumerate(_subjects(task.visits(task.test))):
        future, past = subject(visits.iloc[-1:]), subject(task.visits(task.past(k)))
        mean, sd = model.forecast(past, future.fixed[0], future.random[0])
        found.append((mean, sd, mean - model.forecast(past, past.fixed[-1], past.random[-1])[0]))
    mean, sd, change = (np.stack(part) for part in zip(*found, strict=True))
    return mean, sd, change


def subspace(task: Task) -> Row:
    """The row of crow: modes, the flow of their coefficients with default settings, and the residual prior."""
    began = time.perf_counter()
    basis = Subspace.fit(task.scans, task.training)
    training, test = (coefficients(task, basis, rows) for rows in (task.training, task.test))
    model = CRow(training={"threads": 1}).fit(training)
    fitted = time.perf_counter() - began
    count = test.visits.groupby("subject").cumcount()
    future = test.visits[count == VISITS - 1].reset_index(drop=True)[["subject", "time", *task.cohort.covariates]]
    history = Cohort(test.visits[count < GIVEN], test.schema, test.start)
    draws = model.forecast(history, future, samples=DRAWS).values
    found = [basis.forecast(task.scans, task.past(k), d.mean(0), np.cov(d.T)) for k, d in enumerate(draws)]
    change = basis.decode(draws.mean(1)) - basis.decode(basis.encode(task.scans, task.last - (VISITS - GIVEN)))
    row: Row = {
        "model": f"crow, {len(basis.names)} modes",
        **evaluate(task, np.stack([f.mean for f in found]), np.stack([f.sd for f in found]), change),
        "seconds": round(fitted),
    }
    whole = model.log_prob(test)["log_prob"].to_numpy() + basis.residual_log_prob(task.scans, task.test)
    row["joint NLL/voxel, all visits"] = round(-float(whole.mean() + basis.log_scale) / basis.voxels, 4)
    return {**row, **generated(task, basis, model)}


def generated(task: Task, basis: Subspace, model: CRow) -> Row:
    """Correlations of group effects in drawn subjects with the true effects in all subjects."""
    rows = task.cohort.visits.index.to_numpy()
    paths = task.cohort.visits.reset_index(drop=True)[["subject", "time", "age", *task.cohort.covariates]]
    drawn = model.sample(paths, samples=20).values.mean(1).reshape(-1, VISITS, len(basis.names))
    first, last = (_difference(basis.decode(drawn[:, visit]), task.progressing(rows)) for visit in (0, -1))
    before, after = (_difference(task.clean(rows[visit::VISITS]), task.progressing(rows)) for visit in (0, VISITS - 1))
    return {
        "generated group effect": _correlation(last, after),
        "generated, on change": _correlation(last - first, after - before),
    }


def coefficients(task: Task, basis: Subspace, rows: Values) -> Cohort:
    """A cohort whose regions are the coefficients."""
    visits = task.visits(rows)
    visits[basis.names] = basis.encode(task.scans, rows).astype(float)
    schema = task.cohort.schema.model_copy(update={"regions": basis.names})
    start = task.cohort.start[task.cohort.start.index.isin(visits["subject"])]
    return Cohort(visits.reset_index(drop=True), schema, start)


def evaluate(task: Task, mean: Values, sd: Values, change: Values) -> Row:
    """Scores of forecasts of the last scans of test subjects."""
    scans = task.scans.masked(task.last)
    progressing = task.progressing(task.test)
    before, truth = task.truth
    true_change = truth - before
    each = [_correlation(*pair) for pair in zip(change, true_change, strict=True)]
    z = (scans - mean) / sd
    return {
        "NLL/voxel": round(float(np.mean(0.5 * z**2 + np.log(sd)) + 0.5 * np.log(2 * np.pi)), 4),
        "CRPS": round(float(np.mean(scoringrules.crps_normal(scans, mean, sd))), 5),
        "90 %": round(float(np.mean(np.abs(z) < 1.645)), 3),
        "change": round(float(np.mean(each)), 3),
        "group effect": _correlation(_difference(mean, progressing), _difference(truth, progressing)),
        "on change": _correlation(_difference(change, progressing), _difference(true_change, progressing)),
    }


def _difference(maps: Values, progressing: Values) -> Values:
    """Mean of progressing minus stable subjects, ``[V]``."""
    return maps[progressing].mean(0) - maps[~progressing].mean(0)


def _correlation(a: Values, b: Values) -> float:
    """Correlation, 0 if ``a`` is constant."""
    return round(float(np.corrcoef(a, b)[0, 1]), 3) if np.ptp(a) > 1e-6 else 0.0


def _subjects(visits: pd.DataFrame):
    return visits.groupby("subject", sort=False)


if __name__ == "__main__":
    main()
