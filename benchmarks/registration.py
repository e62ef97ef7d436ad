"""Registration of two visits of a subject: crow, ANTsPy and DIPY on simulated change.

    python benchmarks/registration.py [--subjects 3] [--resolution 2] [--seed 0]

Simulated T1w scans of the first and the last visit, with noise, bias field and gain of each visit, in the head position
of the first. Each is divided by its mean in the brain; all methods use the same brain mask. A method estimates u (mm)
with last(x) ~ first(x + u(x)), evaluated on the noise-free scans at the voxels x of the brain:

"change": correlation of first(x + u(x)) - first(x) with the true last(x) - first(x).
"log Jacobian": correlation of log det D(x + u) with the true one.
"folds": number of voxels with a determinant that is not positive.
Ventricles, hippocampus: error of the volume ratio last / first (mean over the labels of the last scan, against
`ScanSimulation.volumes`), and share: estimated over true log ratio, both summed over subjects.
"seconds": processor time per pair.

Values are means over subjects. Settings other than the defaults were chosen on the first pair, which is included in the
evaluation. ANTsPy is not a dependency: pip install antspyx.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # both are read when the libraries are loaded
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
from dipy.align.metrics import CCMetric, SimilarityMetric, SSDMetric
from numpy.typing import NDArray
from scipy import ndimage
from timing import write

from crow.scans.change import ChangeRegistration
from crow.scans.deform import exponential, jacobian, sample
from crow.scans.grid import Grid
from crow.scans.prepare import VELOCITY_MM
from crow.scans.template import STRUCTURES, load_template
from crow.simulate import ScanSimulation, simulate_scans
from crow.simulate.anatomy import CENTRE
from crow.simulate.atrophy import change_fields

try:
    import ants
except ImportError:
    raise SystemExit("This benchmark needs ANTsPy: pip install antspyx, then run it again.") from None

Volume = NDArray[np.float32]
TO_LPS = np.array([-1.0, -1.0, 1.0])  # from RAS to the world axes of ITK
STRUCTURES_EVALUATED = {"ventricles": ("ventricles",), "hippocampus": ("hippocampus_left", "hippocampus_right")}


@dataclass(frozen=True)
class Pair:
    """First and last scan, measured and ``clean``, their ``brain``, labels of the last, true volume ratios and u."""

    grid: Grid
    first: Volume
    last: Volume
    clean: tuple[Volume, Volume]
    brain: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    labels: NDArray[np.uint8]
    ratios: dict[str, float]
    truth: Volume

    @property
    def around(self) -> NDArray[np.bool_]:
        """The brain of the first scan and one voxel around it, as in `crow.scans.nonlinear`."""
        return ndimage.binary_dilation(self.brain[0])


Method = Callable[[Pair], Volume]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--resolution", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    simulation = simulate_scans(options.subjects, 4, options.resolution, "T1w", options.seed)
    pairs = [pair_of(simulation, subject) for subject in simulation.subjects.index]
    rows: list[dict[str, str | int | float]] = []
    for name, method in METHODS.items():
        rows.append({"method": name, **evaluate(method, pairs)})
        print(rows[-1], flush=True)
    voxels = " x ".join(str(n) for n in simulation.grid.shape)
    write("registration", f"Registration of two visits: {len(pairs)} pairs of T1w scans, {voxels}", rows)


def pair_of(simulation: ScanSimulation, subject: str) -> Pair:
    sessions = simulation.visits.loc[simulation.visits["subject"] == subject, "session"]
    before, after = sessions.iloc[0], sessions.iloc[-1]
    first, last = (simulation.render(subject, session, like=before) for session in (before, after))
    labels = [simulation.labels(subject, session, like=before) for session in (before, after)]
    measured = []
    for session, image, parts in zip((before, after), (first, last), labels, strict=True):
        scan = simulation.measured(subject, session, image)
        measured.append((scan / scan[parts > 0].mean()).astype(np.float32))
    volumes = [simulation.volumes(subject, session) for session in (before, after)]
    ratios = {
        name: sum(volumes[1][part] for part in parts) / sum(volumes[0][part] for part in parts)
        for name, parts in STRUCTURES_EVALUATED.items()
    }
    truth = true_displacement(simulation, subject, before, after)
    brain = (labels[0] > 0, labels[1] > 0)
    return Pair(simulation.grid, measured[0], measured[1], (first, last), brain, labels[1], ratios, truth)


def true_displacement(simulation: ScanSimulation, subject: str, before: str, after: str) -> Volume:
    """u ``[3, X, Y, Z]`` mm with last(x) = first(x + u(x)): both are warps of the template."""
    simulated, position = simulation.subject(subject), simulation.position(subject, before)
    fields = change_fields().grid
    x = simulation.grid.points()
    at = simulated.anatomy.to_template(position.points(x))
    for velocity in (-simulation.velocity(subject, after), simulation.velocity(subject, before)):
        at = at + sample(exponential(velocity, fields), fields, at)
    head = at + sample(simulated.anatomy.back, simulated.anatomy.grid, at)
    centre = np.array(CENTRE, np.float32)[:, None, None, None]
    head = (head - centre) * np.float32(simulated.anatomy.size) + centre
    back = np.linalg.inv(position.to_head)
    return (np.tensordot(back[:3, :3], head, 1) + back[:3, 3, None, None, None] - x).astype(np.float32)


def evaluate(method: Method, pairs: list[Pair]) -> dict[str, float]:
    each, logs, seconds = [], {name: np.zeros(2) for name in STRUCTURES_EVALUATED}, []
    for pair in pairs:
        began = time.process_time()
        u = method(pair)
        seconds.append(time.process_time() - began)
        inside = pair.brain[1]
        first, last = pair.clean
        change = _warped(first, pair.grid, u) - first
        found, true = jacobian(u, pair.grid), jacobian(pair.truth, pair.grid)
        row = {
            "change": _correlation(change[inside], (last - first)[inside]),
            "log Jacobian": _correlation(_log(found[inside]), _log(true[inside])),
            "folds": float((found[inside] <= 0).sum()),
        }
        for name, parts in STRUCTURES_EVALUATED.items():
            where = np.isin(pair.labels, [label for label, known in STRUCTURES.items() if known in parts])
            ratio = 1 / float(found[where].mean())
            row[f"{name} error (%)"] = 100 * abs(ratio / pair.ratios[name] - 1)
            logs[name] += np.log([ratio, pair.ratios[name]])
        each.append(row)
    out = {name: round(float(np.mean([row[name] for row in each])), 3) for name in each[0]}
    shares = {f"{name} share": round(float(found / true), 2) for name, (found, true) in logs.items()}
    return {**out, **shares, "seconds": round(float(np.mean(seconds)), 1)}


def no_change(pair: Pair) -> Volume:
    return np.zeros_like(pair.truth)


def true_change(pair: Pair) -> Volume:
    return pair.truth


def crow(pair: Pair) -> Volume:
    """Like `register_subject` in the space of the pair, on the velocity grid of a store."""
    nodes = pair.grid.coarser(VELOCITY_MM)
    space = replace(load_template(1.0), grid=pair.grid, mask=pair.brain[0], structures=pair.labels)
    velocity = ChangeRegistration(pair.first, space, nodes).velocity(pair.last)
    return sample(exponential(velocity, nodes), nodes, pair.grid.points())


def syn(**settings: Any) -> Method:
    """ANTsPy's symmetric normalisation without linear stages, in the mask."""

    def run(pair: Pair) -> Volume:
        fixed, moving, mask = (_to_ants(image, pair.grid) for image in (pair.last, pair.first, pair.around))
        found = ants.registration(
            fixed, moving, "SyNOnly", "Identity", mask=mask, mask_all_stages=True, random_seed=0, **settings
        )
        field = next(path for path in found["fwdtransforms"] if path.endswith("Warp.nii.gz"))
        return np.moveaxis(ants.image_read(field).numpy() * TO_LPS, -1, 0).astype(np.float32)

    return run


def dipy(metric: Callable[[], SimilarityMetric]) -> Method:
    """DIPY's symmetric diffeomorphic registration of the masked scans."""

    def run(pair: Pair) -> Volume:
        last, first = (np.where(pair.around, image, 0) for image in (pair.last, pair.first))
        matrix = pair.grid.matrix
        registration = SymmetricDiffeomorphicRegistration(metric())
        found = registration.optimize(last, first, static_grid2world=matrix, moving_grid2world=matrix)
        return np.moveaxis(np.asarray(found.get_forward_field()), -1, 0).astype(np.float32)

    return run


CC: dict[str, Any] = {"syn_metric": "CC", "syn_sampling": 2}
FULL = {**CC, "reg_iterations": (10,)}  # at full resolution, at which ANTsPy has no iterations by default
METHODS: dict[str, Method] = {
    "no change": no_change,
    "true change": true_change,
    "crow": crow,
    "ANTsPy SyNOnly": syn(),
    "ANTsPy SyNOnly, CC": syn(**CC),
    "ANTsPy SyNOnly, CC, full resolution": syn(**FULL),
    "ANTsPy SyNOnly, CC, full resolution, flow_sigma 6": syn(**FULL, flow_sigma=6),
    "DIPY, SSD": dipy(lambda: SSDMetric(3)),
    "DIPY, CC": dipy(lambda: CCMetric(3)),
    "DIPY, CC, sigma_diff 4": dipy(lambda: CCMetric(3, sigma_diff=4.0)),
}


def _to_ants(image: NDArray[Any], grid: Grid) -> Any:
    matrix = TO_LPS[:, None] * grid.matrix[:3]
    direction = matrix[:, :3] / grid.spacing
    return ants.from_numpy(image.astype(np.float32), matrix[:, 3].tolist(), grid.spacing.tolist(), direction)


def _warped(image: Volume, grid: Grid, u: Volume) -> Volume:
    """image(x + u(x)), cubic: linear interpolation would blur as much as the brain changes."""
    inverse = np.linalg.inv(grid.matrix)
    voxels = np.tensordot(inverse[:3, :3], grid.points() + u, 1) + inverse[:3, 3, None, None, None]
    return ndimage.map_coordinates(image, voxels, order=3)


def _log(determinant: Volume) -> Volume:
    return np.log(np.maximum(determinant, 1e-3))


def _correlation(a: Volume, b: Volume) -> float:
    return 0.0 if np.std(a) < 0.01 * np.std(b) else float(np.corrcoef(a, b)[0, 1])


if __name__ == "__main__":
    main()
