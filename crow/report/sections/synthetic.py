"""Whole synthetic subjects beside held-out ones: their distribution, what they are good for, TADPOLE's scores."""

from __future__ import annotations

from crow.report.blocks import Block, Cell, Heading, Note, Section, Table, interval, said
from crow.report.evaluated import Evaluation

PARTS = ("distribution", "usefulness", "tadpole")
REAL = "_real"
MEASURES = {
    "wasserstein": "values: Wasserstein distance (sd, mean of regions)",
    "jensen_shannon": "values: Jensen-Shannon divergence (bits, mean of regions)",
    "wasserstein_change": "change a year between visits: Wasserstein distance (sd)",
    "autocorrelation_difference": "correlation with the visit before: difference",
    "mmd": "visits: squared maximum mean discrepancy",
    "correlation_difference_mean": "correlations of regions: mean difference",
    "correlation_difference_largest": "correlations of regions: largest difference",
    "discriminator_auc": "a classifier tells them apart: AUC",
}


def synthetic_section(evaluation: Evaluation | None, missing: str) -> Section:
    """What was measured of invented people."""
    name, title = "synthetic", "Synthetic subjects"
    if evaluation is None or not any(evaluation.part(part) for part in PARTS):
        return Section(name, title, (Note(missing),))
    blocks: list[Block] = [
        said("Whole subjects that the model invents, against held-out ones that training did not see.")
    ]
    if evaluation.part("distribution"):
        blocks += [Heading("Distribution"), _distribution(evaluation)]
    if evaluation.part("usefulness"):
        blocks += [Heading("Usefulness"), _usefulness(evaluation)]
    if rows := tuple(evaluation.numbers("tadpole")):
        blocks += [Heading("TADPOLE"), Table("Scores of the TADPOLE challenge", ("measure", "value"), rows)]
    return Section(name, title, tuple(blocks))


def _distribution(evaluation: Evaluation) -> Table:
    """A measure and, where it has one, the same of real people."""
    names = list(evaluation.part("distribution"))
    rows = tuple(
        (MEASURES.get(name, name.replace("_", " ")),
         *(evaluation.number("distribution", key) for key in (name, name + REAL)))
        for name in names if not name.endswith(REAL)
    )  # fmt: skip
    caption = (
        "How far synthetic people are from held-out ones, and training people from them, which is what chance gives "
        "(0: alike; AUC: 0.5)"
    )
    return Table(caption, ("measure", "synthetic", "training people"), rows)


def _usefulness(evaluation: Evaluation) -> Table:
    """A row a task."""
    rows: list[tuple[Cell, ...]] = []
    for task, told in evaluation.part("usefulness").items():
        n = {name: evaluation.number("usefulness", task, name) for name in told}
        ratio = interval(n.get("ratio"), n.get("ratio_low"), n.get("ratio_high"))
        rows.append((task, str(told.get("metric", "")), n.get("synthetic"), n.get("real"), ratio, n.get("subjects")))
    caption = (
        "What a predictor learns from synthetic people and from the real ones, tested on held-out people (ratio above "
        "1: synthetic people teach more; 95 % interval)"
    )
    return Table(caption, ("task", "measure", "from synthetic", "from real", "ratio", "subjects"), tuple(rows))
