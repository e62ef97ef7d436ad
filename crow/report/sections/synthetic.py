"""Whole synthetic subjects beside held-out ones: their distribution, what they are good for, TADPOLE's scores."""

from __future__ import annotations

from crow.report.blocks import Block, Heading, Note, Section, Table, said
from crow.report.evaluated import Evaluation

PARTS = {
    "distribution": ("Distribution", "Distances between synthetic and held-out subjects (0: alike; AUC 0.5: alike)"),
    "usefulness": ("Usefulness", "What is learned from synthetic people and tested on real ones, and the reverse"),
    "tadpole": ("TADPOLE", "Scores of the TADPOLE challenge"),
}


def synthetic_section(evaluation: Evaluation | None, missing: str) -> Section:
    """Every number of these parts, by name."""
    name, title = "synthetic", "Synthetic subjects"
    if evaluation is None or not any(evaluation.part(part) for part in PARTS):
        return Section(name, title, (Note(missing),))
    blocks: list[Block] = [
        said("Whole subjects that the model invents, against held-out ones that training did not see.")
    ]
    for part, (heading, caption) in PARTS.items():
        rows = tuple(evaluation.numbers(part))
        if rows:
            blocks += [Heading(heading), Table(caption, ("measure", "value"), rows)]
    return Section(name, title, tuple(blocks))
