"""The registered representations of scans by coefficients, by name."""

from __future__ import annotations

from crow.errors import ConfigError
from crow.representation.base import ScanRepresentation
from crow.representation.deformation import Deformation
from crow.representation.subspace import Subspace
from crow.scans.store import ScanStore

REPRESENTATIONS: dict[str, type[ScanRepresentation]] = {
    representation.kind: representation
    for representation in (
        Deformation,
        Subspace,
    )
}
"""One line per representation. ``auto`` takes the first that suits the store."""


def representation_for(name: str, store: ScanStore) -> type[ScanRepresentation]:
    """The representation of ``scans.representation: name``; ``auto`` is the first one that suits the store.

    Raises ConfigError for an unknown name, CohortError if the store was not prepared as the representation needs.
    """
    if name == "auto":
        return next(kind for kind in REPRESENTATIONS.values() if kind.suits(store))
    if name not in REPRESENTATIONS:
        *others, last = ("auto", "voxels", *REPRESENTATIONS)
        raise ConfigError(f"scans.representation: {name!r} is unknown. Choose {', '.join(others)} or {last}.")
    REPRESENTATIONS[name].check(store)
    return REPRESENTATIONS[name]
