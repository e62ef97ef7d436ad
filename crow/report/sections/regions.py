"""Where forecasts are good and where groups differ: on a glass brain where an atlas is known, else as matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.report import charts
from crow.report.blocks import Block, Cell, Heading, Metric, More, Note, Row, Section, Table, said
from crow.report.brain_maps import Places, glass_brains, places
from crow.report.charts import OURS
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation
from crow.report.names import without_ending

FEW, MOST = 24, 30  # regions beside the scatter, and in one matrix
PART = 0.5  # of the regions that a map has to show
NO_ATLAS = (
    "No atlas says where these regions are, so they are shown as a matrix: crow report --atlas LABELS.nii.gz --labels "
    "NAMES.tsv draws them on a glass brain."
)
UNKNOWN = "No label of the atlas is named as a region of the cohort, so they are shown as a matrix."


@dataclass(frozen=True)
class Map:
    """An atlas: ``labels [X, Y, Z]`` on ``affine`` (MNI), names by label, and whether a user gave it."""

    labels: NDArray[np.int32]
    affine: NDArray[np.float64]
    names: Mapping[int, str]
    given: bool

    def of(self, regions: list[str]) -> Places:
        """Where the regions are; nothing where too few are known to draw a map."""
        found = places(regions, self.names, self.given)
        return found if found and (self.given or len(found) >= PART * len(regions)) else {}


def regions_section(evaluation: Evaluation | None, atlas: Map | None, missing: str) -> Section:
    """The error of every region, beside the other models'."""
    name, title = "regions", "Region by region"
    table = None if evaluation is None else evaluation.table("forecast", "model", "by", "group", "metric", "value")
    part = None if table is None else table[(table["by"] == "region") & (table["metric"] == "CRPS")]
    if evaluation is None or atlas is None or part is None or part.empty:
        return Section(name, title, (Note(missing),))
    wide = part.pivot_table("value", "group", "model", sort=False).reindex(columns=list(dict.fromkeys(part["model"])))
    regions = [str(region) for region in wide.index]
    blocks: list[Block] = []
    unit = str(evaluation.metrics.get("unit", "sd"))
    where = atlas.of(regions) if OURS in wide else {}
    if where:
        of = {str(region): float(value) for region, value in wide[OURS].items()}
        figure = glass_brains({OURS: of}, where, atlas.labels, atlas.affine, f"CRPS of crow ({unit})", False)
        alt = f"Glass brain of crow's CRPS in {len(where)} of {len(regions)} regions."
        blocks.append(drawn(figure, alt, _shown(where, regions)))
    else:
        blocks.append(said(UNKNOWN if atlas.given else NO_ATLAS))
    if OURS in wide:
        wide = wide.sort_values(OURS, ascending=False)
    wide = wide.rename(index=without_ending(regions))
    worst = f" The largest of crow's is that of {wide.index[0]}." if OURS in wide else ""
    alt = f"CRPS of {wide.shape[1]} models in {len(wide)} regions.{worst}"
    most = len(wide) > MOST
    label, heading = f"CRPS ({unit})", f"CRPS by region ({unit}; lower is better)"
    caption = f"The {MOST} of {len(wide)} regions with the largest error. " if most else ""
    caption += "From forecast.csv, where MAE, RMSE and coverage by region are too."
    blocks.append(drawn(charts.matrix(wide.head(MOST), heading, label), alt, caption))
    if most:
        rest, alt = charts.matrix(wide.iloc[MOST:], heading, label), f"The same of {len(wide) - MOST} other regions."
        blocks.append(More("The other regions", (drawn(rest, alt),)))
    return Section(name, title, tuple(blocks))


def groups_section(evaluation: Evaluation | None, atlas: Map | None, missing: str) -> Section:
    """Cohen's d of groups in every region, real against synthetic, with their agreement."""
    name, title = "groups", "Group effects"
    if evaluation is None or atlas is None or not evaluation.part("group_effects"):
        return Section(name, title, (Note(missing),))
    blocks: list[Block] = [
        said(
            "Two groups of real people differ in every region by Cohen's d; so should two synthetic groups with the "
            "same covariates. Concordance is 1 where both effects are the same. Significance is counted at the real "
            "sample size, after Bonferroni's correction."
        ),
        _numbers(evaluation),
    ]
    table = evaluation.table("group_effects", "contrast", "region", "d_real", "d_synthetic")
    if table is not None:
        for contrast, rows in _contrasts(table):
            blocks += _drawn(contrast, rows, atlas)
    return Section(name, title, tuple(blocks))


def _numbers(evaluation: Evaluation) -> Table:
    """A row a group of numbers, a column a name."""
    found: dict[str, dict[str, Metric]] = {}
    for _, number in evaluation.numbers("group_effects"):
        *group, last = number.place.removeprefix("group_effects.").split(".")
        found.setdefault(", ".join(group), {})[last] = number
    names = list(dict.fromkeys(name for of in found.values() for name in of))
    rows: list[tuple[Cell, ...]] = [(group, *(of.get(name) for name in names)) for group, of in found.items()]
    header = ("contrast", *(name.replace("_", " ") for name in names))
    return Table("Agreement of real and synthetic effects", header, tuple(rows))


def _contrasts(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    by = ["contrast", *(["at"] if "at" in table else [])]
    for key, rows in table.groupby(by, sort=False):
        yield ", ".join(str(part) for part in key), rows


def _drawn(contrast: str, rows: pd.DataFrame, atlas: Map) -> list[Block]:
    regions = [str(region) for region in rows["region"]]
    values = {
        "real": dict(zip(regions, rows["d_real"].astype(float), strict=True)),
        "synthetic": dict(zip(regions, rows["d_synthetic"].astype(float), strict=True)),
    }
    alt = f"Cohen's d of {len(rows)} regions, synthetic against real, for {contrast}."
    scatter = drawn(charts.effects(rows, "Cohen's d by region"), alt)
    blocks: list[Block] = [Heading(contrast)]
    where = atlas.of(regions)
    if where:
        figure = glass_brains(values, where, atlas.labels, atlas.affine, "Cohen's d, real above synthetic", True)
        alt = f"Glass brains of Cohen's d in {len(where)} regions, real and synthetic."
        blocks.append(drawn(figure, alt, _shown(where, regions)))
    wide = pd.DataFrame(values).rename(index=without_ending(regions))
    figure = charts.matrix(wide, "Cohen's d", "d", centre=0.0)
    matrix = drawn(figure, f"Cohen's d of {len(rows)} regions, real and synthetic side by side.")
    if len(rows) > FEW:
        return [*blocks[:1], scatter, *blocks[1:], More("Every region's d, real and synthetic", (matrix,))]
    return [*blocks[:1], Row((scatter, matrix)), *blocks[1:]]


def _shown(where: Mapping[str, Any], regions: list[str]) -> str:
    left = [region for region in regions if region not in where]
    rest = f" Not placed: {', '.join(left[:12])}{', ...' if len(left) > 12 else ''}." if left else ""
    return f"{len(where)} of {len(regions)} regions, seen through the brain: left, back, right and top.{rest}"
