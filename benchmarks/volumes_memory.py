"""Peak memory of the models of volumes at 1 mm: ``volumes_memory.py [--commands translate,voxels]``.

Ten synthetic subjects with a scan each on a grid of 182 x 218 x 182 voxels of 1 mm, with an ellipsoid of 1.7 million
voxels as brain. Each model is trained in a new process for one epoch of two steps on two patches of 24 voxels (16
channels, one coupling per level), with all that is fitted to whole scans, and then draws once. The peak (VmHWM)
includes the libraries and the pages of the store. `segment` only draws: a mask in the whole box of the brain.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from timing import write

import crow
from crow.cohort.reader import read_cohort
from crow.representation.cross_sectional import ScanInputs
from crow.run.cross_sectional_config import ImageSettings
from crow.scans.grid import Grid
from crow.scans.store import DONE, ScanStore, StoreInfo

SHAPE, AXES = (182, 218, 182), (66, 84, 72)
SUBJECTS, VISITS, PATCH = 10, 1, 24
TRAINING = {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "validation_fraction": 0.2}
FLOW = {"levels": 2, "depth": 1, "hidden": 16}
COMMANDS = ("enhance", "segment", "translate", "synthesize", "voxels")


def make_store(path: Path, modality: str, seed: int) -> ScanStore:
    rng = np.random.default_rng(seed)
    rows = np.arange(SUBJECTS * VISITS)
    table = pd.DataFrame({
        "subject": [f"s{row // VISITS}" for row in rows], "age": 70.0 + rows % VISITS,
        "sex": ["MF"[row // VISITS % 2] for row in rows], "measure": rng.normal(size=len(rows)),
    })  # fmt: skip
    cohort = read_cohort(table, one_visit=True, covariates=["sex"], regions=["measure"])
    places = np.indices(SHAPE, np.float32) - np.array(SHAPE, np.float32)[:, None, None, None] / 2
    mask = sum((place / axis) ** 2 for place, axis in zip(places, AXES, strict=True)) < 1
    info = StoreInfo(
        modality=modality, space="MNI152NLin2009cAsym", grid=Grid.of(SHAPE, np.eye(4)), cohort_schema=cohort.schema,
        settings={"resolution": 1.0, "modality": modality, "registration": "none"},
    )  # fmt: skip
    store = ScanStore.create(path, info, cohort, np.ones(SHAPE, np.float32), mask)
    for row in rows:
        wave = np.sin(places[1] / 20 + rng.normal()) * (1 - 0.05 * (row % VISITS))
        store.array("intensity")[row] = 1 + 0.3 * wave + 0.05 * rng.standard_normal(SHAPE, np.float32)
        store.array("scale")[row], store.array("to_scan")[row] = np.array([1.0, 0.0]), np.eye(4)
        store.array("status")[row] = DONE
    store.finish([])
    return ScanStore.open(path)


def measure(command: str, folder: Path) -> dict[str, str | int | float]:
    """Peak memory in MiB after training and after a draw, and processor seconds."""
    torch.set_num_threads(1)
    t1w, began = ScanStore.open(folder / "t1w"), time.process_time()
    images = {"size": None, "patch": PATCH}
    if command == "translate":
        pet = ScanStore.open(folder / "pet")
        model = crow.Translator(training=TRAINING, flow=FLOW, pretrain_epochs=1, images=images).fit(pet, t1w)
    elif command == "synthesize":
        model = crow.Synthesizer(training=TRAINING, flow=FLOW, images=images).fit(t1w, ["sex"])
    elif command == "enhance":
        model = crow.Enhancer(training=TRAINING, flow=FLOW, images={"size": PATCH}).fit(t1w)
    elif command == "voxels":
        voxels = {"size": None, **FLOW, "patch": PATCH, "batch_size": 2, "memory": "checkpoint"}
        model = crow.VoxelModel(training=TRAINING, scans={"representation": "voxels", "voxels": voxels}).fit(t1w)
    else:
        model = segmenter(t1w)
    trained, minutes = peak(), (time.process_time() - began) / 60
    if command == "translate":
        model.sample(t1w.subset(np.arange(1)), 1)
    elif command == "synthesize":
        model.sample("sex=F", 1)
    elif command == "enhance":
        model.sample(model.slices.thick(np.asarray(t1w.array("intensity")[0])), 1)
    elif command == "voxels":
        visits = t1w.cohort().visits
        model._draw(t1w, visits.iloc[:1], visits.iloc[1:2], 1, 0)
    else:
        model.sample(t1w, 0, 1)
    return {
        "command": command, "peak of training, MiB": trained if command != "segment" else "",
        "peak with a draw, MiB": peak(), "minutes of training": round(minutes, 1),
        "minutes in all": round((time.process_time() - began) / 60, 1),
    }  # fmt: skip


def segmenter(store: ScanStore) -> crow.Segmenter:
    """A model that covers the box of the brain, untrained."""
    model, visits = crow.Segmenter(flow=FLOW, images={"size": PATCH}), store.cohort().visits
    model.inputs = ScanInputs.fit(store, visits, ImageSettings(size=None), FLOW["levels"])
    region = np.asarray(store.mask)
    model.corner, model.shape = np.array(model.inputs.box.corner), model.inputs.box.mask.shape
    model.extra = {"prior": torch.from_numpy(region.astype(np.float32)), "region": torch.from_numpy(region)}
    model.flow = model.build().eval()
    return model


def peak() -> int:
    """Peak memory of this process in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed, (name, modality) in enumerate({"t1w": "T1w", "pet": "pet"}.items()):
            make_store(Path(temporary) / name, modality, seed)
        for command in options.commands.split(","):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                table.append(pool.apply(measure, (command, Path(temporary))))
            print(table[-1], flush=True)
    write("volumes_memory", "Models of volumes at 1 mm, 182 x 218 x 182 voxels", table)


if __name__ == "__main__":
    main()
