"""Forecast errors of crow beside those of other models."""

from __future__ import annotations

from typing import Any

from crow.report import charts
from crow.report.blocks import Block, Cell, Details, Metric, Note, Section, Table, interval, paragraph
from crow.report.charts import OURS
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation

COLUMNS = ("MAE", "RMSE", "CRPS", "energy", "NLL", "forecast NLL")
DRAWN = ("MAE", "CRPS", "NLL")
SKILL = "Skill: 1 - error of crow / error of the reference, the best simple baseline (95 % interval over subjects)"


def skill_section(evaluation: Evaluation | None, missing: str) -> Section:
    """Errors of every model, overall, by horizon and by group, and the skill over the best simple baseline."""
    name, title = "skill", "Comparison with baselines"
    if evaluation is None or not evaluation.part("forecast"):
        return Section(name, title, (Note(missing),))
    unit = str(evaluation.metrics.get("unit", "sd"))
    in_units = "standard deviations of the training visits, region by region" if unit == "sd" else "the table's unit"
    blocks: list[Block] = [
        paragraph(
            f"All models forecast the same later visits of the same test subjects. Errors are in {in_units}. NLL is "
            "the negative log-likelihood of each visit given all earlier visits; forecast NLL is that of each forecast "
            "visit given the observed history alone (nats per visit, original units). Lower is better."
        ),
        _errors(evaluation, "forecast", "Forecast errors by model (bold: best)"),
    ]
    if sentence := evaluation.part("likelihood_gain").get("sentence"):
        blocks.append(paragraph(f"Out of sample, {sentence}"))
    if evaluation.part("forecast_known_covariates"):
        caption = "Forecast errors with the true covariates of the later visits (bold: best)"
        blocks.append(_errors(evaluation, "forecast_known_covariates", caption))
    if evaluation.part("skill"):
        blocks.append(skill_table(evaluation, ("skill",), SKILL))
    if (picture := _bars(evaluation, unit)) is not None:
        blocks.append(picture)
    blocks += _by_horizon(evaluation, unit)
    blocks += _by_group(evaluation)
    return Section(name, title, tuple(blocks))


def _errors(evaluation: Evaluation, part: str, caption: str) -> Table:
    models = list(evaluation.part(part))
    shown = [c for c in COLUMNS if any(evaluation.number(part, model, c) for model in models)]
    rows = tuple((model, *(evaluation.number(part, model, c) for c in shown)) for model in models)
    return Table(caption, ("model", *shown), rows, _best(rows), _ours(models))


def skill_table(evaluation: Evaluation, path: tuple[str, ...], caption: str) -> Table:
    """The skill in every measure below ``path`` of metrics.json, with its interval and its reference."""
    value: Any = evaluation.metrics
    for name in path:
        value = value.get(name, {})
    rows = tuple(
        (measure, interval(*(evaluation.number(*path, measure, end, share=True) for end in ("value", "low", "high"))),
         str(one.get("reference", "")))
        for measure, one in value.items() if isinstance(one, dict)
    )  # fmt: skip
    return Table(caption, ("measure", "skill (95 % interval)", "reference"), rows)


def _bars(evaluation: Evaluation, unit: str) -> Block | None:
    values = {}
    for metric in DRAWN:
        numbers = {model: evaluation.number("forecast", model, metric) for model in evaluation.part("forecast")}
        known = {model: float(n.value) for model, n in numbers.items() if n is not None and n.value is not None}
        if len(known) > 1:
            values[metric] = known
    if not values:
        return None
    best = "; ".join(f"{metric}: {min(known, key=lambda m: known[m])} is best" for metric, known in values.items())
    return drawn(charts.models(values, unit), f"Bars of {', '.join(values)} by model. {best}.")


def _by_horizon(evaluation: Evaluation, unit: str) -> list[Block]:
    blocks: list[Block] = []
    by = evaluation.part("by_horizon")
    for metric in ("CRPS", "MAE", "forecast NLL"):
        groups = list(dict.fromkeys(group for one in by.values() for group, values in one.items() if metric in values))
        if not groups:
            continue
        models = [model for model, one in by.items() if any(metric in values for values in one.values())]
        rows = tuple((m, *(evaluation.number("by_horizon", m, group, metric) for group in groups)) for m in models)
        header = ("model", *(group.replace(" y", " years") for group in groups))
        blocks.append(Table(f"{metric} by years ahead (bold: best)", header, rows, _best(rows), _ours(models)))
    table = evaluation.table("forecast", "model", "by", "group", "metric", "value")
    if table is not None and len(part := table[(table["by"] == "horizon") & (table["metric"] == "CRPS")]):
        alt = f"CRPS of {part['model'].nunique()} models by years ahead: {', '.join(dict.fromkeys(part['group']))}."
        blocks.append(drawn(charts.horizons(part, "CRPS", unit), alt))
    return blocks


def _by_group(evaluation: Evaluation) -> list[Block]:
    """Folded tables by age band, sex, diagnosis and site."""
    blocks: list[Block] = []
    for by, groups in evaluation.part("by").items():
        if by == "region":  # has a section of its own
            continue
        models = list(dict.fromkeys(model for one in groups.values() for model in one))
        counts = (
            "test subjects", *(evaluation.number("by", by, group, models[0], "subjects") for group in groups)
        )  # fmt: skip
        tables = []
        for metric in ("CRPS", "forecast NLL"):
            known = [m for m in models if any(evaluation.number("by", by, group, m, metric) for group in groups)]
            if not known:
                continue
            rows = tuple((m, *(evaluation.number("by", by, group, m, metric) for group in groups)) for m in known)
            header = ("model", *map(str, groups))
            caption = f"{metric} by {by} (bold: best)"
            tables.append(Table(caption, header, (*rows, counts), _best(rows), _ours(known)))
        blocks.append(Details(f"CRPS and forecast NLL by {by}", tuple(tables)))
    return blocks


def _best(rows: tuple[tuple[Cell, ...], ...]) -> frozenset[tuple[int, int]]:
    """The position of the lowest number of every column."""
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
