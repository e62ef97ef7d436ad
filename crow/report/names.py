"""Names of regions as pictures have room for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

FEWEST = 3  # regions, and characters worth leaving out


def common_ending(regions: Iterable[str]) -> str:
    """What all names end with, from a separator on (``_UCBERKELEYAV45_10_17_16``); nothing where that is short."""
    names = list(dict.fromkeys(regions))
    if len(names) < FEWEST:
        return ""
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*(reversed(name) for name in names), strict=False))
    ending = "".join(letters[0] for letters in shared)[::-1]
    start = min((at for at in (ending.find(mark) for mark in "_-. ") if at >= 0), default=len(ending))
    ending = ending[start:]
    return ending if len(ending) > FEWEST and all(len(name) > len(ending) for name in names) else ""


def without_ending(regions: Iterable[str]) -> dict[str, str]:
    """Every name without what all of them end with."""
    names = list(dict.fromkeys(regions))
    ending = common_ending(names)
    return {name: name.removesuffix(ending) for name in names}
