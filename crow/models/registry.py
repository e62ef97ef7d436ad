"""The kinds of models, by the name that a run keeps: adding one is a new file and a line here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from crow.errors import RunError

if TYPE_CHECKING:
    from crow.models.base import Model

MODELS = {
    "regions": "crow.models.crow:CRow",
    "scans": "crow.models.scans:ScanModel",
    "voxels": "crow.models.voxels:VoxelModel",
    "translate": "crow.models.translator:Translator",
    "enhance": "crow.models.enhancer:Enhancer",
    "segment": "crow.models.segmenter:Segmenter",
    "classify": "crow.models.classifier:Classifier",
    "synthesize": "crow.models.synthesizer:Synthesizer",
}
"""kind: where its class is. Classes are imported when they are asked for, since torch takes seconds."""

LONGITUDINAL = ("regions", "scans", "voxels")
"""The kinds that crow train makes; every other kind has the name of its command."""
FOLLOW_UPS = ("scans", "voxels")
"""The kinds whose forecasts are scans."""


def model_class(kind: str) -> type[Model]:
    """The class of a kind; raises RunError if there is none of that name."""
    if kind not in MODELS:
        raise RunError(f"there is no kind of model {kind!r}. Known are {', '.join(MODELS)}.")
    module, _, name = MODELS[kind].partition(":")
    found: type[Model] = getattr(import_module(module), name)
    return found


def kind_of_run(folder: str | Path, command: str) -> str:
    """The kind of the model in a run folder, without importing or loading it.

    Raises RunError if there is no such run, or if it is one of another command than ``command``.
    """
    from crow.run.folder import read_description  # the classes of all settings, with pydantic

    kind = str(read_description(folder).get("kind"))
    if kind not in MODELS:
        raise RunError(f"{folder}: there is no kind of model {kind!r}. Known are {', '.join(MODELS)}.")
    found = "train" if kind in LONGITUDINAL else kind
    if found != command:
        raise RunError(f"{folder}: a run of crow {found}, not of crow {command}.")
    return kind


def class_of_run(folder: str | Path) -> type[Model]:
    """The class of the model in a run folder, without loading it; raises RunError if there is no such run."""
    from crow.run.folder import read_description

    try:
        return model_class(str(read_description(folder).get("kind")))
    except RunError as error:
        if str(folder) in str(error):
            raise
        raise RunError(f"{folder}: {error}") from None
