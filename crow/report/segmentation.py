"""Figures of masks: a slice of each scan with contours of probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crow.extras import extra
from crow.report.figures import BLUE, ORANGE, VERMILION, style

with extra("report"):
    from matplotlib.figure import Figure

LINES = {0.05: BLUE, 0.5: ORANGE, 0.95: VERMILION}


def outlines(
    scans: Sequence[NDArray[np.floating]], probabilities: Sequence[NDArray[np.floating]], titles: Sequence[str]
) -> Figure:
    """One panel per scan ``[X, Y, Z]``: the axial slice with the largest total probability, cropped, with contours of
    the probability at 5, 50 and 95 %."""
    columns = min(4, len(scans))
    rows = -(-len(scans) // columns)
    with style():
        figure = Figure(figsize=(2.3 * columns, 2.5 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, scan, p, title in zip(axes, scans, probabilities, titles, strict=False):
            z = int(np.argmax(p.sum((0, 1))))
            box = _around(p[:, :, z] > 0.01)
            ax.imshow(scan[*box, z].T, origin="lower", cmap="gray", interpolation="nearest")
            inside = p[*box, z].T
            levels = [level for level in LINES if inside.min() < level < inside.max()]
            if levels:
                ax.contour(inside, levels, colors=[LINES[level] for level in levels], linewidths=1.0)
            ax.set_title(title, fontsize=7, fontweight="normal")
        figure.suptitle("Probability of the mask: 5 % (blue), 50 % (orange), 95 % (red)", x=0.01, ha="left", fontsize=8)
    return figure


def _around(region: NDArray[np.bool_]) -> tuple[slice, slice]:
    """A square around ``region``, twice as wide as it."""
    places = np.argwhere(region) if region.any() else np.argwhere(np.ones_like(region))
    middle, half = (places.min(0) + places.max(0)) // 2, int(np.ptp(places, axis=0).max()) + 2
    return tuple(  # type: ignore[return-value]
        slice(max(0, int(m) - half), min(size, int(m) + half + 1)) for m, size in zip(middle, region.shape, strict=True)
    )
