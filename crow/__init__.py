"""crow: longitudinal neuroimaging with the conditional recurrent flow.

``read_cohort(table)`` reads a cohort, ``CRow().fit(cohort)`` learns its density, ``load(run)`` brings it back. Scans:
``ScanStore.open(store)`` of what ``crow prepare`` made, and ``ScanModel().fit(store)``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crow.cohort.cohort import Cohort as Cohort
    from crow.cohort.reader import read_cohort as read_cohort
    from crow.models.classifier import Classifier as Classifier
    from crow.models.crow import CRow as CRow
    from crow.models.enhancer import Enhancer as Enhancer
    from crow.models.loading import load as load
    from crow.models.scans import ScanModel as ScanModel
    from crow.models.segmenter import Segmenter as Segmenter
    from crow.models.synthesizer import Synthesizer as Synthesizer
    from crow.models.translator import Translator as Translator
    from crow.scans.store import ScanStore as ScanStore

__version__ = "0.1.0"
__all__ = [
    "CRow", "Classifier", "Cohort", "Enhancer", "ScanModel", "ScanStore", "Segmenter", "Synthesizer",
    "Translator", "load", "read_cohort",
]  # fmt: skip

HOMES = {
    "CRow": "crow.models.crow",
    "Classifier": "crow.models.classifier",
    "Cohort": "crow.cohort.cohort",
    "Enhancer": "crow.models.enhancer",
    "ScanModel": "crow.models.scans",
    "ScanStore": "crow.scans.store",
    "Segmenter": "crow.models.segmenter",
    "Synthesizer": "crow.models.synthesizer",
    "Translator": "crow.models.translator",
    "load": "crow.models.loading",
    "read_cohort": "crow.cohort.reader",
}


def __getattr__(name: str) -> Any:
    """Torch takes seconds to import: only for those who use it."""
    if name not in HOMES:
        raise AttributeError(f"module 'crow' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)
