"""Units of regions: as they are given, by the kind of table, or as the name of a column tells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

CUBIC_MM, CUBIC_CM = "mm³", "cm³"
SPELLINGS = {
    CUBIC_MM: ("mm3", "mm^3", "mm**3", "cubic millimetre", "cubic millimeter", "cubic mm", "µl", "μl", "ul"),
    CUBIC_CM: ("cm3", "cm^3", "cm**3", "ml", "cc", "millilitre", "milliliter", "cubic centimetre", "cubic centimeter"),
    "mm": ("millimetre", "millimeter"),
    "mm²": ("mm2", "mm^2", "square mm", "square millimetre", "square millimeter"),
    "%": ("percent", "per cent"),
}  # fmt: skip
KNOWN = {spelling: unit for unit, spellings in SPELLINGS.items() for spelling in (unit, *spellings)}
VOLUMES = ("ventricles", "hippocampus", "wholebrain", "entorhinal", "fusiform", "midtemp", "icv")  # of ADNIMERGE
OF_LAYOUT = {  # patterns of whole names in lower case, the first that fits
    "adnimerge": [("|".join(VOLUMES), CUBIC_MM)],
    "tadpole": [("|".join(VOLUMES), CUBIC_MM), (r"(ctx|left|right)_.*_ucberkeleyav45.*", "SUVR")],
    "adni": [(r"st\d+[sc]v", CUBIC_MM), (r"st\d+ta", "mm")],
    "freesurfer": [(r".*thickness", "mm"), (r".*area", "mm²"), (r".*", CUBIC_MM)],
    "synthseg": [(r".*", CUBIC_MM)],
}
OF_NAME = [
    (r".*[\W_](mm3|mm³|cubic_?mm)\W?", CUBIC_MM),
    (r".*[\W_](cm3|cm³|ml|cc)\W?", CUBIC_CM),
    (r".*thickness_?(mm)?", "mm"),
    (r".*[\W_]suvr", "SUVR"),
]
CUBIC_MM_PER_CM = 1000.0
MIN_LARGE = 1000.0  # mm³, from which values are shown in cm³
MAX_LENGTH = 20  # characters of a unit; a longer text describes the column


def region_units(
    regions: Iterable[str], layout: str, described: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """The units that are known, by region: those ``given`` by the user, ``described`` beside the table, of the kind of
    table, or of the name."""
    rules = [*OF_LAYOUT.get(layout, []), *OF_NAME]
    found = {
        name: written(given.get(name, "")) or _described(described.get(name, "")) or _by_name(name.lower(), rules)
        for name in regions
    }
    return {name: unit for name, unit in found.items() if unit}


def written(unit: str) -> str:
    """A unit as figures show it: ``mm^3`` is mm³."""
    text = unit.strip()
    return KNOWN.get(text.lower(), KNOWN.get(text.lower().removesuffix("s"), text))


def scaled(unit: str, largest: float) -> tuple[str, float]:
    """The unit for values up to ``largest``, and by what values are divided to be in it."""
    if unit == CUBIC_MM and abs(largest) >= MIN_LARGE:
        return CUBIC_CM, CUBIC_MM_PER_CM
    return unit, 1.0


def _described(text: str) -> str:
    """The unit in a description; empty for a sentence."""
    unit = written(text)
    return unit if unit in SPELLINGS or (len(unit) <= MAX_LENGTH and " " not in unit and unit.isprintable()) else ""


def _by_name(name: str, rules: list[tuple[str, str]]) -> str:
    return next((unit for pattern, unit in rules if re.fullmatch(pattern, name)), "")
