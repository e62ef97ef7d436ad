"""Short names of regions for figures."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

MIN_NAMES, MIN_ENDING = 3, 3  # regions, and characters that are worth removing


def common_ending(regions: Iterable[str]) -> str:
    """The common ending of all names from a separator on (``_UCBERKELEYAV45_10_17_16``); empty if it is short."""
    names = list(dict.fromkeys(regions))
    if len(names) < MIN_NAMES:
        return ""
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*(reversed(name) for name in names), strict=False))
    ending = "".join(letters[0] for letters in shared)[::-1]
    start = min((at for at in (ending.find(mark) for mark in "_-. ") if at >= 0), default=len(ending))
    ending = ending[start:]
    return ending if len(ending) > MIN_ENDING and all(len(name) > len(ending) for name in names) else ""


def without_ending(regions: Iterable[str]) -> dict[str, str]:
    """Every name without the common ending."""
    names = list(dict.fromkeys(regions))
    ending = common_ending(names)
    return {name: name.removesuffix(ending) for name in names}
