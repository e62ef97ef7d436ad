"""T1w to PET by `crow translate`, on people whose both scans are simulated: how good and how sure the answers are.

    python benchmarks/translate_scans.py [--subjects 60] [--seeds 3] [--work DIR] [--figure docs/translate.png]

The same invented people (two visits each) are simulated twice, as T1w and as amyloid PET, prepared (linear
registration), and cut to one axial slice. Every seed keeps other test subjects. CRPS, MAE of the median and what the
90 % interval covers are means over the brain's voxels and the test visits, in ratios to the cerebellum; "of the mean"
are the same of the mean uptake of the slice, for which the voxels of a sample must belong together. The baselines draw
every voxel from a Gaussian of its own: of the training scans, of a linear regression on the same voxel of the T1w scan,
and of the deterministic network (the same h, trained by MSE) with the errors that it has in held-out subjects.
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
from crow.flows.base import DiscreteFlow
from crow.flows.cinn import CINN
from crow.flows.image_initialisation import fit_regression
from crow.flows.predictor import Predictor
from crow.models.cross_sectional import some
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.report import figures
from crow.report.translations import TranslationRow, translations
from crow.representation.cross_sectional import GREYS, ScanInputs
from crow.representation.pairs import pair, standardised
from crow.seeds import derived_seed
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
    parser.add_argument("--work", type=Path, help="folder that keeps cohorts and stores; what is there is used again")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        t1w, pet = (store(work, modality, options.subjects) for modality in ("T1w", "pet"))
        seeds = [Task(t1w, pet, seed).rows() for seed in range(options.seeds)]
        if options.figure:
            picture(Task(t1w, pet, 0), options.figure)
    table = [
        {"method": method, **{key: spread([rows[method][key] for rows in seeds]) for key in values}}
        for method, values in seeds[0].items()
    ]
    write("translate_scans", f"T1w to PET, {options.subjects} subjects, a slice of {RESOLUTION:g} mm", table)


def store(work: Path, modality: str, subjects: int) -> ScanStore:
    cohort, prepared = work / f"{modality}_cohort", work / f"{modality}_store"
    if not cohort.exists():
        write_scans(cohort, subjects, VISITS, RESOLUTION, modality, seed=0)
    return prepare(cohort, prepared, resolution=RESOLUTION, register="linear", jobs=1, suffix=modality).store


class Task:
    """Training and test visits of one seed, and a model of each method."""

    def __init__(self, t1w: ScanStore, pet: ScanStore, seed: int) -> None:
        self.t1w, self.pet = t1w, pet
        began = time.process_time()
        self.model = Translator(seed=seed, **SETTINGS).fit(pet, t1w, echo=print)
        self.seconds = time.process_time() - began
        self.pairs = pair(pet, t1w)
        visits = pet.cohort().visits.loc[self.pairs.index]
        names = sorted(visits["subject"].unique())
        order = np.random.default_rng(derived_seed(seed, 4)).permutation(len(names))  # as crow.models.crow.test_subjects
        held = visits["subject"].isin([names[k] for k in order[: round(0.25 * len(names))]])
        self.test, self.training = visits[held], visits[~held]

    def rows(self) -> dict[str, dict[str, float]]:
        truth, rng = self.scans(self.test.index), np.random.default_rng(0)
        gaussian = {
            "mean of training": self.mean_of_training(),
            "linear regression by voxel": self.regression(),
            "deterministic network": self.network(),
        }
        drawn = {name: rng.normal(*moments, (SAMPLES, *truth.shape)) for name, moments in gaussian.items()}
        found = {name: judge(truth, samples) for name, samples in {**drawn, "cINN": self.samples()}.items()}
        found["cINN"]["seconds"] = self.seconds
        for name, values in found.items():
            print(name, {key: round(value, 4) for key, value in values.items()}, flush=True)
        return found

    def scans(self, rows: Values) -> Values:
        """PET ``[visit, voxel]`` inside the brain, as the translator's target sees it (without grey levels)."""
        visits = self.model.inputs
        assert isinstance(visits, ScanInputs) and visits.cut is not None
        axis = visits.cut[0]
        images = np.stack([np.take(visits.box.read(self.pet, int(row)), visits.cut[1], axis) for row in rows])
        return images[:, visits.mask]

    def sources(self, rows: Values) -> torch.Tensor:
        """Standardised T1w ``[visit, 1, *space]``."""
        assert isinstance(self.model.given, ScanInputs)
        return standardised(self.model.given, self.t1w, self.pairs.loc[rows].to_numpy())

    def samples(self) -> Values:
        mask = self.model.inputs.mask
        rows = self.t1w.some(self.pairs.loc[self.test.index].to_numpy())
        return self.model.sample(rows, SAMPLES)[:, :, mask[:, :, None] if mask.ndim == 2 else mask]

    def mean_of_training(self) -> Forecast:
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
        """The h of the flow, trained by MSE until its own held-out error is least."""
        model = self.model
        torch.manual_seed(model.config.seed)
        fresh = Translator(model.config)
        fresh.visits, fresh.given = model.inputs, model.given
        flow = fresh.build()
        assert isinstance(flow, DiscreteFlow) and isinstance(flow.flow, CINN)
        standard = flow.flow.bijection.bijections[0]  # type: ignore[union-attr,index]
        net = Predictor(
            flow.flow.h.trunk, model.config.flow.hidden, model.inputs.shape, before=[flow.dequantizer, standard]
        )
        examples = model.pairs_of(self.pet, self.t1w, self.training)
        kept, judged = (
            some(examples, torch.from_numpy(rows)) for rows in model.parts(examples, self.training["subject"])
        )
        fit_regression(standard, kept, GREYS)
        train(net, kept, judged, model.config.training, model.config.seed)
        held = self.training.index[model.validation(self.training["subject"])]
        sd = np.sqrt(((self.scans(held) - self.predicted(net, standard, held)) ** 2).mean(0))
        mean = self.predicted(net, standard, self.test.index)
        return mean, np.broadcast_to(sd, mean.shape)

    @torch.no_grad()
    def predicted(self, net: Predictor, standard: torch.nn.Module, rows: Values) -> Values:
        visits = self.model.inputs
        assert isinstance(visits, ScanInputs)
        sources = self.sources(rows)
        v, _ = standard.inverse(net(sources), sources)  # type: ignore[operator]
        return (visits.low + (v.numpy() + 0.5) * (visits.high - visits.low))[:, 0, visits.mask]


def judge(truth: Values, samples: Values) -> dict[str, float]:
    """Of ``truth [visit, voxel]`` and ``samples [n, visit, voxel]``."""
    found = {}
    for of, values, drawn in (("", truth, samples), (" of the mean", truth.mean(1), samples.mean(2))):
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        found[f"CRPS{of}"] = float(scoringrules.crps_ensemble(values, np.moveaxis(drawn, 0, -1)).mean())
        found[f"MAE{of}"] = float(np.abs(values - np.median(drawn, 0)).mean())
        found[f"90 %{of}"] = float(((values >= low) & (values <= high)).mean())
    return found


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ({min(values):.4f}-{max(values):.4f})"


def picture(task: Task, path: Path, count: int = 4) -> None:
    """The test visits at even ranks of mean uptake, with what was given and what is true."""
    model = task.model
    given, target = model.given, model.inputs
    assert isinstance(given, ScanInputs) and isinstance(target, ScanInputs)
    order = task.test.index[np.argsort(task.scans(task.test.index).mean(1))]
    rows = order[np.linspace(0, len(order) - 1, count).astype(int)]
    shown = []
    for row in rows:
        source = int(task.pairs.loc[row])
        one = next(iter(model.translate(task.t1w.some(np.array([source])), SAMPLES, seed=1)))
        images = [
            visits.decode(torch.from_numpy(visits.encode(scans, np.array([k]))).float())[0]
            for visits, scans, k in ((given, task.t1w, source), (target, task.pet, int(row)))
        ]
        title = f"{one.visit['subject']} {one.visit['session']}"
        shown.append(TranslationRow(title, images[0], one.samples, one.median, one.sd, images[1]))
    figures.save(translations(shown, "T1w", "PET"), path, overwrite=True)


if __name__ == "__main__":
    main()
