"""T1w to PET by `crow translate` on simulated subjects with both scans: accuracy and calibration.

    python benchmarks/translate_scans.py [--subjects 60] [--seeds 3] [--patch 12] [--work DIR] [--figure PNG]

The same subjects (two visits each) are simulated as T1w and as amyloid PET, prepared (linear registration), and reduced
to one axial slice, or with ``--patch`` translated as volumes. Each seed has its own test subjects. CRPS, MAE of the
median and coverage of the 90 % interval are means over brain voxels and test visits, in ratios to the cerebellum; "of
the mean" are those of the mean uptake of the slice or brain, which depend on the correlation of voxels. The baselines
draw each voxel from an independent Gaussian: that of the training scans, that of a linear regression on the same voxel
of the T1w scan, and (for slices) that of a deterministic network (the same h, trained by MSE) with its error in
validation subjects.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import scoringrules
import torch
from timing import write

from crow import ScanStore, Translator
from crow.cohort.split import test_subjects
from crow.data.forecast import quantiles_of
from crow.flows.base import DiscreteFlow
from crow.flows.cinn import CINN
from crow.flows.image_initialisation import fit_regression
from crow.flows.predictor import Predictor
from crow.models.cross_sectional import subset
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.report import figures
from crow.report.translations import TranslationRow, translations
from crow.representation.cross_sectional import GREYS, ScanInputs
from crow.representation.pairs import pair, standardised
from crow.training.fit import train

VISITS, RESOLUTION, SAMPLES = 2, 6.0, 64
SETTINGS = {
    "images": {"slice": "axial", "position": 20.0, "size": None},
    "flow": {"levels": 2, "depth": 2, "hidden": 16},
    "training": {"batch_size": 16, "max_epochs": 40},
    "pretrain_epochs": 20,
    "split": {"test": 0.25},
}
Values = np.ndarray
Forecast = tuple[Values, Values]
"""Mean and sd of every voxel, ``[visit, voxel]``."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--patch", type=int, help="translate whole volumes, trained on patches of so many voxels")
    parser.add_argument("--work", type=Path, help="folder for cohorts and stores; existing ones are used again")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        t1w, pet = (store(work, modality, options.subjects) for modality in ("T1w", "pet"))
        seeds = [Task(t1w, pet, seed, options.patch).rows() for seed in range(options.seeds)]
        if options.figure:
            picture(Task(t1w, pet, 0, options.patch), options.figure)
    table = [
        {"method": method, **{key: spread([rows[method][key] for rows in seeds]) for key in values}}
        for method, values in seeds[0].items()
    ]
    what = f"volumes by patches of {options.patch} voxels" if options.patch else "a slice"
    name = "translate_volumes" if options.patch else "translate_scans"
    write(name, f"T1w to PET, {options.subjects} subjects, {what} of {RESOLUTION:g} mm", table)


def store(work: Path, modality: str, subjects: int) -> ScanStore:
    cohort, prepared = work / f"{modality}_cohort", work / f"{modality}_store"
    if not cohort.exists():
        write_scans(cohort, subjects, VISITS, RESOLUTION, modality, seed=0)
    return prepare(cohort, prepared, resolution=RESOLUTION, registration="linear", jobs=1, suffix=modality).store


class Task:
    """Training and test visits of one seed, and a model of each method."""

    def __init__(self, t1w: ScanStore, pet: ScanStore, seed: int, patch: int | None = None) -> None:
        self.t1w, self.pet, self.patch = t1w, pet, patch
        began, settings = time.process_time(), SETTINGS
        if patch is not None:
            settings = SETTINGS | {"images": {"size": None, "patch": patch}}
        self.model = Translator(seed=seed, **settings).fit(pet, t1w, echo=print)
        self.seconds = time.process_time() - began
        self.pairs = pair(pet, t1w)
        visits = pet.cohort().visits.loc[self.pairs.index]
        test = visits["subject"].isin(test_subjects(pet.cohort(), 0.25, seed))
        self.test, self.training = visits[test], visits[~test]

    def rows(self) -> dict[str, dict[str, float]]:
        truth, rng = self.scans(self.test.index), np.random.default_rng(0)
        gaussian = {
            "training mean": self.training_mean(),
            "voxel-wise linear regression": self.regression(),
        }
        if self.patch is None:
            gaussian["deterministic network"] = self.network()
        drawn = {name: rng.normal(*moments, (SAMPLES, *truth.shape)) for name, moments in gaussian.items()}
        found = {name: scores(truth, samples) for name, samples in {**drawn, "cINN": self.samples()}.items()}
        found["cINN"]["seconds"] = self.seconds
        for name, values in found.items():
            print(name, {key: round(value, 4) for key, value in values.items()}, flush=True)
        return found

    def scans(self, rows: Values) -> Values:
        """PET ``[visit, voxel]`` inside the brain, on the target grid (not in grey levels)."""
        visits = self.model.inputs
        assert isinstance(visits, ScanInputs)
        images = np.stack([visits.box.read(self.pet, int(row)) for row in rows])
        if visits.cut is not None:
            images = np.take(images, visits.cut[1], visits.cut[0] + 1)
        return images[:, visits.mask]

    def sources(self, rows: Values) -> torch.Tensor:
        """Standardised T1w ``[visit, 1, *space]``."""
        assert isinstance(self.model.given, ScanInputs)
        return standardised(self.model.given, self.t1w, self.pairs.loc[rows].to_numpy())

    def samples(self) -> Values:
        mask = self.model.inputs.mask
        rows = self.t1w.subset(self.pairs.loc[self.test.index].to_numpy())
        return self.model.sample(rows, SAMPLES)[:, :, mask[:, :, None] if mask.ndim == 2 else mask]

    def training_mean(self) -> Forecast:
        past = self.scans(self.training.index)
        shape = (len(self.test), past.shape[1])
        return np.broadcast_to(past.mean(0), shape), np.broadcast_to(past.std(0), shape)

    def regression(self) -> Forecast:
        mask = self.model.inputs.mask
        x, y = self.sources(self.training.index).numpy()[:, 0, mask], self.scans(self.training.index)
        slope = ((x - x.mean(0)) * (y - y.mean(0))).mean(0) / x.var(0)
        sd = np.sqrt(((y - y.mean(0) - slope * (x - x.mean(0))) ** 2).sum(0) / (len(y) - 2))
        new = self.sources(self.test.index).numpy()[:, 0, mask]
        mean = y.mean(0) + slope * (new - x.mean(0))
        return mean, np.broadcast_to(sd, mean.shape)

    def network(self) -> Forecast:
        """The h of the flow, trained by MSE to its lowest validation error."""
        model = self.model
        torch.manual_seed(model.config.seed)
        untrained = Translator(model.config)
        untrained.inputs, untrained.given = model.inputs, model.given
        flow = untrained.build()
        assert isinstance(flow, DiscreteFlow) and isinstance(flow.flow, CINN)
        standard = flow.flow.bijection.bijections[0]  # type: ignore[union-attr,index]
        net = Predictor(
            flow.flow.h.trunk, model.config.flow.hidden, model.inputs.shape, before=[flow.dequantizer, standard]
        )
        examples = model.pairs_of(self.pet, self.t1w, self.training)
        fit, validation = (
            subset(examples, torch.from_numpy(part)) for part in model.split_rows(examples, self.training["subject"])
        )
        fit_regression(standard, fit, GREYS)
        train(net, fit, validation, model.config.training, model.config.seed)
        rows = self.training.index[model.validation(self.training["subject"])]
        sd = np.sqrt(((self.scans(rows) - self.predicted(net, standard, rows)) ** 2).mean(0))
        mean = self.predicted(net, standard, self.test.index)
        return mean, np.broadcast_to(sd, mean.shape)

    @torch.no_grad()
    def predicted(self, net: Predictor, standard: torch.nn.Module, rows: Values) -> Values:
        visits = self.model.inputs
        assert isinstance(visits, ScanInputs)
        sources = self.sources(rows)
        v, _ = standard.inverse(net(sources), sources)  # type: ignore[operator]
        return (visits.low + (v.numpy() + 0.5) * (visits.high - visits.low))[:, 0, visits.mask]


def scores(truth: Values, samples: Values) -> dict[str, float]:
    """Scores of ``samples [n, visit, voxel]`` against ``truth [visit, voxel]``."""
    found = {}
    for of, values, drawn in (("", truth, samples), (" of the mean", truth.mean(1), samples.mean(2))):
        low, high = quantiles_of(drawn, [0.05, 0.95], axis=0)
        found[f"CRPS{of}"] = float(scoringrules.crps_ensemble(values, np.moveaxis(drawn, 0, -1)).mean())
        found[f"MAE{of}"] = float(np.abs(values - np.median(drawn, 0)).mean())
        found[f"90 %{of}"] = float(((values >= low) & (values <= high)).mean())
    return found


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ({min(values):.4f}-{max(values):.4f})"


def picture(task: Task, path: Path, count: int = 4) -> None:
    """Test visits at even ranks of mean uptake, with source and true target."""
    model = task.model
    given, target = model.given, model.inputs
    assert isinstance(given, ScanInputs) and isinstance(target, ScanInputs)
    order = task.test.index[np.argsort(task.scans(task.test.index).mean(1))]
    rows = order[np.linspace(0, len(order) - 1, count).astype(int)]
    shown = []
    for row in rows:
        source = int(task.pairs.loc[row])
        one = next(iter(model.translate(task.t1w.subset(np.array([source])), SAMPLES, seed=1)))
        images = [
            visits.decode(torch.from_numpy(visits.encode(scans, np.array([k]))).float())[0]
            for visits, scans, k in ((given, task.t1w, source), (target, task.pet, int(row)))
        ]
        title = f"{one.visit['subject']} {one.visit['session']}"
        shown.append(TranslationRow(title, images[0], one.samples, one.median, one.sd, images[1]))
    figures.save(translations(shown, "T1w", "PET"), path, overwrite=True)


if __name__ == "__main__":
    main()
