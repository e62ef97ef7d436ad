"""One small example of every kind of model, for the contract that all of them keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import simulated_scans
from paired_stores import paired_stores
from small_cohorts import in_memory, small_cohort
from small_stores import ball, make_store, with_files

from crow.models.base import Model
from crow.models.registry import model_class
from crow.pipelines.prepare import prepare
from crow.scans.store import ScanStore
from crow.scans.template import load_template

LONGITUDINAL = {"training": {"max_epochs": 1, "steps_per_epoch": 2}, "model": {"members": 1, "hidden": 4, "blocks": 1}}
SINGLE = {
    "training": {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 8}, "flow": {"levels": 1, "depth": 2, "hidden": 4}
}  # fmt: skip


@dataclass(frozen=True)
class ModelCase:
    """``fit`` trains a model on ``data``; ``ask`` is a question whose answer depends on everything that was learned."""

    settings: dict[str, Any]
    data: Any
    fit: Callable[..., Model]
    ask: Callable[[Any], pd.DataFrame | np.ndarray[Any, Any]]

    def model(self, kind: str, **more: Any) -> Any:
        return model_class(kind)(**{**self.settings, **more})


def table(subjects: int = 24) -> Any:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({
        "subject": [f"s{k:02d}" for k in range(subjects)], "age": 70.0, "sex": ["FM"[k % 2] for k in range(subjects)],
        **{name: rng.normal(size=subjects) for name in "ABC"},
    })  # fmt: skip
    return in_memory(rows, ["A", "B", "C"], {"sex": "categorical"})


def masked_scans(folder: Path) -> tuple[ScanStore, Path]:
    """A store of ten subjects' scans with a bright ball in each, and the folder of the balls' masks."""
    cohort, rng = simulated_scans.cohort(folder / "bids", subjects=10), np.random.default_rng(0)
    voxels = np.indices(load_template(8.0).grid.shape)
    for s in range(10):
        middle = np.array([13, 15, 12]) + rng.uniform(-2, 2, 3)
        for v in range(2):
            ball = ((voxels - middle[:, None, None, None]) ** 2).sum(0) < 9
            scan = simulated_scans.head(8.0, seed=2 * s + v) * (1 - ball) + 900 * ball
            simulated_scans.save(folder / "bids" / f"sub-{s}_ses-{v}_T1w.nii.gz", scan.astype(np.float32))
            simulated_scans.save(folder / "masks" / f"sub-{s}_ses-{v}_mask.nii.gz", ball.astype(np.uint8))
    prepare(cohort, folder / "store", resolution=8, registration="none", jobs=1)
    return ScanStore.open(folder / "store"), folder / "masks"


def model_cases(folder: Path) -> dict[str, ModelCase]:
    """A case for every kind of `crow.models.registry.MODELS`."""
    cohort, single = small_cohort(), table()
    pet, _ = paired_stores(folder / "pairs")
    balls = with_files(make_store(folder / "balls", ball()))
    heads, masks = masked_scans(folder / "heads")
    thick = np.asarray(pet.array("intensity")[0])[:, :, :4]

    def on(*arguments: Any) -> Callable[..., Model]:
        return lambda model, **options: model.fit(*arguments, **options)

    # A flow that does not improve on the mixed model is replaced by it, and then no seed makes a difference.
    standard = {**LONGITUDINAL, "model": {**LONGITUDINAL["model"], "initialise": "standard"}}
    scans = {**LONGITUDINAL, "scans": {"representation": "subspace", "components": 2}}
    voxels = {
        "training": LONGITUDINAL["training"],
        "scans": {"representation": "voxels", "voxels": {"size": None, "levels": 1, "depth": 2, "hidden": 4}},
    }
    patches = {**SINGLE, "images": {"size": 4}}
    return {
        "regions": ModelCase(standard, cohort, on(cohort), lambda m: m.log_prob(cohort)),
        "scans": ModelCase(scans, balls, on(balls), lambda m: m.log_prob(balls)),
        "voxels": ModelCase(voxels, balls, on(balls), lambda m: m.log_prob(balls)),
        "translate": ModelCase(
            {**SINGLE, "pretrain_epochs": 1}, single, on(single, ["A"]), lambda m: m.sample(single, 2, seed=1)
        ),
        "enhance": ModelCase(patches, pet, on(pet, 2, "z"), lambda m: m.sample(thick, 2, seed=1)),
        "segment": ModelCase(patches, heads, on(heads, masks), lambda m: m.sample(heads, 0, 2, seed=1)),
        "classify": ModelCase(SINGLE, single, on(single, "sex"), lambda m: m.predict(single)),
        "synthesize": ModelCase(SINGLE, single, on(single, ["sex"]), lambda m: m.sample("sex=F", 5, seed=1)[1]),
    }
