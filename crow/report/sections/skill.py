"""How good the forecasts are beside simpler ones."""

from __future__ import annotations

from typing import Any

from crow.report import charts
from crow.report.blocks import Block, Cell, Metric, More, Note, Section, Table, said
from crow.report.charts import OURS
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation

COLUMNS = ("MAE", "RMSE", "CRPS", "energy", "NLL", "forecast NLL")
DRAWN = ("MAE", "CRPS", "NLL")


def skill_section(evaluation: Evaluation | None, missing: str) -> Section:
    """Errors of every model in one table, by horizon, and how much better than the best simple one."""
    name, title = "skill", "Skill beside simpler models"
    if evaluation is None or not evaluation.part("forecast"):
        return Section(name, title, (Note(missing),))
    unit = str(evaluation.metrics.get("unit", "sd"))
    blocks: list[Block] = [
        said(
            "All models forecast the same later visits of the same held-out subjects. Errors are in "
            f"{'standard deviations of the training visits, region by region' if unit == 'sd' else unit}; NLL is the "
            "negative log-likelihood of whole held-out sequences, nats a visit in the table's own units; forecast NLL is "
            "that of a visit which is forecast, given the history alone. Lower is better."
        ),
        _errors(evaluation),
    ]
    if evaluation.part("skill"):
        caption = "Skill: 1 - error of crow / error of the best simple model, with a 95 % interval over subjects"
        blocks.append(skill_table(evaluation, ("skill",), caption))
    if (picture := _bars(evaluation, unit)) is not None:
        blocks.append(picture)
    blocks += _by_horizon(evaluation, unit)
    blocks += _by_people(evaluation)
    return Section(name, title, tuple(blocks))


def _errors(evaluation: Evaluation) -> Table:
    models = list(evaluation.part("forecast"))
    shown = [c for c in COLUMNS if any(evaluation.number("forecast", model, c) for model in models)]
    rows = tuple((model, *(evaluation.number("forecast", model, c) for c in shown)) for model in models)
    header = ("model", *shown)
    return Table("Forecast errors of every model (bold: best)", header, rows, _best(rows), _ours(models))


def skill_table(evaluation: Evaluation, place: tuple[str, ...], caption: str) -> Table:
    """The skill of every measure below ``place`` of metrics.json, with its interval and what it is against."""
    value: Any = evaluation.metrics
    for name in place:
        value = value.get(name, {})
    rows = tuple(
        (measure, *(evaluation.number(*place, measure, end, share=True) for end in ("value", "low", "high")),
         str(one.get("reference", "")))
        for measure, one in value.items() if isinstance(one, dict)
    )  # fmt: skip
    return Table(caption, ("measure", "skill", "low", "high", "reference"), rows)


def _bars(evaluation: Evaluation, unit: str) -> Block | None:
    values = {}
    for metric in DRAWN:
        of = {model: evaluation.number("forecast", model, metric) for model in evaluation.part("forecast")}
        known = {model: float(n.value) for model, n in of.items() if n is not None and n.value is not None}
        if len(known) > 1:
            values[metric] = known
    if not values:
        return None
    best = "; ".join(f"{metric}: {min(of, key=lambda m: of[m])} is best" for metric, of in values.items())
    return drawn(charts.models(values, unit), f"Bars of {', '.join(values)} by model. {best}.")


def _by_horizon(evaluation: Evaluation, unit: str) -> list[Block]:
    blocks: list[Block] = []
    by = evaluation.part("by_horizon")
    for metric in ("CRPS", "MAE", "forecast NLL"):
        groups = list(dict.fromkeys(group for of in by.values() for group, one in of.items() if metric in one))
        if not groups:
            continue
        models = [model for model, of in by.items() if any(metric in one for one in of.values())]
        rows = tuple((m, *(evaluation.number("by_horizon", m, group, metric) for group in groups)) for m in models)
        header = ("model", *(group.replace(" y", " years") for group in groups))
        blocks.append(Table(f"{metric} by years ahead (bold: best)", header, rows, _best(rows), _ours(models)))
    table = evaluation.table("forecast", "model", "by", "group", "metric", "value")
    if table is not None and len(part := table[(table["by"] == "horizon") & (table["metric"] == "CRPS")]):
        alt = f"CRPS of {part['model'].nunique()} models by years ahead: {', '.join(dict.fromkeys(part['group']))}."
        blocks.append(drawn(charts.horizons(part, "CRPS", unit), alt))
    return blocks


def _by_people(evaluation: Evaluation) -> list[Block]:
    """Tables for every other way of grouping, folded."""
    blocks: list[Block] = []
    for by, groups in evaluation.part("by").items():
        if by == "region":  # has a section of its own
            continue
        models = list(dict.fromkeys(model for of in groups.values() for model in of))
        people = ("subjects", *(evaluation.number("by", by, group, models[0], "subjects") for group in groups))
        tables = []
        for metric in ("CRPS", "forecast NLL"):
            told = [m for m in models if any(evaluation.number("by", by, group, m, metric) for group in groups)]
            if not told:
                continue
            rows = tuple((m, *(evaluation.number("by", by, group, m, metric) for group in groups)) for m in told)
            header = ("model", *map(str, groups))
            tables.append(Table(f"{metric} by {by} (bold: best)", header, (*rows, people), _best(rows), _ours(told)))
        blocks.append(More(f"CRPS and NLL by {by}", tuple(tables)))
    return blocks


def _best(rows: tuple[tuple[Cell, ...], ...]) -> frozenset[tuple[int, int]]:
    """Where the lowest number of every column stands."""
    found = set()
    for column in range(1, len(rows[0]) if rows else 0):
        known = [
            (cell.value, k) for k, row in enumerate(rows)
            if isinstance(cell := row[column], Metric) and cell.value is not None
        ]  # fmt: skip
        if len(known) > 1:
            found.add((min(known)[1], column))
    return frozenset(found)


def _ours(models: list[str]) -> int | None:
    return models.index(OURS) if OURS in models else None
