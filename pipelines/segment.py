"""Train a segmentation model, and segment scans: probabilities, masks and volumes of a structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crow.cohort.options import listed
from crow.data.forecast import quantiles_of
from crow.errors import CohortError, ScanError
from crow.extras import extra
from crow.files import check_free, writing
from crow.models.segmenter import MAX_REASONS, Segmentation, Segmenter, warn_of_left_out
from crow.pipelines.cross_sectional_runs import Echo, Learned, learned, learning_settings, open_data
from crow.pipelines.scan_history import store_beside
from crow.pipelines.scan_source import open_source
from crow.report import figures
from crow.report.segmentation import outlines
from crow.representation.patches import store_of
from crow.scans.derivatives import describe_dataset, require_apart, save_scan, scan_path
from crow.scans.store import ScanStore
from crow.tables import save_table, with_formulas

with extra("scans"):
    import nibabel as nib
    from nibabel.orientations import apply_orientation, io_orientation

MAX_SHOWN = 8  # scans in the picture


@dataclass(frozen=True)
class Segmented:
    """``volumes`` (mm3): subject, session, volume (median of the draws), q05, q95; and the files written."""

    volumes: pd.DataFrame
    written: tuple[Path, ...]


def learn(
    cohort: Path,
    out: Path,
    masks: Path,
    label: int | None = None,
    *,
    config: Path | None = None,
    sets: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
) -> Learned[Segmenter]:
    """Train on the scans of a store and their masks in a folder, and write the run folder ``out``.

    Raises ConfigError, CohortError, RunError if there is nothing to resume, OutputError if ``out`` exists.
    """
    settings = learning_settings(out, "segment", config, sets, resume, overwrite, {})
    model = Segmenter(settings)
    store = store_of(open_data(cohort, {}))
    model.fit(store, masks, label, out, resume=resume, overwrite=overwrite, progress=True, echo=echo)
    return learned(model, out, echo)


def segment(
    run: Path,
    cohort: Path,
    out: Path,
    subjects: list[str] | None = None,
    *,
    samples: int = 32,
    keep: int = 0,
    seed: int = 0,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
    progress: Callable[[list[int]], Any] = iter,
) -> Segmented:
    """Segment scans, each in the space of its file.

    Writes the probability, the mask of probabilities above 0.5 and ``keep`` drawn masks, ``volumes.tsv`` with one row
    per visit, and ``masks.png``. ``cohort`` is a store, or a table, BIDS tree or NIfTI file, which is prepared in
    ``<out>_store``. Raises RunError, CohortError for scans that do not fit the run, OutputError if a file exists.
    """
    model = Segmenter.load(run)
    store = open_source(model.inputs, cohort, store_beside(out), echo, overwrite)
    visits = _chosen(store, subjects)
    names = [("segmented", "probseg"), ("segmented", "mask")]
    names += [(f"sample{k + 1}", "mask") for k in range(min(keep, samples))]
    places = {
        row: [scan_path(out, visit["subject"], visit["session"], desc, suffix) for desc, suffix in names]
        for row, visit in visits.iterrows()
    }
    table, picture = out / "volumes.tsv", out / "masks.png"
    files = [path for paths in places.values() for path in paths]
    for path in (*files, table, picture):
        check_free(path, overwrite)
    require_apart(out, files)
    describe_dataset(out, "Sampled segmentations")
    rows: list[dict[str, Any]] = []
    shown: list[tuple[Segmentation, str]] = []
    bad: list[str] = []
    for row in progress([int(row) for row in visits.index]):
        try:
            found = model.segment(store, row, samples, seed)
        except (CohortError, ScanError) as error:
            bad.append(str(error))
            continue
        facts = {
            "synthetic": True, "Sources": [Path(visits.loc[row, "scan"]).name], "Draws": samples,
            "Label": model.label, "Model": {"run": run.name, "architecture": model.config.architecture, "seed": seed},
        }  # fmt: skip
        _save(places[row], found, facts, overwrite)
        low, middle, high = quantiles_of(np.asarray(found.volumes), [0.05, 0.5, 0.95], axis=0)
        visit = {name: visits.loc[row, name] for name in ("subject", "session")}
        rows.append({**visit, "volume": middle, "q05": low, "q95": high})
        if len(shown) < MAX_SHOWN:
            volume = f"{middle:,.0f} ({low:,.0f} to {high:,.0f}) mm3"
            shown.append((found, f"{visit['subject']} {visit['session']}\n{volume}"))
    warn_of_left_out(bad, echo)
    if not rows:
        reasons = "".join(f"\n  {reason}" for reason in bad[:MAX_REASONS])
        raise CohortError(f"{cohort}: none of its {len(bad)} scans can be segmented.{reasons}")
    volumes = pd.DataFrame(rows).round(1)
    earlier = _earlier_rows(table, volumes)
    with writing(table, overwrite) as temporary:
        save_table(pd.concat([earlier, volumes]), temporary, ".tsv")
    _draw(shown, picture, overwrite)
    return Segmented(volumes, (out, table, picture))


def _earlier_rows(table: Path, volumes: pd.DataFrame) -> pd.DataFrame:
    """The rows of an existing table for visits that are not in ``volumes``."""
    if not table.exists():
        return volumes.iloc[:0]
    key = ["subject", "session"]
    earlier = with_formulas(pd.read_csv(table, sep="\t", dtype=dict.fromkeys(key, str), keep_default_na=False))
    again = pd.MultiIndex.from_frame(volumes[key].astype(str))
    return earlier[~pd.MultiIndex.from_frame(earlier[key]).isin(again)]


def _chosen(store: ScanStore, subjects: list[str] | None) -> pd.DataFrame:
    visits = store.cohort().visits
    if not subjects:
        return visits
    known = set(visits["subject"])
    names = [name if name in known else f"sub-{name}" for name in subjects]
    if unknown := [name for name, full in zip(subjects, names, strict=True) if full not in known]:
        raise CohortError(f"{store.path}: no subject {unknown[0]}. Available: {listed(sorted(known))}.")
    return visits[visits["subject"].isin(names)]


def _save(paths: list[Path], found: Segmentation, facts: dict[str, Any], overwrite: bool) -> None:
    scan = found.scan
    save_scan(paths[0], found.probability, scan, {"Description": "mean of the draws", **facts}, overwrite,
              integers=False)  # fmt: skip
    like = nib.Nifti1Image(np.zeros(scan.shape[:3], np.uint8), scan.affine)
    for code in ("qform", "sform"):
        getattr(like, f"set_{code}")(*getattr(scan, f"get_{code}")(coded=True))
    like.header.set_xyzt_units(*scan.header.get_xyzt_units())
    save_scan(paths[1], (found.probability > 0.5).astype(np.float32), like,
              {"Description": "voxels with a probability above 0.5", **facts}, overwrite)  # fmt: skip
    for path, mask in zip(paths[2:], found.masks, strict=False):
        save_scan(path, mask.astype(np.float32), like, {"Description": "one draw", **facts}, overwrite)


def _draw(shown: list[tuple[Segmentation, str]], path: Path, overwrite: bool) -> None:
    scans, probabilities = [], []
    for found, _ in shown:
        orientation = io_orientation(found.scan.affine)
        values = np.asarray(found.scan.dataobj, np.float32).reshape(found.scan.shape[:3])
        scans.append(apply_orientation(values, orientation))
        probabilities.append(apply_orientation(found.probability, orientation))
    figures.save(outlines(scans, probabilities, [title for _, title in shown]), path, overwrite)
