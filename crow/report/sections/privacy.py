"""Privacy: whether the model memorised its training subjects."""

from __future__ import annotations

from crow.report.blocks import Block, Items, Note, Section, Table, paragraph
from crow.report.evaluated import Evaluation

TONES = {"pass": "good", "caution": "caution", "fail": "bad"}
VERDICTS = {
    "pass": "No copies of training subjects were found, and the likelihood hardly reveals who they are.",
    "caution": "The model may have memorised training subjects. Read the reasons before you share it.",
    "fail": "The model memorised training subjects. Do not share it, nor the synthetic subjects that it generates.",
}
MEASURES = {
    "nearest_distance_ratio": "distance to training subjects / distance to test subjects (1: no closer)",
    "nearest_distance_p": "p-value of the distance ratio",
    "exact_copies": "synthetic visits that equal a training visit (share)",
    "exact_copies_of_test": "synthetic visits that equal a test visit (share)",
    "near_copies": "synthetic visits close to a training visit (share)",
    "near_copies_of_test": "synthetic visits close to a visit of as many test subjects (share)",
    "near_copies_p": "p-value of the excess of near copies",
    "membership_auc": "membership inference from the likelihood: AUC (0.5: impossible)",
    "membership_p": "p-value of the AUC",
    "likelihood_gap": "excess log-likelihood of training subjects (nats per visit)",
}


def privacy_section(evaluation: Evaluation | None, missing: str) -> Section:
    """The verdict of the audit with its reasons and figures."""
    name, title = "privacy", "Privacy"
    part = {} if evaluation is None else evaluation.part("privacy")
    if evaluation is None or not part:
        return Section(name, title, (Note(missing),))
    verdict = str(part.get("verdict", ""))
    blocks: list[Block] = [Note(VERDICTS.get(verdict, verdict), TONES.get(verdict, "caution"))]  # type: ignore[arg-type]
    if reasons := [str(reason) for reason in part.get("reasons") or []]:
        blocks.append(Items(tuple(reasons)))
    rows = tuple(
        (MEASURES.get(number.path.rpartition(".")[2], name), number) for name, number in evaluation.numbers("privacy")
    )
    if rows:
        blocks.append(Table("Figures of the privacy audit", ("measure", "value"), rows))
    blocks.append(paragraph(
        "The audit compares the distances from synthetic visits to their nearest training and test visits. Membership "
        "inference tries to recognise training subjects by their likelihood alone. The audit is a screening, not a "
        "proof of privacy."
    ))  # fmt: skip
    return Section(name, title, tuple(blocks))
