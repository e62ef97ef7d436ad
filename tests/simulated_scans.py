"""Small scans simulated from the template, in cohorts of two subjects with two visits each."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from crow.scans.deform import sample
from crow.scans.template import load_template

Volume = NDArray[np.float32]
Matrix = NDArray[np.float64]


def turned(degrees: tuple[float, float, float], mm: tuple[float, float, float]) -> Matrix:
    """A rigid map of world points."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = mm
    return matrix


def head(resolution: float = 8.0, to_template: Matrix | None = None, seed: int = 0, gain: float = 500.0) -> Volume:
    """The template's brain with 2 % noise; ``to_template`` maps points of the scan to the template."""
    template, matrix = load_template(resolution), np.eye(4) if to_template is None else to_template
    points = np.tensordot(matrix[:3, :3], template.grid.points(), 1) + matrix[:3, 3, None, None, None]
    image = sample(load_template(2.0).t1[None], load_template(2.0).grid, points.astype(np.float32), "zeros")[0]
    noise = np.random.default_rng(seed).normal(0, 0.02, image.shape)
    return (gain * np.maximum(image + noise * (image > 0), 0)).astype(np.float32)


def save(path: Path, values: NDArray, affine: Matrix | None = None, resolution: float = 8.0) -> Path:
    """Write a NIfTI with sform and qform, by default on the template's grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = load_template(resolution).grid.matrix if affine is None else affine
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return path


def cohort(folder: Path, subjects: int = 2, resolution: float = 8.0, suffix: str = "T1w") -> Path:
    """Write a table of subject, age, sex and scan with two visits each, and its scans."""
    rows = []
    for s in range(subjects):
        for v in range(2):
            name = f"sub-{s}_ses-{v}_{suffix}.nii.gz"
            save(folder / name, head(resolution, seed=2 * s + v, gain=400.0 + 100 * v), resolution=resolution)
            rows.append({"subject": f"S{s}", "age": 70 + s + 1.5 * v, "sex": "MF"[s % 2], "scan": name})
    table = folder / "cohort.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table
