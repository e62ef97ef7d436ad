"""Montages of scans or slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crow.extras import extra
from crow.report.figures import style

with extra("report"):
    from matplotlib.figure import Figure


def montage(images: NDArray[np.floating], titles: Sequence[str] = (), columns: int = 6) -> Figure:
    """One panel for each of ``images [n, X, Y, Z]`` (RAS): its single slice, or the middle axial slice of a volume.

    The grey scale is common, from 0 to the 99.8 % quantile; the subject's left is on the left.
    """
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    top = float(np.percentile(images, 99.8, method="linear")) or 1.0
    with style():
        figure = Figure(figsize=(1.7 * columns, 1.95 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for k, image in enumerate(images):
            axes[k].imshow(middle(image).T, origin="lower", cmap="gray", vmin=0, vmax=top, interpolation="nearest")
            if k < len(titles):
                axes[k].set_title(titles[k], fontsize=7)
    return figure


def middle(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """The single slice of ``[X, Y, Z]``, or the middle axial slice of a volume."""
    flat = [axis for axis in range(3) if image.shape[axis] == 1]
    axis = flat[0] if flat else 2
    return np.take(image, image.shape[axis] // 2, axis)
