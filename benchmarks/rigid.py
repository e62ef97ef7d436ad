"""Rigid registration of two visits: crow, and mutual information of DIPY and ANTsPy, with known head positions.

    python benchmarks/rigid.py [--subjects 4] [--resolution 2] [--seed 0]

Simulated T1w scans of the first and the last visit, with noise, bias field, gain and atrophy; one thread. ``error`` is
the mean distance (mm) in the brain between mapped and true positions of points of the first scan; seconds are processor
time. ANTsPy is not a dependency: it is compared if it is installed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from importlib.util import find_spec

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # both are read when the libraries are loaded
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
from dipy.align.imaffine import AffineRegistration, MutualInformationMetric
from dipy.align.transforms import RigidTransform3D
from numpy.typing import NDArray
from timing import write

from crow.scans.grid import Grid
from crow.scans.rigid import flattened, rigid
from crow.simulate import simulate_scans

Volume = NDArray[np.float32]
Matrix = NDArray[np.float64]
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from RAS to the world axes of ITK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--resolution", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    simulation = simulate_scans(arguments.subjects, 4, arguments.resolution, seed=arguments.seed)
    methods: dict[str, Callable[[Volume, Volume, NDArray[np.bool_], NDArray[np.bool_], Grid], Matrix]] = {
        "crow": with_crow,
        "DIPY, mutual information": dipy,
        "DIPY, a tenth of the voxels": lambda *pair: dipy(*pair, share=0.1),
        **({"ANTsPy": antspy} if find_spec("ants") else {}),
    }
    rows = []
    for subject in simulation.subjects.index:
        sessions = list(simulation.visits.loc[simulation.visits["subject"] == subject, "session"])[::3]
        a, b = (simulation.render(subject, session, noise=True) for session in sessions)
        brain_a, brain_b = (simulation.labels(subject, session) > 0 for session in sessions)
        to_head = [simulation.position(subject, session).to_head for session in sessions]
        true = np.linalg.inv(to_head[1]) @ to_head[0]
        points = np.concatenate([simulation.grid.points()[:, brain_a], np.ones((1, brain_a.sum()))])
        for name, method in methods.items():
            began = time.process_time()
            found = method(a, b, brain_a, brain_b, simulation.grid)
            error = np.linalg.norm(((found - true) @ points)[:3], axis=0).mean()
            rows.append({"method": name, "error (mm)": error, "seconds": time.process_time() - began})
    table = pd.DataFrame(rows).groupby("method", sort=False).agg(["mean", "max"]).round(3)
    table.columns = [f"{name}, {how}" for name, how in table.columns]
    print(table.to_string())
    write("rigid", f"Rigid registration of {arguments.subjects} pairs", table.reset_index().to_dict("records"))


def with_crow(a: Volume, b: Volume, brain_a: NDArray[np.bool_], brain_b: NDArray[np.bool_], grid: Grid) -> Matrix:
    return rigid(flattened(a, grid, brain_a), brain_a, grid, flattened(b, grid, brain_b), grid, np.eye(4))


def dipy(
    a: Volume, b: Volume, brain_a: NDArray[np.bool_], brain_b: NDArray[np.bool_], grid: Grid, share: float | None = None
) -> Matrix:
    search = AffineRegistration(
        metric=MutualInformationMetric(nbins=32, sampling_proportion=share),
        level_iters=[1000, 200, 50], sigmas=[3.0, 1.0, 0.0], factors=[4, 2, 1], verbosity=0,
    )  # fmt: skip
    found = search.optimize(a, b, RigidTransform3D(), None, grid.matrix, grid.matrix)
    return np.asarray(found.affine)


def antspy(a: Volume, b: Volume, brain_a: NDArray[np.bool_], brain_b: NDArray[np.bool_], grid: Grid) -> Matrix:
    import ants

    lps = TO_LPS @ grid.matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    place = {"origin": lps[:3, 3].tolist(), "spacing": spacing.tolist(), "direction": lps[:3, :3] / spacing}
    fixed, moving = (ants.from_numpy(image.astype(float), **place) for image in (a, b))
    found = ants.registration(fixed, moving, "Rigid", random_seed=1)["fwdtransforms"][0]
    transform = ants.read_transform(found)
    centre, matrix = np.array(transform.fixed_parameters), np.array(transform.parameters[:9]).reshape(3, 3)
    out = np.eye(4)
    out[:3, :3] = matrix
    out[:3, 3] = np.array(transform.parameters[9:]) + centre - matrix @ centre
    return TO_LPS @ out @ TO_LPS


if __name__ == "__main__":
    main()
