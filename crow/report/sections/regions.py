"""Forecast errors by region: on a glass brain if an atlas locates the regions, else as a matrix."""

from __future__ import annotations

from collections.abc import Mapping

from crow.report import charts
from crow.report.blocks import Block, Cell, Details, Note, Section, Table, paragraph
from crow.report.brain_maps import Map, glass_brains
from crow.report.charts import OURS
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation
from crow.report.names import without_ending

LAST = "last visit"
MAX_ROWS = 30  # regions in one matrix
NO_ATLAS = (
    "No atlas locates these regions, so they are shown as a matrix. To draw them on a glass brain, give crow report an "
    "atlas with --atlas LABELS.nii.gz and --labels NAMES.tsv."
)
UNKNOWN = "No label of the atlas has the name of a region of the cohort, so the regions are shown as a matrix."


def regions_section(
    evaluation: Evaluation | None, atlas: Map | None, missing: str, units: Mapping[str, str] | None = None
) -> Section:  # fmt: skip
    """The error of every region beside that of other models; ``units`` are those of regions that are known."""
    name, title = "regions", "Errors by region"
    table = None if evaluation is None else evaluation.table("forecast", "model", "by", "group", "metric", "value")
    part = None if table is None else table[(table["by"] == "region") & (table["metric"] == "CRPS")]
    if evaluation is None or atlas is None or part is None or part.empty:
        return Section(name, title, (Note(missing),))
    errors = part.pivot_table("value", "group", "model", sort=False).reindex(columns=list(dict.fromkeys(part["model"])))
    regions = [str(region) for region in errors.index]
    blocks: list[Block] = []
    unit = str(evaluation.metrics.get("unit", "sd"))
    located = atlas.of(regions) if OURS in errors else {}
    if located:
        values = {str(region): float(value) for region, value in errors[OURS].items()}
        figure = glass_brains({OURS: values}, located, atlas.labels, atlas.affine, f"CRPS of crow ({unit})", False)
        alt = f"Glass brain of crow's CRPS in {len(located)} of {len(regions)} regions."
        blocks.append(drawn(figure, alt, atlas.caption(regions)))
    else:
        blocks.append(paragraph(UNKNOWN if atlas.given else NO_ATLAS))
    if OURS in errors:
        errors = errors.sort_values(OURS, ascending=False)
    order = [str(region) for region in errors.index]
    errors = errors.rename(index=without_ending(regions))
    worst = f" crow's error is largest in {errors.index[0]}." if OURS in errors else ""
    alt = f"CRPS of {errors.shape[1]} models in {len(errors)} regions.{worst}"
    label, heading = f"CRPS ({unit})", f"CRPS by region ({unit}; lower is better)"
    caption = f"The {MAX_ROWS} of {len(errors)} regions with the largest error. " if len(errors) > MAX_ROWS else ""
    caption += "forecast.csv also has the MAE, RMSE, NLL and coverage of each region."
    blocks.append(drawn(charts.matrix(errors.head(MAX_ROWS), heading, label), alt, caption))
    if len(errors) > MAX_ROWS:
        rest = charts.matrix(errors.iloc[MAX_ROWS:], heading, label)
        alt = f"CRPS of the {len(errors) - MAX_ROWS} regions with smaller errors."
        blocks.append(Details("Other regions", (drawn(rest, alt),)))
    if own := _own_units(evaluation, order, units or {}):
        blocks.append(Details("Errors in the table's own units", (own,)))
    return Section(name, title, tuple(blocks))


def _own_units(evaluation: Evaluation, regions: list[str], units: Mapping[str, str]) -> Table | None:
    """crow's errors beside those of the last visit carried forward."""
    errors = ("MAE", "RMSE", "CRPS", "NLL per value")
    rows: list[tuple[Cell, ...]] = []
    for region in regions:
        cells = [
            evaluation.number("own_units", "region", region, model, metric)
            for model in (OURS, LAST) for metric in errors
        ]  # fmt: skip
        if any(cells):
            rows.append((f"{region} ({units[region]})" if region in units else region, *cells))
    header = ("region", *errors, *(f"{metric}, {LAST}" for metric in errors))
    with_last = any(any(row[1 + len(errors) :]) for row in rows)
    width = len(header) if with_last else 1 + len(errors)
    shown = tuple(row[:width] for row in rows)
    return Table("Errors of crow by region, in the table's own units", header[:width], shown) if rows else None
