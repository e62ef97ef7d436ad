"""Scans: the last one, the real one to come and the synthetic one over each other, their change, and a viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from crow.report.blocks import Block, Compare, Heading, More, Note, Picture, Section, Table, Viewer, said
from crow.report.charts import OURS
from crow.report.embed import drawn, image
from crow.report.evaluated import Evaluation
from crow.report.scan_figures import canonical, crossing
from crow.report.scan_figures import follow_up as figure_of
from crow.report.sections.skill import skill_table
from crow.report.slices import three_planes
from crow.report.viewer import viewer
from crow.representation.follow_up import FollowUp

LAST, REAL, SYNTHETIC = "last scan", "real", "synthetic"
HOW = "Drag the slider, or use the arrow keys: one scan is left of the line, the other right of it."
FIGURES = {
    "scans_calibration.png": "Calibration of the voxels: flat where the forecasts are honest.",
    "scans_regions.png": "Change a year of every structure or region, real and synthetic.",
}
SCREEN, PRINT = 100, 150  # dots an inch


def scans_section(
    evaluation: Evaluation | None, made: Sequence[tuple[str, FollowUp]], missing: Sequence[str], subjects: bool = True
) -> Section:
    """What was judged of follow-up scans, and ``made``: follow-ups (with what they are) into the future."""
    blocks: list[Block] = [Note(reason) for reason in missing]
    if evaluation is not None and evaluation.part("scans"):
        blocks += _numbers(evaluation)
    if evaluation is not None and subjects:
        blocks += _judged(evaluation)
    for name, follow_up in made:
        blocks += [Heading(name), *_coming(name, follow_up)]
    return Section("scans", "Scans", tuple(blocks))


def _numbers(evaluation: Evaluation) -> list[Block]:
    """Models by measures, of scans and of the structures in them, the skill of both, and every other number."""
    blocks: list[Block] = []
    told: set[str] = set()
    for place, what in ((("scans",), "the scans"), (("scans", "regions"), "structures or regions")):
        part = _at(evaluation, place)
        if isinstance(models := part.get("forecast"), dict) and models:
            columns = list(dict.fromkeys(name for of in models.values() for name in of))
            rows = tuple(
                (m, *(evaluation.number(*place, "forecast", m, c, share=c.startswith("covers")) for c in columns))
                for m in models
            )
            ours = list(models).index(OURS) if OURS in models else None
            blocks.append(Table(f"Follow-up scans: {what}, by model", ("model", *columns), rows, ours=ours))
        if isinstance(skills := part.get("skill"), dict) and skills:
            caption = f"Skill in {what}: 1 - error of crow / error of the best simple model, with a 95 % interval"
            blocks.append(skill_table(evaluation, (*place, "skill"), caption))
        told |= {".".join((*place, name)) for name in ("forecast", "skill", "pit")}
    rest = tuple(
        (name, number) for name, number in evaluation.numbers("scans")
        if not any(number.place.startswith(f"{place}.") for place in told)
    )  # fmt: skip
    if rest:
        blocks.append(More("Other numbers of the scans", (Table("Of scans", ("measure", "value"), rest),)))
    for name, alt in FIGURES.items():
        if (picture := evaluation.picture(name, alt, alt)) is not None:
            blocks.append(replace(picture, width=round(picture.width * SCREEN / PRINT)))
    return blocks


def _at(evaluation: Evaluation, place: tuple[str, ...]) -> dict[str, Any]:
    value: Any = evaluation.metrics
    for name in place:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _judged(evaluation: Evaluation) -> list[Block]:
    table = evaluation.table("scan_pictures", "subject", "session", "stem")
    if table is None or table.empty:
        return []
    blocks: list[Block] = [Heading("Real and synthetic follow-up")]
    for _, row in table.iterrows():
        blocks += _example(evaluation, row)
    return blocks


def _example(evaluation: Evaluation, row: pd.Series) -> list[Block]:
    stem, who = str(row["stem"]), f"{row['subject']} {row['session']}".strip()
    which = {"best": "the best forecast", "median": "a forecast as good as most", "worst": "the worst forecast"}
    what = which.get(str(row.get("which", "")), "")
    years = row.get("years")
    ahead = f", {float(years):.1f} years after the last scan" if pd.notna(years) else ""
    layers = [
        (name, evaluation.picture(f"{stem}_{key}.png", f"{who}, {name}, in three planes.", dark=True))
        for key, name in (("synthetic", SYNTHETIC), ("real", REAL), ("last", LAST))
    ]
    known = tuple((name, picture) for name, picture in reversed(layers) if picture is not None)
    blocks: list[Block] = []
    if len(known) > 1:
        blocks.append(Compare(who, known, f"{who}{ahead}: {what}. {HOW}" if what else f"{who}{ahead}. {HOW}"))
    for key, name in (("change_real", "the real change"), ("change_synthetic", "the synthetic change")):
        if (picture := evaluation.picture(f"{stem}_{key}.png", f"{who}: {name}, in three planes.")) is not None:
            blocks.append(Picture(picture.uri, picture.alt, f"{who}: {name} since the last scan.", picture.width))
    if (inside := _viewer(evaluation.folder, stem, who)) is not None:
        blocks.append(inside)
    return blocks


def _viewer(folder: Path, stem: str, who: str) -> Viewer | None:
    """The change that was forecast over the last scan."""
    files = [folder / f"{stem}_{name}.nii.gz" for name in ("last", "change_synthetic")]
    if not all(file.is_file() and file.resolve().is_relative_to(folder.resolve()) for file in files):
        return None
    last, change = (nib.load(file) for file in files)
    return change_viewer(change, last, f"{who}: the change that was forecast over the last scan")  # type: ignore[arg-type]


def change_viewer(change: nib.Nifti1Image, last: nib.Nifti1Image, what: str) -> Viewer | None:
    """An interactive viewer of a change; None where nothing changes."""
    size = np.abs(np.asarray(change.dataobj, np.float32))
    limit = float(np.quantile(size[size > 0], 0.995)) if (size > 0).any() else 0.0
    if limit <= 0:
        return None
    page = viewer(change, last, limit, 0.15 * limit)
    caption = f"{what}. Click to move the planes. Red: brighter; blue: darker; below 15 % of the scale: not drawn."
    return None if page is None else Viewer(f"Interactive viewer: {what}", page, caption)


def _coming(name: str, follow_up: FollowUp) -> list[Block]:
    like = follow_up.like
    last = np.asarray(like.dataobj, np.float32).reshape(like.shape[:3])
    through = crossing(canonical(follow_up.change, like.affine))
    brain = last[follow_up.sd > (follow_up.sd.min() + follow_up.sd.max()) / 2]
    top = float(np.quantile(brain, 0.999)) if brain.size and brain.max() > 0 else float(last.max()) or 1.0
    shown = {LAST: last, "follow-up (median)": follow_up.median}
    planes = {which: three_planes(volume, like.affine, through, (0.0, top)) for which, volume in shown.items()}
    pictures = tuple((which, image(p, f"{name}: {which}, in three planes.", dark=True)) for which, p in planes.items())
    figure = figure_of(like, follow_up.median, follow_up.change, follow_up.sd, name)
    blocks: list[Block] = [
        Compare(name, pictures, HOW),
        drawn(figure, f"{name}: last scan, follow-up, change and uncertainty in three planes."),
    ]
    if follow_up.volumes is not None and len(follow_up.volumes):
        rows = tuple(
            (str(r["structure"]), float(r["last"]) / 1e3, float(r["median"]) / 1e3,
             f"{r['change']:+.1%} ({r['q05']:+.1%} to {r['q95']:+.1%})")
            for r in follow_up.volumes.to_dict("records")
        )  # fmt: skip
        header = ("structure", "last (ml)", "follow-up (ml)", "change (90 %)")
        blocks.append(Table("Volumes of structures to come", header, rows))
    change = nib.Nifti1Image(follow_up.change.astype(np.float32), like.affine)
    still = nib.Nifti1Image(last, like.affine)
    if (inside := change_viewer(change, still, f"{name}: the change to come over the last scan")) is not None:
        blocks.append(inside)
    if follow_up.folded:
        blocks.append(said(f"{follow_up.folded} voxels of the deformation are folded: do not trust them."))
    return blocks
