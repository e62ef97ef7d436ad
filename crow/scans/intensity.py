"""One scale for the intensities of a modality: intensity = (scan - offset) / gain, the same for all voxels of a scan.

Bias fields stay in: registration looks past them, and a follow-up scan is to look like the subject's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.cohort.modality import modality_of
from crow.cohort.options import listed
from crow.errors import ConfigError, ScanError
from crow.scans.template import STRUCTURES, Template

STRUCTURAL = ("T1w", "T2w", "FLAIR", "PDw")
PET = ("pet",)
QUANTITATIVE = ("CBF", "cbf", "probseg", "FA", "MD", "T1map", "T2map", "T2starmap", "R1map", "R2starmap", "MTRmap")
REFERENCE = "cerebellum"
BINS, SMOOTH = 256, 4.0


def check_modality(given: str | None, told: str | None, scans: Iterable[str]) -> str:
    """The modality, as given or else as the cohort or the names of the scans tell; ConfigError where none is known."""
    modality = given or told or modality_of("", scans)
    known = (*STRUCTURAL, *PET, *QUANTITATIVE)
    if modality is None:
        first = next((Path(scan).name for scan in scans), "")
        raise ConfigError(f"{first}: its name does not tell the modality. Add --modality: {listed(known, 99)}.")
    if modality not in known:
        raise ConfigError(f"--modality {modality}: not supported; choose from {listed(known, 99)}.")
    return modality


def check_reference(reference: str | None, modality: str) -> str | None:
    """The reference region of PET scans, `REFERENCE` where none is given; None where there is none to divide by."""
    if modality not in PET:
        if reference not in (None, "none"):
            raise ConfigError(f"--reference {reference}: is for PET; {modality} scans have none. Leave it out.")
        return None
    reference = reference or REFERENCE
    if reference != "none" and not any(name.startswith(reference) for name in STRUCTURES.values()):
        names = listed(sorted(set(STRUCTURES.values())), 99)
        raise ConfigError(f"--reference {reference}: no such structure; choose none, or from {names}.")
    return None if reference == "none" else reference


def scale_of(intensity: NDArray[np.float32], template: Template, modality: str, reference: str | None) -> float:
    """The gain of a scan that lies on the template's grid, ``[X, Y, Z]``; the offset is 0.

    T1w, T2w, FLAIR: the mode of white matter becomes 1 (WhiteStripe, Shinohara et al. 2014, with the template's white
    matter in place of the histogram's last peak, so that it holds for every contrast). PET: the mean of a reference
    region becomes 1, of the cerebellum its gray matter (a standardised uptake value ratio; Klunk et al. 2015). Other
    quantitative maps have units of their own: 1. Raises ScanError where there is nothing to measure.
    """
    if modality in STRUCTURAL:
        inside = ndimage.binary_erosion(template.wm > 0.9) if min(template.grid.spacing) < 3 else template.wm > 0.8
        found = intensity[inside & (intensity > 0)]
        if len(found) < 20:
            raise ScanError("no white matter where the template has it, so intensities cannot be normalised.")
        return _mode(found)
    if modality in PET and reference is not None:
        inside = template.structure(reference)
        if reference == REFERENCE:
            inside = inside & (template.gm > 0.5)
        found = intensity[inside & (intensity > 0)]
        if len(found) < 10 or float(found.mean()) <= 0:
            raise ScanError(f"no signal in the reference region ({reference}).")
        return float(found.mean())
    return 1.0


def _mode(values: NDArray[np.float32]) -> float:
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        return float(low)
    counts, edges = np.histogram(values, BINS, range=(float(low), float(high)))
    peak = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(float), SMOOTH)))
    return float(edges[peak] + edges[peak + 1]) / 2
