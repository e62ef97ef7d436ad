"""Where forecasts are good and where groups differ: on a glass brain where an atlas is known, else as matrices."""

from __future__ import annotations

from crow.report import charts
from crow.report.blocks import Block, Cell, More, Note, Section, Table, said
from crow.report.brain_maps import Map, glass_brains
from crow.report.charts import OURS
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation
from crow.report.names import without_ending

LAST = "last visit"
FEW, MOST = 24, 30  # regions beside the scatter, and in one matrix
PART = 0.5  # of the regions that a map has to show
NO_ATLAS = (
    "No atlas says where these regions are, so they are shown as a matrix: crow report --atlas LABELS.nii.gz --labels "
    "NAMES.tsv draws them on a glass brain."
)
UNKNOWN = "No label of the atlas is named as a region of the cohort, so they are shown as a matrix."


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
        blocks.append(drawn(figure, alt, atlas.said(regions)))
    else:
        blocks.append(said(UNKNOWN if atlas.given else NO_ATLAS))
    if OURS in wide:
        wide = wide.sort_values(OURS, ascending=False)
    order = [str(region) for region in wide.index]
    wide = wide.rename(index=without_ending(regions))
    worst = f" The largest of crow's is that of {wide.index[0]}." if OURS in wide else ""
    alt = f"CRPS of {wide.shape[1]} models in {len(wide)} regions.{worst}"
    most = len(wide) > MOST
    label, heading = f"CRPS ({unit})", f"CRPS by region ({unit}; lower is better)"
    caption = f"The {MOST} of {len(wide)} regions with the largest error. " if most else ""
    caption += "Those of by.region in metrics.json; forecast.csv has MAE, RMSE, NLL and coverage by region, too."
    blocks.append(drawn(charts.matrix(wide.head(MOST), heading, label), alt, caption))
    if most:
        rest, alt = charts.matrix(wide.iloc[MOST:], heading, label), f"The same of {len(wide) - MOST} other regions."
        blocks.append(More("The other regions", (drawn(rest, alt),)))
    if own := _own_units(evaluation, order):
        blocks.append(More("Errors in the table's own units", (own,)))
    return Section(name, title, tuple(blocks))


def _own_units(evaluation: Evaluation, regions: list[str]) -> Table | None:
    """crow's errors beside those of the last visit carried forward."""
    errors = ("MAE", "RMSE", "CRPS", "NLL per value")
    rows: list[tuple[Cell, ...]] = []
    for region in regions:
        cells = [
            evaluation.number("own_units", "region", region, model, metric)
            for model in (OURS, LAST) for metric in errors
        ]  # fmt: skip
        if any(cells):
            rows.append((region, *cells))
    header = ("region", *errors, *(f"{metric}, {LAST}" for metric in errors))
    with_last = any(any(row[1 + len(errors) :]) for row in rows)
    width = len(header) if with_last else 1 + len(errors)
    shown = tuple(row[:width] for row in rows)
    return Table("Errors of crow by region, in the units of the table", header[:width], shown) if rows else None
