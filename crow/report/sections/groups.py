"""How two groups of people differ, region by region: real against synthetic."""

from __future__ import annotations

from crow.report.blocks import Block, Cell, Heading, More, Note, Section, Table, interval, said
from crow.report.brain_maps import Map, glass_brains
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation
from crow.report.group_effects import group_figure
from crow.report.numbers import counted

PART = "group_effects"
SHOWN = {
    "concordance", "concordance_low", "concordance_high", "concordance_expected", "significant_real",
    "significant_synthetic", "significant_synthetic_low", "significant_synthetic_high", "median_abs_d_real",
    "median_abs_d_synthetic", "regions", "subjects_first", "subjects_second",
}  # fmt: skip
OTHERS = {
    "concordance if true low": "concordance that 95 % of studies would pass, if the model were true",
    "median abs d path": "median |d| of invented people, all else equal, on one path and on the other",
}


def groups_section(evaluation: Evaluation | None, atlas: Map | None, missing: str) -> Section:
    """Cohen's d of groups in every region, real against synthetic, with their agreement."""
    name, title = "groups", "Group effects"
    if evaluation is None or atlas is None or not evaluation.part(PART):
        return Section(name, title, (Note(missing),))
    blocks: list[Block] = [
        said(
            "Two groups of real people differ in every region by Cohen's d; so should two synthetic groups with the "
            "same covariates. Concordance is 1 where both effects are the same in every region; beside it stands what "
            "as many real people would show if the model were true. Significance is counted at the real sample size, "
            "after Bonferroni's correction."
        ),
        _agreement(evaluation), _significance(evaluation),
    ]  # fmt: skip
    table = evaluation.table(PART, "contrast", "region", "d_real", "d_real_low", "d_real_high", "d_synthetic",
                             "d_synthetic_low", "d_synthetic_high")  # fmt: skip
    if table is not None:
        for contrast in dict.fromkeys(table["contrast"]):
            blocks += [Heading(contrast), *_contrast(evaluation, contrast)]
            rows = table[table["contrast"] == contrast].reset_index(drop=True)
            agreeing = int(((rows["d_real"] > 0) == (rows["d_synthetic"] > 0)).sum())
            alt = (
                f"Cohen's d of {counted(len(rows), 'region')} in synthetic groups against real ones, {contrast}; "
                f"{agreeing} have the same sign."
            )
            blocks.append(drawn(group_figure(rows), alt))
            regions = [str(region) for region in rows["region"]]
            if where := atlas.of(regions):
                values = {name: dict(zip(regions, map(float, rows[f"d_{name}"]), strict=True)) for name in KINDS}
                brains = glass_brains(values, where, atlas.labels, atlas.affine, "Cohen's d", signed=True)
                blocks.append(drawn(brains, f"Glass brains of d, {contrast}, real and synthetic.", atlas.said(regions)))
    return Section(name, title, tuple(blocks))


KINDS = ("real", "synthetic")


def _agreement(evaluation: Evaluation) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for contrast in evaluation.part(PART):
        n = {name: evaluation.number(PART, contrast, name) for name in SHOWN}
        people: Cell = None
        if n["subjects_first"] and n["subjects_second"]:
            people = (n["subjects_first"], " and ", n["subjects_second"])
        rows.append((
            contrast, people, interval(n["concordance"], n["concordance_low"], n["concordance_high"]),
            n["concordance_expected"], n["median_abs_d_real"], n["median_abs_d_synthetic"],
        ))  # fmt: skip
    header = (
        "contrast", "people", "concordance (95 %)", "if the model were true", "median |d|, real",
        "median |d|, synthetic",
    )  # fmt: skip
    return Table("Agreement of real and synthetic effects", header, tuple(rows))


def _significance(evaluation: Evaluation) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for contrast in evaluation.part(PART):
        n = {name: evaluation.number(PART, contrast, name) for name in SHOWN}
        low, high = n["significant_synthetic_low"], n["significant_synthetic_high"]
        rows.append((contrast, n["regions"], n["significant_real"], interval(n["significant_synthetic"], low, high)))
    header = ("contrast", "regions", "real", "synthetic, median study (90 %)")
    return Table("Significant regions at the real sample size", header, tuple(rows))


def _contrast(evaluation: Evaluation, contrast: str) -> list[Block]:
    """Who the groups are, and the numbers that the table has no room for."""
    told = evaluation.part(PART).get(contrast, {})
    blocks: list[Block] = []
    words = [str(told[name]) for name in ("paths", "at", "people") if told.get(name)]
    if words:
        blocks.append(said("; ".join(words) + "."))
    rest = tuple(
        (OTHERS.get(name, name), number) for name, number in evaluation.numbers(PART, contrast)
        if number.place.rpartition(".")[2] not in SHOWN
    )  # fmt: skip
    rule = str(told.get("rule") or "")
    more: list[Block] = [said(f"{rule}.")] if rule else []
    if rest:
        more.append(Table(f"Other numbers of {contrast}", ("measure", "value"), rest))
    return [*blocks, More("Who belongs to the groups, and other numbers", tuple(more))] if more else blocks
