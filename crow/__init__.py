"""crow: longitudinal neuroimaging with the conditional recurrent flow.

``read_cohort(table)`` reads a cohort, ``CRow().fit(cohort)`` learns its density, and ``load(run)`` brings it back. For
scans, ``ScanStore.open(store)`` opens what ``crow prepare`` made, and ``ScanModel().fit(store)`` learns from it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crow.version import __version__ as __version__

if TYPE_CHECKING:
    from crow.cohort.cohort import Cohort as Cohort
    from crow.cohort.reader import read_cohort as read_cohort
    from crow.data.forecast import Forecast as Forecast
    from crow.errors import CrowError as CrowError
    from crow.models.classifier import Classifier as Classifier
    from crow.models.crow import CRow as CRow
    from crow.models.enhancer import Enhancer as Enhancer
    from crow.models.loading import load as load
    from crow.models.scans import ScanModel as ScanModel
    from crow.models.segmenter import Segmenter as Segmenter
    from crow.models.synthesizer import Synthesizer as Synthesizer
    from crow.models.translator import Translator as Translator
    from crow.models.voxels import VoxelModel as VoxelModel
    from crow.run.config import Config as Config
    from crow.scans.store import ScanStore as ScanStore

HOMES = {
    "CRow": "crow.models.crow",
    "Classifier": "crow.models.classifier",
    "Cohort": "crow.cohort.cohort",
    "Config": "crow.run.config",
    "CrowError": "crow.errors",
    "Enhancer": "crow.models.enhancer",
    "Forecast": "crow.data.forecast",
    "ScanModel": "crow.models.scans",
    "ScanStore": "crow.scans.store",
    "Segmenter": "crow.models.segmenter",
    "Synthesizer": "crow.models.synthesizer",
    "Translator": "crow.models.translator",
    "VoxelModel": "crow.models.voxels",
    "load": "crow.models.loading",
    "read_cohort": "crow.cohort.reader",
}
__all__ = [
    "CRow", "Classifier", "Cohort", "Config", "CrowError", "Enhancer", "Forecast", "ScanModel", "ScanStore",
    "Segmenter", "Synthesizer", "Translator", "VoxelModel", "load", "read_cohort",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: torch takes seconds."""
    if name not in HOMES:
        raise AttributeError(f"module 'crow' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
