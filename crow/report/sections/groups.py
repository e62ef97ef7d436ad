"""Group effects by region: real beside synthetic subjects."""

from __future__ import annotations

from crow.report.blocks import Block, Cell, Details, Heading, Note, Section, Table, interval, paragraph
from crow.report.brain_maps import Map, glass_brains
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation
from crow.report.group_effects import change_in_size, group_figure
from crow.report.numbers import counted

PART = "group_effects"
KINDS = ("real", "synthetic")
IN_TABLES = {
    "concordance", "concordance_low", "concordance_high", "concordance_expected", "significant_real",
    "significant_synthetic", "significant_synthetic_low", "significant_synthetic_high", "median_abs_d_real",
    "median_abs_d_synthetic", "regions", "subjects_first", "subjects_second",
}  # fmt: skip
OTHERS = {
    "concordance expected low": "lower bound of the expected concordance (5 % quantile over replicates)",
    "median abs d path": "median |d| between idealised paths, all else equal",
}
INTRODUCTION = (
    "Two groups of real subjects differ in each region by Cohen's d. Synthetic subjects with the same covariates "
    "should differ by as much. The concordance correlation is 1 if both effects are equal in every region. The "
    "expected concordance is what equally many real subjects would show if the model were true. Significance is "
    "counted at the real sample size after Bonferroni correction."
)


def groups_section(evaluation: Evaluation | None, atlas: Map | None, missing: str) -> Section:
    """Cohen's d by region, real beside synthetic, and the agreement of the two."""
    name, title = "groups", "Group effects"
    if evaluation is None or atlas is None or not evaluation.part(PART):
        return Section(name, title, (Note(missing),))
    blocks: list[Block] = [*_headline(evaluation), paragraph(INTRODUCTION), _agreement(evaluation)]
    blocks.append(_significance(evaluation))
    table = evaluation.table(PART, "contrast", "region", "d_real", "d_real_low", "d_real_high", "d_synthetic",
                             "d_synthetic_low", "d_synthetic_high")  # fmt: skip
    if table is not None:
        for contrast in dict.fromkeys(table["contrast"]):
            blocks += [Heading(contrast), *_description(evaluation, contrast)]
            rows = table[table["contrast"] == contrast].reset_index(drop=True)
            agreeing = int(((rows["d_real"] > 0) == (rows["d_synthetic"] > 0)).sum())
            alt = (
                f"Cohen's d of {counted(len(rows), 'region')} in synthetic against real groups, {contrast}; {agreeing} "
                "have the same sign."
            )
            paths = str(evaluation.part(PART).get(contrast, {}).get("paths") or "")
            blocks.append(drawn(group_figure(rows, groups=paths), alt))
            regions = [str(region) for region in rows["region"]]
            if located := atlas.of(regions):
                values = {kind: dict(zip(regions, map(float, rows[f"d_{kind}"]), strict=True)) for kind in KINDS}
                brains = glass_brains(values, located, atlas.labels, atlas.affine, "Cohen's d", signed=True)
                alt = f"Glass brains of Cohen's d, {contrast}, real and synthetic."
                blocks.append(drawn(brains, alt, atlas.caption(regions)))
    return Section(name, title, tuple(blocks))


def _headline(evaluation: Evaluation) -> list[Block]:
    """By how much synthetic effects are smaller or larger than real ones."""
    parts = []
    for contrast in evaluation.part(PART):
        real, synthetic = (evaluation.number(PART, contrast, f"median_abs_d_{kind}") for kind in KINDS)
        if real is not None and synthetic is not None and real.value and synthetic.value is not None:
            parts.append(f"{contrast} {change_in_size(real.value, synthetic.value)}")
    text = f"Size of synthetic effects beside real ones (median |d|): {'; '.join(parts)}."
    return [paragraph(text)] if parts else []


def _agreement(evaluation: Evaluation) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for contrast in evaluation.part(PART):
        n = {name: evaluation.number(PART, contrast, name) for name in IN_TABLES}
        subjects: Cell = None
        if n["subjects_first"] and n["subjects_second"]:
            subjects = (n["subjects_first"], " and ", n["subjects_second"])
        rows.append((
            contrast, subjects, interval(n["concordance"], n["concordance_low"], n["concordance_high"]),
            n["concordance_expected"], n["median_abs_d_real"], n["median_abs_d_synthetic"],
        ))  # fmt: skip
    header = (
        "contrast", "subjects", "concordance (95 % interval)", "expected concordance", "median |d|, real",
        "median |d|, synthetic",
    )  # fmt: skip
    return Table("Agreement of real and synthetic effects", header, tuple(rows))


def _significance(evaluation: Evaluation) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for contrast in evaluation.part(PART):
        n = {name: evaluation.number(PART, contrast, name) for name in IN_TABLES}
        low, high = n["significant_synthetic_low"], n["significant_synthetic_high"]
        rows.append((contrast, n["regions"], n["significant_real"], interval(n["significant_synthetic"], low, high)))
    header = ("contrast", "regions", "significant, real", "significant, synthetic: median replicate (90 % interval)")
    return Table("Number of significant regions at the real sample size", header, tuple(rows))


def _description(evaluation: Evaluation, contrast: str) -> list[Block]:
    """How the groups are defined, and the numbers that the tables do not contain."""
    values = evaluation.part(PART).get(contrast, {})
    blocks: list[Block] = []
    words = [str(values[name]) for name in ("paths", "time", "subjects") if values.get(name)]
    if words:
        blocks.append(paragraph("; ".join(words) + "."))
    rest = tuple(
        (OTHERS.get(name, name), number) for name, number in evaluation.numbers(PART, contrast)
        if number.path.rpartition(".")[2] not in IN_TABLES
    )  # fmt: skip
    rule = str(values.get("rule") or "")
    details: list[Block] = [paragraph(f"{rule}.")] if rule else []
    if rest:
        details.append(Table(f"Other figures of {contrast}", ("measure", "value"), rest))
    return [*blocks, Details("Definition of the groups, and other figures", tuple(details))] if details else blocks
