"""Structures of the left and right half of the brain, by their names."""

from __future__ import annotations

from collections.abc import Sequence

SIDES = {"left": "right", "right": "left"}


def other_side(names: Sequence[str]) -> list[int]:
    """The number of each structure's counterpart on the other side, or its own number if it has none.

    >>> other_side(["ventricles", "hippocampus_left", "hippocampus_right", "amygdala_left"])
    [0, 2, 1, 3]
    """
    numbers = {name: number for number, name in enumerate(names)}
    out = []
    for number, name in enumerate(names):
        start, _, side = name.rpartition("_")
        out.append(numbers.get(f"{start}_{SIDES[side]}", number) if side in SIDES else number)
    return out
