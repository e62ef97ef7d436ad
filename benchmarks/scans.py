"""Follow-up scans of simulated subjects: the last visit forecast from the first two, compared with baselines.

    python benchmarks/scans.py [--subjects 80] [--visits 4] [--resolution 2] [--test 20] [--work DIR]

Simulates T1w scans, then times ``crow prepare``, ``crow train`` (defaults, without test subjects) and the follow-ups.
On test subjects, in the space of the second scan: correlation of predicted and true change (noise-free) in the brain,
volume errors of ventricles and hippocampus relative to the last scan, SSIM (MONAI) in the brain with the real last
scan, and coverage of the 90 % voxel intervals. The baselines work in template space (with crow's registration) and are
mapped back: the subject's own change extrapolated, the mean yearly change of training subjects, and a voxel-wise linear
mixed model (random intercept and slope, expectation maximisation).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from monai.metrics.regression import compute_ssim_and_cs
from numpy.typing import NDArray
from rich.progress import track
from timing import write
from voxel_mixed import Subject, VoxelMixed

from crow.cohort.split import test_subjects
from crow.models.follow_up import FollowUpModel
from crow.models.scans import ScanModel
from crow.pipelines.simulate_scans import write_scans
from crow.representation.scan_space import ScanSpace
from crow.scans.deform import invert, sample, slabs, warp
from crow.scans.store import ScanStore
from crow.simulate import simulate_scans

Volume = NDArray[np.float32]
Z90 = 1.6449
STRUCTURES = {"ventricles": ("ventricles",), "hippocampus": ("hippocampus_left", "hippocampus_right")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=80)
    parser.add_argument("--visits", type=int, default=4)
    parser.add_argument("--resolution", type=float, default=2.0)
    parser.add_argument("--test", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work", type=Path, help="folder for cohort, store and run; existing ones are used again"
    )
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="crow-scans-"))
    size = {"subjects": arguments.subjects, "visits": arguments.visits, "resolution": arguments.resolution}
    seconds, memory = {}, {}
    if not (work / "cohort").exists():
        write_scans(work / "cohort", **size, modality="T1w", seed=arguments.seed)
    for step, command in _steps(work, arguments).items():
        if not (work / {"prepare": "store", "train": "run"}[step]).exists():
            seconds[step], memory[step] = _run(command)
    simulation = simulate_scans(**size, modality="T1w", seed=arguments.seed)
    model, store = FollowUpModel.load(work / "run"), ScanStore.open(work / "store")
    began = time.perf_counter()
    rows = evaluate(model, store, simulation)
    seconds["forecast and evaluate"] = time.perf_counter() - began
    memory["forecast and evaluate"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    costs = [
        {
            "step": step,
            "seconds": round(s, 1),
            "seconds per scan": round(s / len(store.rows), 2),
            "GiB": round(memory[step], 2),
        }
        for step, s in seconds.items()
    ]
    name = f"scans_t1w_{arguments.subjects}x{arguments.visits}_{arguments.resolution:g}mm"
    print(pd.DataFrame(rows).to_string(index=False))
    print(pd.DataFrame(costs).to_string(index=False))
    write(name, "Follow-up scans: the last visit from the first two", rows)
    write(f"{name}_cost", "Time and memory of preparation and training", costs)


def evaluate(model: ScanModel, store: ScanStore, simulation: object) -> list[dict[str, str | float]]:
    """One row per method: means over the test subjects."""
    visits = model.cohort(store).visits
    test = test_subjects(model.cohort(store), model.crow.config.split.test, model.crow.config.seed)
    baselines = Baselines(store, visits, test)
    found = [_evaluate_subject(model, store, simulation, visits, baselines, s) for s in track(test, "Test subjects")]
    table = pd.concat(found)
    out = []
    for method, each in table.groupby("method", sort=False):
        means = each.drop(columns=["method", "subject"]).mean()
        out.append({"method": str(method), **{name: round(float(value), 4) for name, value in means.items()}})
    last = next(row for row in out if row["method"] == "last scan")
    for row in out:
        for name in STRUCTURES:
            row[f"{name} error below last scan's"] = round(1 - row[f"{name} error (%)"] / last[f"{name} error (%)"], 3)
    return out


def _evaluate_subject(
    model: ScanModel, store: ScanStore, simulation: object, visits: pd.DataFrame, baselines: Baselines, subject: str
) -> pd.DataFrame:
    subject_visits = visits[visits["subject"] == subject]
    first, last, target = (subject_visits.index[k] for k in (0, 1, -1))
    past = store.subset(np.array([first, last]))
    future = subject_visits.loc[[target], ["subject", "time"]].reset_index(drop=True)
    forecast = model.forecast(past, future)
    follow_up = model.follow_up(past, forecast, 0)
    sessions = subject_visits["session"]
    before = simulation.render(subject, sessions[last])
    after = simulation.render(subject, sessions[target], like=sessions[last])
    brain = simulation.labels(subject, sessions[last]) > 0
    # The target scan in the head position of the second visit, in the second scan's units.
    (gain, offset), (gain_t, offset_t) = (store.array("scale")[int(row)] for row in (last, target))
    real = (simulation.measured(subject, sessions[target], after) - offset_t) / gain_t * gain + offset
    scan = np.asarray(follow_up.like.dataobj, np.float32)
    true = (after - before)[brain]
    volumes = [simulation.volumes(subject, sessions[row]) for row in (last, target)]
    rows = []
    change = {"crow": follow_up.change, "last scan": np.zeros_like(scan), **baselines.changes(first, last, target)}
    for method, predicted in change.items():
        row: dict[str, str | float] = {"method": method, "subject": subject}
        row["correlation of change"] = _correlation(predicted[brain], true)
        row["SSIM"] = _ssim(follow_up.median if method == "crow" else scan + predicted, real, brain)
        for name, parts in STRUCTURES.items():
            was, became = (sum(each[part] for part in parts) for each in volumes)
            guess = was * (1 + _relative(follow_up.volumes, parts)) if method == "crow" else was
            only = method in ("crow", "last scan")
            row[f"{name} error (%)"] = 100 * abs(guess - became) / became if only else np.nan
        if method == "crow":
            inside = np.abs(real - follow_up.median) <= Z90 * follow_up.sd
            row["coverage of 90 % intervals"] = float(inside[brain].mean())
        rows.append(row)
    return pd.DataFrame(rows)


class Baselines:
    """Predicted change of the voxels of a scan, from intensities in template space."""

    def __init__(self, store: ScanStore, visits: pd.DataFrame, test: list[str]) -> None:
        self.store, self.visits = store, visits
        training = visits[~visits["subject"].isin(test)]
        grouped = list(training.groupby("subject", sort=False))
        subjects = [self._subject(part.index.to_numpy()) for _, part in track(grouped, "Training scans")]
        slopes = [np.polyfit(s.random[:, 1], s.scans, 1)[0] for s in subjects]
        self.mean_slope = np.mean(slopes, 0).astype(np.float32)
        self.model = VoxelMixed.fit(subjects)

    def changes(self, first: int, last: int, target: int) -> dict[str, Volume]:
        time = self.visits["time"]
        ahead = time[target] - time[last]
        past = self._subject(np.array([first, last]))
        extrapolated = (past.scans[1] - past.scans[0]) / (time[last] - time[first]) * ahead
        effects = self._effects(np.array([last, target]))
        now, then = (self.model.forecast(past, effects[k], effects[k, :2])[0] for k in (0, 1))
        each = {
            "own change extrapolated": extrapolated,
            "mean change": self.mean_slope * ahead,
            "voxel-wise mixed model": then - now,
        }
        return {name: self._native(last, values.astype(np.float32)) for name, values in each.items()}

    def _effects(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """1, years since the first scan, age at the first scan (decades relative to 75)."""
        time, age = (self.visits.loc[rows, name].to_numpy(float) for name in ("time", "age"))
        return np.stack([np.ones_like(time), time, (age - time - 75) / 10], 1)

    def _subject(self, rows: NDArray[np.int64]) -> Subject:
        effects = self._effects(rows)
        return Subject(effects, effects[:, :2], np.stack([self._masked(int(row)) for row in rows]))

    def _masked(self, row: int) -> NDArray[np.float32]:
        store = self.store
        warped = warp(
            np.asarray(store.array("intensity")[row]), store.info.grid, self._anatomy(row), store.info.velocity_grid
        )
        return warped[store.mask]

    def _native(self, row: int, values: NDArray[np.float32]) -> Volume:
        """Map voxels of the mask to the scan's native grid and units."""
        store = self.store
        volume = np.zeros(store.info.grid.shape, np.float32)
        volume[store.mask] = values
        target = ScanSpace(store, row)
        back = invert(self._anatomy(row), store.info.velocity_grid)
        matrix = np.linalg.inv(np.asarray(store.array("to_scan")[row])).astype(np.float32)
        out = np.empty(target.grid.shape, np.float32)
        for part, points in slabs(target.grid):
            points = (np.tensordot(matrix[:3, :3], points, 1) + matrix[:3, 3, None, None, None]).astype(np.float32)
            points = points + sample(back, store.info.velocity_grid, points)
            out[part] = target.gain * sample(volume[None], store.info.grid, points, "zeros")[0]
        return out

    def _anatomy(self, row: int) -> Volume:
        return np.asarray(self.store.array("anatomy")[self.store.subject_index(row)])


def _relative(volumes: pd.DataFrame, parts: tuple[str, ...]) -> float:
    """Forecast change of the total volume of some structures, relative to the last scan."""
    chosen = volumes[volumes["structure"].isin(parts)]
    return float(chosen["median"].sum() / chosen["last"].sum() - 1)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return 0.0 if not a.any() else float(np.corrcoef(a, b)[0, 1])


def _ssim(a: Volume, b: Volume, mask: NDArray[np.bool_]) -> float:
    top = float(np.quantile(b[mask], 0.999))
    both = (torch.from_numpy(np.ascontiguousarray(x, np.float32))[None, None] for x in (a, b))
    full, _ = compute_ssim_and_cs(
        *both, spatial_dims=3, kernel_size=[7] * 3, kernel_sigma=[1.5] * 3, data_range=top, kernel_type="gaussian"
    )
    inner = mask[3:-3, 3:-3, 3:-3]
    return float(full[0, 0].numpy()[inner].mean())


def _steps(work: Path, arguments: argparse.Namespace) -> dict[str, list[str]]:
    crow = [str(Path(sys.executable).with_name("crow"))]
    share = arguments.test / arguments.subjects
    return {
        "prepare": [*crow, "prepare", "--cohort", f"{work}/cohort", "--out", f"{work}/store",
                    "--resolution", f"{arguments.resolution:g}"],
        "train": [*crow, "train", "--cohort", f"{work}/store", "--out", f"{work}/run", "--set", f"split.test={share}",
                  "--set", f"seed={arguments.seed}"],
    }  # fmt: skip


def _run(command: list[str]) -> tuple[float, float]:
    """Duration in seconds, and peak memory of a process in GiB."""
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
