"""The kind of a scan, from names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

MODALITIES: dict[str, re.Pattern[str]] = {
    "FLAIR": re.compile(r"flair"),
    "T1w": re.compile(r"t1w?|mprage|spgr"),
    "T2w": re.compile(r"t2w?"),
    "pet": re.compile(r"pet|suvr|fdg|av45|pib|florbetapir|flortaucipir"),
}


def modality_of(column: str, paths: Iterable[str]) -> str | None:
    """The BIDS suffix in all file names, else the one in the column's name, else None."""
    found = {_in_name(Path(path).name) for path in paths}
    return (found.pop() if len(found) == 1 else None) or _in_name(column)


def _in_name(name: str) -> str | None:
    """The modality whose word is in a name, the last one if there are several (``T1w_space-X_pet``)."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for word in reversed(words):
        for modality, pattern in MODALITIES.items():
            if pattern.fullmatch(word):
                return modality
    return None
