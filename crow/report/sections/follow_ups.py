"""Scans: last, real and forecast scan to compare, their changes, and an interactive viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crow.extras import extra
from crow.report.blocks import Block, Compare, Details, Heading, Note, Picture, Section, Table, Viewer, paragraph
from crow.report.charts import OURS
from crow.report.embed import drawn, image
from crow.report.evaluated import Evaluation
from crow.report.scan_figures import brain_top, canonical, crossing
from crow.report.scan_figures import follow_up as figure_of
from crow.report.sections.skill import skill_table
from crow.report.slices import three_planes
from crow.report.viewer import viewer
from crow.representation.follow_up import FollowUp

with extra("scans"):
    import nibabel as nib

LAST, REAL, SYNTHETIC = "last scan", "real", "synthetic"
SLIDER = "Drag the slider or use the arrow keys: one scan is on the left of the line, the other on the right."
WHICH = {"best": "best forecast", "median": "median forecast", "worst": "worst forecast"}
FIGURES = {
    "scans_calibration.png": "Calibration by voxel: the histogram of calibrated forecasts is flat.",
    "scans_regions.png": "Change per year by structure or region, real and synthetic.",
}
SCREEN, PRINT = 100, 150  # dots per inch


def scans_section(
    evaluation: Evaluation | None, follow_ups: Sequence[tuple[str, FollowUp]], missing: Sequence[str],
    subjects: bool = True,
) -> Section:  # fmt: skip
    """The evaluation of follow-up scans, and ``follow_ups`` of the future with their descriptions."""
    blocks: list[Block] = [Note(reason) for reason in missing]
    if evaluation is not None and evaluation.part("scans"):
        blocks += _numbers(evaluation)
    if evaluation is not None and subjects:
        blocks += _examples(evaluation)
    for name, follow_up in follow_ups:
        blocks += [Heading(name), *_future(name, follow_up)]
    return Section("scans", "Scans", tuple(blocks))


def _numbers(evaluation: Evaluation) -> list[Block]:
    """Errors by model, of structures first and then of voxels, the skill in both, and all other figures."""
    blocks: list[Block] = []
    in_tables: set[str] = set()
    for path, subject in ((("scans", "regions"), "structures or regions"), (("scans",), "voxels")):
        part = _at(evaluation, path)
        if isinstance(models := part.get("forecast"), dict) and models:
            columns = list(dict.fromkeys(name for one in models.values() for name in one))
            rows = tuple(
                (m, *(evaluation.number(*path, "forecast", m, c, share=c.startswith("coverage")) for c in columns))
                for m in models
            )
            ours = list(models).index(OURS) if OURS in models else None
            blocks.append(Table(f"Forecasts of {subject} by model", ("model", *columns), rows, ours=ours))
        if isinstance(skills := part.get("skill"), dict) and skills:
            caption = f"Skill for {subject}: 1 - error of crow / error of the reference, the best baseline"
            blocks.append(skill_table(evaluation, (*path, "skill"), f"{caption} (95 % interval)"))
        in_tables |= {".".join((*path, name)) for name in ("forecast", "skill", "pit")}
    rest = tuple(
        (name, number) for name, number in evaluation.numbers("scans")
        if not any(number.path.startswith(f"{path}.") for path in in_tables)
    )  # fmt: skip
    if rest:
        blocks.append(Details("Other figures of the scans", (Table("Scans", ("measure", "value"), rest),)))
    for name, alt in FIGURES.items():
        if (picture := evaluation.picture(name, alt, alt)) is not None:
            blocks.append(replace(picture, width=round(picture.width * SCREEN / PRINT)))
    return blocks


def _at(evaluation: Evaluation, path: tuple[str, ...]) -> dict[str, Any]:
    value: Any = evaluation.metrics
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _examples(evaluation: Evaluation) -> list[Block]:
    table = evaluation.table("scan_pictures", "subject", "session", "stem")
    if table is None or table.empty:
        return []
    blocks: list[Block] = [Heading("Real and synthetic follow-up scans")]
    for _, row in table.iterrows():
        blocks += _example(evaluation, row)
    return blocks


def _example(evaluation: Evaluation, row: pd.Series) -> list[Block]:
    stem, visit = str(row["stem"]), f"{row['subject']} {row['session']}".strip()
    which = WHICH.get(str(row.get("which", "")), "")
    years = row.get("years")
    ahead = f", {float(years):.1f} years after the last scan" if pd.notna(years) else ""
    layers = [
        (name, evaluation.picture(f"{stem}_{key}.png", f"{visit}, {name}, in three planes.", dark=True))
        for key, name in (("last", LAST), ("real", REAL), ("synthetic", SYNTHETIC))
    ]
    known = tuple((name, picture) for name, picture in layers if picture is not None)
    blocks: list[Block] = []
    if len(known) > 1:
        blocks.append(Compare(visit, known, f"{visit}{ahead}{f' ({which})' if which else ''}. {SLIDER}"))
    for key, name in (("change_real", "real change"), ("change_synthetic", "forecast change")):
        if (picture := evaluation.picture(f"{stem}_{key}.png", f"{visit}: {name}, in three planes.")) is not None:
            blocks.append(Picture(picture.uri, picture.alt, f"{visit}: {name} since the last scan.", picture.width))
    if (inside := _viewer(evaluation.folder, stem, visit)) is not None:
        blocks.append(inside)
    return blocks


def _viewer(folder: Path, stem: str, visit: str) -> Viewer | None:
    """The forecast change on the last scan."""
    files = [folder / f"{stem}_{name}.nii.gz" for name in ("last", "change_synthetic")]
    if not all(file.is_file() and file.resolve().is_relative_to(folder.resolve()) for file in files):
        return None
    last, change = (nib.load(file) for file in files)
    return change_viewer(change, last, f"{visit}: forecast change on the last scan")  # type: ignore[arg-type]


def change_viewer(change: nib.Nifti1Image, last: nib.Nifti1Image, title: str) -> Viewer | None:
    """An interactive viewer of a change; None if nothing changes."""
    size = np.abs(np.asarray(change.dataobj, np.float32))
    limit = float(np.quantile(size[size > 0], 0.995, method="linear")) if (size > 0).any() else 0.0
    if limit <= 0:
        return None
    page = viewer(change, last, limit, 0.15 * limit)
    caption = f"{title}. Click to move the planes. Red: brighter; blue: darker; below 15 % of the scale: transparent."
    return None if page is None else Viewer(f"Interactive viewer: {title}", page, caption)


def _future(name: str, follow_up: FollowUp) -> list[Block]:
    like = follow_up.like
    last = np.asarray(like.dataobj, np.float32).reshape(like.shape[:3])
    through = crossing(canonical(follow_up.change, like.affine))
    top = brain_top(last[follow_up.sd > (follow_up.sd.min() + follow_up.sd.max()) / 2], last)
    shown = {LAST: last, "follow-up (median)": follow_up.median}
    planes = {which: three_planes(volume, like.affine, through, (0.0, top)) for which, volume in shown.items()}
    pictures = tuple((which, image(p, f"{name}: {which}, in three planes.", dark=True)) for which, p in planes.items())
    figure = figure_of(like, follow_up.median, follow_up.change, follow_up.sd, name)
    blocks: list[Block] = [
        Compare(name, pictures, SLIDER),
        drawn(figure, f"{name}: last scan, follow-up, change and uncertainty in three planes."),
    ]
    if follow_up.volumes is not None and len(follow_up.volumes):
        rows = tuple(
            (str(r["structure"]), float(r["last"]) / 1e3, float(r["median"]) / 1e3,
             f"{r['change']:+.1%} ({r['q05']:+.1%} to {r['q95']:+.1%})")
            for r in follow_up.volumes.to_dict("records")
        )  # fmt: skip
        header = ("structure", "last scan (cm³)", "follow-up (cm³)", "change (90 % prediction interval)")
        blocks.append(Table("Forecast volumes of structures", header, rows))
    change = nib.Nifti1Image(follow_up.change.astype(np.float32), like.affine)
    background = nib.Nifti1Image(last, like.affine)
    if (inside := change_viewer(change, background, f"{name}: forecast change on the last scan")) is not None:
        blocks.append(inside)
    if follow_up.folded:
        blocks.append(paragraph(f"The deformation folds at {follow_up.folded} voxels, which are not reliable."))
    return blocks
