"""Values by region on a glass brain, for regions that an atlas locates."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crow.extras import extra
from crow.report.figures import style

with extra("report"):
    from matplotlib.figure import Figure

SIDES = {"left", "right", "lh", "rh", "l", "r"}
Places = dict[str, list[int]]
BRAIN, TITLE = 2.6, 0.35  # inches
MIN_SHARE = 0.5  # of the regions that a map has to show, unless the user chose the atlas


@dataclass(frozen=True)
class Map:
    """An atlas: ``labels [X, Y, Z]`` on ``affine`` (MNI), names by label, and whether the user chose it."""

    labels: NDArray[np.int32]
    affine: NDArray[np.float64]
    names: Mapping[int, str]
    given: bool

    def of(self, regions: list[str]) -> Places:
        """The labels of the regions; empty if too few are known to draw a map."""
        found = places(regions, self.names, self.given)
        return found if found and (self.given or len(found) >= MIN_SHARE * len(regions)) else {}

    def caption(self, regions: list[str]) -> str:
        """How many of the regions a map shows, and which not."""
        located = self.of(regions)
        left = [region for region in regions if region not in located]
        rest = f" Not shown: {', '.join(left[:12])}{', ...' if len(left) > 12 else ''}." if left else ""
        return f"{len(located)} of {len(regions)} regions, seen from the left, the back, the right and the top.{rest}"


def places(regions: list[str], labels: Mapping[int, str], loose: bool) -> Places:
    """The labels of each region: those with the same words, in any order and case, or those of both hemispheres.

    If ``loose``, a region may have words that its label lacks (``ctx_lh_precuneus_suvr`` is ``ctx-lh-precuneus``).
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
    values: Mapping[str, Mapping[str, float]],
    located: Places,
    labels: NDArray[np.int32],
    affine: NDArray[np.float64],
    title: str,
    signed: bool,
) -> Figure:
    """One row of projections per set of values, named above it, with a common colour scale (around 0 if ``signed``)."""
    with extra("scans"):
        import nibabel as nib
        from nilearn import plotting  # imports pyplot, which not every figure needs

    drawn = [value for one in values.values() for region, value in one.items() if region in located]
    largest = float(np.nanmax(np.abs(np.array(drawn, float)), initial=0.0)) or 1.0
    with style(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        height = BRAIN * len(values) + TITLE
        figure = Figure(figsize=(9, height))
        for k, (name, one) in enumerate(values.items()):
            volume = np.zeros(labels.shape, np.float32)
            for region, value in one.items():
                if region in located and np.isfinite(value):
                    volume[np.isin(labels, located[region])] = value
            bottom = (BRAIN * (len(values) - k - 1)) / height
            plotting.plot_glass_brain(
                nib.Nifti1Image(volume, affine), display_mode="lyrz", colorbar=True, figure=figure,
                axes=(0.0, bottom, 1.0, 0.9 * BRAIN / height), cmap="RdBu_r" if signed else "viridis",
                vmin=-largest if signed else 0.0, vmax=largest, plot_abs=False, symmetric_cbar=signed, threshold=1e-9,
                annotate=True,
            )  # fmt: skip
            figure.text(0.01, bottom + 0.9 * BRAIN / height, name, fontsize=9, va="bottom")
        figure.text(0.01, 1 - 0.08 / height, title, va="top", fontweight="bold", fontsize=10)
    return figure


def _words(name: str) -> frozenset[str]:
    return frozenset(word for word in re.split(r"[^a-z0-9]+", name.lower()) if word)
