"""Synthetic subjects beside test subjects: distribution, usefulness, and TADPOLE's scores."""

from __future__ import annotations

from crow.report.blocks import Block, Cell, Heading, Note, Section, Table, interval, paragraph
from crow.report.evaluated import Evaluation

PARTS = ("distribution", "usefulness", "tadpole")
REAL = "_real"
MEASURES = {
    "wasserstein": "values: Wasserstein distance (sd, mean over regions)",
    "jensen_shannon": "values: Jensen-Shannon divergence (bits, mean over regions)",
    "wasserstein_change": "change per year: Wasserstein distance (sd, mean over regions)",
    "autocorrelation_difference": "autocorrelation between visits: absolute difference (mean over regions)",
    "mmd": "visits: squared maximum mean discrepancy",
    "correlation_difference_mean": "correlations between regions: mean absolute difference",
    "correlation_difference_largest": "correlations between regions: largest absolute difference",
    "discriminator_auc": "discriminator between synthetic and test visits: AUC",
}


def synthetic_section(evaluation: Evaluation | None, missing: str) -> Section:
    """The evaluation of synthetic subjects."""
    name, title = "synthetic", "Synthetic subjects"
    if evaluation is None or not any(evaluation.part(part) for part in PARTS):
        return Section(name, title, (Note(missing),))
    blocks: list[Block] = [
        paragraph("The model generates whole synthetic subjects, which are compared with the test subjects.")
    ]
    if evaluation.part("distribution"):
        blocks += [Heading("Distribution"), _distribution(evaluation)]
    if evaluation.part("usefulness"):
        blocks += [Heading("Usefulness"), _usefulness(evaluation)]
    if rows := tuple(evaluation.numbers("tadpole")):
        blocks += [Heading("TADPOLE"), Table("Scores of the TADPOLE challenge", ("measure", "value"), rows)]
    return Section(name, title, tuple(blocks))


def _distribution(evaluation: Evaluation) -> Table:
    """Distances of synthetic subjects, and the same of training subjects."""
    names = list(evaluation.part("distribution"))
    rows = tuple(
        (MEASURES.get(name, name.replace("_", " ")),
         *(evaluation.number("distribution", key) for key in (name, name + REAL)))
        for name in names if not name.endswith(REAL)
    )  # fmt: skip
    caption = (
        "Distance from synthetic to test subjects, and from training to test subjects for comparison (0: same "
        "distribution; AUC 0.5: indistinguishable)"
    )
    return Table(caption, ("measure", "synthetic", "training"), rows)


def _usefulness(evaluation: Evaluation) -> Table:
    """One row per task."""
    rows: list[tuple[Cell, ...]] = []
    for task, values in evaluation.part("usefulness").items():
        n = {name: evaluation.number("usefulness", task, name) for name in values}
        ratio = interval(n.get("ratio"), n.get("ratio_low"), n.get("ratio_high"))
        rows.append((task, str(values.get("metric", "")), n.get("synthetic"), n.get("real"), ratio, n.get("subjects")))
    caption = (
        "Predictors trained on synthetic or on real subjects, tested on test subjects (ratio above 1: synthetic "
        "subjects are more useful; 95 % interval)"
    )
    header = ("task", "metric", "trained on synthetic", "trained on real", "ratio", "test subjects")
    return Table(caption, header, tuple(rows))
