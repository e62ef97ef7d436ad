"""Stores of small scans, on which training takes a second."""

from pathlib import Path

import numpy as np
import pandas as pd
from small_cohorts import in_memory

from crow.scans.grid import Grid
from crow.scans.store import DONE, ScanStore, StoreInfo

SHAPE = (11, 14, 9)
SUBJECTS, VISITS = 8, 3


def ball() -> np.ndarray:
    i = np.indices(SHAPE).astype(float)
    return (((i - np.array([5, 6, 4])[:, None, None, None]) / np.array([5, 6, 4])[:, None, None, None]) ** 2).sum(0) < 1


def make_store(path: Path, mask: np.ndarray, seed: int = 0, modality: str = "T1w") -> ScanStore:
    """Subjects with a random smooth pattern, a linear decline, noise, and signal outside the brain."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({
        "subject": np.repeat([f"s{k:02d}" for k in range(SUBJECTS)], VISITS),
        "sex": np.repeat(["MF"[k % 2] for k in range(SUBJECTS)], VISITS),
        "age": 70.0 + np.tile(np.arange(VISITS), SUBJECTS) + np.repeat(np.arange(SUBJECTS), VISITS),
    })  # fmt: skip
    cohort = in_memory(table, [], {"sex": "categorical"})
    grid = Grid.of(SHAPE, np.diag([2.0, 2, 2, 1]))
    info = StoreInfo(modality=modality, space="x", grid=grid, cohort_schema=cohort.schema)
    store = ScanStore.create(path, info, cohort, np.ones(SHAPE, np.float32), mask)
    x = np.indices(SHAPE)[0] / 5
    for row in range(SUBJECTS * VISITS):
        amplitude = np.random.default_rng(row // VISITS).normal()
        image = 1 + 0.3 * amplitude * np.sin(x) - 0.1 * x * (row % VISITS) + 0.05 * generator.normal(size=SHAPE)
        store.array("intensity")[row] = np.where(mask, image, 7).astype(np.float32)
        store.array("status")[row] = DONE
    store.finish([])
    return store


def with_files(store: ScanStore, gain: float = 100.0) -> ScanStore:
    """The same store with scan paths and with a ``gain`` between intensities and scans."""
    schema = store.info.cohort_schema.model_copy(update={"scan": "scan"})
    visits = pd.read_csv(store.path / "visits.csv", dtype={"subject": str, "session": str})
    visits["scan"] = [f"scans/{subject}_{session}.nii.gz" for subject, session in visits[["subject", "session"]].values]
    visits.to_csv(store.path / "visits.csv", index=False)
    store.invalidate({"cohort_schema": schema})
    for row in range(len(visits)):
        store.array("scale")[row] = np.array([gain, 0.0])
        store.array("to_scan")[row] = np.eye(4)
    store.finish([])
    return ScanStore.open(store.path)
