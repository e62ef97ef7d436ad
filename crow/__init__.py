"""crow: longitudinal neuroimaging with the conditional recurrent flow.

``Cohort.read(table)`` reads a cohort, ``CRow().fit(cohort)`` learns its density, ``load(run)`` brings it back. Scans:
``ScanStore.open(store)`` of what ``crow prepare`` made, and ``ScanModel().fit(store)``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crow.classifier import Classifier as Classifier
    from crow.cohort.cohort import Cohort as Cohort
    from crow.enhancer import Enhancer as Enhancer
    from crow.estimator import CRow as CRow
    from crow.loading import load as load
    from crow.scan_model import ScanModel as ScanModel
    from crow.scans.store import ScanStore as ScanStore
    from crow.segmenter import Segmenter as Segmenter
    from crow.synthesizer import Synthesizer as Synthesizer
    from crow.translator import Translator as Translator

__version__ = "0.1.0"
__all__ = [
    "CRow", "Classifier", "Cohort", "Enhancer", "ScanModel", "ScanStore", "Segmenter", "Synthesizer",
    "Translator", "load",
]  # fmt: skip

HOMES = {
    "CRow": "crow.estimator",
    "Classifier": "crow.classifier",
    "Cohort": "crow.cohort.cohort",
    "Enhancer": "crow.enhancer",
    "ScanModel": "crow.scan_model",
    "ScanStore": "crow.scans.store",
    "Segmenter": "crow.segmenter",
    "Synthesizer": "crow.synthesizer",
    "Translator": "crow.translator",
    "load": "crow.loading",
}


def __getattr__(name: str) -> Any:
    """Torch takes seconds to import: only for those who use it."""
    if name not in HOMES:
        raise AttributeError(f"module 'crow' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)
