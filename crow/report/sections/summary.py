"""Key figures of a run."""

from __future__ import annotations

from crow.cohort.cohort import Cohort
from crow.report.blocks import Block, Code, Metric, Note, Section, Tile, Tiles, interval, metric_at, paragraph
from crow.report.charts import OURS
from crow.report.evaluated import Evaluation
from crow.report.numbers import counted
from crow.report.sections.privacy import TONES
from crow.report.sections.training import FILE, longitudinal
from crow.report.sections.verdict import verdict
from crow.run.folder import Run

NOT_EVALUATED = (
    "This run has not been evaluated: the accuracy of its forecasts, and whether it is safe to share, are unknown. "
    "Evaluate it with the command below, then make the report again with --overwrite."
)


def summary_section(run: Run, cohort: Cohort | None, evaluation: Evaluation | None, advice: str) -> Section:
    """Key figures as tiles; without an evaluation, the command that makes one."""
    tiles = [*_cohort(run, cohort)]
    blocks: list[Block] = []
    first: list[Block] = []
    if evaluation is not None:
        follow_up = run.description.get("representation", {}).get("follow_up") or 0.0
        if (answers := verdict(evaluation, float(follow_up))) is not None:
            first = [answers]
        tiles += _evaluated(evaluation)
        blocks.append(paragraph(
            "Figures about the quality of the model are those of ", evaluation.file, ". Figures about the training are "
            "those of the run's metrics.json."
        ))  # fmt: skip
    elif longitudinal(run) is not None:
        tiles += _trained(run)
        blocks += [Note(NOT_EVALUATED, "caution"), Code(advice)]
    return Section("summary", "Summary", (*first, Tiles(tuple(tiles)), *blocks))


def _cohort(run: Run, cohort: Cohort | None) -> list[Tile]:
    regions = run.description.get("schema", {}).get("regions", [])
    scans = run.description.get("scans")
    if scans:
        modelled = f"{scans.get('store', {}).get('modality', '')} scans as {scans.get('representation')}"
    else:
        modelled = counted(len(regions), "region")
    if cohort is None:
        return [Tile("Modelled", modelled)]
    return [Tile("Cohort", counted(len(cohort.subjects), "subject"), (counted(len(cohort), "visit"), ", ", modelled))]


def _trained(run: Run) -> list[Tile]:
    tiles = []
    if (test := metric_at(run.metrics, FILE, "test_nll_per_visit")) is not None:
        count = metric_at(run.metrics, FILE, "test_subjects")
        tiles.append(Tile("NLL of test subjects", test, ("nats per visit, ", count, " subjects")))
    if (validation := metric_at(run.metrics, FILE, "validation_nll_per_visit")) is not None:
        mixed = metric_at(run.metrics, FILE, "mixed_model_nll_per_visit")
        tiles.append(Tile("NLL of validation subjects", validation, ("nats per visit; mixed model: ", mixed)))
    return tiles


def _evaluated(evaluation: Evaluation) -> list[Tile]:
    tiles: list[Tile] = []
    unit = str(evaluation.metrics.get("unit", "sd"))
    if (crps := evaluation.number("forecast", OURS, "CRPS")) is not None:
        skill = evaluation.number("skill", "CRPS", "value", share=True)
        low, high = (evaluation.number("skill", "CRPS", end, share=True) for end in ("low", "high"))
        reference = evaluation.part("skill").get("CRPS", {}).get("reference", "the best simple baseline")
        detail = (unit, f"; skill over {reference}: ", interval(skill, low, high)) if skill else (unit,)
        tiles.append(Tile("CRPS of forecasts", crps, detail))
    if (coverage := evaluation.number("forecast", OURS, "coverage 90 %", share=True)) is not None:
        good = coverage.value is not None and 0.87 <= coverage.value <= 0.93
        detail = ("of observed values; nominal 90 %",)
        tiles.append(Tile("Coverage of 90 % intervals", coverage, detail, "good" if good else "caution"))
    if (nll := evaluation.number("forecast", OURS, "NLL")) is not None:
        tiles.append(Tile("NLL of test subjects", nll, ("nats per visit",)))
    for name in list(evaluation.part("group_effects"))[:1]:
        if (agreement := _concordance(evaluation, name)) is not None:
            tiles.append(Tile("Concordance of group effects", agreement, (f"synthetic with real: {name}",)))
    if verdict := evaluation.part("privacy").get("verdict"):
        tone = TONES.get(str(verdict), "caution")
        tiles.append(Tile("Privacy", str(verdict), ("screening for memorised subjects",), tone))
    return tiles


def _concordance(evaluation: Evaluation, name: str) -> Metric | None:
    for _, number in evaluation.numbers("group_effects", name):
        if number.path.endswith(".concordance"):
            return number
    return None
