"""Regions found by their names on a drawing of the brain: the Desikan-Killiany atlas and FreeSurfer's structures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

ATLAS = "atlas.json"
SIDES = {"left": "left", "lh": "left", "l": "left", "right": "right", "rh": "right", "r": "right"}
# Words of a name that tell a measure, a tracer, a side that is both, or a table, and not the structure.
PLAIN = frozenset((
    "ctx", "cortex", "gray", "grey", "matter", "volume", "vol", "volumes", "thickness", "thick", "thk", "area",
    "surface", "surfarea", "mean", "avg", "average", "suvr", "suv", "uptake", "bilateral", "both", "total", "roi",
    "region", "mm3", "ml", "cm3", "gm", "gmv", "bl", "the", "of", "gyrus", "aparc", "aseg", "dk", "desikan", "fs",
    "freesurfer", "proper",
))  # fmt: skip
SYNONYMS = {
    "ventricle": "lateralventricle", "ventricles": "lateralventricle", "lateralventricles": "lateralventricle",
    "latvent": "lateralventricle", "hippo": "hippocampus", "hippocampal": "hippocampus", "hip": "hippocampus",
    "hippocampi": "hippocampus", "amygdalae": "amygdala", "amyg": "amygdala", "midtemp": "middletemporal",
    "inftemp": "inferiortemporal", "suptemp": "superiortemporal", "midtemporal": "middletemporal",
    "inftemporal": "inferiortemporal", "suptemporal": "superiortemporal", "ent": "entorhinal", "erc": "entorhinal",
    "parahip": "parahippocampal", "parahippocampus": "parahippocampal", "thalami": "thalamus", "globuspallidus":
    "pallidum", "latoccipital": "lateraloccipital", "latocc": "lateraloccipital", "infparietal": "inferiorparietal",
    "supparietal": "superiorparietal", "supfrontal": "superiorfrontal", "precuneal": "precuneus", "cerebellum":
    "cerebellumcortex", "brainstem": "brainstem", "stem": "brainstem", "heschl": "transversetemporal",
    "insular": "insula", "ccpost": "ccposterior",
}  # fmt: skip


@cache
def atlas() -> dict[str, Any]:
    """The drawing: views with an outline and the paths of their shapes."""
    content: dict[str, Any] = json.loads(files("crow.explore").joinpath("static", ATLAS).read_text(encoding="utf-8"))
    return content


@cache
def _shapes() -> dict[str, list[tuple[str, str]]]:
    """Side and full name of the shapes of each structure."""
    found: dict[str, list[tuple[str, str]]] = {}
    for view in atlas()["views"]:
        for shape in view["shapes"]:
            structure, _, side = shape.partition("_")
            found.setdefault(structure, []).append((side or view["side"], f"{view['title']}/{shape}"))
    return found


def shapes_of(region: str) -> list[str]:
    """The shapes ``view/shape`` of a region's name, on its side or on both; empty if the name is none of the atlas.

    Examples
    --------
    >>> shapes_of("lh_entorhinal_thickness"), shapes_of("Right-Amygdala"), shapes_of("WholeBrain")
    (['left medial/entorhinal'], ['coronal/amygdala_right'], [])
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+(?:rd|th)?", region)
    words = [word.lower() for word in words]
    sides = {SIDES[word] for word in words if word in SIDES}
    kept = [word for word in words if word not in SIDES and word not in PLAIN]
    name = "".join(kept)
    name = SYNONYMS.get(name, name)
    if name not in _shapes():
        # CTX_LH_ENTORHINAL_SUVR_2016, Hippocampus_UCSFFSX51: a structure, then words of the table.
        starts = [SYNONYMS.get("".join(kept[:k]), "".join(kept[:k])) for k in range(len(kept) - 1, 0, -1)]
        name = next((start for start in starts if start in _shapes() and len(start) > 3), "")
    side = next(iter(sides)) if len(sides) == 1 else ""
    return [shape for own, shape in _shapes().get(name, []) if not side or own in (side, "both")]


def matched(regions: Sequence[str]) -> dict[str, list[str]]:
    """The shapes of all regions that the drawing has; a shape belongs to the first region with it."""
    taken: set[str] = set()
    found = {}
    for region in regions:
        own = [shape for shape in shapes_of(region) if shape not in taken]
        taken |= set(own)
        if own:
            found[region] = own
    return found


def drawing(regions: Sequence[str]) -> dict[str, Any] | None:
    """The views that show a region, and the shapes of each region; None if no name is known."""
    own = matched(regions)
    if not own:
        return None
    shown = {shape.split("/")[0] for shapes in own.values() for shape in shapes}
    one_side = not any(len({s.split(" ")[0] for s in shapes if " " in s.split("/")[0]}) == 1 for shapes in own.values())
    views = [view for view in atlas()["views"] if view["title"] in shown]
    if one_side:  # no region of the cortex has a side: one hemisphere stands for both
        views = [view for view in views if view["side"] != "right"]
    return {"views": views, "regions": own, "source": atlas()["source"]}
