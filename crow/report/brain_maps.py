"""Values by region on a glass brain, where an atlas says where the regions are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crow.report.figures import style

SIDES = {"left", "right", "lh", "rh", "l", "r"}
Places = dict[str, list[int]]
BRAIN, TITLE = 2.6, 0.35  # inches
PART = 0.5  # of the regions that a map has to show, unless a user gave the atlas


@dataclass(frozen=True)
class Map:
    """An atlas: ``labels [X, Y, Z]`` on ``affine`` (MNI), names by label, and whether a user gave it."""

    labels: NDArray[np.int32]
    affine: NDArray[np.float64]
    names: Mapping[int, str]
    given: bool

    def of(self, regions: list[str]) -> Places:
        """Where the regions are; nothing where too few are known to draw a map."""
        found = places(regions, self.names, self.given)
        return found if found and (self.given or len(found) >= PART * len(regions)) else {}

    def said(self, regions: list[str]) -> str:
        """How much of them a map shows, in words."""
        where = self.of(regions)
        left = [region for region in regions if region not in where]
        rest = f" Not placed: {', '.join(left[:12])}{', ...' if len(left) > 12 else ''}." if left else ""
        return f"{len(where)} of {len(regions)} regions, seen through the brain: left, back, right and top.{rest}"


def places(regions: list[str], labels: Mapping[int, str], loose: bool) -> Places:
    """The labels of an atlas that every region is: those of the same words, in any order and case, or of both sides.

    ``loose``: a region may have words that its label has not (``ctx_lh_precuneus_suvr`` is ``ctx-lh-precuneus``).
    """
    known = {label: _words(name) for label, name in labels.items()}
    found: Places = {}
    for region in regions:
        words = _words(region)
        same = [label for label, own in known.items() if own == words]
        sides = [label for label, own in known.items() if words < own and own - words <= SIDES]
        within = max((label for label, own in known.items() if own < words and own),
                     key=lambda label: len(known[label]), default=None)  # fmt: skip
        if chosen := same or sides or ([within] if loose and within is not None else []):
            found[region] = chosen
    return found


def glass_brains(
    shown: Mapping[str, Mapping[str, float]],
    where: Places,
    labels: NDArray[np.int32],
    affine: NDArray[np.float64],
    title: str,
    signed: bool,
) -> Figure:
    """A row of projections a set of values (its name above it), one colour scale for all; ``signed``: around 0."""
    from nilearn import plotting  # it brings pyplot, which not every figure needs

    values = np.array([value for of in shown.values() for region, value in of.items() if region in where], float)
    most = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    with style(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        height = BRAIN * len(shown) + TITLE
        figure = Figure(figsize=(9, height))
        for k, (name, of) in enumerate(shown.items()):
            volume = np.zeros(labels.shape, np.float32)
            for region, value in of.items():
                if region in where and np.isfinite(value):
                    volume[np.isin(labels, where[region])] = value
            bottom = (BRAIN * (len(shown) - k - 1)) / height
            plotting.plot_glass_brain(
                nib.Nifti1Image(volume, affine), display_mode="lyrz", colorbar=True, figure=figure,
                axes=(0.0, bottom, 1.0, 0.9 * BRAIN / height), cmap="RdBu_r" if signed else "viridis",
                vmin=-most if signed else 0.0, vmax=most, plot_abs=False, symmetric_cbar=signed, threshold=1e-9,
                annotate=True,
            )  # fmt: skip
            figure.text(0.01, bottom + 0.9 * BRAIN / height, name, fontsize=9, va="bottom")
        figure.text(0.01, 1 - 0.08 / height, title, va="top", fontweight="bold", fontsize=10)
    return figure


def _words(name: str) -> frozenset[str]:
    return frozenset(word for word in re.split(r"[^a-z0-9]+", name.lower()) if word)
