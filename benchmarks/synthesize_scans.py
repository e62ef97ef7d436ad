"""Slices of people who do not exist, by `crow synthesize`, beside slices of people whom it did not see.

    python benchmarks/synthesize_scans.py [--seeds 3] [--modality T1w pet] [--work DIR] [--figure docs/synthetic_slices.png]

240 people are simulated, prepared (linear registration) and cut to one axial slice of 6 mm. Half of them, other ones
for every seed, are learned from, given sex, age and diagnosis; everybody else is invented with these attributes. The
baseline is a regression of every voxel on the attributes, with noise of the voxel's own.

``bits`` are those a voxel of the slice, on the others, given their attributes. Of 8 inventions of every one of the
others, over the voxels of the brain: the sd of the slice's mean and of voxels, over the real ones'; the concordance
(Lin) of the maps of effects (ten years of age, women - men, dementia - CN, by least squares, in sds), and that of the
people learned from, which is all that there is to know. ``told apart``: the area under the curve of a quadratic
discriminant that learned to tell inventions from real slices by the first 20 components of the real ones, on others, by
folds; .5 is chance.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from timing import write

from crow import ScanStore, Synthesizer
from crow.bijections.dequantize import UniformDequantizer
from crow.bijections.priors import StandardPrior
from crow.bijections.voxel_regression import VoxelRegression
from crow.data.examples import Examples
from crow.evaluation.groups import concordance
from crow.flows.base import bits_per_dim
from crow.flows.image_start import fit_regression
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.report import figures
from crow.report.images import montage
from crow.representation.cross_sectional import GREYS, ScanInputs

PEOPLE, RESOLUTION, DRAWS = 240, 6.0, 8
JUDGED = 20  # components
POSITION = 5.0  # mm: through the ventricles
ATTRIBUTES = ["sex", "age", "diagnosis"]
EFFECTS = ("age", "sex", "dementia")
Values = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--modality", nargs="+", default=["T1w", "pet"])
    parser.add_argument("--systems", nargs="+", default=["cglow", "caglow"])
    parser.add_argument("--work", type=Path, help="folder that keeps cohorts and stores; what is there is used again")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, str | int | float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for modality in options.modality:
            data = store(options.work or Path(temporary), modality)
            found: dict[str, list[dict[str, float]]] = {}
            for seed in range(options.seeds):
                task = Task(data, seed)
                for name in ("people learned from", "voxels alone", *options.systems):
                    values = task(name)
                    found.setdefault(name, []).append(values)
                    print(modality, seed, name, {key: round(value, 3) for key, value in values.items()}, flush=True)
                if options.figure and not seed and modality == "T1w":
                    picture(task, options.figure)
            for name, each in found.items():
                shown = {key: _shown([one[key] for one in each]) for key in each[0]}
                rows.append({"modality": modality, "model": name, **shown})
    write("synthesize_scans", f"Slices invented given sex, age, diagnosis; {PEOPLE // 2} people learned from", rows)


def store(work: Path, modality: str) -> ScanStore:
    cohort, prepared = work / f"{modality}_people", work / f"{modality}_people_store"
    if not cohort.exists():
        write_scans(cohort, PEOPLE, 1, RESOLUTION, modality, seed=0)
    return prepare(cohort, prepared, resolution=RESOLUTION, register="linear", jobs=1, suffix=modality).store


class Task:
    """The people learned from, the others, and what is said of inventions of the others."""

    def __init__(self, data: ScanStore, seed: int) -> None:
        self.seed = seed
        order = np.random.default_rng(seed).permutation(len(data.rows))
        half = len(order) // 2
        self.learned, self.others = (data.some(np.sort(part)) for part in (order[:half], order[half:]))
        self.models: list[Synthesizer] = []
        visits = self.others.cohort().visits
        self.design = design(visits)
        settings = {"images": {"slice": "axial", "position": POSITION}, "seed": seed}
        self.settings: dict[str, Any] = settings
        first = Synthesizer(**settings, training={"max_epochs": 0})
        first.fit(self.learned, ATTRIBUTES)
        assert isinstance(first.visits, ScanInputs)
        self.image, self.attributes = first.visits, first.attributes
        self.c = self.attributes.encode(visits)
        self.x = self.levels(self.others)
        self.real = self.x.numpy()[:, 0, self.image.mask]

    def levels(self, data: ScanStore) -> torch.Tensor:
        """Grey levels ``[person, 1, *space]``."""
        return torch.from_numpy(self.image.encode(data, data.cohort().visits.index.to_numpy())).float()

    def __call__(self, name: str) -> dict[str, float]:
        visits = self.learned.cohort().visits
        if name == "people learned from":
            mine = self.levels(self.learned).numpy()[:, 0, self.image.mask]
            return self.judged(mine[None], effects(design(visits), mine)) | {"bits": np.nan, "seconds": np.nan}
        began = time.process_time()
        if name == "voxels alone":
            x, c = self.levels(self.learned), self.attributes.encode(visits)
            alone = VoxelRegression(self.image.shape, c.shape[1])
            fit_regression(alone, Examples(x, c), GREYS)
            torch.manual_seed(0)
            v, log_q = UniformDequantizer(GREYS)(self.x)
            z, log_det = alone(v, self.c)
            log_prob = StandardPrior(self.image.shape).log_prob(z) + log_det - log_q
            e = torch.randn(DRAWS, *z.shape, generator=torch.Generator().manual_seed(self.seed))
            drawn = torch.stack([UniformDequantizer(GREYS).inverse(alone.inverse(one, self.c)[0]) for one in e])
        else:
            model = Synthesizer(architecture=name, **self.settings).fit(self.learned, ATTRIBUTES)
            self.models.append(model)
            log_prob = torch.from_numpy(model.log_prob(self.others)["log_prob"].to_numpy(copy=True))
            flow: Any = model.fitted()
            drawn = flow.sample(self.c, DRAWS, torch.Generator().manual_seed(self.seed))
        seconds = time.process_time() - began
        values = drawn.numpy()[:, :, 0, self.image.mask]
        found = self.judged(values, effects(self.design, values.mean(0)))
        bits = float(bits_per_dim(log_prob, int(np.prod(self.image.shape))).mean())
        return found | {"bits": bits, "seconds": seconds}

    def judged(self, drawn: Values, found: Values) -> dict[str, float]:
        """Of ``[draw, person, voxel]`` and their effects."""
        sd = self.real.std(0) + 1
        pairs = zip(effects(self.design, self.real) / sd, found / sd, strict=True)
        concordances = [concordance(real, got) for real, got in pairs]
        return {
            "sd of the mean": float(drawn.mean(2).std(1).mean() / self.real.mean(1).std()),
            "sd of voxels": float((drawn.std(1).mean(0) / sd).mean()),
            **{f"concordance, {name}": value for name, value in zip(EFFECTS, concordances, strict=True)},
            "told apart": told_apart(self.real, drawn[0], self.seed),
        }


def told_apart(real: Values, drawn: Values, seed: int) -> float:
    components = PCA(JUDGED, whiten=True, random_state=0).fit(real)
    x = components.transform(np.concatenate([real, drawn]))
    y = np.r_[np.zeros(len(real)), np.ones(len(drawn))]
    order = np.random.default_rng(seed).permutation(len(y))
    judge = QuadraticDiscriminantAnalysis(reg_param=0.1)
    score = cross_val_predict(judge, x[order], y[order], cv=5, method="decision_function")
    return float(roc_auc_score(y[order], score))


def design(people: pd.DataFrame) -> Values:
    """1, age in decades, and indicators: ``[person, 1 + effect + MCI]``."""
    dx = people["diagnosis"]
    indicators = [people["sex"] == "Female", dx == "Dementia", dx == "MCI"]
    return np.column_stack([np.ones(len(people)), (people["age"] - 73) / 10, *indicators]).astype(float)


def effects(people: Values, x: Values) -> Values:
    """``[effect, voxel]``."""
    return np.linalg.lstsq(people, x, rcond=None)[0][1 : 1 + len(EFFECTS)]


def picture(task: Task, path: Path) -> None:
    """Three real slices of women without and with dementia, and three invented ones by the first model, which differ in
    that alone."""
    model = task.models[0]
    visits = task.others.cohort().visits
    images, titles = [], []
    for dx in ("CN", "Dementia"):
        rows = visits[(visits["diagnosis"] == dx) & (visits["sex"] == "Female")].head(3)
        real = task.image.decode(torch.from_numpy(task.image.encode(task.others, rows.index.to_numpy())).float())
        images += list(real)
        titles += [f"real, {dx}, {age:.0f}" for age in rows["age"]]
        people, drawn = model.sample({"sex": "Female", "diagnosis": dx}, 3, seed=1)
        assert isinstance(drawn, np.ndarray)
        images += list(drawn)
        titles += [f"invented, {dx}, {age:.0f}" for age in people["age"]]
    figures.save(montage(np.stack(images), titles), path, overwrite=True)


def _shown(values: list[float]) -> str:
    if np.isnan(values[0]):
        return ""
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
