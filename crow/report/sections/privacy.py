"""Whether the model remembers the people that it was trained on."""

from __future__ import annotations

from crow.report.blocks import Block, Items, Note, Section, Table, said
from crow.report.evaluated import Evaluation

TONES = {"pass": "good", "caution": "caution", "fail": "bad"}
MEANS = {
    "pass": "Nothing is copied from people, and the likelihood tells little or nothing of who was trained on.",
    "caution": "The model may remember people; look at the reasons before you share it.",
    "fail": "The model remembers people it was shown: do not share it, nor what it generates.",
}
MEASURES = {
    "nearest_distance_ratio": "distance to training people over that to others (1: no nearer)",
    "nearest_distance_p": "p of a ratio as low by chance",
    "exact_copies": "synthetic visits that equal a training visit",
    "exact_copies_of_test": "the same of held-out people",
    "near_copies": "synthetic visits next to a training visit",
    "near_copies_of_test": "the same of as many held-out people",
    "near_copies_p": "p of as many more by chance",
    "membership_auc": "telling training people by their likelihood: AUC (0.5: not at all)",
    "membership_p": "p of an AUC as high by chance",
    "likelihood_gap": "training people are likelier by (nats a visit)",
}


def privacy_section(evaluation: Evaluation | None, missing: str) -> Section:
    """The verdict with its reasons and its numbers."""
    name, title = "privacy", "Privacy"
    part = {} if evaluation is None else evaluation.part("privacy")
    if evaluation is None or not part:
        return Section(name, title, (Note(missing),))
    verdict = str(part.get("verdict", ""))
    blocks: list[Block] = [Note(MEANS.get(verdict, verdict), TONES.get(verdict, "caution"))]  # type: ignore[arg-type]
    if reasons := [str(reason) for reason in part.get("reasons") or []]:
        blocks.append(Items(tuple(reasons)))
    rows = tuple(
        (MEASURES.get(number.place.rpartition(".")[2], name), number) for name, number in evaluation.numbers("privacy")
    )
    if rows:
        blocks.append(Table("What the verdict rests on", ("measure", "value"), rows))
    blocks.append(said(
        "Distances compare synthetic records with their nearest training and held-out records; membership is what the "
        "likelihood alone tells of who was trained on (area under the curve, 0.5 is nothing). It is a screening, not a "
        "proof."
    ))  # fmt: skip
    return Section(name, title, tuple(blocks))
