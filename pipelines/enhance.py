"""Train a model of thin slices given thick slices, and enhance scans of thick slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crow.cohort.bids_files import parse
from crow.data.draws import median_of, sd_of
from crow.files import check_free
from crow.models.enhancer import Enhancer
from crow.pipelines.cross_sectional_runs import Echo, Learned, learned, learning_settings, open_data
from crow.report import figures
from crow.report.images import montage
from crow.representation.patches import store_of
from crow.representation.thick_slices import AXES, ThickScan
from crow.scans.derivatives import describe_dataset, save_scan, scan_path

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Enhanced:
    """Number of draws, their mean sd over nonzero voxels (in the scan's units), and the files written."""

    draws: int
    sd: float
    written: tuple[Path, ...]


def learn(
    cohort: Path,
    out: Path,
    factor: int = 2,
    axis: str = "z",
    *,
    config: Path | None = None,
    sets: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
) -> Learned[Enhancer]:
    """Train on the thin-slice scans of a store, and write the run folder ``out``.

    Raises ConfigError, CohortError, RunError if there is nothing to resume, OutputError if ``out`` exists.
    """
    settings = learning_settings(out, "enhance", config, sets, resume, overwrite, {})
    model = Enhancer(settings)
    store = store_of(open_data(cohort, {}))
    model.fit(store, factor, axis, out, resume=resume, overwrite=overwrite, progress=True, echo=echo)
    return learned(model, out, echo)


def enhance(
    run: Path,
    scan: Path,
    out: Path,
    *,
    samples: int = 16,
    keep: int = 2,
    seed: int = 0,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
) -> Enhanced:
    """Write thin slices of the file ``scan`` into the folder ``out``: median and sd of the draws, and ``keep`` draws.

    Raises RunError, ScanError for a scan that does not fit the run, OutputError if a file exists.
    """
    model = Enhancer.load(run)
    suffix = model.inputs.facts["modality"]
    name = parse(scan)
    subject, session = name.visit if name else (scan.name.split(".")[0], "")
    descs = ["median", "sd", *(f"sample{k + 1}" for k in range(min(keep, samples)))]
    paths = [scan_path(out, subject, session, desc, suffix) for desc in descs]
    picture = scan_path(out, subject, session, "enhanced", suffix, ending=".png")
    for path in (*paths, picture):
        check_free(path, overwrite)
    echo(f"Sampling {samples} versions of the thin slices of {scan.name}.")
    thick, draws = model.enhance(scan, samples, seed)
    median = model.slices.consistent(median_of(draws)[None], thick.values)[0]
    shown = np.stack([median, sd_of(draws), *draws[: len(paths) - 2]])
    volumes, like = thick.thin(shown, model.slices)
    facts = {
        "synthetic": True, "Sources": [scan.name], "Draws": samples,
        "Slices": {"factor": model.slices.factor, "axis": AXES[model.slices.axis]},
        "Model": {"run": run.name, "architecture": model.config.architecture, "seed": seed},
    }  # fmt: skip
    describe_dataset(out, "Sampled thin slices")
    for desc, path, values in zip(descs, paths, volumes, strict=True):
        description = f"{desc} of the draws" if desc in ("median", "sd") else "one draw"
        save_scan(path, values, like, {"Description": description, **facts}, overwrite, integers=desc != "sd")
    _draw(model, thick, shown, picture, overwrite)
    inside = volumes[0] != 0
    sd = float(volumes[1][inside].mean()) if inside.any() else 0.0
    return Enhanced(samples, sd, (*paths, picture))


def _draw(model: Enhancer, thick: ThickScan, shown: Volume, path: Path, overwrite: bool) -> None:
    """A slice across the thick slices: the scan, the median, and draws."""
    across = 0 if model.slices.axis != 0 else 1
    images: list[Any] = [model.slices.repeated(thick.values), shown[0], *shown[2:4]]
    places = [slice(None)] * 3
    middle = images[0].shape[across] // 2
    places[across] = slice(middle, middle + 1)
    titles = ["thick slices", "median", "draw 1", "draw 2"][: len(images)]
    figure = montage(np.stack([image[tuple(places)] for image in images]), titles, columns=4)
    figures.save(figure, path, overwrite)
