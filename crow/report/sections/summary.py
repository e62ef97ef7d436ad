"""What a reader has to know first."""

from __future__ import annotations

from crow.cohort.cohort import Cohort
from crow.report.blocks import Block, Code, Metric, Note, Section, Tile, Tiles, measured, said
from crow.report.charts import OURS
from crow.report.evaluated import Evaluation
from crow.report.numbers import counted
from crow.report.sections.privacy import TONES
from crow.report.sections.training import FILE
from crow.run.config import Config
from crow.run.folder import Run


def summary_section(run: Run, cohort: Cohort | None, evaluation: Evaluation | None, advice: str) -> Section:
    """The key numbers as tiles, and where the evaluation is missing, the command that makes one."""
    tiles = [*_cohort(run, cohort)]
    blocks: list[Block] = []
    if evaluation is not None:
        tiles += _judged(evaluation)
    elif isinstance(run.config, Config):
        tiles += _trained(run)
        blocks += [
            Note(
                "This run was not evaluated: how good its forecasts are, and whether it may be shared, is not known. "
                "Measure it with the command below, and make the report again with --overwrite.",
                "caution",
            ),
            Code(advice),
        ]
    blocks.insert(0, Tiles(tuple(tiles)))
    if evaluation is not None:
        blocks.append(said(
            "Numbers of this page that judge the model are those of ", evaluation.file, "; numbers of the training are "
            "those of the run's metrics.json."
        ))  # fmt: skip
    return Section("summary", "At a glance", tuple(blocks))


def _cohort(run: Run, cohort: Cohort | None) -> list[Tile]:
    regions = run.description.get("schema", {}).get("regions", [])
    scans = run.description.get("scans")
    if scans:
        what = f"{scans.get('store', {}).get('modality', '')} scans as {scans.get('kind')}"
    else:
        what = counted(len(regions), "region")
    if cohort is None:
        return [Tile("Modelled", what)]
    return [Tile("Cohort", counted(len(cohort.subjects), "subject"), (counted(len(cohort), "visit"), ", ", what))]


def _trained(run: Run) -> list[Tile]:
    tiles = []
    if (test := measured(run.metrics, FILE, "test_nll_per_visit")) is not None:
        count = measured(run.metrics, FILE, "test_subjects")
        tiles.append(Tile("NLL of test subjects", test, ("nats a visit, ", count, " subjects")))
    if (held_out := measured(run.metrics, FILE, "validation_nll_per_visit")) is not None:
        mixed = measured(run.metrics, FILE, "mixed_model_nll_per_visit")
        tiles.append(Tile("Held-out NLL in training", held_out, ("nats a visit; mixed model ", mixed)))
    return tiles


def _judged(evaluation: Evaluation) -> list[Tile]:
    tiles: list[Tile] = []
    unit = str(evaluation.metrics.get("unit", "sd"))
    if (crps := evaluation.number("forecast", OURS, "CRPS")) is not None:
        skill = evaluation.number("skill", "CRPS", "value", share=True)
        low, high = (evaluation.number("skill", "CRPS", end, share=True) for end in ("low", "high"))
        against = evaluation.part("skill").get("CRPS", {}).get("against", "the best simple model")
        beside = (unit, "; skill ", skill, " (", low, " to ", high, f") against {against}") if skill else (unit,)
        tiles.append(Tile("CRPS of forecasts", crps, beside))
    if (covers := evaluation.number("forecast", OURS, "covers 90 %", share=True)) is not None:
        good = covers.value is not None and 0.87 <= covers.value <= 0.93
        beside = ("of what came; 90 % is honest",)
        tiles.append(Tile("90 % intervals hold", covers, beside, "good" if good else "caution"))
    if (nll := evaluation.number("forecast", OURS, "NLL")) is not None:
        tiles.append(Tile("NLL of held-out sequences", nll, ("nats a visit",)))
    for name in list(evaluation.part("group_effects"))[:1]:
        if (agreement := _first(evaluation, name)) is not None:
            tiles.append(Tile("Group effects, concordance", agreement, (f"synthetic with real: {name}",)))
    if verdict := evaluation.part("privacy").get("verdict"):
        tone = TONES.get(str(verdict), "caution")
        tiles.append(Tile("Privacy", str(verdict), ("of a screening for memorised people",), tone))
    return tiles


def _first(evaluation: Evaluation, name: str) -> Metric | None:
    for _, number in evaluation.numbers("group_effects", name):
        if number.place.endswith(".concordance"):
            return number
    return None
