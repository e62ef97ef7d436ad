"""Synthetic slices of `crow synthesize`, compared with real slices of test subjects.

    python benchmarks/synthesize_scans.py [--seeds 3] [--modality T1w pet] [--work DIR] [--figure FILE]

240 subjects are simulated, prepared (linear registration) and reduced to one axial slice of 6 mm. Half of them, drawn
anew for each seed, are training subjects, with sex, age and diagnosis as attributes; slices with the attributes of the
other half are sampled. The baseline is a voxel-wise regression on the attributes with independent noise.

``bits`` are bits per voxel of the slice in test subjects, given their attributes. From 8 samples for every test
subject, over the voxels of the brain: the sd of the slice's mean and of voxels, relative to the real ones; the
concordance (Lin) of the maps of effects (ten years of age, women - men, dementia - CN, by least squares, in sds), and
that of the training subjects, which is an upper limit. ``AUC real vs synthetic``: area under the curve of a quadratic
discriminant trained to separate synthetic from real slices by the first 20 components of the real ones,
cross-validated; 0.5 is chance.
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
from crow.flows.image_initialisation import fit_regression
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.report import figures
from crow.report.images import montage
from crow.representation.cross_sectional import GREYS, ScanInputs

SUBJECTS, RESOLUTION, DRAWS = 240, 6.0, 8
COMPONENTS = 20
POSITION = 5.0  # mm: through the ventricles
ATTRIBUTES = ["sex", "age", "diagnosis"]
EFFECTS = ("age", "sex", "dementia")
Values = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--modality", nargs="+", default=["T1w", "pet"])
    parser.add_argument("--architectures", nargs="+", default=["cglow", "caglow"])
    parser.add_argument("--work", type=Path, help="folder for cohorts and stores; existing ones are used again")
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
                for name in ("training subjects", "voxel-wise regression", *options.architectures):
                    values = task(name)
                    found.setdefault(name, []).append(values)
                    print(modality, seed, name, {key: round(value, 3) for key, value in values.items()}, flush=True)
                if options.figure and not seed and modality == "T1w":
                    picture(task, options.figure)
            for name, each in found.items():
                shown = {key: _shown([one[key] for one in each]) for key in each[0]}
                rows.append({"modality": modality, "model": name, **shown})
    write("synthesize_scans", f"Synthetic slices given sex, age, diagnosis; {SUBJECTS // 2} training subjects", rows)


def store(work: Path, modality: str) -> ScanStore:
    cohort, prepared = work / f"{modality}_cohort", work / f"{modality}_store"
    if not cohort.exists():
        write_scans(cohort, SUBJECTS, 1, RESOLUTION, modality, seed=0)
    return prepare(cohort, prepared, resolution=RESOLUTION, registration="linear", jobs=1, suffix=modality).store


class Task:
    """Training subjects, test subjects, and the evaluation of synthetic slices."""

    def __init__(self, data: ScanStore, seed: int) -> None:
        self.seed = seed
        order = np.random.default_rng(seed).permutation(len(data.rows))
        half = len(order) // 2
        self.training, self.test = (data.subset(np.sort(part)) for part in (order[:half], order[half:]))
        self.models: list[Synthesizer] = []
        visits = self.test.cohort().visits
        self.design = design(visits)
        settings = {"images": {"slice": "axial", "position": POSITION}, "seed": seed}
        self.settings: dict[str, Any] = settings
        first = Synthesizer(**settings, training={"max_epochs": 0})
        first.fit(self.training, ATTRIBUTES)
        assert isinstance(first.visits, ScanInputs)
        self.image, self.attributes = first.visits, first.attributes
        self.c = self.attributes.encode(visits)
        self.x = self.levels(self.test)
        self.real = self.x.numpy()[:, 0, self.image.mask]

    def levels(self, data: ScanStore) -> torch.Tensor:
        """Grey levels ``[subject, 1, *space]``."""
        return torch.from_numpy(self.image.encode(data, data.cohort().visits.index.to_numpy())).float()

    def __call__(self, name: str) -> dict[str, float]:
        visits = self.training.cohort().visits
        if name == "training subjects":
            real = self.levels(self.training).numpy()[:, 0, self.image.mask]
            return self.scores(real[None], effects(design(visits), real)) | {"bits": np.nan, "seconds": np.nan}
        began = time.process_time()
        if name == "voxel-wise regression":
            x, c = self.levels(self.training), self.attributes.encode(visits)
            regression = VoxelRegression(self.image.shape, c.shape[1])
            fit_regression(regression, Examples(x, c), GREYS)
            torch.manual_seed(0)
            v, log_q = UniformDequantizer(GREYS)(self.x)
            z, log_det = regression(v, self.c)
            log_prob = StandardPrior(self.image.shape).log_prob(z) + log_det - log_q
            e = torch.randn(DRAWS, *z.shape, generator=torch.Generator().manual_seed(self.seed))
            drawn = torch.stack([UniformDequantizer(GREYS).inverse(regression.inverse(one, self.c)[0]) for one in e])
        else:
            model = Synthesizer(architecture=name, **self.settings).fit(self.training, ATTRIBUTES)
            self.models.append(model)
            log_prob = torch.from_numpy(model.log_prob(self.test)["log_prob"].to_numpy(copy=True))
            flow: Any = model.fitted()
            drawn = flow.sample(self.c, DRAWS, torch.Generator().manual_seed(self.seed))
        seconds = time.process_time() - began
        values = drawn.numpy()[:, :, 0, self.image.mask]
        found = self.scores(values, effects(self.design, values.mean(0)))
        bits = float(bits_per_dim(log_prob, int(np.prod(self.image.shape))).mean())
        return found | {"bits": bits, "seconds": seconds}

    def scores(self, drawn: Values, found: Values) -> dict[str, float]:
        """Scores of slices ``[draw, subject, voxel]`` and of their effects."""
        sd = self.real.std(0) + 1
        pairs = zip(effects(self.design, self.real) / sd, found / sd, strict=True)
        concordances = [concordance(real, got) for real, got in pairs]
        return {
            "sd of the mean": float(drawn.mean(2).std(1).mean() / self.real.mean(1).std()),
            "sd of voxels": float((drawn.std(1).mean(0) / sd).mean()),
            **{f"concordance, {name}": value for name, value in zip(EFFECTS, concordances, strict=True)},
            "AUC real vs synthetic": auc_real_vs_synthetic(self.real, drawn[0], self.seed),
        }


def auc_real_vs_synthetic(real: Values, drawn: Values, seed: int) -> float:
    components = PCA(COMPONENTS, whiten=True, random_state=0).fit(real)
    x = components.transform(np.concatenate([real, drawn]))
    y = np.r_[np.zeros(len(real)), np.ones(len(drawn))]
    order = np.random.default_rng(seed).permutation(len(y))
    discriminant = QuadraticDiscriminantAnalysis(reg_param=0.1)
    score = cross_val_predict(discriminant, x[order], y[order], cv=5, method="decision_function")
    return float(roc_auc_score(y[order], score))


def design(visits: pd.DataFrame) -> Values:
    """Intercept, age in decades, and indicators: ``[visit, 1 + effect + MCI]``."""
    dx = visits["diagnosis"]
    indicators = [visits["sex"] == "Female", dx == "Dementia", dx == "MCI"]
    return np.column_stack([np.ones(len(visits)), (visits["age"] - 73) / 10, *indicators]).astype(float)


def effects(design: Values, x: Values) -> Values:
    """Least-squares effects ``[effect, voxel]``."""
    return np.linalg.lstsq(design, x, rcond=None)[0][1 : 1 + len(EFFECTS)]


def picture(task: Task, path: Path) -> None:
    """Three real and three synthetic slices (first model) of women without and with dementia."""
    model = task.models[0]
    visits = task.test.cohort().visits
    images, titles = [], []
    for dx in ("CN", "Dementia"):
        rows = visits[(visits["diagnosis"] == dx) & (visits["sex"] == "Female")].head(3)
        real = task.image.decode(torch.from_numpy(task.image.encode(task.test, rows.index.to_numpy())).float())
        images += list(real)
        titles += [f"real, {dx}, {age:.0f}" for age in rows["age"]]
        attributes, drawn = model.sample({"sex": "Female", "diagnosis": dx}, 3, seed=1)
        assert isinstance(drawn, np.ndarray)
        images += list(drawn)
        titles += [f"synthetic, {dx}, {age:.0f}" for age in attributes["age"]]
    figures.save(montage(np.stack(images), titles), path, overwrite=True)


def _shown(values: list[float]) -> str:
    if np.isnan(values[0]):
        return ""
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
