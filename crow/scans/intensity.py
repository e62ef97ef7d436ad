"""Intensity normalisation: intensity = (scan - offset) / gain, with one gain and offset per scan.

Bias fields are not corrected: registration is robust to them, and a generated follow-up should look like the subject's
own scans.
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


def check_modality(given: str | None, detected: str | None, scans: Iterable[str]) -> str:
    """The modality as given, else as detected in the cohort or in file names; raises ConfigError if unknown."""
    modality = given or detected or modality_of("", scans)
    known = (*STRUCTURAL, *PET, *QUANTITATIVE)
    if modality is None:
        first = next((Path(scan).name for scan in scans), "")
        raise ConfigError(f"{first}: the modality is not in the file name. Add --modality: {listed(known, 99)}.")
    if modality not in known:
        raise ConfigError(f"--modality {modality}: not supported; choose from {listed(known, 99)}.")
    return modality


def check_reference(reference: str | None, modality: str) -> str | None:
    """The reference region of PET scans, by default `REFERENCE`; None for no reference region and other modalities."""
    if modality not in PET:
        if reference not in (None, "none"):
            raise ConfigError(f"--reference {reference}: only for PET; the scans are {modality}. Leave it out.")
        return None
    reference = reference or REFERENCE
    if reference != "none" and not any(name.startswith(reference) for name in STRUCTURES.values()):
        names = listed(sorted(set(STRUCTURES.values())), 99)
        raise ConfigError(f"--reference {reference}: no such structure. Choose none or one of {names}.")
    return None if reference == "none" else reference


def scale_of(intensity: NDArray[np.float32], template: Template, modality: str, reference: str | None) -> float:
    """The gain of a scan on the template's grid, ``[X, Y, Z]``; the offset is 0.

    T1w, T2w, FLAIR: the mode of white matter becomes 1 (WhiteStripe, Shinohara et al. 2014, with the template's white
    matter in place of the last histogram peak, which works for every contrast). PET: the mean of a reference region
    becomes 1; for the cerebellum that of its grey matter (SUVR; Klunk et al. 2015). Other quantitative maps keep their
    units: 1. Raises ScanError if the region has no signal.
    """
    if modality in STRUCTURAL:
        inside = ndimage.binary_erosion(template.wm > 0.9) if min(template.grid.spacing) < 3 else template.wm > 0.8
        found = intensity[inside & (intensity > 0)]
        if len(found) < 20:
            raise ScanError("no signal in the template's white matter, so intensities cannot be normalised.")
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
