"""Whether the model remembers the people that it was trained on."""

from __future__ import annotations

from crow.report.blocks import Block, Items, Note, Section, Table, said
from crow.report.evaluated import Evaluation

TONES = {"pass": "good", "caution": "caution", "fail": "bad"}
MEANS = {
    "pass": "No sign that the model remembers people.",
    "caution": "The model may remember people; look at the reasons before you share it.",
    "fail": "The model remembers people it was shown: do not share it, nor what it generates.",
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
    rows = tuple(evaluation.numbers("privacy"))
    if rows:
        blocks.append(Table("What the verdict rests on", ("measure", "value"), rows))
    blocks.append(said(
        "Distances compare synthetic records with their nearest training and held-out records; membership is what the "
        "likelihood alone tells of who was trained on (area under the curve, 0.5 is nothing). It is a screening, not a "
        "proof."
    ))  # fmt: skip
    return Section(name, title, tuple(blocks))
