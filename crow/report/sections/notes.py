"""All warnings, and everything that was left out with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from crow.report.blocks import Block, Heading, Items, Section, Table, paragraph


def notes_section(warnings: Sequence[str], left_out: Sequence[tuple[str, str]]) -> Section:
    """``left_out`` are (part, reason)."""
    blocks: list[Block] = [Heading("Warnings")]
    blocks.append(Items(tuple(warnings)) if warnings else paragraph("None."))
    blocks.append(Heading("Left out"))
    if left_out:
        caption = "Parts that are not in this report or were not evaluated"
        blocks.append(Table(caption, ("part", "reason"), tuple(left_out)))
    else:
        blocks.append(paragraph("Nothing."))
    return Section("notes", "Warnings and omissions", tuple(blocks))
