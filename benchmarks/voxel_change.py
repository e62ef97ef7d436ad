"""Correlation over voxels of forecast and true change of a T1w scan, and what limits it.

    python benchmarks/voxel_change.py --store DIR [--test 12] [--components 4,10]

The store is one of simulated scans with their truth (`benchmarks/change.py --work DIR` leaves one in ``DIR/store``).
The mixed model of changes, where the flow begins, is fitted to the coefficients of all but ``--test`` subjects. The
last scan of each test subject is warped by the forecast change from the scan before. The true change is free of noise,
in the head position of the scan before, inside the brain. "modes": number of modes of velocity; "oracle": the change
that registration measures with the real target. The figure is the mean over test subjects; "group" is the correlation
of maps in template space: the mean change of test subjects with dementia minus that of the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from timing import write

from crow.bijections.change_fit import fit_change_model
from crow.bijections.innovation import MixedModelInnovation
from crow.data.sides import other_side
from crow.evaluation.region_baselines import covariate_columns
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--test", type=int, default=12)
    parser.add_argument("--components", default="4,10")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = ScanStore.open(arguments.store)
    truth = SimulatedTruth.find(store)
    assert truth is not None
    groups = [own.index.to_numpy() for _, own in store.cohort().visits.groupby("subject", sort=False)]
    tasks = [Task(store, truth, rows) for rows in groups[: arguments.test]]
    rows = []
    for count in map(int, arguments.components.split(",")):
        basis = modes(store, groups[arguments.test :], count)
        fit = fitted(basis, store, groups[arguments.test :])
        found = [forecast(basis, task, *fit) for task in tasks]
        ill = np.array([str(store.visits.loc[task.last, "diagnosis"]).startswith("Dementia") for task in tasks])
        true = group_map([task.in_template(task.true) for task in tasks], ill)
        row: dict[str, str | float] = {"modes": count}
        for name in found[0]:
            each = [task.correlation(own[name]) for task, own in zip(tasks, found, strict=True)]
            group = group_map([task.in_template(own[name]) for task, own in zip(tasks, found, strict=True)], ill)
            row |= {name: round(float(np.mean(each)), 2), f"{name}: group": round(np.corrcoef(group, true)[0, 1], 2)}
        rows.append(row)
    resolution = float(store.info.settings["resolution"])
    write(f"voxel_change_{resolution:g}mm", f"Change of voxels: {len(tasks)} test subjects, {resolution:g} mm", rows)


def group_map(changes: list[Volume], ill: NDArray[np.bool_]) -> Volume:
    """Mean of the subjects with dementia minus that of the others."""
    every = np.stack(changes)
    return np.asarray(every[ill].mean(0) - every[~ill].mean(0))


def modes(store: ScanStore, groups: list[NDArray[np.int64]], count: int) -> Deformation:
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


def known(store: ScanStore, rows: NDArray[np.int64]) -> Values:
    """Years since the first scan and standardised covariates of the later ones."""
    visits = store.cohort().visits
    columns = np.stack(covariate_columns(visits, visits, store.cohort().covariates)[0].to_list())
    scaled = pd.DataFrame((np.nan_to_num(columns) - columns.mean(0)) / np.maximum(columns.std(0), 1e-9), visits.index)
    years = visits.loc[rows, "time"].to_numpy(float)
    return np.column_stack([years[1:] - years[0], scaled.loc[rows[1:]].to_numpy()])


@torch.no_grad()
def forecast(basis: Deformation, task: Task, model: MixedModelInnovation, unit: torch.Tensor) -> dict[str, Volume]:
    """The change of voxels that is forecast, the mean change, and those of the oracle."""
    context = torch.tensor(known(task.store, task.rows))[None]
    own = basis.encode(task.store, task.rows).astype(float)
    past, zero = torch.tensor(own[1:-1])[None] / unit, torch.zeros(1, 1, len(unit)).double()
    moments = model.predict(past, context[:, :-1])[1]
    now, later = context[:, -2:-1], context[:, -2:-1].clone()
    later[..., 0] = context[0, -1, 0]
    mean = [torch.cat([c[..., :1], 0 * c[..., 1:]], -1) for c in (now, later)]  # standardised covariates are 0
    own_levels = [model.predict(zero, c, moments)[0].mean[0, 0] * unit for c in (now, later)]
    mean_levels = [model.predict(zero, c)[0].mean[0, 0] * unit for c in mean]
    last = own[-2]
    changes = {"crow": own_levels[1] - own_levels[0], "mean change": mean_levels[1] - mean_levels[0]}
    warp = SubjectWarp(basis, task.store, task.last, last)
    out = {name: task.change(warp.displacement(last + change.numpy())) for name, change in changes.items()}
    return {**out, "oracle, in these modes": task.change(warp.displacement(own[-1])), "oracle": task.oracle(basis)}


if __name__ == "__main__":
    main()
