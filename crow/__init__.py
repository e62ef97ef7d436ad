"""crow: longitudinal neuroimaging with the conditional recurrent flow.

``Cohort.read(table)`` reads a cohort, ``CRow().fit(cohort)`` learns its density, ``load(run)`` brings it back.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crow.cohort.cohort import Cohort as Cohort
    from crow.estimator import CRow as CRow
    from crow.estimator import load as load

__version__ = "0.1.0"
__all__ = ["CRow", "Cohort", "load"]


def __getattr__(name: str) -> Any:
    """Torch takes seconds to import: only for those who use it."""
    if name == "Cohort":
        from crow.cohort.cohort import Cohort

        return Cohort
    if name in ("CRow", "load"):
        from crow import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module 'crow' has no attribute {name!r}")
