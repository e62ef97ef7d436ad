"""Correlation over voxels of forecast and true change of a T1w scan, and what limits it.

The mixed model of changes, where the flow begins, and the baselines are fitted to the coefficients of the training
subjects. The last scan but one of each test subject is warped by the forecast change. The true change is free of noise,
in the head position of that scan, inside the brain. The correlation is the mean over test subjects; that of the group
map is the one of maps in template space, the mean change of test subjects with dementia minus that of the others. The
oracle is the change that registration measures with the real target. The last scan has no change, and no correlation.
`benchmarks/scans.py` writes the table.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from change_forecasts import ORACLE
from numpy.typing import NDArray

from crow.bijections.change_fit import fit_change_model
from crow.bijections.innovation import MixedModelInnovation
from crow.data.sides import other_side
from crow.evaluation.region_baselines import Measured, RegionBaselines, covariate_columns
from crow.evaluation.scan_baselines import LAST_SCAN
from crow.evaluation.scan_truth import SimulatedTruth
from crow.representation.deformation import Deformation
from crow.representation.structure_volumes import with_structures
from crow.representation.velocity_modes import VelocityModes
from crow.representation.warped_follow_up import SubjectWarp
from crow.representation.warped_scan import ScanWarper
from crow.scans.change import in_template_space
from crow.scans.deform import compose, exponential, transport
from crow.scans.store import ScanStore

Values = NDArray[np.float64]
Volume = NDArray[np.float32]


class Task:
    """The last scan of a test subject: its row, that of the scan before, and the true change ``[X, Y, Z]``."""

    def __init__(self, store: ScanStore, truth: SimulatedTruth, rows: NDArray[np.int64]) -> None:
        self.store, self.rows, self.last, self.target = store, rows, int(rows[-2]), int(rows[-1])
        change = truth.change(self.last, self.target)
        assert change is not None, "the cohort was simulated by an earlier version: simulate it again"
        self.true = change
        self.scan = ScanWarper(np.asarray(store.array("intensity")[self.last], np.float32), store.info.grid, np.eye(4))

    def change(self, displacement: NDArray[np.float32]) -> Volume:
        """The change of the scan before, warped."""
        nodes = self.store.info.velocity_grid
        assert nodes is not None
        return self.scan.warp(displacement, nodes) - self.scan.image

    def correlation(self, change: Volume) -> float:
        """With the true change, in the brain."""
        return float(np.corrcoef(change[self.store.mask], self.true[self.store.mask])[0, 1])

    def in_template(self, change: Volume) -> Volume:
        """The voxels of the template's brain of a change, ``[V]``."""
        nodes = self.store.info.velocity_grid
        assert nodes is not None
        psi = np.asarray(self.store.array("anatomy")[self.store.subject_index(self.last)], np.float32)
        return in_template_space(change, self.store.info.grid, psi, nodes)[self.store.mask]

    def oracle(self, basis: Deformation) -> Volume:
        warp = SubjectWarp(basis, self.store, self.last, np.zeros(len(basis.names)))
        before, after = (np.asarray(self.store.array("velocity")[row], np.float32) for row in (self.last, self.target))
        fields = [exponential(transport(v, warp.back, basis.nodes), basis.nodes) for v in (-before, after)]
        return self.change(compose(*fields, basis.nodes))


def voxel_rows(store: ScanStore, truth: SimulatedTruth, test: int, modes: int) -> list[dict[str, str | float]]:
    """Two rows per model, for the first ``test`` subjects: the correlation of a subject's change, and of group maps."""
    groups = [own.index.to_numpy() for _, own in store.cohort().visits.groupby("subject", sort=False)]
    training = groups[test:]
    tasks = [Task(store, truth, rows) for rows in groups[:test]]
    basis = representation(store, training, modes)
    fit, baselines = fitted(basis, store, training), fitted_baselines(basis, store, training)
    ill = np.array([str(store.visits.loc[task.last, "diagnosis"]).startswith("Dementia") for task in tasks])
    each: dict[str, list[float]] = {}
    maps: dict[str, list[Volume]] = {}
    true = []
    for task in tasks:
        true.append(task.in_template(task.true))
        for name, change in forecast(basis, task, *fit, baselines).items():
            each.setdefault(name, []).append(task.correlation(change))
            maps.setdefault(name, []).append(task.in_template(change))
    real = group_map(true, ill)
    rows: list[dict[str, str | float]] = []
    for name in each:
        rows.append({"target": "voxels of a subject", "model": name, "r": round(float(np.mean(each[name])), 2)})
    for name, own in maps.items():
        group = group_map(own, ill)
        found = round(float(np.corrcoef(group, real)[0, 1]), 2) if np.ptp(group) > 0 else ""
        rows.append({"target": "group map of voxels", "model": name, "r": found})
    return rows


def group_map(changes: list[Volume], ill: NDArray[np.bool_]) -> Volume:
    """Mean of the subjects with dementia minus that of the others."""
    every = np.stack(changes)
    return np.asarray(every[ill].mean(0) - every[~ill].mean(0))


def representation(store: ScanStore, groups: list[NDArray[np.int64]], count: int) -> Deformation:
    """The representation of training subjects, without the noise of scans, which takes most of the time of its fit."""
    nodes, time = store.info.velocity_grid, store.visits["time"].to_numpy(float)
    assert nodes is not None
    later = np.concatenate([rows[1:] for rows in groups])
    years = np.concatenate([time[rows[1:]] - time[rows[0]] for rows in groups])
    found = VelocityModes.fit(store, later, years, nodes, count)
    noise = np.ones(store.info.grid.shape, np.float32)
    return Deformation(
        store.info.grid, nodes, with_structures(found.fields, nodes), found.duals, found.share, noise, 0
    )


def fitted(
    basis: Deformation, store: ScanStore, groups: list[NDArray[np.int64]]
) -> tuple[MixedModelInnovation, torch.Tensor]:
    """The mixed model of the coefficients, and their units."""
    x = [torch.tensor(basis.encode(store, rows)[1:], dtype=torch.double) for rows in groups]
    context = [torch.tensor(known(store, rows)) for rows in groups]
    square = torch.cat(x).square().mean(0)
    unit = ((square + square[other_side(basis.names)]) / 2).sqrt()
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(v), dtype=torch.bool) for v in x], batch_first=True)
    values, channels = (torch.nn.utils.rnn.pad_sequence(v, batch_first=True) for v in (x, context))
    model = MixedModelInnovation(values.shape[2], range(channels.shape[2]), range(1, channels.shape[2])).double()
    fit_change_model(model, values / unit, channels, mask, other_side=other_side(basis.names))
    return model, unit


def fitted_baselines(basis: Deformation, store: ScanStore, groups: list[NDArray[np.int64]]) -> RegionBaselines:
    """The baselines of `crow evaluate`, of the coefficients."""
    subjects = [measured(basis, store, rows) for rows in groups]
    return RegionBaselines.fit(subjects, False, len(basis.names))


def measured(basis: Deformation, store: ScanStore, rows: NDArray[np.int64]) -> Measured:
    """The coefficients and covariates of a subject's scans."""
    visits = store.cohort().visits
    columns = np.stack(covariate_columns(visits, visits, store.cohort().covariates)[0].loc[rows].to_list())
    return Measured(visits.loc[rows, "time"].to_numpy(float), basis.encode(store, rows).astype(float), columns)


def known(store: ScanStore, rows: NDArray[np.int64]) -> Values:
    """Years since the first scan and standardised covariates of the later ones."""
    visits = store.cohort().visits
    columns = np.stack(covariate_columns(visits, visits, store.cohort().covariates)[0].to_list())
    scaled = pd.DataFrame((np.nan_to_num(columns) - columns.mean(0)) / np.maximum(columns.std(0), 1e-9), visits.index)
    years = visits.loc[rows, "time"].to_numpy(float)
    return np.column_stack([years[1:] - years[0], scaled.loc[rows[1:]].to_numpy()])


@torch.no_grad()
def forecast(
    basis: Deformation, task: Task, model: MixedModelInnovation, unit: torch.Tensor, baselines: RegionBaselines
) -> dict[str, Volume]:
    """The change of voxels that is forecast by each model, and those of the oracle."""
    context = torch.tensor(known(task.store, task.rows))[None]
    own = measured(basis, task.store, task.rows)
    past, zero = torch.tensor(own.values[1:-1])[None] / unit, torch.zeros(1, 1, len(unit)).double()
    moments = model.predict(past, context[:, :-1])[1]
    now, later = context[:, -2:-1], context[:, -2:-1].clone()
    later[..., 0] = context[0, -1, 0]
    levels = [(model.predict(zero, c, moments)[0].mean[0, 0] * unit).numpy() for c in (now, later)]
    seen = Measured(own.times[:-1], own.values[:-1], own.covariates[:-1])
    simple = baselines.forecasts(seen, float(own.times[-1] - own.times[-2]))
    changes = {"crow": levels[1] - levels[0], **{n: mean for n, (mean, _) in simple.items() if n != LAST_SCAN}}
    last = own.values[-2]
    warp = SubjectWarp(basis, task.store, task.last, last)
    out = {name: task.change(warp.displacement(last + change)) for name, change in changes.items()}
    in_modes = task.change(warp.displacement(own.values[-1]))
    return {**out, ORACLE: task.oracle(basis), f"{ORACLE}, in the modes": in_modes}
