"""Every warning, and everything that was not measured, with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from crow.report.blocks import Block, Heading, Items, Section, Table, said


def notes_section(warnings: Sequence[str], left_out: Sequence[tuple[str, str]]) -> Section:
    """``left_out`` are (what, why)."""
    blocks: list[Block] = [Heading("Warnings")]
    blocks.append(Items(tuple(warnings)) if warnings else said("None."))
    blocks.append(Heading("Left out"))
    if left_out:
        caption = "What is not in this report or was not measured, and why"
        blocks.append(Table(caption, ("what", "reason"), tuple(left_out)))
    else:
        blocks.append(said("Nothing."))
    return Section("notes", "Warnings and what was left out", tuple(blocks))
