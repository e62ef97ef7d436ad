"""Volumes of the template's structures as coefficients of change, beside the modes of velocity.

Modes follow what is visible in images, in which small structures count little. The change of a structure's log volume
is therefore measured and forecast as a coefficient of its own, and fields of the structures bring a velocity of modes
to the forecast volumes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crow.scans.change_prior import structure_fields
from crow.scans.deform import volume_ratio
from crow.scans.grid import Grid
from crow.scans.region_values import label_volumes
from crow.scans.store import ScanStore
from crow.scans.template import STRUCTURES, load_template

VOLUMES_MM = 3.0  # voxels in which the volumes of structures are measured
SEED = 0  # of the error of registration
NAMES = [f"log_volume_{name}" for name in STRUCTURES.values()]
Array = NDArray[np.floating]
# True minus forecast change of two simulated cohorts (24 subjects each at 3 mm, benchmarks/scans.py), as a share of the
# root mean square of all structures' changes of the log volume: its mean, and its sd beyond what the model itself
# expects, which includes the difference between the cohorts.
ERROR = {
    "csf": (0.14, 0.09), "ventricles": (0.05, 0.12), "hippocampus": (0.10, 0.0), "amygdala": (-0.58, 0.0),
    "deep_gray": (-0.35, 0.0), "cortex": (-0.13, 0.17), "white_matter": (-0.25, 0.04), "cerebellum": (-0.03, 0.0),
    "brainstem": (-0.05, 0.0),
}  # fmt: skip


def registration_error(changes: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and sd ``[S]`` of true minus forecast ``changes [S]`` of log volumes, for the error that all scans share.

    In noisy scans, registration finds too little of the change of structures that have little contrast, in every scan
    alike (without noise, it finds all of it). This error grows with the change of the whole brain, not with the little
    that is found. How large it is in real scans is not known; it is taken from simulated ones.
    """
    error = np.array([ERROR[name.removesuffix("_left").removesuffix("_right")] for name in STRUCTURES.values()])
    mean, sd = (error * np.sqrt(np.mean(np.square(changes)))).T.astype(np.float64)
    return mean, sd


def true_changes(measured: NDArray[np.floating]) -> NDArray[np.float64]:
    """Draws ``[n, S]`` of true changes of log volumes, from draws ``[n, S]`` of the changes that scans would measure.

    They are moved by the mean of `registration_error`, and have its spread.
    """
    missed, spread = registration_error(np.median(measured, 0))
    return np.asarray(measured + missed + spread * np.random.default_rng(SEED).standard_normal(measured.shape))


def log_volumes(psi: Array, velocity: Array, nodes: Grid) -> NDArray[np.float64]:
    """Log volume (mm3 of aligned space) of each structure of a subject with anatomy psi at a velocity, ``[S]``."""
    template = load_template(VOLUMES_MM)
    every = label_volumes(psi, velocity, nodes, template.structures, template.grid, len(STRUCTURES))
    return np.asarray(np.log(every[1:]))


def log_volume_changes(store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Change of each structure's log volume from a subject's first scan to each row, as registered, ``[n, S]``."""
    nodes = store.info.velocity_grid
    assert nodes is not None
    first: dict[int, NDArray[np.float64]] = {}
    out = np.zeros((len(rows), len(STRUCTURES)))
    for k, row in enumerate(rows):
        subject = store.subject_index(int(row))
        psi = np.asarray(store.array("anatomy")[subject], np.float32)
        velocity = np.asarray(store.array("velocity")[int(row)], np.float32)
        if velocity.any():
            if subject not in first:
                first[subject] = log_volumes(psi, np.zeros_like(velocity), nodes)
            out[k] = log_volumes(psi, velocity, nodes) - first[subject]
    return out


def with_structures(modes: NDArray[np.float32], nodes: Grid) -> NDArray[np.float32]:
    """Fields ``[K + S, 3, x, y, z]`` of coefficients (a, d): the sum changes the log volumes of structures by d.

    That is ``sum_k a_k B_k + sum_s r_s G_s`` with G the fields of structures and r what the volumes need beyond the
    modes B, to first order and in the template's anatomy.
    """
    template = load_template(VOLUMES_MM)
    own = structure_fields(nodes, template.structures, template.grid)
    to_log_volumes = np.linalg.inv(np.stack([_response(field, nodes) for field in own]))  # [log volume, field]
    own = np.tensordot(to_log_volumes.astype(np.float32), own, 1)
    of_modes = np.stack([_response(mode, nodes) for mode in modes]).astype(np.float32)
    return np.concatenate([modes - np.tensordot(of_modes, own, 1), own])


def _response(field: NDArray[np.float32], nodes: Grid) -> NDArray[np.float64]:
    """Derivative of the log volume of each structure by the amount of a velocity field, ``[S]``."""
    template = load_template(VOLUMES_MM)
    step = 0.01 / max(float(np.abs(field).max()), 1e-6)
    ratio = volume_ratio(np.float32(-step) * field, nodes, template.grid)
    inside = template.structures > 0
    sums = np.bincount(template.structures[inside], ratio[inside] - 1.0, len(STRUCTURES) + 1)[1:]
    counts = np.bincount(template.structures[inside], minlength=len(STRUCTURES) + 1)[1:]
    return np.asarray(sums / counts / step)
