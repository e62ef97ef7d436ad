"""Two small stores of the same subjects: a source, and a target that partly depends on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from small_cohorts import in_memory

from crow.scans.grid import Grid
from crow.scans.store import DONE, ScanStore, StoreInfo

SHAPE = (8, 10, 9)
SUBJECTS, VISITS = 14, 2


def paired_stores(folder: Path, subjects: int = SUBJECTS) -> tuple[ScanStore, ScanStore]:
    """A PET store (target) and a T1w store (source).

    One pattern of the target depends on the source, another does not. The last subject has no T1w scan at its second
    visit.
    """
    rng = np.random.default_rng(0)
    wave = np.sin(np.indices(SHAPE)[1] / 2)
    shared, other = rng.normal(size=(2, subjects * VISITS, 1, 1, 1))
    source = 1 + 0.3 * shared * wave + 0.02 * rng.normal(size=(subjects * VISITS, *SHAPE))
    target = 1 + 0.3 * shared * np.cos(np.indices(SHAPE)[0] / 2) + 0.2 * other + 0.02 * rng.normal(size=source.shape)
    t1w = make_store(folder / "t1w", "T1w", source[:-1])
    return make_store(folder / "pet", "pet", target), t1w


def make_store(
    path: Path, modality: str, images: np.ndarray, mm: float = 4.0, session: str = "", names: str = "s"
) -> ScanStore:
    """Images ``[row, X, Y, Z]`` of subjects with two visits each."""
    rows = np.arange(len(images))
    table = pd.DataFrame({
        "subject": [f"{names}{row // VISITS:02d}" for row in rows], "age": 70.0 + rows % VISITS,
    })  # fmt: skip
    cohort = in_memory(table, [], {})
    if session:
        cohort.visits["session"] = session
    shape = images.shape[1:]
    info = StoreInfo(
        modality=modality, space="MNI152NLin2009cAsym", grid=Grid.of(shape, np.diag([mm, mm, mm, 1])),
        settings={"resolution": mm, "modality": modality, "registration": "none"}, cohort_schema=cohort.schema,
    )  # fmt: skip
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    store = ScanStore.create(path, info, cohort, np.ones(shape, np.float32), mask)
    for row, image in enumerate(images):
        store.array("intensity")[row] = image.astype(np.float32)
        store.array("status")[row] = DONE
    store.finish([])
    return ScanStore.open(path)
